"""Requests that stand for those of a plan: to check them, and to know what they cost, before anything is made.

Invariant: nothing is sent, and no file of the user's is touched; pictures that are not made yet are stood in for by
blank ones of their size.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.contract import Concept, ImageBackend, ImageRequest
from models.errors import ModelError, UnsupportedRequest
from tirada.engine.items import FILE_LISTS, FILES, MARK, as_taken
from tirada.engine.plan import Plan, ReadyConcept, request_from_json

#: A concept that is still to be written, at the length that most have.
TYPICAL = Concept(title="A title", description="", metatags=(), prompt="word " * 90)


@dataclass(frozen=True, slots=True)
class Sample:
    """A request like so many of the plan's, and the backend that gets it."""

    backend: ImageBackend
    request: ImageRequest
    images: int
    #: The step of a job that it stands for.
    step: int = 0


class Samples:
    """Makes samples; keeps the blank pictures for as long as it lives."""

    def __init__(self, backend: ImageBackend, other: Callable[[str], ImageBackend]) -> None:
        """``other`` finds the backend of a step that has one of its own."""
        self._backend = backend
        self._other = other
        self._folder: Path | None = None

    def of(self, plan: Plan, ready: Sequence[ReadyConcept]) -> Iterator[Sample]:
        """One of each ready concept, or of each step of a job, or one that stands for all that is to be written."""
        if plan.steps:
            for number, step in enumerate(plan.steps):
                if int(step["images"]):
                    name = plan.backend_of(number)
                    backend = self._other(name) if name else self._backend
                    yield Sample(backend, self._of_step(plan, number, backend), int(step["images"]), number)
            return
        for item in ready:
            yield Sample(self._backend, request_from_json(plan.request_for(item.concept), None), plan.images)
        if not ready:
            yield Sample(self._backend, self.own(plan), plan.images * plan.concepts)

    def own(self, plan: Plan, concept: Concept = TYPICAL) -> ImageRequest:
        """A request of the plan's own, without what the steps of a job add."""
        return request_from_json(plan.request_for(concept), None)

    def objection(self, name: str, plain: Mapping[str, Any], way: Mapping[str, Any]) -> str:
        """What a backend ("" = the run's own) has against a request with the fields ``way`` beside the plain ones.

        Nothing where it says the same of the plain ones: then it is not these fields, and checking the plan says what.
        """
        backend = self._other(name) if name else self._backend
        common = {"prompt": TYPICAL.prompt, **plain}
        refusal = self._refusal(backend, {**common, **way})
        if not isinstance(refusal, UnsupportedRequest):
            return ""
        return "" if str(refusal) == str(self._refusal(backend, common)) else str(refusal)

    def _refusal(self, backend: ImageBackend, fields: Mapping[str, Any]) -> ModelError | None:
        try:
            backend.check(self._filled(fields))
        except ModelError as exc:
            return exc
        return None

    def _of_step(self, plan: Plan, step: int, backend: ImageBackend) -> ImageRequest:
        own = as_taken(plan.step_request(step), backend.capabilities)
        return self._filled({**plan.request_for(TYPICAL), **own})

    def _filled(self, given: Mapping[str, Any]) -> ImageRequest:
        """The request of these fields, with blank pictures for those that are still to be made."""
        fields = dict(given)
        for name in FILES:
            if _is_mark(fields.get(name)):
                fields[name] = self._blank(fields, mask=name == "mask")
        for name in FILE_LISTS:
            if name in fields:
                fields[name] = [
                    self._blank(fields, mask=False) if _is_mark(value) else value for value in fields[name] or ()
                ]
        return request_from_json(fields, None)

    def _blank(self, fields: Mapping[str, Any], *, mask: bool) -> str:
        """The path of a picture of the size that is asked for; a mask is transparent all over."""
        from PIL import Image

        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="tirada-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        size = (int(fields["width"]), int(fields["height"]))
        path = self._folder / f"{size[0]}x{size[1]}-{'mask' if mask else 'image'}.png"
        if not path.exists():
            Image.new("RGBA" if mask else "RGB", size).save(path, compress_level=1)
        return str(path)


def _is_mark(value: object) -> bool:
    return isinstance(value, str) and value.startswith(MARK)
