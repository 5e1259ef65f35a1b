"""Composes the commands; ``batch`` is the one meant when no other is named.

Invariant: importing this costs Typer and nothing heavier; each command imports what it needs when it runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import typer

from tirada import __version__
from tirada.cli import backends, batch, doctor, export, history, models, rerun, resume, roles, show
from tirada.cli.console import result
from tirada.errors import UsageError

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    no_args_is_help=False,
    rich_markup_mode=None,
    help="From a theme to a finished, catalogued set of images.",
)

#: Commands by name, with what their module offers.
COMMANDS: dict[str, Callable[..., Any]] = {
    "batch": batch.command,
    "resume": resume.command,
    "rerun": rerun.command,
    "history": history.command,
    "show": show.command,
    "export": export.command,
    "roles": roles.command,
    "backends": backends.command,
    "models": models.command,
    "doctor": doctor.command,
}
OTHERS = "\n".join(f"  {name:<10}{command.__doc__}" for name, command in COMMANDS.items() if name != "batch")
EPILOG = f"Other commands (--help after each says more):\n\n\b\n{OTHERS}"

for _name, _command in COMMANDS.items():
    app.command(_name, epilog=EPILOG if _name == "batch" else None)(_command)


def _show_version(wanted: bool) -> None:
    if wanted:
        result(f"Tirada {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """From a theme to a finished, catalogued set of images."""


#: What Typer itself handles before any command.
ROOT_OPTIONS = {"--version", "--install-completion", "--show-completion"}


def complete_arguments(arguments: list[str]) -> list[str]:
    """Put the default command's name in front where none is given; raises UsageError for a misspelt one."""
    if not arguments:
        return ["batch", "--help"]
    first = arguments[0]
    if first in COMMANDS or first in ROOT_OPTIONS:
        return arguments
    if first.startswith("-") or first[:1].isdigit():
        return ["batch", *arguments]
    close = difflib.get_close_matches(first, COMMANDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(COMMANDS)}"
    raise UsageError(f"{first!r} is neither a COUNT nor a command; {hint} Try: python main.py --help")
