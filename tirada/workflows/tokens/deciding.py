"""From a number of tokens and wishes to the very tokens of a collection, before anything is spent.

Invariant: quotas that were asked for are met to the one, or refused; what weights come to is bent only where nothing
else was found, and then it is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tirada.errors import UsageError
from tirada.workflows.tokens import quotas
from tirada.workflows.tokens.catalogue import Collection
from tirada.workflows.tokens.metadata import read_tokens
from tirada.workflows.tokens.sampling import choose, numbers
from tirada.workflows.tokens.space import Token
from tirada.workflows.tokens.supply import Counts, Supply, Trait

#: How many values a note names.
NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The tokens, in the order of their numbers, and how they came about."""

    tokens: list[Token]
    #: Trait -> value -> how many were to have it, by weight or as asked.
    wanted: list[list[int]]
    #: How many different tokens there could have been.
    possible: int
    #: Of those excluded, how many this collection could have had.
    excluded: int
    notes: tuple[str, ...]


def read_quotas(collection: Collection, texts: Sequence[str]) -> list[dict[int, int]]:
    """``head=Top Hat:12`` for each quota -> trait -> value -> number. Raises UsageError."""
    found: list[dict[int, int]] = [{} for _ in collection.traits]
    for text in texts:
        named, _, number = text.rpartition(":")
        trait_name, _, value_name = named.partition("=")
        if not (trait_name.strip() and value_name.strip() and number.strip().isdecimal()):
            raise UsageError(
                f"--quota {text!r} is not understood: write trait=value:number,"
                f' as in --quota "{collection.traits[-1].name}={collection.traits[-1].names[-1]}:12".'
            )
        trait = collection.trait(trait_name.strip())
        place = collection.traits.index(trait)
        value = trait.names.index(trait.value(value_name).name)
        if value in found[place]:
            raise UsageError(f"There are two quotas of {trait.name}={trait.names[value]}; give one.")
        found[place][value] = int(number)
    return found


def read_taken(collection: Collection, folders: Sequence[Path]) -> list[Token]:
    """The tokens of earlier collections, as far as this one could have them. Raises UsageError."""
    places = [
        (trait.title, {name.casefold(): place for place, name in enumerate(trait.names)}) for trait in collection.traits
    ]
    taken: list[Token] = []
    for folder in folders:
        tokens = read_tokens(folder)
        known = [token for token in (_token(one, places) for one in tokens) if token is not None]
        if not known:
            titles = ", ".join(trait.title for trait in collection.traits)
            raise UsageError(
                f"None of the {len(tokens):,} tokens in {str(folder)!r} could be of the collection"
                f" {collection.name!r}, whose traits are {titles}."
            )
        taken += known
    return taken


def _token(attributes: Mapping[str, str], places: Sequence[tuple[str, Mapping[str, int]]]) -> Token | None:
    """None for one that this collection cannot have, as its values are others."""
    found = [values.get(attributes.get(title, "").casefold()) for title, values in places]
    return tuple(place for place in found if place is not None) if None not in found else None


def decide(
    collection: Collection, count: int, wishes: Sequence[Mapping[int, int]], taken: Sequence[Token], seed: int
) -> Decision:
    """Choose the tokens. Raises UsageError that says which wish cannot be met, and why."""
    supply = Supply(collection.space(), taken)
    names = [Trait(trait.name, trait.names, _reasons(collection, trait.name)) for trait in collection.traits]
    shares = [list(trait.shares().values()) for trait in collection.traits]
    wanted = quotas.targets(supply, count, shares, wishes, names, seed)
    tokens = choose(supply, count, wanted, [set(wished) for wished in wishes], seed)
    came = numbers(tokens, supply.space.sizes)
    _check(came, wishes, names, count)
    ideal = quotas.by_weight(count, shares, wishes, seed)
    return Decision(
        tokens=tokens,
        wanted=ideal,
        possible=supply.total,
        excluded=len(supply.taken),
        notes=tuple(_notes(came, ideal, names, count == supply.total)),
    )


def _reasons(collection: Collection, trait: str) -> list[tuple[int, str, str]]:
    """What constraints say of each value of a trait beside the other traits."""
    names = collection.trait(trait).names
    return [
        (names.index(value), other, rule.because)
        for rule in collection.rules
        if rule.because and trait in rule.values
        for value in sorted(rule.values[trait])
        for other in rule.values
        if other != trait
    ]


def _check(came: Counts, wishes: Sequence[Mapping[int, int]], names: Sequence[Trait], count: int) -> None:
    missed = [
        f"{name.say(value)} came to {came[trait][value]:,} of {wanted:,}"
        for trait, (wished, name) in enumerate(zip(wishes, names, strict=True))
        for value, wanted in wished.items()
        if came[trait][value] != wanted
    ]
    if missed:
        raise UsageError(
            f"No {count:,} tokens were found that meet all quotas and constraints together: {', '.join(missed)}."
            " Loosen one of these."
        )


def _notes(came: Counts, ideal: Counts, names: Sequence[Trait], whole: bool) -> list[str]:
    if whole:
        return ["These are all the tokens there can be, so their values come as often as they come, not by weight."]
    bent = [
        (abs(have - wanted), f"{name.say(value)}: {have:,} instead of {wanted:,}")
        for name, row, goal in zip(names, came, ideal, strict=True)
        for value, (have, wanted) in enumerate(zip(row, goal, strict=True))
        if have != wanted
    ]
    if not bent:
        return []
    bent.sort(key=lambda one: -one[0])
    named = ", ".join(text for _, text in bent[:NAMED])
    more = f" and {len(bent) - NAMED} more, all in collection.html" if len(bent) > NAMED else ""
    return [f"Constraints and uniqueness leave no room for all weights: {named}{more}."]
