"""Pictures to and from an AUTOMATIC1111-style server: start images, masks, and the ones it rendered.

Invariant: what is sent has exactly the size that will be rendered, and what is accepted can be decoded to its last
pixel and is not black all over.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from models.backends.input_images import check_mask, decode, holes, read_input
from models.backends.output_images import Picture, from_base64
from models.errors import BadAnswer

if TYPE_CHECKING:
    from PIL.Image import Image


def check_start_image(init_image: Path, mask: Path | None) -> None:
    """Raise UnsupportedRequest unless the start image can be read, and the mask is a PNG of its size with holes."""
    size = _read(init_image).size
    if mask is not None:
        check_mask(mask, size)


def start_image(path: Path, size: tuple[int, int]) -> str:
    """The picture in base64, scaled and cropped to the size: servers would squeeze it, each in its own way."""
    return _encode(_read(path).convert("RGB"), size)


def mask_image(path: Path, size: tuple[int, int]) -> str:
    """The mask as these servers want it, in base64: white where the picture may change, black elsewhere."""
    return _encode(holes(_read(path)), size)


def rendered(text: str, what: str) -> Picture:
    """A picture of an answer; raises BadAnswer for a broken one, and for one that is black all over."""
    from PIL import Image

    if text.startswith("data:"):
        text = text.partition(",")[2]
    picture = from_base64(text, what=what)
    try:
        with Image.open(io.BytesIO(picture.data)) as opened:
            black = opened.convert("RGB").getbbox() is None
    # Pillow's decoders answer broken bytes with any of these.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError):
        raise BadAnswer(f"{what}: the picture is broken.") from None
    if black:
        raise BadAnswer(
            f"{what}: the picture is black all over, as after a computation gone wrong (NaN) or a safety filter.",
            hint="Start the server with --no-half-vae, or without the filter.",
        )
    return picture


def _read(path: Path) -> Image:
    """The picture of a file, upright."""
    return decode(read_input(path), str(path))


def _encode(picture: Image, size: tuple[int, int]) -> str:
    from PIL import Image, ImageOps

    buffer = io.BytesIO()
    ImageOps.fit(picture, size, Image.Resampling.LANCZOS).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
