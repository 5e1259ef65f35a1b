"""Few-shot examples that grow: ``tuning/<role>.jsonl``, one answer a line, as ``models.roles`` reads them.

Invariant: lines go in as one write under a lock and are on disk when the call returns, or the file is as it was before;
no example is in a file twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.contract import Concept, Example
from models.roles import parse_example
from models.writers.checks import ForbiddenNames, faults
from tirada.output.atomic import append, fsync_folder
from tirada.output.text import one_line

#: Somebody else's append is waited for so long.
LOCK_SECONDS = 60.0


def example_of(concept: Concept, forbidden: ForbiddenNames) -> Example:
    """The concept as an example; raises ValueError with all that keeps it from being one."""
    wrong = faults(concept.title, concept.description, concept.metatags, forbidden=forbidden)
    if wrong:
        raise ValueError(" ".join(wrong))
    return parse_example(
        _line(Example(title=concept.title, description=concept.description, metatags=concept.metatags))
    )


def new_examples(path: Path, examples: Iterable[Example]) -> list[Example]:
    """Those whose title and description are neither in the file nor among those before them."""
    seen = {key for one in _read(path) for key in _keys(one)}
    fresh = []
    for example in examples:
        if seen.isdisjoint(_keys(example)):
            fresh.append(example)
            seen.update(_keys(example))
    return fresh


def append_examples(path: Path, examples: Sequence[Example], *, lock_seconds: float = LOCK_SECONDS) -> list[Example]:
    """Append those that are new, and return them; creates the file.

    Raises OSError where they could not be written: then nothing of them is in the file.
    """
    from filelock import FileLock

    if not examples:
        return []
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=lock_seconds):
        fresh = new_examples(path, examples)
        if not fresh:
            return []
        is_new = not path.exists()
        block = "".join(_line(example) + "\n" for example in fresh).encode("utf-8")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        try:
            append(descriptor, _mend(descriptor) + block, path)
        finally:
            os.close(descriptor)
        if is_new:
            fsync_folder(path.parent)
    return fresh


def _line(example: Example) -> str:
    answer = {"title": example.title, "description": example.description, "metatags": list(example.metatags)}
    return json.dumps(answer, ensure_ascii=False)


def _read(path: Path) -> list[Example]:
    """The examples of the file; lines that are none are left to ``RoleLibrary``, which names them."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(parse_example(line.decode("utf-8")))
        except ValueError:
            continue
    return found


def _keys(example: Example) -> set[tuple[str, str]]:
    """What two examples must not share."""
    return {("title", _plain(example.title)), ("description", _plain(example.description))}


def _plain(text: str) -> str:
    return one_line(text).casefold().rstrip(".!? ")


def _mend(descriptor: int) -> bytes:
    """The line end that a text editor, or a kill, may have left out."""
    if os.fstat(descriptor).st_size == 0:
        return b""
    os.lseek(descriptor, -1, os.SEEK_END)
    return b"" if os.read(descriptor, 1) == b"\n" else b"\n"
