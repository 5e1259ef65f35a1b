"""Exact quotas: which tokens there can be, how weights become counts, what is refused and why, and what is chosen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli_tools import ROOT
from tirada.errors import UsageError
from tirada.workflows.tokens.catalogue import load
from tirada.workflows.tokens.quotas import apportion, by_weight, targets
from tirada.workflows.tokens.sampling import choose, numbers
from tirada.workflows.tokens.space import Box, Space, Token
from tirada.workflows.tokens.supply import Counts, Supply, Trait

TRAITS = [Trait(name, "abcdefghij") for name in ("hat", "coat", "fur", "face")]
#: As tiers weigh: common, uncommon, rare, epic, legendary.
SKEWED = [100, 100, 100, 45, 45, 45, 16, 16, 5, 1]


def dealt(
    space: Space,
    count: int,
    *,
    shares: Sequence[Sequence[float]] | None = None,
    wishes: Sequence[dict[int, int]] | None = None,
    taken: Sequence[Token] = (),
    seed: int = 1,
) -> tuple[list[Token], Counts]:
    """The tokens chosen, and the numbers that were aimed at."""
    supply = Supply(space, taken)
    shares = shares or [[1.0] * size for size in space.sizes]
    wishes = wishes or [{} for _ in space.sizes]
    wanted = targets(supply, count, shares, wishes, TRAITS[: len(space.sizes)], seed)
    return choose(supply, count, wanted, [set(wished) for wished in wishes], seed), wanted


def refusal(space: Space, count: int, wishes: Sequence[dict[int, int]], taken: Sequence[Token] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        dealt(space, count, wishes=wishes, taken=taken)
    return str(caught.value)


def box(size: int, **named: set[int]) -> Box:
    places = {"hat": 0, "coat": 1, "fur": 2, "face": 3}
    return tuple(
        frozenset(found) if (found := next((v for n, v in named.items() if places[n] == i), None)) else None
        for i in range(size)
    )


# --- the space --------------------------------------------------------------------------------------------------------


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    sizes = draw(st.lists(st.integers(2, 4), min_size=2, max_size=4))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        named = draw(st.sets(st.integers(0, len(sizes) - 1), min_size=2, max_size=3))
        sets = {trait: draw(st.sets(st.integers(0, sizes[trait] - 1), min_size=1)) for trait in named}
        boxes.append(tuple(frozenset(sets[trait]) if trait in sets else None for trait in range(len(sizes))))
    return Space(sizes, boxes)


def by_hand(space: Space) -> list[Token]:
    """All tokens, by trying them."""
    return [token for token in itertools.product(*map(range, space.sizes)) if space.allows(token)]


@given(spaces())
def test_tokens_are_counted_listed_and_ranked_without_being_tried(space: Space) -> None:
    tokens = by_hand(space)
    assert list(space) == tokens
    assert space.count() == len(tokens)
    assert [space.token(rank) for rank in range(len(tokens))] == tokens
    assert all(space.decode(space.code(token)) == token for token in tokens)
    assert space.marginals() == numbers(tokens, space.sizes)
    with pytest.raises(IndexError):
        space.token(len(tokens))
    for one, other in itertools.combinations(range(len(space.sizes)), 2):
        table = space.pair(one, other)
        for a, b in itertools.product(range(space.sizes[one]), range(space.sizes[other])):
            assert table[a][b] == sum(token[one] == a and token[other] == b for token in tokens)


def test_a_space_of_millions_is_counted_at_once() -> None:
    foxes = load(ROOT / "data", "foxes")
    space = foxes.space()
    assert space.combinations == math.prod(len(trait.values) for trait in foxes.traits) == 26 * 24 * 25 * 27 * 27
    assert 5_000_000 < space.count() < space.combinations
    assert {sum(row) for row in space.marginals()} == {space.count()}


# --- counts from weights ----------------------------------------------------------------------------------------------


def test_the_largest_remainder() -> None:
    # 10 seats: exact shares 4.7, 3.2, 2.1; the largest remainder gets the last one.
    assert apportion(10, [47, 32, 21], [0, 0, 0], [10, 10, 10]) == [5, 3, 2]
    assert apportion(10, [1, 0, 1], [0, 0, 0], [10, 10, 10]) == [5, 0, 5]
    # Bounds: what one cannot have, the others share by weight.
    assert apportion(12, [10, 1, 1], [0, 0, 0], [6, 10, 10]) == [6, 3, 3]
    assert apportion(12, [10, 1, 1], [0, 4, 0], [12, 12, 12]) == [7, 4, 1]
    # A party without weight gets a seat only where there is no other left.
    assert apportion(5, [1, 0], [0, 0], [3, 9]) == [3, 2]


def test_the_lot_decides_among_equals() -> None:
    found = {tuple(apportion(1, [1, 1, 1], [0] * 3, [1] * 3, lot)) for lot in "abcdefghijkl"}
    assert found == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


@given(st.data())
def test_seats_add_up_and_keep_their_bounds(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 8))
    weights = data.draw(st.lists(st.sampled_from([0.0, 0.5, 1, 3, 100]), min_size=size, max_size=size))
    low = data.draw(st.lists(st.integers(0, 5), min_size=size, max_size=size))
    high = [least + data.draw(st.integers(0, 20)) for least in low]
    count = data.draw(st.integers(sum(low), sum(high)))
    seats = apportion(count, weights, low, high)
    assert sum(seats) == count
    assert all(least <= seat <= most for least, seat, most in zip(low, seats, high, strict=True))


# --- what is chosen ---------------------------------------------------------------------------------------------------


@st.composite
def wished(draw: st.DrawFn) -> tuple[Space, list[Token], int, list[dict[int, int]], int]:
    """Quotas that can be met, because they were counted on tokens that there are."""
    space = draw(spaces().filter(lambda found: found.count() >= 3))
    tokens = by_hand(space)
    shuffled = draw(st.permutations(tokens))
    taken = shuffled[: draw(st.integers(0, len(tokens) // 3))]
    free = [token for token in shuffled if token not in set(taken)]
    if draw(st.booleans()):
        free.sort(key=sum)
    count = draw(st.integers(1, len(free)))
    counted = numbers(free[:count], space.sizes)
    wishes = [{v: n for v, n in enumerate(row) if draw(st.booleans())} for row in counted]
    return space, taken, count, wishes, draw(st.integers(0, 999))


@settings(max_examples=150, deadline=None)
@given(wished())
def test_quotas_that_can_be_met_are_met(case: tuple[Space, list[Token], int, list[dict[int, int]], int]) -> None:
    space, taken, count, wishes, seed = case
    shares = [SKEWED[:size] for size in space.sizes]
    tokens, _ = dealt(space, count, shares=shares, wishes=wishes, taken=taken, seed=seed)
    assert len(set(tokens)) == len(tokens) == count
    assert set(tokens) <= set(by_hand(space)) - set(taken)
    found = numbers(tokens, space.sizes)
    assert all(found[trait][value] == number for trait, row in enumerate(wishes) for value, number in row.items())


@pytest.mark.parametrize("count", [10_000, 9_999, 9_000, 5_000, 1_000])
def test_as_many_as_there_are_come_out(count: int) -> None:
    tokens, wanted = dealt(Space([10] * 4), count)
    assert len(set(tokens)) == count
    assert numbers(tokens, [10] * 4) == wanted
    assert {number - count // 10 for row in wanted for number in row} <= {0, 1}


def test_weights_that_there_is_no_room_for_are_bent() -> None:
    space = Space([10] * 3)
    shares = [SKEWED] * 3
    tokens, _ = dealt(space, 300, shares=shares)
    assert len(set(tokens)) == 300
    found, ideal = numbers(tokens, space.sizes), by_weight(300, shares, [{}] * 3, 1)
    assert found != ideal
    # Every trait gives about as much, common values give and rare ones take.
    off = [sum(abs(have - goal) for have, goal in zip(*rows, strict=True)) for rows in zip(found, ideal, strict=True)]
    assert max(off) < 2 * min(off)
    assert all(sum(row[:3]) < sum(goal[:3]) for row, goal in zip(found, ideal, strict=True))


def test_weights_give_way_to_quotas_by_as_much_as_it_takes() -> None:
    # Whoever wears hat a wears coat a, of which weights would make 1 in 40.
    space = Space([3, 3, 10], [box(3, hat={0}, coat={1, 2})])
    shares = [[1, 1, 1], [1, 20, 19], [1] * 10]
    tokens, _ = dealt(space, 20, shares=shares, wishes=[{0: 6}, {}, {}])
    found = numbers(tokens, space.sizes)
    assert found[0][0] == 6
    assert found[1][0] == 6


def test_the_same_seed_chooses_the_same_and_others_others() -> None:
    space = Space([10] * 4, [box(4, hat={0, 1}, coat={3})])
    first, again, other = (dealt(space, 500, seed=seed)[0] for seed in (7, 7, 8))
    assert first == again
    assert set(first) != set(other)
    assert first != sorted(first)


def test_more_constraints_than_a_machine_word_has_bits() -> None:
    # Of the ten faces every pair of hat and coat forbids one, so that 900 of 1,000 tokens are left.
    boxes = [box(3, hat={a}, coat={b}, fur={(a * b) % 10}) for a in range(10) for b in range(10)]
    space = Space([10] * 3, boxes)
    assert space.count() == 900
    tokens, wanted = dealt(space, 400, shares=[SKEWED] * 3)
    assert len(set(tokens)) == 400
    assert all(map(space.allows, tokens))
    assert all(sum(row) == 400 for row in wanted)


def test_tokens_of_earlier_collections_are_left_out_to_the_last() -> None:
    space = Space([10] * 4)
    earlier, _ = dealt(space, 6_000)
    later, _ = dealt(space, 4_000, taken=earlier)
    assert not set(earlier) & set(later)
    assert len({*earlier, *later}) == 10_000
    assert "There is no token left" in refusal(space, 1, [{}] * 4, taken=[*earlier, *later])


# --- what is refused --------------------------------------------------------------------------------------------------

HATS = Space([4, 4, 5], [box(3, hat={0, 1}, coat={1, 2, 3})])


@pytest.mark.parametrize(
    ("count", "wishes", "said"),
    [
        (61, [{}, {}, {}], "61 tokens are wanted, but only 50 different ones can be made of these traits"),
        (20, [{0: 6}, {}, {}], "hat=a wants 6, but only 5 tokens can have it."),
        (30, [{3: 21}, {}, {}], "hat=d wants 21, but only 20 tokens can have it."),
        (10, [{3: 11}, {}, {}], "hat=d wants 11, but the collection has only 10."),
        (20, [{2: 12, 3: 12}, {}, {}], "The quotas of hat come to 24, more than the 20 tokens there are to be."),
        (20, [{0: 1, 1: 1, 2: 1, 3: 1}, {}, {}], "leave 16 of 20 tokens without a value: it has no other values."),
        (30, [{2: 2, 3: 2}, {}, {}], "leave 26 of 30 tokens without a value: its other values can have only 10."),
        (49, [{3: 3}, {}, {}], "hat=d wants 3, but only 30 tokens can be without it, so that 19 or more of 49 must"),
        (
            20,
            [{0: 4}, {0: 3}, {}],
            "hat=a wants 4, but only 3 tokens can have it beside the quotas of coat (coat=a: 3).",
        ),
        (20, [{0: 3, 1: 3}, {0: 5}, {}], "hat=a and hat=b together want 6, but only 5 tokens can have them beside"),
    ],
)
def test_what_cannot_be_is_said_beforehand(count: int, wishes: list[dict[int, int]], said: str) -> None:
    assert said in refusal(HATS, count, wishes)


def test_all_tokens_there_are_leave_no_choice() -> None:
    tokens, _ = dealt(HATS, 50, wishes=[{3: 20}, {}, {}])
    assert sorted(tokens) == list(HATS)
    assert "hat=d wants 19, but only 30 tokens can be without it" in refusal(HATS, 50, [{3: 19}, {}, {}])


def test_every_quota_that_cannot_be_is_named() -> None:
    said = refusal(HATS, 20, [{0: 6, 1: 7}, {}, {}])
    assert said.splitlines() == [
        "hat=a wants 6, but only 5 tokens can have it.",
        "hat=b wants 7, but only 5 tokens can have it.",
    ]
