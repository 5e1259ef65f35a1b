"""Pictures for the stand-ins to answer with.

Invariant: a picture is encoded once per size and format, so that a test or a benchmark measures something else.
"""

from __future__ import annotations

import base64
import io
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=256)
def encoded(width: int, height: int, output_format: str = "png") -> bytes:
    """A real picture of that size, as "png", "jpeg" or "webp"."""
    from PIL import Image

    ramp = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge("RGB", (ramp, ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ramp.point(lambda v: 255 - v)))
    buffer = io.BytesIO()
    options: dict[str, Any] = {"compress_level": 1} if output_format == "png" else {"quality": 80}
    picture.save(buffer, output_format, **options)
    return buffer.getvalue()


@lru_cache(maxsize=256)
def encoded_text(width: int, height: int, output_format: str = "png") -> str:
    """The same in base64."""
    return base64.b64encode(encoded(width, height, output_format)).decode("ascii")
