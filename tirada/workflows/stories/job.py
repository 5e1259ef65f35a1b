"""The job of a book: has it written, made page by page, measured, made again where it drifts, and bound.

Invariant: every prompt holds the whole character card; text and description of a page travel with its image as facts.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.contract import Concept, Scribe
from models.errors import Refused, UnsupportedRequest
from tirada.engine.job import Composed, Item, Job, Kind, Made
from tirada.engine.plan import SEEDS, Plan
from tirada.workflows.stories import wordlist
from tirada.workflows.stories.binding import Binder
from tirada.workflows.stories.consistency import Likeness
from tirada.workflows.stories.takes import (
    SHEET,
    TRY,
    Choice,
    Figures,
    base_name,
    choose,
    compared,
    next_name,
    page_facts,
)
from tirada.workflows.stories.text import (
    NEGATIVE,
    Character,
    Story,
    card,
    one_line,
    page_prompt,
    sheet_prompt,
    story_from,
)

#: Seeds of further images of a page are that far from those of the first, so that no two of a book are alike.
STRIDE = 1000
CHECKED_BY_WORDS = "The idea was checked with a word list only; a moderation model looks at it where there is a key."


class StoryJob(Job):
    """Made from ``plan.job``; see ``tirada.workflows.story.plan_story``."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        """``folder`` is ``data/stories``."""
        self._plan, self._job, self._folder = plan, plan.job, folder
        reference = plan.job["reference"]
        self._figures = Figures(Path(reference) if reference else None, _likeness(plan.job["clip_model"]))

    # --- writing

    def compose(self, scribe: Scribe | None) -> Composed:
        """Refused for a flagged idea, BadAnswer where the text model cannot keep to the order."""
        moderation = self._moderated(scribe)
        story = self._written(scribe)
        common = card(self._job["style_words"], story.setting, story.characters)
        concept = Concept(
            title=self._job["title"] or story.title,
            description=story.summary,
            metatags=_tags(story, self._job["style"]),
            prompt=common,
            negative=NEGATIVE,
            writer=story.writer,
            model=story.model,
        )
        brief = {"style": self._job["style"], "age": "-".join(map(str, self._job["age"])), "moderation": moderation}
        notes = [CHECKED_BY_WORDS] if moderation == wordlist.ONLY_WORDS else []
        return Composed(
            concept=concept, items=list(self._items(story, common)), brief=brief, notes=[*notes, *self._job["notes"]]
        )

    def _moderated(self, scribe: Scribe | None) -> str:
        """Who looked at the idea; raises Refused with the categories where something was found."""
        said = [self._job[name] for name in ("idea", "title", "setting")] + [str(one) for one in self._characters()]
        text = "\n".join(part for part in said if part)
        found, by = wordlist.flagged(text, self._folder), wordlist.ONLY_WORDS
        if scribe is not None:
            # An endpoint may have no such model: the list is better than nothing, and the run says so.
            with contextlib.suppress(UnsupportedRequest):
                found, by = scribe.flagged(text), "moderation model"
        if found:
            raise Refused(f"The idea of the story is not suitable; flagged as: {', '.join(found)}.")
        return by

    def _written(self, scribe: Scribe | None) -> Story:
        job = self._job
        if scribe is None:
            from tirada.workflows.stories.composer import Order, compose

            return compose(
                Order(
                    idea=job["idea"],
                    pages=job["pages"],
                    seed=self._plan.seed,
                    age=tuple(job["age"]),
                    title=job["title"],
                    characters=self._characters(),
                    setting=job["setting"],
                ),
                self._folder,
            )
        from tirada.workflows.stories.asking import Wanted, question, rules, shape_for

        wanted = Wanted(
            idea=job["idea"],
            pages=job["pages"],
            age=tuple(job["age"]),
            language=self._plan.language,
            title=job["title"],
            characters=self._characters(),
            setting=job["setting"],
        )
        answer = scribe.answer(rules(wanted), question(wanted), shape_for(wanted))
        return story_from(answer, wanted.characters, job["setting"], scribe.model)

    def _characters(self) -> list[Character]:
        return [Character(**one) for one in self._job["characters"]]

    def _items(self, story: Story, common: str) -> Iterator[Item]:
        """The sheet, then page 1, so that there is something to read, then the rest."""
        seed, step = self._plan.seed, 0
        if self._job["sheet"]:
            yield Item(name=SHEET, title="Characters", prompt=sheet_prompt(common), kind="step", seed=seed)
            step = 1
        leaves = [(number, page.text, page.picture) for number, page in enumerate(story.pages, start=1)]
        leaves += [(0, "", story.cover)] if self._job["cover"] else []
        for number, text, picture in sorted(leaves, key=lambda leaf: (leaf[0] != 1, leaf[0])):
            yield Item(
                name=base_name(number),
                title=f"Page {number}" if number else story.title,
                prompt=page_prompt(common, picture),
                step=step if number == 1 else step + 1,
                seed=(seed + 1 + number) % SEEDS,
                request=self._job["use"],
                facts=page_facts(number, text, picture),
            )

    def reword(self, concept: Concept, item: Item, reason: str, scribe: Scribe) -> Item:
        """A page shows its scene in other words; the card is repeated as it is."""
        if "picture" not in item.facts:
            return super().reword(concept, item, reason, scribe)
        from models.writers.rewording import safer_prompt

        picture = one_line(safer_prompt(scribe, item.facts["picture"], reason))
        return replace(item, prompt=page_prompt(concept.prompt, picture), facts={**item.facts, "picture": picture})

    # --- measuring, and making again

    def more(self, concept: Concept, made: Sequence[Made]) -> Sequence[Item]:
        """Pages that drift, once more; those the user took in hand are left alone."""
        least = self._job["redo_below"]
        if least is None:
            return ()
        anchor = self._figures.anchor(made)
        last = max(one.item.step for one in made)
        return [
            self._another(choice, last + 1)
            for choice in choose(made, self._figures).values()
            if choice.tries < self._job["tries"]
            and not choice.by_hand
            and (found := self._figures.of(choice.chosen, anchor)) is not None
            and found.figure < least
        ]

    def _another(self, choice: Choice, step: int) -> Item:
        first = choice.images[0].item
        return Item(
            name=next_name(choice.number, TRY, choice.images),
            title=first.title,
            prompt=first.prompt,
            step=step,
            seed=(self._plan.seed + 1 + choice.number + STRIDE * (choice.tries + 1)) % SEEDS,
            request=first.request,
            facts=page_facts(choice.number, first.facts.get("text", ""), first.facts["picture"]),
        )

    def compare(self, made: Sequence[Made]) -> Mapping[str, Mapping[str, str]]:
        """How consistent each picture is."""
        return compared(made, self._figures)

    def kinds(self, made: Sequence[Made]) -> Mapping[str, Kind]:
        """What is in the book is a result, what another picture was better than is a try."""
        kinds: dict[str, Kind] = {}
        for choice in choose(made, self._figures).values():
            for one in choice.images:
                kinds[one.item.name] = "result" if one is choice.chosen else "try"
        return kinds

    # --- telling, and binding

    def so_far(self, concept: Concept, made: Sequence[Made]) -> Mapping[str, Any]:
        """The story with the illustrations there are by now."""
        return self._binder(concept, made).record("working")

    def finish(self, folder: Path, concept: Concept, made: Sequence[Made]) -> None:
        """Bind the book."""
        self._binder(concept, made).bind(folder, self._figures, made)

    def remarks(self, concept: Concept, made: Sequence[Made]) -> Sequence[str]:
        """Which file there is not, and how there would be one."""
        return self._binder(concept, made).left_out()

    def summary(self, folder: Path, concept: Concept, made: Sequence[Made], seconds: float) -> Mapping[str, Any]:
        """The story, and where the files are."""
        files = [folder / name for name in ("book.pdf", "book.epub", "book.html", "story.json", "report.md")]
        record = self._binder(concept, made).record()
        return {**record, "files": [str(file) for file in files if file.is_file()]}

    def _binder(self, concept: Concept, made: Sequence[Made]) -> Binder:
        return Binder(self._plan, concept, choose(made, self._figures))


def _tags(story: Story, style: str) -> tuple[str, ...]:
    """Five to ten words to catalogue the book by."""
    names = [one.name.casefold() for one in story.characters]
    return tuple(dict.fromkeys(["picture book", "story", "illustration", style, *names, "children", "adventure"]))[:10]


@functools.lru_cache(maxsize=2)
def _likeness(folder: str) -> Likeness | None:
    if not folder:
        return None
    from models.backends.local.likeness import ClipLikeness

    return ClipLikeness(Path(folder))
