"""Parses, runs, and turns whatever goes wrong into one line and an exit code.

Invariant: this is the only error boundary. What a user can cause ends in a message; anything else is a bug and keeps
its traceback, without keys in it.
"""

from __future__ import annotations

import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from models.errors import BudgetReached, ModelError, OutOfCredit, SetupError, UnsupportedRequest
from models.redaction import redact
from tirada.cli import console
from tirada.cli.status import ExitStatus
from tirada.errors import NotFound, StillGoing, TiradaError, UsageError, reason


class Interrupted(BaseException):
    """Ctrl-C where nothing needs finishing; not KeyboardInterrupt, which Typer turns into exit code 1."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program on these arguments and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    handler = _on_interrupt()
    try:
        return _program(arguments)
    except Interrupted:
        console.error("Interrupted.")
        return ExitStatus.CTRL_C
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        console.let_go(sys.stdout)
        return ExitStatus.READER_GONE
    except (TiradaError, ModelError) as exc:
        console.error(str(exc))
        return exit_code_for(exc)
    except OSError as exc:
        console.error(_describe(exc))
        return ExitStatus.FAILED
    except Exception:  # noqa: BLE001 - a bug: say so, and keep everything that helps to find it
        console.note(redact(traceback.format_exc()))
        console.error("This is a bug in Tirada; please report it with the lines above.")
        return ExitStatus.FAILED
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


def exit_code_for(exc: TiradaError | ModelError) -> int:
    """The exit code of an error that reaches the top."""
    match exc:
        case UsageError() | NotFound() | StillGoing() | UnsupportedRequest():
            return ExitStatus.USAGE
        case SetupError():
            return ExitStatus.SETUP
        case OutOfCredit() | BudgetReached():
            return ExitStatus.BUDGET
    return ExitStatus.FAILED


def run() -> None:
    """The installed command ``tirada``."""
    sys.exit(main())


def _program(arguments: list[str]) -> int:
    from tirada.cli.app import complete_arguments, make_app

    if arguments and re.fullmatch(r"-\d+", arguments[0]):
        raise UsageError(f"COUNT must be 1 to 100,000, not {arguments[0]}.")
    program = _program_name()
    arguments = complete_arguments(arguments, program)
    stdout = sys.stdout
    try:
        code = make_app(arguments)(arguments, prog_name=program, standalone_mode=True)
    except SystemExit as exc:
        code = exc.code
        if sys.stdout is not stdout:
            # Typer puts another in its place where whoever read our output has left.
            code = ExitStatus.READER_GONE
    return code if isinstance(code, int) else ExitStatus.DONE if code is None else ExitStatus.FAILED


def _program_name() -> str:
    """What people typed; shell completion goes by it."""
    return "tirada" if Path(sys.argv[0]).stem == "tirada" else "python main.py"


def _on_interrupt() -> Any:
    """Make Ctrl-C raise ``Interrupted``; outside the main thread signals are none of our business."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    try:
        return signal.signal(signal.SIGINT, interrupt)
    except ValueError:
        return None


def _describe(exc: OSError) -> str:
    return f"{exc.filename!r}: {reason(exc)}." if exc.filename else f"{reason(exc)}."
