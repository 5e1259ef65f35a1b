"""The city: skylines and streets.

Invariant: windows and lamps are lit only when the light of the picture says it is dark.
"""

from __future__ import annotations

import numpy as np

from models.backends.drawing.canvas import Array, Pen
from models.backends.drawing.colours import RGB, mix, tone
from models.backends.drawing.shapes import roofs
from models.backends.drawing.sky import draw_sky
from models.backends.drawing.stage import Spot, Stage
from models.backends.drawing.subjects import draw_giant
from models.backends.drawing.waters import mirror


def city(stage: Stage) -> Spot:
    """A skyline in depth, over water or rooftops."""
    draw_sky(stage)
    palette, canvas, u, rnd, gen = stage.palette, stage.canvas, stage.u, stage.rnd, stage.gen
    water = (
        stage.reading.has("river", "harbour", "harbor", "canal", "water", "bay", "bridge", "rain") or rnd.random() < 0.4
    )
    layers = 4
    tall = u * rnd.uniform(0.42, 0.6)
    for k in range(layers):
        share = k / (layers - 1)
        base = stage.horizon + (u * 0.012 if water else (stage.h - stage.horizon) * 0.5 * share)
        line = roofs(gen, stage.w, base, u * (0.75 + 0.45 * share), tall * (1 - 0.4 * share), stage.focus)
        colour = palette.depth(0.06 + 0.76 * share)
        end = stage.horizon + u * 0.014 if water else stage.h
        canvas.ridge(line, colour, stage.haze(colour, 0.5 * (1 - share * 0.7)), reach=tall * 0.8, bottom=end)
        if k >= 1:
            _windows(stage, line, base, share, colour)
        if k == 1:
            draw_giant(stage, base + u * 0.1, u * 0.66)
    if water:
        mirror(stage, stage.horizon + u * 0.012)
        quay = stage.h - u * 0.1 - stage.flat(0)
        canvas.ridge(quay, palette.depth(0.96), palette.near, reach=u * 0.1)
        _railing(stage, stage.h - u * 0.1)
        return Spot(stage.focus, stage.h - u * 0.098, u * 0.17, palette.near, palette.water)
    line = roofs(gen, stage.w, stage.h + u * 0.1, u * 2.2, u * 0.24, stage.w - stage.focus)
    line = np.maximum(line, stage.h - u * 0.24).astype(np.float32)
    shelf = np.abs(canvas.x - stage.focus) < u * 0.22
    line = np.where(shelf, stage.h - u * 0.13, line).astype(np.float32)
    canvas.ridge(line, palette.near, tone(palette.near, 0.1), reach=u * 0.24)
    return Spot(stage.focus, stage.h - u * 0.127, u * 0.17, palette.near, palette.depth(0.5))


def _windows(stage: Stage, line: Array, base: float, share: float, wall: RGB) -> None:
    """Lit windows by night, faint ones by day, on a grid under the roofs."""
    u, gen = stage.u, stage.gen
    gap_x, gap_y = max(u * 0.0135 * (0.7 + share * 0.6), 3), max(u * 0.019 * (0.7 + share * 0.6), 4)
    xs = np.arange(gap_x, stage.w - 1, gap_x)
    top = max(float(line.min()), 0)
    ys = np.arange(top, min(base, stage.h) - gap_y, gap_y)
    if not len(xs) or not len(ys):
        return
    lit = gen.random((len(ys), len(xs)))
    block = np.kron(gen.random((len(ys) // 5 + 1, len(xs) // 5 + 1)), np.ones((5, 5)))[: len(ys), : len(xs)]
    dark = stage.night > 0.3
    keep = lit < ((0.16 + 0.34 * block) if dark else 0.30)
    column = np.clip(xs.astype(np.int64), 0, stage.w - 1)
    half, tall = max(1, round(gap_x * 0.36)), max(1, round(gap_y * 0.42))
    roof = np.maximum.reduce(
        [
            line[column],
            line[np.clip(column - half - 1, 0, stage.w - 1)],
            line[np.clip(column + half + 1, 0, stage.w - 1)],
        ]
    )
    keep &= ys[:, None] > roof[None, :] + gap_y * 0.5
    colours = (
        (stage.palette.glow, mix(stage.palette.glow, stage.palette.pale, 0.45))
        if dark
        else (mix(wall, stage.palette.horizon, 0.25),) * 2
    )
    rows, cols = np.nonzero(keep)
    for row, col in zip(rows.tolist(), cols.tolist(), strict=True):
        x, y = int(xs[col]), int(ys[row])
        colour = mix(wall, colours[(row * 7 + col * 3) % 2], (0.5 + 0.5 * share) if dark else 0.6)
        stage.canvas.image.paste(colour, (x, y, min(x + half, stage.w), min(y + tall, stage.h)))


def _railing(stage: Stage, y: float) -> None:
    u = stage.u
    pen = stage.canvas.pen(0, y - u * 0.06, stage.w, y + 2)
    if pen:
        pen.rectangle(0, y - u * 0.05, stage.w, y - u * 0.0455)
        step = u * 0.09
        for k in range(int(stage.w / step) + 2):
            pen.rectangle(k * step, y - u * 0.05, k * step + u * 0.004, y + 2)
        stage.canvas.ink(pen, stage.palette.near)


def street(stage: Stage) -> Spot:
    """A street between house fronts that meet at a far point, with lamps and a wet road."""
    draw_sky(stage, clear=stage.night > 0.4)
    palette, canvas, u, rnd, gen = stage.palette, stage.canvas, stage.u, stage.rnd, stage.gen
    vx, vy = stage.w * 0.5 + (stage.focus - stage.w * 0.5) * 0.35, stage.h * rnd.uniform(0.56, 0.63)
    stage.horizon = vy
    canvas.glow(vx, vy - u * 0.08, u * 0.5, mix(palette.horizon, palette.glow, 0.45), 0.8)
    far = roofs(gen, stage.w, vy + 2, u * 0.5, u * 0.26, vx)
    canvas.ridge(far, stage.haze(palette.depth(0.2), 0.3), stage.haze(palette.depth(0.2), 0.6), reach=u * 0.2)
    road = mix(palette.depth(0.6), palette.horizon, 0.25)
    canvas.gradient(
        vy, stage.h, (0.0, mix(road, palette.horizon, 0.5)), (0.35, palette.depth(0.72)), (1.0, palette.near)
    )
    reach = max(stage.w, stage.h) * 0.5
    for side in (-1, 1):
        _fronts(stage, side, vx, vy, reach)
    if stage.night > 0.3 or "rain" in stage.reading.weather:
        _wet_road(stage, vx, vy)
    _wires(stage, vx, vy)
    y = vy + (stage.h - vy) * 0.52
    return Spot(vx + stage.side * u * 0.05, y, u * 0.23, palette.near, road)


def _fronts(stage: Stage, side: int, vx: float, vy: float, reach: float) -> None:
    """House fronts of one side, far to near, with doors, windows and awnings in perspective."""
    palette, canvas, u, rnd = stage.palette, stage.canvas, stage.u, stage.rnd
    depths = [0.06, 0.13, 0.24, 0.42, 0.75, 1.5]
    for k, (near_to, far_to) in enumerate(zip(depths[1:], depths, strict=False)):
        share = k / (len(depths) - 2)
        x0, x1 = vx + side * far_to * reach, vx + side * near_to * reach
        tall, low = rnd.uniform(0.75, 1.25), 0.36
        colour = mix(palette.depth(0.18 + 0.72 * share), palette.accent if rnd.random() < 0.4 else palette.land, 0.2)
        y0, y1 = vy - far_to * reach * tall, vy - near_to * reach * tall
        g0, g1 = vy + far_to * reach * low, vy + near_to * reach * low
        left, right = sorted((x0, x1))
        pen = canvas.pen(left - 1, min(y0, y1) - 1, right + 1, max(g0, g1) + 1)
        if not pen:
            continue
        pen.polygon(((x0, y0), (x1, y1), (x1, g1), (x0, g0)))
        canvas.ink(pen, mix(colour, palette.near, 0.35 * share), stage.haze(colour, 0.35 * (1 - share)))
        panes = canvas.pen(left, min(y0, y1), right, max(g0, g1))
        if panes:
            _panes(stage, panes, (x0, y0, g0), (x1, y1, g1))
            dark = stage.night > 0.3
            shine = rnd.choice((palette.glow, palette.glow_too))
            glow = mix(shine, palette.pale, 0.25)
            canvas.ink(panes, mix(colour, glow, 0.9 if dark else 0.3), mix(colour, shine, 0.95 if dark else 0.2))
        if share > 0.2 and rnd.random() < 0.8:
            _awning(stage, (x0, y0, g0), (x1, y1, g1))
    lamp = vx + side * 0.2 * reach
    if stage.night > 0.3:
        canvas.glow(lamp, vy - u * 0.12, u * 0.14, palette.glow, 0.8)
        canvas.disc(lamp, vy - u * 0.12, u * 0.012, mix(palette.glow, palette.pale, 0.5))


def _panes(stage: Stage, pen: Pen, far: tuple[float, float, float], near: tuple[float, float, float]) -> None:
    def at(across: float, up: float) -> tuple[float, float]:
        x, top, foot = (p + (q - p) * across for p, q in zip(far, near, strict=True))
        return x, foot + (top - foot) * up

    for row in range(4):
        low = 0.30 + row * 0.175
        for col in range(3):
            if stage.rnd.random() < (0.62 if stage.night > 0.3 else 0.9):
                left = 0.14 + col * 0.28
                pen.polygon((at(left, low), at(left + 0.14, low), at(left + 0.14, low + 0.105), at(left, low + 0.105)))
    pen.polygon((at(0.12, 0.02), at(0.62, 0.02), at(0.62, 0.185), at(0.12, 0.185)))


def _awning(stage: Stage, far: tuple[float, float, float], near: tuple[float, float, float]) -> None:
    (x0, y0, g0), (x1, y1, g1) = far, near
    drop0, drop1 = g0 + (y0 - g0) * 0.2, g1 + (y1 - g1) * 0.2
    out = (x0 - x1) * 0.22
    top0, top1 = g0 + (y0 - g0) * 0.25, g1 + (y1 - g1) * 0.25
    pen = stage.canvas.pen(min(x0, x1) - abs(out), min(top0, top1), max(x0, x1) + abs(out), max(drop0, drop1) + 2)
    if pen:
        pen.polygon(((x0, top0), (x1, top1), (x1 + out, drop1), (x0 + out * 0.6, drop0)))
        colour = mix(stage.palette.accent, stage.palette.near, 0.15)
        stage.canvas.ink(pen, colour, mix(colour, stage.palette.near, 0.4))


def _wet_road(stage: Stage, vx: float, vy: float) -> None:
    u, palette, rnd = stage.u, stage.palette, stage.rnd
    stage.canvas.glow(vx, vy, u * 0.3, mix(palette.horizon, palette.glow, 0.5), 0.7, ry=(stage.h - vy) * 0.9)
    pen = stage.canvas.pen(0, vy, stage.w, stage.h)
    if pen:
        for _ in range(stage.count(60, 0.3)):
            share = rnd.random() ** 1.4
            x = vx + rnd.gauss(0, 0.1 + 0.22 * share) * u
            pen.ellipse(
                x,
                vy + (stage.h - vy) * (0.03 + share),
                u * (0.008 + 0.05 * share),
                max(u * (0.0008 + 0.0024 * share), 0.3),
            )
        stage.canvas.ink(pen, mix(palette.glow, palette.horizon, 0.4), alpha=0.5)


def _wires(stage: Stage, vx: float, vy: float) -> None:
    """Strings of lanterns, or bare wires, across the street."""
    palette, u = stage.palette, stage.u
    if stage.small:
        return
    lit = stage.night > 0.3 or stage.reading.has("lantern", "festival", "market", "bazaar")
    for depth in (0.16, 0.34):
        half, y = stage.w * (0.1 + depth), vy - u * (0.18 + depth * 0.75)
        pen = stage.canvas.pen(0, y - u * 0.02, stage.w, y + u * 0.16)
        if not pen:
            continue
        points = [(vx + half * t, y + u * 0.06 * (1 - t * t), u * 0.0012) for t in np.linspace(-1, 1, 17).tolist()]
        pen.stroke(points)
        stage.canvas.ink(pen, palette.near, alpha=0.8)
        if lit:
            for x, py, _ in points[2:-1:2]:
                size = u * (0.008 + 0.018 * depth)
                stage.canvas.glow(x, py + size, size * 4, palette.glow, 0.6)
                stage.canvas.disc(x, py + size, size, mix(palette.glow, palette.pale, 0.35), palette.accent)
