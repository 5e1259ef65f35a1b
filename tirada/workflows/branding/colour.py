"""Colour arithmetic on arrays: sRGB to CIELAB and back, and the CIEDE2000 difference of two colours.

Sources: sRGB is IEC 61966-2-1, CIELAB is CIE 15 with the white of D65 and the 2 degree observer. CIEDE2000 follows
G. Sharma, W. Wu and E. N. Dalal, "The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test
Data, and Mathematical Observations", Color Research and Application 30 (2005), whose numbers of equations stand below.

Invariant: every function is pure. Colours are the last axis of an array: R, G, B as 0 to 1, or L, a, b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Linear sRGB to XYZ, and the XYZ of white: the sum of each row, so that greys are a = b = 0 exactly.
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_WHITE = _TO_XYZ.sum(axis=1)
#: Where the cube root of CIELAB becomes a straight line.
_EPSILON, _KAPPA = 216 / 24389, 24389 / 27
_25_TO_7 = 25.0**7


def to_lab(rgb: Floats) -> Floats:
    """sRGB (0..1) to CIELAB."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > _EPSILON, np.cbrt(xyz), (_KAPPA * xyz + 16) / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def to_rgb(lab: Floats) -> Floats:
    """CIELAB to sRGB; colours that sRGB does not have come out below 0 or above 1."""
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], axis=-1)
    xyz = np.where(f**3 > _EPSILON, f**3, (116 * f - 16) / _KAPPA) * _WHITE
    linear = xyz @ _FROM_XYZ.T
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, 12.92 * linear, curve))


def ciede2000(one: Floats, two: Floats, *, k_l: float = 1.0) -> Floats:
    """The difference of CIELAB colours, with kC = kH = 1; the arrays are broadcast against each other.

    A larger ``k_l`` makes lightness count less.
    """
    (l1, a1, b1), (l2, a2, b2) = np.moveaxis(one, -1, 0), np.moveaxis(two, -1, 0)
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7  # eq. 2, 3
    g = 0.5 * (1 - np.sqrt(c7 / (c7 + _25_TO_7)))  # eq. 4
    a1, a2 = (1 + g) * a1, (1 + g) * a2  # eq. 5
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)  # eq. 6
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))  # eq. 7
    grey = c1 * c2 == 0
    turn = (h2 - h1 + 180) % 360 - 180  # eq. 10: the short way round
    # Opposite hues: the formula keeps the sign of h2 - h1.
    turn = np.where(grey, 0.0, np.where(h2 - h1 == 180, 180.0, turn))
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)  # eq. 11
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2  # eq. 12, 13
    hue = _mean_hue(h1, h2, grey)
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)  # eq. 18
    s_c = 1 + 0.045 * chroma  # eq. 19
    s_h = 1 + 0.015 * chroma * _hue_weight(hue)  # eq. 20
    r_c = 2 * np.sqrt(chroma**7 / (chroma**7 + _25_TO_7))  # eq. 17
    r_t = -np.sin(np.radians(60 * np.exp(-(((hue - 275) / 25) ** 2)))) * r_c  # eq. 16, 21
    in_l, in_c, in_h = (l2 - l1) / (k_l * s_l), (c2 - c1) / s_c, delta_h / s_h
    # Rounding may leave a hair less than nothing.
    return np.asarray(np.sqrt(np.maximum(in_l**2 + in_c**2 + in_h**2 + r_t * in_c * in_h, 0)))  # eq. 22


def _mean_hue(h1: Floats, h2: Floats, grey: NDArray[np.bool_]) -> Floats:
    """Eq. 14: the hue half-way, in degrees; that of the other colour where one has none."""
    total = h1 + h2
    far = np.abs(h1 - h2) > 180
    mean = np.where(far, np.where(total < 360, (total + 360) / 2, (total - 360) / 2), total / 2)
    return np.where(grey, total, mean)


def _hue_weight(hue: Floats) -> Floats:
    """Eq. 15, T."""

    def cosine(times: int, shift: float) -> Floats:
        return np.asarray(np.cos(np.radians(times * hue + shift)))

    return 1 - 0.17 * cosine(1, -30) + 0.24 * cosine(2, 0) + 0.32 * cosine(3, 6) - 0.20 * cosine(4, -63)
