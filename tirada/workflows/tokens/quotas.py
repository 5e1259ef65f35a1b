"""From weights and wishes to a number for every value of every trait, and why a wish cannot be.

Weights become counts by the largest remainder, within what the tokens that there are allow; a quota that was asked for
is taken as it is, or refused with the reason.
Invariant: the counts of every trait add up to the number of tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tirada.errors import UsageError
from tirada.workflows.tokens.space import Space, Token

Counts = list[list[int]]


@dataclass(frozen=True, slots=True)
class Trait:
    """What a message says of a trait: its name, and those of its values."""

    name: str
    values: Sequence[str]

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


def targets(
    supply: Supply,
    count: int,
    shares: Sequence[Sequence[float]],
    wishes: Sequence[Mapping[int, int]],
    traits: Sequence[Trait],
) -> Counts:
    """How many of ``count`` tokens are to have each value. ``shares`` are weights, ``wishes`` quotas by value.

    Raises UsageError for wishes that cannot be met, each with its reason. What it lets through can still turn out to be
    impossible in the play of three traits or more.
    """
    if count > supply.total:
        raise UsageError(_too_many(supply, count))
    faults: list[str] = []
    for trait, wished in enumerate(wishes):
        faults += _lonely_faults(supply, count, trait, wished, traits[trait])
    if not faults:
        faults = _paired_faults(supply, count, wishes, traits)
    if faults:
        raise UsageError("\n".join(faults))
    limits = [bounds(supply, count, trait) for trait in range(len(traits))]
    for (low, high), wished in zip(limits, wishes, strict=True):
        for value, wanted in wished.items():
            low[value] = high[value] = wanted
    if any(wishes):
        _tighten(supply, count, limits)
    return [apportion(count, weights, low, high) for weights, (low, high) in zip(shares, limits, strict=True)]


def by_weight(count: int, weights: Sequence[float], wished: Mapping[int, int]) -> list[int]:
    """What weights and wishes come to where any token can be had any number of times."""
    low = [wished.get(value, 0) for value in range(len(weights))]
    high = [wished.get(value, count) for value in range(len(weights))]
    return apportion(count, weights, low, high)


def bounds(supply: Supply, count: int, trait: int) -> tuple[list[int], list[int]]:
    """(least, most) tokens of ``count`` that can have each value of a trait."""
    having = supply.marginals[trait]
    return [max(0, count - (supply.total - number)) for number in having], [min(count, number) for number in having]


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


def apportion(count: int, weights: Sequence[float], low: Sequence[int], high: Sequence[int]) -> list[int]:
    """``count`` seats by weight, each party having at least ``low`` and at most ``high`` of them.

    The method of the largest remainder (Hamilton); the bounds are kept by scaling all weights until what they come to
    within the bounds adds up. ``sum(low) <= count <= sum(high)`` is required.
    """
    if not sum(low) <= count <= sum(high):
        raise ValueError(f"{count} seats do not fit between {sum(low)} and {sum(high)}")
    scale = _scale(count, weights, low, high)
    exact = [min(max(weight * scale, least), most) for weight, least, most in zip(weights, low, high, strict=True)]
    seats = [min(max(int(share + 1e-9), least), most) for share, least, most in zip(exact, low, high, strict=True)]
    by_rest = sorted(range(len(seats)), key=lambda i: (seats[i] - exact[i], -weights[i], i))
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


# --- why not --------------------------------------------------------------------------------------------------------


def _too_many(supply: Supply, count: int) -> str:
    earlier = f" beside the {len(supply.taken):,} of earlier collections" if supply.taken else ""
    if not supply.total:
        return f"There is no token left{earlier}: the {supply.space.count():,} that can be are taken."
    return (
        f"{count:,} tokens are wanted, but only {supply.total:,} different ones can be made of these traits and"
        f" constraints{earlier}. Ask for {supply.total:,} or fewer."
    )


def _lonely_faults(supply: Supply, count: int, trait: int, wished: Mapping[int, int], names: Trait) -> list[str]:
    """What is wrong with the quotas of one trait, whatever the others are."""
    low, high = bounds(supply, count, trait)
    faults = []
    for value, wanted in wished.items():
        name, having = names.say(value), supply.marginals[trait][value]
        if wanted > high[value]:
            limit = f"only {having:,} tokens can have it" if having < count else f"the collection has only {count:,}"
            faults.append(f"{name} wants {wanted:,}, but {limit}.")
        elif wanted < low[value]:
            faults.append(
                f"{name} wants {wanted:,}, but only {supply.total - having:,} tokens can be without it,"
                f" so that {low[value]:,} or more of {count:,} must have it."
            )
    if faults or not wished:
        return faults
    total = sum(wished.values())
    rest = [value for value in range(len(low)) if value not in wished]
    least, most = total + sum(low[value] for value in rest), total + sum(high[value] for value in rest)
    if total > count:
        faults.append(f"The quotas of {names.name} come to {total:,}, more than the {count:,} tokens there are to be.")
    elif least > count:
        faults.append(
            f"The quotas of {names.name} leave {count - total:,} tokens to its other values, but these must have"
            f" {least - total:,} or more of so many tokens."
        )
    elif most < count:
        other = f"its other values can have only {most - total:,}" if rest else "it has no other values"
        faults.append(f"The quotas of {names.name} leave {count - total:,} of {count:,} tokens without a value: {other}.")
    return faults


def _paired_faults(
    supply: Supply, count: int, wishes: Sequence[Mapping[int, int]], traits: Sequence[Trait]
) -> list[str]:
    """Quotas of one trait that cannot be had beside those of another."""
    faults = []
    for first, wished in enumerate(wishes):
        for second in range(len(wishes)):
            if wished and first != second:
                room = _room(supply, count, second, wishes[second])
                stuck = _stuck(wished, supply.pair(first, second), room, count - sum(wishes[second].values()))
                if stuck is not None:
                    faults.append(_beside(stuck, wished, traits[first], traits[second], wishes[second]))
    return faults


def _room(supply: Supply, count: int, trait: int, wished: Mapping[int, int]) -> list[tuple[int, bool]]:
    """Value -> (the most tokens that can have it, whether that is a quota)."""
    _, high = bounds(supply, count, trait)
    return [(wished[value], True) if value in wished else (most, False) for value, most in enumerate(high)]


@dataclass(frozen=True, slots=True)
class _Stuck:
    """Values that want more tokens than there are for them, and values of the other trait that hold them up."""

    values: list[int]
    most: int
    holding: list[int]


def _stuck(wished: Mapping[int, int], table: Counts, room: Sequence[tuple[int, bool]], free: int) -> _Stuck | None:
    """Whether quotas can be placed beside another trait: a flow from values to values (Ford and Fulkerson), whose
    smallest cut names what stands in the way."""
    # Values of the other trait without a quota share what its quotas leave free.
    graph: dict[tuple[str, int], dict[tuple[str, int], int]] = {}

    def arc(start: tuple[str, int], end: tuple[str, int], size: int) -> None:
        graph.setdefault(start, {})[end] = size
        graph.setdefault(end, {}).setdefault(start, 0)

    source, sink, pool = ("source", 0), ("sink", 0), ("pool", 0)
    for value, wanted in wished.items():
        arc(source, ("one", value), wanted)
        for other, both in enumerate(table[value]):
            if both:
                arc(("one", value), ("other", other), both)
    arc(pool, sink, free)
    for other, (most, fixed) in enumerate(room):
        arc(("other", other), sink if fixed else pool, most)
    flow = 0
    while path := _path(graph, source, sink):
        size = min(graph[a][b] for a, b in path)
        for a, b in path:
            graph[a][b] -= size
            graph[b][a] += size
        flow += size
    if flow == sum(wished.values()):
        return None
    reached = _reached(graph, source)
    values = [value for value in wished if ("one", value) in reached]
    most = flow - sum(wanted for value, wanted in wished.items() if value not in values)
    return _Stuck(values, most, [other for other in range(len(room)) if ("other", other) in reached and room[other][1]])


def _reached(
    graph: Mapping[tuple[str, int], Mapping[tuple[str, int], int]], source: tuple[str, int]
) -> dict[tuple[str, int], tuple[str, int]]:
    """What can be reached through arcs with room: node -> the node before it."""
    before, queue = {source: source}, deque([source])
    while queue:
        node = queue.popleft()
        for other, size in graph.get(node, {}).items():
            if size > 0 and other not in before:
                before[other] = node
                queue.append(other)
    return before


def _path(
    graph: Mapping[tuple[str, int], Mapping[tuple[str, int], int]], source: tuple[str, int], sink: tuple[str, int]
) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    before = _reached(graph, source)
    path, node = [], sink
    while node in before and node != source:
        path.append((before[node], node))
        node = before[node]
    return path


def _beside(stuck: _Stuck, wished: Mapping[int, int], one: Trait, other: Trait, others: Mapping[int, int]) -> str:
    said = " and ".join(one.say(value) for value in stuck.values)
    wants, have = ("wants", "it") if len(stuck.values) == 1 else ("together want", "them")
    total = sum(wished[value] for value in stuck.values)
    holding = ", ".join(f"{other.say(value)}: {others[value]:,}" for value in stuck.holding)
    beside = f"with the values of {other.name} that go with {have}"
    if others:
        beside = f"beside the quotas of {other.name}" + (f" ({holding})" if holding else "")
    return f"{said} {wants} {total:,}, but only {stuck.most:,} tokens can have {have} {beside}."
