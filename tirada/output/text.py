"""Small repairs of user-written and model-written text, and how texts for people are put, shared by every room above.

Invariant: what comes out can be encoded as UTF-8, holds no NUL, and reads back from a file as it was written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace

from models.contract import Concept

#: What a spreadsheet would take for the beginning of a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_UNSAFE = re.compile("[\ud800-\udfff]")
#: Control characters but tabs and line ends: nothing that people write holds one, and terminals obey them.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
#: Everything XML 1.0 cannot hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """The text without NUL, with LF for every line end, and with lone surrogates (a model's broken ``\\ud83d``) made
    visible as U+FFFD."""
    return _UNSAFE.sub("\ufffd", text.replace("\0", "").replace("\r\n", "\n").replace("\r", "\n"))


def clean_texts(texts: Mapping[str, object]) -> dict[str, str]:
    """Names and what is said under them, both clean, as facts and briefs are kept."""
    return {clean(name): clean(str(text)) for name, text in texts.items()}


def clean_concept(concept: Concept) -> Concept:
    """The concept with all its texts clean: what is stored, asked for and put into files is then one and the same."""
    return replace(
        concept,
        title=clean(concept.title),
        description=clean(concept.description),
        metatags=tuple(map(clean, concept.metatags)),
        prompt=clean(concept.prompt),
        negative=clean(concept.negative),
    )


def counted(number: int, one: str, many: str = "") -> str:
    """``1 image``, ``2 images``; ``many`` is what more than one is called where that is not just an s more."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def spoken(marks: Iterable[tuple[str, str]]) -> str:
    """``good (Ann), bad``: verdicts, each with whose it is where that is known."""
    return ", ".join(f"{verdict} ({user})" if user else verdict for verdict, user in marks)


def cell(text: str) -> str:
    """The text as a spreadsheet may see it: it shows the quote in front of nothing, and takes no formula from a model.

    As OWASP advises; the list of prompts that is read by programs stays as it is.
    """
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def xml_text(text: str) -> str:
    """The text without characters that are illegal in XML; still to be escaped."""
    return _NOT_XML.sub("", text)


def one_line(text: str) -> str:
    """The text with every run of white space, line ends included, as one space."""
    return " ".join(clean(text).split())


def uncontrolled(text: str) -> str:
    """The text without what a terminal would obey instead of showing it."""
    return _CONTROLS.sub("", text)


def hashtags(tags: Iterable[str]) -> list[str]:
    """``golden hour`` -> ``#GoldenHour``: letters, marks and digits only, each once, none that is only a number."""
    found: dict[str, str] = {}
    for tag in tags:
        words = "".join(_tag_char(char) for char in unicodedata.normalize("NFC", tag)).split()
        joined = "".join(word[0].upper() + word[1:] for word in words)
        if joined and not joined.isdecimal():
            found.setdefault(joined.casefold(), f"#{joined}")
    return list(found.values())


def _tag_char(char: str) -> str:
    if char in "'’":
        return ""
    return char if unicodedata.category(char)[0] in "LMN" else " "
