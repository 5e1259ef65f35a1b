"""What a text model is asked for a book, and the shape its answer must have.

Invariant: an answer of the shape has exactly the pages that were ordered, each of a length that fits on a page.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from models.writers.language import NAMES
from tirada.output.text import counted
from tirada.workflows.stories.text import LOOK_MAX, NAME_MAX, Character, words_per_page

if TYPE_CHECKING:
    from pydantic import BaseModel

TITLE_MAX, SUMMARY_MAX, PICTURE_MAX, CHARACTERS_MAX = 80, 320, 700, 6
#: Characters a word has at most on average, white space included, in the languages there are.
PER_WORD = 9

RULES = """\
You write illustrated books: the words on each page, and for each page what its picture shows.

The story
- Write {pages} and tell one whole story on them: somebody wants something, it is hard, something changes, it ends well.
- Readers are {age} years old. Each page has {fewest} to {most} words, in sentences that such readers follow and like to
  hear read aloud. Concrete things instead of feelings that are named; humour instead of a moral.
- Never begin two pages in the same way, and do not explain in the words what the picture already shows.
- Title, summary and page texts are in {language}. All about pictures (looks, setting, cover, picture) is in English.
- No brands, no living persons, no characters from other books, films or games.

The pictures
- "characters" has everybody who is seen more than once: a name, and a look of 10 to 35 words that an illustrator could
  draw from alone: kind of being, size, colours, hair or fur, clothes, one thing nobody else has. No moods, no actions.
- "setting" says in 8 to 25 words what the world of the book looks like.
- "picture" says in 15 to 50 words what is seen on that page: who (by name), doing what, where, in which light, how
  close. Vary near and far. Never describe the looks of a character again, and never name a style or an artist.
- "cover" does the same for a picture that shows the heart of the story with calm space at the top for the title.
- Nothing in a picture is to be read: no signs, no letters, no speech bubbles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A book as the user asks for it."""

    idea: str
    pages: int
    age: tuple[int, int]
    language: str
    title: str = ""
    characters: Sequence[Character] = ()
    setting: str = ""


def rules(wanted: Wanted) -> str:
    """What the text model is to keep to."""
    fewest, most = words_per_page(wanted.age)
    low, high = wanted.age
    return RULES.format(
        pages="exactly one page" if wanted.pages == 1 else f"exactly {wanted.pages} pages",
        age=str(low) if low == high else f"{low} to {high}",
        fewest=fewest,
        most=most,
        language=NAMES.get(wanted.language, wanted.language),
    )


def question(wanted: Wanted) -> str:
    """What the user wants."""
    parts = [f"The idea: {wanted.idea}"]
    if wanted.title:
        parts.append(f"The title is given: {wanted.title}")
    if wanted.setting:
        parts.append(f"The setting is given, use it word for word: {wanted.setting}")
    if wanted.characters:
        listed = "\n".join(f"- {one}" for one in wanted.characters)
        parts.append(
            f"These characters are given, with names and looks word for word; the first one is the hero:\n{listed}"
        )
    return "\n\n".join(parts)


def expected_tokens(pages: int, age: tuple[int, int]) -> tuple[int, int]:
    """(tokens asked, tokens answered), on the high side."""
    _, most = words_per_page(age)
    return 1700, 500 + pages * (2 * most + 110)


def shape_for(wanted: Wanted) -> type[BaseModel]:
    """The answer: title, summary, characters, setting, cover, pages."""
    from pydantic import AfterValidator, ConfigDict, create_model

    def text(name: str, least: int, most: int) -> Any:
        return Annotated[str, AfterValidator(functools.partial(_within, name, least, most))], ...

    fewest, most = words_per_page(wanted.age)
    closed = ConfigDict(extra="forbid")
    character = create_model("Character", __config__=closed, name=_name_field(), look=text("a look", 8, LOOK_MAX))
    page = create_model(
        "Page",
        __config__=closed,
        text=text("the text of a page", max(2, fewest), (most + most // 2) * PER_WORD),
        picture=text("a picture", 8, PICTURE_MAX),
    )
    cast = CHARACTERS_MAX + len(wanted.characters)
    several: Any = list
    pages: Any = Annotated[several[page], AfterValidator(functools.partial(_exactly, wanted.pages))], ...
    characters: Any = Annotated[several[character], AfterValidator(functools.partial(_at_most, cast))], ...
    return create_model(
        "Book",
        __config__=closed,
        title=text("the title", 1, TITLE_MAX),
        summary=text("the summary", 1, SUMMARY_MAX),
        characters=characters,
        setting=text("the setting", 8, PICTURE_MAX),
        cover=text("the cover", 8, PICTURE_MAX),
        pages=pages,
    )


def _name_field() -> Any:
    from pydantic import AfterValidator

    return Annotated[str, AfterValidator(_name)], ...


def _name(value: str) -> str:
    if ":" in value:
        raise ValueError("a name has no colon")
    return _within("a name", 1, NAME_MAX, value)


def _within(name: str, least: int, most: int, value: str) -> str:
    value = value.strip()
    if not least <= len(value) <= most:
        raise ValueError(f"{name} must have {least} to {most} characters, not {len(value)}")
    return value


def _exactly(count: int, value: list[Any]) -> list[Any]:
    if len(value) != count:
        raise ValueError(f"there must be exactly {counted(count, 'page')}, not {len(value)}")
    return value


def _at_most(count: int, value: list[Any]) -> list[Any]:
    if not 1 <= len(value) <= count:
        raise ValueError(f"there must be 1 to {count} characters, not {len(value)}")
    return value
