"""Reading the files of a collection, with every fault they have.

Invariant: nothing is raised for what a file says; each fault is a line that names the file and the place in it.
"""

from __future__ import annotations

import string
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tirada.workflows.tokens.catalogue import (
    FILE,
    TRAITS_FILE,
    Collection,
    Rule,
    Trait,
    Value,
    space_of,
    suggestion,
)

#: Metaplex allows a symbol of ten bytes, a name of 32.
SYMBOL_MAX, NAME_MAX = 10, 32


def read(name: str, folder: Path, faults: list[str]) -> Collection | None:
    """The collection of a folder; None where there are faults, which are added to the list."""
    head = _read(folder / FILE, _File, faults)
    traits = _traits(folder / TRAITS_FILE, head, faults)
    return None if head is None or faults else _collection(name, folder, head, traits, faults)


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
        named = dict(pair.model_extra or {})
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
