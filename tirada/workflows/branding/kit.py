"""A brand's kit: its palette, what it shows, how it shows it, and what it never shows.

Kits are ``data/brands/<name>.toml``; ``bank.toml`` says what each entry is for. Reading the file is in ``kit_file``.
Invariant: a kit that exists is sound; every product has something to show, in a place, in a light and in a style.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from models.errors import SetupError
from tirada.errors import UsageError, reason

#: From this age on somebody is an adult: whose age is not said is shown as one.
OF_AGE = 18


@dataclass(frozen=True, slots=True)
class Phrase:
    """A part of a sentence, the names of the age groups it is for (none = all), and places where it may be."""

    text: str
    ages: tuple[str, ...] = ()
    places: tuple[str, ...] = ()

    def suits(self, age: AgeGroup | None) -> bool:
        return not self.ages or (age is not None and age.name in self.ages)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeGroup:
    """How people from one age to another (years, both included) are put."""

    name: str
    first: int
    last: int
    male: str
    female: str
    anyone: str
    looks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is never shown, of some products or (none named) of all."""

    name: str
    products: tuple[str, ...] = ()
    #: A sentence for the prompt, for models that heed no negative one.
    prompt: str = ""
    negative: str = ""
    #: Words that no scene may have.
    words: tuple[str, ...] = ()

    def broken_by(self, text: str) -> str | None:
        """The word of the text that the rule forbids; None where there is none."""
        for word in self.words:
            if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, re.IGNORECASE):
                return word
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Something the brand shows. Where ``people``, its subjects are made from age and sex."""

    name: str
    people: bool
    subjects: tuple[str, ...]
    scenes: tuple[Phrase, ...]
    attributes: tuple[Phrase, ...]
    colours: tuple[str, ...]
    places: tuple[str, ...]
    lights: tuple[str, ...]
    styles: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kit:
    """All of it; lists are in the order of the file."""

    name: str
    title: str
    description: str
    negative: str
    size: tuple[int, int]
    #: What width + height in pixels may be at most.
    sides: int
    #: Share of a picture that has to be in the palette, 0..1.
    min_palette: float
    #: Name -> hex, ``#FFA07A``.
    palette: Mapping[str, str]
    #: Backend -> the model taken where the user says none.
    models: Mapping[str, str]
    ages: tuple[AgeGroup, ...]
    products: Mapping[str, Product]
    rules: tuple[Rule, ...]
    tags: tuple[str, ...]

    @cached_property
    def hexes(self) -> tuple[str, ...]:
        return tuple(self.palette.values())

    def product(self, name: str) -> Product | None:
        """The product of that name, however it is spelled: ``Credit-Card`` is ``credit card``."""
        return next((one for key, one in self.products.items() if plain(key) == plain(name)), None)

    def age_group(self, age: int) -> AgeGroup | None:
        return next((group for group in self.ages if group.first <= age <= group.last), None)

    def adults(self) -> tuple[AgeGroup, ...]:
        """The groups an age that is not said may be of."""
        return tuple(group for group in self.ages if group.first >= OF_AGE) or self.ages

    def rules_for(self, product: Product) -> list[Rule]:
        return [rule for rule in self.rules if not rule.products or product.name in rule.products]

    def negative_for(self, product: Product) -> str:
        """The negative prompt of a product: the kit's own and those of its rules."""
        parts = [self.negative, *(rule.negative for rule in self.rules_for(product))]
        entries = [entry.strip() for part in parts for entry in part.split(",") if entry.strip()]
        return ", ".join(dict.fromkeys(entries))

    def breach(self, product: Product, text: str) -> tuple[Rule, str] | None:
        """The first rule that a text breaks, and the word it does so with."""
        found = ((rule, rule.broken_by(text)) for rule in self.rules_for(product))
        return next(((rule, word) for rule, word in found if word is not None), None)


def plain(name: str) -> str:
    """A name without case, and with one space for whatever stands between its words."""
    return " ".join(re.split(r"[\s_-]+", name.strip().casefold()))


def did_you_mean(name: str, known: Iterable[str], *, what: str = "There are") -> str:
    """The likeliest of the known names, or all of them."""
    names = list(known)
    close = difflib.get_close_matches(plain(name), [plain(one) for one in names], n=1)
    if close:
        return f"Did you mean {next(one for one in names if plain(one) == close[0])!r}?"
    return f"{what}: {', '.join(names)}."


def names(data: Path) -> list[str]:
    """The kits there are in a data folder."""
    return sorted(path.stem for path in (data / "brands").glob("*.toml"))


def load(data: Path, name: str) -> Kit:
    """The kit of that name. Raises UsageError where there is none, SetupError with all faults of its file."""
    from tirada.workflows.branding.kit_file import read

    there = names(data)
    if name not in there:
        if not there:
            raise SetupError(f"No kits found in {str(data / 'brands')!r}.", hint="Set DATA_DIR to the data folder.")
        raise UsageError(f"There is no kit {name!r}. {did_you_mean(name, there)}")
    path = data / "brands" / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SetupError(f"{path} cannot be read: {reason(exc)}.") from exc
    kit, faults = read(name, text)
    if kit is None:
        listed = "".join(f"\n  - {fault}" for fault in faults)
        raise SetupError(f"{path} is no sound kit:{listed}", hint=f"{data / 'brands' / 'bank.toml'} is one that works.")
    return kit
