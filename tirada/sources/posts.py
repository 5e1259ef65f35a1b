"""Posts of one person, read from a file of theirs or cleaned up from wherever else they came.

Invariant: what comes out is short, plain text that says something: at most ``POSTS_MAX`` posts of ``POST_MAX``
characters, without links, mark-up or control characters, and no post twice.
"""

from __future__ import annotations

import codecs
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tirada.errors import NotFound, UsageError, reason

#: Posts that are kept, and characters of each.
POSTS_MAX, POST_MAX = 40, 500
#: Bytes of a file. The archive of somebody who posted every hour for ten years has about this size.
FILE_MAX = 128 * 1024 * 1024
#: Where the text of a post may stand in an object, and what may be around the post.
FIELDS = ("text", "full_text", "content")
AROUND = ("tweet", "record", "object")
EXPECTED = 'a post is a text, or an object with "text", "full_text" or "content"'
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_ARCHIVE = re.compile(r"\s*window\.YTD\.(\w+)\.part\d+\s*=\s*")
_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_LINK = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MARK_UP = re.compile(r"</?(?:p|br|a|span|div|em|strong|i|b|ul|ol|li|blockquote|code|pre)\b[^>]*>", re.IGNORECASE)
_BREAKS = re.compile(r"</?(?:p|br|div|li|ul|ol|blockquote|pre)\b[^>]*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Posts:
    """What somebody wrote, newest first where that is known."""

    texts: tuple[str, ...]
    #: Where they come from, for people: "posts.txt", "@ada.example on Bluesky".
    origin: str


def keep(texts: Iterable[str], origin: str, nothing: str) -> Posts:
    """The first posts that say something, cleaned. Raises NotFound with the words ``nothing`` where none does."""
    kept: dict[str, str] = {}
    for text in texts:
        post = cleaned(text)
        if re.search(r"\w", post):
            kept.setdefault(post.casefold(), post)
        if len(kept) == POSTS_MAX:
            break
    if not kept:
        raise NotFound(nothing)
    return Posts(tuple(kept.values()), origin)


def cleaned(text: str) -> str:
    """One line of plain text, without links, invisible characters and more than ``POST_MAX`` characters."""
    words = _LINK.sub(" ", text)
    # Controls, surrogates and what only steers how text runs; emoji and some scripts need their joiners.
    seen = (c if c in "\u200c\u200d" or unicodedata.category(c)[0] != "C" else " " for c in words)
    line = " ".join("".join(seen).split())
    if len(line) <= POST_MAX:
        return line
    cut = line[: POST_MAX - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"


def without_mark_up(text: str) -> str:
    """The words of a post that came as HTML; paragraphs and line breaks become spaces, entities characters."""
    return html.unescape(_MARK_UP.sub("", _BREAKS.sub(" ", text)))


def read_posts(path: Path) -> Posts:
    """The posts of a file: plain text, JSON Lines, JSON, or ``tweets.js`` of an X/Twitter archive.

    Plain text holds one post per line; where it has empty lines, these separate the posts. Raises NotFound where there
    is no file or no post in it, UsageError (naming the line) where it cannot be read.
    """
    text = _decoded(path, _bytes_of(path))
    nothing = f"{path} holds no post that says anything; links and reposts alone do not count."
    if found := _ARCHIVE.match(text):
        return keep(_of_archive(path, found[1], text[found.end() :]), path.name, nothing)
    if _PAGE.match(text):
        raise UsageError(f"{path} is a web page, whose mark-up would count as words; save the posts alone as text.")
    if path.suffix.lower() == ".js":
        raise UsageError(f'{path} is no tweets.js of an archive: it does not begin with "window.YTD.tweets.part0 =".')
    if path.suffix.lower() in (".json", ".jsonl", ".ndjson") or _is_json(text):
        return keep(_of_json(path, text), path.name, nothing)
    return keep(_of_text(text), path.name, nothing)


def _bytes_of(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise NotFound(f"There is no file {str(path)!r} to read posts from.")
        if path.stat().st_size > FILE_MAX:
            raise UsageError(f"{path} is larger than {FILE_MAX // 1024**2} MB; give the newest posts alone.")
        data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {reason(exc)}.") from None
    if data.startswith(b"PK\x03\x04"):
        raise UsageError(f"{path} is a ZIP archive; unpack it and give data/tweets.js out of it.")
    return data


def _decoded(path: Path, data: bytes) -> str:
    encoding = "utf-8"
    for mark, name in _BOMS:
        if data.startswith(mark):
            data, encoding = data[len(mark) :], name
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise UsageError(f"{path}:{line}: not {encoding.upper()} text; save the file as UTF-8.") from None
    if "\0" in text:
        raise UsageError(f"{path} is no text file.")
    return text


# --- plain text -------------------------------------------------------------------------------------------------------


def _of_text(text: str) -> Iterable[str]:
    blocks = [block for block in re.split(r"\n[ \t\r]*\n", text.strip()) if block.strip()]
    return blocks if len(blocks) > 1 else text.splitlines()


# --- JSON and JSON Lines ----------------------------------------------------------------------------------------------


def _is_json(text: str) -> bool:
    """Whether the first line, or all of it, is a JSON object or array, whatever the file is called."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    return any(isinstance(_parsed(part), dict | list) for part in (text.strip().partition("\n")[0], text))


def _parsed(text: str) -> Any:
    """The JSON, or the ValueError that says what is wrong with it."""
    try:
        return json.loads(text)
    except RecursionError:
        return ValueError("nested too deeply")
    except ValueError as exc:
        return exc


def _of_json(path: Path, text: str) -> list[str]:
    whole = _parsed(text)
    if isinstance(whole, list):
        return [_text_of(post, f"{path}: post {number}") for number, post in enumerate(whole, start=1)]
    if isinstance(whole, Mapping) and isinstance(listed := whole.get("posts", whole.get("orderedItems")), list):
        return [_text_of(post, f"{path}: post {number}") for number, post in enumerate(listed, start=1)]
    texts = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            post = _parsed(line)
            if isinstance(post, ValueError):
                raise UsageError(f"{path}:{number}: not valid JSON: {post}.")
            texts.append(_text_of(post, f"{path}:{number}"))
    return texts


def _text_of(post: Any, where: str) -> str:
    """The words of one post. Raises UsageError saying where there are none."""
    for name in AROUND:
        if isinstance(post, Mapping) and isinstance(post.get(name), Mapping):
            post = post[name]
    if isinstance(post, str):
        return post
    for name in FIELDS:
        said = post.get(name) if isinstance(post, Mapping) else None
        if isinstance(said, str):
            # Only these come as HTML or with entities; in a text of one's own "&lt;" is what was typed.
            return said if name == "text" else without_mark_up(said)
    raise UsageError(f"{where}: {EXPECTED}.")


# --- an archive -------------------------------------------------------------------------------------------------------


def _of_archive(path: Path, part: str, text: str) -> list[str]:
    """Newest first. Reposts are left out, and replies too unless there is nothing else."""
    if part not in ("tweets", "tweet"):
        raise UsageError(f"{path} holds the {part!r} of an archive, not its tweets; give data/tweets.js.")
    rows = _parsed(text.strip().rstrip(";"))
    if isinstance(rows, ValueError):
        raise UsageError(f"{path}: the archive is broken: {rows}.")
    if not isinstance(rows, list):
        raise UsageError(f"{path}: the archive is broken: there is no list of tweets.")
    tweets: list[tuple[int, bool, str]] = []
    for number, row in enumerate(rows, start=1):
        tweet = row.get("tweet", row) if isinstance(row, Mapping) else None
        words = _text_of(tweet, f"{path}: tweet {number}")
        if isinstance(tweet, Mapping) and not words.startswith("RT @"):
            tweets.append((_age(tweet), _is_reply(tweet), words))
    tweets.sort(key=lambda tweet: -tweet[0])
    return _own_or_all(tweets)


def _own_or_all(tweets: Sequence[tuple[int, bool, str]]) -> list[str]:
    own = [words for _, is_reply, words in tweets if not is_reply]
    return own or [words for _, _, words in tweets]


def _age(tweet: Mapping[str, Any]) -> int:
    """Ids grow with time."""
    number = str(tweet.get("id_str") or tweet.get("id") or "")
    return int(number) if number.isdecimal() and len(number) < 30 else 0


def _is_reply(tweet: Mapping[str, Any]) -> bool:
    return any(tweet.get(name) for name in ("in_reply_to_status_id_str", "in_reply_to_status_id"))
