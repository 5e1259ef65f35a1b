"""The only printer: results go to stdout, everything else to stderr.

Invariant: nothing is printed that has not gone through ``redact``; no text of others steers the terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from models.redaction import redact

#: All that a terminal would obey instead of showing it, but for the ends of lines and tabs.
_CONTROLS = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def result(text: str) -> None:
    """A line of what the user asked for, on stdout."""
    print(_shown(text), flush=True)


def result_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on stdout, for machines."""
    print(redact(json.dumps(data, indent=2, ensure_ascii=False, default=str)), flush=True)


def note(text: str) -> None:
    """A line about the work, on stderr."""
    # A closed stderr is None, and print would take stdout instead.
    if sys.stderr is None:
        return
    try:
        print(_shown(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        # Nobody listens any more; the work goes on all the same.
        let_go(sys.stderr)


def _shown(text: str) -> str:
    """As it may be printed: titles, names and file names are whatever somebody, or a model, wrote."""
    return redact(text).translate(_CONTROLS)


def let_go(stream: TextIO | None) -> None:
    """Have what is still in the stream, and all that follows, go nowhere: its reader has left."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        assert stream is not None
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def warn(text: str) -> None:
    note(f"Warning: {text}")


def error(text: str) -> None:
    note(f"Error: {text}")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table on stdout: aligned columns, the last one as long as it likes; wrapped by a terminal only."""
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        result("  ".join([*(cell.ljust(w) for cell, w in zip(row[:-1], widths, strict=False)), row[-1]]).rstrip())


def can_ask() -> bool:
    """Is there a person who could answer?"""
    return sys.stdin is not None and sys.stdin.isatty() and ask_terminal()


def ask(question: str) -> bool:
    """Yes or no, no being the answer to anything unclear."""
    print(_shown(f"{question} [y/N] "), file=sys.stderr, end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def ask_terminal() -> bool:
    """Is a person looking?"""
    return sys.stderr is not None and sys.stderr.isatty()
