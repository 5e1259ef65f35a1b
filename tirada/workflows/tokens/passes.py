"""The passes of a character image: its base, the traits put on it, and a refinement by another backend or model.

Invariant: each pass that a backend cannot make as it is meant is left out with a note, or refused before anything is
spent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tirada.errors import NotFound, UsageError
from tirada.workflows.tokens.catalogue import Collection
from tirada.workflows.workflow import Common

#: What the images of the passes are called.
BASE, TRAITS, REFINED = "base", "traits", "refined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """A last pass: a backend's name, and its model and strength where they are not its and the collection's own."""

    backend: str
    model: str | None = None
    strength: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """What a plan needs of the passes."""

    #: Without what belongs to the refinement alone.
    common: Common
    #: As in Plan, one image each; the place of a pass here is its step.
    steps: Sequence[Mapping[str, Any]]
    #: The name of the image of each step.
    names: Sequence[str]
    #: What the user is to know.
    notes: Sequence[str] = ()


def refinement_of(backend: str | None, model: str | None, strength: float | None) -> Refinement | None:
    """The refinement that --refine, --refine-model and --refine-strength ask for; raises UsageError where only the
    latter two do."""
    if backend is not None:
        return Refinement(backend=backend, model=model, strength=strength)
    for flag, value in (("--refine-model", model), ("--refine-strength", strength)):
        if value is not None:
            raise UsageError(f"{flag} says how to refine; say with which backend, too: --refine BACKEND.")
    return None


def passes_of(
    common: Common, collection: Collection, base: Path | None = None, refinement: Refinement | None = None
) -> Passes:
    """The passes that backend and options allow; ``base`` is the user's own file.

    LoRAs belong to the refinement where there is one. Raises UsageError, NotFound, and what a backend that is not set
    up raises.
    """
    steps: list[dict[str, Any]] = []
    names: list[str] = []
    notes: list[str] = []
    loras = common.request.get("loras") or []
    if refinement is not None:
        common = replace(common, request={name: it for name, it in common.request.items() if name != "loras"})
    file = _file_of(base, collection)
    start = common.starting_from(f"@{BASE}" if file is None else str(file), collection.strength)
    if why := _objection(common, start):
        if base is not None:
            raise UsageError(f"--base {base} cannot be used: {why}")
        notes.append(f"{why} The character is made from words alone.")
        start = {}
    elif file is None:
        steps.append({"images": 1})
        names.append(BASE)
    steps.append({"images": 1, "request": start})
    names.append(TRAITS)
    if refinement is not None:
        steps.append(_refined(common, collection, refinement, loras))
        names.append(REFINED)
    return Passes(common=common, steps=steps, names=names, notes=notes)


def _file_of(base: Path | None, collection: Collection) -> Path | None:
    file = base or collection.base
    if file is None:
        return None
    if not file.is_file():
        raise NotFound(f"There is no file {str(file)!r} to start the character from.")
    return file.resolve()


def _objection(common: Common, start: Mapping[str, Any], *, backend: str = "", model: str | None = None) -> str:
    """Why nothing can start from an image there, as a sentence; "" where it can."""
    if not start:
        return f"Backend {backend or common.backend!r} starts from no image."
    return common.objection_to(start, backend=backend, model=model)


def _refined(common: Common, collection: Collection, wanted: Refinement, loras: Sequence[Any]) -> dict[str, Any]:
    # Raises where there is none of that name; no name at all is none, too.
    common.capabilities_of(wanted.backend)
    start = replace(common, strength=wanted.strength).starting_from(
        f"@{TRAITS}", collection.refine_strength, backend=wanted.backend, model=wanted.model
    )
    if why := _objection(common, start, backend=wanted.backend, model=wanted.model):
        raise UsageError(f"--refine {wanted.backend} cannot be used: {why}")
    request = dict(start)
    if model := wanted.model or (common.model if wanted.backend == common.backend else None):
        request["model"] = model
    if loras:
        request["loras"] = list(loras)
    return {"images": 1, "backend": wanted.backend, "request": request}
