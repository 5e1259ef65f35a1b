"""The tokens that a collection can be made of, and in what numbers values can be had of them.

Invariant: nothing here lists the tokens; they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tirada.workflows.tokens.space import Space, Token

Counts = list[list[int]]


@dataclass(frozen=True, slots=True)
class Trait:
    """What a message says of a trait: its name, those of its values, and what is behind their constraints."""

    name: str
    values: Sequence[str]
    #: (value, name of another trait, why the two cannot always be together).
    reasons: Sequence[tuple[int, str, str]] = ()

    def say(self, value: int) -> str:
        return f"{self.name}={self.values[value]}"


class Supply:
    """The tokens still to be had: those of the space, without the ones that are taken."""

    def __init__(self, space: Space, taken: Sequence[Token] = ()) -> None:
        self.space = space
        self.taken = sorted({tuple(token) for token in taken if space.allows(token)})
        self.total = space.count() - len(self.taken)
        self.marginals = space.marginals()
        for token in self.taken:
            for trait, value in enumerate(token):
                self.marginals[trait][value] -= 1

    def pair(self, first: int, second: int) -> Counts:
        """Value of ``first`` -> value of ``second`` -> how many tokens have both."""
        low, high = sorted((first, second))
        table = self.space.pair(low, high)
        for token in self.taken:
            table[token[low]][token[high]] -= 1
        return table if first < second else [list(column) for column in zip(*table, strict=True)]


def bounds(supply: Supply, count: int, trait: int) -> tuple[list[int], list[int]]:
    """(least, most) tokens of ``count`` that can have each value of a trait."""
    having = supply.marginals[trait]
    return [max(0, count - (supply.total - number)) for number in having], [min(count, number) for number in having]
