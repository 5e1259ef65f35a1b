"""Renders requests with a loaded model, in batches, through shortage of memory and wishes to stop.

Invariant: every image has a generator of its own, so that it comes out the same whatever it is rendered together with;
on a processor, where a batch saves nothing, each is rendered alone and that holds to the last bit.
"""

from __future__ import annotations

import inspect
import secrets
import threading
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from models.backends.local import memory
from models.backends.local.device import is_out_of_memory
from models.backends.local.pictures import finished, start_image
from models.backends.local.prompts import Encoded, combine
from models.backends.local.references import reference_arguments
from models.backends.local.studio import Studio
from models.catalog import Weights
from models.contract import GeneratedImage, ImageRequest, Progress
from models.errors import ModelError, Refused, Unavailable, UnsupportedRequest

SEEDS = 2**32
#: Families that follow a prompt by leading away from a negative (or empty) one; the others were taught to do without.
TWO_SIDED = ("sd", "sdxl", "sd3", "klein", "z-image", "qwen-image", "qwen-image-edit")
NO_ROOM = "Ask for a smaller size, or for a model that needs less memory."


class _Stopped(Exception):
    """Somebody wants to leave."""


class Watch:
    """How far the images under way are, and the wish to give them up; looked at from other threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = False
        self._under_way = False
        self._progress: Progress | None = None

    def begin(self) -> None:
        with self._lock:
            self._under_way, self._stop, self._progress = True, False, None

    def end(self) -> None:
        with self._lock:
            self._under_way, self._progress = False, None

    def interrupt(self) -> None:
        with self._lock:
            self._stop = self._under_way

    def look(self) -> Progress | None:
        return self._progress

    def step(self, pipe: Any, number: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """What diffusers calls after every step."""
        if self._stop:
            raise _Stopped
        steps = int(getattr(pipe, "num_timesteps", 0) or 0)
        self._progress = Progress((number + 1) / steps if steps else 0.0, number + 1, steps)
        return tensors


class Renderer:
    """Renders alike requests (all but prompt and seed are equal) with one model."""

    def __init__(self, studio: Studio, watch: Watch, max_batch: int) -> None:
        self._studio = studio
        self._watch = watch
        self._max_batch = max_batch
        #: Images at once that turned out to fit, for a number of pixels.
        self._fits: dict[int, int] = {}

    def render(self, requests: Sequence[ImageRequest], size: tuple[int, int]) -> list[GeneratedImage | ModelError]:
        """One answer per request, in order."""
        seeded = [one if one.seed is not None else replace(one, seed=secrets.randbelow(SEEDS)) for one in requests]
        answers: list[GeneratedImage | ModelError] = []
        while len(answers) < len(seeded):
            rest = seeded[len(answers) :]
            answers += self._next(rest, size)
        return answers

    def _next(self, rest: Sequence[ImageRequest], size: tuple[int, int]) -> list[GeneratedImage | ModelError]:
        """Render the first of the rest, as many as go together; on the way down to what fits."""
        studio = self._studio
        part = rest[: self._at_once(rest[0], size)]
        try:
            return self._batch(part, size)
        except _Stopped:
            studio.recover()
            return [Unavailable("Interrupted: the image is not finished.")] * len(rest)
        except (RuntimeError, MemoryError, ValueError, TypeError) as exc:
            if studio.do_without_compiling(exc):
                return []
            if not is_out_of_memory(exc):
                if studio.do_without_fast_attention():
                    return []
                raise
        # Outside of the handler: the exception held on to everything that was computed so far.
        return self._with_less(part, size)

    def _with_less(self, part: Sequence[ImageRequest], size: tuple[int, int]) -> list[GeneratedImage | ModelError]:
        """There was no room: half as many at once from now on, then a plan that needs less."""
        studio = self._studio
        studio.recover()
        if len(part) > 1:
            self._fits[size[0] * size[1]] = len(part) // 2
            return []
        if studio.use_less_memory():
            self._fits.clear()
            return []
        return [UnsupportedRequest(f"There is not enough memory for {size[0]}x{size[1]}.", hint=NO_ROOM)]

    def _at_once(self, request: ImageRequest, size: tuple[int, int]) -> int:
        studio, pixels = self._studio, size[0] * size[1]
        if pixels in self._fits:
            return self._fits[pixels]
        if request.references and not studio.adapted:
            return 1
        if studio.options.batch:
            return studio.options.batch
        return min(self._max_batch, memory.most_at_once(studio.plan, studio.source.weights, studio.device, pixels))

    def _batch(self, part: Sequence[ImageRequest], size: tuple[int, int]) -> list[GeneratedImage | ModelError]:
        import torch

        studio, first = self._studio, part[0]
        pipe = studio.ready(first)
        guidance, guided = self._guidance(first)
        encoded = studio.encoder.encode(part, guided=guided)
        together = sum(1 for _ in _alike(encoded))
        part, encoded = part[:together], encoded[:together]
        arguments = {
            **combine(encoded),
            **guidance,
            "width": size[0],
            "height": size[1],
            "num_inference_steps": first.steps or studio.source.weights.steps,
            # On the processor: the same noise whatever the card.
            "generator": [torch.Generator("cpu").manual_seed(one.seed or 0) for one in part],
            "output_type": "pt",
            "callback_on_step_end": self._watch.step,
            **self._pictures(first, size, len(part), guided=guided),
        }
        known = inspect.signature(pipe.__call__).parameters
        with torch.inference_mode():
            result = pipe(**{name: value for name, value in arguments.items() if name in known})
        flagged = getattr(result, "nsfw_content_detected", None) or [False] * len(part)
        rows = zip(part, encoded, finished(result.images), flagged, strict=True)
        return [self._answer(request, one, image, bool(nsfw), len(part)) for request, one, image, nsfw in rows]

    def _guidance(self, request: ImageRequest) -> tuple[dict[str, float], bool]:
        """The argument that holds the guidance, and whether a negative side is computed for it."""
        weights = self._studio.source.weights
        if not weights.guidance_argument:
            return {"guidance_scale": 1.0 if weights.family == "klein" else 0.0}, False
        return {weights.guidance_argument: guidance_of(weights, request)}, two_sided(weights, request)

    def _pictures(self, request: ImageRequest, size: tuple[int, int], images: int, *, guided: bool) -> dict[str, Any]:
        studio = self._studio
        shown = studio.pictures.arguments(request, guided=guided) if studio.adapted else {}
        if request.init_image is None:
            return shown or reference_arguments(studio.source.weights, request, size)
        start: dict[str, Any] = {"image": [start_image(request.init_image, size)] * images, **shown}
        return start if request.strength is None else {**start, "strength": request.strength}

    def _answer(
        self, request: ImageRequest, encoded: Encoded, image: Any, nsfw: bool, batch: int
    ) -> GeneratedImage | ModelError:
        if nsfw:
            return Refused(
                "The model's safety checker took the picture for an indecent one.",
                hint="Another seed or prompt may pass; --no-safety-checker turns it off.",
            )
        if isinstance(image, ModelError):
            return image
        studio = self._studio
        return GeneratedImage(
            image=image,
            width=image.width,
            height=image.height,
            seed=request.seed,
            model=studio.source.name,
            cost_usd=Decimal(0),
            details={**studio.record(), "batch": str(batch), **encoded.details},
        )


def _alike(encoded: Sequence[Encoded]) -> Any:
    """The first prompts that have one shape."""
    for one in encoded:
        if one.shape != encoded[0].shape:
            return
        yield one


def two_sided(weights: Weights, request: ImageRequest) -> bool:
    """Is the prompt followed by leading away from a negative (or empty) one?"""
    return weights.family in TWO_SIDED and guidance_of(weights, request) > 1


def guidance_of(weights: Weights, request: ImageRequest) -> float:
    """How closely the prompt is followed."""
    return weights.guidance if request.guidance is None else request.guidance
