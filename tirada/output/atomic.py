"""Whole files or no files: everything written here appears at once, under its final name.

Invariant: a kill, an error or a full disk at any instant leaves the old file (or none), never half of the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

#: What ``fsync`` of a folder answers on file systems that cannot do it.
_NO_FOLDER_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}
#: What ``link`` answers on file systems without hard links.
_NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}
_TEMP = re.compile(r"\..+\.[0-9a-f]{12}\.tmp")


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name when the block ends well; with ``replace=False`` an existing one raises
    FileExistsError."""
    temp = path.with_name(f".{path.name[:48]}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temp, path)
        else:
            _publish_new(temp, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temp)
        raise
    fsync_folder(path.parent)


def write_bytes(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write the file in one visible step; with ``replace=False`` an existing one raises FileExistsError."""
    with whole_file(path, replace=replace) as file:
        file.write(data)


def write_text(path: Path, text: str, *, replace: bool = True) -> None:
    """``write_bytes`` of the text as UTF-8, line ends as they are."""
    write_bytes(path, text.encode("utf-8"), replace=replace)


def append(descriptor: int, block: bytes, path: Path) -> None:
    """Write the block to the end of an open file (O_APPEND) in one write and have it on disk, or leave the file as it
    was and raise OSError."""
    size = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, block)
        if written != len(block):
            raise OSError(errno.ENOSPC, f"only {written} of {len(block)} bytes fit, so none were kept", str(path))
        os.fsync(descriptor)
    except BaseException:
        os.ftruncate(descriptor, size)
        raise


def _publish_new(temp: Path, path: Path) -> None:
    """Give the finished file its name, atomically refusing to take a name that exists."""
    try:
        os.link(temp, path)
    except OSError as exc:
        if exc.errno not in _NO_HARD_LINKS:
            raise
        # No hard links here (FAT, some network shares): reserve the name, then move over the reservation.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        os.replace(temp, path)
    else:
        os.unlink(temp)


def fsync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power cut, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_FOLDER_FSYNC:
            raise
    finally:
        os.close(descriptor)


def sweep_temps(folder: Path) -> int:
    """Remove what a killed process left unfinished in the folder; returns how many files that were.

    Only for a folder that nobody else is writing to, e.g. at the start of a resume.
    """
    found = [entry for entry in folder.iterdir() if _TEMP.fullmatch(entry.name)]
    for entry in found:
        entry.unlink(missing_ok=True)
    return len(found)
