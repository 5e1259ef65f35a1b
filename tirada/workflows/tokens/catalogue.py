"""``data/collections/<name>/``: one character, the values of its traits, and what cannot be together.

``collection.toml`` describes the character and the constraints, ``traits.toml`` the values. Every fault of the two
files is told at once, each in a line of its own.
Invariant: a Collection that was loaded is sound: names are known and alone, weights are not negative, the template has
a place for every trait, and every value can occur.
"""

from __future__ import annotations

import difflib
import string
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tirada.errors import UsageError
from tirada.workflows.tokens.space import Space

FILE, TRAITS_FILE = "collection.toml", "traits.toml"
#: Metaplex allows a symbol of ten bytes, a name of 32.
SYMBOL_MAX, NAME_MAX = 10, 32


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
    folder = data / "collections" / name
    faults: list[str] = []
    head = _read(folder / FILE, _File, faults)
    traits = _traits(folder / TRAITS_FILE, head, faults)
    collection = None
    if head is not None and not faults:
        collection = _collection(name, folder, head, traits, faults)
    if collection is None or faults:
        raise UsageError("\n".join([f"The collection {name!r} cannot be used:", *(f"- {fault}" for fault in faults)]))
    return collection


# --- the files ------------------------------------------------------------------------------------------------------


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class _Incompatible(_Strict):
    model_config = ConfigDict(extra="allow")
    because: str = ""


class _Forced(_Strict):
    because: str = ""
    when: dict[str, list[str]] = Field(min_length=1)
    then: dict[str, list[str]] = Field(min_length=1)


class _File(_Strict):
    title: str = Field(min_length=1, max_length=120)
    description: str = Field(min_length=1)
    token: str = Field(default="", max_length=NAME_MAX - len(" #100000"))
    symbol: str = Field(default="", max_length=SYMBOL_MAX)
    licence: str = ""
    creator: str = ""
    external_url: str = Field(default="", pattern="^(https?://.+)?$")
    size: str = Field(default="1024x1024", pattern="^[1-9][0-9]{1,3}x[1-9][0-9]{1,3}$")
    prompt: str = Field(min_length=1)
    template: str = Field(min_length=1)
    negative: str = ""
    refine: str = ""
    strength: float = Field(default=0.75, gt=0, le=1)
    refine_strength: float = Field(default=0.35, gt=0, le=1)
    base: str = ""
    tiers: dict[str, float]
    incompatible: list[_Incompatible] = []
    forced: list[_Forced] = []


class _Value(_Strict):
    value: str = Field(min_length=1, max_length=60)
    tier: str = ""
    weight: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    prompt: str = Field(min_length=1)
    groups: list[str] = []


class _Trait(_Strict):
    title: str = ""
    default: str | None = None
    stays: float = Field(default=0.0, ge=0, le=1)
    values: list[_Value] = Field(min_length=1)


def _toml(path: Path, faults: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        faults.append(f"{path.name}: there is no such file in {str(path.parent)!r}.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        faults.append(f"{path.name}: {exc}.")
    return {}


def _read(path: Path, shape: type[_File], faults: list[str]) -> _File | None:
    before = len(faults)
    content = _toml(path, faults)
    return None if len(faults) > before else _shaped(content, shape, path.name, faults)


def _shaped(content: object, shape: type[Any], where: str, faults: list[str]) -> Any:
    """The content in its shape; None where it has another, which is told."""
    try:
        return shape.model_validate(content)
    except ValidationError as exc:
        for error in exc.errors():
            place = ".".join(str(part) for part in error["loc"])
            faults.append(f"{where}: {place}: {error['msg'].removeprefix('Value error, ')}.")
        return None


def _traits(path: Path, head: _File | None, faults: list[str]) -> tuple[Trait, ...]:
    tiers = head.tiers if head else {}
    before = len(faults)
    content = _toml(path, faults)
    if not content and len(faults) == before:
        faults.append(f"{path.name}: it has no traits.")
    found = []
    for name, body in content.items():
        if not (name.isidentifier() and name.islower()):
            faults.append(f"{path.name}: {name}: a trait is called by a word of small letters.")
        read = _shaped(body, _Trait, f"{path.name}: {name}", faults)
        if read is not None:
            found.append(_trait(name, read, tiers, f"{path.name}: {name}", faults))
    titles = Counter(trait.title.casefold() for trait in found)
    faults += [f"{path.name}: {times} traits have the title {title!r}." for title, times in titles.items() if times > 1]
    return tuple(found)


def _trait(name: str, read: _Trait, tiers: Mapping[str, float], where: str, faults: list[str]) -> Trait:
    values, seen = [], set()
    for one in read.values:
        if one.value.casefold() in seen:
            faults.append(f"{where}: the value {one.value!r} is there twice.")
        seen.add(one.value.casefold())
        if one.tier and one.tier not in tiers:
            faults.append(f"{where}: {one.value}: no tier is called {one.tier!r}{suggestion(one.tier, list(tiers))}")
        if one.weight is None and not one.tier:
            faults.append(f"{where}: {one.value}: it needs a tier or a weight.")
        weight = tiers.get(one.tier, 0.0) if one.weight is None else one.weight
        values.append(
            Value(name=one.value, weight=weight, tier=one.tier, prompt=one.prompt, groups=frozenset(one.groups))
        )
    if read.default is not None and read.default not in (value.name for value in values):
        faults.append(f"{where}: its default {read.default!r} is none of its values.")
    if read.stays < 1 and not any(value.weight for value in values if value.name != read.default):
        faults.append(f"{where}: none of its values has a weight above 0.")
    title = read.title or name.capitalize()
    return Trait(name=name, title=title, values=tuple(values), default=read.default, stays=read.stays)


# --- what they come to ------------------------------------------------------------------------------------------------


def _collection(
    name: str, folder: Path, head: _File, traits: tuple[Trait, ...], faults: list[str]
) -> Collection | None:
    _check_template(head.template, traits, faults)
    rules = _rules(head, traits, faults)
    for tier, weight in head.tiers.items():
        if not 0 <= weight < float("inf"):
            faults.append(f"{FILE}: tiers.{tier}: a weight is 0 or more.")
    base = folder / head.base if head.base else None
    if base is not None and not base.is_file():
        faults.append(f"{FILE}: base: there is no file {head.base!r} in {str(folder)!r}.")
    if not faults:
        _check_space(traits, rules, faults)
    if faults:
        return None
    width, height = (int(part) for part in head.size.split("x"))
    rest = head.model_dump(exclude={"size", "base", "incompatible", "forced", "token"})
    return Collection(
        name=name,
        size=(width, height),
        base=base,
        traits=traits,
        rules=rules,
        token=head.token or head.title[: NAME_MAX - len(" #100000")].strip(),
        **rest,
    )


def _check_template(template: str, traits: tuple[Trait, ...], faults: list[str]) -> None:
    try:
        places = {place for _, place, _, _ in string.Formatter().parse(template) if place is not None}
    except ValueError as exc:
        faults.append(f"{FILE}: template: {exc}.")
        return
    known = {trait.name for trait in traits}
    faults += [f"{FILE}: template: it has no place for {{{name}}}." for name in sorted(known - places)]
    faults += [f"{FILE}: template: {{{name}}} is no trait." for name in sorted(places - known)]


def _rules(head: _File, traits: tuple[Trait, ...], faults: list[str]) -> tuple[Rule, ...]:
    rules = []
    for number, pair in enumerate(head.incompatible, start=1):
        where = f"{FILE}: incompatible {number}"
        named = {trait: listed for trait, listed in (pair.model_extra or {}).items()}
        if len(named) < 2:
            faults.append(f"{where}: it takes two traits or more to be incompatible.")
        rules.append(Rule(because=pair.because, values=_values(named, traits, where, faults)))
    for number, forced in enumerate(head.forced, start=1):
        where = f"{FILE}: forced {number}"
        when = _values(forced.when, traits, where, faults)
        for trait, allowed in _values(forced.then, traits, where, faults).items():
            if trait in when:
                faults.append(f"{where}: {trait} cannot force itself.")
            others = next(frozenset(one.names) for one in traits if one.name == trait) - allowed
            rules.append(Rule(because=forced.because, values={**when, trait: others}))
    return tuple(rules)


def _values(
    named: Mapping[str, Any], traits: tuple[Trait, ...], where: str, faults: list[str]
) -> dict[str, frozenset[str]]:
    """Trait -> the values meant, with groups resolved."""
    known = {trait.name: trait for trait in traits}
    found = {}
    for name, listed in named.items():
        if name not in known:
            faults.append(f"{where}: there is no trait called {name!r}{suggestion(name, list(known))}")
        elif not (isinstance(listed, list) and listed and all(isinstance(one, str) for one in listed)):
            faults.append(f"{where}: {name} takes a list of values, as in {name} = [{known[name].names[0]!r}].")
        else:
            found[name] = frozenset(value for one in listed for value in _meant(one, known[name], where, faults))
    return found


def _meant(one: str, trait: Trait, where: str, faults: list[str]) -> list[str]:
    if one.startswith("@"):
        grouped = [value.name for value in trait.values if one[1:] in value.groups]
        if not grouped:
            groups = sorted({f"@{group}" for value in trait.values for group in value.groups})
            faults.append(f"{where}: no value of {trait.name} is in a group called {one!r}{suggestion(one, groups)}")
        return grouped
    if one not in trait.names:
        faults.append(f"{where}: {trait.name} has no value {one!r}{suggestion(one, list(trait.names))}")
    return [one]


def _check_space(traits: tuple[Trait, ...], rules: tuple[Rule, ...], faults: list[str]) -> None:
    counts = space_of(traits, rules).marginals()
    for trait, found in zip(traits, counts, strict=True):
        never = [name for name, count in zip(trait.names, found, strict=True) if not count]
        faults += [f"{FILE}: the constraints leave no token with {trait.name}={name}." for name in never]
