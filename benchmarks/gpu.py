"""Seconds an image on a CUDA card: ``python benchmarks/gpu.py`` from the project folder.

SDXL and FLUX.1-dev at their true size with random weights (written here, nothing is downloaded; 45 GB of disk),
rendered at 1024x1024 by plain diffusers and by our backend, at batch 1, 4 and 8, with and without compiling; each
combination of program and compiling in a process of its own that loads the model from disk. Two minutes for SDXL and
eight for FLUX on an H200; --only and --batches do less. Without a card it says so and ends; --tiny is the same in
small, anywhere.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import ROOT, Claims, machine, row, run, scratch, title

CALM = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
#: Tiny models are slower with more threads; FLUX is rendered with this many pixels a side at least.
TINY = {**CALM, "OMP_NUM_THREADS": "1"}
TINY_SIDE = 320
PROMPT = "A lighthouse on a basalt cliff at dusk, waves far below, a single gull in the last light"
BATCHES = (1, 4, 8)
#: Steps of the call that compiles and warms up: what they take is not counted.
WARM_STEPS = 2


@dataclass(frozen=True, slots=True)
class Model:
    """A model, the steps it is measured with, and the goal on one H200 in seconds an image."""

    flag: str
    steps: int
    goal: float
    guidance: float


MODELS = {"sdxl": Model("stable-diffusion", 30, 1.4, 5.0), "flux": Model("flux", 28, 4.5, 3.5)}


@dataclass(frozen=True, slots=True)
class Measured:
    """One batch size in one process: seconds an image, peak memory (GiB), and how far the pixels of the first image are
    from those it has alone (levels of 255: at most, on average)."""

    batch: int
    seconds: float
    peak: float
    apart_most: int = 0
    apart_mean: float = 0.0


def main() -> int:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny models, on any machine")
    parser.add_argument("--only", choices=sorted(MODELS), help="one of the models")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)), help="e.g. 1,4")
    parser.add_argument("--no-compile", action="store_true", help="leave compiling out")
    parser.add_argument("--child", nargs=4, metavar=("PROGRAM", "MODEL", "FOLDER", "COMPILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    batches = [int(part) for part in options.batches.split(",")]
    if options.child:
        program, name, folder, compiled = options.child
        measure(program, name, Path(folder), compiled == "on", batches, tiny=options.tiny)
        return 0
    print(machine())
    if not options.tiny and not (card := card_name()):
        print("There is no CUDA card here: nothing is measured. --tiny tries the program.")
        return 0
    claims = Claims()
    for name in [options.only] if options.only else list(MODELS):
        print(f"\n{name}: {'tiny, on any device' if options.tiny else card}")
        report(name, batches, claims, tiny=options.tiny, compiling=not options.no_compile)
    return claims.conclude() if claims.made else 0


def card_name() -> str:
    """What the first card is called; nothing where there is none. Asked in a process that then lets go of it."""
    program = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    return run(["-c", program]).stdout.strip()


def report(name: str, batches: Sequence[int], claims: Claims, *, tiny: bool, compiling: bool) -> None:
    """Build the model, then a table for it."""
    model = MODELS[name]
    side = TINY_SIDE if tiny else 1024
    steps = 2 if tiny else model.steps
    with scratch() as folder:
        run([ROOT / "benchmarks" / "random_models.py", name, "tiny" if tiny else "full", folder / name], settings=CALM)
        best = float("inf")
        for compiled in ("off", "on") if compiling else ("off",):
            title(f"{name}, {side}x{side}, {steps} steps, compiling {compiled}")
            found = {program: child(program, name, folder / name, compiled, batches, tiny=tiny) for program in PROGRAMS}
            for plain, ours in zip(found["plain"], found["ours"], strict=True):
                tell(plain, ours, model, tiny=tiny)
                best = min(best, ours.seconds)
        if not tiny:
            claims.hold(
                f"{name}: the best of main.py, seconds an image", best <= model.goal, f"{best:.2f}", f"<= {model.goal}"
            )


def tell(plain: Measured, ours: Measured, model: Model, *, tiny: bool) -> None:
    label = f"batch {ours.batch}"
    row(f"{label}: plain diffusers, seconds an image", f"{plain.seconds:.2f}")
    goal = "" if tiny else f"<= {model.goal}"
    row(f"{label}: ours, seconds an image; ratio to plain", f"{ours.seconds:.2f}", goal, ours.seconds / plain.seconds)
    row(f"{label}: images a minute, plain; ours", f"{60 / plain.seconds:.1f}; {60 / ours.seconds:.1f}")
    row(f"{label}: peak memory in GiB, plain; ours", f"{plain.peak:.1f}; {ours.peak:.1f}")
    if ours.batch > 1:
        row(f"{label}: first image against the same alone, levels", f"{ours.apart_most}; {ours.apart_mean:.3f}")


def child(
    program: str, name: str, folder: Path, compiled: str, batches: Sequence[int], *, tiny: bool
) -> list[Measured]:
    arguments = ["--child", program, name, str(folder), compiled, "--batches", ",".join(map(str, batches))]
    done = run([__file__, *arguments, *(["--tiny"] if tiny else [])], settings=TINY if tiny else CALM)
    return [Measured(**one) for one in json.loads(done.stdout.splitlines()[-1])]


# --- in the children --------------------------------------------------------------------------------------------------


def measure(program: str, name: str, folder: Path, compiled: bool, batches: Sequence[int], *, tiny: bool) -> None:
    """Render with one program and print what it took as JSON."""
    import torch

    side, steps = (TINY_SIDE, 2) if tiny else (1024, MODELS[name].steps)
    painter = PROGRAMS[program](name, folder, side, compiled)
    found, alone = [], None
    for batch in batches:
        painter.paint(batch, WARM_STEPS)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        images = painter.paint(batch, steps)
        seconds = (time.perf_counter() - start) / batch
        peak = torch.cuda.max_memory_allocated() / 1024**3 if torch.cuda.is_available() else 0.0
        alone = images[0] if alone is None else alone
        found.append(Measured(batch, seconds, peak, *apart(alone, images[0])))
    print(json.dumps([asdict(one) for one in found]))


def apart(one: Any, other: Any) -> tuple[int, float]:
    """The largest and the mean difference of two pictures, in levels."""
    import numpy

    difference = numpy.abs(numpy.asarray(one).astype(int) - numpy.asarray(other).astype(int))
    return int(difference.max()), float(difference.mean())


class Plain:
    """What one would write by hand."""

    def __init__(self, name: str, folder: Path, side: int, compiled: bool) -> None:
        import torch
        from diffusers import AutoPipelineForText2Image

        card = torch.cuda.is_available()
        dtype = (torch.float16 if name == "sdxl" else torch.bfloat16) if card else torch.float32
        self._pipe = AutoPipelineForText2Image.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
        self._pipe.set_progress_bar_config(disable=True)
        self._pipe.to("cuda" if card else "cpu")
        self._side, self._guidance = side, MODELS[name].guidance
        if compiled:
            part = self._pipe.unet if name == "sdxl" else self._pipe.transformer
            part.compile_repeated_blocks(fullgraph=name != "sdxl", dynamic=True)

    def paint(self, batch: int, steps: int) -> list[Any]:
        import torch

        found: list[Any] = self._pipe(
            [PROMPT] * batch,
            width=self._side,
            height=self._side,
            num_inference_steps=steps,
            guidance_scale=self._guidance,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(batch)],
        ).images
        return found


class Ours:
    """The backend that ``main.py`` uses."""

    def __init__(self, name: str, folder: Path, side: int, compiled: bool) -> None:
        from models.backends.diffusion import DiffusionBackend
        from models.catalog import load_catalog

        self._backend = DiffusionBackend(MODELS[name].flag, catalog=load_catalog(), model=str(folder))
        self._side, self._compiled, self._guidance = side, compiled, MODELS[name].guidance

    def paint(self, batch: int, steps: int) -> list[Any]:
        from models.contract import GeneratedImage, ImageRequest

        options = {"compile": "on" if self._compiled else "off"}
        requests = [
            ImageRequest(
                prompt=PROMPT,
                width=self._side,
                height=self._side,
                seed=seed,
                steps=steps,
                guidance=self._guidance,
                options=options,
            )
            for seed in range(batch)
        ]
        found = []
        for answer in self._backend.generate(requests):
            assert isinstance(answer, GeneratedImage), answer
            found.append(answer.image)
        return found


PROGRAMS: dict[str, Any] = {"plain": Plain, "ours": Ours}

if __name__ == "__main__":
    sys.exit(main())
