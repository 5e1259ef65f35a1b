"""What the program costs beside a local model: ``python benchmarks/local.py`` from the project folder, on any machine.

The real command line against what one would write by hand, ``pipe(prompt).images[0].save(name)``, both in processes of
their own, in turn, on the same prompts and seeds. The clock starts when the model is loaded; whole processes are shown
too. A tiny model on a processor is done in milliseconds, so that what surrounds it looms large there: the figure that
says something about real models is that of the last one, which takes a second or more for each image.
About fifteen minutes; --quick three.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import ROOT, Child, Claims, machine, ratio, row, run, scratch, title

PROCESS = Path(__file__).with_name("local_process.py")
#: One thread for torch: more of them wait for each other, and beside a card there are cores left for saving, too.
OFFLINE = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
IMAGES, QUICK_IMAGES = 64, 16
HEAVY_IMAGES, QUICK_HEAVY_IMAGES = 24, 8
PAIRS = 3
SEED = 7
#: Of the wall time may be spent outside the model; and all of it against the plain loop.
GOAL_SHARE, GOAL_RATIO = 0.02, 1.05
#: So that the goals hold for a model, its images must take so many seconds.
HEAVY = 1.0

PLACES = ("in the forest", "by the river", "in the city", "on the mountain", "by the sea", "in the garden", "at night")
THINGS = ("fox", "cat", "dog", "bird", "house", "robot", "woman", "man", "street", "moon")


@dataclass(frozen=True, slots=True)
class Model:
    """What is rendered with, and how."""

    label: str
    flag: str
    folder: Path
    side: int
    steps: int
    heavy: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """A finished program: seconds from the loaded model to the end, in the model, after it, and of the process."""

    seconds: float
    model: float
    after: float
    whole: float

    @property
    def outside(self) -> float:
        """The share of time outside the model."""
        return 1 - self.model / self.seconds

    @classmethod
    def of(cls, child: Child, figures: Path) -> Result:
        found = json.loads(figures.read_text(encoding="utf-8"))
        return cls(found["seconds"], found["model"], found["after"], child.wall)


def prompts(count: int) -> list[str]:
    """Short ones, all different, that any tokenizer reads in one piece."""
    every = [f"a quiet {thing} {place}" for place in PLACES for thing in THINGS]
    return every[:count]


def compare(model: Model, images: int, ideas: int, pairs: int, claims: Claims) -> None:
    """Both in turn, the first one changing, after a run that nobody times."""
    mine: list[Result] = []
    theirs: list[Result] = []
    worst = 0
    with scratch() as folder:
        source = folder / "prompts.txt"
        source.write_text("\n".join(prompts(ideas)) + "\n", encoding="utf-8")
        ours(model, source, images, ideas, folder / "first")
        for turn in range(pairs):
            for who in ("ours", "theirs")[:: -1 if turn % 2 else 1]:
                if who == "ours":
                    mine.append(ours(model, source, images, ideas, folder / f"ours-{turn}"))
                else:
                    result, difference = plain(folder / "first", folder / f"theirs-{turn}")
                    theirs.append(result)
                    worst = max(worst, difference)
    title(f"{model.label}: {images} images of {ideas} {'prompt' if ideas == 1 else 'prompts'}")
    show(model, images, mine, theirs, claims)
    claims.hold("  largest difference between pixels, in steps of 255", worst == 0, f"{worst}", "0")


def ours(model: Model, source: Path, images: int, ideas: int, output: Path) -> Result:
    """``main.py N SIZE --stable-diffusion --model FOLDER``; nothing is compared with less than all images."""
    figures = output.with_suffix(".json")
    size = f"{model.side}x{model.side}"
    command = [PROCESS, "ours", figures, images // ideas, size, model.flag, "--model", model.folder]
    command += ["--from", source, "--steps", model.steps, "--guidance", 3.5, "--seed", SEED]
    child = run([str(part) for part in [*command, "--json", "--output", output]], settings=OFFLINE)
    done = json.loads(child.stdout)["done"]
    if done != images:
        sys.exit(f"{done} of {images} images were made.")
    return Result.of(child, figures)


def plain(output: Path, spare: Path) -> tuple[Result, int]:
    """The loop, on what our run was asked for."""
    figures = spare.with_suffix(".json")
    child = run([PROCESS, "plain", figures, output, spare], settings=OFFLINE)
    return Result.of(child, figures), int(json.loads(figures.read_text(encoding="utf-8"))["difference"])


def show(model: Model, images: int, mine: Sequence[Result], theirs: Sequence[Result], claims: Claims) -> None:
    """The rows of one comparison; one pair claims nothing."""
    each = [median([one.seconds for one in results]) / images for results in (theirs, mine)]
    row("plain loop, per image", seconds(each[0]))
    row("main.py, per image", seconds(each[1]))
    share = ratio([(one.seconds, other.seconds) for one, other in zip(mine, theirs, strict=True)])
    outside = median([one.outside for one in mine])
    found = (
        ("  main.py / plain loop", share <= GOAL_RATIO, f"{share:.2f}", f"<= {GOAL_RATIO}"),
        ("  main.py, time outside the model", outside <= GOAL_SHARE, f"{outside:.1%}", f"<= {GOAL_SHARE:.0%}"),
    )
    for what, truth, figure, goal in found:
        if model.heavy and len(mine) > 1:
            claims.hold(what, truth, figure, goal)
        else:
            row(what, figure, goal if model.heavy else "")
    if model.heavy:
        claims.hold("  an image takes as long as it has to here", each[0] >= HEAVY, seconds(each[0]), f">= {HEAVY:g} s")
    between = median([one.seconds - one.model - one.after for one in mine]) / images
    after = median([one.after for one in mine])
    row("  main.py, between two images; after the last one", f"{seconds(between)}; {seconds(after)}")
    row("  plain loop, time outside the model", f"{median([one.outside for one in theirs]):.1%}")
    aside = [median([one.whole - one.seconds for one in results]) for results in (mine, theirs)]
    row("  start-up and loading: main.py; plain loop", f"{aside[0]:.1f}; {aside[1]:.1f} s")
    whole = ratio([(one.whole, other.whole) for one, other in zip(mine, theirs, strict=True)])
    row("  main.py / plain loop, whole processes", f"{whole:.2f}")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def checkpoint(name: str) -> Path:
    """A tiny one of the tests; made in a process of its own, as this one imports nothing heavy."""
    program = f"from tests import checkpoints; print(checkpoints.checkpoint({name!r}))"
    found = run(["-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {program}"], settings=OFFLINE)
    return Path(found.stdout.split()[-1])


def main() -> int:
    """Measure and print, one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one pair of each, fewer images")
    parser.add_argument("--only", choices=("tiny", "heavy"), help="one half of it")
    options = parser.parse_args()
    print(machine(), flush=True)
    claims = Claims()
    pairs = 1 if options.quick else PAIRS
    with scratch() as folder:
        models: list[Model] = []
        if options.only != "heavy":
            models.append(Model("Tiny SDXL, 64x64", "--stable-diffusion", checkpoint("sdxl"), 64, 2))
            models.append(Model("Tiny FLUX.1, 64x64", "--flux", checkpoint("flux"), 64, 2))
        if options.only != "tiny":
            run([PROCESS.with_name("random_models.py"), "sdxl", "middle", folder / "middle"], settings=OFFLINE)
            label = "SDXL with a tenth of the channels, 512x512"
            models.append(Model(label, "--stable-diffusion", folder / "middle", 512, 4, heavy=True))
        for model in models:
            few, many = (QUICK_HEAVY_IMAGES, HEAVY_IMAGES) if model.heavy else (QUICK_IMAGES, IMAGES)
            images = few if options.quick else many
            for ideas in (1, images):
                compare(model, images, ideas, pairs, claims)
    return claims.conclude()


if __name__ == "__main__":
    sys.exit(main())
