"""Looks at a picture that came from outside before anybody decodes it: is it one, of which format, and how large.

Invariant: a picture is known by its content, never by its name or by what a server called it, and no pixel is decoded
before their number is known.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Literal

from tirada.errors import UsageError

Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[Format, ...] = ("png", "jpeg", "webp")
EXTENSIONS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
#: Pixels we are willing to decode: 8000 x 6000 is more than any camera of a phone stores.
PIXELS_MAX = 50_000_000
#: Bytes of a file we are willing to take.
BYTES_MAX = 32 * 1024 * 1024
#: What Pillow answers to broken headers.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The bytes of an image file, and what its header says."""

    data: bytes
    format: Format
    width: int
    height: int

    @property
    def extension(self) -> str:
        return EXTENSIONS[self.format]


def look(data: bytes, name: str, *, pixels_max: int = PIXELS_MAX) -> Picture:
    """The picture that the bytes are, by their header; ``name`` is what messages call it.

    Raises UsageError where it is no PNG, JPEG or WebP image, or claims more than ``pixels_max`` pixels.
    """
    from PIL import Image

    if len(data) > BYTES_MAX:
        raise UsageError(f"{name} has {len(data):,} bytes; {BYTES_MAX // 1024**2} MB is the limit.")
    try:
        # Pillow counts pixels too, and would warn about what is refused here anyway.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=[one.upper() for one in FORMATS]) as opened:
                known, (width, height) = opened.format, opened.size
    except Image.DecompressionBombError:
        raise UsageError(f"{name} claims to have too many pixels; {pixels_max:,} is the limit.") from None
    except _BROKEN:
        raise UsageError(f"{name} is {_what(data)}; give a PNG, JPEG or WebP image.") from None
    if width * height > pixels_max:
        raise UsageError(f"{name} claims {width}x{height} pixels; {pixels_max:,} is the limit.")
    # Phones keep a second view in the same JPEG file, which Pillow then calls by a name of its own.
    form: Format = next((one for one in FORMATS if one.upper() == known), "jpeg")
    return Picture(data=data, format=form, width=width, height=height)


def _what(data: bytes) -> str:
    """What the bytes look like, for whoever followed the wrong link."""
    start = data[:512].lstrip().lower()
    if not data:
        return "empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page and no image"
    if start.startswith(b"<svg") or b"<svg" in start:
        return "a vector drawing (SVG)"
    return "no image that can be read"
