"""How much of a picture is in a palette: the share of its pixels that are near one of the colours, and how far all are.

A pixel is near where its CIEDE2000 difference to the nearest colour is at most ``NEAR``. Pixels that are more
transparent than opaque are left out. Colours are looked up in a table of 64 x 64 x 64 cells, worked out once for a
palette: a cell counts as the colour in its middle, less than two steps of 255 from any other in it. That shifts the
difference of a pixel by 0.2 on average, and by less than 6 (next to grey, where the formula turns on the hue), up as
often as down, so that hardly any of it is left in the figures of a picture; a test bounds all three.

Invariant: measuring changes nothing; the same pixels and palette give the same figures on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tirada.workflows.branding.colour import Floats, ciede2000, to_lab

if TYPE_CHECKING:
    from PIL.Image import Image

#: CIEDE2000 up to which a pixel is in the palette.
NEAR = 20.0
#: Bits of a channel that tell cells apart.
BITS = 6
CELLS = 1 << (3 * BITS)
#: Pixels looked at together: few enough to stay in a processor's cache.
_BLOCK = 1 << 16
#: Alpha from which a pixel counts.
_OPAQUE = 128


@dataclass(frozen=True, slots=True)
class Fit:
    """What was measured."""

    #: Of the pixels, 0..1.
    share: float
    #: Mean CIEDE2000 to the nearest colour.
    mean: float
    #: Colour (hex) -> share of the pixels that are near it, and nearest to it; in the order of the palette.
    shares: Mapping[str, float]


def measure(picture: Image, palette: Sequence[str]) -> Fit | None:
    """How a picture fits a palette of hex colours (``#FFA07A``); None where no pixel is opaque."""
    counts = _histogram(picture)
    total = int(counts.sum())
    if total == 0:
        return None
    distance, nearest = _table(tuple(palette))
    near = np.where(distance <= NEAR, counts, 0)
    each = np.bincount(nearest, weights=near, minlength=len(palette)) / total
    return Fit(
        share=float(near.sum() / total),
        mean=float(distance @ counts / total),
        shares=dict(zip(palette, map(float, each), strict=True)),
    )


def exact(colours: Floats, palette: Sequence[str]) -> tuple[Floats, NDArray[np.intp]]:
    """For colours (n, 3) in sRGB 0..1: the CIEDE2000 to the nearest of the palette, and which one that is."""
    lab = to_lab(colours)
    differences = np.stack([ciede2000(lab, brand) for brand in to_lab(rgb_of(palette))])
    return differences.min(axis=0), differences.argmin(axis=0)


def rgb_of(palette: Sequence[str]) -> Floats:
    """Hex colours as an array (n, 3) of 0..1."""
    return np.array([list(bytes.fromhex(colour.lstrip("#"))) for colour in palette], dtype=np.float64) / 255


def _histogram(picture: Image) -> Floats:
    """How many opaque pixels fall into each cell; red is in the lowest bits of its number."""
    # Whole pixels as one number of 32 bits, red lowest, whatever the machine's own order.
    pixels = np.frombuffer(picture.convert("RGBA").tobytes(), dtype="<u4")
    see_through = picture.has_transparency_data
    counts = np.zeros(CELLS, dtype=np.int64)
    drop, mask = 8 - BITS, (1 << BITS) - 1
    for start in range(0, len(pixels), _BLOCK):
        block = pixels[start : start + _BLOCK]
        if see_through:
            block = block[block >> 24 >= _OPAQUE]
        red, green, blue = ((block >> (8 * channel + drop)) & mask for channel in range(3))
        cells = red | green << BITS | blue << 2 * BITS
        counts += np.bincount(cells, minlength=CELLS)
    return counts.astype(np.float64)


@lru_cache(maxsize=8)
def _table(palette: tuple[str, ...]) -> tuple[Floats, NDArray[np.intp]]:
    """Cell -> difference to the nearest colour, and which one that is."""
    step = 1 << (8 - BITS)
    middle = (np.arange(1 << BITS) * step + (step - 1) / 2) / 255
    blue, green, red = np.meshgrid(middle, middle, middle, indexing="ij")
    colours = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    return exact(colours, palette)
