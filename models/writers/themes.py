"""What the user's theme can stand as in a sentence: a plain noun phrase, or words to quote.

Invariant: the words of a theme are kept as typed, in their order; only white space, control characters and closing
punctuation go, and words beyond the limit.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from models.writers import phrases
from models.writers.checks import TAG_MAX

THEME_MAX = 200
#: Longer themes are quoted instead of being built into a sentence, and stay out of titles.
_PLAIN_MAX, _PLAIN_WORDS = 45, 6

#: Themes that begin like this are no noun phrases ("under the sea", "I love pizza", "make it pop").
_NO_NOUN_FIRST = phrases.PREPOSITIONS | phrases.word_set("""
    i you we he she it they this that these those there here what when where why how who let make draw create show give
    imagine please generate paint not no is are was were do does don't be if because although and or but so
""")
_PLAIN_CHARS = re.compile(r"[^\W_][\w '’&,\-]*")
_TAG_BREAKS = re.compile(r"[,;:/|.!?\"“”()\[\]{}#]+")


@dataclass(frozen=True, slots=True)
class Theme:
    """A theme made ready: its text, whether it reads as a noun phrase, whether a title may hold it, and its tags."""

    text: str
    plain: bool
    titled: bool
    tags: tuple[str, ...]


@lru_cache(maxsize=256)
def read_theme(raw: str) -> Theme | None:
    """The theme, or None where nothing in it can be shown (empty, or punctuation alone)."""
    text = phrases.tidy(raw, THEME_MAX)
    # An emoji or a sign is something to show, a run of dots is not.
    if not any(char.isalnum() or unicodedata.category(char).startswith("S") for char in text):
        return None
    words = text.split(" ")
    plain = (
        len(text) <= _PLAIN_MAX
        and len(words) <= _PLAIN_WORDS
        and _PLAIN_CHARS.fullmatch(text) is not None
        and words[0].casefold() not in _NO_NOUN_FIRST
        and words[-1].casefold() not in phrases.SMALL_WORDS
    )
    return Theme(text=text, plain=plain, titled=plain, tags=_tags(text))


def _tags(text: str) -> tuple[str, ...]:
    """The theme as a tag, or its parts, or its longest words, whichever fits first."""
    parts = [part.strip(" '’-") for part in _TAG_BREAKS.split(text)]
    tags = [part for part in parts if part and len(part) <= TAG_MAX][:3]
    if not tags:
        words = sorted({word for part in parts for word in part.split()}, key=lambda word: (-len(word), word))
        tags = [word[:TAG_MAX] for word in words[:3]]
    return tuple(tags)
