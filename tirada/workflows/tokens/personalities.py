"""``data/collections/<name>/personalities.toml``: who somebody may turn out to be, and the traits that suit them.

Each primary has secondaries, and each of these is a personality: a code, a description, words that give it away in
posts, and its own values for every trait. Every fault of the file is told at once.
Invariant: personalities that were loaded are sound: codes and names are alone, the values exist, and the constraints of
the collection leave a token with each of them.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tirada.errors import UsageError
from tirada.workflows.tokens.catalogue import Collection, Trait, space_of, suggestion
from tirada.workflows.tokens.space import Token

FILE = "personalities.toml"
#: What a word counts, once for each post that it occurs in.
STRONG, WEAK = 3, 1
#: Of the fitting; by then every share of the foxes is met to a hundredth.
ROUNDS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Personality:
    """One of the characters of a collection."""

    code: str
    primary: str
    secondary: str
    description: str
    #: Word, phrase or beginning of a word ("garden*") -> what it counts; those of its primary too.
    evidence: Mapping[str, int]
    #: Trait -> the values it may have.
    odds: Mapping[str, tuple[str, ...]]

    @property
    def title(self) -> str:
        return f"{self.primary} - {self.secondary}"


def find_personality(personalities: Sequence[Personality], wanted: str) -> Personality:
    """The one of that code or title; raises UsageError with a suggestion, or with all there are."""
    folded = wanted.strip().casefold()
    for one in personalities:
        if folded in (one.code.casefold(), one.title.casefold(), one.secondary.casefold()):
            return one
    names = [name for one in personalities for name in (one.code, one.title, one.secondary)]
    close = suggestion(wanted, names)
    if close.startswith(":"):
        raise UsageError(f"There is no personality called {wanted!r}{close}")
    lines = [f"  {one.code}  {one.title}" for one in personalities]
    raise UsageError("\n".join([f"There is no personality called {wanted!r}; there are:", *lines]))


# --- traits -----------------------------------------------------------------------------------------------------------


def own_traits(collection: Collection, personality: Personality) -> tuple[Trait, ...]:
    """The traits of a collection with the values that this personality may have, and the defaults of optional ones."""
    own = []
    for trait in collection.traits:
        names = {*personality.odds[trait.name], trait.default}
        own.append(replace(trait, values=tuple(value for value in trait.values if value.name in names)))
    return tuple(own)


def draw_traits(collection: Collection, personality: Personality, rng: random.Random) -> dict[str, str]:
    """A value for every trait, by the personality's own odds; none is ever drawn twice to get an allowed one."""
    traits = own_traits(collection, personality)
    tokens, weights = odds_of(traits, collection)
    (token,) = rng.choices(tokens, weights)
    return {trait.name: trait.names[value] for trait, value in zip(traits, token, strict=True)}


def odds_of(traits: Sequence[Trait], collection: Collection) -> tuple[list[Token], list[float]]:
    """The tokens that the constraints allow, by the positions of their values, and how often each comes.

    An optional trait stays at its default with the odds of the catalogue, and its other values share the rest by their
    tiers. The weights are the product of these shares, brought by iterative proportional fitting (Deming and Stephan,
    1940) to where each value comes as often as its share says, or as near to it as the constraints allow: a helmet that
    forces a suit is then no rarer for it.
    """
    import numpy as np

    tokens = list(space_of(tuple(traits), collection.rules))
    columns = np.array(tokens, dtype=np.intp).T
    targets = [np.array(list(trait.shares().values())) for trait in traits]
    weights = np.prod([target[column] for target, column in zip(targets, columns, strict=True)], axis=0)
    for _ in range(ROUNDS):
        for target, column in zip(targets, columns, strict=True):
            now = np.bincount(column, weights, minlength=len(target))
            weights = weights * np.divide(target, now, out=np.zeros_like(target), where=now > 0)[column]
    return tokens, [float(weight) for weight in weights]


# --- the file ---------------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class _Evidence(_Strict):
    strong: list[str] = []
    weak: list[str] = []


class _Secondary(_Strict):
    code: str = Field(pattern="^[a-z]{2}[0-9]$")
    name: str = Field(min_length=1, max_length=60)
    description: str = Field(min_length=40, max_length=300)
    evidence: _Evidence = _Evidence()
    odds: dict[str, list[str]]


class _Primary(_Strict):
    name: str = Field(min_length=1, max_length=40)
    evidence: _Evidence = _Evidence()
    secondaries: list[_Secondary] = Field(min_length=1)


class _File(_Strict):
    primaries: list[_Primary] = Field(min_length=1)


def load_personalities(data: Path, collection: Collection) -> tuple[Personality, ...]:
    """The personalities of a collection; raises UsageError where there are none, or with a line for every fault."""
    path = data / "collections" / collection.name / FILE
    faults: list[str] = []
    found: list[Personality] = []
    for primary in _read(path, faults):
        shared = _weighed(primary.evidence, f"{FILE}: {primary.name}", faults)
        for secondary in primary.secondaries:
            own = _weighed(secondary.evidence, f"{FILE}: {secondary.code}", faults)
            found.append(
                Personality(
                    code=secondary.code,
                    primary=primary.name,
                    secondary=secondary.name,
                    description=secondary.description,
                    evidence={**shared, **own},
                    odds={trait: tuple(values) for trait, values in secondary.odds.items()},
                )
            )
    faults += _twice(found)
    for one in found:
        faults += _faults_of(one, collection)
    if faults:
        raise UsageError("\n".join([f"The personalities of {collection.name!r} cannot be used:", *_listed(faults)]))
    return tuple(found)


def _listed(faults: Sequence[str]) -> list[str]:
    return [f"- {fault}" for fault in faults]


def _read(path: Path, faults: list[str]) -> list[_Primary]:
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).primaries
    except FileNotFoundError:
        faults.append(f"{FILE}: there is no such file in {str(path.parent)!r}.")
    except ValidationError as exc:
        for error in exc.errors():
            place = ".".join(str(part) for part in error["loc"])
            faults.append(f"{FILE}: {place}: {error['msg'].removeprefix('Value error, ')}.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        faults.append(f"{FILE}: {exc}.")
    return []


def _weighed(evidence: _Evidence, where: str, faults: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for words, weight in ((evidence.strong, STRONG), (evidence.weak, WEAK)):
        for word in (word.casefold() for word in words):
            if not word.removesuffix("*") or "*" in word[:-1] or word in found:
                faults.append(f"{where}: {word!r} is there twice, or no word: * stands at its end only.")
            found[word] = weight
    return found


def _twice(found: Sequence[Personality]) -> list[str]:
    faults, seen = [], set()
    for one in found:
        for name in (one.code, one.title.casefold()):
            if name in seen:
                faults.append(f"{FILE}: {one.code}: there is another one of that code or name.")
            seen.add(name)
    return faults


def _faults_of(one: Personality, collection: Collection) -> list[str]:
    """What is wrong with the values of a personality."""
    faults = []
    names = [trait.name for trait in collection.traits]
    where = f"{FILE}: {one.code}"
    faults += [
        f"{where}: there is no trait {name!r}{suggestion(name, names)}" for name in one.odds if name not in names
    ]
    for trait in collection.traits:
        faults += _faults_of_trait(trait, one.odds.get(trait.name, ()), f"{where}: odds.{trait.name}")
    return faults or _never(one, collection, where)


def _faults_of_trait(trait: Trait, values: Sequence[str], where: str) -> list[str]:
    faults = [
        f"{where}: there is no {value!r}{suggestion(value, list(trait.names))}"
        for value in values
        if value not in trait.names
    ]
    if len(set(values)) != len(values):
        faults.append(f"{where}: a value is there twice.")
    if not faults and not any(trait.value(value).weight for value in values if value != trait.default):
        faults.append(f"{where}: it takes a value that can be drawn.")
    return faults


def _never(one: Personality, collection: Collection, where: str) -> list[str]:
    """The values that the constraints leave no token with."""
    traits = own_traits(collection, one)
    counts: list[list[Any]] = list(space_of(traits, collection.rules).marginals())
    return [
        f"{where}: the constraints leave no token with {trait.name} = {name!r}."
        for trait, found in zip(traits, counts, strict=True)
        for name, count in zip(trait.names, found, strict=True)
        if not count
    ]
