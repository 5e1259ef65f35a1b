"""Which size a model really renders for the size that was asked.

Invariant: the size chosen is legal for the model and, scaled without distortion, covers the asked one; what is left
over is cropped by the output room.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, sqrt

from models.errors import UnsupportedRequest

#: Limits of a side of a finished image, in pixels.
MIN_SIDE, MAX_SIDE = 64, 4096
#: Names people use for sizes.
NAMED_SIZES = {
    "square": (1024, 1024),
    "portrait": (1024, 1536),
    "landscape": (1536, 1024),
    "wide": (1792, 1008),
    "story": (1008, 1792),
}
#: A picture is enlarged at most this much to reach the size that was asked.
MAX_ENLARGEMENT = 2


def parse_size(text: str) -> tuple[int, int]:
    """Read ``WxH``, one number (square) or a name; raises ValueError saying what is legal."""
    word = text.strip().lower()
    if word in NAMED_SIZES:
        return NAMED_SIZES[word]
    match = re.fullmatch(r"(\d{1,6})(?:\s*[x×*]\s*(\d{1,6}))?", word)
    if match is None:
        raise ValueError(f"{text!r} is no size; use WIDTHxHEIGHT, one number, or {', '.join(NAMED_SIZES)}")
    width = int(match[1])
    height = int(match[2] or match[1])
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise ValueError(f"{width}x{height} is out of range; each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
    return width, height


def format_size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


@dataclass(frozen=True, slots=True)
class SizeRule:
    """What a model can render: either a list of sizes, or any size within bounds (pixels; ratio is long/short side)."""

    fixed: tuple[tuple[int, int], ...] = ()
    multiple: int = 1
    min_pixels: int = 1
    max_pixels: int = MAX_SIDE * MAX_SIDE
    max_side: int = MAX_SIDE
    max_ratio: float = 64.0
    min_side: int = 1

    def allows(self, width: int, height: int) -> bool:
        """True when the model renders exactly this size."""
        if self.fixed:
            return (width, height) in self.fixed
        return (
            width % self.multiple == 0
            and height % self.multiple == 0
            and self.min_pixels <= width * height <= self.max_pixels
            and max(width, height) <= self.max_side
            and min(width, height) >= self.min_side
            and max(width, height) <= self.max_ratio * min(width, height)
        )

    def cover(self, width: int, height: int) -> tuple[int, int]:
        """The cheapest legal size that covers width x height (see ``_badness``).

        Where none is large enough, the one that needs the least enlargement; beyond ``MAX_ENLARGEMENT`` raises
        UnsupportedRequest.
        """
        best = _cheapest(self, width, height)
        if enlargement(best, width, height) > MAX_ENLARGEMENT:
            raise UnsupportedRequest(
                f"{width}x{height} is too large for this model.", hint=f"It renders {format_size(best)} at most."
            )
        return best

    def candidates(self, width: int, height: int) -> list[tuple[int, int]]:
        """Legal sizes near the asked shape: per legal width the least height that covers, and the reverse."""
        step = self.multiple
        found = []
        for side in range(step, self.max_side + 1, step):
            for across, along, flip in ((width, height, False), (height, width, True)):
                other = _up(ceil(Fraction(side * along, across)), step)
                for choice in {other, self._fit(side, other)}:
                    size = (choice, side) if flip else (side, choice)
                    if self.allows(*size):
                        found.append(size)
        return found

    def _fit(self, side: int, other: int) -> int:
        """``other`` moved into what ratio, side and pixel bounds allow beside ``side``, in legal steps."""
        step = self.multiple
        low = _up(max(ceil(side / self.max_ratio), ceil(self.min_pixels / side), self.min_side), step)
        high = min(int(side * self.max_ratio), self.max_side, self.max_pixels // side) // step * step
        return min(max(other, low), max(high, low))


@functools.lru_cache(maxsize=256)
def _cheapest(rule: SizeRule, width: int, height: int) -> tuple[int, int]:
    """The legal size to render; remembered, since every image of a run asks the same."""
    if rule.allows(width, height):
        return width, height
    return min(rule.fixed or rule.candidates(width, height), key=lambda size: _badness(size, width, height))


def enlargement(rendered: tuple[int, int], width: int, height: int) -> float:
    """The factor by which ``rendered`` must be scaled so that it covers width x height; above 1 it is enlarged."""
    return max(width / rendered[0], height / rendered[1])


def _badness(size: tuple[int, int], width: int, height: int) -> tuple[float, float, int]:
    """Least enlargement first, then cheapest: pixels paid for each share of the picture that survives the crop.

    Pixels alone would render 1024x640 for a square that a legal 816x816 gives whole at almost the same price.
    """
    stretch = max(1.0, enlargement(size, width, height))
    kept = min(size[0] * height, size[1] * width) / max(size[0] * height, size[1] * width)
    return round(stretch, 6), round(size[0] * size[1] / kept), size[0] * size[1]


def ratio_sizes(ratios: Sequence[str], pixels: int) -> dict[tuple[int, int], str]:
    """About which size is rendered for each of the aspect ratios ("16:9") -> the ratio, at about so many pixels.

    For services that are told a ratio instead of a size. Raises ValueError for a ratio that is none.
    """
    found = {}
    for ratio in ratios:
        match = re.fullmatch(r"([1-9]\d{0,3}):([1-9]\d{0,3})", ratio)
        if match is None:
            raise ValueError(f"{ratio!r} is no aspect ratio; write it like 16:9")
        shape = Fraction(int(match[1]), int(match[2]))
        found[round(sqrt(pixels * shape)), round(sqrt(pixels / shape))] = ratio
    return found


def _up(value: int, step: int) -> int:
    return -(-value // step) * step
