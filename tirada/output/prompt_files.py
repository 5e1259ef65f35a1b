"""``--from FILE``: prompts that somebody else wrote, as CSV, JSON Lines or plain text, become concepts.

Invariant: a broken row never stops a run; it becomes a ``Problem`` that names the file and the line. A file from which
nothing at all can be read is a ValueError.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.contract import DESCRIPTION_MAX, TITLE_MAX, Concept
from models.roles import Problem
from tirada.output.prompts_csv import FIELD_MAX
from tirada.output.text import clean, one_line

#: Column as people name it -> the field it fills.
COLUMNS = {
    "prompt": "prompt",
    "title": "title",
    "description": "description",
    "metatags": "metatags",
    "tags": "metatags",
    "keywords": "metatags",
    "negative": "negative",
    "negative_prompt": "negative",
    "negative prompt": "negative",
}
DELIMITERS = (",", ";", "\t")
EXPECTED = "a column 'prompt', or 'title' and 'description' (optional: metatags, negative)"
TITLE_WORDS = 8
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True, slots=True)
class ConceptFile:
    """What a prompt file held."""

    #: (line in the file, concept), in order.
    concepts: list[tuple[int, Concept]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


#: (line, cells by field name) or (line, what is wrong with it).
_Row = tuple[int, Mapping[str, Any] | str]


def read_concepts(path: Path) -> ConceptFile:
    """Read a .csv, .tsv, .jsonl, .ndjson or .txt file; raises ValueError where it holds no prompt at all."""
    readers = {
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".txt": _text_rows,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: prompt files are {', '.join(readers)}, not {path.suffix or 'without an ending'!r}")
    text = _decode(path)
    if not text.strip():
        raise ValueError(f"{path}: the file is empty")
    found = ConceptFile()
    try:
        for line, row in reader(text):
            concept = row if isinstance(row, str) else _concept(row)
            if isinstance(concept, str):
                found.problems.append(Problem(path, line, concept))
            else:
                found.concepts.append((line, concept))
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from exc
    if not found.concepts:
        why = str(found.problems[0]) if found.problems else f"{path}: no rows"
        raise ValueError(f"{why}; the file holds no prompt that can be used")
    return found


def _decode(path: Path) -> str:
    data = path.read_bytes()
    encoding = "utf-8"
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    # In JSON Lines a line that cannot be decoded is that line's problem.
    errors = "surrogateescape" if path.suffix.lower() in (".jsonl", ".ndjson") and encoding == "utf-8" else "strict"
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ValueError(f"{path}:{line}: not UTF-8 text (byte 0x{data[exc.start]:02x}); save it as UTF-8") from exc


# CSV -----------------------------------------------------------------------------------------------------------------


def _csv_rows(text: str) -> Iterator[_Row]:
    csv.field_size_limit(FIELD_MAX)
    lines = io.StringIO(text, newline="")
    skipped = 0
    header = ""
    forced = None
    for header in lines:
        skipped += 1
        if header.lower().startswith("sep=") and len(header.strip()) == 5:
            # Excel's own way to say it.
            forced = header[4]
        elif header.strip():
            break
    delimiter = forced or max(DELIMITERS, key=lambda mark: len(_fields(_cells(header, mark))))
    names = _cells(header, delimiter)
    fields = _fields(names)
    if not ("prompt" in fields.values() or {"title", "description"} <= set(fields.values())):
        raise ValueError(f"its columns are {', '.join(map(repr, names))[:300]}; expected {EXPECTED}")
    return _csv_records(lines, delimiter, len(names), fields, skipped)


def _csv_records(
    lines: io.StringIO, delimiter: str, width: int, fields: Mapping[int, str], skipped: int
) -> Iterator[_Row]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        line = skipped + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            unclosed = "unexpected end of data" in str(exc)
            yield line, 'a quote (") opens here and is never closed' if unclosed else f"not valid CSV: {exc}"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if any(cell.strip() for cell in cells[width:]):
            yield line, f'{len(cells)} cells under a header of {width}; put texts that hold {delimiter!r} in quotes (")'
            continue
        yield line, {name: cells[at] for at, name in fields.items() if at < len(cells)}


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _fields(names: Sequence[str]) -> dict[int, str]:
    """Position -> field, for the columns we know; the first of a kind counts."""
    found: dict[int, str] = {}
    for at, name in enumerate(names):
        known = COLUMNS.get(name.casefold())
        if known and known not in found.values():
            found[at] = known
    return found


# JSON Lines and plain text -------------------------------------------------------------------------------------------


def _json_rows(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            line.encode("utf-8")
            data = json.loads(line)
        except UnicodeEncodeError:
            yield number, "not UTF-8 text"
            continue
        except (ValueError, RecursionError) as exc:
            yield number, f"not valid JSON: {exc}"
            continue
        if not isinstance(data, dict):
            yield number, 'not a JSON object such as {"prompt": "…"}'
        else:
            row: dict[str, Any] = {}
            for name, value in data.items():
                known = COLUMNS.get(name.strip().casefold())
                if known and value is not None:
                    row.setdefault(known, value)
            yield number, row


def _text_rows(text: str) -> Iterator[_Row]:
    """One prompt per line; a line that starts with ``#`` is a comment."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, {"prompt": line}


# Concepts ------------------------------------------------------------------------------------------------------------


def _concept(row: Mapping[str, Any]) -> Concept | str:
    """The concept of a row, or what is wrong with it."""
    texts: dict[str, str] = {}
    for name in ("prompt", "title", "description", "negative"):
        value = row.get(name, "")
        if not isinstance(value, str):
            return f"{name!r} must be a text"
        texts[name] = clean(value).strip()
    tags = row.get("metatags", "")
    if isinstance(tags, str):
        tags = tags.split("," if "," in tags else ";")
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        return "'metatags' must be a list of texts, or one text with commas"
    title, description = one_line(texts["title"]), one_line(texts["description"])
    if not texts["prompt"] and not (title and description):
        return "no 'prompt', and not both 'title' and 'description'"
    prompt = texts["prompt"] or f"{title.rstrip('.')}. {description}"
    return Concept(
        title=title or title_of(prompt),
        description=description or _shorten(one_line(prompt), DESCRIPTION_MAX),
        metatags=tuple(dict.fromkeys(tag for tag in (one_line(tag).lstrip("#") for tag in tags) if tag)),
        prompt=prompt,
        negative=texts["negative"],
        writer="file",
    )


def title_of(prompt: str) -> str:
    """A title from the first words of a prompt: its first clause, or as many words as a title bears."""
    line = one_line(prompt)
    words = line.split()[:TITLE_WORDS]
    for count, word in enumerate(words, start=1):
        if count > 1 and word[-1] in ",.;:!?":
            words = words[:count]
            break
    title = _shorten(" ".join(words), TITLE_MAX).rstrip(",.;:!? ") or line[:TITLE_MAX]
    return title[:1].upper() + title[1:]


def _shorten(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut).rstrip(",;: ") + "…"
