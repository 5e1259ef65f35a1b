"""The typeface of books: Literata, made for reading on paper and screens; Latin, Cyrillic and Greek.

It comes as a package of its own (SIL Open Font License 1.1). Only the characters of a book are taken out of it, at the
weight and optical size that they are set in.
Invariant: the same characters and cut give the same bytes.
"""

from __future__ import annotations

import functools
import io
import re
import unicodedata
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from tirada.errors import UsageError

PACKAGE, FILE = "fontpkg_literata", "Literata[opsz,wght].ttf"
Cut = Literal["text", "title"]
#: Optical size (points) and weight of each cut.
CUTS: dict[Cut, dict[str, float]] = {"text": {"opsz": 14, "wght": 430}, "title": {"opsz": 60, "wght": 620}}
#: Set in place of characters that no font of ours has; None = left out.
STAND_INS = {"\u00a0": " ", "\u2011": "-", "\u202f": " ", "\u2009": " ", "\u3000": " ", "\t": " "}


@dataclass(frozen=True, slots=True)
class Typeface:
    """A font file cut down to a text."""

    data: bytes
    #: Letters and digits of the text that it lacks.
    missing: frozenset[str]
    #: The characters it has.
    known: frozenset[str]

    def settable(self, text: str) -> str:
        """The text without symbols that the font lacks, such as emoji."""
        kept = (char if char in self.known or char == "\n" else STAND_INS.get(char, "") for char in text)
        left = "".join(kept)
        # Where an emoji stood between a word and its comma, no space is left over.
        return left if len(left) == len(text) else re.sub(r" +(?=[,.;:!?…]|$)", "", left)


def check_font(path: Path) -> None:
    """Raise UsageError for what is no TrueType or OpenType font."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        TTFont(io.BytesIO(path.read_bytes()), fontNumber=0, lazy=True).close()
    except (TTLibError, OSError, ImportError) as exc:
        raise UsageError(f"{str(path)!r} is no font: give a .ttf or .otf file.") from exc


@functools.lru_cache(maxsize=8)
def typeface(cut: Cut, letters: str, own: Path | None = None) -> Typeface:
    """The cut with the characters of ``letters``, as TrueType; ``own`` is used in place of Literata."""
    import uharfbuzz

    face = uharfbuzz.Face(_bytes(own))
    have = set(face.unicodes)
    wanted = {*letters, *STAND_INS.values(), " "}
    cutting = uharfbuzz.SubsetInput()
    cutting.flags = uharfbuzz.SubsetFlags.NOTDEF_OUTLINE
    cutting.unicode_set.update(ord(char) for char in wanted)
    for axis in face.axis_infos:
        if axis.tag in CUTS[cut]:
            place = min(max(CUTS[cut][axis.tag], axis.min_value), axis.max_value)
            cutting.pin_axis_location(face, axis.tag, place)
        else:
            cutting.pin_axis_to_default(face, axis.tag)
    data = cutting.subset(face).blob.data
    missing = {char for char in wanted if ord(char) not in have and char not in STAND_INS and _says_something(char)}
    return Typeface(data, frozenset(missing), frozenset(c for c in wanted if ord(c) in have))


def _bytes(own: Path | None) -> bytes:
    if own is not None:
        return own.read_bytes()
    return resources.files(PACKAGE).joinpath("files", FILE).read_bytes()


def _says_something(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"
