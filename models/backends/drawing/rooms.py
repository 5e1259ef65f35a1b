"""Rooms: a table by a window, and the photographer's studio.

Invariant: the table or plinth stands where the subject will, and the light falls on it.
"""

from __future__ import annotations

import math

import numpy as np

from models.backends.drawing.colours import mix, to_lch, tone
from models.backends.drawing.shapes import curve, hills
from models.backends.drawing.stage import Spot, Stage


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
    wx, wy = stage.focus - stage.side * min(max(abs(stage.w - 2 * stage.focus), u * 0.36), u * 0.62), stage.h * 0.36
    wide, tall = u * rnd.uniform(0.15, 0.21), u * rnd.uniform(0.21, 0.26)
    _window(stage, wx, wy, wide, tall)
    if not dark:
        _light_patch(stage, wx, wy, wide, tall)
    table = stage.h * 0.76
    if abs(wx - stage.focus) > wide + u * 0.16:
        _shelf(stage, stage.focus + stage.side * u * 0.03, stage.h * 0.3)
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
        bottom, across = tall + t * 2.2, -tall * 0.25
        for left, top, right, foot in (
            (-wide - t, -tall - t, wide + t, -tall + t),
            (-wide - t, tall - t, wide + t, tall + t),
            (-wide - t, -tall, -wide + t, tall),
            (wide - t, -tall, wide + t, tall),
            (-t * 0.6, -tall, t * 0.6, tall),
            (-wide, across - t * 0.6, wide, across + t * 0.6),
            (-wide * 1.1, tall, wide * 1.1, bottom),
        ):
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
            corners = (a, top), (a, foot), (b, foot), (b, top)
            pen.polygon([(x + shift + at + towards * tall * r * 0.3, y + u * 0.12 + tall * r) for at, r in corners])
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
