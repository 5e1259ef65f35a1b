"""Puts the subjects of a prompt into the scene: figures, flocks of birds, steam and beams.

Invariant: a figure is always told apart from what is behind it, by changing its ink, never the scene.
"""

from __future__ import annotations

import math

import numpy as np

from models.backends.drawing.canvas import Pen, average
from models.backends.drawing.colours import RGB, mix, to_lab, to_lch, tone
from models.backends.drawing.figures import FIGURES, ON_TABLE, ON_WATER, SCALES, Part
from models.backends.drawing.shapes import curve
from models.backends.drawing.stage import Spot, Stage


def draw_subjects(stage: Stage, spot: Spot) -> None:
    """Draw up to two subjects, the first one where the composition wants it."""
    names = [_figure(stage, name, spot) for name in stage.reading.subjects if name not in ("bird", "bicycle")]
    names = [name for name in dict.fromkeys(names) if name and name not in stage.drawn]
    if not names and not stage.drawn:
        names = _stand_ins(stage, spot)
    for at, name in reversed(list(enumerate(names[:2]))):
        if name == "house" and stage.reading.has("village", "hamlet", "houses", "cottages"):
            _village(stage, spot)
        _place(stage, name, spot, second=at == 1)
    flying = "bird" in stage.reading.subjects or (
        spot.on in ("ground", "water")
        and stage.place not in ("cave", "space", "underwater", "street", "forest")
        and stage.chance(0.35)
    )
    if flying and spot.on != "table" and not stage.small and stage.place != "underwater":
        _flock(stage)


def draw_giant(stage: Stage, foot: float, size: float) -> None:
    """A giant between the layers of a scene, where the prompt asks for one."""
    if "monster" in stage.reading.subjects[:2]:
        stage.drawn.add("monster")
        giant = Spot(stage.focus, foot, size / SCALES["monster"], stage.palette.near, stage.palette.sky)
        _place(stage, "monster", giant, second=False)


def _village(stage: Stage, spot: Spot) -> None:
    """More houses to both sides, smaller and a little farther away."""
    for shift, part in ((-0.34, 0.62), (0.3, 0.7), (-0.17, 0.85), (0.16, 0.55)):
        y = spot.y - stage.u * 0.035 * (1 - part)
        _place(stage, "house", Spot(spot.x + shift * stage.u, y, spot.size * part, spot.ink, spot.behind), second=False)


def _figure(stage: Stage, name: str, spot: Spot) -> str:
    """The drawing a subject gets in this place, or none."""
    if name == "person":
        if spot.on == "water":
            return "rowboat"
        if "rain" in stage.reading.weather or stage.reading.has("umbrella"):
            return "umbrella"
        return "sitter" if stage.reading.sitting else ("walker" if stage.chance(0.4) else "person")
    if name in ON_TABLE:
        return name if spot.on == "table" else ""
    if name in ("fish", "jellyfish") and stage.place != "underwater":
        return ""
    if name in ("boat", "rowboat") and stage.place not in ("coast", "lake", "city"):
        return ""
    if spot.on == "table":
        return name if name in ("cat", "rabbit") else ""
    if name in ("house", "castle", "lighthouse", "tower", "train", "car", "tree") and stage.place in (
        "underwater",
        "street",
        "city",
    ):
        return name if name == "car" else ""
    return name if name in FIGURES else ""


def _stand_ins(stage: Stage, spot: Spot) -> list[str]:
    """Something fitting where the prompt names no subject we can draw."""
    usual: dict[str, tuple[str, ...]] = {
        "coast": ("boat", "lighthouse", ""), "lake": ("rowboat", "heron", ""), "meadow": ("tree", "house", ""),
        "snow": ("house", "", "deer"), "forest": ("deer", "", ""), "space": ("astronaut", ""), "desert": ("walker", ""),
        "mountains": ("walker", "", "tree"), "underwater": ("whale", "jellyfish"), "open": ("tree", "walker", ""),
        "street": ("walker", "cat"), "city": ("walker", "cat", ""), "interior": ("vase", "cup", "bowl"),
        "studio": ("vase", "bottle"), "cave": ("walker", ""), "ruins": ("walker", ""),
    }  # fmt: skip
    name = stage.rnd.choice(usual.get(stage.place, ("",)))
    if name in ("boat", "rowboat", "heron") and spot.on != "water":
        name = "walker" if stage.chance(0.5) else ""
    if name == "walker" and "rain" in stage.reading.weather:
        name = "umbrella"
    return [name] if name else []


def _stance(stage: Stage, name: str, spot: Spot, *, second: bool) -> tuple[float, float, float]:
    """Where a figure stands (x, y) and how tall it is; 0 tall where it has no place."""
    u, size = stage.u, spot.size * SCALES[name]
    x, y = spot.x, spot.y
    if second:
        x -= stage.side * (u * 0.1 + size * 0.35)
        y += u * 0.008
    if name in ON_WATER and spot.on == "ground" and stage.place == "coast":
        x, y = stage.w - stage.focus * 0.9 - stage.w * 0.05, stage.horizon + (stage.h - stage.horizon) * 0.12
        size *= 0.62
    elif name == "whale" and spot.on == "ground" and stage.place != "underwater":
        size = 0.0
    elif name in ("balloon", "kite"):
        x, y = stage.focus - stage.side * u * 0.12, stage.horizon - u * 0.14
    elif name in ("lighthouse", "castle", "tower", "house", "tree") and spot.on == "water":
        y = stage.horizon + u * 0.02
    return x, y, min(size, stage.h * 0.62, stage.w * 0.9)


def _place(stage: Stage, name: str, spot: Spot, *, second: bool) -> None:
    x, y, size = _stance(stage, name, spot, second=second)
    if size < 1:
        return
    face = -stage.side
    if name == "lighthouse" and stage.night > 0.2:
        _beam(stage, x, y - size * 0.81, face)
    colours = _inks(stage, name, spot, x, y, size)
    if spot.on == "table":
        stage.canvas.glow(x + stage.u * 0.03, y, size * 0.7, stage.palette.near, 0.4, ry=size * 0.09)
    if spot.on == "water" or (name in ON_WATER and stage.place in ("coast", "lake", "city")):
        _draw(stage, name, x, y, size, face, colours, flip=True)
    _draw(stage, name, x, y, size, face, colours)
    if name in ("bowl", "cup") and spot.on == "table":
        _steam(stage, x, y - size * (0.42 if name == "bowl" else 0.55), size)


def _inks(stage: Stage, name: str, spot: Spot, x: float, y: float, size: float) -> dict[str, RGB]:
    """The four inks of a figure, chosen against what is behind it."""
    palette = stage.palette
    behind = spot.behind
    box = stage.canvas.clip(x - size * 0.12, y - size, x + size * 0.12, y - size * 0.25)
    if box:
        behind = average(stage.canvas.image.crop(box))
    light = to_lab(behind)[0]
    own = spot.ink
    if name == "astronaut":
        own = mix(palette.pale, palette.horizon, 0.2)
    if name == "monster":
        own = tone(palette.near, 0.11)
        stage.canvas.glow(x, y - size * 0.55, size * 0.75, palette.horizon, 0.75)
    elif abs(to_lab(own)[0] - light) < 0.2:
        own = tone(palette.near, 0.1) if light > 0.34 else mix(palette.pale, palette.accent, 0.25)
    accent = palette.accent
    if abs(to_lab(accent)[0] - light) < 0.1:
        accent = tone(accent, light - 0.18 if light > 0.55 else light + 0.2, 1.1)
    pale = mix(palette.pale, palette.horizon, 0.25 + 0.25 * stage.night)
    if abs(to_lab(pale)[0] - light) < 0.08:
        pale = tone(palette.pale, 0.98) if light < 0.9 else tone(pale, 0.8)
    lit = (
        mix(palette.glow, palette.pale, 0.3)
        if stage.night > 0.2 or name == "monster"
        else mix(palette.horizon, own, 0.35)
    )
    return {"": own, "+": accent, "^": pale, "*": lit}


def _draw(
    stage: Stage, name: str, x: float, y: float, size: float, face: int, inks: dict[str, RGB], *, flip: bool = False
) -> None:
    parts = FIGURES[name]
    up = -0.8 if flip else 1.0
    groups: list[tuple[str, list[Part]]] = []
    for part in parts:
        if groups and groups[-1][0] == part.sign:
            groups[-1][1].append(part)
        else:
            groups.append((part.sign, [part]))
    for sign, members in groups:
        top, bottom = (y - size * 1.4, y + size * 0.15) if not flip else (y, y + size * 1.2)
        pen = stage.canvas.pen(x - size * 1.3, top, x + size * 1.3, bottom)
        if pen:
            for part in members:
                _draw_part(pen, part, x, y, size, face, up)
            stage.canvas.ink(pen, inks[sign], alpha=0.3 if flip else 1.0)


def _draw_part(pen: Pen, part: Part, x: float, y: float, size: float, face: int, up: float) -> None:
    if part.kind == "e":
        for ex, ey, rx, ry in [part.points[0]]:
            pen.ellipse(x + face * ex * size, y - up * ey * size, rx * size, ry * size * abs(up))
        return
    points: list[tuple[float, ...]] = [
        (x + face * p[0] * size, y - up * p[1] * size, *(r * size for r in p[2:])) for p in part.points
    ]
    steps = 2 if size < 40 else 5
    if part.kind in "sl":
        smooth = curve(points, steps) if part.kind == "s" else points
        pen.stroke([(p[0], p[1], max(p[2], 0.3)) for p in smooth])
    elif part.kind == "c":
        closed = curve([points[-1], *points, points[0]], steps)[steps:-steps]
        pen.polygon([(p[0], p[1]) for p in closed])
    else:
        pen.polygon([(p[0], p[1]) for p in points])


def _flock(stage: Stage) -> None:
    """Birds on the wing, larger ones nearer."""
    rnd, u = stage.rnd, stage.u
    many = stage.reading.has("starling", "flock", "geese", "gulls", "birds", "crows")
    cx = stage.focus - stage.side * u * rnd.uniform(0.1, 0.42)
    cy = max(stage.horizon - u * rnd.uniform(0.2, 0.36), u * 0.14)
    pen = stage.canvas.pen(cx - u * 0.5, cy - u * 0.3, cx + u * 0.5, cy + u * 0.3)
    if not pen:
        return
    for _ in range(9 if many else rnd.choice((3, 5, 6))):
        x, y = cx + rnd.gauss(0, 0.12) * u, cy + rnd.gauss(0, 0.055) * u
        span, lift, tilt = u * rnd.uniform(0.009, 0.025), rnd.uniform(0.2, 0.7), rnd.uniform(-0.25, 0.25)
        for side in (-1, 1):
            wing = [(0.0, 0.0, 0.09), (side * 0.5, lift, 0.07), (side * 1.0, lift * 0.5 + side * tilt, 0.015)]
            pen.stroke([(x + p[0] * span, y - p[1] * span, max(p[2] * span, 0.3)) for p in curve(wing, 5)])
        pen.ellipse(x, y, span * 0.2, span * 0.11)
    dark = stage.night > 0.6 or to_lch(stage.palette.sky)[0] < 0.42
    ink = mix(stage.palette.pale, stage.palette.sky, 0.35) if dark else mix(stage.palette.near, stage.palette.sky, 0.15)
    stage.canvas.ink(pen, ink)


def _steam(stage: Stage, x: float, y: float, size: float) -> None:
    """Three soft curls."""
    rnd = stage.rnd
    rows, cols = 40, 40
    down = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
    cover = np.zeros((rows, cols), np.float32)
    for shift in (-0.3, 0.05, 0.38):
        phase = rnd.uniform(0, math.tau)
        middle = shift + 0.16 * np.sin(down * 7 + phase) * (1.2 - down)
        cover += (
            np.exp(-(((across - middle) / (0.05 + 0.13 * (1 - down))) ** 2))
            * np.clip(np.sin(down * math.pi), 0, 1) ** 1.2
        )
    pale = mix(stage.palette.pale, stage.palette.glow, 0.15)
    stage.canvas.veil(cover * 0.4, (x - size * 0.5, y - size * 0.95, x + size * 0.5, y + size * 0.02), pale)


def _beam(stage: Stage, x: float, y: float, face: int) -> None:
    """The light of a lighthouse sweeping to one side."""
    u, palette = stage.u, stage.palette
    rows, cols = 40, 60
    along = np.linspace(0, 1, cols, dtype=np.float32)[None, ::face]
    off = np.abs(np.linspace(-1, 1, rows, dtype=np.float32))[:, None]
    cover = np.clip(1.1 - off / (0.06 + 0.94 * along), 0, 1) * (1 - along) ** 1.2 * 0.6
    left, right = (x, x + u * 0.85) if face > 0 else (x - u * 0.85, x)
    if left >= 0 and right <= stage.w and y - u * 0.13 >= 0:
        stage.canvas.veil(cover, (left, y - u * 0.13, right, y + u * 0.13), mix(palette.glow, palette.pale, 0.4))
    stage.canvas.glow(x, y, u * 0.14, palette.glow, 0.9)
