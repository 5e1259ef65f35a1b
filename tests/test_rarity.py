"""Rarity by information content: the numbers of open-rarity, and the formula it publishes."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tirada.workflows.tokens.rarity import rarities

Attributes = dict[str, str]

EXAMPLE: list[Attributes] = [
    {"Fur": "Russet", "Head": "Top Hat", "Face": "Freckles"},
    {"Fur": "Russet", "Head": "Top Hat"},
    {"Fur": "Russet", "Head": "Beret", "Face": "None"},
    {"Fur": "Sand", "Head": "Top Hat", "Face": "Freckles"},
    {"Fur": "Sand", "Head": "Beret", "Face": "Freckles"},
    {"Fur": "Russet", "Head": "Top Hat", "Face": "Freckles"},
    {"Fur": "Moonlight", "Head": "Beret"},
]
#: (rank, score, unique attributes) of each token of EXAMPLE, as open-rarity 0.7.5 from PyPI gave them on 2026-11-21:
#: RarityRanker.rank_collection(Collection([Token.from_erc721("0x0", i, attributes) ...])) on Python 3.11.
OPEN_RARITY = [
    (6, 0.683038029065354, 0),
    (3, 0.9823253679279602, 0),
    (2, 1.2816127067905665, 1),
    (5, 0.8945429107487965, 0),
    (3, 0.9823253679279602, 0),
    (6, 0.683038029065354, 0),
    (1, 1.4931175884740089, 1),
]


def test_the_numbers_of_open_rarity() -> None:
    """A null trait, a value that says none, a value of one token alone, and two ties."""
    found = rarities(EXAMPLE)
    assert [(one.rank, one.unique) for one in found] == [(rank, unique) for rank, _, unique in OPEN_RARITY]
    assert [one.score for one in found] == pytest.approx([score for _, score, _ in OPEN_RARITY], rel=1e-12)


def test_a_token_with_a_value_of_its_own_comes_before_one_with_a_higher_score() -> None:
    common = [{"Fur": f"f{n % 2}", "Head": f"h{n // 2 % 2}", "Body": f"b{n // 4 % 2}"} for n in range(40)]
    rare = [{"Fur": "f9", "Head": f"h{n}", "Body": f"b{n}"} for n in (8, 8)]
    alone = {"Fur": "only", "Head": "h0", "Body": "b0"}
    *_, pair, _, last = rarities([*common, *rare, alone])
    assert pair.score > last.score
    assert (last.rank, last.unique, pair.rank, pair.unique) == (1, 1, 2, 0)


def test_small_cases() -> None:
    assert rarities([]) == []
    (one,) = rarities([{"Fur": "Russet"}])
    assert (one.rank, one.score) == (1, 0.0)
    assert [one.rank for one in rarities([{"Fur": "a"}, {"Fur": "A "}, {"fur": "a"}])] == [1, 1, 1]


TOKENS = st.lists(
    st.dictionaries(
        st.sampled_from(["Fur", "Head", "Body", "Face"]), st.sampled_from(["a", "B", "c ", "none", "d"]), max_size=4
    ),
    min_size=1,
    max_size=40,
)


@given(TOKENS)
def test_the_published_formula(tokens: list[Attributes]) -> None:
    """Written out anew: a token's surprise in bits over all traits, nulls and the trait count, by the entropy."""
    total = len(tokens)
    rows = []
    for token in tokens:
        plain = {trait.lower(): value.strip().lower() for trait, value in token.items()}
        count = sum(value != "none" for value in plain.values())
        rows.append({**plain, "count": str(count)})
    traits = {trait for row in rows for trait in row}
    columns = {trait: Counter(row.get(trait) for row in rows) for trait in traits}
    entropy = -sum(n / total * math.log2(n / total) for column in columns.values() for n in column.values())
    bits = [-sum(math.log2(columns[trait][row.get(trait)] / total) for trait in traits) for row in rows]
    scores = [one / (entropy or 1) for one in bits]
    alone = [sum(columns[trait][value] == 1 for trait, value in row.items()) for row in rows]
    found = rarities(tokens)
    assert [one.score for one in found] == pytest.approx(scores)
    assert [one.unique for one in found] == alone


@given(TOKENS)
def test_ranks_are_those_of_a_competition(tokens: list[Attributes]) -> None:
    """1, 2, 2, 4: by unique attributes, then score; who has the score of the one before shares the rank."""
    found = sorted(rarities(tokens), key=lambda one: (one.rank, -one.unique, -one.score))
    for place, (before, one) in enumerate(pairwise(found), start=2):
        shared = one.rank == before.rank
        assert shared or one.rank == place
        assert not shared or math.isclose(one.score, before.score)
        assert (one.unique, one.score) <= (before.unique, before.score)
