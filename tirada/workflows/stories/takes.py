"""Which image of several becomes the picture of a page, and how alike each is to the character sheet.

An image belongs to the page that its fact "page" names (a number, or "cover"). Its name tells where it comes from:
"page-03" was made first, "page-03-try-2" because that one drifted, "page-03-take-2" because the user asked for it.
Invariant: everything follows from the images as the store knows them, so each sitting chooses alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tirada.engine.job import Made
from tirada.workflows.stories.consistency import Consistency, Likeness, compare

SHEET, COVER = "sheet", "cover"
TRY, TAKE = "-try-", "-take-"


def base_name(number: int) -> str:
    """What the first image of a page is called; page 0 is the cover."""
    return f"page-{number:02d}" if number else COVER


def page_of(made: Made) -> int | None:
    """The page an image is for; None for the sheet."""
    page = made.item.facts.get("page", "")
    if page == COVER:
        return 0
    return int(page) if page.isdecimal() else None


def page_facts(number: int, text: str, picture: str) -> dict[str, str]:
    """What travels with every image of a page; the cover has no text."""
    words = {"text": text} if text else {}
    return {"page": str(number) if number else COVER, **words, "picture": picture}


def by_page(made: Sequence[Made]) -> dict[int, list[Made]]:
    """The images of each page, as they were planned."""
    found: dict[int, list[Made]] = {}
    for one in made:
        number = page_of(one)
        if number is not None:
            found.setdefault(number, []).append(one)
    return dict(sorted(found.items()))


def next_name(number: int, kind: str, images: Sequence[Made]) -> str:
    """The name of another image of a page: ``page-03-try-2``."""
    taken = {one.item.name for one in images}
    count = 2
    while f"{base_name(number)}{kind}{count}" in taken:
        count += 1
    return f"{base_name(number)}{kind}{count}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The images of a page, and the one that was chosen."""

    number: int
    images: Sequence[Made]
    chosen: Made

    @property
    def tries(self) -> int:
        return sum(TRY in one.item.name for one in self.images)

    @property
    def by_hand(self) -> bool:
        """Did the user ask for it?"""
        return TAKE in self.chosen.item.name


class Figures:
    """How alike the images of a book are to its sheet; each is measured once per sitting."""

    def __init__(self, reference: Path | None, likeness: Likeness | None) -> None:
        """``reference`` is the file that stands for the sheet where one was given."""
        self._reference = reference
        self._likeness = likeness
        self._known: dict[tuple[Path, int, Path], Consistency] = {}

    @property
    def with_clip(self) -> bool:
        """Does a CLIP model look at them, too?"""
        return self._likeness is not None

    def anchor(self, made: Sequence[Made]) -> Path | None:
        """What images are compared to: the sheet, the user's reference, or else the first page."""
        if self._reference is not None:
            return self._reference
        files = {one.item.name: one.file for one in made if one.done}
        return files.get(SHEET) or files.get(base_name(1))

    def of(self, one: Made, anchor: Path | None) -> Consistency | None:
        """None where there is nothing to measure, or to compare with."""
        if one.file is None or anchor is None or one.file == anchor:
            return None
        try:
            key = one.file, one.file.stat().st_mtime_ns, anchor
            if key not in self._known:
                self._known[key] = compare(one.file, anchor, self._likeness)
        except OSError:
            # Moved away or spoiled since: the book says so by its placeholder.
            return None
        return self._known[key]


def choose(made: Sequence[Made], figures: Figures) -> dict[int, Choice]:
    """For each page the newest image the user asked for, or else the most consistent one."""
    anchor = figures.anchor(made)
    return {number: Choice(number, images, _best(images, figures, anchor)) for number, images in by_page(made).items()}


def _best(images: Sequence[Made], figures: Figures, anchor: Path | None) -> Made:
    done = [one for one in images if one.done]
    takes = [one for one in done if TAKE in one.item.name]
    if takes:
        return takes[-1]
    if len(done) < 2:
        return done[0] if done else images[0]

    def figure(one: Made) -> float:
        found = figures.of(one, anchor)
        # The first page is its own measure where there is no sheet.
        return 1.0 if found is None else found.figure

    return max(done, key=figure)


def compared(made: Sequence[Made], figures: Figures) -> Mapping[str, Mapping[str, str]]:
    """The facts of every image of a page that could be measured, by name."""
    anchor = figures.anchor(made)
    measured = ((one, figures.of(one, anchor)) for one in made if page_of(one) is not None)
    return {one.item.name: found.facts() for one, found in measured if found is not None}
