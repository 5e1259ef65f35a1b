"""Keeps concepts from repeating: nothing in the store, in the CSV or in this run is written twice.

Invariant: a text is either claimed by exactly one concept of this process or refused; equal after case, punctuation and
spacing are set aside counts as equal.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Above this share of equal words (0 to 100) two concepts are the same idea told again.
NEAR = 86.0
SIGNATURE_BITS = 1024


class NoveltyIndex:
    """Implements ``models.contract.Novelty``; the (title, description) pairs that exist are read when first needed."""

    def __init__(self, existing: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._existing = existing
        self._lock = threading.Lock()
        self._exact: dict[int, None] | None = None
        self._near: _NearIndex | None = None
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
            if clash is None and near and self._near is not None:
                clash = self._near.closest(title, description, instead_of)
            if clash is not None:
                self.rejected += 1
                return clash
            exact[name] = None
            if self._near is not None:
                self._near.add(title, description)
            return None

    def _load(self, near: bool) -> dict[int, None]:
        """The exact index, and the near one from the first time it is asked for."""
        exact = self._exact
        if exact is None or (near and self._near is None):
            exact = {} if exact is None else exact
            if near:
                self._near = _NearIndex()
            for title, description in self._existing():
                exact[_name(title, description)] = None
                if self._near is not None:
                    self._near.add(title, description)
            self._exact = exact
        return exact


class _NearIndex:
    """Finds the concept that another one tells again, in words that differ a little.

    Comparing two texts word by word takes a microsecond, which at thousands of concepts is more than their writing. So
    each has a signature, a bit for each three letters in a row, and only those that share half of them are compared: of
    texts as alike as ``NEAR`` says, those share 64 % and more, and of any others one pair in a hundred does.
    """

    def __init__(self) -> None:
        import numpy

        self._np = numpy
        self._words: list[str] = []
        self._titles: list[str] = []
        self._signatures = numpy.zeros((1024, SIGNATURE_BITS // 64), dtype=numpy.uint64)

    def add(self, title: str, description: str) -> None:
        words = _sorted_words(title, description)
        count = len(self._words)
        if count == len(self._signatures):
            self._signatures = self._np.concatenate([self._signatures, self._np.zeros_like(self._signatures)])
        self._signatures[count] = self._signature(words)
        self._words.append(words)
        self._titles.append(title)

    def closest(self, title: str, description: str, instead_of: tuple[str, str] | None) -> str | None:
        """The title of the nearest concept, if that is near; never that of the one with the texts ``instead_of``."""
        from rapidfuzz import fuzz, process

        # The words are sorted once, here, instead of for every pair as token_sort_ratio would.
        query = _sorted_words(title, description)
        own = None if instead_of is None else _sorted_words(*instead_of)
        places = [place for place in self._candidates(query) if self._words[place] != own]
        found = process.extractOne(
            query, [self._words[place] for place in places], scorer=fuzz.ratio, score_cutoff=NEAR
        )
        return None if found is None else self._titles[places[found[2]]]

    def _candidates(self, words: str) -> list[int]:
        """The places of those that may be near."""
        numpy = self._np
        signature = self._signature(words)
        shared = numpy.bitwise_count(self._signatures[: len(self._words)] & signature).sum(axis=1, dtype=numpy.uint16)
        found: list[int] = numpy.flatnonzero(shared * 2 >= numpy.bitwise_count(signature).sum()).tolist()
        return found

    def _signature(self, words: str) -> NDArray[np.uint64]:
        numpy = self._np
        letters = numpy.frombuffer(words.encode("utf-32-le", "surrogatepass"), dtype=numpy.uint32)
        bits = numpy.zeros(SIGNATURE_BITS, dtype=bool)
        # Two primes, so that the same letters in another order are another three.
        bits[(letters[:-2] * 40_503 + letters[1:-1] * 257 + letters[2:]) % SIGNATURE_BITS] = True
        packed: NDArray[np.uint64] = numpy.packbits(bits).view(numpy.uint64)
        return packed


def _name(title: str, description: str) -> int:
    return hash(_plain(f"{title} {description}"))


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _sorted_words(title: str, description: str) -> str:
    return " ".join(sorted(_plain(f"{title} {description}").split()))
