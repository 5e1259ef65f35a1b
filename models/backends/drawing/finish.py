"""What lies over the whole picture: weather in the air, a vignette and the grain of the print.

Invariant: the grain comes from its own generator, row by row, so memory stays small at any size.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from models.backends.drawing.canvas import Array, sheet
from models.backends.drawing.colours import mix, tone
from models.backends.drawing.shapes import clouds
from models.backends.drawing.stage import Stage

_ROWS = 64
INDOORS = frozenset({"interior", "studio", "underwater", "space"})


def draw_weather(stage: Stage) -> None:
    """Rain, snow, mist, petals or sparks in front of the scene."""
    weather = stage.reading.weather
    indoors = stage.place in INDOORS
    if "rain" in weather and not indoors:
        _rain(stage)
    if "snowfall" in weather and not indoors:
        _flakes(stage, stage.count(320), mix(stage.palette.pale, (255, 255, 255), 0.5), 0.9)
    if "petals" in weather:
        _flakes(stage, stage.count(70), mix(stage.palette.accent, stage.palette.pale, 0.35), 1.0)
    if "sparks" in weather:
        _sparks(stage)


def draw_mist(stage: Stage) -> None:
    """Low mist around the horizon."""
    rows, cols = 24, max(12, min(200, int(20 * stage.w / stage.u)))
    field = clouds(stage.gen, rows, cols, 3, 2.2)
    bell = np.clip(np.sin(np.linspace(0, np.pi, rows, dtype=np.float32)), 0, 1)[:, None] ** 1.5
    middle = stage.horizon + stage.u * 0.08
    box = (0, middle - stage.u * 0.26, stage.w, middle + stage.u * 0.26)
    stage.canvas.veil(
        np.clip(field * 1.5 - 0.25, 0, 1) * bell * 0.75, box, mix(stage.palette.horizon, stage.palette.pale, 0.25)
    )


def _rain(stage: Stage) -> None:
    gen, u = stage.gen, stage.u
    count = stage.count(210)
    slant = -0.18 * stage.side * (2.2 if "wind" in stage.reading.weather else 1.0)
    pen = stage.canvas.pen(0, 0, stage.w, stage.h)
    if not pen:
        return
    x, y = gen.uniform(-0.1, 1.1, count) * stage.w, gen.uniform(-0.1, 1, count) * stage.h
    long = u * gen.uniform(0.02, 0.075, count)
    half = max(u * 0.0007, 0.28)
    for px, py, pl in zip(x.tolist(), y.tolist(), long.tolist(), strict=True):
        pen.polygon(
            ((px - half, py), (px + half, py), (px + slant * pl + half, py + pl), (px + slant * pl - half, py + pl))
        )
    stage.canvas.ink(pen, mix(stage.palette.pale, stage.palette.sky, 0.15), alpha=0.34)


def _flakes(stage: Stage, count: int, colour: tuple[int, int, int], alpha: float) -> None:
    gen, u = stage.gen, stage.u
    x = gen.uniform(0, stage.w, count).astype(np.float32)
    y = gen.uniform(0, stage.h, count).astype(np.float32)
    near = gen.random(count, dtype=np.float32) ** 5
    radius = np.maximum(u * (0.0012 + 0.0065 * near), 0.4).astype(np.float32)
    stage.canvas.dots(x, y, radius, (alpha * (0.9 - 0.4 * near)).astype(np.float32), colour)


def _sparks(stage: Stage) -> None:
    gen, u = stage.gen, stage.u
    count = stage.count(46)
    x = (stage.focus + gen.normal(0, 0.26, count) * u).astype(np.float32)
    y = (stage.horizon + gen.normal(0.06, 0.17, count) * u).astype(np.float32)
    radius = np.maximum(u * (0.001 + 0.003 * gen.random(count) ** 2), 0.4).astype(np.float32)
    full = np.ones(count, np.float32)
    glow = stage.palette.glow
    stage.canvas.dots(x, y, radius * 2.6, full * 0.3, glow)
    stage.canvas.dots(x, y, radius, full, mix(glow, stage.palette.pale, 0.5))


def grain(stage: Stage, seed: int) -> Image.Image:
    """The finished print: darker corners and a fine grain, stronger in the middle tones."""
    gen = np.random.Generator(np.random.PCG64(seed))
    width, height = stage.w, stage.h
    pixels = np.array(stage.canvas.image)
    across = ((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1) ** 2
    down = ((np.arange(height, dtype=np.float32) + 0.5) / height * 2 - 1) ** 2
    edge = np.array(tone(mix(stage.palette.near, stage.palette.zenith, 0.5), 0.2), np.float32)
    strength = np.float32(3.6 if stage.u > 160 else 2.2)
    for start in range(0, height, _ROWS):
        rows = pixels[start : start + _ROWS]
        count = len(rows) * width
        noise: Array = (
            np.frombuffer(gen.bytes(count * 2), np.uint8).reshape(2, len(rows), width).astype(np.float32).sum(0)
        )
        noise = (noise - np.float32(255)) * (strength / np.float32(104))
        corner = np.clip((across + down[start : start + _ROWS, None]) - np.float32(0.75), 0, 1) * np.float32(0.2)
        part = rows.astype(np.float32)
        part += (edge - part) * corner[..., None]
        part += (noise + np.float32(0.5))[..., None]
        np.clip(part, 0, 255, out=part)
        pixels[start : start + _ROWS] = part.astype(np.uint8)
    return sheet(pixels)
