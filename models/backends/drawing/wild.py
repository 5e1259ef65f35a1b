"""Enclosed and far-off places: forests, caves, ruins and space.

Invariant: every scene leaves one bright opening that the eye goes to, and returns a spot in front of it.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from models.backends.drawing.canvas import Array, Pen
from models.backends.drawing.colours import RGB, mix, to_lch, tone
from models.backends.drawing.land import foreground, knoll, stand_on
from models.backends.drawing.shapes import clouds, conifers, crags, crowns, grass, hills
from models.backends.drawing.sky import draw_sky, draw_stars
from models.backends.drawing.stage import Spot, Stage
from models.backends.drawing.waters import draw_sea


def forest(stage: Stage) -> Spot:
    """Either tall trunks close around us or ranks of spruces in the mist."""
    if stage.reading.has("jungle", "bamboo", "birch", "grove", "undergrowth", "rainforest", "redwood") or stage.chance(
        0.5
    ):
        return _trunks(stage)
    draw_sky(stage, clear=True)
    palette, u, gen = stage.palette, stage.u, stage.gen
    for k in range(5):
        share = k / 4
        base = stage.horizon + (stage.h - stage.horizon) * 0.6 * share - u * 0.06 * (1 - share)
        ground = base - hills(gen, stage.w, u * 0.8) * u * 0.14
        valley = np.exp(-(((stage.canvas.x - stage.focus) / (u * 0.5)) ** 2)) * u * 0.16
        line = conifers(
            gen, (ground + valley).astype(np.float32), u * (0.13 + 0.26 * share), u * (0.03 + 0.075 * share)
        )
        colour = palette.depth(0.08 + 0.72 * share)
        stage.canvas.ridge(line, colour, stage.haze(colour, 0.6 - 0.3 * share), reach=u * (0.34 + 0.2 * share))
    return foreground(stage, stage.h - u * 0.13, u * 0.09)


def _trunks(stage: Stage) -> Spot:
    palette, canvas, u, gen = stage.palette, stage.canvas, stage.u, stage.gen
    pale = mix(palette.horizon, palette.sky, 0.2)
    floor = stage.h * 0.8
    birch = stage.reading.has("birch")
    canvas.gradient(0, stage.h, (0.0, palette.sky), (0.55, pale), (0.8, palette.horizon), (1.0, palette.far))
    canvas.glow(stage.focus, stage.h * 0.55, u * 0.75, palette.disc, 0.6)
    for k in range(5):
        share = k / 4
        colour = palette.depth(0.06 + 0.86 * share)
        ground = floor - u * 0.14 * (1 - share) + hills(gen, stage.w, u * 0.5) * u * 0.05 + u * 0.05 * share
        pen = canvas.pen(0, 0, stage.w, float(ground.max()) + u * 0.06)
        if pen:
            _trunk_row(stage, pen, share, float(ground.mean()) + u * 0.05)
            bark = (
                mix(palette.pale, colour, 0.3 * share)
                if birch and share > 0.2
                else mix(colour, palette.sky, 0.15 * (1 - share))
            )
            canvas.ink(pen, bark, stage.haze(mix(bark, colour, 0.35), 0.45 * (1 - share)))
            if birch and share > 0.4 and not stage.small:
                _bark(stage, pen, share, colour)
        bush = crowns(gen, ground.astype(np.float32), u * (0.03 + 0.05 * share), u * 0.05)
        bush = grass(gen, np.where(hills(gen, stage.w, u * 0.3) > 0.5, bush, ground).astype(np.float32), u * 0.03)
        canvas.ridge(bush, colour, stage.haze(colour, 0.3 * (1 - share)), reach=u * 0.2)
        if k == 2:
            _shafts(stage)
    edge = np.clip(np.abs(stage.canvas.x - stage.focus) / (stage.w * 0.62), 0, 1) ** 1.6
    for share, deep in ((0.55, 0.22), (0.92, 0.14)):
        hang = edge * u * deep * (0.5 + hills(gen, stage.w, u * 0.3))
        leaves = hang - crowns(gen, stage.flat(0), u * 0.055, u * 0.022) * np.minimum(edge * 3, 1) - u * 0.02
        canvas.ceiling(leaves.astype(np.float32), palette.depth(share))
    return Spot(stage.focus, floor + u * 0.055, u * 0.17, palette.near, pale)


def _trunk_row(stage: Stage, pen: Pen, share: float, foot: float) -> None:
    rnd, u = stage.rnd, stage.u
    for k in range(stage.count(9 - 5 * share)):
        wide = u * (0.006 + 0.034 * share**1.5) * rnd.uniform(0.7, 1.3)
        x = rnd.uniform(0, stage.w)
        if share > 0.6 and abs(x - stage.focus) < u * 0.22:
            x = stage.focus + u * rnd.uniform(0.26, 0.5) * (1 if k % 2 else -1)
        lean, top = rnd.uniform(-0.03, 0.03) * u, -u * 0.05
        left = (x - wide * 1.35, foot), (x - wide * 0.8, foot - u * 0.1), (x + lean - wide * 0.55, top)
        right = (x + lean + wide * 0.55, top), (x + wide * 0.8, foot - u * 0.1), (x + wide * 1.35, foot)
        pen.polygon((*left, *right))
        for _ in range(2 if share < 0.9 else 1):
            y, side = foot * rnd.uniform(0.12, 0.55), rnd.choice((-1, 1))
            reach = u * rnd.uniform(0.06, 0.14) * (0.5 + share)
            pen.stroke(
                [
                    (x, y + reach * 0.3, wide * 0.3),
                    (x + side * reach * 0.6, y, wide * 0.2),
                    (x + side * reach, y - reach * 0.5, wide * 0.08),
                ]
            )


def _bark(stage: Stage, trunks: Pen, share: float, colour: RGB) -> None:
    """Dark flecks on the pale trunks of birches."""
    marks, rnd, u = Pen(trunks.box, trunks.fine), stage.rnd, stage.u
    for _ in range(stage.count(150)):
        long = u * (0.006 + 0.02 * share) * rnd.uniform(0.4, 1)
        marks.ellipse(rnd.uniform(0, stage.w), rnd.uniform(0, stage.h), long, u * (0.0012 + 0.0026 * share))
    stage.canvas.ink(marks, colour, alpha=0.8, within=trunks)


def _shafts(stage: Stage) -> None:
    """Slanting beams of light through the trees."""
    rnd = stage.rnd
    rows, cols = 48, 96
    across = np.linspace(0, stage.w, cols, dtype=np.float32)[None, :]
    down = np.linspace(0, stage.h, rows, dtype=np.float32)[:, None]
    slant = across + down * 0.55 * stage.side
    beam = np.zeros((rows, cols), np.float32)
    for _ in range(4):
        centre = stage.focus + stage.side * stage.h * 0.3 + rnd.uniform(-0.45, 0.45) * stage.u
        beam += np.exp(-(((slant - centre) / (stage.u * rnd.uniform(0.02, 0.06))) ** 2))
    fade = np.clip(1.1 - down / (stage.h * 0.9), 0, 1)
    stage.canvas.veil(beam * fade * 0.26, (0, 0, stage.w, stage.h), stage.palette.disc)


def cave(stage: Stage) -> Spot:
    """Rock mouths within rock mouths around a bright outside."""
    palette, canvas, u, rnd, gen = stage.palette, stage.canvas, stage.u, stage.rnd, stage.gen
    stage.focus, kept = stage.w - (stage.w / 2 + (stage.focus - stage.w / 2) * 0.5), stage.focus
    draw_sky(stage)
    stage.focus = kept
    if not palette.light.disc:
        canvas.glow(stage.focus, stage.horizon, u * 0.6, palette.accent, 0.6)
    far = stage.horizon - crags(gen, stage.w, u * 0.3) * u * 0.12
    canvas.ridge(far, palette.depth(0.12), palette.horizon, reach=u * 0.16)
    water = rnd.random() < 0.55 or stage.reading.has("lake", "pool", "sea", "water", "river")
    if water:
        draw_sea(stage, stage.horizon, stage.h)
    cx, cy = stage.w / 2 + (stage.focus - stage.w / 2) * 0.5, stage.horizon - u * 0.03
    angles = np.linspace(0, math.tau, 96, endpoint=False, dtype=np.float32)
    for k in range(4):
        share = k / 3
        rough = np.interp(angles, np.linspace(0, math.tau, 15), np.append(r := gen.random(14), r[0]))
        fine = np.interp(angles, np.linspace(0, math.tau, 45), np.append(r := gen.random(44), r[0]))
        radius = (0.25 + 0.27 * share) * (0.86 + 0.24 * rough + 0.07 * fine)
        px = cx + np.cos(angles) * radius * max(u, stage.w * 0.8)
        py = cy + np.sin(angles) * radius * max(u, stage.h * 0.8) * np.where(np.sin(angles) > 0, 0.66, 1.12)
        pen = canvas.pen(0, 0, stage.w, stage.h)
        if not pen:
            continue
        pen.rectangle(0, 0, stage.w, stage.h)
        pen.polygon(np.stack([px, py], 1), 0)
        rock = mix(mix(palette.land, palette.far, 0.25), palette.near, 0.2 + 0.8 * share**0.8)
        canvas.ink(pen, tone(rock, max(to_lch(rock)[0] - 0.05, 0.06)), rock)
    canvas.glow(cx, cy, u * 0.55, palette.disc, 0.22)
    ground = knoll(stage, stage.h * 0.9, u * 0.06)
    canvas.ridge(ground, tone(palette.near, 0.12))
    return stand_on(stage, ground, 0.17)


def ruins(stage: Stage) -> Spot:
    """Columns and an arch on a hill, in front of far ranges."""
    draw_sky(stage)
    palette, canvas, u, rnd, gen = stage.palette, stage.canvas, stage.u, stage.rnd, stage.gen
    for share in (0.05, 0.25):
        line = stage.horizon + u * 0.1 * share - hills(gen, stage.w, u * 0.5) * u * 0.16
        canvas.ridge(line, palette.depth(share), stage.haze(palette.far, 0.5), reach=u * 0.2)
    hill = knoll(stage, stage.horizon + (stage.h - stage.horizon) * 0.42, u * 0.12, 0.9)
    pen = canvas.pen(0, 0, stage.w, stage.h)
    stone = palette.depth(0.62)
    if pen:
        step, count = u * 0.105, stage.count(6, 0.3)
        tall = u * rnd.uniform(0.3, 0.4)
        foot = stage.height_at(hill, stage.focus) + u * 0.02
        start = stage.focus + stage.side * u * 0.05
        for k in range(count):
            x = start - stage.side * step * (k + 0.8)
            broken = 1.0 if k < 2 + (count > 4) else rnd.uniform(0.25, 0.9)
            _column(
                pen, x, max(foot, stage.height_at(hill, x) + u * 0.02), tall * broken, u * 0.018, whole=broken == 1.0
            )
        whole = 2 + (count > 4)
        left, right = sorted((start - stage.side * step * 0.5, start - stage.side * step * (whole + 0.1)))
        pen.rectangle(left, foot - tall - u * 0.036, right, foot - tall)
        pen.rectangle(left - u * 0.012, foot - tall - u * 0.05, right + u * 0.012, foot - tall - u * 0.034)
        canvas.ink(pen, stone, mix(stone, palette.near, 0.4))
    line = grass(gen, hill, u * 0.025)
    canvas.ridge(line, palette.depth(0.78), palette.near, reach=u * 0.35)
    vines = crowns(gen, (hill + u * 0.22).astype(np.float32), u * 0.1, u * 0.1)
    canvas.ridge(vines, palette.near)
    x = stage.focus + stage.side * u * 0.12
    return Spot(x, stage.height_at(hill, x) + u * 0.01, u * 0.15, palette.near, palette.horizon)


def _column(pen: Pen, x: float, foot: float, tall: float, half: float, *, whole: bool) -> None:
    top = foot - tall
    if whole:
        pen.polygon(((x - half, foot), (x - half * 0.82, top), (x + half * 0.82, top), (x + half, foot)))
        pen.rectangle(x - half * 1.35, top, x + half * 1.35, top + half * 0.7)
    else:
        pen.polygon(
            (
                (x - half, foot),
                (x - half * 0.9, top + half * 0.6),
                (x - half * 0.2, top),
                (x + half * 0.3, top + half),
                (x + half * 0.9, top + half * 0.3),
                (x + half, foot),
            )
        )
    pen.rectangle(x - half * 1.4, foot - half * 0.8, x + half * 1.4, foot + half)


def space(stage: Stage) -> Spot:
    """Stars, a nebula, a shaded planet, and the ground of another world."""
    palette, canvas, u, rnd, gen = stage.palette, stage.canvas, stage.u, stage.rnd, stage.gen
    deep = tone(palette.zenith, min(to_lch(palette.zenith)[0], 0.2))
    canvas.gradient(0, stage.h, (0.0, tone(deep, 0.13)), (0.6, deep), (1.0, mix(deep, palette.land, 0.45)))
    rows = 40
    cols = max(8, min(160, int(rows * stage.w / stage.h)))
    for colour, strength in ((palette.land, 0.7), (palette.accent, 0.42)):
        field = clouds(gen, rows, cols, 4, 1.0)
        canvas.veil(np.clip((field - 0.46) * 3, 0, 1) * strength, (0, 0, stage.w, stage.h), mix(colour, deep, 0.25))
    draw_stars(stage, stage.count(260), 0, stage.h * 1.2)
    x = stage.w - stage.focus + rnd.uniform(-0.05, 0.05) * u
    radius = u * rnd.uniform(0.13, 0.27)
    y = stage.h * rnd.uniform(0.26, 0.4)
    ringed = rnd.random() < 0.5
    planet(stage, x, y, radius, ringed=ringed)
    if rnd.random() < 0.7:
        planet(
            stage,
            x - stage.side * u * rnd.uniform(-0.34, -0.26),
            y + u * rnd.uniform(-0.12, 0.16),
            u * 0.032,
            ringed=False,
        )
    if stage.reading.subjects[:1] in (("rocket",), ("whale",)) or (not stage.reading.subjects and rnd.random() < 0.4):
        return Spot(stage.focus, stage.h * 0.66, u * 0.2, palette.near, deep, "air")
    return _moonscape(stage)


def planet(stage: Stage, x: float, y: float, radius: float, *, ringed: bool) -> None:
    """A banded globe lit from one side."""
    canvas, palette, gen = stage.canvas, stage.palette, stage.gen
    box = canvas.clip(x - radius, y - radius, x + radius, y + radius)
    if not box or radius < 1:
        return
    canvas.glow(x, y, radius * 1.9, palette.accent, 0.35)
    if ringed:
        _ring(stage, x, y, radius, front=False)
    size = int(min(max(radius, 10), 128))
    across = (np.arange(2 * size, dtype=np.float32) + 0.5) / size - 1
    bands = np.repeat(gen.random(14, dtype=np.float32), 2)
    level = np.interp(across[:, None] + 0.16 * across[None, :] ** 2, np.linspace(-1.2, 1.2, 28), bands).astype(
        np.float32
    )
    stops = [
        mix(palette.accent, palette.pale, s) if s > 0 else mix(palette.accent, palette.land, -s)
        for s in (-0.55, 0.05, 0.6)
    ]
    table = np.array(stops, np.float32)
    colours = np.stack([np.interp(level, (0.0, 0.5, 1.0), table[:, i]) for i in range(3)], -1)
    lit = across[None, :] * -0.72 * stage.side + across[:, None] * -0.35
    bulge = np.sqrt(np.clip(1 - across[None, :] ** 2 - across[:, None] ** 2, 0, 1))
    shade = np.clip((lit * -1 + bulge * 0.75 + 0.12) * 1.25, 0.0, 1)[..., None]
    dark = np.array(tone(palette.near, 0.12), np.float32)
    globe = Image.fromarray((dark + (colours - dark) * shade + 0.5).astype(np.uint8))
    whole = max(2, round(radius * 2))
    globe = globe.resize((whole, whole), Image.Resampling.BICUBIC)
    mask = Image.new("L", (whole * 2, whole * 2), 0)
    ImageDraw.Draw(mask).ellipse((1, 1, whole * 2 - 2, whole * 2 - 2), fill=255)
    canvas.image.paste(globe, (round(x - radius), round(y - radius)), mask.reduce(2))
    if ringed:
        _ring(stage, x, y, radius, front=True)


def _ring(stage: Stage, x: float, y: float, radius: float, *, front: bool) -> None:
    pen = stage.canvas.pen(x - radius * 2.2, y - radius if not front else y, x + radius * 2.2, y + radius)
    if not pen:
        return
    for outer, inner in ((2.1, 1.86), (1.8, 1.45)):
        pen.ellipse(x, y, radius * outer, radius * outer * 0.17)
        pen.ellipse(x, y, radius * inner, radius * inner * 0.17, 0)
    stage.canvas.ink(pen, mix(stage.palette.pale, stage.palette.accent, 0.35), alpha=0.8)


def _moonscape(stage: Stage) -> Spot:
    palette, canvas, u, gen = stage.palette, stage.canvas, stage.u, stage.gen
    spot: Array = stage.flat(stage.h)
    for k in range(3):
        share = k / 2
        base = stage.h - u * (0.26 - 0.13 * share)
        line = (
            base - crags(gen, stage.w, u * 0.35, 3) * u * 0.13 * (1 - share) - hills(gen, stage.w, u * 0.6) * u * 0.07
        )
        colour = mix(palette.depth(0.3 + 0.6 * share), palette.land, 0.2 * (1 - share))
        canvas.ridge(
            line.astype(np.float32),
            mix(colour, palette.pale, 0.12 * (1 - share)),
            mix(colour, palette.near, 0.5),
            reach=u * 0.24,
        )
        spot = line
    pen = canvas.pen(0, stage.h - u * 0.3, stage.w, stage.h)
    rim = canvas.pen(0, stage.h - u * 0.3, stage.w, stage.h)
    if pen and rim:
        for k in range(stage.count(7)):
            x = (k + stage.rnd.random()) / stage.count(7) * stage.w
            y = stage.height_at(spot, x) + u * stage.rnd.uniform(0.03, 0.16)
            wide = u * stage.rnd.uniform(0.012, 0.05)
            rim.ellipse(x, y, wide, wide * 0.22)
            pen.ellipse(x + stage.side * wide * 0.06, y + wide * 0.05, wide * 0.9, wide * 0.18)
        ground: RGB = palette.depth(0.9)
        canvas.ink(rim, mix(ground, palette.pale, 0.22))
        canvas.ink(pen, mix(ground, (0, 0, 0), 0.35))
    return Spot(stage.focus, stage.height_at(spot, stage.focus) + u * 0.012, u * 0.18, palette.near, palette.depth(0.2))
