"""Composes the commands; ``batch`` is the one meant when no other is named.

Invariant: importing this costs Typer and nothing heavier; each command imports what it needs when it runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from tirada import __version__
from tirada.cli import (
    backends,
    batch,
    costs,
    doctor,
    export,
    favourites,
    history,
    mark,
    models,
    rerun,
    resume,
    retry,
    roles,
    show,
    story_redo,
    tuning,
)
from tirada.cli.console import result
from tirada.errors import UsageError
from tirada.workflows import registry

#: Commands by name, with what their module offers.
COMMANDS: dict[str, Callable[..., Any]] = {
    "batch": batch.command,
    "resume": resume.command,
    "retry": retry.command,
    "rerun": rerun.command,
    "history": history.command,
    "costs": costs.command,
    "show": show.command,
    "mark": mark.command,
    "favourites": favourites.command,
    "export": export.command,
    "roles": roles.command,
    "tuning": tuning.command,
    "backends": backends.command,
    "models": models.command,
    "doctor": doctor.command,
    "story-redo": story_redo.command,
}
#: Commands that have commands of their own, by name.
GROUPS: dict[str, dict[str, Callable[..., Any]]] = {
    "models": models.SUBCOMMANDS,
    "tuning": tuning.SUBCOMMANDS,
}
OTHERS = "\n".join(
    [
        *(f"  {row.name:<12}{row.summary}" for row in registry.WORKFLOWS),
        *(f"  {name:<12}{command.__doc__}" for name, command in COMMANDS.items() if name != "batch"),
    ]
)
EPILOG = f"Other commands (--help after each says more):\n\n\b\n{OTHERS}"

#: Options of Typer's own about completion in the shell.
COMPLETION = {"--install-completion", "--show-completion"}
#: What the program is called where it is installed.
INSTALLED = "tirada"


#: How the library that Typer checks values with puts it, and how we do.
WORDS = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "it must be a whole number",
    "Input should be a valid number, unable to parse string as a number": "it must be a number",
    "Input should be ": "it must be ",
}


class Commands(TyperGroup):
    """The commands; what is wrong with a value is said in plain words."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as exc:
            for theirs, ours in WORDS.items():
                exc.message = exc.message.replace(theirs, ours, 1)
            raise


def make_app(arguments: list[str]) -> typer.Typer:
    """The program. What Typer would only parse with the help of pydantic is left out where it is not asked for:
    that is half of the time of ``--help``.
    """
    app = typer.Typer(
        cls=Commands,
        add_completion=not COMPLETION.isdisjoint(arguments[:1]),
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        rich_markup_mode=None,
        help="From a theme to a finished, catalogued set of images.",
    )
    for name, command in COMMANDS.items():
        default = name == "batch"
        about = f"{command.__doc__}\n\n{batch.EXAMPLES}" if default else command.__doc__
        if name in GROUPS:
            app.add_typer(_group(command, GROUPS[name]), name=name)
        else:
            app.command(name, help=about, epilog=EPILOG if default else None)(command)
    meant = registry.find(arguments[0]) if arguments and arguments[0] not in COMMANDS else None
    for row in dict.fromkeys([*registry.WORKFLOWS, *([meant] if meant else [])]):
        # Only the one that is meant is imported; the others are there to be listed.
        app.command(row.name, help=row.summary)(_nothing) if row is not meant else _add_workflow(app, row)
    # Without --help: that of the default command is the one people see.
    app.callback(add_help_option=False)(_root)
    return app


def _nothing() -> None:
    """Stands for a command that is not meant."""


def _add_workflow(app: typer.Typer, row: registry.WorkflowRow) -> None:
    from tirada.cli.workflow import command_of, help_of

    app.command(row.name, help=help_of(row))(command_of(row))


def _group(command: Callable[..., Any], own: dict[str, Callable[..., Any]]) -> typer.Typer:
    """A command that does something by itself, and has others behind it."""
    group = typer.Typer(rich_markup_mode=None, add_completion=False)
    group.callback(invoke_without_command=True, help=command.__doc__)(command)
    for name, one in own.items():
        group.command(name, help=one.__doc__)(one)
    return group


def _show_version(wanted: bool) -> None:
    if wanted:
        result(f"Tirada {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Print the version."),
) -> None:
    """From a theme to a finished, catalogued set of images."""


#: What Typer itself handles before any command.
ROOT_OPTIONS = {"--version", *COMPLETION}


def complete_arguments(arguments: list[str], program: str) -> list[str]:
    """Put the default command's name in front where none is given; raises UsageError for a misspelt one."""
    if not arguments:
        return ["batch", "--help"]
    first = arguments[0]
    if first in COMPLETION and program != INSTALLED:
        # A shell completes what stands first, and that is python.
        raise UsageError(f"Only the installed command can be completed: pip install -e . and then `tirada {first}`.")
    if (two := "-".join(arguments[:2])) in COMMANDS and first in registry.names():
        # A second command of a workflow: `story redo` is `story-redo`.
        return [two, *arguments[2:]]
    if first in COMMANDS or first in ROOT_OPTIONS:
        return arguments
    if first.startswith("-") or first[:1].isdigit():
        return ["batch", *arguments]
    known = [*registry.names(), *COMMANDS]
    if registry.find(first) is not None:
        return arguments
    close = difflib.get_close_matches(first, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}."
    raise UsageError(f"{first!r} is neither a COUNT nor a command; {hint} Try: python main.py --help")
