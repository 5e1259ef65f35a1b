"""Pictures on their way into a book: as JPEG of a sensible size, and a quiet one where a page has none.

Invariant: what goes in is read only; the files of the run stay as they are.
"""

from __future__ import annotations

import functools
import io
import math
import random
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels of the longer side, at most: 300 dpi on a page of 21 cm.
LONGEST = 2480
QUALITY = 88
Band = Literal["top", "bottom"]
#: Share of the height that a band of text may take.
BAND = 0.32
#: The other band must be that much calmer to be chosen.
CALMER = 0.62


def jpeg(path: Path) -> bytes:
    """The picture as JPEG, on white where it is transparent; its editions share the work."""
    return _jpeg(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _jpeg(path: Path, _changed: int) -> bytes:
    from PIL import Image

    with Image.open(path) as opened:
        picture = flat(opened)
    picture.thumbnail((LONGEST, LONGEST))
    return encoded(picture)


def flat(picture: Image) -> Image:
    """The picture as RGB, on white where it is transparent."""
    from PIL import Image

    if picture.mode in ("RGBA", "LA", "P", "PA"):
        layered = picture.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(ground, layered).convert("RGB")
    return picture.convert("RGB")


def encoded(picture: Image) -> bytes:
    """As JPEG, without anything about where it comes from."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def calm_band(data: bytes, wanted: Band = "bottom") -> Band:
    """Where text covers less: the band that is wanted, unless the brightness of the other one changes far less from
    pixel to pixel."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as opened:
        grey = np.asarray(opened.convert("L").resize((96, 96)), dtype=np.float32)
    rows = round(96 * BAND)
    busy = {}
    for name, band in (("top", grey[:rows]), ("bottom", grey[-rows:])):
        busy[name] = float(np.abs(np.diff(band, axis=0)).mean() + np.abs(np.diff(band, axis=1)).mean())
    other: Band = "top" if wanted == "bottom" else "bottom"
    return other if busy[other] < CALMER * busy[wanted] else wanted


def quiet_picture(size: tuple[int, int], paper: str, accent: str, number: int) -> bytes:
    """Hills under a large moon in the colours of the book, for a page whose picture could not be made."""
    from PIL import Image, ImageColor, ImageDraw, ImageFilter

    width, height = size
    scale = min(1.0, 1024 / max(size))
    width, height = max(64, round(width * scale)), max(64, round(height * scale))
    light, tint = ImageColor.getrgb(paper)[:3], ImageColor.getrgb(accent)[:3]

    def between(share: float) -> tuple[int, int, int]:
        red, green, blue = (round(a + (b - a) * share) for a, b in zip(light, tint, strict=True))
        return red, green, blue

    picture = Image.new("RGB", (width, height))
    drawing = ImageDraw.Draw(picture)
    for y in range(height):
        drawing.line([(0, y), (width, y)], fill=between(0.34 - 0.26 * y / height))
    dice = random.Random(number)
    middle, radius = width * dice.uniform(0.34, 0.66), min(width, height) * 0.13
    drawing.ellipse([middle - radius, height * 0.47 - radius, middle + radius, height * 0.47 + radius], fill=light)
    for layer in range(3):
        base, rise = height * (0.62 + 0.12 * layer), height * 0.07
        points = [(x, base - rise * _wave(x / width * 6.3 + layer * 2.1 + number)) for x in range(0, width + 8, 8)]
        drawing.polygon([*points, (width + 8, height), (0, height)], fill=between(0.3 + 0.17 * layer))
    return encoded(picture.filter(ImageFilter.GaussianBlur(max(width, height) / 700)))


def _wave(at: float) -> float:
    return 0.6 * math.sin(at) + 0.4 * math.sin(2.3 * at + 1)
