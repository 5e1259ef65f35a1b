"""The pictures that a request gives to OpenAI Images: an image to edit, a mask, references.

Invariant: what passes ``check_inputs`` keeps every limit the service documents; the user's file names never leave.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.backends.input_images import InputImage, look_at, read_input
from models.catalog import ModelRow
from models.contract import ImageRequest
from models.errors import UnsupportedRequest
from models.sizes import format_size

#: Images in one request, and bytes of a file: "less than 50 MB", and 4 MB for a mask.
IMAGES_MAX = 16
BYTES_MAX = 50_000_000 - 1
MASK_BYTES_MAX = 4_000_000 - 1
#: The service reads the text around each image too (32 tokens were counted for gpt-image-1).
TEXT_TOKENS = 32


def paths(request: ImageRequest) -> tuple[Path, ...]:
    """The image to edit and the references, in the order in which they are sent."""
    first = () if request.init_image is None else (request.init_image,)
    return first + tuple(request.references)


def is_edit(request: ImageRequest) -> bool:
    return bool(paths(request)) or request.mask is not None


def check_inputs(request: ImageRequest, name: str) -> None:
    """Raise UnsupportedRequest for files that the service would refuse; reads their headers only."""
    given = paths(request)
    if len(given) > IMAGES_MAX:
        raise UnsupportedRequest(
            f"{name} takes {IMAGES_MAX} input images at most, the one to edit included; there are {len(given)}.",
            hint="Leave some out.",
        )
    for path in given:
        _look(path)
    if request.mask is None:
        return
    if request.init_image is None:
        raise UnsupportedRequest("A mask needs an image that it is for.", hint="Name that one with --init-image.")
    mask, image = _look_at_mask(request.mask), _look(request.init_image)
    if not mask.alpha:
        raise UnsupportedRequest(
            f"The mask {str(mask.path)!r} has no transparency.", hint="Make the pixels transparent that may change."
        )
    if mask.size != image.size:
        raise UnsupportedRequest(
            f"The mask {str(mask.path)!r} is {format_size(mask.size)}, the image {format_size(image.size)}.",
            hint="Give a mask of the image's size.",
        )


def input_tokens(request: ImageRequest, row: ModelRow) -> dict[str, int] | None:
    """Tokens that the pictures of a request are expected to have, by kind; None where the catalog does not say.

    The mask is counted like an image: what it costs is not documented, and an estimate may be too high, never too low.
    """
    if not is_edit(request):
        return {"image_in": 0, "text_in": 0}
    if row.input_image is None:
        return None
    found = [_look(path) for path in paths(request)]
    if request.mask is not None:
        found.append(_look_at_mask(request.mask))
    return {
        "image_in": sum(row.input_image.tokens(*picture.size) for picture in found),
        "text_in": TEXT_TOKENS * len(found),
    }


def uploads(request: ImageRequest) -> dict[str, Any]:
    """The files as the SDK wants them; raises UnsupportedRequest for one that is gone or changed for the worse."""
    check_inputs(request, "The service")
    files: dict[str, Any] = {"image": [_upload(f"image-{n}", _look(path)) for n, path in enumerate(paths(request), 1)]}
    if request.mask is not None:
        files["mask"] = _upload("mask", _look_at_mask(request.mask))
    return files


def _look(path: Path) -> InputImage:
    return look_at(path, max_bytes=BYTES_MAX)


def _look_at_mask(path: Path) -> InputImage:
    return look_at(path, formats=("png",), max_bytes=MASK_BYTES_MAX)


def _upload(name: str, picture: InputImage) -> tuple[str, bytes, str]:
    extension = "jpg" if picture.format == "jpeg" else picture.format
    return f"{name}.{extension}", read_input(picture.path), picture.media_type
