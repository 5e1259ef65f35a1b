"""How alike the pictures of a book are to its character sheet: a figure from 0 to 1, 1 = alike.

    colour  = sum over bins of sqrt(p q): the Bhattacharyya coefficient of the two histograms over CIE L*a*b* (D65),
              8 bins of lightness by 12 x 12 of colour; what share of its colours a picture has in common with the sheet
    layout  = (1 + r) / 2, r = correlation of the lightness of both pictures at 16 x 16 pixels; 0.5 = unrelated
    clip    = max(0, cosine) of the CLIP embeddings of both pictures, where a model is on disk
    figure  = 0.7 colour + 0.3 layout, or 0.5 clip + 0.35 colour + 0.15 layout

A sheet shows figures on a plain ground and a page a whole scene, so even good pages stay well below 1; the figure says
which pages of one book drift from the others, and is no mark to be compared between books.

sRGB to L*a*b* as in IEC 61966-2-1 and CIE 15; A. Bhattacharyya, "On a measure of divergence between two statistical
populations", 1943.
Invariant: measuring is pure; the same two pictures always have the same figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Array = NDArray[np.float64]

#: Pixels a side that a picture is measured at, for colours and for layout.
COLOURS_AT, LAYOUT_AT = 128, 16
#: Bins of L* (0 to 100), and of a* and b* (-90 to 90 each).
BINS = (8, 12, 12)
RANGES = ((0.0, 100.0), (-90.0, 90.0), (-90.0, 90.0))
#: Linear sRGB to XYZ, by rows; then divided by the white of D65.
XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)

#: (one picture, another) -> similarity, 0 to 1.
Likeness = Callable[[Path, Path], float]


@dataclass(frozen=True, slots=True)
class Consistency:
    """How alike two pictures are; ``clip`` is None where no model looked."""

    colour: float
    layout: float
    clip: float | None = None

    @property
    def figure(self) -> float:
        if self.clip is None:
            return 0.7 * self.colour + 0.3 * self.layout
        return 0.5 * self.clip + 0.35 * self.colour + 0.15 * self.layout

    def facts(self) -> dict[str, str]:
        """For people: rounded to hundredths."""
        parts = [f"colour {self.colour:.2f}", f"layout {self.layout:.2f}"]
        if self.clip is not None:
            parts.append(f"CLIP {self.clip:.2f}")
        return {"consistency": f"{self.figure:.2f} ({', '.join(parts)})"}


def compare(picture: Path, sheet: Path, likeness: Likeness | None = None) -> Consistency:
    """Measure a picture against the sheet; raises OSError where one cannot be read."""
    one, other = _opened(picture), _opened(sheet)
    return Consistency(
        colour=colour_likeness(one, other),
        layout=layout_likeness(one, other),
        clip=None if likeness is None else likeness(picture, sheet),
    )


def colour_likeness(one: Image, other: Image) -> float:
    """What share of their colours two RGB pictures have in common."""
    import numpy as np

    first, second = _histogram(one), _histogram(other)
    return float(min(1.0, np.sqrt(first * second).sum()))


def layout_likeness(one: Image, other: Image) -> float:
    """How alike light and dark are spread over two RGB pictures; 0.5 where one of them is all of one tone."""
    import numpy as np

    first, second = (_lab(picture, LAYOUT_AT)[..., 0].ravel() for picture in (one, other))
    first, second = first - first.mean(), second - second.mean()
    size = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return 0.5 if size < 1e-9 else float(np.clip((1 + (first * second).sum() / size) / 2, 0, 1))


def _opened(path: Path) -> Image:
    from PIL import Image

    from tirada.output.book.pictures import flat

    with Image.open(path) as opened:
        opened.draft("RGB", (4 * COLOURS_AT, 4 * COLOURS_AT))
        return flat(opened)


def _histogram(picture: Image) -> Array:
    """Shares of the bins; they add up to 1."""
    import numpy as np

    lab = _lab(picture, COLOURS_AT).reshape(-1, 3)
    inside = np.clip(lab, [low for low, _ in RANGES], [high for _, high in RANGES])
    counts, _ = np.histogramdd(inside, bins=BINS, range=RANGES)
    shares: Array = counts.ravel() / counts.sum()
    return shares


def _lab(picture: Image, side: int) -> Array:
    """The picture at side x side pixels in CIE L*a*b*."""
    import numpy as np
    from PIL import Image

    small = picture.convert("RGB").resize((side, side), Image.Resampling.BOX)
    srgb = np.asarray(small, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array(XYZ).T / np.array(WHITE)
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
