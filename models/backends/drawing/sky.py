"""Skies: gradient, sun or moon, stars, clouds and aurora, as light and weather ask.

Invariant: the sky covers the whole sheet, so whatever a scene leaves open still looks intended.
"""

from __future__ import annotations

import math

import numpy as np

from models.backends.drawing.canvas import Array
from models.backends.drawing.colours import mix, to_lch, tone
from models.backends.drawing.shapes import cloud_top, clouds
from models.backends.drawing.stage import Stage


def draw_sky(stage: Stage, *, clear: bool = False) -> None:
    """Paint the sky down to the horizon and the colour of the air below it."""
    palette, canvas, horizon = stage.palette, stage.canvas, stage.horizon
    end = min(max(horizon / stage.h, 0.08), 0.98)
    middle = mix(palette.sky, palette.zenith, 0.15)
    canvas.gradient(
        0, stage.h, (0.0, palette.zenith), (end * 0.55, middle), (end, palette.horizon), (1.0, palette.horizon)
    )
    if stage.night > 0.6:
        draw_stars(stage, stage.count(150), 0, horizon * 0.85)
    if "aurora" in stage.reading.weather:
        _aurora(stage)
    disc = palette.light.disc
    if disc and not stage.reading.has("moonless"):
        _place_disc(stage)
        _draw_disc(stage)
    elif palette.light.night > 0.5:
        canvas.glow(stage.focus, horizon, stage.u * 1.1, palette.accent, 0.45, ry=stage.u * 0.55)
    if not clear:
        _draw_clouds(stage)
    if palette.light.chroma == 0.70:
        gap = mix(palette.horizon, palette.accent, 0.55)
        canvas.glow(stage.w - stage.focus, horizon, stage.u * 0.75, gap, 0.75, ry=stage.u * 0.2)


def draw_stars(stage: Stage, count: int, top: float, bottom: float) -> None:
    """Scatter stars, mostly faint, denser towards the top."""
    gen, u = stage.gen, stage.u
    x = gen.uniform(0, stage.w, count)
    y = top + (bottom - top) * gen.random(count) ** 1.3
    big = gen.random(count) ** 6
    radius = np.maximum(u * (0.0009 + 0.0022 * big), 0.35)
    alpha = (0.25 + 0.75 * gen.random(count) ** 1.5) * np.clip(1.15 - (y - top) / max(bottom - top, 1), 0.1, 1)
    stage.canvas.dots(_f(x), _f(y), _f(radius), _f(alpha), mix(stage.palette.pale, (255, 255, 255), 0.4))


def _f(values: np.ndarray) -> Array:
    return values.astype(np.float32)


def _place_disc(stage: Stage) -> None:
    light, rnd, u = stage.palette.light, stage.rnd, stage.u
    opposite = stage.w - stage.focus
    x = opposite if rnd.random() < 0.62 else stage.focus + rnd.uniform(-0.12, 0.12) * u
    x += rnd.uniform(-0.06, 0.06) * u
    if light.disc == 2:
        radius = u * rnd.uniform(0.038, 0.075)
        y = max(stage.horizon - u * rnd.uniform(0.28, 0.46), radius * 2.4)
    elif stage.place == "cave":
        radius, y = u * 0.06, stage.horizon - u * rnd.uniform(0.08, 0.14)
    elif stage.place == "open":
        radius, y = u * rnd.uniform(0.13, 0.2), stage.horizon - u * rnd.uniform(0.1, 0.22)
    elif light.low:
        radius = u * rnd.choice((0.06, 0.085, 0.12, 0.15))
        y = stage.horizon - u * rnd.uniform(0.06, 0.2)
    else:
        radius = u * rnd.uniform(0.045, 0.085)
        y = max(stage.horizon - u * rnd.uniform(0.26, 0.42), radius * 2.2)
    stage.disc = (x, y, radius)


def _draw_disc(stage: Stage) -> None:
    x, y, radius = stage.disc
    palette, canvas, u = stage.palette, stage.canvas, stage.u
    veiled = stage.reading.weather[:1] in (("mist",), ("rain",), ("snowfall",)) or to_lch(palette.horizon)[1] < 0.012
    warm = mix(palette.disc, palette.light.tint, 0.35)
    canvas.glow(x, y, max(radius * 7, u * 0.5), warm, 0.5 if palette.light.disc == 1 else 0.3)
    if veiled:
        canvas.disc(x, y, radius, mix(palette.disc, palette.horizon, 0.35), alpha=0.75)
        return
    canvas.glow(x, y, radius * 2.4, palette.disc, 0.4)
    if palette.light.disc == 2 and stage.chance(0.45):
        pen = canvas.pen(x - radius, y - radius, x + radius, y + radius)
        if pen:
            pen.ellipse(x, y, radius, radius)
            pen.ellipse(x + radius * 0.42 * stage.side, y - radius * 0.2, radius * 0.86, radius * 0.86, 0)
            canvas.ink(pen, palette.disc)
        return
    lower = mix(palette.disc, palette.accent, 0.22) if palette.light.low else None
    canvas.disc(x, y, radius, palette.disc, lower)
    if palette.light.disc == 2 and u > 200:
        shade = mix(palette.disc, palette.zenith, 0.18)
        for dx, dy, r in ((-0.3, -0.2, 0.24), (0.28, 0.25, 0.32), (-0.1, 0.42, 0.14), (0.3, -0.35, 0.12)):
            canvas.disc(x + dx * radius, y + dy * radius, r * radius, shade)


def _draw_clouds(stage: Stage) -> None:
    weather, light, rnd = stage.reading.weather, stage.palette.light, stage.rnd
    if "rain" in weather or light.chroma == 0.70:
        _overcast(stage, dark=True)
    elif "mist" in weather or "snowfall" in weather or light.chroma == 0.62:
        _overcast(stage, dark=False)
    elif stage.reading.has("cloudless", "clear") or (stage.night > 0.6 and rnd.random() < 0.5):
        return
    elif light.low or rnd.random() < 0.35:
        _bands(stage)
    else:
        _heaps(stage)


def _bands(stage: Stage) -> None:
    """Long flat evening clouds, lit from below."""
    rnd, u, palette = stage.rnd, stage.u, stage.palette
    pen = stage.canvas.pen(0, 0, stage.w, stage.horizon)
    if not pen:
        return
    low = stage.canvas.pen(0, 0, stage.w, stage.horizon)
    for k in range(stage.count(5)):
        y = stage.horizon - u * (0.09 + 0.5 * ((k % 5 + rnd.random()) / 5) ** 1.2)
        x = rnd.uniform(-0.1, 1.1) * stage.w
        span, thick = u * rnd.uniform(0.16, 0.42), u * rnd.uniform(0.004, 0.011)
        target = pen if k % 2 else low
        for part in range(3):
            shift = rnd.uniform(-0.6, 0.6) * span
            if target:
                target.ellipse(x + shift, y + part * thick * 1.1, span * (0.45 + 0.25 * part), thick)
    stage.canvas.ink(pen, mix(palette.sky, palette.disc, 0.5), mix(palette.disc, palette.accent, 0.35), alpha=0.5)
    if low:
        stage.canvas.ink(
            low, mix(palette.sky, palette.horizon, 0.6), mix(palette.horizon, palette.disc, 0.3), alpha=0.55
        )


def _heaps(stage: Stage) -> None:
    """Heaped clouds that dissolve towards their base."""
    rnd, u, palette = stage.rnd, stage.u, stage.palette
    light = mix(palette.pale, palette.horizon, 0.35 + 0.4 * stage.night)
    light = tone(light, min(0.96, to_lch(palette.sky)[0] + (0.16 if stage.night < 0.5 else 0.10)))
    for k in range(min(stage.count(3), 7)):
        base = stage.horizon - u * (0.1 + 0.16 * k * rnd.uniform(0.7, 1.2))
        if base < u * 0.1:
            break
        span, x = u * rnd.uniform(0.3, 0.62), rnd.uniform(0.0, 1.0) * stage.w
        tall = span * rnd.uniform(0.2, 0.3)
        line = cloud_top(stage.gen, stage.w, x, base, span, tall)
        stage.canvas.ridge(line, light, bottom=base, fade=(0.85, 0.0))


def _overcast(stage: Stage, *, dark: bool) -> None:
    rows, cols = 28, max(12, min(160, int(28 * stage.w / max(stage.horizon, 1))))
    field = clouds(stage.gen, rows, cols, 4, 1.6)
    fade = np.linspace(1, 0, rows, dtype=np.float32)[:, None] ** 0.8
    palette = stage.palette
    colour = tone(palette.zenith, max(to_lch(palette.zenith)[0] - 0.1, 0.12)) if dark else palette.pale
    box = (0, 0, stage.w, stage.horizon)
    stage.canvas.veil(
        (np.clip((field - 0.4) * 3.2, 0, 1) * fade * (0.85 if dark else 0.5)).astype(np.float32), box, colour
    )
    if dark:
        pale = mix(palette.horizon, palette.pale, 0.3)
        stage.canvas.veil((np.clip((0.42 - field) * 3, 0, 1) * 0.5 * np.sqrt(fade)).astype(np.float32), box, pale)
        if stage.reading.has("lightning", "thunder", "thunderstorm"):
            _lightning(stage)


def _lightning(stage: Stage) -> None:
    rnd, u = stage.rnd, stage.u
    x, y = stage.w - stage.focus, stage.horizon * 0.12
    pen = stage.canvas.pen(x - u * 0.4, 0, x + u * 0.4, stage.horizon)
    if not pen:
        return
    points = [(x, y, u * 0.004)]
    while y < stage.horizon - u * 0.03:
        y += u * rnd.uniform(0.03, 0.07)
        x += u * rnd.uniform(-0.045, 0.05)
        points.append((x, y, max(u * 0.003 * (1 - y / stage.h), 0.4)))
        if rnd.random() < 0.25:
            pen.stroke([(x, y, u * 0.002), (x + u * rnd.uniform(-0.1, 0.1), y + u * 0.06, u * 0.0008)])
    pen.stroke(points)
    stage.canvas.glow(x, y * 0.5, u * 0.5, stage.palette.pale, 0.45, ry=stage.horizon * 0.7)
    stage.canvas.ink(pen, mix(stage.palette.pale, (255, 255, 255), 0.6))


def _aurora(stage: Stage) -> None:
    """Curtains of light that rise from a wavering hem."""
    gen, palette = stage.gen, stage.palette
    rows, cols = 40, 96
    x = np.linspace(0, 1, cols, dtype=np.float32)
    y = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    green = tone(mix(palette.accent, (70, 226, 160), 0.65), 0.8, 1.1)
    violet = tone(mix(palette.sky, (170, 110, 230), 0.6), 0.62, 1.2)
    for colour, level, strength in ((violet, 0.45, 0.6), (green, 0.66, 0.8)):
        a, b, c = gen.uniform(0, math.tau, 3)
        hem = level + 0.12 * np.sin(x * 5 + a) + 0.05 * np.sin(x * 13 + b)
        rays = 0.55 + 0.45 * np.sin(x * 60 + 6 * np.sin(x * 7 + c)) * np.sin(x * 23 + a)
        over = hem - y
        cover = np.where(over > 0, np.exp(-over * 4.2), np.exp(over * 30)) * rays * strength
        stage.canvas.veil(cover.astype(np.float32), (0, 0, stage.w, stage.horizon), colour)
