"""The prompt list that grows: ``batch_prompts.csv``, appended to by any number of runs at once.

Invariant: rows go in as one write under a lock and are on disk when the call returns, or the file is as it was before.
Records end in CRLF and line ends inside a field are LF, so that the last two bytes tell a whole file from a torn one.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from models.contract import Concept
from tirada.output.atomic import append, fsync_folder
from tirada.output.text import clean

HEADER = ("title", "description", "metatags", "prompt")
#: A run waits so long for another one's append before it gives up.
LOCK_SECONDS = 60.0
#: The longest field that is read; the default of the csv module is a fraction of it.
FIELD_MAX = 16 * 1024 * 1024
_HEADER_LINE = ",".join(HEADER).encode() + b"\r\n"
_BOM = b"\xef\xbb\xbf"
#: More than any header we would accept.
_HEAD_BYTES = 4096


def append_rows(path: Path, rows: Sequence[Concept], *, lock_seconds: float = LOCK_SECONDS) -> None:
    """Append one record per concept; creates the file, and mends a torn last line first.

    Raises ValueError where the file has another header, OSError where the rows could not be written: in both cases
    nothing of them is in the file.
    """
    from filelock import FileLock

    if not rows:
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    block = _encode(rows)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=lock_seconds):
        is_new = not path.exists()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags, 0o666)
        try:
            _append(descriptor, path, block)
        finally:
            os.close(descriptor)
        if is_new:
            fsync_folder(path.parent)


def check_file(path: Path) -> None:
    """Raise ValueError where the file has another header than ours, so that nothing could be appended."""
    if path.exists():
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            head = file.readline()
        if head and not _HEADER_LINE.decode().startswith(head):
            _check_header(head, path)


def _encode(rows: Sequence[Concept]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    for row in rows:
        writer.writerow(clean(text) for text in (row.title, row.description, ", ".join(row.metatags), row.prompt))
    return sink.getvalue().encode("utf-8")


def _append(descriptor: int, path: Path, block: bytes) -> None:
    """Write the block with whatever it takes to start on a fresh line, in one write; undo it if that fails."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    head = os.read(descriptor, _HEAD_BYTES).removeprefix(_BOM)
    if not head or (len(head) < len(_HEADER_LINE) and _HEADER_LINE.startswith(head)):
        # New, or torn within its header: finish the header.
        block = _HEADER_LINE[len(head) :] + block
    else:
        _check_header(head.decode("utf-8", "replace"), path)
        block = _mend(descriptor, path) + block
    append(descriptor, block, path)


def _check_header(head: str, path: Path) -> None:
    found = next(csv.reader([head.splitlines()[0]]), [])
    if tuple(name.strip().lower() for name in found) != HEADER:
        raise ValueError(
            f"{path}: its header is {','.join(found)[:200]!r}, not {','.join(HEADER)!r}; nothing was written. "
            "Move that file away, or choose another."
        )


def _mend(descriptor: int, path: Path) -> bytes:
    """What is missing after the last whole byte of the file, before a new record may start."""
    os.lseek(descriptor, -2, os.SEEK_END)
    end = os.read(descriptor, 2)
    if end == b"\r\n":
        return b""
    # A text editor's file, or a torn one. Only reading it tells whether it ends within a quoted field.
    closing = b'"' if _ends_in_quotes(path) else b""
    if end.endswith(b"\r") and not closing:
        return b"\n"
    return b"" if end.endswith(b"\n") and not closing else closing + b"\r\n"


def _ends_in_quotes(path: Path) -> bool:
    csv.field_size_limit(FIELD_MAX)
    # Two cells where the file ends between records; text of one cell where it ends within quotes.
    sentinel = ["\0end", "\0end"]
    last: list[str] = []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            for row in csv.reader(chain(file, [",".join(sentinel)])):
                last = row
        except csv.Error:
            return False
    return last != sentinel


def read_rows(path: Path) -> Iterator[Concept]:
    """The concepts of the file, one at a time; none where there is no file.

    Records that are cut short are skipped. Raises ValueError where the header is another one.
    """
    if not path.exists():
        return
    csv.field_size_limit(FIELD_MAX)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        head = file.readline()
        if not head or _HEADER_LINE.decode().startswith(head):
            head = ""
        if head:
            _check_header(head, path)
        try:
            for row in csv.reader(file):
                if len(row) == len(HEADER):
                    title, description, tags, prompt = row
                    metatags = tuple(tag for tag in tags.split(", ") if tag)
                    yield Concept(title=title, description=description, metatags=metatags, prompt=prompt, writer="file")
        except csv.Error as exc:
            raise ValueError(f"{path}: {exc}") from exc
