"""Options that several commands share, and the checks of single values.

Invariant: a check says what is wrong with a value and what would be right; it never looks at other options.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from models import registry
from models.sizes import parse_size
from tirada.cli import console
from tirada.cli.status import ExitStatus
from tirada.output.text import one_line


def parse_usd(value: str) -> Decimal:
    """An amount of money; raises typer.BadParameter for anything else."""
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise typer.BadParameter(f"{value!r} is no amount of USD, such as 2.50") from None
    if not amount.is_finite() or amount < 0:
        raise typer.BadParameter(f"{value!r} is no amount of USD, such as 2.50")
    return amount


def parse_folder(value: str) -> Path:
    """A folder; raises typer.BadParameter for an empty name, which Path would take for the current folder."""
    if not value.strip():
        raise typer.BadParameter("the name of the folder is empty; . is the current folder")
    return Path(value)


#: Characters of the name of a user.
USER_MAX = 100


def parse_user(value: str) -> str:
    """The name of a user; raises typer.BadParameter for an empty or endless one."""
    name = one_line(value)
    if not name or len(name) > USER_MAX:
        raise typer.BadParameter(f"a name has 1 to {USER_MAX} characters, not {len(name)}")
    return name


OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PATH", parser=parse_folder, help="Folder to write into.", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON report on stdout.")]
BudgetOption = Annotated[
    Decimal | None,
    typer.Option("--budget", metavar="USD", parser=parse_usd, help="Spend no more than this.", show_default=False),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be made and what it costs.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Agree to what the run is expected to cost.")]
#: Whose the work is, where several people share an output folder.
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", parser=parse_user, help="For whom it is made.", show_default=False),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")]
#: What decides the images themselves, for batches and workflows alike.
ModelOption = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Image model; see `models`.")]
SeedOption = Annotated[
    int | None, typer.Option("--seed", min=0, max=2**32 - 1, metavar="N", help="Makes the run repeatable.")
]
PairsOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="A setting of the backend, e.g. quality=low."),
]
StepsOption = Annotated[int | None, typer.Option("--steps", min=1, max=500, metavar="N", help="Sampling steps.")]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance", min=0, max=50, metavar="X", help="How closely to follow the prompt.")
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="NAME", help="Sampler, by the name people know.")
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option("--lora", metavar="FILE[:WEIGHT]", help="A LoRA file or repository; repeatable."),
]
EmbedOption = Annotated[
    Literal["auto", "always", "never"],
    typer.Option("--embed", help="Write title, tags and settings into the images; auto leaves signed ones alone."),
]
RefusalOption = Annotated[
    Literal["skip", "rewrite"],
    typer.Option("--on-refusal", help="Of a content policy: skip the image, or put it into safer words once."),
]

#: Where the backend flags are noted while the command line is read, in the order they were typed.
_TYPED = "tirada.backends"
_PREFIX = "backend_flag_"


def check_size(value: str | None) -> str | None:
    """Typer callback of SIZE."""
    if value is not None:
        try:
            parse_size(value)
        except ValueError as exc:
            raise typer.BadParameter(str(exc)) from exc
    return value


def check_language(value: str | None) -> str | None:
    """Typer callback of --language."""
    if value is not None and not re.fullmatch(r"[a-z]{2,3}", value):
        raise typer.BadParameter(f"{value!r} is no language code; use two letters such as en, es, de, fr")
    return value


#: Keys of --option whose value is a file or a folder.
PATHS = ("config", "ip_adapter")


def parse_pairs(values: list[str] | None) -> dict[str, str]:
    """KEY=VALUE pairs of --option; raises typer.BadParameter for anything else. Files are found again from anywhere."""
    pairs = {}
    for value in values or []:
        key, equals, text = value.partition("=")
        if not equals or not key.strip():
            raise typer.BadParameter(f"{value!r} is not KEY=VALUE", param_hint="--option")
        key, text = key.strip(), text.strip()
        path = Path(text).expanduser()
        pairs[key] = str(path.absolute()) if key in PATHS and path.exists() else text
    return pairs


def parse_loras(values: list[str] | None) -> list[dict[str, Any]]:
    """SOURCE[:WEIGHT] of --lora, as a request keeps them; files are found again from anywhere."""
    loras: list[dict[str, Any]] = []
    for value in values or []:
        source, colon, text = value.rpartition(":")
        weight = 1.0
        try:
            weight = float(text) if colon else weight
        except ValueError:
            if Path(source).expanduser().exists() or source.endswith(".safetensors"):
                raise typer.BadParameter(
                    f"{text!r} is no weight; use a number such as 0.8", param_hint="--lora"
                ) from None
            # A colon of the name itself, as in C:\loras.
            source = ""
        source = source or value
        if not source.strip(":"):
            raise typer.BadParameter(f"{value!r} is not FILE or FILE:WEIGHT", param_hint="--lora")
        path = Path(source).expanduser()
        loras.append({"source": str(path.absolute()) if path.exists() else source, "weight": weight})
    return loras


def note_backend(ctx: typer.Context, name: str) -> None:
    ctx.meta.setdefault(_TYPED, []).append(name)


def chosen_backend(ctx: typer.Context) -> str | None:
    """The backend that was named first; the others are ignored, and the user is told."""
    typed: list[str] = ctx.meta.get(_TYPED, [])
    names = list(dict.fromkeys(typed))
    for name in names[1:]:
        console.warn(f"{name!r} is ignored: {names[0]!r} was named first.")
    return names[0] if names else None


def _note_flag(name: str) -> Callable[[typer.Context, bool], bool]:
    def callback(ctx: typer.Context, value: bool) -> bool:
        if value:
            note_backend(ctx, name)
        return value

    return callback


def _note_name(ctx: typer.Context, value: str | None) -> str | None:
    if value is not None:
        note_backend(ctx, registry.find(value).name)
    return value


def complete_backend(incomplete: str) -> list[str]:
    return [row.name for row in registry.rows() if row.name.startswith(incomplete)]


def with_backend_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one flag per backend of the registry, and --backend; it asks ``chosen_backend`` which one counts.

    Options are read in the order they were typed, so the callbacks know which flag came first.
    """
    signature = inspect.signature(command, eval_str=True)
    flags = [
        inspect.Parameter(
            f"{_PREFIX}{row.name.replace('-', '_')}",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(row.flag, callback=_note_flag(row.name), help=f"{row.summary}.")],
        )
        for row in registry.BACKENDS
    ]
    by_name = inspect.Parameter(
        f"{_PREFIX}name",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            str | None,
            typer.Option(
                "--backend",
                metavar="NAME",
                callback=_note_name,
                autocompletion=complete_backend,
                help="Any backend by name, also one from another package.",
                show_default=False,
            ),
        ],
    )

    def wrapper(**values: Any) -> Any:
        return command(**{name: value for name, value in values.items() if not name.startswith(_PREFIX)})

    parameters = [*signature.parameters.values(), *flags, by_name]
    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    return wrapper


def leave(code: int) -> None:
    """End a command with an exit code."""
    if code != ExitStatus.DONE:
        raise typer.Exit(int(code))
