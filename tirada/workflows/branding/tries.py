"""Which images are made again because too little of them is in the palette, and which of the tries is kept.

Everything is decided from the facts as they are written down, rounded against the image, so that a later sitting
decides alike, and nothing that is shown says more than was measured.
Invariant: an image never has more tries than planned, and at most one of its tries is the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tirada.engine.job import Item, Kind, Made
from tirada.workflows.branding.prompts import plainer

if TYPE_CHECKING:
    from tirada.workflows.branding.palette import Fit

#: The names of facts.
SHARE, MEAN, EACH, FITS = "palette", "mean_delta_e", "colours", "fits"
SHARE_BEFORE, MEAN_BEFORE = "palette_before", "mean_delta_e_before"
NOTHING = "no opaque pixel"
#: Between the name of an image and the number of its try.
_MARK = "-try-"


@dataclass(frozen=True, slots=True)
class Goal:
    """The least share (0..1) of an image in the palette; 0 = none. And how many tries it has."""

    least: float
    tries: int

    def reached(self, facts: Mapping[str, str]) -> bool:
        """Does what was measured come up to it?"""
        share = share_of(facts)
        return share is not None and round(share * 1000) >= math.ceil(self.least * 1000 - 1e-6)

    def verdict(self, facts: Mapping[str, str]) -> dict[str, str]:
        """The same as a fact, where there is a goal."""
        if not self.least:
            return {}
        return {FITS: "yes" if self.reached(facts) else f"no, {percent(self.least)} wanted"}


def facts_of(fit: Fit | None, palette: Mapping[str, str], before: Fit | None = None) -> dict[str, str]:
    """What was measured, in words: ``palette`` "62.4 %", ``mean_delta_e`` "14.2", and what each colour has of it.

    ``before`` is what the picture was before its colours were graded.
    """
    if fit is None:
        return {SHARE: NOTHING}
    each = ", ".join(f"{name} {percent(fit.shares[code])}" for name, code in palette.items())
    facts = {SHARE: percent(fit.share), MEAN: _figure(fit.mean), EACH: each}
    if before is not None:
        facts |= {SHARE_BEFORE: percent(before.share), MEAN_BEFORE: _figure(before.mean)}
    return facts


def percent(share: float) -> str:
    """``0.6249`` as "62.4 %"."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


def _figure(mean: float) -> str:
    return f"{math.ceil(mean * 10 - 1e-9) / 10:.1f}"


def share_of(facts: Mapping[str, str], name: str = SHARE) -> float | None:
    """The share that a fact says, 0..1; None where it was not measured."""
    text = facts.get(name, "")
    return round(float(text.removesuffix(" %")) / 100, 3) if text.endswith(" %") else None


def mean_of(facts: Mapping[str, str], name: str = MEAN) -> float | None:
    """The mean difference that a fact says."""
    return float(facts[name]) if facts.get(name) else None


def by_image(made: Sequence[Made]) -> dict[str, list[Made]]:
    """The tries of each image, in order, by the name of its first one."""
    found: dict[str, list[Made]] = {}
    for one in made:
        found.setdefault(one.item.name.partition(_MARK)[0], []).append(one)
    return found


def best_of(tries: Sequence[Made]) -> Made | None:
    """The try with the largest share, of equals the nearest and then the first; None where none was made."""

    def merit(one: Made) -> tuple[float, float]:
        mean = mean_of(one.facts)
        return share_of(one.facts) or 0.0, -math.inf if mean is None else -mean

    return max((one for one in tries if one.done), key=merit, default=None)


def more(goal: Goal, palette: Mapping[str, str], made: Sequence[Made]) -> list[Item]:
    """The next try of each image that does not fit yet; one whose last try was not made has no other."""
    step = max((one.item.step for one in made), default=-1) + 1
    items = []
    for name, tries in by_image(made).items():
        if len(tries) >= goal.tries or not tries[-1].done or any(goal.reached(one.facts) for one in tries):
            continue
        first, number = tries[0].item, len(tries) + 1
        items.append(
            Item(
                name=f"{name}{_MARK}{number}",
                title=first.title,
                prompt=plainer(first.prompt, palette, number - 1),
                step=step,
                kind="try",
                request=first.request,
                facts={"try": f"{number} of {goal.tries}"},
            )
        )
    return items


def kinds(made: Sequence[Made]) -> dict[str, Kind]:
    """The best try of each image is the result; where none was made, what was planned stays."""
    found: dict[str, Kind] = {}
    for tries in by_image(made).values():
        best = best_of(tries)
        if best is not None:
            found |= {one.item.name: "result" if one is best else "try" for one in tries}
    return found
