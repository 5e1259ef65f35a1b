"""The ``draft`` backend: posters drawn by ourselves, offline and free, for rehearsing a batch before paying for one.

Invariant: the same prompt, title, seed and size give the same pixels on any machine and in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from models.backends.drawing.scene import draw
from models.contract import Capabilities, GeneratedImage, ImageRequest
from models.errors import ModelError, UnsupportedRequest
from models.registry import BackendConfig

MODEL = "draft"
SMALLEST, LARGEST = 64, 4096


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
        self.model_for(request)
        for side, pixels in (("width", request.width), ("height", request.height)):
            if not SMALLEST <= pixels <= LARGEST:
                raise UnsupportedRequest(
                    f"Backend 'draft' draws {SMALLEST} to {LARGEST} pixels a side, not {side} {pixels}."
                )
        unheeded = {
            "init_image": request.init_image,
            "mask": request.mask,
            "strength": request.strength,
            "references": request.references or None,
            "loras": request.loras or None,
            "steps": request.steps,
            "guidance": request.guidance,
            "scheduler": request.scheduler,
        }
        for setting, value in unheeded.items():
            if value is not None:
                raise UnsupportedRequest(
                    f"Backend 'draft' does not obey {setting!r}.",
                    hint="It goes by prompt, title, seed and size; leave the rest out.",
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
            self.check(request)
        except UnsupportedRequest as exc:
            return exc
        seed = request.seed or 0
        image = draw(request.prompt, request.title, seed, request.width, request.height)
        return GeneratedImage(
            image=image, width=image.width, height=image.height, seed=seed, model=MODEL, cost_usd=Decimal(0)
        )


def build(_config: BackendConfig) -> DraftBackend:
    """The backend; it has no settings."""
    return DraftBackend()
