"""Keeps concepts from repeating: nothing in the store, in the CSV or in this run is written twice.

Invariant: a text is either claimed by exactly one concept of this process or refused; equal after case, punctuation and
spacing are set aside counts as equal.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence

#: Above this share of equal words (0 to 100) two concepts are the same idea told again.
NEAR = 86.0


class NoveltyIndex:
    """Implements ``models.contract.Novelty``; the (title, description) pairs that exist are read when first needed."""

    def __init__(self, existing: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._existing = existing
        self._lock = threading.Lock()
        self._exact: dict[int, None] | None = None
        self._words: list[str] | None = None
        self._titles: list[str] = []
        #: How many concepts were turned away.
        self.rejected = 0

    def claim(
        self, title: str, description: str, *, near: bool, instead_of: tuple[str, str] | None = None
    ) -> str | None:
        with self._lock:
            exact = self._load(near)
            name = _name(title, description)
            clash = title if name in exact else None
            if instead_of is not None and name == _name(*instead_of):
                clash = None
            if clash is None and near:
                clash = self._closest(title, description, instead_of)
            if clash is not None:
                self.rejected += 1
                return clash
            exact[name] = None
            if self._words is not None:
                self._remember(title, description)
            return None

    def _load(self, near: bool) -> dict[int, None]:
        """The exact index, and the near one from the first time it is asked for."""
        exact = self._exact
        if exact is None or (near and self._words is None):
            exact = {} if exact is None else exact
            if near:
                self._words = []
            for title, description in self._existing():
                exact[_name(title, description)] = None
                if near:
                    self._remember(title, description)
            self._exact = exact
        return exact

    def _remember(self, title: str, description: str) -> None:
        assert self._words is not None
        self._words.append(_sorted_words(title, description))
        self._titles.append(title)

    def _closest(self, title: str, description: str, instead_of: tuple[str, str] | None) -> str | None:
        from rapidfuzz import fuzz, process

        # The words are sorted once, here, instead of for every pair as token_sort_ratio would.
        query = _sorted_words(title, description)
        choices: Sequence[str | None] = self._words or []
        if instead_of is not None:
            # None is passed over, and the others keep their places.
            own = _sorted_words(*instead_of)
            choices = [None if words == own else words for words in choices]
        found = process.extractOne(query, choices, scorer=fuzz.ratio, score_cutoff=NEAR)
        return None if found is None else self._titles[found[2]]


def _name(title: str, description: str) -> int:
    return hash(_plain(f"{title} {description}"))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _sorted_words(title: str, description: str) -> str:
    return " ".join(sorted(_plain(f"{title} {description}").split()))
