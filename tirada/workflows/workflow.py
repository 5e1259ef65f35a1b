"""What a workflow consists of: its options, the plan they come to, and the job that goes with the run.

Invariant: a workflow knows nothing of the terminal. The command line is built from the fields of its options.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar

from models.contract import Capabilities
from tirada.engine.job import Job
from tirada.engine.plan import SEEDS, Plan
from tirada.errors import UsageError

Options = TypeVar("Options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opt:
    """How a field of the options is given on the command line: ``Annotated[int, Opt(help="Pages.", min=1)]``.

    The type is str, int, float, bool, Path, a Literal, one of these or None, or a list of str or Path (repeatable). A
    field without default is required.
    """

    help: str
    #: Given by its place instead of by name.
    argument: bool = False
    #: Its flags where they are not made from the field's name, e.g. "--cover/--no-cover".
    flags: str = ""
    metavar: str = ""
    min: float | None = None
    max: float | None = None
    #: Raises ValueError saying what is wrong with a value.
    check: Callable[[Any], None] | None = None


#: (width, height) in pixels that every model knows.
USUAL = (1024, 1024)


def _no_other(name: str) -> Capabilities:
    raise LookupError(name)


def _no_objection(backend: str, plain: Mapping[str, Any], way: Mapping[str, Any]) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What every workflow is told: the options that all have, checked, and what there is to work with."""

    #: The backend's name, and what it can do (init_image, references, mask, seeds, settings ...).
    backend: str
    capabilities: Capabilities
    #: The folder with brands/, industries/, collections/ ...
    data: Path
    #: The folder that everything is written into.
    output: Path
    #: A text model answers; False = offline.
    gpt: bool
    #: (width, height) in pixels; None = the workflow's own.
    size: tuple[int, int] | None = None
    language: str = "en"
    model: str | None = None
    seed: int | None = None
    negative: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    #: How far an image may go from the one it starts from (0 to 1); None = the workflow's own.
    strength: float | None = None
    #: Further fields of the ImageRequest: steps, guidance, scheduler, loras; as a plan keeps them.
    request: Mapping[str, Any] = field(default_factory=dict)
    format: str = "png"
    embed: str = "auto"
    on_refusal: str = "skip"
    budget: Decimal | None = None
    user: str = ""
    #: Nothing is made, and nothing is to be written into ``output``.
    dry_run: bool = False
    #: Values of the settings that its row names; absent ones are None.
    settings: Mapping[str, str | None] = field(default_factory=dict)
    #: What the backend of that name can do, for steps with one of their own. Raises ModelError where there is none, or
    #: it is not set up.
    capabilities_of: Callable[[str], Capabilities] = _no_other
    #: What the backend of that name ("" = the run's own) has against a request with the fields of the second mapping,
    #: where it has nothing against one with those of the first; "" = nothing.
    objection: Callable[[str, Mapping[str, Any], Mapping[str, Any]], str] = _no_objection

    def starting_from(
        self, image: str, strength: float, *, backend: str = "", model: str | None = None
    ) -> dict[str, Any]:
        """What a request needs to start from an image (a path, or "@name"), as far as the backend and its model can.

        That is the image itself, with the user's strength or this one where it takes any; the image as a reference
        where that is all it takes; nothing where it takes neither. ``backend`` and ``model`` are those of a step that
        has its own. Where the model objects to both, the first way there is comes out, and checking the plan says why.
        """
        able = self.capabilities_of(backend) if backend else self.capabilities
        ways: list[dict[str, Any]] = []
        if able.init_image:
            chosen = strength if self.strength is None else self.strength
            ways.append({"init_image": image, **({"strength": chosen} if "strength" in able.settings else {})})
        if able.references:
            ways.append({"references": [image]})
        fitting = (way for way in ways if not self.objection_to(way, backend=backend, model=model))
        return next(fitting, ways[0] if ways else {})

    def objection_to(self, way: Mapping[str, Any], *, backend: str = "", model: str | None = None) -> str:
        """What a backend's model has against requests with these fields; "" where it has nothing against them."""
        own = self.model if backend in ("", self.backend) else None
        width, height = self.size or USUAL
        return self.objection(backend, {"width": width, "height": height, "model": model or own}, way)

    def plan(
        self,
        workflow: str,
        *,
        size: tuple[int, int],
        steps: Sequence[Mapping[str, Any]],
        job: Mapping[str, Any],
        theme: str = "",
        asks: Sequence[tuple[int, int]] = (),
        model: str | None = None,
        request: Mapping[str, Any] | None = None,
    ) -> Plan:
        """The plan of a run with a job.

        ``size`` and ``model`` are the workflow's own, where the user said none; ``request`` adds to what the user said.
        ``steps`` and ``asks`` are as in Plan; ``job`` is whatever the job needs to be made anew (JSON). Raises
        UsageError for a strength that nothing goes by.
        """
        width, height = self.size or size
        whole: dict[str, Any] = {"width": width, "height": height, "model": self.model or model}
        whole |= {name: value for name, value in (request or {}).items() if value not in (None, [])}
        whole |= {name: value for name, value in self.request.items() if value not in (None, [])}
        if self.negative:
            whole["negative"] = self.negative
        if self.options:
            whole["options"] = dict(self.options)
        self._check_strength([whole, *(step.get("request", {}) for step in steps)])
        return Plan(
            workflow=workflow,
            concepts=1,
            images=sum(int(step["images"]) for step in steps),
            seed=secrets.randbelow(SEEDS) if self.seed is None else self.seed,
            seeded=self.seed is not None,
            request=whole,
            theme=theme,
            language=self.language,
            format=self.format,
            embed=self.embed,
            on_refusal=self.on_refusal,
            budget="" if self.budget is None else str(self.budget),
            user=self.user,
            job=dict(job),
            steps=tuple(dict(step) for step in steps),
            asks=tuple(asks),
        )

    def _check_strength(self, requests: Sequence[Mapping[str, Any]]) -> None:
        if self.strength is None or any(request.get("strength") == self.strength for request in requests):
            return
        starts = any(request.get("init_image") for request in requests)
        why = f"backend {self.backend!r} takes none" if starts else "nothing here starts from one"
        raise UsageError(f"--strength says how far to go from a start image, and {why}; leave it out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow(Generic[Options]):
    """One job of the program: ``python main.py <name> ...``; its row is in ``registry.py``."""

    #: A frozen dataclass (kw_only) whose fields are ``Annotated[..., Opt(...)]``.
    options: type[Options]
    #: Raises UsageError (or SetupError) for what cannot be, before anything is spent.
    plan: Callable[[Options, Common], Plan]
    #: The job of a plan, given the data folder; called for every sitting.
    job: Callable[[Plan, Path], Job]
    #: Lines of examples for ``--help``.
    examples: Sequence[str] = ()
