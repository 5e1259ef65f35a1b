"""Which tokens a collection has: all different, none forbidden or taken, with a given number of each value.

The values are dealt out in the very numbers that are wanted, and rows that cannot be are mended by swapping values with
other rows, which keeps all numbers. What is too crowded for that is filled up with free tokens, and the numbers are put
right along shortest paths in the graph of moves (``balance``): an arc leads from a value to another where some token
can change the one for the other. Where the tokens can be listed, those to begin with are drawn by chances that come to
the numbers already (``fitting``). More than half of all tokens are chosen by choosing those to leave out.
Invariant: the tokens returned are allowed, free and distinct whatever was wanted; only numbers can miss, and where a
number that is fixed misses, nothing better was found.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence

from tirada.workflows.tokens.space import Token
from tirada.workflows.tokens.supply import Counts, Supply

#: Listing a space of so many tokens takes less than a second.
LISTED = 200_000
#: Swaps that are tried for each token at most, and in all at least; fewer where the space is listed for a better way.
TRIES, TRIES_LISTED, TRIES_LEAST = 10, 2, 50_000
#: Tries without success after which swapping is given up.
PATIENCE = 20_000


def choose(supply: Supply, count: int, wanted: Counts, fixed: Sequence[Collection[int]], seed: int) -> list[Token]:
    """``count`` tokens in random order; ``fixed`` are the values, per trait, whose numbers matter most.

    The same arguments give the same tokens. ``count`` is at most ``supply.total``.
    """
    rng = random.Random(f"{seed}/tokens")
    if 2 * count <= supply.total:
        chosen = _choose_few(supply, wanted, fixed, rng)
    else:
        having = supply.marginals
        rest = [[all_ - some for all_, some in zip(*pair, strict=True)] for pair in zip(having, wanted, strict=True)]
        out = set(_choose_few(supply, rest, fixed, rng))
        chosen = [token for token in _free(supply) if token not in out]
    rng.shuffle(chosen)
    return chosen


def numbers(tokens: Sequence[Token], sizes: Sequence[int]) -> Counts:
    """Trait -> value -> how many of the tokens have it."""
    found = [Counter(column) for column in zip(*tokens, strict=True)] or [Counter() for _ in sizes]
    return [[counter[value] for value in range(size)] for counter, size in zip(found, sizes, strict=True)]


def _free(supply: Supply) -> list[Token]:
    taken = set(supply.taken)
    return [token for token in supply.space if token not in taken]


def _choose_few(supply: Supply, wanted: Counts, fixed: Sequence[Collection[int]], rng: random.Random) -> list[Token]:
    """At most half of the tokens there are, so that a free one is never far."""
    count = sum(wanted[0])
    if count == 0:
        return []
    swaps = _Swaps(supply, wanted, rng)
    size = supply.space.count()
    listed = size <= LISTED or 2 * supply.total < size
    swaps.mend(TRIES_LISTED if listed else TRIES)
    sound = swaps.sound()
    if len(sound) == count:
        return sound
    from tirada.workflows.tokens.balance import Balance

    if supply.total <= LISTED:
        return _choose_listed(supply, wanted, fixed, rng)
    start = _completed(sound, _free(supply), count, rng) if listed else _fill_up(supply, sound, count, rng)
    balance = Balance(supply, start, fixed, rng.getrandbits(64))
    balance.settle(wanted)
    return balance.tokens()


def _choose_listed(supply: Supply, wanted: Counts, fixed: Sequence[Collection[int]], rng: random.Random) -> list[Token]:
    """Begin with tokens drawn by chances that come to the numbers; where a fixed one cannot be reached from there, with
    those of the highest chances, which is the only choice there is when numbers are at the edge of what can be."""
    from tirada.workflows.tokens.balance import ROUNDS, Balance
    from tirada.workflows.tokens.fitting import Fit

    free, count = _free(supply), sum(wanted[0])
    fit = Fit(free, wanted, fixed)
    near = fit.bent(wanted, fixed, supply.marginals)
    for draw in (_drawn, _likeliest):
        start = _completed(draw(free, fit.chances.tolist(), count, rng), free, count, rng)
        balance = Balance(supply, start, fixed, rng.getrandbits(64))
        if near != wanted:
            balance.settle(near)
        balance.settle(wanted, rounds=ROUNDS if near == wanted else 0)
        if balance.fixed_are_met():
            break
    return balance.tokens()


def _drawn(free: list[Token], chances: list[float], count: int, rng: random.Random) -> list[Token]:
    """Systematic sampling: equal steps along the sum of the chances, over tokens in their order, which spreads them."""
    point, reached, chosen = rng.random(), 0.0, []
    for token, chance in zip(free, chances, strict=True):
        reached += chance
        if reached > point:
            chosen.append(token)
            point += 1
    return chosen[:count]


def _likeliest(free: list[Token], chances: list[float], count: int, rng: random.Random) -> list[Token]:
    order = sorted(range(len(free)), key=lambda i: (-chances[i], rng.random()))
    return [free[i] for i in order[:count]]


def _completed(chosen: list[Token], free: list[Token], count: int, rng: random.Random) -> list[Token]:
    have = set(chosen)
    return chosen + rng.sample([token for token in free if token not in have], count - len(chosen))


def _fill_up(supply: Supply, sound: list[Token], count: int, rng: random.Random) -> list[Token]:
    """Any free tokens beside the ones there are, until there are ``count``."""
    have = {*sound, *supply.taken}
    filled = list(sound)
    size = supply.space.count()
    while len(filled) < count:
        token = supply.space.token(rng.randrange(size))
        if token not in have:
            have.add(token)
            filled.append(token)
    return filled


class _Swaps:
    """Rows with the numbers that are wanted, and what is wrong with them."""

    def __init__(self, supply: Supply, wanted: Counts, rng: random.Random) -> None:
        self._space, self._rng = supply.space, rng
        self._taken = {supply.space.code(token) for token in supply.taken}
        columns: list[list[int]] = []
        for row in wanted:
            column = [value for value, number in enumerate(row) for _ in range(number)]
            rng.shuffle(column)
            columns.append(column)
        self._rows: list[list[int]] = [list(row) for row in zip(*columns, strict=True)]
        self._codes = [supply.space.code(row) for row in self._rows]
        self._held = Counter(self._codes)

    def mend(self, tries: int) -> None:
        """Swap values between rows until none is wrong, or nothing has helped for long; so many tries per row."""
        pick, idle, left = self._rng.random, 0, TRIES_LEAST + tries * len(self._rows)
        wrong = [i for i in range(len(self._rows)) if self._is_wrong(i)]
        while wrong and idle < PATIENCE and left:
            place = int(pick() * len(wrong))
            row = wrong[place]
            if not self._is_wrong(row):
                wrong[place] = wrong[-1]
                wrong.pop()
                continue
            partner, trait = int(pick() * len(self._rows)), int(pick() * len(self._rows[0]))
            gain = self._swap(row, partner, trait)
            idle, left = 0 if gain else idle + 1, left - 1
            if gain is not None and self._is_wrong(partner):
                wrong.append(partner)

    def sound(self) -> list[Token]:
        """The rows that nothing is wrong with, one of each."""
        tokens = dict.fromkeys(
            tuple(row)
            for row, code in zip(self._rows, self._codes, strict=True)
            if code not in self._taken and self._space.allows(row)
        )
        return list(tokens)

    def _is_wrong(self, i: int) -> bool:
        code = self._codes[i]
        return self._held[code] > 1 or code in self._taken or not self._space.allows(self._rows[i])

    def _swap(self, i: int, j: int, trait: int) -> int | None:
        """Exchange a value of two rows where that makes fewer wrong, or sometimes as many: how many fewer those are."""
        one, other = self._rows[i], self._rows[j]
        a, b = one[trait], other[trait]
        if a == b:
            return None
        step = (b - a) * self._space.strides[trait]
        new_i, new_j = self._codes[i] + step, self._codes[j] - step
        before = int(self._is_wrong(i)) + int(self._is_wrong(j))
        one[trait], other[trait] = b, a
        after = self._would_be_wrong(new_i, one) + self._would_be_wrong(new_j, other) + (new_i == new_j)
        if after > before or (after == before and self._rng.random() > 0.05):
            one[trait], other[trait] = a, b
            return None
        self._held.subtract((self._codes[i], self._codes[j]))
        self._held.update((new_i, new_j))
        self._codes[i], self._codes[j] = new_i, new_j
        return before - after

    def _would_be_wrong(self, code: int, row: Sequence[int]) -> bool:
        return self._held[code] > 0 or code in self._taken or not self._space.allows(row)
