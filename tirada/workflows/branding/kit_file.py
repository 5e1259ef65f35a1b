"""Reads a kit's TOML file, and says everything that is wrong with it at once.

Invariant: reading never raises; what comes out is a sound kit, or the faults, each with the place where it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tirada.workflows.branding.kit import AgeGroup, Kit, Phrase, Product, Rule, did_you_mean, plain

#: Width and height of a kit's own size, in pixels, and what their sum may be.
SIDE_MIN, SIDES_MAX = 64, 20_000
SIDES = 3_500
OLDEST = 120
COLOURS_MAX = 12
_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
_SIZE = re.compile(r"([0-9]{2,5})x([0-9]{2,5})")
_KIT_KEYS = (
    *("title", "description", "size", "width_plus_height", "min_palette", "negative", "tags", "styles", "lights"),
    *("places", "palette", "models", "ages", "products", "rules"),
)
_PRODUCT_KEYS = ("people", "subjects", "scenes", "attributes", "colours", "places", "lights", "styles", "tags")
_AGE_KEYS = ("name", "from", "to", "male", "female", "anyone", "looks")
_PHRASE_KEYS = ("text", "ages", "places")
_RULE_KEYS = ("name", "products", "prompt", "negative", "words")


def read(name: str, text: str) -> tuple[Kit | None, list[str]]:
    """The kit, or None and what is wrong with its file."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        return None, [f"it is not valid TOML: {exc}"]
    faults: list[str] = []
    kit = _kit(name, _Table(data, "", faults, _KIT_KEYS))
    return (None, faults) if faults else (kit, [])


class _Table:
    """A table of the file: hands out what is sound, and notes what is not."""

    def __init__(self, data: Any, where: str, faults: list[str], keys: Sequence[str] | None) -> None:
        self._where, self._faults = where, faults
        self.data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        if not isinstance(data, dict):
            self.fault("", "must be a table")
        for key in self.data:
            if keys is not None and key not in keys:
                self.fault(key, f"is not known here. {did_you_mean(key, keys, what='Known are')}")

    def path(self, key: str) -> str:
        return ".".join(part for part in (self._where, key) if part)

    def fault(self, key: str, what: str) -> None:
        self._faults.append(f"{self.path(key)}: {what.rstrip('.')}")

    def get(self, key: str, kind: type | tuple[type, ...], what: str, default: Any = None) -> Any:
        """The value where it is of that kind; True is no number. A default of None: it has to be there."""
        value = self.data.get(key, default)
        if value is None:
            self.fault(key, "is missing")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fault(key, f"must be {what}, not {value!r}")
            value = None
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.get(key, str, "a text", default)
        if value is not None and default is None and not value.strip():
            self.fault(key, "is empty")
        return _clean(value or "")

    def number(self, key: str, low: float, high: float, default: Any = None) -> Any:
        value = self.get(key, (int, float), "a number", default)
        if value is not None and not low <= value <= high:
            self.fault(key, f"must be {low} to {high}, not {value}")
            value = None
        return low if value is None else value

    def listed(self, key: str, *, needed: bool = False) -> list[Any]:
        value = self.get(key, list, "a list", None if needed else [])
        if needed and value == []:
            self.fault(key, "is empty")
        return value or []

    def texts(self, key: str, *, needed: bool = False) -> tuple[str, ...]:
        found = []
        for number, entry in enumerate(self.listed(key, needed=needed), start=1):
            if isinstance(entry, str) and entry.strip():
                found.append(_clean(entry))
            else:
                self.fault(key, f"entry {number} must be a text, and not empty")
        return tuple(found)

    def tables(self, key: str, keys: Sequence[str]) -> list[_Table]:
        return [self.inside(f"{key}[{n}]", entry, keys) for n, entry in enumerate(self.listed(key), start=1)]

    def named(self, key: str, keys: Sequence[str] | None = None) -> dict[str, _Table]:
        """The tables inside a table, by their names."""
        inside = self.get(key, dict, "a table", {}) or {}
        return {name: self.inside(f"{key}.{name}", table, keys) for name, table in inside.items()}

    def inside(self, key: str, data: Any, keys: Sequence[str] | None) -> _Table:
        return _Table(data, self.path(key), self._faults, keys)


def _clean(text: str) -> str:
    return " ".join(text.split())


def _kit(name: str, top: _Table) -> Kit:
    ages = _ages(top)
    products = _products(top, ages)
    return Kit(
        name=name,
        title=top.text("title"),
        description=top.text("description"),
        negative=top.text("negative", ""),
        size=_size(top),
        sides=top.number("width_plus_height", 2 * SIDE_MIN, SIDES_MAX, SIDES),
        min_palette=float(top.number("min_palette", 0, 1, 0.0)),
        palette=_palette(top),
        models=_models(top),
        ages=ages,
        products=products,
        rules=_rules(top, products),
        tags=top.texts("tags"),
    )


def _size(top: _Table) -> tuple[int, int]:
    text = top.text("size")
    found = _SIZE.fullmatch(text)
    if found is None:
        if text:
            top.fault("size", f"must be WIDTHxHEIGHT in pixels, e.g. 720x720, not {text!r}")
        return SIDE_MIN, SIDE_MIN
    width, height = int(found[1]), int(found[2])
    limit = top.data.get("width_plus_height", SIDES)
    if isinstance(limit, int) and width + height > limit:
        top.fault("size", f"is {width + height} pixels wide and high together, more than width_plus_height = {limit}")
    if min(width, height) < SIDE_MIN:
        top.fault("size", f"must be at least {SIDE_MIN} pixels a side")
    return width, height


def _palette(top: _Table) -> dict[str, str]:
    colours = top.get("palette", dict, 'a table of names and hex codes: "light salmon" = "#FFA07A"') or {}
    found: dict[str, str] = {}
    for name, code in colours.items():
        if not name.strip():
            top.fault("palette", "a colour needs a name, as it is said to an image model")
        elif not isinstance(code, str) or not _HEX.fullmatch(code):
            top.fault(f"palette.{name}", f"must be a hex code such as #FFA07A, not {code!r}")
        elif code.upper() in found.values():
            twin = next(other for other, own in found.items() if own == code.upper())
            top.fault(f"palette.{name}", f"is the same colour as {twin!r}")
        else:
            found[_clean(name)] = code.upper()
    if isinstance(top.data.get("palette"), dict) and not 1 <= len(colours) <= COLOURS_MAX:
        top.fault("palette", f"must have 1 to {COLOURS_MAX} colours, not {len(colours)}")
    return found


def _models(top: _Table) -> dict[str, str]:
    from models.registry import BACKENDS

    known = [row.name for row in BACKENDS]
    found = {}
    for backend, model in (top.get("models", dict, "a table: backend = model", {}) or {}).items():
        if backend not in known:
            top.fault(f"models.{backend}", f"there is no such backend. {did_you_mean(backend, known)}")
        elif not isinstance(model, str) or not model.strip():
            top.fault(f"models.{backend}", "must be the name of a model")
        else:
            found[backend] = model.strip()
    return found


def _ages(top: _Table) -> tuple[AgeGroup, ...]:
    groups: list[AgeGroup] = []
    for table in top.tables("ages", _AGE_KEYS):
        group = AgeGroup(
            name=table.text("name"),
            first=int(table.number("from", 0, OLDEST)),
            last=int(table.number("to", 0, OLDEST)),
            male=table.text("male"),
            female=table.text("female"),
            anyone=table.text("anyone"),
            looks=table.texts("looks"),
        )
        if group.last < group.first:
            table.fault("to", f"is {group.last}, before 'from', {group.first}")
        for other in groups:
            if other.name == group.name:
                table.fault("name", f"there is a group {group.name!r} already")
            elif group.first <= group.last and group.first <= other.last and other.first <= group.last:
                table.fault("from", f"{group.first} to {group.last} overlaps the group {other.name!r}")
        groups.append(group)
    return tuple(groups)


def _products(top: _Table, ages: Sequence[AgeGroup]) -> dict[str, Product]:
    # Said once for the kit, they are said for every product that has none of its own.
    common = {key: top.texts(key) for key in ("places", "lights", "styles")}
    found: dict[str, Product] = {}
    for name, table in top.named("products", _PRODUCT_KEYS).items():
        people = bool(table.get("people", bool, "true or false", False))
        own = {key: table.texts(key) or common[key] for key in common}
        for key in (key for key in own if not own[key]):
            table.fault(key, "is missing here, and the kit has none for all products")
        if people and not ages:
            table.fault("people", "needs [[ages]]: how people of which age are put")
        if plain(name) in map(plain, found):
            table.fault("", "there is a product of that name already")
        found[name] = Product(
            name=name,
            people=people,
            subjects=table.texts("subjects", needed=not people),
            scenes=_phrases(table, "scenes", ages, needed=True),
            attributes=_phrases(table, "attributes", ages),
            colours=table.texts("colours"),
            tags=table.texts("tags"),
            **own,
        )
        if people:
            _everyone_does_something(table, found[name], ages)
    if not found:
        top.fault("products", "there must be one at least: [products.NAME]")
    return found


def _phrases(table: _Table, key: str, ages: Sequence[AgeGroup], *, needed: bool = False) -> tuple[Phrase, ...]:
    """Texts, or tables of a text and what it goes with."""
    known = [group.name for group in ages]
    found = []
    for number, entry in enumerate(table.listed(key, needed=needed), start=1):
        if isinstance(entry, dict):
            own = table.inside(f"{key}[{number}]", entry, _PHRASE_KEYS)
            phrase = Phrase(own.text("text"), own.texts("ages"), own.texts("places"))
        elif isinstance(entry, str) and entry.strip():
            phrase = Phrase(_clean(entry))
        else:
            table.fault(key, f'entry {number} must be a text, or {{ text = "...", ages = ["..."], places = ["..."] }}')
            continue
        for name in (name for name in phrase.ages if name not in known):
            table.fault(key, f"entry {number}: there is no age group {name!r}. {_or_none(name, known)}")
        found.append(phrase)
    return tuple(found)


def _everyone_does_something(table: _Table, product: Product, ages: Sequence[AgeGroup]) -> None:
    if not product.scenes:
        return
    for group in ages:
        if not any(scene.suits(group) for scene in product.scenes):
            table.fault("scenes", f"there is none for the age group {group.name!r}")


def _rules(top: _Table, products: Mapping[str, Product]) -> tuple[Rule, ...]:
    found = []
    for table in top.tables("rules", _RULE_KEYS):
        rule = Rule(
            name=table.text("name"),
            products=table.texts("products"),
            prompt=table.text("prompt", "").rstrip("."),
            negative=table.text("negative", ""),
            words=table.texts("words"),
        )
        for name in (name for name in rule.products if name not in products):
            table.fault("products", f"there is no product {name!r}. {_or_none(name, products)}")
        if not (rule.prompt or rule.negative or rule.words):
            table.fault("", "says nothing: it needs a prompt, a negative or words")
        found.append(rule)
    return tuple(found)


def _or_none(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return did_you_mean(name, names) if names else "There are none."
