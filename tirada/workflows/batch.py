"""The main job: concepts from a theme, and images of each.

Invariant: nothing here touches a network, a disk or a clock; options in, Plan out.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from models.contract import Concept
from tirada.engine.plan import SEEDS, Plan, ReadyConcept
from tirada.errors import UsageError

COUNT_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What the user asked for, checked field by field by the command line."""

    count: int
    size: tuple[int, int]
    prompts: int | None = None
    only_prompts: bool = False
    roles: Sequence[str] = ()
    theme: str = ""
    language: str = "en"
    model: str | None = None
    seed: int | None = None
    negative: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    #: Further fields of the ImageRequest: steps, guidance, scheduler, init_image, mask, strength, references.
    request: Mapping[str, Any] = field(default_factory=dict)
    embed: str = "auto"
    on_refusal: str = "skip"
    user: str = ""
    budget: Decimal | None = None
    format: str = "png"
    csv: Path = Path("output/batch_prompts.csv")


def plan_batch(options: BatchOptions) -> Plan:
    """COUNT images of each of ``prompts`` concepts, or COUNT prompts without images."""
    if options.only_prompts and options.prompts is not None:
        raise UsageError("--prompts makes no sense with --only-prompts: there COUNT says how many prompts.")
    concepts = options.count if options.only_prompts else options.prompts or 1
    images = 0 if options.only_prompts else options.count
    return _plan(options, concepts=concepts, images=images)


def plan_from_file(options: BatchOptions, concepts: Sequence[Concept], source: Path) -> tuple[Plan, list[ReadyConcept]]:
    """COUNT images of each concept of a file, of the first ``prompts`` ones where that is given."""
    if options.only_prompts:
        raise UsageError("--from renders prompts that exist already; --only-prompts would have nothing to do.")
    chosen = list(concepts[: options.prompts])
    plan = _plan(options, concepts=len(chosen), images=options.count, source=str(source))
    return plan, [ReadyConcept(concept) for concept in chosen]


def plan_rerun(options: BatchOptions, ready: ReadyConcept, source: Path) -> tuple[Plan, list[ReadyConcept]]:
    """The images of an ``info.json`` again, with the very seeds and words they had."""
    plan = _plan(options, concepts=1, images=len(ready.seeds or ()), source=str(source), workflow="rerun")
    return plan, [ready]


def plan_job_rerun(
    options: BatchOptions,
    ready: ReadyConcept,
    source: Path,
    *,
    workflow: str,
    job: Mapping[str, Any],
    steps: Sequence[Mapping[str, Any]],
) -> tuple[Plan, list[ReadyConcept]]:
    """The images of a job again; its ``steps`` count those that there were."""
    plan = _plan(options, concepts=1, images=len(ready.items), source=str(source), workflow=workflow)
    # Images that were asked for later have steps beyond those of the plan.
    last = max((item.step for item in ready.items), default=-1)
    later = [{"request": dict(item.request)} for item in ready.items if item.step >= len(steps)][:1]
    beyond = later * max(0, last + 1 - len(steps))
    whole = [
        {**step, "images": sum(item.step == number for item in ready.items)}
        for number, step in enumerate([*steps, *beyond])
    ]
    return replace(plan, job=dict(job), steps=tuple(whole)), [ready]


def _plan(options: BatchOptions, *, concepts: int, images: int, source: str = "", workflow: str = "batch") -> Plan:
    if max(concepts, 1) * max(images, 1) > COUNT_MAX:
        raise UsageError(f"{concepts} x {images} images are more than {COUNT_MAX:,} in one run; split it.")
    width, height = options.size
    request: dict[str, Any] = {"width": width, "height": height, "model": options.model}
    request |= {name: value for name, value in options.request.items() if value not in (None, [])}
    if options.negative:
        request["negative"] = options.negative
    if options.options:
        request["options"] = dict(options.options)
    return Plan(
        workflow=workflow,
        concepts=concepts,
        images=images,
        seed=secrets.randbelow(SEEDS) if options.seed is None else options.seed,
        seeded=options.seed is not None,
        request=request,
        roles=tuple(options.roles),
        theme=options.theme,
        language=options.language,
        format=options.format,
        embed=options.embed,
        on_refusal=options.on_refusal,
        user=options.user,
        budget="" if options.budget is None else str(options.budget),
        csv=str(options.csv) if options.only_prompts else "",
        source=source,
    )
