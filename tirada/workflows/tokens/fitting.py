"""How likely each of a list of tokens is to be chosen, so that values come in the numbers wanted, or as near as can be.

Of all ways to choose, the one of the greatest entropy: a token's chance is the logistic function of a sum of one weight
per value. Numbers that no choice of distinct tokens can have are missed by the least sum of squares: the weights carry
a small penalty, which comes to exactly that (the dual of a projection, solved by Newton's method).
Invariant: chances are between 0 and 1, and depend on nothing but the arguments.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from tirada.workflows.tokens.quotas import apportion
from tirada.workflows.tokens.space import Token
from tirada.workflows.tokens.supply import Counts

Reals = NDArray[np.float64]
#: A number misses its goal by this times its weight; weights are rarely beyond 20.
PENALTY, PENALTY_FIXED = 0.01, 0.00001
EASES = (10_000, 1_000, 100, 10, 1)
STEPS = 40


class Fit:
    """The chances of ``tokens``, and the numbers of values they come to."""

    def __init__(self, tokens: Sequence[Token], wanted: Counts, fixed: Sequence[Collection[int]]) -> None:
        self._sizes = [len(row) for row in wanted]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        # The last column is the same for every token: its weight sees to it that there are as many as wanted.
        self._cells = np.array([(*token, 0) for token in tokens], dtype=np.int64) + self._starts
        self._goal = np.array([*(number for row in wanted for number in row), sum(wanted[0])], dtype=np.float64)
        free = [value not in values for size, values in zip(self._sizes, fixed, strict=True) for value in range(size)]
        self._least = np.array([PENALTY if is_free else PENALTY_FIXED for is_free in [*free, False]])
        self._penalty = self._least
        self.chances = self._solve()
        self.numbers = self._sums(self.chances)

    def bent(self, wanted: Counts, fixed: Sequence[Collection[int]], having: Counts) -> Counts:
        """The numbers wanted, or where they cannot be, whole ones that can; ``having`` are the most of each value."""
        found = []
        for trait, row in enumerate(wanted):
            reached = self.numbers[self._starts[trait] : self._starts[trait + 1]]
            near = [
                number if value in fixed[trait] or abs(number - reached[value]) < 0.5 else -1
                for value, number in enumerate(row)
            ]
            low = [max(number, 0) for number in near]
            high = [most if number < 0 else number for number, most in zip(near, having[trait], strict=True)]
            if not sum(low) <= sum(row) <= sum(high):
                low = [number if value in fixed[trait] else 0 for value, number in enumerate(row)]
                high = [
                    number if value in fixed[trait] else most
                    for value, (number, most) in enumerate(zip(row, having[trait], strict=True))
                ]
            found.append(apportion(sum(row), reached.tolist(), low, high))
        return found

    def _solve(self) -> Reals:
        """Under a penalty that grows smaller as long as Newton's method follows."""
        weights = np.zeros(len(self._goal))
        chances = self._value(weights)[1]
        for ease in EASES:
            self._penalty = ease * self._least
            found = self._climb(weights)
            if found is None:
                break
            weights, chances = found
        return chances

    def _climb(self, weights: Reals) -> tuple[Reals, Reals] | None:
        """(weights, chances) of the highest value from here; None where that is not reached in time."""
        value, chances = self._value(weights)
        for _ in range(STEPS):
            slope = self._goal - self._sums(chances) - self._penalty * weights
            if np.abs(slope).max() < 0.02:
                return weights, chances
            step = np.linalg.solve(self._curvature(chances), slope)
            size, gain = 1.0, float(slope @ step)
            new_value, new_chances = self._value(weights + step)
            while new_value < value + 1e-4 * size * gain and size > 1e-4:
                size /= 2
                new_value, new_chances = self._value(weights + size * step)
            weights, value, chances = weights + size * step, new_value, new_chances
        return None

    def _value(self, weights: Reals) -> tuple[float, Reals]:
        """(what is to be as large as possible, the chances)."""
        logits = np.clip(weights[self._cells].sum(axis=1), -500, 500)
        value = self._goal @ weights - np.logaddexp(0, logits).sum() - (self._penalty * weights**2).sum() / 2
        return float(value), 1 / (1 + np.exp(-logits))

    def _sums(self, chances: Reals) -> Reals:
        size = len(self._goal)
        sums: Reals = np.zeros(size)
        for column in self._cells.T:
            sums += np.bincount(column, weights=chances, minlength=size)
        return sums

    def _curvature(self, chances: Reals) -> Reals:
        size = len(self._goal)
        spread = chances * (1 - chances)
        table = np.zeros((size, size))
        columns = list(self._cells.T)
        for i, first in enumerate(columns):
            for second in columns[i:]:
                both = np.bincount(first * size + second, weights=spread, minlength=size * size).reshape(size, size)
                table += both if second is first else both + both.T
        table[np.diag_indices(size)] += self._penalty
        return table
