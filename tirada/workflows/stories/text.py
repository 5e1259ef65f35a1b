"""A story as text: title, characters, and what each page says and shows.

Invariant: what every picture has in common is one text, the card, and each prompt repeats it word for word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tirada.output.text import uncontrolled

#: How the parts of a card are told apart; see ``card``.
SETTING, CHARACTERS = "Setting: ", "Characters:"
#: What is said at the end of every prompt: text models of images love to write.
CLOSING = "One full-page scene without any lettering."
#: What pictures of a book should not show.
NEGATIVE = "text, letters, captions, speech bubbles, watermark, signature, frame, extra limbs"
#: What a character may be called, and how long a look may be.
NAME_MAX, LOOK_MAX = 40, 300


@dataclass(frozen=True, slots=True)
class Character:
    """Somebody in the book; ``look`` reads after "Name: "."""

    name: str
    look: str

    def __str__(self) -> str:
        return f"{self.name}: {self.look}"


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says, in the language of the book, and what its picture shows, in English."""

    text: str
    picture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A whole book before it is illustrated."""

    title: str
    #: One or two sentences about it.
    summary: str
    characters: tuple[Character, ...]
    setting: str
    #: What the picture on the cover shows.
    cover: str
    pages: tuple[Page, ...]
    writer: str
    model: str = ""


def character_from(text: str) -> Character:
    """``Mira: a girl in a red coat`` as a character; raises ValueError saying what is missing."""
    name, colon, look = (one_line(part) for part in text.partition(":"))
    if not (name and colon and look):
        raise ValueError(f'{text!r} is no character: write "Name: how they look".')
    if len(name) > NAME_MAX or len(look) > LOOK_MAX:
        raise ValueError(f"{name[:NAME_MAX]!r}: a name has at most {NAME_MAX} characters, a look {LOOK_MAX}.")
    return Character(name, look.rstrip("."))


def card(style: str, setting: str, characters: Sequence[Character]) -> str:
    """What all pictures of a book have in common, a line each: style, setting, and the look of every character."""
    return "\n".join([one_line(style), SETTING + one_line(setting), CHARACTERS, *map(str, characters)])


def characters_of(text: str) -> list[Character]:
    """The characters of a card."""
    lines = text.split("\n")
    named = lines[lines.index(CHARACTERS) + 1 :] if CHARACTERS in lines else []
    parts = (line.partition(": ") for line in named)
    return [Character(name, look) for name, _, look in parts if look]


def setting_of(text: str) -> str:
    """The setting of a card."""
    return next((line.removeprefix(SETTING) for line in text.split("\n") if line.startswith(SETTING)), "")


def page_prompt(common: str, picture: str) -> str:
    """The prompt of one picture: style, scene, then the rest of the card as it is."""
    style, _, rest = common.partition("\n")
    return f"{style}. {one_line(picture).rstrip('.')}. {_sentences(rest)} {CLOSING}"


def sheet_prompt(common: str) -> str:
    """The prompt of the character sheet: everybody once, from head to foot, on a plain ground."""
    style, _, rest = common.partition("\n")
    who = ", ".join(one.name for one in characters_of(common))
    scene = f"Character sheet: {who}, full figure, front view, standing side by side on a plain light background"
    return f"{style}. {scene}. {_sentences(rest)} {CLOSING}"


def _sentences(rest: str) -> str:
    return " ".join(line if line.endswith(":") else f"{line.rstrip('.')}." for line in rest.split("\n") if line)


def one_line(text: str) -> str:
    """Every run of white space as one space, and nothing that would begin a line of the card, or be obeyed."""
    return " ".join(uncontrolled(text).split())


def words_per_page(age: tuple[int, int]) -> tuple[int, int]:
    """(fewest, most) words on a page for readers of that age, in years: about what picture books of each shelf have."""
    middle = sum(age) / 2
    for years, words in ((3.5, (8, 22)), (7.5, (25, 50)), (12.5, (45, 90))):
        if middle <= years:
            return words
    return 70, 130


def age_from(text: str) -> tuple[int, int]:
    """``4-7`` or ``6`` as (from, to) in years; raises ValueError."""
    match = re.fullmatch(r"(\d{1,2})(?:\s*[-–]\s*(\d{1,2}))?", text.strip())
    if match is None:
        raise ValueError(f'{text!r} is no age: write "4-7", or "6".')
    low = int(match[1])
    high = int(match[2] or low)
    if not 0 <= low <= high <= 99:
        raise ValueError(f"{text!r} is no age: the first number is the lower one.")
    return low, high


def story_from(data: Any, given: Sequence[Character], setting: str, model: str) -> Story:
    """The story of a text model's answer (see ``asking``); what the user said of characters and setting stands."""
    names = {one.name.casefold() for one in given}
    others = [Character(one_line(c.name), one_line(c.look).rstrip(".")) for c in data.characters]
    return Story(
        title=one_line(data.title),
        summary=one_line(data.summary),
        characters=(*given, *(one for one in others if one.name.casefold() not in names)),
        setting=setting or one_line(data.setting).rstrip("."),
        cover=one_line(data.cover),
        pages=tuple(Page(uncontrolled(page.text).strip(), one_line(page.picture)) for page in data.pages),
        writer="gpt",
        model=model,
    )
