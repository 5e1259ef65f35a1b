"""Lines of heights and curves: the hills, peaks, trees and roofs every landscape is made of.

Invariant: every line has one height per pixel column and depends only on its arguments and the generator given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from models.backends.drawing.canvas import Array


def _knots(gen: np.random.Generator, width: int, period: float) -> tuple[Array, Array]:
    count = int(width / period) + 3
    where = (np.arange(count, dtype=np.float32) - gen.random()) * np.float32(period)
    return where.astype(np.float32), gen.random(count, dtype=np.float32)


def crags(gen: np.random.Generator, width: int, period: float, octaves: int = 4) -> Array:
    """Jagged mountains with pointed peaks, 0 (low) to about 1 (peak)."""
    x = np.arange(width, dtype=np.float32)
    count = int(width / period) + 3
    tops = ((np.arange(count) - 0.8 + gen.random(count) * 0.75) * period).astype(np.float32)
    heights = (0.42 + 0.58 * gen.random(count)).astype(np.float32)
    reach = (period * gen.uniform(0.75, 1.5, (2, count))).astype(np.float32)
    line = np.zeros(width, np.float32)
    for top, height, left, right in zip(tops, heights, reach[0], reach[1], strict=True):
        away = x - top
        side = np.where(away < 0, -away / left, away / right)
        np.maximum(line, height * np.clip(1 - side, 0, 1) ** np.float32(1.18), out=line)
    size, period = 0.16, period * 0.3
    for _ in range(octaves - 1):
        if period < 2:
            break
        where, values = _knots(gen, width, period)
        line += (
            (np.interp(x, where, values).astype(np.float32) - np.float32(0.5))
            * np.float32(size)
            * (line + np.float32(0.25))
        )
        size, period = size * 0.55, period * 0.42
    return np.clip(line, 0, None)


def hills(gen: np.random.Generator, width: int, period: float, octaves: int = 2) -> Array:
    """Smooth rolling land, 0 to 1."""
    x = np.arange(width, dtype=np.float32)
    line = np.zeros(width, np.float32)
    height, total = 1.0, 0.0
    for _ in range(octaves):
        where, values = _knots(gen, width, period)
        at = np.minimum((x - where[0]) / np.float32(period), len(values) - 1.001)
        left = at.astype(np.int64)
        share = at - left
        share = share * share * (3 - 2 * share)
        line += (values[left] + (values[left + 1] - values[left]) * share) * np.float32(height)
        total += height
        height *= 0.4
        period *= 0.43
    return (line / np.float32(total)).astype(np.float32)


def crests(line: Array, apart: int) -> list[tuple[int, int, int]]:
    """The tops of a line with the valley to the left and right of each: (valley, top, valley) columns."""
    turns: list[int] = (np.flatnonzero(np.diff(np.sign(np.diff(line))) != 0) + 1).tolist()
    tops = [t for t in turns if line[t] <= line[max(t - 2, 0)] and line[t] <= line[min(t + 2, len(line) - 1)]]
    kept: list[int] = []
    for top in tops:
        if not kept or top - kept[-1] >= apart:
            kept.append(top)
    found = []
    for top in kept:
        lows = [t for t in turns if line[t] > line[top]]
        left = max((t for t in lows if t < top - 2), default=0)
        right = min((t for t in lows if t > top + 2), default=len(line) - 1)
        found.append((left, top, right))
    return found


def gaps(gen: np.random.Generator, width: int, period: float, sink: float) -> Array:
    """How far growth sinks into the ground along a line, so that it stands in groups."""
    bare: Array = np.clip((np.float32(0.52) - hills(gen, width, period)) * 6, 0, 1)
    return bare * np.float32(sink)


def conifers(gen: np.random.Generator, ground: Array, size: float, gap: float) -> Array:
    """Raise a line of spruces out of a line of ground; ``size`` is their height in pixels."""
    width = len(ground)
    line = ground.copy()
    gap = max(gap, 3.0)
    count = int(width / gap) + 2
    centres = (np.arange(count) + gen.uniform(-0.45, 0.45, count)) * gap
    heights = size * gen.uniform(0.45, 1.0, count) ** 1.2
    tiers = 1 if size < 14 else max(3, min(9, int(size / 16)))
    for centre, tall in zip(centres.tolist(), heights.tolist(), strict=True):
        spread = tall * 0.24
        lo, hi = max(int(centre - spread), 0), min(int(centre + spread) + 2, width)
        if hi <= lo:
            continue
        away = np.abs(np.arange(lo, hi, dtype=np.float32) - np.float32(centre)) / np.float32(max(spread, 0.5))
        if tiers > 1:
            steps = away * tiers
            tooth = steps - np.floor(steps)
            away = (np.floor(steps) + tooth**1.8 * 0.55 + 0.3 * tooth) / tiers
        foot = ground[min(max(int(centre), 0), width - 1)]
        top = foot - tall * (1 - away**0.88)
        line[lo:hi] = np.minimum(line[lo:hi], top)
    return line


def crowns(gen: np.random.Generator, ground: Array, size: float, gap: float) -> Array:
    """Raise round-headed trees and bushes out of a line of ground."""
    width = len(ground)
    line = ground.copy()
    gap = max(gap, 4.0)
    count = int(width / gap) + 2
    centres = ((np.arange(count) + gen.uniform(-0.5, 0.5, count)) * gap).tolist()
    radii = (size * gen.uniform(0.3, 0.62, count)).tolist()
    lifts = (size * gen.uniform(0.0, 0.4, count)).tolist()
    for centre, radius, lift in zip(centres, radii, lifts, strict=True):
        lo, hi = max(int(centre - radius), 0), min(int(centre + radius) + 1, width)
        if hi > lo:
            away = (np.arange(lo, hi, dtype=np.float32) - np.float32(centre)) / np.float32(radius)
            arc = ground[lo:hi] - lift - radius * np.sqrt(np.clip(1 - away**2, 0, 1))
            line[lo:hi] = np.minimum(line[lo:hi], arc)
    return line


def grass(gen: np.random.Generator, ground: Array, size: float) -> Array:
    """Blades of grass along a line of ground."""
    width = len(ground)
    gap = max(size * 0.08, 1.6)
    count = int(width / gap)
    line = ground.copy()
    if count < 2 or size < 2:
        return line
    roots = (np.arange(count) + gen.uniform(-0.5, 0.5, count)) * gap
    heights = size * gen.uniform(0.2, 1.0, count) ** 1.7
    lean = gen.uniform(-0.25, 0.25, count) * heights
    where = np.stack([roots - gap * 0.3, roots + lean, roots + gap * 0.3], 1)
    lift = np.stack([np.zeros(count), heights, np.zeros(count)], 1)
    order = np.argsort(where.ravel(), kind="stable")
    up = np.interp(np.arange(width), where.ravel()[order], lift.ravel()[order]).astype(np.float32)
    return line - up


def roofs(gen: np.random.Generator, width: int, base: float, unit: float, tall: float, focus: float) -> Array:
    """A skyline: flat roofs, setbacks and the odd mast, tallest near ``focus``."""
    line = np.full(width, np.float32(base))
    x = -unit * 0.05 * gen.random()
    while x < width:
        broad = unit * gen.uniform(0.045, 0.11)
        near = math.exp(-(((x + broad / 2 - focus) / (0.42 * max(unit, width * 0.45))) ** 2))
        height = tall * (0.22 + 0.42 * gen.random() + 0.5 * near * gen.random())
        lo, hi = max(round(x), 0), min(round(x + broad), width)
        if hi > lo:
            line[lo:hi] = base - height
            kind = gen.random()
            if kind < 0.3 and hi - lo > 6:
                inset = round(broad * gen.uniform(0.15, 0.3))
                line[lo + inset : max(hi - inset, lo + inset)] -= height * gen.uniform(0.06, 0.16)
            elif kind < 0.42 and hi - lo > 6:
                middle, half = (lo + hi) // 2, max(1, round(unit * 0.0022))
                line[middle - half : middle + half] -= height * gen.uniform(0.12, 0.25)
            elif kind < 0.5 and hi - lo > 4:
                line[lo:hi] -= np.linspace(0, broad * gen.uniform(0.3, 0.9), hi - lo, dtype=np.float32)
        x += broad + (unit * gen.uniform(0, 0.03) if gen.random() < 0.4 else 0)
    return line


def cloud_top(gen: np.random.Generator, width: int, centre: float, base: float, span: float, tall: float) -> Array:
    """The upper edge of one heaped cloud on a flat base."""
    line = np.full(width, np.float32(base))
    count = 9
    for k in range(count):
        share = (k + 0.5) / count * 2 - 1
        cx = centre + share * span * 0.5
        tower = tall * (0.18 + 0.82 * (1 - share**2) ** 1.5) * gen.uniform(0.6, 1.0)
        half = span * gen.uniform(0.1, 0.15)
        lo, hi = max(int(cx - half), 0), min(int(cx + half) + 1, width)
        if hi > lo:
            away = (np.arange(lo, hi, dtype=np.float32) - np.float32(cx)) / np.float32(half)
            line[lo:hi] = np.minimum(line[lo:hi], base - tower * np.sqrt(np.clip(1 - away**2, 0, 1)))
    return line


def clouds(gen: np.random.Generator, rows: int, cols: int, octaves: int = 4, stretch: float = 2.0) -> Array:
    """A coarse field of soft noise, 0 to 1, for clouds, nebulae and mist."""
    field = np.zeros((rows, cols), np.float32)
    cells, height, total = 2.2, 1.0, 0.0
    for _ in range(octaves):
        across, down = max(int(cells) + 2, 3), max(int(cells * stretch) + 2, 3)
        grid = gen.random((down, across), dtype=np.float32)
        y = np.linspace(0, down - 1.001, rows, dtype=np.float32)
        x = np.linspace(0, across - 1.001, cols, dtype=np.float32)
        yi, xi = y.astype(np.int64), x.astype(np.int64)
        yf, xf = y - yi, x - xi
        yf, xf = (yf * yf * (3 - 2 * yf))[:, None], (xf * xf * (3 - 2 * xf))[None, :]
        near, far = grid[yi], grid[yi + 1]
        top = near[:, xi] * (1 - xf) + near[:, xi + 1] * xf
        low = far[:, xi] * (1 - xf) + far[:, xi + 1] * xf
        field += (top * (1 - yf) + low * yf) * np.float32(height)
        total += height
        cells *= 2.0
        height *= 0.5
    return field / np.float32(total)


def curve(points: Sequence[tuple[float, ...]], steps: int = 5) -> list[tuple[float, ...]]:
    """A smooth line through points (Catmull-Rom), of any number of coordinates."""
    if len(points) < 3:
        return list(points)
    padded = [points[0], *points, points[-1]]
    found: list[tuple[float, ...]] = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(steps):
            t = step / steps
            found.append(
                tuple(
                    0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t**3)
                    for p, q, r, s in zip(a, b, c, d, strict=True)
                )
            )
    found.append(points[-1])
    return found
