"""What all exports share: the finished images of batch folders, and a folder that appears whole or not at all.

Invariant: nothing that exists is changed or overwritten; files are copied, never moved or linked.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tirada.errors import NotFound, UsageError, reason
from tirada.output.atomic import fsync_folder
from tirada.output.info import ImageEntry, Info, Words, read_info
from tirada.output.text import counted

DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Item:
    """A finished image and the record it stands in."""

    folder: Path
    info: Info
    image: ImageEntry

    @property
    def path(self) -> Path:
        return self.folder / self.image.file

    @property
    def words(self) -> Words:
        """What this very image was made with."""
        return self.info.words_of(self.image)


@dataclass(slots=True)
class Exported:
    """What came of an export."""

    folder: Path
    images: int = 0
    tables: list[str] = field(default_factory=list)
    #: What the user should know, a sentence each.
    notes: list[str] = field(default_factory=list)


class Gatherer:
    """The finished images of these folders, each picture once; counts what had to be left out."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._folders = dict.fromkeys(folder.resolve() for folder in folders)
        self._unfinished: list[str] = []
        self._missing: list[str] = []
        self._twice = 0

    def __iter__(self) -> Iterator[Item]:
        seen: set[str] = set()
        for folder in self._folders:
            for item in self._items_of(folder):
                if item.image.sha256 in seen:
                    self._twice += 1
                    continue
                seen.add(item.image.sha256)
                yield item

    def _items_of(self, folder: Path) -> Iterator[Item]:
        if not (folder / "info.json").is_file():
            self._unfinished.append(folder.name)
            return
        try:
            info = read_info(folder)
        except ValueError as exc:
            raise UsageError(f"{exc}.") from exc
        for image in info.images:
            if image.kind != "result":
                # Made on the way to another one.
                continue
            item = Item(folder, info, image)
            if item.path.is_file():
                yield item
            else:
                self._missing.append(f"{folder.name}/{image.file}")

    def notes(self) -> Iterator[str]:
        """What was left out, and why."""
        if self._unfinished:
            yield (
                f"{counted(len(self._unfinished), 'folder')} without an info.json left out, the first is "
                f"{self._unfinished[0]!r}; `python main.py resume` finishes them."
            )
        if self._missing:
            gone = counted(len(self._missing), "file is", "files are")
            yield f"{gone} not there any more, the first is {self._missing[0]!r}."
        if self._twice:
            yield f"{counted(self._twice, 'image is', 'images are')} the very same as another one, and left out."


def check_no_draft(item: Item, why: str) -> None:
    """Raise UsageError for a sketch of the draft backend."""
    if item.info.backend == DRAFT:
        raise UsageError(
            f"{item.folder.name!r} holds drafts: sketches drawn offline, no finished images. {why} "
            "--include-drafts exports them all the same."
        )


def default_destination(output: Path, target: str) -> Path:
    """A new name for an export of today."""
    return output / "exports" / f"{target}-{date.today():%Y-%m-%d}-{secrets.token_hex(2)}"


@contextlib.contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name only when all is in it; raises UsageError where the name is taken."""
    if destination.exists() or destination.is_symlink():
        raise UsageError(f"There is already a {str(destination)!r}, and nothing is overwritten; choose another --to.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    temp = destination.with_name(f".{destination.name[:48]}.{secrets.token_hex(6)}.tmp")
    temp.mkdir()
    try:
        yield temp
        _publish(temp, destination)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    fsync_folder(destination.parent)


def _publish(temp: Path, destination: Path) -> None:
    """Give the filled folder its name, unless there is something of that name by now."""
    meanwhile = UsageError(f"{str(destination)!r} came into being meanwhile, and nothing is overwritten.")
    if destination.exists():
        raise meanwhile
    try:
        temp.rename(destination)
    except OSError as exc:
        # Another one was there first by a hair: a folder takes the place of an empty one at most.
        if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise meanwhile from None


def copy_image(item: Item, target: Path) -> None:
    """Copy the file of an image; raises NotFound where it has just gone."""
    try:
        shutil.copyfile(item.path, target)
    except FileNotFoundError as exc:
        raise NotFound(f"{str(item.path)!r} cannot be copied: {reason(exc)}.") from exc


def nothing_to_export(gatherer: Gatherer) -> NotFound:
    return NotFound(" ".join(["There is no finished image to export.", *gatherer.notes()]))
