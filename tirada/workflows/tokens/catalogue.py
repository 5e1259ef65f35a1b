"""``data/collections/<name>/``: one character, the values of its traits, and what cannot be together.

``collection.toml`` describes the character and the constraints, ``traits.toml`` the values. Every fault of the two
files is told at once, each in a line of its own.
Invariant: a Collection that was loaded is sound: names are known and alone, weights are not negative, the template has
a place for every trait, and every value can occur.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tirada.errors import UsageError
from tirada.workflows.tokens.space import Space

FILE, TRAITS_FILE = "collection.toml", "traits.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One of the values of a trait."""

    name: str
    #: How often it comes, beside the others of its trait.
    weight: float
    tier: str
    #: What it adds to the prompt.
    prompt: str
    groups: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trait:
    """What a token has exactly one value of."""

    name: str
    #: What people read; ``trait_type`` in metadata.
    title: str
    values: tuple[Value, ...]
    #: An optional trait stays at this value with the odds ``stays``; None = not optional.
    default: str | None = None
    stays: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(value.name for value in self.values)

    def value(self, name: str) -> Value:
        """The value of that name, whatever its capitals; raises UsageError with a suggestion."""
        return self.values[find(name, self.names, f"value of {self.name}")]

    def shares(self) -> dict[str, float]:
        """Value -> share of the tokens, of 1, that it has by weight."""
        others = {value.name: value.weight for value in self.values if value.name != self.default}
        whole = sum(others.values())
        stays = self.stays if self.default is not None else 0.0
        shares = {name: (1 - stays) * weight / whole for name, weight in others.items()}
        return {name: shares.get(name, stays) for name in self.names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A token that has one of the values of every trait named here is forbidden."""

    because: str
    values: Mapping[str, frozenset[str]]

    def forbids(self, choice: Mapping[str, str]) -> bool:
        return all(choice[trait] in values for trait, values in self.values.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A character and its traits, as read from its folder."""

    name: str
    title: str
    description: str
    #: What a token is called before its number.
    token: str
    symbol: str
    licence: str
    creator: str
    external_url: str
    #: (width, height) in pixels.
    size: tuple[int, int]
    #: The character without traits; its template, with a placeholder per trait.
    prompt: str
    template: str
    negative: str
    refine: str
    strength: float
    refine_strength: float
    traits: tuple[Trait, ...]
    rules: tuple[Rule, ...] = ()
    base: Path | None = None
    tiers: Mapping[str, float] = field(default_factory=dict)

    def trait(self, name: str) -> Trait:
        """The trait of that name or title; raises UsageError with a suggestion."""
        titles = [trait.title for trait in self.traits]
        if name.casefold() in (title.casefold() for title in titles):
            return self.traits[find(name, titles, "trait")]
        return self.traits[find(name, [trait.name for trait in self.traits], "trait")]

    def broken(self, choice: Mapping[str, str]) -> Rule | None:
        """The first rule that a token breaks, given a value for every trait; None where it may be."""
        return next((rule for rule in self.rules if rule.forbids(choice)), None)

    def prompt_of(self, choice: Mapping[str, str]) -> str:
        """The prompt of a token."""
        return self.template.format(**{trait.name: trait.value(choice[trait.name]).prompt for trait in self.traits})

    def space(self) -> Space:
        """All the tokens that there can be, by the positions of their values."""
        return space_of(self.traits, self.rules)


def find(name: str, names: Iterable[str], what: str) -> int:
    """The position of a name, whatever its capitals; raises UsageError with a suggestion."""
    known = list(names)
    folded = [one.casefold() for one in known]
    wanted = name.strip().casefold()
    if wanted in folded:
        return folded.index(wanted)
    raise UsageError(f"There is no {what} called {name!r}{suggestion(name, known)}")


def suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name.casefold(), [one.casefold() for one in known], n=1)
    if close:
        return f": did you mean {next(one for one in known if one.casefold() == close[0])!r}?"
    shown = ", ".join(known[:30]) + (" ..." if len(known) > 30 else "")
    return f"; there are: {shown}." if known else "."


def space_of(traits: tuple[Trait, ...], rules: Iterable[Rule]) -> Space:
    """All the tokens of the traits that break no rule."""
    boxes = [
        tuple(
            frozenset(i for i, name in enumerate(trait.names) if name in rule.values[trait.name])
            if trait.name in rule.values
            else None
            for trait in traits
        )
        for rule in rules
    ]
    return Space([len(trait.values) for trait in traits], boxes)


def names(data: Path) -> list[str]:
    """The collections that there are, sorted."""
    return sorted(path.parent.name for path in (data / "collections").glob(f"*/{FILE}"))


def load(data: Path, name: str) -> Collection:
    """The collection of that name; raises UsageError where there is none, or with a line for every fault."""
    known = names(data)
    if name not in known:
        if not known:
            raise UsageError(f"There are no collections in {str(data / 'collections')!r}. Set DATA_DIR.")
        raise UsageError(f"There is no collection called {name!r}{suggestion(name, known)}")
    from tirada.workflows.tokens.catalogue_files import read

    faults: list[str] = []
    collection = read(name, data / "collections" / name, faults)
    if collection is None or faults:
        raise UsageError("\n".join([f"The collection {name!r} cannot be used:", *(f"- {fault}" for fault in faults)]))
    return collection
