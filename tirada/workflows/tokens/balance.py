"""Putting the numbers of values right in a set of tokens, by exchanging tokens for free ones.

Invariant: the set stays as large as it is, its tokens allowed, free of those taken, and distinct; what it misses of the
numbers wanted never grows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tirada.workflows.tokens.space import Token
from tirada.workflows.tokens.supply import Counts, Supply

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: Boxes that fit into a machine word.
WORD = 62
#: What missing a fixed number counts beside one that follows from weights.
FIXED = 1_000
#: Rounds without success after which it stays as it is: where all fixed numbers are met, and where one is not; then
#: more for small sets, which cost nothing.
ROUNDS, ROUNDS_FIXED, ROUNDS_MOST, WORK = 8, 60, 400, 40_000
#: Tokens looked at for a change of two values at once.
LOOKED_AT = 1_000
#: Tokens of a value looked at first for a change of one.
FEW = 100


class Balance:
    """A set of tokens on its way to the numbers wanted."""

    def __init__(self, supply: Supply, tokens: Sequence[Token], fixed: Sequence[Collection[int]], seed: int) -> None:
        space = supply.space
        self._sizes, self._strides = space.sizes, space.strides
        self._inside = [_words(inside, space.boxes) for inside in space.inside]
        self._rows: Numbers = np.array(tokens, dtype=np.int64, order="F")
        self._codes: Numbers = self._rows @ np.array(self._strides, dtype=np.int64)
        self._taken: Numbers = np.array(sorted(map(space.code, supply.taken)), dtype=np.int64)
        self._cost = [
            np.array([FIXED if value in values else 1 for value in range(size)], dtype=np.int64)
            for size, values in zip(self._sizes, fixed, strict=True)
        ]
        self._rng = np.random.default_rng(seed)
        self._sorted()

    def tokens(self) -> list[Token]:
        return [tuple(row) for row in self._rows.tolist()]

    def settle(self, wanted: Counts, rounds: int = ROUNDS) -> None:
        """Come as near to these numbers as can be found from where it is, in about so many rounds where all fixed
        numbers are met; as many as it takes where they are not."""
        self._aim(wanted)
        self._improve()
        idle, left, missing = 0, rounds + self._small(), self._missing()
        while missing and (left > 0 or not self.fixed_are_met()):
            if idle >= (max(ROUNDS, self._small() // 2) if self.fixed_are_met() else max(ROUNDS_FIXED, self._small())):
                return
            self._wander()
            self._improve()
            idle = 0 if self._missing() < missing else idle + 1
            left, missing = left - 1, self._missing()

    def fixed_are_met(self) -> bool:
        """Whether the numbers that matter most are what was wanted last."""
        return not any(off[cost == FIXED].any() for off, cost in zip(self._off, self._cost, strict=True))

    def _small(self) -> int:
        """Rounds that cost next to nothing, because the set is small."""
        return min(WORK // len(self._rows), ROUNDS_MOST)

    def _aim(self, wanted: Counts) -> None:
        self._off = [
            np.bincount(self._rows[:, trait], minlength=size) - np.array(wanted[trait], dtype=np.int64)
            for trait, size in enumerate(self._sizes)
        ]

    def _missing(self) -> int:
        return int(sum((np.abs(off) * cost).sum() for off, cost in zip(self._off, self._cost, strict=True)))

    def _improve(self) -> None:
        several = range(len(self._sizes))
        while any(self._along_paths(trait) for trait in several) or self._two_at_once():
            pass

    # --- one trait ------------------------------------------------------------------------------------------------

    def _along_paths(self, trait: int) -> bool:
        """Move tokens from values to others, in chains, as long as that helps; True where it did."""
        helped = False
        while (path := self._path(trait)) is not None:
            for row, value in path:
                self._set(row, trait, value)
            helped = True
        return helped

    def _path(self, trait: int) -> list[tuple[int, int]] | None:
        """(token, its new value) along a chain of moves that helps most; the moves of a chain do not get in each
        other's way, because each leads to a value of its own."""
        give, take = self._prices(trait)
        have = np.bincount(self._rows[:, trait], minlength=self._sizes[trait]) > 0
        prices = [price for price in sorted(set(give[have].tolist())) if price + take.min() < 0]
        # A few tokens of each value show a way nearly always.
        for most in (FEW, len(self._rows)):
            for price in prices:
                before = self._reach(trait, [int(v) for v in np.flatnonzero(have & (give == price))], take, most)
                ends = [value for value, (row, _) in before.items() if row >= 0]
                end = min(ends, key=lambda value: (take[value], value), default=None)
                if end is not None and price + take[end] < 0:
                    return _chain(before, end)
        return None

    def _reach(self, trait: int, starts: list[int], take: Numbers, most: int) -> dict[int, tuple[int, int]]:
        """Value -> (the token that moves to it, the value it comes from), by breadth first; -1 for the starts. So many
        tokens of each value are looked at."""
        before = dict.fromkeys(starts, (-1, -1))
        queue, best = list(starts), take.min()
        for value in queue:
            rows = self._rng.permutation(np.flatnonzero(self._rows[:, trait] == value))[:most]
            open_ = self._open(rows, trait)
            open_[:, list(before)] = False
            for target in np.flatnonzero(open_.any(axis=0)).tolist():
                before[target] = (int(rows[int(np.argmax(open_[:, target]))]), value)
                queue.append(target)
                if take[target] == best:
                    return before
        return before

    def _open(self, rows: Numbers, trait: int) -> Flags:
        """Token x value -> whether the token can have that value of the trait instead."""
        inside = self._inside_without(rows, (trait,))
        allowed = ~(inside[:, None, :] & self._inside[trait][None, :, :]).any(axis=2)
        values = np.arange(self._sizes[trait])
        codes = self._codes[rows, None] + (values[None, :] - self._rows[rows, trait, None]) * self._strides[trait]
        return np.asarray(allowed & self._is_free(codes))

    # --- two traits -----------------------------------------------------------------------------------------------

    def _two_at_once(self) -> bool:
        """Change two values of one token, where changing one does not help; True where that helped."""
        for first in range(len(self._sizes)):
            for second in range(len(self._sizes)):
                if first != second and self._two(first, second):
                    return True
        return False

    def _two(self, first: int, second: int) -> bool:
        give, take = self._prices(first)
        give2, take2 = self._prices(second)
        for value in np.flatnonzero(take < 0).tolist():
            price = give[self._rows[:, first]] + take[value] + give2[self._rows[:, second]]
            rows = np.flatnonzero((self._rows[:, first] != value) & (price + take2.min() < 0))
            rows = self._rng.permutation(rows)[:LOOKED_AT]
            if not len(rows):
                continue
            inside = self._inside_without(rows, (first, second)) & self._inside[first][value]
            allowed = ~(inside[:, None, :] & self._inside[second][None, :, :]).any(axis=2)
            step = (value - self._rows[rows, first]) * self._strides[first]
            values = np.arange(self._sizes[second])
            step2 = (values[None, :] - self._rows[rows, second, None]) * self._strides[second]
            open_ = allowed & self._is_free((self._codes[rows] + step)[:, None] + step2)
            open_ &= values[None, :] != self._rows[rows, second, None]
            total = np.where(open_, price[rows, None] + take2[None, :], 0)
            best = int(np.argmin(total))
            row, other = divmod(best, self._sizes[second])
            if total[row, other] < 0:
                self._set(int(rows[row]), first, value)
                self._set(int(rows[row]), second, other)
                return True
        return False

    # --- elsewhere ------------------------------------------------------------------------------------------------

    def _wander(self) -> None:
        """Become another set that misses as much: tokens swap values, and what is missing goes to other values."""
        self._swap_some()
        for _ in range(min(len(self._rows), 30)):
            row, trait = int(self._rng.integers(len(self._rows))), int(self._rng.integers(len(self._sizes)))
            give, take = self._prices(trait)
            even = give[self._rows[row, trait]] + take == 0
            even[self._rows[row, trait]] = False
            values = np.flatnonzero(even & self._open(np.array([row]), trait)[0])
            if len(values):
                self._set(row, trait, int(self._rng.choice(values)))

    def _swap_some(self) -> None:
        """Random pairs exchange a value where both results are free and allowed."""
        trait = int(self._rng.integers(len(self._sizes)))
        order = self._rng.permutation(len(self._rows))
        half = len(order) // 2
        one, other = order[:half], order[half : 2 * half]
        step = (self._rows[other, trait] - self._rows[one, trait]) * self._strides[trait]
        codes, codes2 = self._codes[one] + step, self._codes[other] - step
        good = (step != 0) & self._is_free(codes) & self._is_free(codes2)
        for rows, partner in ((one, other), (other, one)):
            inside = self._inside_without(rows, (trait,)) & self._inside[trait][self._rows[partner, trait]]
            good &= ~inside.any(axis=1)
        _, first, times = np.unique(np.concatenate([codes, codes2]), return_index=True, return_counts=True)
        alone = np.zeros(2 * half, dtype=bool)
        alone[first[times == 1]] = True
        one, other = (rows[good & alone[:half] & alone[half:]] for rows in (one, other))
        self._rows[one, trait], self._rows[other, trait] = self._rows[other, trait], self._rows[one, trait]
        self._codes = self._rows @ np.array(self._strides, dtype=np.int64)
        self._sorted()

    # --- shared ---------------------------------------------------------------------------------------------------

    def _prices(self, trait: int) -> tuple[Numbers, Numbers]:
        """(what it costs that a value has one token less, one more)."""
        off, cost = self._off[trait], self._cost[trait]
        return np.where(off > 0, -cost, cost), np.where(off < 0, -cost, cost)

    def _inside_without(self, rows: Numbers, traits: Collection[int]) -> Numbers:
        """The boxes that tokens may be inside of by their other traits: token x word."""
        inside = np.full((len(rows), self._inside[0].shape[1]), -1, dtype=np.int64)
        for trait in range(len(self._sizes)):
            if trait not in traits:
                inside &= self._inside[trait][self._rows[rows, trait]]
        return inside

    def _is_free(self, codes: Numbers) -> Flags:
        return ~(_among(codes, self._order) | _among(codes, self._taken))

    def _set(self, row: int, trait: int, value: int) -> None:
        old, code = int(self._rows[row, trait]), int(self._codes[row])
        self._off[trait][old] -= 1
        self._off[trait][value] += 1
        self._rows[row, trait] = value
        self._codes[row] += (value - old) * self._strides[trait]
        self._move(code, int(self._codes[row]))

    def _move(self, code: int, to: int) -> None:
        """Keep the sorted codes sorted: those between the old place and the new one move up by one."""
        order = self._order
        start, end = (int(place) for place in np.searchsorted(order, (code, to)))
        if start < end:
            order[start : end - 1] = order[start + 1 : end]
            order[end - 1] = to
        else:
            order[end + 1 : start + 1] = order[end:start]
            order[end] = to

    def _sorted(self) -> None:
        self._order: Numbers = np.sort(self._codes)


def _chain(before: dict[int, tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """The moves that lead to a value, the last one first."""
    moves = []
    while before[end][0] >= 0:
        row, start = before[end]
        moves.append((row, end))
        end = start
    return moves


def _among(codes: Numbers, known: Numbers) -> Flags:
    """Which of the codes are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(codes.shape, dtype=bool)
    places = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.asarray(known[places] == codes)


def _words(inside: Sequence[int], boxes: int) -> Numbers:
    """Sets of boxes as machine words: value x word."""
    words = max(1, -(-boxes // WORD))
    mask = (1 << WORD) - 1
    return np.array([[bits >> WORD * word & mask for word in range(words)] for bits in inside], dtype=np.int64)
