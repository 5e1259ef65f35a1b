"""All the tokens that the traits and their constraints leave, counted and listed without trying them one by one.

A token is a tuple with the position of its value for every trait. A constraint is a box: a set of positions per trait
(None = any); a token inside a box is forbidden. Counting goes trait by trait and only remembers which boxes a token is
still inside of, which few tokens differ in.
Invariant: nothing here grows with the number of tokens, except a list that was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

Token = tuple[int, ...]
Box = tuple[frozenset[int] | None, ...]


class Space:
    """The tokens outside of all boxes, in lexicographic order."""

    def __init__(self, sizes: Sequence[int], boxes: Sequence[Box] = ()) -> None:
        self.sizes = tuple(sizes)
        #: Trait -> value -> the boxes (bits) that a token with it may still be inside of.
        self.inside = tuple(
            tuple(
                sum(1 << bit for bit, box in enumerate(boxes) if (named := box[trait]) is None or value in named)
                for value in range(size)
            )
            for trait, size in enumerate(self.sizes)
        )
        self.boxes = len(boxes)
        #: Inside of every box, as a token is before it has any value.
        self._all = (1 << self.boxes) - 1
        #: A token's number among all combinations, allowed or not: the sum of value times stride.
        strides: list[int] = []
        step = 1
        for size in reversed(self.sizes):
            strides.append(step)
            step *= size
        self.strides: tuple[int, ...] = tuple(reversed(strides))
        self.combinations = step
        self._rest = cache(self._count_rest)

    def allows(self, token: Sequence[int]) -> bool:
        alive = self._all
        for inside, value in zip(self.inside, token, strict=True):
            alive &= inside[value]
        return not alive

    def code(self, token: Sequence[int]) -> int:
        """The number of a token among all combinations."""
        return sum(value * stride for value, stride in zip(token, self.strides, strict=True))

    def decode(self, code: int) -> Token:
        """The token of a number."""
        return tuple(code // stride % size for stride, size in zip(self.strides, self.sizes, strict=True))

    def count(self) -> int:
        """How many tokens there are."""
        return self._rest(0, self._all)

    def marginals(self) -> list[list[int]]:
        """Trait -> value -> how many tokens have it."""
        found, ways = [], {self._all: 1}
        for trait in range(len(self.sizes)):
            found.append(self._per_value(trait, ways))
            ways = self._step(trait, ways)
        return found

    def pair(self, first: int, second: int) -> list[list[int]]:
        """Value of ``first`` -> value of the later trait ``second`` -> how many tokens have both."""
        ways = {self._all: 1}
        for trait in range(first):
            ways = self._step(trait, ways)
        table = []
        for value in range(self.sizes[first]):
            with_it: dict[int, int] = {}
            for alive, number in ways.items():
                after = alive & self.inside[first][value]
                with_it[after] = with_it.get(after, 0) + number
            for trait in range(first + 1, second):
                with_it = self._step(trait, with_it)
            table.append(self._per_value(second, with_it))
        return table

    def token(self, rank: int) -> Token:
        """The token of that rank, from 0."""
        alive, chosen = self._all, []
        for trait, size in enumerate(self.sizes):
            for value in range(size):
                after = alive & self.inside[trait][value]
                below = self._rest(trait + 1, after)
                if rank < below:
                    break
                rank -= below
            else:
                raise IndexError("there is no token of that rank")
            alive = after
            chosen.append(value)
        return tuple(chosen)

    def __iter__(self) -> Iterator[Token]:
        return self._walk((), self._all)

    def _walk(self, start: Token, alive: int) -> Iterator[Token]:
        trait = len(start)
        if trait == len(self.sizes):
            yield start
            return
        for value in range(self.sizes[trait]):
            after = alive & self.inside[trait][value]
            if self._rest(trait + 1, after):
                yield from self._walk((*start, value), after)

    def _count_rest(self, trait: int, alive: int) -> int:
        """How many ways there are to go on from ``trait``, inside of these boxes so far."""
        if trait == len(self.sizes):
            return 0 if alive else 1
        return sum(self._rest(trait + 1, alive & inside) for inside in self.inside[trait])

    def _step(self, trait: int, ways: dict[int, int]) -> dict[int, int]:
        after: dict[int, int] = {}
        for alive, number in ways.items():
            for inside in self.inside[trait]:
                after[alive & inside] = after.get(alive & inside, 0) + number
        return after

    def _per_value(self, trait: int, ways: dict[int, int]) -> list[int]:
        return [
            sum(number * self._rest(trait + 1, alive & inside) for alive, number in ways.items())
            for inside in self.inside[trait]
        ]
