"""For Adobe Stock: the images under short names, and the CSV that their contributor portal reads.

Invariant: every limit they publish holds (helpx.adobe.com, CSV requirements, June 2026); where one is passed, the rows
go on in a further file.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from tirada.output.export.workshop import (
    Exported,
    Gatherer,
    Item,
    check_no_draft,
    copy_image,
    new_folder,
    nothing_to_export,
)
from tirada.output.folders import EXTENSIONS, slug
from tirada.output.text import counted, one_line

HEADER = ("Filename", "Title", "Keywords", "Category", "Releases")
FILENAME_MAX, TITLE_MAX, KEYWORDS_MAX = 30, 70, 50
ROWS_MAX, BYTES_MAX = 5_000, 1_000_000
#: What they ask of images themselves: format, pixels, and bytes of a file (photo and illustration requirements).
PIXELS_MIN, PIXELS_MAX, FILE_MAX = 4_000_000, 100_000_000, 45_000_000
#: Hex digits of the checksum in a file name: the same image always gets the same name, and no other one does.
NAME_DIGITS = 10
README = """\
Adobe Stock, exported by Tirada

1. Upload the images of this folder in the contributor portal (or by SFTP).
2. Then upload the CSV there; with more than one, one after the other.
3. Tick "Created using generative AI tools" for every image, and "People and Property are fictional" where people or
   places can be recognised. Without the first tick they refuse the images and may close the account.
4. Read titles and keywords once more: no names of artists, real people, brands or fictional characters. The first ten
   keywords weigh most.
"""


def export(
    folders: Iterable[Path], destination: Path, *, category: int | None = None, include_drafts: bool = False
) -> Exported:
    """Copy the finished images and write the CSV beside them, in a new folder; raises UsageError for drafts."""
    gatherer, done, advice = Gatherer(folders), Exported(destination), _Advice()
    with new_folder(destination) as folder:
        table = _Table(folder)
        for item in gatherer:
            if not include_drafts:
                check_no_draft(item, "Stock sites refuse such.")
            name = _file_name(item, folder)
            copy_image(item, folder / name)
            table.add((name, title(item.words.title), ", ".join(keywords(item)), category or "", ""))
            advice.look_at(item, folder / name)
            done.images += 1
        if not done.images:
            raise nothing_to_export(gatherer)
        done.tables = table.close()
        (folder / "README.txt").write_text(README, encoding="utf-8")
    done.notes = [
        *gatherer.notes(),
        *advice.notes(),
        'Upload the images first, then the CSV, and tick "Created using generative AI tools" for every one.',
    ]
    return done


def title(text: str) -> str:
    """A title of letters, digits, spaces, hyphens and apostrophes; cut between words."""
    plain = re.sub(r"[^\w\s'’-]|_", " ", one_line(text).replace("&", " and "))
    plain = " ".join(plain.split())
    return textwrap.shorten(plain, TITLE_MAX, placeholder="") or plain[:TITLE_MAX] or "Untitled"


def keywords(item: Item) -> list[str]:
    """The tags in their order, each once; without any, the longer words of title and description."""
    found = _plain_words(part for tag in item.words.metatags for part in re.split(r"[,;]", tag))
    if not found:
        words = re.findall(r"[^\W\d_]{4,}", f"{item.words.title} {item.words.description}")
        found = _plain_words(word.lower() for word in words)
    return found[:KEYWORDS_MAX]


def _plain_words(texts: Iterable[str]) -> list[str]:
    found: dict[str, str] = {}
    for text in texts:
        plain = " ".join(re.sub(r"[^\w\s'’-]|_", " ", one_line(text)).split())
        if plain:
            found.setdefault(plain.casefold(), plain)
    return list(found.values())


def _file_name(item: Item, folder: Path) -> str:
    """``<words of the title>-<checksum>.<ext>``, at most 30 characters and new in the folder."""
    ext = EXTENSIONS[item.info.format]
    words = slug(item.words.title, FILENAME_MAX - NAME_DIGITS - len(ext) - 2)
    digest = item.image.sha256
    for start in range(len(digest) - NAME_DIGITS):
        name = f"{words}-{digest[start : start + NAME_DIGITS]}.{ext}"
        if not (folder / name).exists():
            return name
    raise AssertionError(f"no free name for {item.path}")


class _Table:
    """The CSV files: a new one whenever the next row would pass a limit."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[bytes] = []
        self._bytes = len(_line(HEADER))
        self._names: list[str] = []

    def add(self, row: Sequence[object]) -> None:
        line = _line(row)
        if len(self._rows) == ROWS_MAX or self._bytes + len(line) > BYTES_MAX:
            self._write()
        self._rows.append(line)
        self._bytes += len(line)

    def close(self) -> list[str]:
        """Write what is left; returns the names of the files."""
        self._write()
        return self._names

    def _write(self) -> None:
        name = f"adobe-stock-{len(self._names) + 1}.csv"
        (self._folder / name).write_bytes(b"".join([_line(HEADER), *self._rows]))
        self._names.append(name)
        self._rows, self._bytes = [], len(_line(HEADER))


def _line(cells: Sequence[object]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink).writerow(cells)
    return sink.getvalue().encode("utf-8")


class _Advice:
    """Counts the images that Adobe is likely to refuse."""

    def __init__(self) -> None:
        self._format = self._small = self._large = 0

    def look_at(self, item: Item, copy: Path) -> None:
        pixels = item.image.width * item.image.height
        self._format += item.info.format != "jpeg"
        self._small += pixels < PIXELS_MIN
        self._large += pixels > PIXELS_MAX or copy.stat().st_size > FILE_MAX

    def notes(self) -> Iterable[str]:
        if self._format:
            what = counted(self._format, "image is", "images are")
            yield f"{what} no JPEG, which is what Adobe asks for; --format jpeg makes such."
        if self._small:
            what = counted(self._small, "image has", "images have")
            yield f"{what} fewer than 4 megapixels, Adobe's least; 2496x1664 has enough."
        if self._large:
            what = counted(self._large, "image has", "images have")
            yield f"{what} more than 100 megapixels or 45 MB, the most that Adobe takes."
