"""How fast and how varied the offline writer is: ``python benchmarks/composer.py`` from the project folder.

Invariant: processor time is counted, not the clock, so that a busy machine gives the same figures.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models.contract import Brief, Concept, Role
from models.roles import RoleLibrary, SeededDealer, make_briefs
from models.writers.composer import ComposerWriter

COUNT = 10_000
PER_ROLE = 3_000
THEME = "arctic wildlife"
GOAL_SPEED, GOAL_DUPLICATES, GOAL_OPENING = 5_000, 0, 0.11


def deal(roles: Sequence[Role], count: int, theme: str = "") -> list[Brief]:
    """Briefs as the engine deals them, the same in every run."""
    return make_briefs(roles, SeededDealer(7), count, rng=random.Random(7), theme=theme)


def write(briefs: Sequence[Brief]) -> list[Concept]:
    """The concepts of the briefs; the first error ends the benchmark."""
    concepts: list[Concept] = []
    for answer in ComposerWriter().write(briefs):
        if not isinstance(answer, Concept):
            raise answer
        concepts.append(answer)
    return concepts


def commonest_opening(concepts: Sequence[Concept]) -> tuple[str, float]:
    """The first three words that most descriptions share, and the share."""
    openings = Counter(" ".join(concept.description.lower().split()[:3]) for concept in concepts)
    opening, times = openings.most_common(1)[0]
    return opening, times / len(concepts)


def speeds(roles: Sequence[Role]) -> tuple[float, float]:
    """Concepts per second of processor time, without and with the dealing; the median of five runs."""
    alone, together = [], []
    for _ in range(5):
        start = time.process_time()
        briefs = deal(roles, COUNT)
        dealt = time.process_time()
        write(briefs)
        written = time.process_time()
        alone.append(COUNT / (written - dealt))
        together.append(COUNT / (written - start))
    return sorted(alone)[2], sorted(together)[2]


def main() -> None:
    """Measure and print, one line per figure."""
    roles = RoleLibrary(ROOT / "data", ROOT / "tuning").load_usable()
    print(f"{len(roles)} roles, {COUNT:,} concepts\n")
    print(f"{'figure':<44}{'measured':>12}{'goal':>10}{'ratio':>8}")
    write(deal(roles, 500))  # what is worked out once per role is not what is measured
    alone, together = speeds(roles)
    print(f"{'concepts per second, writing':<44}{alone:>12,.0f}{GOAL_SPEED:>10,}{alone / GOAL_SPEED:>8.2f}")
    print(
        f"{'concepts per second, dealing included':<44}{together:>12,.0f}{GOAL_SPEED:>10,}{together / GOAL_SPEED:>8.2f}"
    )
    for label, theme in (("no theme", ""), (f"theme {THEME!r}", THEME)):
        concepts = write(deal(roles, COUNT, theme))
        equal = COUNT - len({(concept.title, concept.description) for concept in concepts})
        print(f"{f'equal concepts, {label}':<44}{equal:>12}{GOAL_DUPLICATES:>10}{'':>8}")
        rows = [("all roles", *commonest_opening(concepts))]
        worst = max(
            ((role.name, *commonest_opening(write(deal([role], PER_ROLE, theme)))) for role in roles), key=_share
        )
        rows.append((f"worst: {worst[0]}", worst[1], worst[2]))
        for who, opening, share in rows:
            print(
                f"{f'commonest opening, {label}':<44}{share:>12.1%}{GOAL_OPENING:>10.0%}{share / GOAL_OPENING:>8.2f}",
                end="",
            )
            print(f"  {opening!r} ({who})")


def _share(row: tuple[str, str, float]) -> float:
    return row[2]


if __name__ == "__main__":
    main()
