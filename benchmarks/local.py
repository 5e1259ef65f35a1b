"""Rendering on this machine, against plain diffusers: ``python benchmarks/local.py`` from the project folder.

``main.py`` with a local model, and the loop that one would write by hand, ``pipe(prompt).images[0].save(file)``: the
same models, prompts, seeds and steps, each in a process of its own, in turn. The clock runs from the first call of the
model to the last file, so that neither start-up nor loading counts; whole processes are shown too. Models have random
weights: tiny ones, where everything but the model weighs the most it can, and one that takes as long as a real one on a
card. About ten minutes; --quick three. Ends with exit code 1 where a claim fails.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT, Child, Claims, machine, ratio, row, run, scratch, title

#: Libraries must not ask a hub; tiny models are slower with more threads.
CALM = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
TINY_CALM = {**CALM, "OMP_NUM_THREADS": "1"}
OUTSIDE_GOAL = 0.02
SEED = 7
WORDS = ("harbour", "orchard", "railway", "glacier", "market", "lantern", "meadow", "cathedral")


@dataclass(frozen=True, slots=True)
class Case:
    """What is rendered: ``ideas`` prompts, ``images`` of each."""

    model: str
    flag: str
    side: int
    steps: int
    ideas: int
    images: int

    @property
    def count(self) -> int:
        return self.ideas * self.images

    @property
    def settings(self) -> dict[str, str]:
        return CALM if self.model.endswith("-middle") else TINY_CALM

    @property
    def name(self) -> str:
        prompts = "1 prompt" if self.ideas == 1 else f"{self.ideas} prompts"
        return f"{self.model}, {self.side}x{self.side}, {self.steps} steps: {self.count} images of {prompts}"


@dataclass(frozen=True, slots=True)
class Result:
    """Seconds from the first call of the model to the last file, those in the model, and those of the whole process."""

    wall: float
    model: float
    whole: float
    #: SHA-256 of the pixels of each image.
    pixels: tuple[str, ...]


def cases(quick: bool) -> list[Case]:
    few = 8 if quick else 64
    return [
        *(Case(*model, *kind) for model in TINY for kind in ((1, few), (few, 1))),
        Case("sdxl-middle", "--stable-diffusion", 512, 4, 1, 4 if quick else 12),
    ]


#: Model, flag, pixels a side (the fewest that FLUX is rendered with), steps.
TINY = (("sdxl", "--stable-diffusion", 64, 4), ("flux", "--flux", 320, 2))


def compare(case: Case, model: Path, pairs: int, claims: Claims) -> None:
    """Both in turn, the first one changing."""
    found: dict[str, list[Result]] = {"ours": [], "theirs": []}
    with scratch() as folder:
        prompts = folder / "prompts.txt"
        prompts.write_text("".join(f"{line}\n" for line in lines(case.ideas)), encoding="utf-8")
        # Made once beforehand: it tells the loop which seeds to take, and warms the disk.
        ours(case, model, prompts, folder / "first")
        jobs = read_jobs(folder / "first")
        for turn in range(pairs):
            programs: list[tuple[str, Callable[[], Result]]] = [
                ("ours", functools.partial(ours, case, model, prompts, folder / f"ours-{turn}")),
                ("theirs", functools.partial(theirs, case, model, jobs, folder / f"theirs-{turn}")),
            ]
            for name, program in programs[:: -1 if turn % 2 else 1]:
                found[name].append(program())
    tell(case, found, claims)


def tell(case: Case, found: dict[str, list[Result]], claims: Claims) -> None:
    """The table of a case."""
    both = list(zip(found["ours"], found["theirs"], strict=True))
    title(f"{case.name}; median of {len(both)} pairs")
    for name, label in (("ours", "main.py"), ("theirs", "plain diffusers")):
        seconds = statistics.median(one.wall for one in found[name]) / case.count
        row(f"{label}, seconds an image", f"{seconds:.3f}")
    row("  ratio, main.py to plain", f"{ratio([(a.wall, b.wall) for a, b in both]):.3f}")
    row("  ratio of whole processes, with start-up and loading", f"{ratio([(a.whole, b.whole) for a, b in both]):.3f}")
    for name, label in (("ours", "main.py"), ("theirs", "plain diffusers")):
        outside = statistics.median(1 - one.model / one.wall for one in found[name])
        goal = f"<= {OUTSIDE_GOAL:.0%} (GPU)" if name == "ours" else ""
        row(f"{label}, share of the time outside the model", f"{outside:.1%}", goal)
    claims.equal(
        "images with other pixels than plain diffusers", len(set(both[0][0].pixels) ^ set(both[0][1].pixels)), 0
    )


def lines(ideas: int) -> list[str]:
    return [f"A {WORDS[n % len(WORDS)]} at dusk, seen from far away, number {n}" for n in range(ideas)]


def ours(case: Case, model: Path, prompts: Path, folder: Path) -> Result:
    """``main.py``, with a stop-watch at the model."""
    command = [str(case.images), f"{case.side}x{case.side}", case.flag, "--model", str(model), "--from", str(prompts)]
    settings = ["--steps", str(case.steps), "--seed", str(SEED), "--output", str(folder), "--quiet"]
    return measured(run([__file__, "--ours", *command, *settings], settings=case.settings), folder)


def theirs(case: Case, model: Path, jobs: Sequence[tuple[str, int]], folder: Path) -> Result:
    """The loop below."""
    folder.mkdir()
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    numbers = ["--side", str(case.side), "--steps", str(case.steps)]
    return measured(run([__file__, "--plain", str(model), str(folder), *numbers], settings=case.settings), folder)


def measured(child: Child, folder: Path) -> Result:
    from PIL import Image

    facts = json.loads(child.stdout.splitlines()[-1])
    pixels = []
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as image:
            pixels.append(hashlib.sha256(image.convert("RGB").tobytes()).hexdigest())
    return Result(facts["wall"], facts["model"], child.wall, tuple(pixels))


def read_jobs(folder: Path) -> list[tuple[str, int]]:
    """The prompt and the seed of every image that was made."""
    found = []
    for path in sorted(folder.glob("*/info.json")):
        info = json.loads(path.read_text(encoding="utf-8"))
        found += [(info["prompt"], image["seed"]) for image in info["images"]]
    return found


# --- in the children --------------------------------------------------------------------------------------------------


class StopWatch:
    """Adds up the seconds inside of wrapped functions, from the moment the first of them is called."""

    def __init__(self) -> None:
        self.began = 0.0
        self.spent = 0.0

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            start = time.perf_counter()
            self.began = self.began or start
            try:
                return function(*args, **named)
            finally:
                self.spent += time.perf_counter() - start

        return timed

    def tell(self) -> None:
        print(json.dumps({"wall": time.perf_counter() - self.began, "model": self.spent}))


def as_main(arguments: Sequence[str]) -> None:
    """The command line, its model under the stop-watch: the pipeline itself, and what encodes prompts for it."""
    from models.backends.local import prompts, studio
    from tirada.cli import main as front

    watch = StopWatch()
    original = studio.load

    def load(*args: Any, **named: Any) -> Any:
        pipe = original(*args, **named)
        kind = type(pipe)
        kind.__call__ = watch.wrap(kind.__call__)
        return pipe

    studio.load = load
    prompts.Encoder._encode = watch.wrap(prompts.Encoder._encode)  # type: ignore[method-assign]
    sys.argv = ["main.py", *arguments]
    try:
        front.main()
    except SystemExit as exit_:
        if exit_.code:
            raise
    watch.tell()


def plain(model: Path, folder: Path, side: int, steps: int) -> None:
    """What one would write by hand."""
    import torch
    from diffusers import AutoPipelineForText2Image

    pipe = AutoPipelineForText2Image.from_pretrained(model, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    if torch.cuda.is_available():
        pipe.to("cuda")
    watch = StopWatch()
    kind = type(pipe)
    kind.__call__ = watch.wrap(kind.__call__)
    for number, (prompt, seed) in enumerate(json.loads((folder / "jobs.json").read_text(encoding="utf-8"))):
        generator = torch.Generator("cpu").manual_seed(seed)
        image = pipe(prompt, width=side, height=side, num_inference_steps=steps, generator=generator).images[0]
        image.save(folder / f"{number}.png")
    watch.tell()


def models(folder: Path) -> dict[str, Path]:
    """Every model of the cases, made in a process of its own: who measures holds little memory."""
    made = {}
    for name, size in (("sdxl", "tiny"), ("flux", "tiny"), ("sdxl", "middle")):
        label = name if size == "tiny" else f"{name}-{size}"
        made[label] = folder / label
        run([ROOT / "benchmarks" / "random_models.py", name, size, made[label]], settings=CALM)
    return made


def main() -> int:
    """Measure and print, one line per figure."""
    if sys.argv[1:2] == ["--ours"]:
        as_main(sys.argv[2:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one pair of each, an eighth of the images")
    parser.add_argument("--plain", nargs=2, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(*options.plain, options.side, options.steps)
        return 0
    print(machine())
    claims = Claims()
    with scratch() as folder:
        made = models(folder)
        for case in cases(options.quick):
            compare(case, made[case.model], 1 if options.quick else 3, claims)
    return claims.conclude()


if __name__ == "__main__":
    sys.exit(main())
