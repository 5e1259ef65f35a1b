"""Commands of the workflows: built from the fields of their options, and the options that all of them have.

Invariant: nothing here knows a particular workflow; a row in the registry is all that a command needs.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer

from tirada.cli.options import (
    BudgetOption,
    DryRunOption,
    EmbedOption,
    GuidanceOption,
    JsonOption,
    LoraOption,
    ModelOption,
    OutputOption,
    PairsOption,
    QuietOption,
    RefusalOption,
    SchedulerOption,
    SeedOption,
    StepsOption,
    UserOption,
    YesOption,
    check_language,
    check_size,
    chosen_backend,
    leave,
    parse_loras,
    parse_pairs,
    with_backend_flags,
)
from tirada.workflows import registry
from tirada.workflows.registry import WorkflowRow
from tirada.workflows.workflow import Common, Opt, Workflow

#: The parameters of ``_common`` that are the command's and not the workflow's.
OWN = ("budget", "yes", "output", "dry_run", "quiet", "json")


def command_of(row: WorkflowRow) -> Callable[..., Any]:
    """The command of a workflow, with a flag for each field of its options."""
    workflow = registry.load(row)
    own = list(_parameters(workflow))
    names = {parameter.name for parameter in own}
    common = [
        parameter
        for parameter in inspect.signature(_common, eval_str=True).parameters.values()
        if parameter.name not in names
    ]

    def command(ctx: typer.Context, **values: Any) -> None:
        given = {name: values.pop(name) for name in names if name in values}
        _run(ctx, row, workflow, given, values)

    parameters = [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *sorted(own, key=lambda parameter: parameter.default is not inspect.Parameter.empty),
        *common,
    ]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [parameters[0], *(parameter.replace(kind=keyword) for parameter in parameters[1:])]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__doc__ = row.summary
    return with_backend_flags(command)


def help_of(row: WorkflowRow) -> str:
    """The text of ``--help``: what it is, and examples."""
    examples = registry.load(row).examples
    lines = "\n".join(f"  {line}" for line in examples)
    return f"{row.summary}\n\n\b\n{lines}" if examples else row.summary


def _common(
    *,
    size: Annotated[
        str | None,
        typer.Option("--size", metavar="SIZE", callback=check_size, help="WIDTHxHEIGHT, or a name such as portrait."),
    ] = None,
    writer: Annotated[
        Literal["gpt", "composer"] | None,
        typer.Option("--writer", help="Who writes: GPT, or ourselves, offline.", show_default="gpt with a key"),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="CODE", callback=check_language, help="Language of the texts."),
    ] = None,
    model: ModelOption = None,
    seed: SeedOption = None,
    negative: Annotated[str, typer.Option("--negative", metavar="TEXT", help="What to keep out besides.")] = "",
    option: PairsOption = None,
    strength: Annotated[
        float | None,
        typer.Option("--strength", min=0, max=1, metavar="0..1", help="How far from a start image, 1 = anywhere."),
    ] = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    scheduler: SchedulerOption = None,
    lora: LoraOption = None,
    file_format: Annotated[
        Literal["png", "jpeg", "webp"] | None, typer.Option("--file-format", help="Of the files.", show_default="png")
    ] = None,
    embed: EmbedOption = "auto",
    on_refusal: RefusalOption = "skip",
    user: UserOption = None,
    budget: BudgetOption = None,
    yes: YesOption = False,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
) -> None:
    """The options that every workflow has; only its signature is used."""


def _parameters(workflow: Workflow[Any]) -> list[inspect.Parameter]:
    """The workflow's own parameters, as Typer reads them."""
    hints = get_type_hints(workflow.options, include_extras=True)
    parameters = []
    for field in dataclasses.fields(workflow.options):
        kind, *notes = get_args(hints[field.name])
        opt = next(note for note in notes if isinstance(note, Opt))
        default: Any = inspect.Parameter.empty
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = None
        annotation: Any = Annotated[_typer_type(kind, default), _info(field.name, kind, opt)]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
    return parameters


def _typer_type(kind: Any, default: Any) -> Any:
    """Typer wants None allowed where it is the default, as it is for lists."""
    return kind | None if default is None and not _allows_none(kind) else kind


def _allows_none(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def _info(name: str, kind: Any, opt: Opt) -> Any:
    """Argument or option, as Typer describes it."""
    limits = {key: value for key, value in (("min", opt.min), ("max", opt.max)) if value is not None}
    if int in (kind, *get_args(kind)):
        limits = {key: int(value) for key, value in limits.items()}
    shared: dict[str, Any] = {"help": opt.help, "metavar": opt.metavar or None, **limits}
    if opt.check is not None:
        shared["callback"] = _callback(opt.check)
    if opt.argument:
        return typer.Argument(**shared)
    return typer.Option(opt.flags or f"--{name.replace('_', '-')}", show_default=kind is not bool, **shared)


def _callback(check: Callable[[Any], None]) -> Callable[[Any], Any]:
    def callback(value: Any) -> Any:
        if value is not None:
            try:
                check(value)
            except ValueError as exc:
                raise typer.BadParameter(str(exc)) from exc
        return value

    return callback


def _run(
    ctx: typer.Context, row: WorkflowRow, workflow: Workflow[Any], given: dict[str, Any], common: dict[str, Any]
) -> None:
    """Plan it, and drive the run."""
    from tirada.cli.drive import drive
    from tirada.cli.setup import Setup
    from tirada.settings import load_settings

    own = {name: common.pop(name) for name in OWN}
    settings = load_settings()
    setup = Setup(settings, output=own["output"], quiet=own["quiet"] or own["json"])
    setup.choose_backend(chosen_backend(ctx) or settings.backend)
    assert setup.backend is not None
    gpt = setup.texts.choose(common.pop("writer", None)) == "gpt"
    wanted = {name: value for name, value in given.items() if value is not None or not _is_list(workflow, name)}
    plan = workflow.plan(
        workflow.options(**wanted),
        Common(
            backend=setup.backend.name,
            capabilities=setup.backend.capabilities,
            data=setup.data,
            output=setup.output,
            gpt=gpt,
            dry_run=own["dry_run"],
            settings={name: settings.value(name) for name in row.settings},
            capabilities_of=lambda name: setup.other_backend(name)[0].capabilities,
            objection=setup.samples.objection,
            **_fields(common, own["budget"], settings.writer_language, settings.format),
        ),
    )
    setup.check(plan, ())
    leave(
        drive(
            setup,
            plan,
            (),
            dry_run=own["dry_run"],
            yes=own["yes"],
            as_json=own["json"],
            quiet=own["quiet"],
        )
    )


def _is_list(workflow: Workflow[Any], name: str) -> bool:
    """Was None only put in for an empty list?"""
    field = next(one for one in dataclasses.fields(workflow.options) if one.name == name)
    return field.default_factory is not dataclasses.MISSING


def _fields(common: dict[str, Any], budget: Decimal | None, language: str, file_format: str) -> dict[str, Any]:
    """The fields of ``Common`` that come from options; those that a workflow has for itself are left out."""
    from models.sizes import parse_size

    size = common.get("size")
    return {
        "size": None if size is None else parse_size(size),
        "language": common.get("language") or language,
        "model": common.get("model"),
        "seed": common.get("seed"),
        "negative": str(common.get("negative") or "").strip(),
        "options": parse_pairs(common.get("option")),
        "strength": common.get("strength"),
        "request": {
            "steps": common.get("steps"),
            "guidance": common.get("guidance"),
            "scheduler": common.get("scheduler"),
            "loras": parse_loras(common.get("lora")),
        },
        "format": common.get("file_format") or file_format,
        "embed": common.get("embed") or "auto",
        "on_refusal": common.get("on_refusal") or "skip",
        "user": common.get("user") or "",
        "budget": budget,
    }
