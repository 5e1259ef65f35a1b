"""Reads what a text model answered: finds the JSON, wherever it stands, and tidies the concepts in it.

Invariant: nothing a model writes makes these functions raise or run for long; what cannot be read is simply not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.contract import TAGS_MAX

#: No honest answer is longer, nests deeper, or has more places where JSON might begin.
LONGEST, MOST_STARTS, DEEPEST = 100_000, 200, 40
#: What models call the parts of a concept, in lower case; ours first.
TITLES = ("title", "name", "headline")
DESCRIPTIONS = ("description", "desc", "caption", "text")
TAGS = ("metatags", "meta_tags", "tags", "keywords", "hashtags")

_START = re.compile(r"[{\[]")
#: What matters outside of strings: where brackets open and close, and commas with nothing after them.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|,(?=\s*[}\]])', re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Soft hyphens, zero-width spaces, text direction marks and byte order marks. Joiners stay: scripts and emoji need them.
_INVISIBLE = re.compile("[\xad\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_QUOTES = frozenset(('""', "''", "“”", "””", "„“", "‘’", "«»", "»«", "「」", "『』", "``"))


@dataclass(frozen=True, slots=True)
class Draft:
    """A concept as a model wrote it, tidied but not judged; missing parts are empty."""

    title: str = ""
    description: str = ""
    metatags: tuple[str, ...] = ()
    #: Only where one was asked for: the writer's role makes it of the rest.
    prompt: str = ""


def find_json(text: str) -> Any | None:
    """The first complete JSON object, or list that holds one, anywhere in the text; None when there is none."""
    return next(find_all_json(text), None)


def find_all_json(text: str) -> Iterator[Any]:
    """Every complete JSON value of that kind, one after the other; in a value that breaks off, those inside it."""
    text = text[:LONGEST]
    position = starts = 0
    while (start := _START.search(text, position)) and starts < MOST_STARTS:
        starts += 1
        value, end = _decode(text, start.start())
        position = end or start.end()
        # A list of numbers or words is a footnote or a tag list, not an answer.
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value)):
            yield value


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The value that starts there and where it ends; (None, 0) when it is broken or breaks off."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    tidy, end = _without_loose_commas(text, start)
    try:
        return (json.loads(tidy, strict=False), end) if tidy else (None, 0)
    except (ValueError, RecursionError):
        return None, 0


def _without_loose_commas(text: str, start: int) -> tuple[str, int]:
    """The text from an opening bracket to its partner, less trailing commas, and where it ends; "" without any such."""
    depth, kept, copied = 0, [], start
    for token in _TOKEN.finditer(text, start):
        sign = token.group()
        if sign == ",":
            kept.append(text[copied : token.start()])
            copied = token.end()
        elif sign in "{[":
            depth += 1
            if depth > DEEPEST:
                break
        elif sign in "}]":
            depth -= 1
            if not depth:
                # Nothing was left out: the brackets match, and it is no JSON all the same.
                return ("".join([*kept, text[copied : token.end()]]), token.end()) if kept else ("", 0)
    return "", 0


def read_drafts(text: str, count: int) -> list[Draft]:
    """At most ``count`` concepts in the order they stand in the answer; of one that breaks off, the complete ones.

    Takes what models make of our format: prose around it, a bare list, a single concept, one object per line, other
    names for the parts.
    """
    answer = _after_thinking(text)
    drafts = _drafts_in(answer, count)
    return drafts if drafts or answer is text else _drafts_in(text, count)


def _after_thinking(text: str) -> str:
    """The answer after a reasoning model's thoughts, which may hold drafts of their own."""
    head, mark, tail = text.partition("</think>")
    return tail if mark and not head.lstrip().startswith(("{", "[", "`")) else text


def _drafts_in(text: str, count: int) -> list[Draft]:
    singles: list[Draft] = []
    for value in find_all_json(text):
        if (single := _draft(value)) is not None:
            singles.append(single)
        elif several := [draft for item in _items(value) if (draft := _draft(item)) is not None]:
            return several[:count]
        if len(singles) == count:
            break
    return singles


def _items(value: Any) -> list[Any]:
    """The list inside a wrapper, whatever its key; an object of objects ("1": {...}) counts as a list."""
    if isinstance(value, list):
        return value
    lists = [inner for inner in value.values() if isinstance(inner, list) and any(isinstance(i, dict) for i in inner)]
    return lists[0] if lists else [inner for inner in value.values() if isinstance(inner, dict)]


def _draft(value: Any) -> Draft | None:
    if not isinstance(value, dict):
        return None
    parts = {str(key).strip().casefold().replace(" ", "_"): part for key, part in value.items()}
    title, description, tags = _part(parts, TITLES), _part(parts, DESCRIPTIONS), _part(parts, TAGS)
    prompt = parts.get("prompt")
    if not isinstance(description, str) and not isinstance(title, str):
        return None
    return Draft(
        title=tidy_title(title) if isinstance(title, str) else "",
        description=plain(description) if isinstance(description, str) else "",
        metatags=tidy_tags(tags),
        prompt=plain(prompt) if isinstance(prompt, str) else "",
    )


def _part(parts: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((parts[name] for name in names if name in parts), None)


def plain(text: str) -> str:
    """One line of visible characters with single spaces."""
    return " ".join(_CONTROL.sub(" ", _INVISIBLE.sub("", text)).split())


def tidy_title(title: str) -> str:
    """The title in plain text, without quotation marks around it."""
    title = plain(title)
    while len(title) > 1 and title[0] + title[-1] in _QUOTES:
        title = title[1:-1].strip()
    return title


def tidy_tags(tags: Any) -> tuple[str, ...]:
    """Lower-case tags without '#', each once; those past the limit, the least telling by our rules, are let go.

    Cutting is free, asking the model again is not.
    """
    if isinstance(tags, str):
        tags = re.split(r"[,;\n]", tags) if re.search(r"[,;\n]", tags) else tags.split("#")
    if not isinstance(tags, list):
        return ()
    cleaned = (plain(tag).lstrip("# ").strip('" ').lower() for tag in tags if isinstance(tag, str))
    return tuple(dict.fromkeys(tag for tag in cleaned if tag))[:TAGS_MAX]
