"""What can go wrong in Tirada itself; what goes wrong with a model is in ``models.errors``.

TiradaError
├── UsageError       the command line asks for something that makes no sense (exit 2)
├── StillGoing       another process works on that run (exit 2)
├── NotFound         no such run, image or file (exit 2)
├── OutputError      the output folder cannot be written, or the disk is full (exit 1)
└── StoreError       the database cannot be read or written (exit 1)

Each message says what, which one, and what to type next. Anything else that reaches the top is a bug and keeps its
traceback.
"""

from __future__ import annotations


class TiradaError(Exception):
    """Root of what Tirada tells its user in one line."""


class UsageError(TiradaError):
    """The command line asks for something that makes no sense."""


class StillGoing(TiradaError):
    """Another process works on the run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Run {run_id} is still going in another process.")


class NotFound(TiradaError):
    """There is no such run, image or file."""


class OutputError(TiradaError):
    """The output folder cannot be written, or the disk is full."""


class StoreError(TiradaError):
    """The database cannot be read or written."""


def reason(exc: BaseException) -> str:
    """Why, for people: without the number that the system puts in front, and without a full stop."""
    text = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
    return text.rstrip(".") or type(exc).__name__
