"""Shifts the colours of a picture towards a palette, as a colourist's grade does.

In CIELAB, for a colour p = (L, a, b) and the colours of the palette q_i:

    d_i  = CIEDE2000 of p and q_i, with kL = LIGHTNESS
    w_i  = exp(-d_i^2 / 2 SPREAD^2), made to sum up to 1          the nearest colours of the palette pull most
    t    = sum of w_i g(L, L_i) (a_i, b_i)                        where p is pulled to; g fades to 0 at black and white
    pull = strength * n(p) * s(p) * (FAR + (1 - FAR) exp(-min d_i^2 / 2 REACH^2))
    p'   = (L, (a, b) + pull (t - (a, b)))

n holds greys back, so that whites and shadows take a tint and no paint; s, where skin is to be kept, holds the colours
of skin back. What sRGB does not have loses chroma until it does. Every part is smooth in p, so no step appears where
there was none, and lightness stays, so that form and contrast do.

Invariant: grading keeps size, mode and transparency, and a strength of 0 gives the very same picture back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tirada.workflows.branding.colour import Floats, ciede2000, to_lab, to_rgb
from tirada.workflows.branding.palette import rgb_of

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFilter import Color3DLUT

#: How softly the pull passes from one colour of the palette to the next, and how far it reaches (CIEDE2000).
SPREAD, REACH = 11.0, 28.0
#: How much less lightness counts than in the measure, so that the shadow of a thing stays of its colour.
LIGHTNESS = 1.25
#: Of the pull: what is left far from every colour of the palette, on greys, and on skin.
FAR, ON_GREY, ON_SKIN = 0.5, 0.35, 0.15
#: Chroma from which a colour is no grey.
COLOURED = 18.0
#: The colours of skin, of whichever shade, by hue in degrees and by chroma: from where none is to where all are, and
#: from where all are to where none is.
SKIN_HUE, SKIN_CHROMA = (8.0, 24.0, 80.0, 96.0), (5.0, 13.0, 50.0, 64.0)
#: Points of a channel at which the formula is worked out; between them colours are interpolated.
GRID = 33


def grade(picture: Image, palette: Sequence[str], strength: float, *, keep_skin: bool = False) -> Image:
    """The picture (RGB or RGBA) with its colours shifted towards a palette of hex colours; ``strength`` is 0 to 1."""
    if strength <= 0:
        return picture
    return picture.filter(_table(tuple(palette), strength, keep_skin))


@lru_cache(maxsize=4)
def _table(palette: tuple[str, ...], strength: float, keep_skin: bool) -> Color3DLUT:
    from PIL.ImageFilter import Color3DLUT

    steps = np.linspace(0, 1, GRID)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    points = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    return Color3DLUT(GRID, shift(points, palette, strength, keep_skin=keep_skin).reshape(-1))


def shift(colours: Floats, palette: Sequence[str], strength: float, *, keep_skin: bool = False) -> Floats:
    """The formula: colours (n, 3) of sRGB 0..1 as they are after grading."""
    lab, brand = to_lab(colours), to_lab(rgb_of(palette))
    squares = np.stack([ciede2000(lab, one, k_l=LIGHTNESS) for one in brand], axis=-1) ** 2
    nearest = squares.min(axis=1, keepdims=True)
    weights = np.exp((nearest - squares) / (2 * SPREAD**2))
    weights /= weights.sum(axis=1, keepdims=True)
    lightness = lab[:, :1]
    target = (weights * _fade(lightness, brand[:, 0])) @ brand[:, 1:]
    chroma = np.hypot(lab[:, 1:2], lab[:, 2:])
    pull = strength * (FAR + (1 - FAR) * np.exp(-nearest / (2 * REACH**2)))
    pull = pull * (ON_GREY + (1 - ON_GREY) * _smooth(chroma / COLOURED))
    if keep_skin:
        pull = pull * (1 - (1 - ON_SKIN) * _skin(lab, chroma))
    return _in_gamut(lightness, lab[:, 1:] + pull * (target - lab[:, 1:]))


def _fade(lightness: Floats, own: Floats) -> Floats:
    """How much of its chroma a colour of the palette has at another lightness than its own: none at black and white."""
    darker, lighter = lightness / np.maximum(own, 1), (100 - lightness) / np.maximum(100 - own, 1)
    return np.asarray(np.sqrt(np.clip(np.minimum(darker, lighter), 0, 1)))


def _smooth(x: Floats) -> Floats:
    """From 0 at 0 to 1 at 1, level at both ends."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _skin(lab: Floats, chroma: Floats) -> Floats:
    """How much a colour is one of skin, 0..1: shades of skin differ in lightness far more than in hue."""
    hue = np.degrees(np.arctan2(lab[:, 2:], lab[:, 1:2]))
    return _between(hue, SKIN_HUE) * _between(chroma, SKIN_CHROMA)


def _between(x: Floats, edges: tuple[float, float, float, float]) -> Floats:
    none, some, most, over = edges
    return _smooth((x - none) / (some - none)) * _smooth((over - x) / (over - most))


def _in_gamut(lightness: Floats, ab: Floats) -> Floats:
    """The colours in sRGB 0..1, with as much of their chroma as sRGB has at that lightness and hue."""
    low, high = np.zeros_like(lightness), np.ones_like(lightness)
    inside = _is_inside(to_rgb(np.hstack([lightness, ab])))
    for _ in range(12):
        middle = (low + high) / 2
        fits = _is_inside(to_rgb(np.hstack([lightness, ab * middle])))
        low, high = np.where(fits, middle, low), np.where(fits, high, middle)
    kept = np.where(inside, 1.0, low)
    return np.clip(to_rgb(np.hstack([lightness, ab * kept])), 0, 1)


def _is_inside(rgb: Floats) -> Floats:
    return np.asarray(((rgb >= -1e-4) & (rgb <= 1 + 1e-4)).all(axis=-1, keepdims=True))
