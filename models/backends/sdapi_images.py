"""Pictures to and from an AUTOMATIC1111-style server: start images, masks, and the ones it rendered.

Invariant: what is sent has exactly the size that will be rendered, and what is accepted can be decoded to its last
pixel and is not black all over.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from models.backends.input_images import look_at, read_input
from models.backends.output_images import Picture, from_base64
from models.errors import BadAnswer, UnsupportedRequest

if TYPE_CHECKING:
    from PIL.Image import Image


def check_start_image(init_image: Path, mask: Path | None) -> None:
    """Raise UnsupportedRequest unless the start image can be read, and the mask is a PNG of its size with holes."""
    size = _read(init_image).size
    if mask is None:
        return
    look_at(mask, formats=["png"])
    holes = _read(mask)
    if holes.size != size:
        raise UnsupportedRequest(
            f"The mask {str(mask)!r} is {holes.width}x{holes.height}, its start image {size[0]}x{size[1]}.",
            hint="Both must have the same size.",
        )
    if _holes(holes).getbbox() is None:
        raise UnsupportedRequest(
            f"The mask {str(mask)!r} has no transparent pixels.", hint="They say where the start image may change."
        )


def start_image(path: Path, size: tuple[int, int]) -> str:
    """The picture in base64, scaled and cropped to the size: servers would squeeze it, each in its own way."""
    return _encode(_read(path).convert("RGB"), size)


def mask_image(path: Path, size: tuple[int, int]) -> str:
    """The mask as these servers want it, in base64: white where the picture may change, black elsewhere."""
    return _encode(_holes(_read(path)), size)


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
    from PIL import Image, ImageOps

    data = read_input(path)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return ImageOps.exif_transpose(picture)
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError):
        raise UnsupportedRequest(f"{str(path)!r} is broken.", hint="Save it again as PNG, JPEG or WebP.") from None


def _holes(mask: Image) -> Image:
    """White where the mask is transparent."""
    from PIL import ImageOps

    return ImageOps.invert(mask.convert("RGBA").getchannel("A"))


def _encode(picture: Image, size: tuple[int, int]) -> str:
    from PIL import Image, ImageOps

    buffer = io.BytesIO()
    ImageOps.fit(picture, size, Image.Resampling.LANCZOS).save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
