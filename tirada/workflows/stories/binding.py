"""Binds a finished story: ``book.pdf``, ``book.epub``, ``book.html``, ``story.json`` and a report of what is in them.

Invariant: each file is replaced as a whole, from what the store says, so binding again at any time is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.contract import Concept
from tirada.engine.job import Made
from tirada.engine.plan import Plan
from tirada.output.atomic import write_bytes, write_text
from tirada.output.book import Book, Leaf, Look
from tirada.output.text import clean, counted, one_line
from tirada.workflows.stories.takes import Choice, Figures
from tirada.workflows.stories.text import characters_of, setting_of

PDF, EPUB, HTML, JSON, REPORT = "book.pdf", "book.epub", "book.html", "story.json", "report.md"
#: Points that text is set in at most, by the age of the readers: (up to years, points).
POINTS = ((3.5, 23.0), (7.5, 18.0), (12.5, 15.0), (99.0, 12.5))


class Binder:
    """Puts together what the store says of a story."""

    def __init__(self, plan: Plan, concept: Concept, choices: Mapping[int, Choice]) -> None:
        self._plan, self._concept, self._choices = plan, concept, choices
        self._pages = [choice for number, choice in choices.items() if number]

    # --- what a program reads

    def record(self, status: str = "") -> dict[str, Any]:
        """The story as JSON; ``status`` is worked out where it is empty."""
        job, pages = self._plan.job, self._pages
        cover = self._choices.get(0)
        return {
            "status": status or self._status(),
            "user_input": job["idea"],
            "total_pages": job["pages"],
            "title": self._concept.title,
            "text_description": [choice.chosen.item.facts.get("text", "") for choice in pages],
            "image_description": [choice.chosen.item.facts.get("picture", "") for choice in pages],
            "illustrations": [_name(choice) for choice in pages],
            "cover": _name(cover) if cover is not None else None,
            "summary": self._concept.description,
            "characters": [{"name": one.name, "look": one.look} for one in characters_of(self._concept.prompt)],
            "setting": setting_of(self._concept.prompt),
            "style": job["style"],
            "age": "-".join(map(str, job["age"])),
            "language": self._plan.language,
        }

    def _status(self) -> str:
        made = [choice.chosen.done for choice in self._choices.values()]
        return "done" if all(made) else "partial" if any(made) else "failed"

    # --- what people read

    def book(self, folder: Path) -> Book:
        """The book to print."""
        job = self._plan.job
        cover = self._choices.get(0)
        return Book(
            title=self._concept.title,
            summary=self._concept.description,
            language=self._plan.language,
            pages=[_leaf(choice) for choice in self._pages],
            cover=None if cover is None else _leaf(cover),
            size=(int(self._plan.request["width"]), int(self._plan.request["height"])),
            identifier=f"{folder.name}/{self._plan.seed}",
            look=Look(**job["look"], points=_points(job["age"])),
            font=Path(job["font"]) if job["font"] else None,
        )

    def bind(self, folder: Path, figures: Figures, made: Sequence[Made]) -> None:
        """Write everything into the folder."""
        from tirada.output.book import epub, html, pdf

        book, notes = self.book(folder), self.left_out()
        if notes:
            (folder / PDF).unlink(missing_ok=True)
        else:
            write_bytes(folder / PDF, pdf.render(book))
        write_bytes(folder / EPUB, epub.render(book))
        write_text(folder / HTML, html.render(book))
        record = {**self.record(), "consistency": self._figures(figures, made)}
        write_text(folder / JSON, json.dumps(record, ensure_ascii=False, indent=2) + "\n")
        write_text(folder / REPORT, self._report(figures, made, notes))

    def left_out(self) -> list[str]:
        """Which file there cannot be, and why."""
        from tirada.output.book.fonts import typeface

        book = self.book(Path())
        missing = sorted(typeface("text", book.letters, book.font).missing)[:8]
        return [
            f"{PDF} was left out: the typeface has no letters for {' '.join(missing)}. With --font FILE the book is set"
            " in one that has; the page to turn and the EPUB use the reader's own."
        ] * bool(missing)

    def _figures(self, figures: Figures, made: Sequence[Made]) -> list[float | None]:
        anchor = figures.anchor(made)
        found = (figures.of(choice.chosen, anchor) for choice in self._pages)
        return [None if one is None else round(one.figure, 3) for one in found]

    def _report(self, figures: Figures, made: Sequence[Made], notes: Sequence[str]) -> str:
        anchor = figures.anchor(made)
        unseen = {leaf.number for leaf in self.book(Path()).leaves if leaf.picture is None}
        missing = [choice for number, choice in self._choices.items() if number in unseen]
        compared = f"`{anchor.name}`" if anchor is not None else "nothing: there is no picture to compare with"
        lines = [
            f"# {_cell(self._concept.title)}",
            "",
            f"Pictures compared to {compared}. 1 = alike; a page shows a scene, so even good ones stay well below.",
            "",
            f"| page | picture | consistency | colour | layout |{' CLIP |' if figures.with_clip else ''} images made |",
            f"|---|---|---|---|---|{'---|' if figures.with_clip else ''}---|",
        ]
        for number, choice in self._choices.items():
            found = figures.of(choice.chosen, anchor)
            values = [found.figure, found.colour, found.layout, found.clip] if found is not None else [None] * 4
            values = values if figures.with_clip else values[:-1]
            cells = [f"{value:.2f}" if value is not None else "" for value in values]
            picture = _name(choice) or f"missing: {choice.chosen.error or choice.chosen.state}"
            if number in unseen and choice.chosen.done:
                picture = f"missing: {picture} is gone, or no picture any more"
            where = str(number) if number else "cover"
            lines.append(f"| {where} | {_cell(picture)} | {' | '.join(cells)} | {len(choice.images)} |")
        if missing:
            stand = "stands" if len(missing) == 1 else "stand"
            lines += [
                "",
                f"{counted(len(missing), 'picture')} could not be made or read; a quiet one {stand} in the book.",
            ]
        for note in notes:
            lines += ["", note]
        return "\n".join(lines) + "\n"


def _leaf(choice: Choice) -> Leaf:
    facts = choice.chosen.item.facts
    picture = choice.chosen.file
    there = picture if picture is not None and _is_picture(picture) else None
    return Leaf(number=choice.number, text=clean(facts.get("text", "")), picture=there, alt=facts.get("picture", ""))


def _is_picture(path: Path) -> bool:
    """Can the file be shown? It may have been moved away or spoiled since it was made."""
    from tirada.output.book.pictures import jpeg

    try:
        return bool(jpeg(path))
    except (OSError, SyntaxError, ValueError):
        return False


def _name(choice: Choice) -> str | None:
    return choice.chosen.file.name if choice.chosen.file is not None else None


def _points(age: Sequence[int]) -> float:
    middle = sum(age) / 2
    return next(points for years, points in POINTS if middle <= years)


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")
