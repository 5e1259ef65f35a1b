"""Why quotas cannot be met, said before anything is spent: which ones, and what stands in their way.

What is looked at are single values, the values of one trait together, and those of two traits side by side.
Invariant: what is objected to is impossible; what is not can still be, in the play of three traits or more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tirada.workflows.tokens.supply import Counts, Supply, Trait, bounds


def too_many(supply: Supply, count: int) -> str:
    earlier = f" beside the {len(supply.taken):,} of earlier collections" if supply.taken else ""
    if not supply.total:
        return f"There is no token left{earlier}: the {supply.space.count():,} that can be are taken."
    return (
        f"{count:,} tokens are wanted, but only {supply.total:,} different ones can be made of these traits and"
        f" constraints{earlier}. Ask for {supply.total:,} or fewer."
    )


def lonely_faults(supply: Supply, count: int, trait: int, wished: Mapping[int, int], names: Trait) -> list[str]:
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
        faults.append(
            f"The quotas of {names.name} leave {count - total:,} of {count:,} tokens without a value: {other}."
        )
    return faults


def paired_faults(
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
    reasons = [why for value, trait, why in one.reasons if value in stuck.values and trait == other.name]
    because = f": {'; '.join(dict.fromkeys(reasons))}" if reasons else ""
    return f"{said} {wants} {total:,}, but only {stuck.most:,} tokens can have {have} {beside}{because}."
