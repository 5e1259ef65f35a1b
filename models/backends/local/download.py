"""Fetches one large file of the hub into its cache so that a broken transfer goes on where it stopped.

Small files are left to the hub's own library, which starts a broken one afresh: nothing for files of gigabytes.
Invariant: a file stands in the cache under its checksum only after that checksum was taken.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock

from models.backends.local.trouble import is_transport
from models.errors import SetupError

#: Bytes that are worth a word, seconds without any, and how often a connection may fail in a row without bringing any.
CHUNK, PATIENCE, TRIES = 1024 * 1024, 30.0, 5
#: Statuses of a hub that is only busy.
PASSING = (408, 429, 500, 502, 503, 504)
UNSATISFIABLE = 416


class Stopped(Exception):
    """The user wants no more; what came so far stays."""


def partial(blob: Path) -> Path:
    """Where a file that is under way lies."""
    return blob.with_name(f"{blob.name}.incomplete")


def fetch_blob(
    what: str,
    url: str,
    blob: Path,
    lock: Path,
    *,
    size: int,
    headers: dict[str, str],
    received: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """Have the file at ``blob``, whose name is its SHA-256; ``received`` is told the bytes as they come.

    ``what`` names the file for messages. Raises SetupError for a damaged file, Stopped, and what the hub's library and
    its HTTP client raise.
    """
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if blob.exists():
            return
        # Unbuffered: whatever came is on disk when the process is killed.
        with partial(blob).open("ab", buffering=0) as file:
            _transfer(url, file, size=size, headers=headers, received=received, stop=stop)
        with partial(blob).open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == blob.name
        if not right:
            partial(blob).unlink()
            raise SetupError(f"{what} was damaged on its way here.", hint="Try again.")
        partial(blob).replace(blob)


def _transfer(
    url: str,
    file: BinaryIO | Any,
    *,
    size: int,
    headers: dict[str, str],
    received: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """Bring the file to its full size, over as many connections as it takes."""
    failures = 0
    while (have := file.tell()) < size:
        try:
            _connect(url, file, have, headers=headers, received=received, stop=stop)
            if file.tell() == have:
                raise ConnectionError("the hub sent nothing")
        except Exception as exc:
            failures = 1 if file.tell() > have else failures + 1
            if failures > TRIES or not _passes(exc):
                raise
            if stop.wait(min(30.0, 2.0 ** (failures - 1))):
                raise Stopped from None
    if file.tell() > size:
        # Not what was announced: the checksum will say so, and the next try starts afresh.
        file.truncate(size)


def _passes(exc: Exception) -> bool:
    status = getattr(getattr(exc, "response", None), "status_code", None)
    return status in PASSING or (status is None and (is_transport(exc) or isinstance(exc, ConnectionError)))


def _connect(
    url: str,
    file: BinaryIO | Any,
    have: int,
    *,
    headers: dict[str, str],
    received: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """One connection, to its end."""
    from huggingface_hub.utils import get_session, hf_raise_for_status

    asked = {**headers, "Accept-Encoding": "identity"}
    if have:
        asked["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=asked, follow_redirects=True, timeout=PATIENCE) as answer:
        if answer.status_code >= 400:
            answer.read()
        if answer.status_code == UNSATISFIABLE:
            _restart(file, have, received)
            return
        hf_raise_for_status(answer)
        if have and answer.status_code == 200:
            # Somebody on the way does not know ranges.
            _restart(file, have, received)
        _write(answer.iter_bytes(), file, received, stop)


def _write(
    chunks: Iterable[bytes], file: BinaryIO | Any, received: Callable[[int], None], stop: threading.Event
) -> None:
    """Keep every byte at once, and speak of them now and then."""
    unsaid = 0
    try:
        for chunk in chunks:
            file.write(chunk)
            unsaid += len(chunk)
            if unsaid >= CHUNK:
                received(unsaid)
                unsaid = 0
            if stop.is_set():
                raise Stopped
    finally:
        received(unsaid)


def _restart(file: BinaryIO | Any, have: int, received: Callable[[int], None]) -> None:
    file.truncate(0)
    file.seek(0)
    received(-have)
