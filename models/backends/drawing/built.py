"""Built places: skylines, streets, rooms and the photographer's studio.

Invariant: windows and lamps are lit only when the light of the picture says it is dark.
"""

from __future__ import annotations

import math

import numpy as np

from models.backends.drawing.canvas import Array, Pen
from models.backends.drawing.colours import RGB, mix, to_lch, tone
from models.backends.drawing.shapes import curve, hills, roofs
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


def interior(stage: Stage) -> Spot:
    """A room: a window with a view, light falling in, a table in front."""
    palette, canvas, u, rnd, gen = stage.palette, stage.canvas, stage.u, stage.rnd, stage.gen
    dark = stage.night > 0.3
    base = mix(palette.land, palette.zenith, 0.35)
    wall = tone(base, 0.34 if dark else 0.74, 0.85)
    wall = mix(wall, palette.light.tint, 0.22) if dark else mix(wall, palette.horizon, 0.35)
    canvas.gradient(
        0, stage.h, (0.0, tone(wall, to_lch(wall)[0] - 0.1)), (0.7, wall), (1.0, mix(wall, palette.near, 0.3))
    )
    wx, wy = stage.w - stage.focus, stage.h * 0.36
    wide, tall = u * rnd.uniform(0.15, 0.21), u * rnd.uniform(0.21, 0.26)
    _window(stage, wx, wy, wide, tall)
    if not dark:
        _light_patch(stage, wx, wy, wide, tall)
    table = stage.h * 0.76
    _shelf(stage, stage.focus, stage.h * 0.3)
    if dark or stage.reading.has("lamp", "lantern", "bulb", "pendant"):
        _pendant(stage, stage.focus - stage.side * u * 0.02, stage.h * 0.3)
    top = mix(palette.accent, palette.near, 0.35) if not dark else mix(palette.land, palette.near, 0.3)
    canvas.ridge(stage.flat(table), mix(top, palette.horizon, 0.28), mix(top, palette.near, 0.25), reach=u * 0.08)
    canvas.ridge(stage.flat(table + u * 0.085), mix(palette.near, top, 0.4), palette.near, reach=u * 0.2)
    if dark:
        canvas.glow(stage.focus, table + u * 0.03, u * 0.42, palette.glow, 0.5, ry=u * 0.07)
    _plant(stage, stage.w * 0.5 - stage.side * stage.w * 0.5, table)
    gen.random()
    ink = palette.near if to_lch(wall)[0] > 0.5 else mix(palette.accent, palette.pale, 0.25)
    return Spot(stage.focus, table + u * 0.045, u * 0.3, ink, wall, "table")


def _window(stage: Stage, x: float, y: float, wide: float, tall: float) -> None:
    palette, canvas, u, gen = stage.palette, stage.canvas, stage.u, stage.gen
    pen = canvas.pen(x - wide, y - tall, x + wide, y + tall)
    if not pen:
        return
    frame = mix(palette.near, palette.land, 0.35)
    pen.rectangle(x - wide, y - tall, x + wide, y + tall)
    canvas.ink(pen, palette.sky if stage.night < 0.4 else palette.zenith, palette.horizon)
    if palette.light.disc:
        canvas.disc(x + wide * 0.3, y - tall * 0.1, u * 0.04, palette.disc)
    for share in (0.2, 0.55):
        view = canvas.pen(x - wide, y - tall, x + wide, y + tall)
        if view:
            xs = np.linspace(x - wide, x + wide, 24)
            line = y + tall * (0.35 + 0.5 * share) - hills(gen, 24, 9) * tall * 0.5
            view.polygon([(x - wide, y + tall), *zip(xs.tolist(), line.tolist(), strict=True), (x + wide, y + tall)])
            canvas.ink(view, palette.depth(share), stage.haze(palette.depth(share), 0.4))
    bars = canvas.pen(x - wide * 1.15, y - tall * 1.1, x + wide * 1.15, y + tall * 1.15)
    if bars:
        t = u * 0.008
        for left, top, right, foot in ((-wide - t, -tall - t, wide + t, -tall + t), (-wide - t, tall - t, wide + t, tall + t),
                                       (-wide - t, -tall, -wide + t, tall), (wide - t, -tall, wide + t, tall),
                                       (-t * 0.6, -tall, t * 0.6, tall), (-wide, -tall * 0.25 - t * 0.6, wide, -tall * 0.25 + t * 0.6),
                                       (-wide * 1.1, tall, wide * 1.1, tall + t * 2.2)):  # fmt: skip
            bars.rectangle(x + left, y + top, x + right, y + foot)
        canvas.ink(bars, frame)


def _light_patch(stage: Stage, x: float, y: float, wide: float, tall: float) -> None:
    """Sunlight from the window on the wall."""
    u, towards = stage.u, stage.side
    pen = stage.canvas.pen(0, 0, stage.w, stage.h * 0.76)
    if not pen:
        return
    for col in (-1, 1):
        for top, foot in ((-1.0, -0.28), (-0.2, 0.95)):
            a, b = sorted((col * wide * 0.08, col * wide * 0.95))
            shift = towards * u * 0.34
            pen.polygon([(x + shift + a + towards * tall * r * 0.3, y + u * 0.12 + tall * r) for r in (top, foot)]
                        + [(x + shift + b + towards * tall * r * 0.3, y + u * 0.12 + tall * r) for r in (foot, top)])  # fmt: skip
    stage.canvas.ink(pen, mix(stage.palette.disc, stage.palette.light.tint, 0.3), alpha=0.42)


def _shelf(stage: Stage, x: float, y: float) -> None:
    u, rnd, palette = stage.u, stage.rnd, stage.palette
    pen = stage.canvas.pen(x - u * 0.24, y - u * 0.2, x + u * 0.24, y + u * 0.03)
    if not pen or stage.small:
        return
    pen.rectangle(x - u * 0.17, y, x + u * 0.17, y + u * 0.009)
    at = x - u * 0.15
    while at < x + u * 0.12:
        wide, tall = u * rnd.uniform(0.012, 0.034), u * rnd.uniform(0.035, 0.09)
        if wide < u * 0.02:
            pen.rectangle(at, y - tall, at + wide, y)
        else:
            pen.rectangle(at, y - tall * 0.75, at + wide, y)
            pen.rectangle(at + wide * 0.25, y - tall, at + wide * 0.75, y - tall * 0.7)
        at += wide + u * rnd.uniform(0.004, 0.03)
    shade = mix(palette.land, palette.near, 0.5)
    stage.canvas.ink(pen, shade, alpha=0.75)


def _pendant(stage: Stage, x: float, y: float) -> None:
    u, palette, canvas = stage.u, stage.palette, stage.canvas
    canvas.glow(x, y + u * 0.04, u * 0.62, palette.glow, 0.55)
    cone = np.linspace(0, 1, 40, dtype=np.float32)[:, None]
    across = np.abs(np.linspace(-1, 1, 60, dtype=np.float32))[None, :]
    beam = np.clip(1.2 - across / (0.18 + 0.82 * cone), 0, 1) * (1 - cone) * 0.4
    canvas.veil(beam.astype(np.float32), (x - u * 0.36, y + u * 0.03, x + u * 0.36, stage.h * 0.76), palette.glow)
    pen = canvas.pen(x - u * 0.1, 0, x + u * 0.1, y + u * 0.1)
    if pen:
        pen.rectangle(x - u * 0.002, 0, x + u * 0.002, y)
        arc = [
            (x + math.cos(a) * u * 0.075, y + u * 0.035 - math.sin(a) * u * 0.06)
            for a in np.linspace(0, math.pi, 24).tolist()
        ]
        pen.polygon(arc)
        canvas.ink(pen, palette.near)
    canvas.disc(x, y + u * 0.04, u * 0.018, mix(palette.glow, palette.pale, 0.6))


def _plant(stage: Stage, x: float, y: float) -> None:
    """Large leaves that lean in from the edge."""
    u, rnd = stage.u, stage.rnd
    inward = 1 if x < stage.w / 2 else -1
    pen = stage.canvas.pen(x - u * 0.4, y - u * 0.5, x + u * 0.4, stage.h)
    if not pen:
        return
    for k in range(8):
        angle = math.radians(8 + k * 13 + rnd.uniform(-5, 5))
        long = u * rnd.uniform(0.2, 0.36)
        dx, dy = inward * math.cos(angle), -math.sin(angle)
        root = (x + inward * u * 0.02, y - u * 0.03)
        bend = (root[0] + dx * long * 0.55, root[1] + dy * long * 0.75)
        tip = (root[0] + dx * long, root[1] + dy * long * 0.8 + u * 0.03 * math.cos(angle))
        leaf = [
            (*root, u * 0.003),
            ((root[0] + bend[0]) / 2, (root[1] + bend[1]) / 2, u * 0.005),
            (*bend, u * 0.024),
            (*tip, u * 0.001),
        ]
        pen.stroke([(p[0], p[1], max(p[2], 0.3)) for p in curve(leaf, 2 if stage.small else 5)])
    pen.polygon(
        (
            (x - u * 0.09, y - u * 0.03),
            (x + u * 0.09, y - u * 0.03),
            (x + u * 0.065, y + u * 0.12),
            (x - u * 0.065, y + u * 0.12),
        )
    )
    stage.canvas.ink(pen, mix(stage.palette.near, stage.palette.land, 0.12))


def studio(stage: Stage) -> Spot:
    """A seamless backdrop with a disc of colour and a plinth."""
    palette, canvas, u, rnd = stage.palette, stage.canvas, stage.u, stage.rnd
    wall = mix(palette.zenith, palette.horizon, 0.35)
    canvas.gradient(
        0,
        stage.h,
        (0.0, mix(wall, palette.zenith, 0.4)),
        (0.62, palette.horizon),
        (0.78, wall),
        (1.0, mix(wall, palette.land, 0.35)),
    )
    x, floor = stage.w * 0.5, stage.h * 0.78
    canvas.glow(x - stage.side * u * 0.3, stage.h * 0.2, u * 0.8, palette.pale, 0.55)
    radius = u * rnd.uniform(0.24, 0.31)
    canvas.disc(
        x + stage.side * u * 0.1, stage.h * 0.42, radius, palette.accent, mix(palette.accent, palette.horizon, 0.35)
    )
    arch = canvas.pen(x - u * 0.5, stage.h * 0.2, x + u * 0.5, floor)
    if arch and rnd.random() < 0.6:
        ax, half = x - stage.side * u * 0.2, u * 0.12
        arch.rectangle(ax - half, stage.h * 0.42, ax + half, floor)
        arch.ellipse(ax, stage.h * 0.42, half, half)
        canvas.ink(arch, palette.depth(0.42), palette.depth(0.55))
    wide, top = u * 0.17, floor - u * 0.14
    canvas.glow(x + stage.side * u * 0.12, floor + u * 0.04, u * 0.36, palette.near, 0.55, ry=u * 0.07)
    body = canvas.pen(x - wide, top - u * 0.05, x + wide, floor + u * 0.08)
    if body:
        body.rectangle(x - wide, top, x + wide, floor + u * 0.02)
        body.ellipse(x, floor + u * 0.02, wide, wide * 0.2)
        canvas.ink(body, mix(palette.pale, palette.land, 0.35), mix(palette.land, palette.near, 0.3))
    lid = canvas.pen(x - wide, top - wide * 0.2, x + wide, top + wide * 0.2)
    if lid:
        lid.ellipse(x, top, wide, wide * 0.2)
        canvas.ink(lid, mix(palette.pale, palette.horizon, 0.4))
    return Spot(x, top + u * 0.012, u * 0.3, palette.near, palette.accent, "table")
