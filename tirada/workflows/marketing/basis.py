"""What a campaign's base image comes to: fields of the request, and a product to lay over what is rendered.

Invariant: every file named here lies under the run's output folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tirada.errors import UsageError
from tirada.workflows.marketing.prompts import SHAPES, Shape, shape_of
from tirada.workflows.workflow import Common

if TYPE_CHECKING:
    from PIL.Image import Image

#: How far the rendered image goes from its start, where the user does not say: the base image is to be known again; a
#: product that is laid over anyway may be lost on the way, but its light and shadow should stay; a mask keeps it.
FROM_BASE, AROUND_PRODUCT, AROUND_MASK = 0.6, 0.85, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseImage:
    """A base image, made ready."""

    #: Of the images, in pixels.
    size: tuple[int, int]
    #: What the request gets of it.
    request: Mapping[str, Any]
    #: File of the product (RGBA, of that size) to lay over what is rendered; empty = none is kept.
    product: str = ""
    #: The backend renders nothing but what is behind the product.
    backdrop: bool = False
    #: See ``product.Product``.
    doubtful: float = 0.0
    #: The longer share of the size's sides that the base image covers.
    share: float = 1.0
    #: For people: what was done.
    facts: Mapping[str, str] = field(default_factory=dict)


def prepare_base(
    source: str, mask: Path | None, *, keep: bool, shape: Shape | None, common: Common
) -> BaseImage | None:
    """Take the base image in, and work out what to do with it; None without one. Raises UsageError.

    Without a size and a shape, the images have the named shape nearest to the base image's own.
    """
    if not source:
        return None
    from tirada.workflows.marketing.inputs import decoded, read_file, room_for, take_in

    able = common.capabilities
    if not keep and not able.init_image and not able.references:
        raise UsageError(
            f"Backend {common.backend!r} starts from no image. Use another one (see `backends`), or --keep-product, "
            "which lays the base image's product over what is rendered."
        )
    common = replace(common, output=room_for(common.output, dry_run=common.dry_run))
    kept = take_in(source, common.output)
    base = decoded(read_file(kept), repr(source))
    size = common.size or SHAPES[shape or shape_of(*base.size)]
    facts = {"source": source, "file": kept.name, "size": f"{base.width}x{base.height}"}
    if keep:
        return _with_product(base, mask, size, common, facts)
    return _as_start(base, kept, size, common, facts)


def _as_start(base: Image, kept: Path, size: tuple[int, int], common: Common, facts: dict[str, str]) -> BaseImage:
    from tirada.workflows.marketing.inputs import keep_image
    from tirada.workflows.marketing.product import fit_whole

    # A reference is looked at whole, whatever its shape; a start image is cropped where it has another one.
    start = keep_image(fit_whole(base, size), common.output) if common.capabilities.init_image else kept
    request = common.starting_from(str(start), FROM_BASE)
    mode = "image-to-image" if "init_image" in request else "as a reference"
    return BaseImage(size=size, request=request, facts={**facts, "used": mode})


def _with_product(
    base: Image, mask: Path | None, size: tuple[int, int], common: Common, facts: dict[str, str]
) -> BaseImage:
    from tirada.workflows.marketing.inputs import decoded, keep_image, read_file
    from tirada.workflows.marketing.product import place_product

    able, output = common.capabilities, common.output
    cut = decoded(read_file(mask.expanduser()), repr(str(mask))) if mask is not None else None
    product = place_product(base, cut, size)
    request: dict[str, Any] = {}
    if able.init_image:
        start = str(keep_image(product.start, output))
        request = common.starting_from(start, AROUND_MASK if able.mask else AROUND_PRODUCT)
        # The backend takes start images, but perhaps not the model that was asked for.
        if "init_image" not in request or common.objection_to(request):
            request = {}
    if request and able.mask:
        request["mask"] = str(keep_image(product.mask, output))
    used = "product kept; " + ("the rest painted anew around it" if "mask" in request else "")
    if "mask" not in request:
        used += "image-to-image, then laid over" if request else "laid over a scene rendered without it"
    return BaseImage(
        size=size,
        request=request,
        product=str(keep_image(product.image, output)),
        backdrop=not request,
        doubtful=product.doubtful,
        share=max(base.width * product.scale / size[0], base.height * product.scale / size[1]),
        facts={**facts, "used": used, "cut_by": product.by, "scale": f"{product.scale:.4g}"},
    )
