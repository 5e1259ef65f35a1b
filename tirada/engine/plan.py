"""What a run is to make, decided before it starts and kept in the store, so that it can be resumed as it was.

Invariant: a plan survives a round trip through JSON unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from models.contract import Concept, ImageBackend, ImageRequest, LocalModel, Lora
from tirada.engine.job import Item

#: Settings that mean something to the backend they were given for only.
FOREIGN = ("model", "steps", "guidance", "scheduler", "loras")
#: What a job's settings hold under this name stays in the store: info.json, which people pass on, has none of it.
PRIVATE = "private"
#: Seeds are 32 bits wide, as every tool of the field takes them.
SEEDS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Turned out by a workflow, run by the engine."""

    workflow: str
    #: How many concepts, and how many images of each (0 = prompts only, into ``csv``).
    concepts: int
    images: int
    #: Every seed of the run follows from this one.
    seed: int
    #: True when the user chose the seed: then the choices follow from it too, instead of the remembered decks.
    seeded: bool = False
    #: Fields of the ImageRequest that all images share: width, height, model, negative, options, ...
    request: Mapping[str, Any] = field(default_factory=dict)
    #: Those of them that the user left open, as the model had them; another model has its own.
    defaults: tuple[str, ...] = ()
    #: The roles to deal from.
    roles: tuple[str, ...] = ()
    theme: str = ""
    language: str = "en"
    format: str = "png"
    csv: str = ""
    #: How image files are described: "auto" leaves signed bytes alone, "always", "never".
    embed: str = "auto"
    #: What follows a refusal: "skip" the image, or "rewrite" the concept once.
    on_refusal: str = "skip"
    #: USD the run may cost, text and images and retries together; empty = no limit of its own.
    budget: str = ""
    #: The file the concepts were read from, if they were not written by a writer.
    source: str = ""
    #: For whom it is made, where there are several people.
    user: str = ""
    #: What the job of the run is made from (see ``engine.job``); empty for a batch.
    job: Mapping[str, Any] = field(default_factory=dict)
    #: The steps a job renders in, each as far as it is known beforehand: {"images": the most there are, "backend": its
    #: name where it is not the run's own, "request": what its requests have beyond the plan's}. None for a batch.
    steps: tuple[Mapping[str, Any], ...] = ()
    #: What a job asks the text model, as (tokens, tokens of the answer); none = it asks nothing.
    asks: tuple[tuple[int, int], ...] = ()

    @property
    def prompts_only(self) -> bool:
        return self.images == 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        known = {name: data[name] for name in cls.__slots__ if name in data}
        listed = {name: tuple(known.get(name, ())) for name in ("roles", "defaults", "steps")}
        return cls(**{**known, **listed, "asks": tuple((int(a), int(b)) for a, b in known.get("asks", ()))})

    def with_model(self, model: str | None, defaults: Mapping[str, Any]) -> Plan:
        """The same with the very model, and what that model has for the settings left open."""
        request = {**self.request, "model": model, **defaults}
        return replace(self, request=request, defaults=tuple(sorted({*self.defaults, *defaults})))

    def with_step_models(self, models: Mapping[int, str]) -> Plan:
        """The same with the very model of each step that has a backend of its own."""
        steps = [
            {**step, "request": {**(step.get("request") or {}), "model": models[number]}} if number in models else step
            for number, step in enumerate(self.steps)
        ]
        return replace(self, steps=tuple(steps))

    def for_another(self, model: str | None, options: Mapping[str, str]) -> Plan:
        """The same for another model or backend: what was left open is open again."""
        asked = {name: value for name, value in self.request.items() if name not in (*self.defaults, "options")}
        return replace(
            self,
            request={**asked, "model": model, **({"options": dict(options)} if options else {})},
            defaults=(),
        )

    def backend_of(self, step: int) -> str:
        """The backend that a step has of its own; "" for the run's."""
        return str(self.steps[step].get("backend") or "") if step < len(self.steps) else ""

    def step_request(self, step: int) -> dict[str, Any]:
        """What the requests of a step have beyond the plan's; with another backend, what the first one's model has
        for itself is left out."""
        if step >= len(self.steps):
            return {}
        own = dict(self.steps[step].get("request") or {})
        if not self.backend_of(step):
            return own
        foreign = dict.fromkeys((*self.defaults, *FOREIGN))
        return {**{name: value for name, value in foreign.items() if name in self.request}, "options": {}, **own}

    def seeds(self, position: int) -> list[int]:
        """Seeds of the images of one concept: consecutive, and no two alike in a run."""
        first = self.seed + position * self.images
        return [(first + number) % SEEDS for number in range(self.images)]

    def further_seeds(self, there: int, count: int) -> list[int]:
        """Seeds of so many images that a job wants beside those that are there."""
        return [(self.seed + there + number) % SEEDS for number in range(count)]

    def request_for(self, concept: Concept) -> dict[str, Any]:
        """The request of a concept's images as JSON, without the seed."""
        negative = ", ".join(part for part in (concept.negative, self.request.get("negative", "")) if part)
        return {**self.request, "prompt": concept.prompt, "negative": negative, "title": concept.title}


@dataclass(frozen=True, slots=True)
class ReadyConcept:
    """A concept that needs no writer, with the seeds of its images where they are given."""

    concept: Concept
    seeds: tuple[int | None, ...] | None = None
    brief: Mapping[str, Any] = field(default_factory=dict)
    #: Words that took the place of its own, and the images (from 1) that are asked for with them.
    rewrite: Mapping[str, Any] | None = None
    rewritten: tuple[int, ...] = ()
    #: The images of a job that was composed before.
    items: tuple[Item, ...] = ()


def request_from_json(data: Mapping[str, Any], seed: int | None) -> ImageRequest:
    """An ImageRequest from its stored form."""
    fields = dict(data)
    for key in ("init_image", "mask"):
        if fields.get(key):
            fields[key] = Path(fields[key])
    if fields.get("references"):
        fields["references"] = tuple(Path(path) for path in fields["references"])
    if "loras" in fields:
        fields["loras"] = tuple(Lora(**lora) for lora in fields["loras"] or ())
    return ImageRequest(**fields, seed=seed)


def heeded_negative(backend: ImageBackend | None, request: ImageRequest) -> str:
    """The negative prompt as far as it counted: nothing where the backend, or its model, has none."""
    if backend is None or not backend.capabilities.negative:
        return ""
    if backend.capabilities.local and not cast(LocalModel, backend).heeds_negative(request):
        return ""
    return request.negative
