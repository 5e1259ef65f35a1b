"""The colours that pictures live on, for sketches that are to look like them.

Invariant: the same pictures give the same tones, strongest first, whatever their size on disk and format.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from models.backends.drawing.colours import RGB, to_lab, to_lch

#: Tones that are taken from a set of pictures: as many as a palette has parts to give.
COUNT = 5
#: Pixels of the longer side at which a picture is counted.
_SIDE = 96
#: Colours of a picture that are looked at, most frequent first.
_CANDIDATES = 160
#: Two tones are at least this far apart in OKLab, so that a plain picture gives few.
_APART = 0.045


def tones(pictures: Sequence[Image.Image]) -> tuple[RGB, ...]:
    """One to ``COUNT`` tones of RGB pictures; each picture counts the same, and none gives none.

    Greedy: the next tone is the one with the largest product of its share (dampened, so that a small bright thing
    counts), its distance from those taken, and its chroma.
    """
    shares: dict[RGB, float] = {}
    for picture in pictures:
        for colour, share in _shares(picture).items():
            shares[colour] = shares.get(colour, 0.0) + share
    ranked = sorted(shares, key=lambda colour: (-shares[colour], colour))[:_CANDIDATES]
    taken: list[RGB] = []
    while ranked and len(taken) < COUNT:
        best = max(ranked, key=lambda colour: shares[colour] ** 0.4 * _fresh(colour, taken))
        if taken and _distance(best, taken) < _APART:
            break
        taken.append(best)
    return tuple(taken)


def _shares(picture: Image.Image) -> dict[RGB, float]:
    """Mean colour of each of the 4096 cells of the RGB cube that the picture has -> its share of the pixels."""
    small = picture.convert("RGB")
    small = small.reduce(max(1, -(-max(small.size) // _SIDE)))
    pixels = np.asarray(small, np.int64).reshape(-1, 3)
    cells = (pixels[:, 0] >> 4 << 8) | (pixels[:, 1] >> 4 << 4) | pixels[:, 2] >> 4
    counts = np.bincount(cells, minlength=4096)
    sums = [np.bincount(cells, weights=pixels[:, i], minlength=4096) for i in range(3)]
    found: dict[RGB, float] = {}
    for cell in np.flatnonzero(counts).tolist():
        count = int(counts[cell])
        red, green, blue = (int(each[cell]) // count for each in sums)
        found[red, green, blue] = count / len(pixels)
    return found


def _fresh(colour: RGB, taken: Sequence[RGB]) -> float:
    return (0.05 + _distance(colour, taken)) * (0.06 + to_lch(colour)[1])


def _distance(colour: RGB, taken: Sequence[RGB]) -> float:
    """From the nearest one taken, in OKLab; the same for all while there is none."""
    light, a, b = to_lab(colour)
    others = [to_lab(one) for one in taken]
    if not others:
        return 1.0
    return float(min((light - x) ** 2 + (a - y) ** 2 + (b - z) ** 2 for x, y, z in others) ** 0.5)
