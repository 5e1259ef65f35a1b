"""For anybody: the images as they are in one zip, with a manifest that says what each is.

Invariant: the same images get the same names and bytes in every zip, in the order in which they are given; nothing in
it can be unpacked outside its folder.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from tirada.errors import NotFound, UsageError
from tirada.output.atomic import whole_file
from tirada.output.export.workshop import DRAFT, Exported
from tirada.output.text import cell, counted, one_line, spoken

SUFFIX = ".zip"
#: Columns of the manifest for people; the one for programs has all there is.
COLUMNS = (
    "file", "title", "prompt", "user", "marks", "description", "metatags", "role", "brief", "facts", "backend", "model",
    "seed", "width", "height", "made_at", "run_id",
)  # fmt: skip
#: Bytes that are copied at a time.
PIECE = 1024 * 1024
#: Bytes of a manifest that are kept in memory while it grows.
IN_MEMORY = 4 * 1024 * 1024
README = """\
{images}, exported by Tirada

manifest.csv   a row for each image: its file, words, settings, for whom it was made, and what was said of it
manifest.json  the same, whole, for programs
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A finished image and all there is to say of it."""

    path: Path
    #: Names of its folder and of itself, as they are in the zip.
    folder: str
    file: str
    #: ISO 8601, UTC.
    made_at: str
    #: What stands in the manifest beside the file, JSON.
    record: Mapping[str, Any]


def export(entries: Iterable[Entry], destination: Path, *, which: str = "") -> Exported:
    """Write the zip; raises UsageError where its name is taken or no zip's, and NotFound where there is no image.

    ``which`` is what an image had to be, for that message: " marked as good".
    """
    if destination.suffix.lower() != SUFFIX:
        raise UsageError(f"{str(destination)!r} is no name for a zip; end it in {SUFFIX}.")
    if destination.exists() or destination.is_symlink():
        raise UsageError(f"There is already a {str(destination)!r}, and nothing is overwritten; choose another --to.")
    destination.parent.mkdir(parents=True, exist_ok=True)
    done, gone, drafts = Exported(destination, tables=["manifest.csv", "manifest.json"]), list[str](), 0
    try:
        with whole_file(destination, replace=False) as file, zipfile.ZipFile(file, "w") as zipped, _Manifest() as said:
            for entry in entries:
                if not _add(zipped, entry):
                    gone.append(f"{entry.folder}/{entry.file}")
                    continue
                said.add(entry)
                done.images += 1
                drafts += entry.record.get("backend") == DRAFT
            if not done.images:
                raise NotFound(" ".join([f"There is no finished image{which} to export.", *_missing(gone)]))
            said.write(zipped)
            zipped.writestr(_named("README.txt", ""), README.format(images=counted(done.images, "image")))
    except FileExistsError:
        raise UsageError(f"{str(destination)!r} came into being meanwhile, and nothing is overwritten.") from None
    done.notes = list(_missing(gone))
    if drafts:
        done.notes.append(f"{counted(drafts, 'image is a draft', 'images are drafts')}: sketched offline, by no model.")
    return done


def _add(zipped: zipfile.ZipFile, entry: Entry) -> bool:
    """Copy one file in, a piece at a time; False where it is not there, or is called like no file of ours."""
    if not (_plain(entry.folder) and _plain(entry.file)):
        return False
    try:
        source = entry.path.open("rb")
    except (FileNotFoundError, IsADirectoryError):
        return False
    with source:
        _copy(source, zipped, _named(f"{entry.folder}/{entry.file}", entry.made_at))
    return True


def _copy(source: IO[bytes], zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    # With its size known, a file gets the fields of large ones only where it needs them.
    info.file_size = source.seek(0, io.SEEK_END)
    source.seek(0)
    with zipped.open(info, "w") as target:
        shutil.copyfileobj(source, target, PIECE)


def _plain(name: str) -> bool:
    """A name, and no way to anywhere."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")


def _named(name: str, moment: str) -> zipfile.ZipInfo:
    """An entry that is stored as it is (images are small already), with a time that does not depend on now."""
    when = datetime.fromisoformat(moment).astimezone(UTC) if moment else datetime(1980, 1, 1, tzinfo=UTC)
    info = zipfile.ZipInfo(name, (max(when.year, 1980), *when.timetuple()[1:6]))
    info.external_attr = 0o644 << 16
    return info


def _missing(gone: list[str]) -> Iterator[str]:
    if gone:
        yield f"{counted(len(gone), 'file is', 'files are')} not there any more, the first is {gone[0]!r}."


class _Manifest:
    """Both manifests, growing beside the zip: nothing can be put into it while an image is."""

    def __enter__(self) -> _Manifest:
        self._files = contextlib.ExitStack()
        self._csv: IO[bytes] = self._files.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
        self._json: IO[bytes] = self._files.enter_context(tempfile.SpooledTemporaryFile(IN_MEMORY))
        self._csv.write(_line(COLUMNS))
        self._json.write(b"[")
        self._first = True
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, entry: Entry) -> None:
        record = {"file": f"{entry.folder}/{entry.file}", **entry.record}
        said = spoken([(one["verdict"], one["user"]) for one in record.get("marks", ())])
        self._csv.write(_line([cell(_flat({**record, "marks": said}.get(name))) for name in COLUMNS]))
        lead = b"\n" if self._first else b",\n"
        self._json.write(lead + json.dumps(record, ensure_ascii=False, default=str).encode("utf-8", "replace"))
        self._first = False

    def write(self, zipped: zipfile.ZipFile) -> None:
        self._json.write(b"\n]\n")
        for name, file in (("manifest.csv", self._csv), ("manifest.json", self._json)):
            info = _named(name, "")
            info.compress_type = zipfile.ZIP_DEFLATED
            _copy(file, zipped, info)


def _line(cells: Iterable[str]) -> bytes:
    sink = io.StringIO(newline="")
    csv.writer(sink).writerow(cells)
    return sink.getvalue().encode("utf-8", "replace")


def _flat(value: Any) -> str:
    """A value as one cell: ``a: 1; b: 2`` of a mapping, ``a, b`` of a list."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {_flat(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_flat(one) for one in value)
    return "" if value is None else one_line(str(value))
