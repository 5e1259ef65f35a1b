"""``rerun PATH``: the images of an ``info.json`` again, with the very same settings and seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tirada.cli import console
from tirada.cli.options import (
    BudgetOption,
    DryRunOption,
    JsonOption,
    OutputOption,
    QuietOption,
    UserOption,
    YesOption,
    chosen_backend,
    leave,
    with_backend_flags,
)
from tirada.errors import NotFound, UsageError

if TYPE_CHECKING:
    from tirada.engine.job import Item
    from tirada.output.info import Info, JobEntry, MissingEntry


@with_backend_flags
def command(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="An info.json, or the folder that holds it.")],
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Another model.", show_default="the same")
    ] = None,
    user: UserOption = None,
    budget: BudgetOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """Make the images of an info.json again."""
    from models.contract import Concept
    from models.sizes import parse_size
    from tirada.cli.drive import drive
    from tirada.cli.setup import Setup
    from tirada.engine.plan import ReadyConcept
    from tirada.output.info import read_info
    from tirada.settings import load_settings
    from tirada.workflows.batch import BatchOptions, plan_job_rerun, plan_rerun

    file = path / "info.json" if path.is_dir() else path
    if not file.exists():
        raise NotFound(f"There is no file {str(file)!r}.")
    try:
        info = read_info(path)
        size = parse_size(info.size)
    except ValueError as exc:
        raise UsageError(f"{exc}.") from exc
    setup = Setup(load_settings(), output=output, quiet=quiet or json)
    chosen = chosen_backend(ctx)
    setup.choose_backend(chosen or info.backend)
    same = setup.backend is not None and setup.backend.name == info.backend
    if same and setup.backend is not None and not setup.backend.capabilities.seeds:
        console.warn(f"{info.ai} takes no seeds: the images will be new ones of the same prompt.")
    options = BatchOptions(
        count=info.quantity,
        size=size,
        theme=info.theme,
        language=info.language,
        model=model or (info.model if same else None),
        options=info.options if same else {},
        request=_request(info) if same else {},
        format=info.format,
        embed=info.embed,
        user=info.user if user is None else user,
        budget=budget,
    )
    concept = Concept(
        title=info.title,
        description=info.description,
        metatags=tuple(info.metatags),
        prompt=info.prompt,
        negative=info.negative_prompt,
        role=info.role,
        writer=info.writer,
        model=info.writer_model,
    )
    rewrite = None if info.rewrite is None else info.rewrite.model_dump()
    again = ReadyConcept(concept, tuple(info.seeds), info.brief, rewrite, _rewritten(info) if rewrite else ())
    if info.job is None:
        plan, ready = plan_rerun(options, again, path)
    else:
        again = replace(again, items=_items(info, info.job.missing, file))
        _check_record(info, info.job, again.items, setup.data, file)
        job: dict[str, Any] = {"workflow": info.workflow, "job": info.job.settings, "steps": info.job.steps}
        plan, ready = plan_job_rerun(options, again, path, **job)
    setup.check(plan, ready)
    leave(drive(setup, plan, ready, dry_run=dry_run, yes=yes, as_json=json, quiet=quiet))


def _items(info: Info, missing: Sequence[MissingEntry], file: Path) -> tuple[Item, ...]:
    """The images of a job as they were asked for, those that came to nothing too, in their order."""
    from tirada.engine.job import Item

    if len(info.images) + len(missing) != info.quantity:
        raise UsageError(f"{str(file)!r} does not say how each of its {info.quantity} images is to be made.")
    found = {
        one.index: Item(
            name=one.name,
            title=one.title,
            prompt=one.prompt,
            step=one.step,
            kind=one.kind,
            seed=one.seed,
            request=one.settings,
            facts=one.facts,
        )
        for one in missing
    }
    places = (place for place in range(1, info.quantity + 1) if place not in found)
    for place, image in zip(places, info.images, strict=True):
        found[place] = Item(
            name=Path(image.file).stem,
            title=image.title or info.title,
            prompt=image.prompt or info.prompt,
            step=image.step,
            kind=image.kind,
            seed=image.seed,
            request=image.settings,
            facts=image.facts,
        )
    return tuple(found[place] for place in sorted(found))


def _check_record(info: Info, job: JobEntry, items: Sequence[Item], data: Path, file: Path) -> None:
    """Raise UsageError for what only a hand at the record can have written."""
    from tirada.engine.job import NAME
    from tirada.engine.plan import Plan, request_from_json
    from tirada.workflows.registry import job_of

    if not job.steps:
        raise UsageError(f"{str(file)!r} does not say in which steps its images are made.")
    for name, count in Counter(item.name for item in items).items():
        if count > 1 or not NAME.fullmatch(name):
            raise UsageError(f"{str(file)!r}: {name!r} is no name for an image of a job, or there are two of it.")
    for own in (*(step.get("request") or {} for step in job.steps), *(item.request for item in items)):
        try:
            request_from_json({"prompt": "", "width": 1, "height": 1, **own}, None)
        except TypeError as exc:
            raise UsageError(f"{str(file)!r}: no image can be asked for with {dict(own)!r}.") from exc
    plan = Plan(workflow=info.workflow, concepts=1, images=1, seed=0, job=job.settings, steps=tuple(job.steps))
    try:
        job_of(plan, data)
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        what = f"{type(exc).__name__}: {exc}"
        raise UsageError(f"{str(file)!r}: these are no settings of a {info.workflow!r} ({what}).") from exc


def _request(info: Info) -> dict[str, object]:
    """The settings the images were made with."""
    return {
        "steps": info.steps,
        "guidance": info.cfg_scale,
        "scheduler": info.scheduler,
        "loras": [lora.model_dump() for lora in info.loras],
        "init_image": info.init_image,
        "mask": info.mask,
        "strength": info.strength,
        "references": info.references,
    }


def _rewritten(info: Info) -> tuple[int, ...]:
    """The images that get the rewritten words: all but those that were made with the first ones."""
    stems = [Path(image.file).stem for image in info.images if image.prompt is None]
    first = {int(stem) for stem in stems if stem.isdecimal()}
    return tuple(number for number in range(1, info.quantity + 1) if number not in first)
