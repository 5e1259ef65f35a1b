"""The base image at the size of the campaign: whole and centred, to start from, or with its product kept as it is.

Invariant: a base image is never enlarged where its product is kept, and a product's pixels come out as they went in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tirada.errors import UsageError
from tirada.workflows.marketing.cutout import BORDER_SHARE, border_colour, cut_out
from tirada.workflows.marketing.inputs import in_srgb

if TYPE_CHECKING:
    from PIL.Image import Image

Size = tuple[int, int]
#: What surrounds a product without a background of its own: a light grey that any light can be laid over.
NEUTRAL = (222, 222, 220)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product in its place, at the size of the output."""

    #: RGBA; transparent where there is no product.
    image: Image
    #: What to start from: the product in its place, on a plain ground.
    start: Image
    #: RGBA; transparent where the picture may change.
    mask: Image
    #: How it was cut out.
    by: str
    #: The factor its picture was scaled by, at most 1.
    scale: float
    #: Share of it that nearly has the colour of the background it was cut from.
    doubtful: float


def place_product(base: Image, mask: Image | None, size: Size) -> Product:
    """Cut the product out of an RGBA picture and put it into the middle of the size; raises UsageError."""
    from PIL import Image

    if mask is not None and mask.size != base.size:
        raise UsageError(
            f"The mask is {mask.width}x{mask.height}, the base image {base.width}x{base.height}; "
            "both must have the same size."
        )
    scale = min(1.0, size[0] / base.width, size[1] / base.height)
    small = shrunk(base, scale)
    cut = cut_out(small, None if mask is None else shrunk(mask, scale))
    corner = ((size[0] - small.width) // 2, (size[1] - small.height) // 2)
    image = Image.new("RGBA", size)
    image.paste(cut.image, corner)
    start = Image.new("RGB", size, ground(small))
    start.paste(small.convert("RGB"), corner, small.getchannel("A"))
    start.paste(image, mask=image.getchannel("A"))
    solid = image.getchannel("A").point(lambda alpha: 255 if alpha == 255 else 0)
    holes = Image.new("RGBA", size, (255, 255, 255, 255))
    holes.putalpha(solid)
    return Product(image=image, start=start, mask=holes, by=cut.by, scale=scale, doubtful=cut.doubtful)


def shrunk(picture: Image, scale: float) -> Image:
    """An RGBA picture scaled down; at 1 the very same pixels."""
    from PIL import Image

    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # With colours weighted by their alpha: what is transparent has no colour to give to its neighbours.
    return picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def ground(picture: Image) -> tuple[int, int, int]:
    """A colour to go on with beyond the edges of an RGBA picture: that of its border, where it has one."""
    import numpy as np

    pixels = np.asarray(picture)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    opaque = border[border[:, 3] == 255]
    if len(opaque) < len(border) // 2:
        return NEUTRAL
    red, green, blue = (round(float(part)) for part in np.median(opaque[:, :3], axis=0))
    return red, green, blue


def fit_whole(base: Image, size: Size) -> Image:
    """An RGBA picture as large as it goes, whole; what is left over at its sides goes on with the colour of its border,
    or where that has many colours with the picture itself, blurred."""
    import numpy as np
    from PIL import Image, ImageFilter, ImageOps

    flat = Image.new("RGB", base.size, ground(base))
    flat.paste(base.convert("RGB"), mask=base.getchannel("A"))
    if flat.size == size:
        return flat
    whole = ImageOps.contain(flat, size, Image.Resampling.LANCZOS)
    _, even = border_colour(np.asarray(flat))
    if even >= BORDER_SHARE:
        behind = Image.new("RGB", size, ground(flat.convert("RGBA")))
    else:
        behind = ImageOps.fit(flat, size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(max(size) / 24))
    behind.paste(whole, ((size[0] - whole.width) // 2, (size[1] - whole.height) // 2))
    return behind


def composite(picture: Image, product: Image) -> Image:
    """The product (RGBA, of the picture's size) over the picture; where it is opaque, with its very values."""
    whole = in_srgb(picture).convert("RGB")
    whole = whole.copy() if whole is picture else whole
    whole.paste(product.convert("RGB"), mask=product.getchannel("A"))
    return whole


def kept_pixels(picture: Image, product: Image) -> tuple[int, int]:
    """How many pixels of the picture are the product's very own, and how many should be."""
    import numpy as np

    solid = np.asarray(product.getchannel("A")) == 255
    same = (np.asarray(picture.convert("RGB")) == np.asarray(product.convert("RGB"))).all(axis=-1)
    return int((same & solid).sum()), int(solid.sum())
