"""From weights and wishes to a number for every value of every trait.

Weights become counts by the largest remainder, within what the tokens that there are allow; a quota that was asked for
is taken as it is, or refused with the reason.
Invariant: the counts of every trait add up to the number of tokens.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tirada.errors import UsageError
from tirada.workflows.tokens.objections import lonely_faults, paired_faults, too_many
from tirada.workflows.tokens.supply import Counts, Supply, Trait, bounds


def targets(
    supply: Supply,
    count: int,
    shares: Sequence[Sequence[float]],
    wishes: Sequence[Mapping[int, int]],
    traits: Sequence[Trait],
    seed: int = 0,
) -> Counts:
    """How many of ``count`` tokens are to have each value. ``shares`` are weights, ``wishes`` quotas by value; among
    values with equal claims to a last token the seed decides.

    Raises UsageError for wishes that cannot be met, each with its reason. What it lets through can still turn out to be
    impossible in the play of three traits or more.
    """
    if count > supply.total:
        raise UsageError(too_many(supply, count))
    faults: list[str] = []
    for trait, wished in enumerate(wishes):
        faults += lonely_faults(supply, count, trait, wished, traits[trait])
    if not faults:
        faults = paired_faults(supply, count, wishes, traits)
    if faults:
        raise UsageError("\n".join(faults))
    limits = [bounds(supply, count, trait) for trait in range(len(traits))]
    for (low, high), wished in zip(limits, wishes, strict=True):
        for value, wanted in wished.items():
            low[value] = high[value] = wanted
    if any(wishes):
        _tighten(supply, count, limits)
    found = []
    for trait, ideal in enumerate(by_weight(count, shares, wishes, seed)):
        low, high = limits[trait]
        fits = all(least <= seats <= most for least, seats, most in zip(low, ideal, high, strict=True))
        found.append(ideal if fits else apportion(count, shares[trait], low, high, f"{seed}/{trait}"))
    return found


def by_weight(
    count: int, shares: Sequence[Sequence[float]], wishes: Sequence[Mapping[int, int]], seed: int = 0
) -> Counts:
    """What ``targets`` would be if any token could be had any number of times."""
    found = []
    for trait, (weights, wished) in enumerate(zip(shares, wishes, strict=True)):
        low = [wished.get(value, 0) for value in range(len(weights))]
        high = [wished.get(value, count) for value in range(len(weights))]
        found.append(apportion(count, weights, low, high, f"{seed}/{trait}"))
    return found


def _tighten(supply: Supply, count: int, limits: Sequence[tuple[list[int], list[int]]]) -> None:
    """Bring the limits of each trait to what those of the others leave it, pair by pair, until nothing changes."""
    several = range(len(limits))
    tables = {(one, other): supply.pair(one, other) for one in several for other in several if one != other}
    for _ in range(10):
        before = [(list(low), list(high)) for low, high in limits]
        for (one, other), table in tables.items():
            _tighten_pair(count, limits[one], limits[other], table)
        if before == [(low, high) for low, high in limits]:
            return


def _tighten_pair(
    count: int, own: tuple[list[int], list[int]], others: tuple[list[int], list[int]], table: Counts
) -> None:
    """``table``: value of this trait -> value of the other -> how many tokens have both."""
    low, high = own
    having = [sum(column) for column in zip(*table, strict=True)]
    for value, row in enumerate(table):
        with_it, without, must_with, must_without = 0, 0, 0, 0
        for both, whole, least, most in zip(row, having, *others, strict=True):
            with_it += min(most, both)
            without += min(most, whole - both)
            must_with += max(0, least - (whole - both))
            must_without += max(0, least - both)
        least = max(low[value], count - without, must_with)
        most = min(high[value], with_it, count - must_without)
        if least <= most:
            low[value], high[value] = least, most


def apportion(
    count: int, weights: Sequence[float], low: Sequence[int], high: Sequence[int], lot: str = ""
) -> list[int]:
    """``count`` seats by weight, each party having at least ``low`` and at most ``high`` of them; ``lot`` breaks ties.

    The method of the largest remainder (Hamilton); the bounds are kept by scaling all weights until what they come to
    within the bounds adds up. ``sum(low) <= count <= sum(high)`` is required.
    """
    if not sum(low) <= count <= sum(high):
        raise ValueError(f"{count} seats do not fit between {sum(low)} and {sum(high)}")
    scale = _scale(count, weights, low, high)
    exact = [min(max(weight * scale, least), most) for weight, least, most in zip(weights, low, high, strict=True)]
    seats = [min(max(int(share + 1e-9), least), most) for share, least, most in zip(exact, low, high, strict=True)]
    lots = list(range(len(seats)))
    random.Random(lot).shuffle(lots)
    by_rest = sorted(range(len(seats)), key=lambda i: (round(seats[i] - exact[i], 9), -weights[i], lots[i]))
    while (left := count - sum(seats)) > 0:
        # More than one round only where parties without weight have to take seats.
        for i in [i for i in by_rest if seats[i] < high[i]][:left]:
            seats[i] += 1
    for i in reversed(by_rest):
        if sum(seats) == count:
            break
        seats[i] -= min(seats[i] - low[i], sum(seats) - count)
    return seats


def _scale(count: int, weights: Sequence[float], low: Sequence[int], high: Sequence[int]) -> float:
    """Seats per weight, so that all within their bounds come to ``count``, or as near below as they can."""

    def seats(scale: float) -> float:
        return sum(min(max(w * scale, least), most) for w, least, most in zip(weights, low, high, strict=True))

    positive = [weight for weight in weights if weight > 0]
    if not positive:
        return 0.0
    under, over = 0.0, (count + 1) / min(positive)
    for _ in range(200):
        middle = (under + over) / 2
        under, over = (middle, over) if seats(middle) < count else (under, middle)
    return over
