"""How much of a picture is in a palette: the share of its pixels that are near one of the colours, and how far all are.

A pixel is near where its CIEDE2000 difference to the nearest colour is at most ``NEAR``. Pixels that are more
transparent than opaque are left out. Colours are looked up in a table of 64 x 64 x 64 cells, worked out once for a
palette: a cell counts as the colour in its middle, less than two steps of 255 from any other in it. That shifts the
difference of a pixel by 0.2 on average, and by less than 6 (next to grey, where the formula turns on the hue). Smooth
pictures have many pixels of the same few cells, whose shifts do not cancel out; in cells where near ends, or where
another colour becomes the nearest, each colour is therefore worked out for itself when it is first met. Tests bound
what is left.

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
#: Bits of a channel that do not, and colours of a cell.
_DROPPED = 8 - BITS
_INSIDE = 1 << (3 * _DROPPED)
#: What is known of a colour.
_UNKNOWN, _FAR, _NEAREST = 0, 1, 2
#: Pixels looked at together: few enough to stay in a processor's cache, and that no array of them is memory which the
#: system hands out anew each time.
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
    table = _table(tuple(palette))
    counts, edge = _histogram(picture, table)
    total = int(counts.sum())
    if total == 0:
        return None
    sure = np.bincount(table.nearest[table.near], weights=counts[table.near], minlength=len(palette))
    each = (sure + np.bincount(table.verdicts(edge), minlength=_NEAREST + len(palette))[_NEAREST:]) / total
    return Fit(
        share=float(each.sum()),
        mean=float(table.distance @ counts / total),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """What is known of colours beside a palette."""

    palette: tuple[str, ...]
    #: Cell -> difference to the nearest colour, and which one that is.
    distance: Floats
    nearest: NDArray[np.intp]
    #: The cells that are near as a whole.
    near: NDArray[np.intp]
    #: Cell -> whether it is at an edge, and where its colours begin in ``known``.
    edge: NDArray[np.bool_]
    place: NDArray[np.int32]
    #: The cells at the edge.
    cells: NDArray[np.intp]
    #: Each colour of these cells, ``_INSIDE`` a cell: not looked at yet, far, or ``_NEAREST`` and what it is near to.
    known: NDArray[np.uint16]

    def verdicts(self, colours: NDArray[np.int32]) -> NDArray[np.uint16]:
        """What is known of colours, each given as its place in ``known``."""
        found = self.known.take(colours)
        unknown = colours[found == _UNKNOWN]
        if not len(unknown):
            return found
        new = np.unique(unknown)
        for start in range(0, len(new), _BLOCK):
            some = new[start : start + _BLOCK]
            colours_of = _colours(self.cells[some // _INSIDE], some % _INSIDE)
            # Two threads that meet the same colour write the same here.
            self.known[some] = _verdicts(*exact(colours_of, self.palette))
        return self.known.take(colours)


def _histogram(picture: Image, table: _Table) -> tuple[Floats, NDArray[np.int32]]:
    """How many opaque pixels fall into each cell (red is in the lowest bits of its number), and the colours of those
    in cells at the edge."""
    pixels = _pixels(picture)
    counts = np.zeros(CELLS, dtype=np.int64)
    edge = [np.zeros(0, dtype=np.int32)]
    mask = (1 << BITS) - 1
    for start in range(0, len(pixels), _BLOCK):
        block = pixels[start : start + _BLOCK]
        # The first bits of the three channels, brought together.
        parts = [(block >> (channel + 1) * _DROPPED) & (mask << channel * BITS) for channel in range(3)]
        cells = (parts[0] | parts[1] | parts[2]).astype(np.intp)
        counts += np.bincount(cells, minlength=CELLS)
        at_edge = np.flatnonzero(table.edge.take(cells))
        # The last bits of the three channels, brought together: a factor shifts each to its place behind bit 16.
        within = (block.take(at_edge) & 0x030303) * np.uint32(1 << 16 | 1 << 10 | 1 << 4) >> 16 & (_INSIDE - 1)
        edge.append(table.place.take(cells.take(at_edge)) | within.astype(np.int32))
    return counts.astype(np.float64), np.concatenate(edge)


def _pixels(picture: Image) -> NDArray[np.uint32]:
    """The opaque pixels, each as one number of 32 bits, red lowest, whatever the machine's own order."""
    if picture.has_transparency_data:
        pixels = np.frombuffer(picture.convert("RGBA").tobytes(), dtype="<u4")
        return pixels[pixels >> 24 >= _OPAQUE]
    return np.frombuffer(picture.convert("RGB").tobytes("raw", "RGBX"), dtype="<u4")


@lru_cache(maxsize=8)
def _table(palette: tuple[str, ...]) -> _Table:
    step = 1 << _DROPPED
    middle = (np.arange(1 << BITS) * step + (step - 1) / 2) / 255
    blue, green, red = np.meshgrid(middle, middle, middle, indexing="ij")
    distance, nearest = exact(np.stack([red, green, blue], axis=-1).reshape(-1, 3), palette)
    edge = _at_edge(_verdicts(distance, nearest))
    edge[edge] = _divided(np.flatnonzero(edge), palette)
    place = (edge.cumsum(dtype=np.int32) - 1) * np.int32(_INSIDE)
    cells = np.flatnonzero(edge)
    return _Table(
        palette=palette,
        distance=distance,
        nearest=nearest,
        near=np.flatnonzero((distance <= NEAR) & ~edge),
        edge=edge,
        place=place,
        cells=cells,
        known=np.full(len(cells) * _INSIDE, _UNKNOWN, dtype=np.uint16),
    )


def _verdicts(distance: Floats, nearest: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.where(distance <= NEAR, _NEAREST + nearest, _FAR)


def _at_edge(verdicts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """The cells beside one of another verdict."""
    cube = verdicts.reshape((1 << BITS,) * 3)
    edge = np.zeros(cube.shape, dtype=np.bool_)
    for axis in range(3):
        # The axis first: a view, so that what is set in it is set in the cube.
        ordered, found = np.moveaxis(cube, axis, 0), np.moveaxis(edge, axis, 0)
        turns = ordered[1:] != ordered[:-1]
        found[1:] |= turns
        found[:-1] |= turns
    return edge.reshape(-1)


def _divided(cells: NDArray[np.intp], palette: Sequence[str]) -> NDArray[np.bool_]:
    """Which of these cells have colours of several verdicts, going by their eight corners."""
    last = (1 << _DROPPED) - 1
    corners = [last * (n & 1 | (n & 2) << _DROPPED - 1 | (n & 4) << 2 * _DROPPED - 2) for n in range(8)]
    found = np.stack([_verdicts(*exact(_colours(cells, np.intp(corner)), palette)) for corner in corners])
    divided: NDArray[np.bool_] = (found != found[0]).any(axis=0)
    return divided


def _colours(cells: NDArray[np.intp], within: NDArray[np.intp] | np.intp) -> Floats:
    """The colours (n, 3), 0..1, of those numbers within those cells."""
    channels = [
        ((cells >> BITS * channel) % (1 << BITS) << _DROPPED) + (within >> _DROPPED * channel) % (1 << _DROPPED)
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1) / 255
