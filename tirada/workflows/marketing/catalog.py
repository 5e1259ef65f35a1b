"""Industries and styles: ``data/industries/*.toml`` and ``data/styles/*.toml``, and files of the user's own.

An industry holds ``title``, ``about`` (a sentence said to a text model), lists of phrases to deal from, ``do``
(phrases that help) and ``dont`` (what goes into the negative prompt), and optionally a table ``lora`` with ``source``,
``weight`` and ``trigger``. Phrases have one grammatical shape per list, so that a sentence can be built around them:

========  =====================================  =====================================
list      shape                                  example
========  =====================================  =====================================
settings  place with its preposition             on a slab of dark slate
lights    noun phrase, reads after "lit by"      cool window light from the left
props     noun phrase, reads after "with"        a coiled cable in braided cotton
views     how it is framed, reads on its own     a close-up with a shallow depth of field
palettes  two to four colours                    graphite, ice blue and white
========  =====================================  =====================================

A style holds ``title``, ``words`` (said in every prompt), ``negative``, and optionally a table ``guidance`` with a
number for each backend where one is known to be good.

Invariant: whatever is wrong with a file is said with its name and the key, before anything is spent.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from tirada.errors import UsageError, reason

Kind = Literal["industries", "styles"]
LISTS = ("settings", "lights", "props", "views", "palettes")
#: With fewer, variants would soon be alike.
ENTRIES_MIN = 3
ENTRY_MAX = 120
#: What is taken where no industry or style is named.
DEFAULT_INDUSTRY, DEFAULT_STYLE = "general", "professional"
_ONE = {"industries": "industry", "styles": "style"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLora:
    """A LoRA that belongs to an industry; ``source`` is a repository or an absolute path."""

    source: str
    weight: float = 1.0
    #: The word it was trained with, said in the prompt; empty = none.
    trigger: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Industry:
    """What pictures of a sector look like."""

    name: str
    title: str
    about: str
    settings: tuple[str, ...]
    lights: tuple[str, ...]
    props: tuple[str, ...]
    views: tuple[str, ...]
    palettes: tuple[str, ...]
    do: tuple[str, ...]
    dont: tuple[str, ...]
    lora: OwnLora | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a picture is made."""

    name: str
    title: str
    words: str
    negative: str
    #: Backend -> guidance that suits it.
    guidance: Mapping[str, float] = field(default_factory=dict)


def load_industry(data: Path, name: str) -> Industry:
    """The industry of that name, or of a TOML file; raises UsageError for one that is not there, or is faulty."""
    return _load(data, "industries", name, _industry)


def load_style(data: Path, name: str) -> Style:
    """The style of that name, or of a TOML file; raises UsageError for one that is not there, or is faulty."""
    return _load(data, "styles", name, _style)


def names(data: Path, kind: Kind) -> list[str]:
    """What there is in the data folder."""
    return sorted(path.stem for path in (data / kind).glob("*.toml"))


def is_file(name: str) -> bool:
    """Whether a name on the command line means a file of the user's own."""
    return name.lower().endswith(".toml")


def _load(data: Path, kind: Kind, name: str, read: Callable[[str, Path, Mapping[str, Any]], T]) -> T:
    path = Path(name).expanduser() if is_file(name) else _find(data, kind, name)
    try:
        return read(path.stem, path, tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UsageError(f"There is no file {str(path)!r}.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{path} cannot be read: {reason(exc)}.") from None
    except tomllib.TOMLDecodeError as exc:
        raise UsageError(f"{path} is no valid TOML: {exc}.") from None
    except ValueError as exc:
        raise UsageError(f"{path}: {exc}.") from None


def _find(data: Path, kind: Kind, name: str) -> Path:
    known = names(data, kind)
    wanted = name.strip().lower().replace(" ", "-").replace("_", "-")
    if wanted in known:
        return data / kind / f"{wanted}.toml"
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "give one of these, or a TOML file of your own."
    raise UsageError(f"There is no {_ONE[kind]} {name!r}; {hint} There are {', '.join(known)}.")


def _industry(name: str, path: Path, found: Mapping[str, Any]) -> Industry:
    _check_keys(found, {"title", "about", "do", "dont", "lora", *LISTS})
    lists = {key: _phrases(found, key, ENTRIES_MIN) for key in LISTS}
    return Industry(
        name=name,
        title=_text(found, "title"),
        about=_text(found, "about"),
        do=_phrases(found, "do", 1),
        dont=_phrases(found, "dont", 1),
        lora=_lora(found["lora"], path) if "lora" in found else None,
        **lists,
    )


def _style(name: str, _path: Path, found: Mapping[str, Any]) -> Style:
    _check_keys(found, {"title", "words", "negative", "guidance"})
    guidance = found.get("guidance", {})
    if not isinstance(guidance, dict):
        raise ValueError("'guidance' must be a table of numbers, such as { sdapi = 6.5 }")
    numbers = {backend: _number(value, f"guidance.{backend}", 50) for backend, value in guidance.items()}
    words, negative = _text(found, "words"), _text(found, "negative")
    return Style(name=name, title=_text(found, "title"), words=words, negative=negative, guidance=numbers)


def _lora(found: Any, path: Path) -> OwnLora:
    if not isinstance(found, dict):
        raise ValueError("'lora' must be a table with a source")
    _check_keys(found, {"source", "weight", "trigger"}, "lora.")
    source = _text(found, "source")
    # A file is looked for beside the one that names it; anything else is a repository, or a name the server knows.
    beside = path.parent / Path(source).expanduser()
    trigger = found.get("trigger", "")
    if not isinstance(trigger, str):
        raise ValueError("'lora.trigger' must be a text")
    return OwnLora(
        source=str(beside.absolute()) if beside.exists() else source,
        weight=_number(found.get("weight", 1.0), "lora.weight", 4),
        trigger=" ".join(trigger.split()),
    )


def _check_keys(found: Mapping[str, Any], known: set[str], prefix: str = "") -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}" if near else f"known are {', '.join(sorted(known))}"
            raise ValueError(f"unknown key {prefix + key!r}; {hint}")


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key!r} must be a text")
    return " ".join(value.split())


def _number(value: Any, key: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ValueError(f"{key!r} must be a number above 0, up to {most:g}")
    return float(value)


def _phrases(found: Mapping[str, Any], key: str, least: int) -> tuple[str, ...]:
    value = found.get(key)
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise ValueError(f"{key!r} must be a list of texts")
    phrases = tuple(" ".join(one.split()).rstrip(".,;") for one in value)
    if len(phrases) < least:
        raise ValueError(f"{key!r} has {len(phrases)} entries; give {least} or more")
    for one in phrases:
        if len(one) > ENTRY_MAX:
            raise ValueError(
                f"{key!r} holds an entry of {len(one)} characters ({one[:30]!r}…); {ENTRY_MAX} is the limit"
            )
        if sum(other.casefold() == one.casefold() for other in phrases) > 1:
            raise ValueError(f"{key!r} holds {one!r} twice")
    return phrases
