"""Pictures as they come back from a hosted service.

Invariant: nothing is taken for a picture before its header was read as PNG, JPEG or WebP; pixels are not decoded here.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import NamedTuple

from models.errors import BadAnswer

FORMATS = ("PNG", "JPEG", "WEBP")


class Picture(NamedTuple):
    """The service's own bytes, and the size in pixels that they state."""

    data: bytes
    width: int
    height: int


def from_base64(text: str, *, what: str) -> Picture:
    """The picture in an answer; raises BadAnswer with ``what`` as the name of the service."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadAnswer(f"{what}: the picture is not valid base64.") from None
    return from_bytes(data, what=what)


def from_bytes(data: bytes, *, what: str) -> Picture:
    """``from_base64`` for bytes as they came."""
    from PIL import Image

    if not data:
        raise BadAnswer(f"{what}: the picture is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return Picture(data, *opened.size)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadAnswer(f"{what}: what came is no PNG, JPEG or WebP picture.") from None
