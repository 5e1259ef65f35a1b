"""Another take of one page, asked for by the user.

Invariant: the card of the book stays in the prompt word for word; only the scene may be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.contract import Concept
from tirada.engine.job import Item, Made
from tirada.engine.plan import SEEDS, Plan
from tirada.errors import TiradaError, UsageError
from tirada.workflows.stories import wordlist
from tirada.workflows.stories.takes import TAKE, by_page, next_name, page_facts
from tirada.workflows.stories.text import one_line, page_prompt

#: Seeds of takes are that far apart, and from those of all tries.
STRIDE = 100_003
#: Characters of a scene; what a text model writes has less than half of it.
SCENE_MAX = 2000


def another_take(plan: Plan, concept: Concept, made: Sequence[Made], page: str, scene: str, folder: Path) -> Item:
    """The image to be made; ``page`` is a number or "cover", ``scene`` what it is to show instead, if anything.

    Raises UsageError for a page that there is none of, TiradaError for a scene that the word list refuses.
    """
    if plan.workflow != "story":
        raise UsageError(f"That run is no story, but made by `{plan.workflow}`.")
    pages = by_page(made)
    number = 0 if page.casefold() == "cover" else int(page) if page.isdecimal() else -1
    if number not in pages or (number == 0 and page.casefold() != "cover"):
        last = max(pages, default=0)
        also = ', or "cover"' if 0 in pages else ""
        raise UsageError(f"The book has no page {page!r}: name one of 1 to {last}{also}.")
    if found := wordlist.flagged(scene, folder):
        raise TiradaError(f"That is nothing for this book; flagged as: {', '.join(found)} (a word list says so).")
    if len(scene) > SCENE_MAX:
        raise UsageError(f"The prompt has {len(scene):,} characters; at most {SCENE_MAX:,} are right.")
    images = pages[number]
    latest = images[-1].item
    picture = one_line(scene) or latest.facts["picture"]
    return Item(
        name=next_name(number, TAKE, images),
        title=latest.title,
        prompt=page_prompt(concept.prompt, picture),
        step=max(one.item.step for one in made) + 1,
        seed=(plan.seed + 1 + number + STRIDE * len(images)) % SEEDS,
        request=latest.request,
        facts=page_facts(number, latest.facts.get("text", ""), picture),
    )
