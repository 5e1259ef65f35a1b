"""Water: the coast, lakes and rivers, and the world under the surface.

Invariant: water takes its colour from the sky above it; only its depth is its own.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from models.backends.drawing.canvas import Array
from models.backends.drawing.colours import RGB, mix, to_lch, tone
from models.backends.drawing.land import foreground, snowcap, stand_on, winding
from models.backends.drawing.shapes import conifers, crags, crowns, curve, grass, hills
from models.backends.drawing.sky import draw_sky
from models.backends.drawing.stage import Spot, Stage


def draw_sea(stage: Stage, top: float, bottom: float) -> None:
    """Open water from a row down, with the light's path on it and ripples that grow nearer."""
    palette, canvas, u = stage.palette, stage.canvas, stage.u
    first = mix(palette.horizon, palette.water, 0.35)
    canvas.gradient(
        top, max(bottom, top + 1), (0.0, first), (0.35, mix(first, palette.water, 0.7)), (1.0, palette.water)
    )
    _ripples(stage, top, bottom, tone(palette.water, max(to_lch(palette.water)[0] - 0.06, 0.08)), 90, 0.5)
    _ripples(stage, top, bottom, mix(first, palette.sky, 0.3), 70, 0.45)
    if stage.disc[2]:
        _glitter(stage, top, bottom)
    canvas.ridge(stage.flat(top - u * 0.001), mix(palette.horizon, palette.near, 0.3), bottom=top + max(1.0, u * 0.002))


def _ripples(stage: Stage, top: float, bottom: float, colour: RGB, number: int, alpha: float) -> None:
    rnd, u = stage.rnd, stage.u
    pen = stage.canvas.pen(0, top, stage.w, bottom)
    if not pen:
        return
    for _ in range(stage.count(number)):
        share = rnd.random() ** 1.6
        y = top + (bottom - top) * (0.01 + share)
        long = u * (0.012 + 0.11 * share) * rnd.uniform(0.5, 1.5)
        pen.ellipse(rnd.uniform(0, stage.w), y, long, max(u * (0.0006 + 0.0028 * share), 0.3))
    stage.canvas.ink(pen, colour, alpha=alpha)


def _glitter(stage: Stage, top: float, bottom: float) -> None:
    """The path of light under the sun or moon."""
    rnd, u = stage.rnd, stage.u
    x, _, radius = stage.disc
    span = min(bottom - top, u * 0.6)
    stage.canvas.glow(x, top, u * 0.4, stage.palette.disc, 0.35, ry=span * 0.8)
    box = stage.canvas.clip(0, top, stage.w, top + span)
    pen = stage.canvas.pen(x - u * 0.3, box[1], x + u * 0.3, top + span) if box else None
    if not pen:
        return
    for k in range(max(8, stage.count(46, 0))):
        share = ((k + rnd.random()) / max(8, stage.count(46, 0))) ** 1.35
        wide = radius * (0.55 + 0.9 * share) * (1 - 0.55 * share)
        long = wide * rnd.uniform(0.25, 1.0)
        pen.ellipse(
            x + rnd.uniform(-0.75, 0.75) * radius * (0.35 + share),
            top + span * share,
            long,
            max(u * (0.001 + 0.0042 * share), 0.35),
        )
    stage.canvas.ink(pen, stage.palette.disc, mix(stage.palette.disc, stage.palette.water, 0.35), alpha=0.85)


def coast(stage: Stage) -> Spot:
    """Sea to the horizon, headlands to one side, and a beach or open water in front."""
    draw_sky(stage)
    palette, u, rnd, gen = stage.palette, stage.u, stage.rnd, stage.gen
    open_water = (stage.reading.has("ocean", "wave", "surf") and rnd.random() < 0.6) or rnd.random() < 0.2
    draw_sea(stage, stage.horizon, stage.h)
    for k in range(rnd.choice((1, 2, 3))):
        _headland(stage, k)
    if open_water or stage.reading.subjects[:1] in (("boat",), ("rowboat",), ("whale",)):
        _swell(stage)
        y = stage.horizon + (stage.h - stage.horizon) * 0.34
        return Spot(stage.focus, y, u * 0.2, palette.near, palette.water, "water")
    edge = stage.horizon + (stage.h - stage.horizon) * rnd.uniform(0.42, 0.55)
    lean = (stage.canvas.x / stage.w - 0.5) * -stage.side * u * 0.2
    shore: Array = (edge + lean + hills(gen, stage.w, u * 0.55) * u * 0.09).astype(np.float32)
    sand = (
        mix(palette.depth(0.62), palette.pale, 0.16)
        if not stage.reading.has("black")
        else mix(palette.near, palette.land, 0.25)
    )
    wet = mix(sand, palette.water, 0.45)
    foam = mix(palette.pale, palette.horizon, 0.2)
    wash: Array = shore + hills(gen, stage.w, u * 0.3) * u * 0.018
    stage.canvas.ridge(
        shore - u * 0.028 - hills(gen, stage.w, u * 0.2) * u * 0.012, mix(palette.water, foam, 0.25), bottom=stage.h
    )
    stage.canvas.ridge(shore - u * 0.006, foam)
    stage.canvas.ridge(wash + u * 0.004, wet, sand, reach=u * 0.1)
    stage.canvas.ridge(wash + u * 0.045, sand, mix(sand, palette.near, 0.55), reach=stage.h - edge)
    spot = wash + u * 0.075
    if rnd.random() < 0.7:
        dune = (
            stage.h
            - u * 0.06
            - hills(gen, stage.w, u * 0.9) * u * 0.14
            + np.clip(1 - np.abs(stage.canvas.x - stage.focus) / (u * 0.5), 0, 1) * u * 0.2
        )
        blades = grass(gen, dune.astype(np.float32), u * 0.11)
        stage.canvas.ridge(blades, palette.near)
    return stand_on(stage, spot, 0.19)


def _headland(stage: Stage, k: int) -> None:
    gen, u, palette = stage.gen, stage.u, stage.palette
    side = -stage.side if k != 1 else stage.side
    reach = stage.w * 0.5 * stage.rnd.uniform(0.5, 0.95) / (1 + 0.25 * k)
    inward = (stage.w - stage.canvas.x) if side > 0 else stage.canvas.x
    rise = np.clip(1 - inward / np.float32(max(reach, 1)), 0, 1) ** 0.75
    body = 0.65 + 0.35 * crags(gen, stage.w, u * 0.16, 4)
    tall = u * (0.09 + 0.05 * k) * stage.rnd.uniform(0.8, 1.4)
    foot = stage.horizon + u * 0.004 + u * 0.022 * k
    line = (foot + 1 - rise * body * tall - (rise > 0) * 0.5).astype(np.float32)
    line = np.where(rise > 0.004, line, foot + 3).astype(np.float32)
    colour = palette.depth(0.25 + 0.22 * k)
    stage.canvas.ridge(line, colour, stage.haze(colour, 0.3), reach=tall, bottom=foot + 1)
    mirror = mix(palette.water, colour, 0.45)
    drop = np.where(rise > 0.004, foot + rise * body * tall * 0.55, foot - 3).astype(np.float32)
    _under(stage, drop, foot, mirror)


def _under(stage: Stage, line: Array, top: float, colour: RGB) -> None:
    """Fill between a row and a line below it, fading downwards: a short reflection."""
    start, end = max(math.ceil(top), 0), min(math.ceil(float(line.max())), stage.h)
    if end <= start:
        return
    rows = np.arange(start, end, dtype=np.float32)[:, None]
    fade = np.clip(1 - (rows - start) / max(end - start, 1), 0, 1) * 0.75
    stage.canvas.veil(np.clip(line - rows, 0, 1) * fade, (0, start, stage.w, end), colour)


def _swell(stage: Stage) -> None:
    """Broad waves that come nearer and darker."""
    palette, u, gen = stage.palette, stage.u, stage.gen
    room = stage.h - stage.horizon
    for k in range(4):
        share = (k + 1) / 4
        base = stage.horizon + room * (0.12 + 0.75 * share**1.25)
        line = base - hills(gen, stage.w, u * (0.2 + 0.3 * share)) * u * (0.02 + 0.07 * share)
        body = mix(palette.water, palette.near, 0.18 * k)
        crest = mix(body, palette.pale, 0.3)
        stage.canvas.ridge(line, crest, body, reach=u * 0.04)
        stage.canvas.ridge(line + u * (0.006 + 0.01 * share), body, mix(body, palette.near, 0.3), reach=u * 0.3)


def lake(stage: Stage) -> Spot:
    """Still water that mirrors the far shore, or a river winding out of the hills."""
    draw_sky(stage)
    palette, u, rnd, gen = stage.palette, stage.u, stage.rnd, stage.gen
    river = stage.reading.has("river", "stream", "creek", "brook", "canal") and not stage.reading.has("lake", "pond")
    for k in range(3):
        share = k / 3
        base = stage.horizon + u * 0.006 * k
        rough = crags(gen, stage.w, u * 0.42) if k < 2 and rnd.random() < 0.7 else hills(gen, stage.w, u * 0.5)
        line = base - rough * u * (0.26 - 0.08 * k) * rnd.uniform(0.6, 1.15)
        colour = palette.depth(0.1 + share * 0.75)
        stage.canvas.ridge(
            line, colour, stage.haze(colour, 0.5 - 0.3 * share), reach=u * 0.24, bottom=stage.horizon + 2
        )
        if k == 0 and rnd.random() < 0.4:
            snowcap(stage, line, u * 0.1, 0.7)
    trees = conifers if rnd.random() < 0.6 else crowns
    bank = trees(gen, stage.flat(stage.horizon + u * 0.012), u * 0.07, u * 0.026)
    stage.canvas.ridge(bank, palette.depth(0.72), bottom=stage.horizon + 2)
    if river:
        return _river(stage)
    mirror(stage, stage.horizon + 1)
    if rnd.random() < 0.5 and stage.reading.subjects[:1] not in (("boat",), ("rowboat",), ("heron",), ("whale",)):
        return foreground(stage, stage.h - u * 0.06, u * 0.07, kind="grass")
    _reeds(stage)
    y = stage.horizon + (stage.h - stage.horizon) * 0.36
    return Spot(stage.focus, y, u * 0.18, palette.near, palette.water, "water")


def _river(stage: Stage) -> Spot:
    palette, u, gen = stage.palette, stage.u, stage.gen
    room = stage.h - stage.horizon
    stage.canvas.gradient(
        stage.horizon, stage.h, (0.0, palette.depth(0.42)), (0.5, palette.depth(0.62)), (1.0, palette.near)
    )
    water = mix(palette.horizon, palette.water, 0.2)
    winding(stage, stage.horizon + 1, stage.h, 0.30, water, mix(palette.water, palette.sky, 0.3))
    for share in (0.25, 0.55):
        y = stage.horizon + room * share
        line = (y - hills(gen, stage.w, u * 0.5) * u * 0.05).astype(np.float32)
        side = (stage.canvas.x - (stage.w - stage.focus)) * stage.side
        line = (line + np.clip((u * 0.3 * share + u * 0.22 - side) * 0.6, 0, None)).astype(np.float32)
        trees = conifers(gen, line, u * (0.05 + 0.16 * share), u * (0.03 + 0.06 * share))
        stage.canvas.ridge(trees, palette.depth(0.6 + 0.35 * share), palette.near, reach=u * 0.5, bottom=stage.h)
    return foreground(stage, stage.h - u * 0.05, u * 0.09)


def mirror(stage: Stage, top: float) -> None:
    """Reflect what stands above a row into the water below it, broken into streaks."""
    canvas, gen = stage.canvas, stage.gen
    start = round(top)
    rows = stage.h - start
    if rows < 2 or start < 2:
        return
    depth = np.arange(rows, dtype=np.float32)
    wave = hills(gen, rows, max(stage.u * 0.014, 2), 2) - np.float32(0.5)
    squeeze = np.float32(min(1.0, 0.86))
    reach = depth / squeeze + wave * depth**0.75 * np.float32(0.5 * (stage.u / 500) ** 0.25)
    source = np.clip(start - 1 - reach, 0, start - 1).astype(np.int64)
    top_part = np.asarray(canvas.image.crop((0, 0, stage.w, start)))
    image = Image.fromarray(top_part[source])
    canvas.image.paste(image, (0, start))
    veil = np.linspace(0.2, 0.78, 24, dtype=np.float32)[:, None] * np.ones((1, 2), np.float32)
    canvas.veil(veil, (0, start, stage.w, stage.h), stage.palette.water)
    _ripples(stage, top, stage.h, mix(stage.palette.horizon, stage.palette.sky, 0.4), 60, 0.35)
    canvas.ridge(
        stage.flat(top), mix(stage.palette.horizon, stage.palette.sky, 0.3), bottom=top + max(1.0, stage.u * 0.0012)
    )


def _reeds(stage: Stage) -> None:
    rnd, u = stage.rnd, stage.u
    pen = stage.canvas.pen(0, stage.h - u * 0.42, stage.w, stage.h)
    if not pen:
        return
    side = -stage.side
    for _ in range(stage.count(34, 0.5)):
        x = stage.w * (0.5 + side * (0.5 - abs(rnd.gauss(0, 0.13))))
        tall, lean = u * rnd.uniform(0.08, 0.34), rnd.uniform(-0.25, 0.25)
        root = stage.h + u * 0.02
        tip = (x + lean * tall, root - tall)
        bend = (x + lean * tall * 0.3, root - tall * 0.55)
        pen.stroke([(x, root, u * 0.0032), (*bend, u * 0.0024), (*tip, u * 0.0006)])
        if rnd.random() < 0.35:
            pen.stroke([(*tip, u * 0.005), (tip[0] - lean * u * 0.04, tip[1] + u * 0.04, u * 0.005)])
    stage.canvas.ink(pen, stage.palette.near)


def underwater(stage: Stage) -> Spot:
    """Light from above, rays, a sea floor in three depths, kelp and a shoal."""
    palette, canvas, u, gen = stage.palette, stage.canvas, stage.u, stage.gen
    bright = mix(palette.horizon, palette.sky, 0.25)
    deep = tone(palette.near, max(0.13, to_lch(palette.near)[0]), 1.2)
    canvas.gradient(
        0, stage.h, (0.0, bright), (0.3, palette.sky), (0.68, palette.zenith), (1.0, mix(palette.zenith, deep, 0.6))
    )
    x = stage.w - stage.focus
    canvas.glow(x, -u * 0.05, u * 0.8, palette.pale, 0.75, ry=u * 0.5)
    _rays(stage, x)
    for k in range(3):
        share = k / 2
        base = stage.h * 0.98 - u * 0.20 * (1 - share)
        line = base - crags(gen, stage.w, u * 0.3) * u * (0.2 - 0.07 * share) - crowns_off(stage, share)
        colour = mix(palette.depth(0.35 + 0.6 * share), palette.zenith, 0.55 * (1 - share))
        canvas.ridge(line.astype(np.float32), colour, mix(colour, deep, 0.5), reach=u * 0.3)
        if k < 2:
            _shoal(stage, 0.35 + 0.4 * share, mix(colour, palette.sky, 0.2))
    _kelp(stage, deep)
    count = stage.count(40)
    across, down, big = (gen.random(count, dtype=np.float32) for _ in range(3))
    bx = np.float32(x) + (across - np.float32(0.5)) ** 3 * np.float32(4 * u)
    canvas.dots(bx, down * stage.h, u * (0.001 + 0.005 * big**3), 0.2 + 0.5 * big, palette.pale)
    return Spot(stage.focus, stage.h * 0.56, u * 0.22, deep, palette.sky, "air")


def crowns_off(stage: Stage, share: float) -> Array:
    """Rounded coral heads to add to a sea floor."""
    heads = crowns(stage.gen, stage.flat(0), stage.u * (0.03 + 0.05 * share), stage.u * 0.08)
    return -heads


def _rays(stage: Stage, x: float) -> None:
    rnd, u = stage.rnd, stage.u
    rows, cols = 64, 96
    across = np.linspace(0, stage.w, cols, dtype=np.float32)[None, :]
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None] * stage.h
    angle = np.arctan2(across - x, down + u * 0.35)
    beam = np.zeros((rows, cols), np.float32)
    for _ in range(6):
        beam += np.exp(-(((angle - rnd.uniform(-0.9, 0.9)) / rnd.uniform(0.02, 0.07)) ** 2)) * rnd.uniform(0.5, 1)
    fade = np.clip(1 - down / (stage.h * 0.85), 0, 1) ** 1.3
    stage.canvas.veil(beam * fade * 0.3, (0, 0, stage.w, stage.h), stage.palette.pale)


def _shoal(stage: Stage, level: float, colour: RGB) -> None:
    rnd, u = stage.rnd, stage.u
    pen = stage.canvas.pen(0, 0, stage.w, stage.h * 0.9)
    cx, cy, face = rnd.uniform(0.2, 0.8) * stage.w, stage.h * level, rnd.choice((-1, 1))
    if not pen:
        return
    for _ in range(stage.count(12, 0.4)):
        x, y, long = cx + rnd.gauss(0, 0.12) * u, cy + rnd.gauss(0, 0.045) * u, u * rnd.uniform(0.012, 0.022)
        pen.ellipse(x, y, long, long * 0.38)
        pen.polygon(
            (
                (x - face * long * 0.7, y),
                (x - face * long * 1.6, y - long * 0.45),
                (x - face * long * 1.6, y + long * 0.45),
            )
        )
    stage.canvas.ink(pen, colour)


def _kelp(stage: Stage, colour: RGB) -> None:
    rnd, u = stage.rnd, stage.u
    pen = stage.canvas.pen(0, stage.h - u * 0.75, stage.w, stage.h)
    if not pen:
        return
    for _ in range(stage.count(11)):
        x = stage.w * (0.5 - stage.side * (0.5 - abs(rnd.gauss(0, 0.16))))
        tall, phase = u * rnd.uniform(0.14, 0.6), rnd.uniform(0, 6)
        stem = [
            (x + math.sin(phase + k * 1.1) * u * 0.014 * k, stage.h - tall * k / 6, u * 0.008 * (1 - k / 7))
            for k in range(7)
        ]
        pen.stroke([(p[0], p[1], p[2]) for p in curve(stem, 4)])
        for k in range(1, 6):
            px, py, _ = stem[k]
            for side in (-1, 1):
                tip = (px + side * u * 0.036, py - u * 0.034)
                pen.polygon(
                    (
                        (px, py + u * 0.006),
                        (px + side * u * 0.025, py - u * 0.006),
                        tip,
                        (px + side * u * 0.008, py - u * 0.016),
                    )
                )
    stage.canvas.ink(pen, colour)
