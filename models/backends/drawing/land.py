"""Open land: mountains, snow, deserts, meadows, and the poster landscape drawn when no place is named.

Invariant: land is drawn from far to near, and each nearer layer has less of the air's colour in it.
"""

from __future__ import annotations

import math

import numpy as np

from models.backends.drawing.canvas import Array
from models.backends.drawing.colours import RGB, mix, to_lch, tone
from models.backends.drawing.shapes import conifers, crags, crests, crowns, curve, gaps, grass, hills
from models.backends.drawing.sky import draw_sky
from models.backends.drawing.stage import Spot, Stage

_SNOWY = ("snow", "snowy", "alpine", "glacier", "winter", "alps", "himalaya")


def knoll(stage: Stage, base: float, rise: float, spread: float = 0.55) -> Array:
    """A near rise in the ground with its top under the focus."""
    away = (stage.canvas.x - np.float32(stage.focus)) / np.float32(stage.u * spread)
    wobble = hills(stage.gen, stage.w, stage.u * 0.6) - np.float32(0.5)
    line: Array = (base - rise * np.exp(-(away**2)) - wobble * stage.u * 0.03).astype(np.float32)
    return line


def stand_on(stage: Stage, line: Array, size: float = 0.17, share: float = 1.0) -> Spot:
    """The spot where a subject stands on a line of ground."""
    y = stage.height_at(line, stage.focus) + stage.u * 0.006
    return Spot(stage.focus, y, stage.u * size, stage.palette.near, stage.haze(stage.palette.land, 0.5 * share))


def foreground(stage: Stage, base: float, rise: float, *, kind: str = "grass") -> Spot:
    """The nearest, darkest ground, with growth along it and room for a subject."""
    palette, u = stage.palette, stage.u
    ground = knoll(stage, base, rise)
    line = ground
    dark = palette.depth(0.92)
    if kind == "grass":
        line = grass(stage.gen, ground, u * 0.03)
    elif kind == "trees":
        line = conifers(stage.gen, ground + u * 0.02, u * 0.3, u * 0.075)
        clearing = np.exp(-(((stage.canvas.x - stage.focus) / (u * 0.26)) ** 4)) * u * 0.34
        line = np.minimum(line + clearing.astype(np.float32), grass(stage.gen, ground, u * 0.02))
    stage.canvas.ridge(line, dark, tone(palette.near, max(to_lch(palette.near)[0] - 0.05, 0.06)), reach=u * 0.4)
    return stand_on(stage, ground)


def mountains(stage: Stage) -> Spot:
    """Ranges behind ranges, the last one wooded."""
    draw_sky(stage)
    palette, u, rnd, gen = stage.palette, stage.u, stage.rnd, stage.gen
    ranges = rnd.choice((4, 5, 6))
    room = stage.h - stage.horizon
    peak = rnd.uniform(0.26, 0.42)
    capped = stage.reading.has(*_SNOWY) or rnd.random() < 0.4
    for k in range(ranges):
        share = k / ranges
        base = stage.horizon + room * 0.62 * share**1.2 + u * 0.02
        tall = u * (peak * (1 - share) ** 1.2 + 0.09)
        period = u * rnd.uniform(0.34, 0.55) * (1 - 0.35 * share)
        line = base - crags(gen, stage.w, period) * tall
        if k == 1:
            away = (stage.canvas.x - (stage.w - stage.focus)) / (u * 0.42)
            line = line - np.exp(-np.abs(away) * 1.6).astype(np.float32) * u * peak * 0.45
        colour = palette.depth(share * 0.85)
        stage.canvas.ridge(line, colour, stage.haze(colour, 0.55 - 0.25 * share), reach=tall * 1.15)
        if k == 1 and capped:
            snowcap(stage, line, tall * 0.5, 0.85)
        elif 0 < k < ranges - 2:
            facets(stage, line, tall * 0.9, mix(colour, palette.near, 0.4), 0.5)
        if k == ranges - 2:
            wood = conifers(gen, line + u * 0.01, u * 0.05, u * 0.016)
            tree = palette.depth(share + 0.12)
            stage.canvas.ridge(wood, tree, stage.haze(tree, 0.35), reach=tall * 1.2)
    kind = "grass" if rnd.random() < 0.45 else "trees"
    return foreground(stage, stage.horizon + room * 0.82, u * 0.1, kind=kind)


def _shaded(stage: Stage, line: Array, start: int, end: int) -> tuple[Array, Array]:
    """Rows from start to end: how far below the line each pixel is, and 1 where the slope faces away from the light."""
    u = stage.u
    wide = max(3, int(u * 0.05) | 1)
    calm = np.convolve(np.pad(line, wide // 2, mode="edge"), np.full(wide, 1 / wide, np.float32), "valid")[: stage.w]
    side = 1 if stage.disc[0] < stage.w / 2 else -1
    away = (np.gradient(calm) * side > 0) if stage.w > 1 else np.zeros(1, bool)
    rows = np.arange(start, end, dtype=np.float32)[:, None]
    jag = crags(stage.gen, end - start, max(u * 0.05, 3), 3)[:, None] - np.float32(0.4)
    shift = (rows - start) * np.float32(0.22 * side) + jag * np.float32(u * 0.02)
    columns = np.clip(stage.canvas.x[None, :] + shift, 0, stage.w - 1).astype(np.int32)
    return rows - line, away[columns].astype(np.float32)


def facets(stage: Stage, line: Array, depth: float, colour: RGB, alpha: float) -> None:
    """Shade the sides of peaks that face away from the light, less and less towards the foot."""
    start = max(math.floor(float(line.min())) - 1, 0)
    end = min(math.ceil(start + depth), stage.h)
    if end - start < 4 or stage.small:
        return
    below, away = _shaded(stage, line, start, end)
    fade = np.linspace(alpha, 0, end - start, dtype=np.float32)[:, None]
    stage.canvas.veil(np.clip(below, 0, 1) * away * fade, (0, start, stage.w, end), colour)


def snowcap(stage: Stage, line: Array, depth: float, alpha: float) -> None:
    """Snow on the upper part of a range, with a ragged lower edge, a lit and a shaded side."""
    top = float(line.min())
    ragged = crags(stage.gen, stage.w, max(stage.u * 0.06, 3), 3) * depth * 0.9
    edge = np.minimum(top + depth * 0.35 + ragged, line + depth)
    start, end = max(math.floor(top) - 1, 0), min(math.ceil(float(edge.max())) + 1, stage.h)
    if end - start < 3:
        return
    below, away = _shaded(stage, line, start, end)
    rows = np.arange(start, end, dtype=np.float32)[:, None]
    cover = np.clip(below, 0, 1) * np.clip(edge - rows, 0, 1) * np.float32(alpha)
    white = mix(stage.palette.pale, stage.palette.horizon, 0.1)
    stage.canvas.veil(cover, (0, start, stage.w, end), white)
    stage.canvas.veil(cover * away, (0, start, stage.w, end), mix(white, stage.palette.zenith, 0.42))


def snow(stage: Stage) -> Spot:
    """Pale drifts, far peaks and spruces standing in the cold."""
    draw_sky(stage)
    palette, u, rnd, gen = stage.palette, stage.u, stage.rnd, stage.gen
    room = stage.h - stage.horizon
    far = stage.horizon - crags(gen, stage.w, u * rnd.uniform(0.3, 0.5)) * u * rnd.uniform(0.26, 0.4)
    colour = palette.depth(0.2)
    stage.canvas.ridge(far, colour, stage.haze(colour, 0.6), reach=u * 0.3)
    snowcap(stage, far, u * 0.16, 0.85)
    white = mix(palette.pale, palette.horizon, 0.3 + 0.4 * stage.night)
    shadow = mix(white, palette.zenith, 0.5)
    spot: Array = far
    for k in range(4):
        share = k / 3
        base = stage.horizon + room * (0.06 + 0.62 * share**1.2)
        line = base - hills(gen, stage.w, u * (0.8 - 0.1 * k)) * u * 0.11
        if k in (1, 2):
            tree = stage.haze(palette.depth(0.45 + 0.35 * share), 0.3 * (1 - share))
            wood = conifers(gen, line + u * 0.012, u * (0.07 + 0.14 * share), u * (0.022 + 0.05 * share))
            wood = wood + gaps(gen, stage.w, u * 0.35, u * (0.09 + 0.16 * share))
            stage.canvas.ridge(wood, tree, mix(tree, white, 0.3), reach=u * 0.25, bottom=float(line.max()) + 2)
        stage.canvas.ridge(
            line, mix(white, palette.pale, 0.35 * share), mix(shadow, white, 0.25), reach=u * (0.16 + 0.25 * share)
        )
        spot = line
    y = stage.height_at(spot, stage.focus) + u * 0.05
    return Spot(stage.focus, y, u * 0.17, palette.near, shadow)


def desert(stage: Stage) -> Spot:
    """Dunes with a lit and a shaded side, or mesas on the skyline."""
    draw_sky(stage, clear=True)
    palette, u, rnd, gen = stage.palette, stage.u, stage.rnd, stage.gen
    room = stage.h - stage.horizon
    if rnd.random() < 0.55 or stage.reading.has("mesa", "canyon", "butte", "badland"):
        _mesas(stage)
    else:
        line = stage.horizon - hills(gen, stage.w, u * 0.5) * u * 0.08
        stage.canvas.ridge(line, palette.depth(0.1), stage.haze(palette.far, 0.5), reach=u * 0.1)
    spot: Array = stage.flat(stage.horizon)
    for k in range(4):
        share = (k + 0.6) / 4
        base = stage.horizon + room * (0.04 + 0.66 * share**1.35)
        tall = u * (0.10 + 0.12 * share)
        line = base - hills(gen, stage.w, u * (0.3 + 0.28 * k), 1) * tall
        lit = mix(palette.depth(0.25 + 0.32 * share), palette.pale, 0.28 * (1 - share) + 0.08)
        foot = mix(lit, palette.depth(0.6), 0.35)
        stage.canvas.ridge(line, lit, foot, reach=tall * 1.8)
        _lee(stage, line, tall, mix(lit, palette.near, 0.38 + 0.12 * share))
        spot = line
    y = stage.height_at(spot, stage.focus) + u * 0.008
    return Spot(stage.focus, y, u * 0.14, palette.near, palette.depth(0.4))


def _lee(stage: Stage, line: Array, tall: float, shade: RGB) -> None:
    """The shaded face of each dune: from its crest down a curved edge into the valley."""
    side = 1 if stage.disc[0] < stage.w / 2 else -1
    top = float(line.min())
    pen = stage.canvas.pen(0, top, stage.w, float(line.max()) + tall)
    if not pen:
        return
    for left, crest, right in crests(line, int(stage.u * 0.15)):
        valley = right if side > 0 else left
        reach = min(abs(valley - crest), int(stage.u * 0.5))
        end = min(max(crest + side * reach, 0), stage.w - 1)
        columns = np.linspace(crest, end, 16).astype(int)
        edge = [(float(x), float(line[x]) - 0.5) for x in columns]
        px, py = float(crest), float(line[crest])
        drop = float(line[end]) - py + tall * 0.75
        spine = [(px, py), (px + side * reach * 0.05, py + drop * 0.2), (px + side * reach * 0.22, py + drop * 0.42),
                 (px + side * reach * 0.30, py + drop * 0.64), (px + side * reach * 0.62, py + drop * 0.86),
                 (float(end), float(line[end]))]  # fmt: skip
        pen.polygon([*edge, *((p[0], p[1]) for p in reversed(curve(spine, 6)))])
    mask = np.asarray(pen.mask.reduce(pen.fine), np.float32) / 255
    rows = np.arange(pen.box[1], pen.box[3], dtype=np.float32)[:, None]
    fade = np.clip(1 - (rows - line) / np.float32(tall), 0, 1)
    stage.canvas.veil(mask * fade, pen.box, shade)


def _mesas(stage: Stage) -> None:
    gen, u, palette = stage.gen, stage.u, stage.palette
    for share in (0.1, 0.3):
        line = stage.flat(stage.horizon + u * 0.01)
        for _ in range(stage.count(3)):
            middle, half = gen.uniform(0, stage.w), u * gen.uniform(0.05, 0.16)
            tall = u * gen.uniform(0.07, 0.2) * (0.6 + share)
            away = np.abs(stage.canvas.x - np.float32(middle)) / np.float32(half)
            top = np.clip((1.25 - away) * 4.5, 0, 1) * 0.7 + np.clip((1.9 - away) * 1.1, 0, 1) * 0.3
            line = np.minimum(line, stage.horizon + u * 0.01 - top.astype(np.float32) * np.float32(tall))
        line = line - hills(gen, stage.w, max(u * 0.02, 3)) * u * 0.006
        colour = palette.depth(share + 0.12)
        stage.canvas.ridge(line.astype(np.float32), colour, stage.haze(colour, 0.5), reach=u * 0.2)


def meadow(stage: Stage) -> Spot:
    """Rolling fields, hedges, a lone tree, and flowers close by."""
    draw_sky(stage)
    palette, u, gen = stage.palette, stage.u, stage.gen
    room = stage.h - stage.horizon
    spot: Array = stage.flat(stage.horizon)
    for k in range(5):
        share = k / 4
        base = stage.horizon + room * (0.03 + 0.62 * share**1.3)
        line = base - hills(gen, stage.w, u * (0.5 + 0.18 * k)) * u * (0.08 + 0.05 * share)
        colour = mix(palette.depth(0.15 + 0.55 * share), palette.pale, 0.12 * (1 - share) + (0.08 if k % 2 else 0))
        if k in (1, 2, 3):
            tree = palette.depth(0.4 + 0.4 * share)
            hedge = crowns(gen, line + u * 0.008, u * (0.02 + 0.04 * share), u * (0.03 + 0.05 * share))
            hedge = hedge + gaps(gen, stage.w, u * 0.3, u * (0.04 + 0.06 * share))
            stage.canvas.ridge(
                hedge, stage.haze(tree, 0.3 * (1 - share)), tree, reach=u * 0.06, bottom=float(line.max()) + 2
            )
        stage.canvas.ridge(line, colour, mix(colour, palette.near, 0.22 + 0.2 * share), reach=room * 0.42)
        if k in (2, 3) and not stage.small:
            _furrows(stage, line, colour)
        spot = line
    y = stage.height_at(spot, stage.focus) + u * 0.02
    _flowers(stage, stage.horizon + room * 0.74)
    return Spot(stage.focus, y, u * 0.17, palette.near, palette.depth(0.5))


def _furrows(stage: Stage, line: Array, colour: RGB) -> None:
    """Rows of a field that meet at a far point."""
    u, rnd = stage.u, stage.rnd
    x = rnd.uniform(0.1, 0.9) * stage.w
    y = stage.height_at(line, x)
    pen = stage.canvas.pen(0, y, stage.w, min(y + u * 0.3, stage.h))
    if not pen:
        return
    for k in range(-9, 10):
        reach = k * u * 0.085
        pen.polygon(
            (
                (x + reach * 0.3, y),
                (x + reach * 1.6 + u * 0.014, y + u * 0.3),
                (x + reach * 1.6 - u * 0.014, y + u * 0.3),
            )
        )
    inside = pen.mask.reduce(pen.fine)
    rows = np.arange(pen.box[1], pen.box[3], dtype=np.float32)[:, None]
    near = np.exp(-(((stage.canvas.x - x) / (u * 0.42)) ** 2))
    part = np.clip((rows - line) / (u * 0.03), 0, 1) * near * np.clip((y + u * 0.3 - rows) / (u * 0.2), 0, 1)
    cover = np.asarray(inside, np.float32) / 255 * part * 0.4
    stage.canvas.veil(cover, pen.box, mix(colour, stage.palette.near, 0.55))


def _flowers(stage: Stage, base: float) -> None:
    """Grasses along the lower edge with flower heads in the accent colour."""
    palette, u, gen = stage.palette, stage.u, stage.gen
    ground = base + u * 0.12 - hills(gen, stage.w, u * 0.7) * u * 0.07
    stage.canvas.ridge(
        grass(gen, ground.astype(np.float32), u * 0.12), palette.near, palette.depth(0.85), reach=u * 0.3
    )
    if stage.small:
        return
    cluster = stage.w * (0.5 - stage.side * 0.3)
    stems, heads = (
        stage.canvas.pen(0, base - u * 0.2, stage.w, stage.h),
        stage.canvas.pen(0, base - u * 0.25, stage.w, stage.h),
    )
    hearts = stage.canvas.pen(0, base - u * 0.25, stage.w, stage.h)
    if not (stems and heads and hearts):
        return
    for _ in range(stage.count(26)):
        x = cluster + stage.rnd.gauss(0, 0.2) * u if stage.chance(0.7) else stage.rnd.uniform(0, stage.w)
        root = stage.height_at(ground, x) + u * 0.05
        tall, size, lean = (
            u * stage.rnd.uniform(0.06, 0.19),
            u * stage.rnd.uniform(0.007, 0.017),
            stage.rnd.uniform(-0.2, 0.2),
        )
        tip = (x + lean * tall, root - tall)
        if tip[1] > stage.h - u * 0.14 and x < stage.w * 0.6:
            continue
        stems.stroke([(x, root, u * 0.0016), (x + lean * tall * 0.3, root - tall * 0.5, u * 0.0014), (*tip, u * 0.001)])
        turn = stage.rnd.uniform(0, math.tau)
        for petal in range(5):
            angle = turn + petal * math.tau / 5
            heads.ellipse(
                tip[0] + math.cos(angle) * size * 0.62, tip[1] + math.sin(angle) * size * 0.45, size * 0.62, size * 0.5
            )
        hearts.ellipse(*tip, size * 0.34, size * 0.26)
    stage.canvas.ink(stems, palette.near)
    stage.canvas.ink(heads, palette.accent, mix(palette.accent, palette.near, 0.2))
    stage.canvas.ink(hearts, mix(palette.near, palette.accent, 0.2) if palette.light.night < 0.5 else palette.glow)


def open_land(stage: Stage) -> Spot:
    """The default: a large disc over flowing hills, with a path leading to it."""
    draw_sky(stage)
    palette, u, rnd, gen = stage.palette, stage.u, stage.rnd, stage.gen
    room = stage.h - stage.horizon
    spot: Array = stage.flat(stage.horizon)
    for k in range(6):
        share = k / 5
        base = stage.horizon + room * (0.02 + 0.7 * share**1.2)
        line = base - hills(gen, stage.w, u * rnd.uniform(0.45, 0.9)) * u * (0.1 + 0.06 * share)
        colour = palette.depth(0.08 + 0.84 * share)
        if k == 3 and rnd.random() < 0.6:
            colour = mix(colour, palette.accent, 0.45)
        stage.canvas.ridge(
            line, colour, mix(stage.haze(colour, 0.3 * (1 - share)), palette.near, 0.2 * share), reach=room * 0.4
        )
        spot = line
    return Spot(stage.focus, stage.height_at(spot, stage.focus) + u * 0.01, u * 0.17, palette.near, palette.depth(0.6))


def winding(stage: Stage, top: float, bottom: float, wide: float, colour: RGB, foot: RGB) -> None:
    """A path or river that winds from the distance to the lower edge."""
    rnd, u = stage.rnd, stage.u
    pen = stage.canvas.pen(0, top, stage.w, bottom)
    if not pen:
        return
    span, swing = bottom - top, stage.side * u
    x = stage.w - stage.focus
    bends = (0.0, 0.10, -0.16, 0.22, -0.30 + rnd.uniform(-0.1, 0.1))
    points = [
        (x + swing * b, top + span * (k / 4) ** 1.9, u * (0.004 + wide * (k / 4) ** 2.1)) for k, b in enumerate(bends)
    ]
    smooth = curve(points, 10)
    left = [(px - r, py) for px, py, r in smooth]
    right = [(px + r, py) for px, py, r in reversed(smooth)]
    pen.polygon(left + right)
    stage.canvas.ink(pen, colour, foot)
