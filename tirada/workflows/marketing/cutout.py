"""Cuts a product out of its picture: along a mask, its own transparency, or a background of one colour.

The alpha of a cut-out is 255 where the product is (its mask), and less where its edge is soft. Along a background of
one colour, pixels at the edge are mixtures of both; how much of each follows from their place between the two colours
(alpha = (c - b).(p - b) / |p - b|^2 with pixel c, background b and product colour p nearby), and they take the
product's colour, so that no rim of the old background comes along.

Invariant: where the alpha is 255, the colours are those of the picture, unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tirada.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Flags = NDArray[np.bool_]
    Floats = NDArray[np.float32]

#: Distance in RGB (0 to 441) up to which a pixel may be of the background's colour, and up to which it is at least. In
#: between, the noise at the border decides: a clean background leaves even a cream label on white to the product.
TOLERANCE, TOLERANCE_LEAST = 32.0, 10.0
#: Pixels up to which an area of nearly the background's colour, at the product's edge, is a trace of compression.
SEAM = 8
#: Share of the border that must be of one colour: the product may touch it here and there.
BORDER_SHARE = 0.8
#: A product has at least this share of the picture, and at most.
PRODUCT_MIN, PRODUCT_MAX = 0.002, 0.98
#: A pixel at the edge with a smaller share of the product is a mixture.
PURE = 0.9
ADVICE = (
    "Give --mask FILE, a PNG of its size that is transparent where the background is, a base image with a transparent "
    "background, or one on a background of a single colour."
)


@dataclass(frozen=True, slots=True)
class CutOut:
    """A product: RGBA of the picture's size, and how it was found."""

    image: Image
    #: "mask", "transparency" or "background #rrggbb".
    by: str
    #: Share of the product that nearly has the background's colour: a label, or something one looks through.
    doubtful: float = 0.0


def cut_out(picture: Image, mask: Image | None = None) -> CutOut:
    """The product of an RGBA picture; ``mask`` (RGBA, of its size) is transparent where the product is not.

    Raises UsageError with advice where no product can be told from its background.
    """
    import numpy as np

    if mask is not None:
        return _along(picture, mask)
    alpha = np.asarray(picture.getchannel("A"))
    if (alpha < 128).mean() >= 1 - PRODUCT_MAX:
        return CutOut(
            _finished(np.asarray(picture.convert("RGB")), _in_bounds(alpha, "its transparency")), "transparency"
        )
    return _from_colour(np.asarray(picture.convert("RGB")))


def _along(picture: Image, mask: Image) -> CutOut:
    import numpy as np

    alpha = np.asarray(mask.getchannel("A"))
    if alpha.min() == 255:
        raise UsageError("The mask has no transparent pixels; make it transparent where the background is.")
    # What the picture itself leaves open is no product either.
    alpha = np.minimum(alpha, np.asarray(picture.getchannel("A")))
    return CutOut(_finished(np.asarray(picture.convert("RGB")), _in_bounds(alpha, "the mask")), "mask")


def _in_bounds(alpha: NDArray[np.uint8], by: str) -> NDArray[np.uint8]:
    share = float((alpha == 255).mean())
    if not PRODUCT_MIN <= share <= PRODUCT_MAX:
        raise UsageError(f"By {by}, the product is {share:.1%} of the base image, which cannot be right. {ADVICE}")
    return alpha


# --- a background of one colour ---------------------------------------------------------------------------------------


def _from_colour(pixels: NDArray[np.uint8]) -> CutOut:
    import numpy as np

    colour, even = border_colour(pixels)
    name = "#" + "".join(f"{round(float(part)):02x}" for part in colour)
    if even < BORDER_SHARE:
        raise UsageError(
            f"The product cannot be told from its background: only {even:.0%} of the picture's border is near one "
            f"colour ({name}). {ADVICE}"
        )
    distance = _distance(pixels, colour)
    like = distance <= _tolerance(distance)
    outer = np.zeros_like(like)
    outer[[0, -1]], outer[:, [0, -1]] = like[[0, -1]], like[:, [0, -1]]
    around = _reached(outer, like)
    # Compression leaves a seam of paler and darker pixels along every edge: it goes, and what is wider stays.
    near = ~around & (distance <= TOLERANCE)
    wide = _opened(near, SEAM // 2)
    product = ~_reached(around, around | (near & ~wide))
    # Specks of noise have no core; what has one is kept whole.
    product = _reached(_opened(product, 2), product)
    share = float(product.mean())
    if not PRODUCT_MIN <= share <= PRODUCT_MAX:
        raise UsageError(
            f"The product cannot be told from its background ({name}): {share:.1%} of the picture would be left. "
            f"{ADVICE}"
        )
    colours, alpha = _unmixed(pixels, product, wide, colour)
    doubtful = float((product & wide).sum()) / float(product.sum())
    return CutOut(_finished(colours, alpha), f"background {name}", doubtful)


def _tolerance(distance: Floats) -> float:
    """How far from the background's colour its pixels are, by those at the border."""
    import numpy as np

    border = np.concatenate(
        [distance[:2].ravel(), distance[-2:].ravel(), distance[:, :2].ravel(), distance[:, -2:].ravel()]
    )
    noise = float(np.quantile(border[border <= TOLERANCE], 0.99))
    return min(max(TOLERANCE_LEAST, 1.5 * noise), TOLERANCE)


def border_colour(pixels: NDArray[np.uint8]) -> tuple[Floats, float]:
    """The colour (RGB) in the middle of those of a picture's border, and the share of the border that is near it."""
    import numpy as np

    sides = (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    colour: Floats = np.median(border, axis=0).astype(np.float32)
    return colour, float((_distance(border, colour) <= TOLERANCE).mean())


def _distance(pixels: NDArray[Any], colour: Floats) -> Floats:
    import numpy as np

    found: Floats = np.sqrt(((pixels.astype(np.float32) - colour) ** 2).sum(axis=-1))
    return found


def _reached(seeds: Flags, passable: Flags) -> Flags:
    """What can be reached from the seeds over passable pixels, up, down, left and right."""
    import numpy as np

    reached, count = seeds & passable, -1
    while count != (count := int(np.count_nonzero(reached))):
        reached = _along_rows(reached, passable)
        reached = _along_rows(reached.T, passable.T).T
    return reached


def _along_rows(reached: Flags, passable: Flags) -> Flags:
    """Every run of passable pixels in a row that holds a reached one, whole."""
    import numpy as np

    # A wall at the end of each row keeps runs apart; all pixels between two walls have one number.
    walled = np.pad(passable, ((0, 0), (0, 1)))
    runs = np.cumsum(~walled.ravel()).reshape(walled.shape)[:, :-1]
    touched = np.zeros(int(runs[-1, -1]) + 2, dtype=bool)
    touched[runs[reached]] = True
    found: Flags = passable & touched[runs]
    return found


def _grown(flags: Flags, steps: int) -> Flags:
    """With every pixel that touches it, sides and corners, so many times."""
    import numpy as np

    for _ in range(steps):
        wide = np.pad(flags, 1)
        flags = wide[1:-1, :-2] | wide[1:-1, 1:-1] | wide[1:-1, 2:]
        tall = np.pad(flags, 1)
        flags = tall[:-2, 1:-1] | tall[1:-1, 1:-1] | tall[2:, 1:-1]
    return flags


def _opened(flags: Flags, steps: int) -> Flags:
    """Without what is too narrow for a square of 2 x steps + 1 pixels."""
    return _grown(~_grown(~flags, steps), steps)


def _unmixed(
    pixels: NDArray[np.uint8], product: Flags, pale: Flags, background: Floats
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Colours and alpha, where mixed pixels of the two outermost layers, and just outside, are taken apart.

    What is ``pale`` is nearly of the background's colour, and no mixture.
    """
    import numpy as np

    first = product & _grown(~product, 1)
    second = product & _grown(first, 1) & ~first
    # Just outside lie those with so little of the product that they passed for background.
    outer = _grown(product, 1) & ~product
    edge = (first | second | outer) & ~pale
    near, known = _mean_nearby(pixels, product & ~first & ~second, edge, 3)
    towards, offset = near - background, pixels[edge].astype(np.float32) - background
    length = np.maximum((towards**2).sum(axis=-1), 1.0)
    share = (offset * towards).sum(axis=-1) / length
    rest = np.sqrt(((offset - share[:, None] * towards) ** 2).sum(axis=-1))
    # A product that is nearly of the background's colour cannot be told apart any further.
    found = known & (share < PURE) & (rest < 12 + 0.25 * np.sqrt(length)) & (length > 2 * TOLERANCE**2)
    mixed = np.zeros_like(product)
    mixed[edge] = found
    mixed &= first | outer | (second & _grown(first & mixed, 1))
    chosen = mixed[edge]
    colours, alpha = pixels.copy(), np.where(product, 255, 0).astype(np.uint8)
    colours[mixed] = np.clip(np.rint(near[chosen]), 0, 255).astype(np.uint8)
    alpha[mixed] = np.clip(np.rint(share[chosen] * 255), 0, 254).astype(np.uint8)
    return colours, alpha


def _mean_nearby(pixels: NDArray[np.uint8], among: Flags, where: Flags, radius: int) -> tuple[Floats, Flags]:
    """For each pixel of ``where``, in reading order: the mean colour of those ``among`` within so many pixels (n x 3),
    and whether there are any (n)."""
    import numpy as np

    rows, columns = np.nonzero(where)
    height, width = among.shape
    total, count = np.zeros((len(rows), 3), np.float32), np.zeros(len(rows), np.float32)
    # Few pixels lie at an edge: looking around each is far less work than a mean for all.
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            y, x = rows + down, columns + right
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            y, x = np.where(inside, y, 0), np.where(inside, x, 0)
            counts = inside & among[y, x]
            total += np.where(counts[:, None], pixels[y, x], 0)
            count += counts
    means: Floats = (total / np.maximum(count, 1)[:, None]).astype(np.float32)
    return means, count >= 1


# --- the edge ---------------------------------------------------------------------------------------------------------

#: How much of a hard edge goes over into the pixels just outside.
HALO = 96


def _finished(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> Image:
    """As RGBA; a hard edge is softened, outside of the product only."""
    import numpy as np
    from PIL import Image

    solid = alpha == 255
    outside = (alpha == 0) & _grown(solid, 1)
    near, _ = _mean_nearby(colours, solid, outside, 1)
    colours, alpha = colours.copy(), alpha.copy()
    colours[outside] = np.clip(np.rint(near), 0, 255).astype(np.uint8)
    alpha[outside] = HALO
    return Image.fromarray(np.dstack([colours, alpha]))
