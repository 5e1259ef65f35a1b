"""Who works on a run: one process at a time, and anybody may look whether there is one.

Invariant: to look keeps nobody from a run, and is never taken for working on it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tirada.errors import StillGoing

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

    from tirada.store.store import Store

#: A run that is looked at is free again in less, in seconds; and how often it is tried.
LOOK_SECONDS, POLL_SECONDS = 1.0, 0.01


@contextlib.contextmanager
def run_lock(output: Path, run_id: str) -> Iterator[None]:
    """Hold the run for this process; raises StillGoing while another one works on it."""
    from filelock import FileLock, Timeout

    path = _lock_file(output, run_id)
    path.parent.mkdir(exist_ok=True)
    # Not at the first refusal: that may be somebody who only looks.
    lock = FileLock(path, timeout=LOOK_SECONDS)
    try:
        lock.acquire(poll_interval=POLL_SECONDS)
    except Timeout:
        raise StillGoing(run_id) from None
    try:
        yield
    finally:
        # The file stays: who removes it lets two processes in, one that had opened it and one that makes a new one.
        lock.release()


def is_going(output: Path, run_id: str) -> bool:
    """Is a process working on the run right now?"""
    path = _lock_file(output, run_id)
    if not path.exists():
        return False
    held = _held(path)
    if held is not None:
        return held
    try:
        with run_lock(output, run_id):
            return False
    except StillGoing:
        return True


def status_now(store: Store, output: Path, run: Mapping[str, Any] | RowMapping) -> str:
    """The state of a run of the store; one that was killed could not write down that it has ended."""
    status = str(run["status"])
    if status != "running" or is_going(output, run["id"]):
        return status
    # It may have come to its end since the row was read.
    status = str(store.run(run["id"])["status"])
    return "cut off" if status == "running" else status


def _lock_file(output: Path, run_id: str) -> Path:
    return output / ".tirada" / f"{run_id}.lock"


def _held(path: Path) -> bool | None:
    """Does somebody hold the file? None where that cannot be told without taking it for oneself."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # Shared: any number may look at once, and only who works on the run is in their way.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False
