"""How rare a token is: its information content, scored and ranked as the package open-rarity (0.7) does it.

The score is the sum of -log2 p over the token's attributes, divided by the entropy of the collection. Every trait that
some tokens lack has a null value, and the number of traits a token has is an attribute too. Tokens are ranked by how
many attributes they have to themselves, then by score; equal scores share a rank and the next ranks are left out.
Source: https://github.com/OpenRarity/open-rarity (InformationContentScoringHandler, RarityRanker).
Invariant: a score depends on which attributes tokens have, not on their order or capitals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TRAIT_COUNT = "meta_trait:trait_count"
#: Values that are no trait, as far as traits are counted.
NOTHING = ("none", "")


@dataclass(frozen=True, slots=True)
class Rarity:
    """How rare one token is among those it was compared with."""

    #: 1 = the rarest.
    rank: int
    #: Its information content in units of the collection's entropy; 1 is what a token has on average.
    score: float
    #: Attributes that no other token has.
    unique: int


def rarities(tokens: Sequence[Mapping[str, str]]) -> list[Rarity]:
    """The rarity of each token, given its attributes (trait -> value), in their order."""
    counted = [_with_count(token) for token in tokens]
    numbers: dict[str, Counter[str]] = {}
    for token in counted:
        for trait, value in token.items():
            numbers.setdefault(trait, Counter())[value] += 1
    total = len(counted)
    lacking = {trait: total - sum(values.values()) for trait, values in numbers.items()}
    # Summed in one order for all, so that equal tokens have equal scores to the last bit.
    traits = sorted(numbers)
    bits = {trait: {value: math.log2(total / number) for value, number in numbers[trait].items()} for trait in traits}
    null = {trait: math.log2(total / number) for trait, number in lacking.items() if number}
    entropy = sum(_entropy([*numbers[trait].values(), lacking[trait]], total) for trait in traits) or 1.0
    scores = [
        sum(bits[trait][token[trait]] if trait in token else null[trait] for trait in traits) / entropy
        for token in counted
    ]
    unique = [sum(numbers[trait][value] == 1 for trait, value in token.items()) for token in counted]
    return _ranked(scores, unique)


def _with_count(token: Mapping[str, str]) -> dict[str, str]:
    plain = {_plain(trait): _plain(value) for trait, value in token.items()}
    return {**plain, TRAIT_COUNT: str(sum(value not in NOTHING for value in plain.values()))}


def _plain(text: str) -> str:
    return text.lower().strip()


def _entropy(numbers: Sequence[int], total: int) -> float:
    """In bits."""
    return sum(number / total * math.log2(total / number) for number in numbers if number)


def _ranked(scores: Sequence[float], unique: Sequence[int]) -> list[Rarity]:
    order = sorted(range(len(scores)), key=lambda i: (unique[i], scores[i]), reverse=True)
    ranks = [0] * len(scores)
    for place, i in enumerate(order):
        before = order[place - 1]
        same = place > 0 and math.isclose(scores[i], scores[before])
        ranks[i] = ranks[before] if same else place + 1
    return [Rarity(*row) for row in zip(ranks, scores, unique, strict=True)]
