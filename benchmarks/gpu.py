"""How fast images are rendered on a CUDA card: ``python benchmarks/gpu.py`` from the project folder.

SDXL and FLUX.1-dev at their true size with random weights (nothing is downloaded; 41 GB of disk for a while), at
1024x1024 and 30 or 28 steps: plain diffusers, our backend, and the whole program. Neither computes less than the other,
and no pixels are traded for speed; how far they are apart is shown. Random weights blow small differences up more than
trained ones do. At most ten minutes: what would take longer is left out, and said so.
--tiny runs all of it on any machine, with models so small that only its soundness is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import ROOT, Claims, environment, machine, row, run, scratch, title

HERE = Path(__file__).parent
#: One thread for torch, where it has no card: more of them wait for each other on so small a model.
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
GOAL_SHARE = 0.02
MINUTES = 10.0
LABELS = {"sdxl": "SDXL", "flux": "FLUX.1-dev"}
FLAGS = {"sdxl": "--stable-diffusion", "flux": "--flux"}
STEPS = {"sdxl": 30, "flux": 28}
#: Seconds for one image on one H200, and the disk that the weights take in GB.
GOALS = {"sdxl": 1.4, "flux": 4.5}
DISK = {"sdxl": 7.0, "flux": 34.0}
#: Images of the whole program: as many as there is time for, but not more.
PROGRAM = {"sdxl": 32, "flux": 16}
#: Of the time that is left when they begin, for plain diffusers and for our backend.
SHARES = {"plain": 0.4, "ours": 0.65}


@dataclass(frozen=True, slots=True)
class Bench:
    """What is to be measured."""

    family: str
    size: str
    side: int
    steps: int
    batches: str
    compile: bool
    until: float

    @property
    def left(self) -> float:
        return self.until - time.monotonic()


def heading() -> None:
    print(
        f"\n{'':<28}{'batch':>6}{'s/image':>9}{'images/min':>12}{'/ plain':>9}{'peak GiB':>10}"
        f"{'off single':>13}{'off plain':>13}{'first':>9}",
        flush=True,
    )


def line(label: str, found: dict[str, Any], plain: float | None) -> None:
    """A row of the table; differences are the largest and the mean one, of 255."""
    start = f"{label:<28}{found['batch']:>6}"
    if "skipped" in found:
        print(f"{start}  left out: {found['skipped']}", flush=True)
        return
    each = found["seconds"]
    apart = ["" if found[name] is None else "{:.0f}/{:.2f}".format(*found[name]) for name in ("single", "plain")]
    memory = "" if found["peak"] is None else f"{found['peak']:.1f}"
    print(
        f"{start}{each:>9.3f}{60 / each:>12.1f}{'' if plain is None else f'{each / plain:.2f}':>9}{memory:>10}"
        f"{apart[0]:>13}{apart[1]:>13}{found['first']:>8.1f}s  {found['record']}",
        flush=True,
    )


def measured(bench: Bench, who: str, model: Path, pixels: Path) -> Iterator[dict[str, Any]]:
    """What the process says, as it says it; one that fails ends here, with what it said last."""
    command = [HERE / "gpu_process.py", who, "--family", bench.family, "--model", model, "--pixels", pixels]
    command += ["--side", bench.side, "--steps", bench.steps, "--batches", bench.batches]
    command += ["--compile", int(bench.compile), "--seconds", bench.left * SHARES[who]]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=ROOT,
            env=environment(OFFLINE),
        )
        assert child.stdout is not None
        # It keeps the time itself; this is for one that hangs.
        watchdog = threading.Timer(max(bench.left, 60.0), child.kill)
        watchdog.start()
        try:
            for text in child.stdout:
                if text.startswith("{"):
                    yield json.loads(text)
            code = child.wait()
        finally:
            watchdog.cancel()
        if code:
            errors.seek(0)
            yield {"error": f"It ended with {code}: {errors.read()[-1500:]}"}


def compare(bench: Bench, model: Path, claims: Claims) -> tuple[float | None, float | None]:
    """Plain diffusers and our backend; returns seconds an image of plain diffusers alone, and of our best."""
    plain: dict[tuple[bool, int], float] = {}
    best: float | None = None
    heading()
    with scratch() as pixels:
        for who in ("plain", "ours"):
            for found in measured(bench, who, model, pixels):
                if "error" in found:
                    claims.hold(f"{LABELS[bench.family]}: {who} runs to its end", False)
                    print(found["error"], flush=True)
                    break
                key = (found["compiled"], found["batch"])
                label = f"{'plain diffusers' if who == 'plain' else 'our backend'}{', compiled' * found['compiled']}"
                line(label, found, None if who == "plain" else plain.get(key))
                if "seconds" in found:
                    if who == "plain":
                        plain[key] = found["seconds"]
                    else:
                        if bench.size == "tiny" and found["plain"]:
                            claims.hold(
                                f"{label}, batch {key[1]}: the pixels of plain diffusers", found["plain"][0] <= 1
                            )
                        best = min(best or found["seconds"], found["seconds"])
    return plain.get((False, 1)), best


def program(bench: Bench, model: Path, each: float, claims: Claims) -> None:
    """The whole program, and the plain loop that saves what it renders."""
    # Either renders as many, after it loaded the model.
    wanted = min(PROGRAM[bench.family], int((bench.left - 90) / 2 / each))
    if wanted < 2:
        print(f"the whole program: left out, {bench.left:.0f} s left", flush=True)
        return
    with scratch() as folder:
        (folder / "prompts.txt").write_text("a quiet fox under the moon in the forest\n", encoding="utf-8")
        output, process = folder / "output", HERE / "local_process.py"
        command = [process, "ours", folder / "ours.json", wanted, f"{bench.side}x{bench.side}", FLAGS[bench.family]]
        command += ["--model", model, "--from", folder / "prompts.txt", "--steps", bench.steps, "--guidance", 3.5]
        run([str(part) for part in [*command, "--seed", 7, "--json", "--output", output]], settings=OFFLINE)
        run([process, "plain", folder / "plain.json", output, folder / "plain"], settings=OFFLINE)
        ours, plain = (json.loads((folder / f"{who}.json").read_text()) for who in ("ours", "plain"))
    if plain["images"] != wanted:
        claims.hold(f"{LABELS[bench.family]}: the program makes all its images", False)
        return
    seconds = {who: found["seconds"] / wanted for who, found in (("main.py", ours), ("plain loop", plain))}
    for who, value in seconds.items():
        ratio = f"{value / seconds['plain loop']:.2f}"
        print(f"{f'{who}, {wanted} files':<34}{value:>9.3f}{60 / value:>12.1f}{ratio:>9}", flush=True)
    outside = 1 - ours["model"] / ours["seconds"]
    title(LABELS[bench.family])
    if bench.size == "full":
        claims.hold("main.py, time outside the model", outside <= GOAL_SHARE, f"{outside:.1%}", f"<= {GOAL_SHARE:.0%}")
    else:
        row("main.py, time outside the model", f"{outside:.1%}")


def family(bench: Bench, card: str, claims: Claims) -> None:
    """Everything about one model."""
    began = time.monotonic()
    with scratch() as folder:
        free = shutil.disk_usage(folder).free / 1e9
        if bench.size == "full" and free < DISK[bench.family] * 1.1:
            claims.hold(f"{LABELS[bench.family]}: {free:.0f} GB are free in {folder.parent}; set TMPDIR", False)
            return
        run([HERE / "random_models.py", bench.family, bench.size, folder / "model"], settings=OFFLINE)
        label = f"{LABELS[bench.family]}, {bench.side}x{bench.side}, {bench.steps} steps, random weights"
        print(f"\n{label} (made in {time.monotonic() - began:.0f} s)", flush=True)
        single, best = compare(bench, folder / "model", claims)
        if single is not None:
            program(bench, folder / "model", single, claims)
    if "H200" in card and best is not None:
        goal = GOALS[bench.family]
        claims.hold(f"{LABELS[bench.family]}, our best, seconds per image", best <= goal, f"{best:.2f}", f"<= {goal}")


def find_card() -> str:
    """The name of the card and the versions that matter; empty where there is none. In a process of its own."""
    program = (
        "import torch, diffusers; c = torch.cuda; "
        "print(f'{c.get_device_name()}; torch {torch.__version__}, diffusers {diffusers.__version__}' "
        "if c.is_available() else '')"
    )
    return run(["-c", program], settings=OFFLINE).stdout.strip()


def main() -> int:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="models of no size, on any machine")
    parser.add_argument("--only", choices=tuple(LABELS), help="one of the models")
    parser.add_argument("--batches", default="1,4,8", help="images at once, default 1,4,8")
    parser.add_argument("--no-compile", action="store_true", help="leave compiling out")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"for all of it, default {MINUTES:g}")
    options = parser.parse_args()
    missing = [name for name in ("torch", "diffusers") if importlib.util.find_spec(name) is None]
    card = "" if missing else find_card()
    if missing or not (card or options.tiny):
        why = f"no {missing[0]} (pip install -e '.[local]')" if missing else "no CUDA card here"
        print(f"Not measured: {why}. --tiny tries the program out.")
        return 0
    print(f"{machine()}\n{card or 'no CUDA card'}, {time.strftime('%Y-%m-%d')}", flush=True)
    claims = Claims()
    families = [options.only] if options.only else list(LABELS)
    end = time.monotonic() + options.minutes * 60
    for number, name in enumerate(families):
        # SDXL takes a third of what both take.
        share = 1.0 if number == len(families) - 1 else 0.35
        until = time.monotonic() + (end - time.monotonic()) * share
        sizes = ("tiny", 64, 2) if options.tiny else ("full", 1024, STEPS[name])
        family(Bench(name, *sizes, options.batches, not options.no_compile, until), card, claims)
    return claims.conclude()


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
