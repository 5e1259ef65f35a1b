"""The ``draft`` backend: posters drawn by ourselves, offline and free, for rehearsing a batch before paying for one.

Invariant: the same prompt, title, seed, size and input pictures give the same pixels on any machine and in any thread.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING

from models.backends.drawing.scene import draw
from models.backends.drawing.tones import tones
from models.backends.drawing.under import Under
from models.backends.input_images import check_mask, decode, holes, read_input
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import ModelError, UnsupportedRequest
from models.registry import BackendConfig

if TYPE_CHECKING:
    from PIL.Image import Image

    from models.backends.drawing.colours import RGB

MODEL = "draft"
SMALLEST, LARGEST = 64, 4096
#: How much a sketch covers of its start image, where the request does not say.
STRENGTH = 0.6
REFERENCES_MAX = 4


class DraftBackend:
    """Draws a small poster that follows the words of the prompt."""

    name = "draft"
    capabilities = Capabilities(
        summary="draws a simple poster from the words of the prompt, offline and free; no AI model",
        paid=False,
        seeds=True,
        negative=False,
        trained=False,
        max_batch=1,
        max_in_flight=2,
        init_image=True,
        mask=True,
        references=REFERENCES_MAX,
        settings=frozenset({"strength"}),
    )

    def model_for(self, request: ImageRequest) -> str:
        """Always ``draft``: there is one."""
        if request.model not in (None, MODEL):
            raise UnsupportedRequest(
                f"Backend 'draft' has no model {request.model!r}.", hint="Its only model is 'draft'."
            )
        return MODEL

    def check(self, request: ImageRequest) -> None:
        """Refuse what a drawing cannot obey; a negative prompt has nothing to act on and is let through."""
        self._check_settings(request)
        _under(request)
        _tones(request)

    def _check_settings(self, request: ImageRequest) -> None:
        self.model_for(request)
        for side, pixels in (("width", request.width), ("height", request.height)):
            if not SMALLEST <= pixels <= LARGEST:
                raise UnsupportedRequest(
                    f"Backend 'draft' draws {SMALLEST} to {LARGEST} pixels a side, not {side} {pixels}."
                )
        unheeded = {
            "loras": request.loras or None,
            "steps": request.steps,
            "guidance": request.guidance,
            "scheduler": request.scheduler,
        }
        for setting, value in unheeded.items():
            if value is not None:
                raise UnsupportedRequest(
                    f"Backend 'draft' does not obey {setting!r}.",
                    hint="It goes by prompt, title, seed, size, start image, mask and references; leave the rest out.",
                )
        if request.options:
            raise UnsupportedRequest(f"Backend 'draft' has no option {min(request.options)!r}.", hint="It has none.")

    def render_size(self, request: ImageRequest) -> tuple[int, int]:
        """Exactly the size asked for."""
        return request.width, request.height

    def price(self, request: ImageRequest) -> Decimal | None:
        """Free."""
        return Decimal(0)

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        """Draw each request, in order."""
        return [self._draw(request) for request in batch]

    def close(self) -> None:
        """Nothing is held."""

    def _draw(self, request: ImageRequest) -> GeneratedImage | ModelError:
        try:
            self._check_settings(request)
            under, colours = _under(request), _tones(request)
        except UnsupportedRequest as exc:
            return exc
        seed = request.seed or 0
        image = draw(request.prompt, request.title, seed, request.width, request.height, tones=colours, under=under)
        return GeneratedImage(
            image=image, width=image.width, height=image.height, seed=seed, model=MODEL, cost_usd=Decimal(0)
        )


def _under(request: ImageRequest) -> Under | None:
    """What the sketch is laid over; raises UnsupportedRequest where that cannot be."""
    if request.init_image is None:
        for setting in ("strength", "mask"):
            if getattr(request, setting) is not None:
                raise UnsupportedRequest(f"A {setting} needs a start image.", hint="Name one: --init-image FILE.")
        return None
    strength = STRENGTH if request.strength is None else request.strength
    if not isfinite(strength) or not 0 <= strength <= 1:
        raise UnsupportedRequest(
            f"strength is {strength}; use 0 to 1.", hint="0 leaves the start image as it is, 1 leaves nothing of it."
        )
    size = (request.width, request.height)
    picture = _picture(read_input(request.init_image), str(request.init_image))
    if request.mask is None:
        return Under(_fitted(picture, size), strength)
    check_mask(request.mask, picture.size)
    return Under(_fitted(picture, size), strength, _holes(read_input(request.mask), str(request.mask), size))


def _tones(request: ImageRequest) -> tuple[RGB, ...]:
    """The colours of the references; raises UnsupportedRequest where they are too many or no pictures."""
    if len(request.references) > REFERENCES_MAX:
        raise UnsupportedRequest(
            f"{len(request.references)} reference images are too many for backend 'draft'.",
            hint=f"It takes {REFERENCES_MAX}.",
        )
    return _dominant(tuple((read_input(path), str(path)) for path in request.references))


@functools.lru_cache(maxsize=8)
def _dominant(files: tuple[tuple[bytes, str], ...]) -> tuple[RGB, ...]:
    return tones([_picture(data, name) for data, name in files])


@functools.lru_cache(maxsize=4)
def _picture(data: bytes, name: str) -> Image:
    """The picture of a file; what is transparent is white."""
    from PIL import Image

    picture = decode(data, name).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _fitted(picture: Image, size: tuple[int, int]) -> Image:
    """The picture, scaled and cropped to the size."""
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


@functools.lru_cache(maxsize=4)
def _holes(data: bytes, name: str, size: tuple[int, int]) -> Image:
    """The mask as the picture is fitted, white where it may change; enlarged without bleeding out of its holes."""
    from PIL import Image, ImageOps

    return ImageOps.fit(holes(decode(data, name)), size, Image.Resampling.NEAREST)


def build(_config: BackendConfig) -> DraftBackend:
    """The backend; it has no settings."""
    return DraftBackend()
