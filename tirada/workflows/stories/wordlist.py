"""The offline check of what a user asks for: a plain list of words, in ``data/stories/words.toml``.

Invariant: it only ever names categories, never repeats the words it found.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path

#: Said wherever this list was all that looked at the idea.
ONLY_WORDS = "word list only; no moderation model was asked"


def flagged(text: str, folder: Path) -> list[str]:
    """The categories whose words the text holds, in the order of the file."""
    with (folder / "words.toml").open("rb") as file:
        lists: dict[str, list[str]] = tomllib.load(file)
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return [category for category, words in lists.items() if _pattern(words).search(plain)]


def _pattern(words: list[str]) -> re.Pattern[str]:
    parts = (re.escape(word.rstrip("*")) + (r"\w*" if word.endswith("*") else "") for word in words)
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")
