"""What a picture is wanted of: read from metadata and options, and checked field by field.

Metadata is a JSON object, or a Python literal of one as older systems wrote it: ``{'sex': 'male', 'age': 30}``. Options
win over it, and where the two contradict each other a note says so.
Invariant: nothing of what is read is ever executed, and reading is bounded in size and depth; all faults are told at
once, one message for each.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from tirada.errors import UsageError, reason
from tirada.workflows.branding.kit import Kit, Product, did_you_mean

#: Bytes of metadata, and how deep its brackets may nest.
BYTES_MAX, DEPTH_MAX = 16_384, 4
PROMPT_MAX = 500
OLDEST = 120
#: Characters of a faulty value that a message shows.
SHOWN_MAX = 60
SIDE_MIN, SIDE_MAX = 64, 16_384
SEXES = ("male", "female")
_ALSO = {"man": "male", "boy": "male", "m": "male", "woman": "female", "girl": "female", "f": "female"}
#: All that a literal of plain values is made of: anything else in it is refused before Python looks at it.
_LITERAL = re.compile(
    r"""\s+|[uU]?'(?:[^'\\\n]|\\.)*'|[uU]?"(?:[^"\\\n]|\\.)*"|-?\d+(?:\.\d+)?|\b(?:True|False|None)\b|[{}\[\](),:]"""
)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was understood; None and "" = not said."""

    product: str
    sex: str = ""
    #: In years.
    age: int | None = None
    custom_prompt: str = ""
    #: In pixels; both or none.
    width: int | None = None
    height: int | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_metadata(given: str) -> dict[str, Any]:
    """The object of ``--metadata``: itself, or the file it is in. Raises UsageError."""
    text = given.strip()
    if not text.startswith(("{", "[", "(", "'", '"')):
        text = _read_file(Path(given))
    _check_length(len(text.encode("utf-8", "replace")))
    found = _parse(text)
    if isinstance(found, str):
        # A request of an older system holds the object as a text.
        found = _parse(found)
    if not isinstance(found, dict):
        raise UsageError(f"The metadata must be an object such as {{'product': 'car'}}, not {_kind(found)}.")
    return cast("dict[str, Any]", found)


def _read_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        hint = """--metadata takes a file, or the object itself: '{"product": "car"}'"""
        raise UsageError(f"There is no file {_short(str(path))}; {hint}.") from None
    except (OSError, ValueError) as exc:
        raise UsageError(f"The metadata {_short(str(path))} cannot be read: {reason(exc)}.") from exc
    _check_length(len(data))
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UsageError(f"The metadata {_short(str(path))} is no text in UTF-8.") from None


def _check_length(count: int) -> None:
    if count > BYTES_MAX:
        raise UsageError(f"The metadata is too long: at most {BYTES_MAX:,} bytes.")


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as exc:
        as_json = f"{exc.msg} at line {exc.lineno}, column {exc.colno}"
    except RecursionError:
        raise UsageError("The metadata is nested too deeply.") from None
    except ValueError:
        # Python reads numbers of 4,300 digits and no longer ones.
        raise UsageError("The metadata holds a number that is too long.") from None
    _check_literal(text, as_json)
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if isinstance(tree, ast.Dict):
            _once([(ast.literal_eval(key), None) for key in tree.keys if key is not None])
        return ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise _unreadable(as_json) from None


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"The metadata says {name!r} twice.")
    return dict(pairs)


def _check_literal(text: str, as_json: str) -> None:
    """Raise UsageError unless it holds nothing but plain values and brackets, and not many of these in each other."""
    at = depth = 0
    while at < len(text):
        token = _LITERAL.match(text, at)
        if token is None:
            raise _unreadable(as_json, f": {_short(text[at:])} is no value")
        depth += (token[0] in "{[(") - (token[0] in "}])")
        if depth > DEPTH_MAX:
            raise UsageError("The metadata is nested too deeply.")
        at = token.end()


def _unreadable(as_json: str, as_literal: str = "") -> UsageError:
    return UsageError(f"The metadata is neither a JSON object ({as_json}) nor a Python literal of one{as_literal}.")


def _short(value: Any) -> str:
    """A value as it is shown in a message."""
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def _kind(value: Any) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


# --- understanding ----------------------------------------------------------------------------------------------------


def understand(kit: Kit, metadata: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[Wish, list[str]]:
    """The wish, and notes for the user; raises UsageError with one line for each faulty field.

    ``options`` has the fields that were given on the command line, by the names of metadata.
    """
    faults: list[str] = []
    found: dict[str, Any] = {}
    for source, given in (("metadata", metadata), ("options", options)):
        for name, value in given.items():
            if name not in FIELDS:
                faults.append(f"{str(name)[:SHOWN_MAX]}: there is no such field. {did_you_mean(str(name), FIELDS)}")
                continue
            try:
                found[f"{source}/{name}"] = FIELDS[name](value, kit)
            except ValueError as exc:
                faults.append(f"{_shown(name, source)}: {exc}")
    chosen: dict[str, Any] = {}
    notes: list[str] = []
    for name in FIELDS:
        said, own = found.get(f"metadata/{name}"), found.get(f"options/{name}")
        chosen[name] = said if own is None else own
        if None not in (said, own) and said != own:
            notes.append(f"{_flag(name)} {own!r} is taken, instead of {name} {said!r} in the metadata.")
    product = kit.products[chosen["product"] or next(iter(kit.products))]
    if not faults:
        faults += _faults_together(kit, product, chosen)
    if faults:
        raise UsageError(_listed(faults))
    if not product.people and (chosen["sex"] or chosen["age"] is not None):
        notes.append(f"Sex and age are not used: a picture of product {product.name!r} shows nobody.")
    wish = {name: value for name, value in chosen.items() if value is not None}
    return Wish(**{**wish, "product": product.name}), notes


def _shown(name: str, source: str) -> str:
    return _flag(name) if source == "options" else name


def _flag(name: str) -> str:
    return "--size" if name in ("width", "height") else f"--{name.replace('_', '-')}"


def _listed(faults: list[str]) -> str:
    lines = [f"{fault.rstrip('.?')}{'?' if fault.endswith('?') else '.'}" for fault in faults]
    return lines[0] if len(lines) == 1 else "\n  - ".join([f"{len(lines)} fields are wrong:", *lines])


def _faults_together(kit: Kit, product: Product, chosen: Mapping[str, Any]) -> list[str]:
    """What is wrong between fields that are sound by themselves."""
    faults = []
    missing = next((name for name in ("width", "height") if chosen[name] is None), None)
    if missing is not None and (chosen["width"] or chosen["height"]):
        faults.append(f"{missing}: is missing; a size needs both")
    age = chosen["age"]
    if product.people and age is not None and kit.age_group(age) is None:
        spans = ", ".join(f"{group.first} to {group.last}" for group in kit.ages)
        faults.append(f"age: kit {kit.name!r} shows people of {spans}, not of {age}")
    breach = kit.breach(product, chosen["custom_prompt"] or "")
    if breach is not None:
        rule, word = breach
        faults.append(
            f"custom_prompt: {word!r} is against the rule {rule.name!r}, which kit {kit.name!r} has for product"
            f" {product.name!r}; say it without, or take another product"
        )
    return faults


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"must be a text, not {_kind(value)}")
    return " ".join(value.split())


def _whole(value: Any, low: int, high: int, what: str) -> int | None:
    if isinstance(value, str):
        value = int(value) if re.fullmatch(r"\s*[0-9]{1,9}\s*", value) else value or None
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        shown = _short(value) if isinstance(value, str | float) else _kind(value)
        raise ValueError(f"must be a whole number of {what}, not {shown}")
    if not low <= value <= high:
        raise ValueError(f"must be {low} to {high} {what}, not {_short(value)}")
    return value


def _sex(value: Any, _kit: Kit) -> str | None:
    text = _text(value).casefold()
    if text and text not in SEXES:
        meant = _ALSO.get(text)
        hint = f"Did you mean {meant!r}?" if meant else did_you_mean(text, SEXES, what="Known are")
        raise ValueError(f"must be male, female or empty, not {_short(value)}. {hint}")
    return text or None


def _age(value: Any, _kit: Kit) -> int | None:
    return _whole(value, 0, OLDEST, "years")


def _product(value: Any, kit: Kit) -> str | None:
    text = _text(value)
    if not text:
        return None
    product = kit.product(text)
    if product is None:
        raise ValueError(f"kit {kit.name!r} has no product {_short(text)}. {did_you_mean(text, kit.products)}")
    return product.name


def _custom_prompt(value: Any, _kit: Kit) -> str | None:
    text = _text(value)
    if len(text) > PROMPT_MAX:
        raise ValueError(f"has {len(text)} characters; at most {PROMPT_MAX} are taken")
    if _CONTROL.search(text):
        raise ValueError("has control characters in it")
    return text or None


def _side(value: Any, _kit: Kit) -> int | None:
    return _whole(value, SIDE_MIN, SIDE_MAX, "pixels")


#: Field -> its value as it is used, None where it says nothing; raises ValueError saying what is wrong with it.
FIELDS: Mapping[str, Callable[[Any, Kit], Any]] = {
    "sex": _sex,
    "age": _age,
    "product": _product,
    "custom_prompt": _custom_prompt,
    "height": _side,
    "width": _side,
}
