"""Reference images: pictures that the result is to keep to, where a family takes them.

Invariant: what a model cannot take is refused before it is loaded.
"""

from __future__ import annotations

from typing import Any

from models.backends.input_images import look_at
from models.backends.local.pictures import check_picture, reference_image
from models.backends.local.source import Source
from models.catalog import Weights
from models.contract import ImageRequest
from models.errors import UnsupportedRequest

#: Pixels from which on a picture is one as FLUX.1 Kontext was taught.
KNOWN = 512 * 512
#: Pixels that a side of a picture must have.
SMALLEST = 64


def check_references(source: Source, request: ImageRequest) -> None:
    """Raise UnsupportedRequest where the model does not take these."""
    if not request.references:
        return
    weights = source.weights
    if weights.references == "none":
        raise UnsupportedRequest(
            f"{source.name} takes no reference images.",
            hint="SDXL, FLUX.2 and FLUX.1 Kontext do; or start from an image: --init-image.",
        )
    if len(request.references) > weights.references_max:
        raise UnsupportedRequest(
            f"{len(request.references)} reference images are too many for {source.name}.",
            hint=f"It takes {weights.references_max}.",
        )
    for path in request.references:
        check_picture(path)
        if min(look_at(path).size) < SMALLEST:
            raise UnsupportedRequest(f"{str(path)!r} is too small.", hint=f"Each side must have {SMALLEST} pixels.")


def reference_arguments(weights: Weights, request: ImageRequest, size: tuple[int, int]) -> dict[str, Any]:
    """What a pipeline that takes pictures as its own input is given for a picture of that size."""
    pictures = [reference_image(path) for path in request.references]
    shown = {} if not pictures else {"image": pictures[0] if len(pictures) == 1 else pictures}
    if weights.family != "kontext":
        return shown
    # It goes by an area and a shape, and enlarges what it is shown to the size it knows best.
    pixels = size[0] * size[1]
    return {**shown, "max_area": pixels, "_auto_resize": pixels >= KNOWN}
