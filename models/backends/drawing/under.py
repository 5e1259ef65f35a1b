"""A picture under a sketch: how much of it shows through, and where it may change at all.

Invariant: strength 0 gives the picture below, 1 the sketch, and outside the holes no pixel of the picture changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from models.backends.drawing.lettering import Box

#: Captions are marked in a grid with this many cells along the shorter side, so that their edges fade.
_CELLS = 40


@dataclass(frozen=True, slots=True)
class Under:
    """What a sketch is laid over: an RGB picture of the sketch's size."""

    picture: Image.Image
    #: 0 to 1: how much the sketch covers.
    strength: float
    #: White where the picture may change, of its size; None for everywhere.
    holes: Image.Image | None = None


def lay_over(sketch: Image.Image, under: Under, captions: Sequence[Box]) -> Image.Image:
    """The sketch over the picture, in glaze; captions cover whole, since two on top of each other cannot be read."""
    cover = round(255 * under.strength)
    mask = Image.new("L", sketch.size, cover)
    if 0 < cover < 255:
        mask = ImageChops.lighter(mask, _faded(captions, sketch.size))
    if under.holes is not None:
        mask = ImageChops.multiply(mask, under.holes)
    return Image.composite(sketch, under.picture, mask)


def _faded(boxes: Sequence[Box], size: tuple[int, int]) -> Image.Image:
    """White in the boxes, fading to black around them."""
    cell = max(2, min(size) // _CELLS)
    coarse = Image.new("L", (-(-size[0] // cell), -(-size[1] // cell)), 0)
    draw = ImageDraw.Draw(coarse)
    for left, top, right, bottom in boxes:
        draw.rectangle((left // cell - 1, top // cell - 1, right // cell + 1, bottom // cell + 1), fill=255)
    soft = coarse.filter(ImageFilter.GaussianBlur(1.6))
    fine = soft.resize((coarse.width * cell, coarse.height * cell), Image.Resampling.BICUBIC)
    return fine.crop((0, 0, *size))
