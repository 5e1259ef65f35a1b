"""Illustrated books as files: PDF, EPUB 3 and a page to turn in the browser, all from one ``Book``.

Invariant: a book holds everything that its files show; nothing here knows how the pictures were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A page, or the cover (number 0)."""

    number: int
    text: str
    #: The picture, in the folder that the book is written into; None = it could not be made.
    picture: Path | None
    #: What the picture shows, in English.
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Colours (#rrggbb) of text panels, and how large the text is set at most, in points."""

    paper: str = "#fdf8ee"
    ink: str = "#2d2a26"
    accent: str = "#6f9aa8"
    points: float = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What there is to print."""

    title: str
    summary: str
    #: ISO 639-1 code.
    language: str
    pages: Sequence[Leaf]
    #: None = it begins with the first page.
    cover: Leaf | None
    #: Pixels of the pictures.
    size: tuple[int, int]
    #: The same for every edition of the book.
    identifier: str
    look: Look = field(default_factory=Look)
    #: A font file of the user's own, for scripts that ours lacks.
    font: Path | None = None

    @property
    def leaves(self) -> list[Leaf]:
        """Cover and pages, in order."""
        return [*([self.cover] if self.cover else ()), *self.pages]

    @property
    def letters(self) -> str:
        """Every character that is set."""
        return "".join(sorted({*self.title, *"".join(page.text for page in self.pages), *"0123456789"}))
