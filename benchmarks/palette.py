"""How fast images are measured against a palette and graded: ``python benchmarks/palette.py`` from the project folder.

Invariant: processor time is counted, not the clock, so the figures are of one core whatever else the machine does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

# Read when numpy is loaded: one thread, so that processor time is that of one core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from common import ROOT, machine, row, title
from PIL import Image

from models.backends.drawing.scene import draw
from tirada.workflows.branding import kit
from tirada.workflows.branding.grade import grade
from tirada.workflows.branding.palette import NEAR, exact, measure

IMAGES, DIFFERENT = 100, 10
SIDES = (720, 1024)
GOAL = 100
PROMPT = "a compact car on a coastal road, light salmon, pale turquoise and royal blue tones"


def drawn(side: int) -> list[Image.Image]:
    """Pictures with areas, gradients and grain, as most are."""
    return [draw(PROMPT, "", seed, side, side).convert("RGB") for seed in range(DIFFERENT)]


def noise(side: int) -> list[Image.Image]:
    """The worst case: every pixel another colour than its neighbour."""
    rng = np.random.default_rng(7)
    return [Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)) for _ in range(DIFFERENT)]


def per_second(work: Callable[[Image.Image], object], pictures: Sequence[Image.Image]) -> float:
    """Images per second of processor time; the best of three rounds, as others only slow one down."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for number in range(IMAGES):
            work(pictures[number % len(pictures)])
        rounds.append(time.process_time() - start)
    return IMAGES / min(rounds)


def main() -> None:
    """Measure and print, one line per figure."""
    colours = kit.load(ROOT / "data", "bank").hexes
    print(f"{machine()}\n{IMAGES} images, {len(colours)} colours")
    start = time.process_time()
    measure(Image.new("RGB", (1, 1)), colours)
    table = time.process_time() - start
    title("Palette, per second and core")
    row("first image of a palette: the table, seconds", f"{table:.2f}")
    for side in SIDES:
        for what, pictures in (("drawn", drawn(side)), ("noise", noise(side))):
            speed = per_second(lambda picture: measure(picture, colours), pictures)
            row(f"measured, {side}x{side}, {what}", f"{speed:,.0f}", f"{GOAL}", speed / GOAL)
    for side in SIDES:
        speed = per_second(lambda picture: grade(picture, colours, 0.5), drawn(side))
        row(f"graded, {side}x{side}, drawn", f"{speed:,.0f}")
    title("How far the table is from the formula, over pictures of noise and the drawn ones")
    for what, pictures in (("noise", noise(512)[:1]), ("drawn", drawn(512))):
        means, shares = zip(*(errors(picture, colours) for picture in pictures), strict=True)
        row(f"{what}: mean difference, at the most", f"{max(means):.4f}")
        row(f"{what}: share of the picture, points of 100, at the most", f"{100 * max(shares):.3f}", "0.05")


def errors(picture: Image.Image, colours: Sequence[str]) -> tuple[float, float]:
    """Of the mean difference and of the share."""
    true, _ = exact(np.asarray(picture).reshape(-1, 3) / 255, colours)
    fit = measure(picture, colours)
    assert fit is not None
    return abs(fit.mean - float(true.mean())), abs(fit.share - float((true <= NEAR).mean()))


if __name__ == "__main__":
    main()
