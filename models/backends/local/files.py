"""Which files of a repository a model is loaded from, and whether they are whole.

Invariant: what is downloaded and what is loaded is decided here and nowhere else, from the names of the files and the
model's index alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.backends.local.source import PICKLED, SAFE, read_header
from models.backends.local.trouble import broken_file, incomplete, no_safetensors

INDEX = "model_index.json"
#: What configurations, tokenizers and processors are made of.
SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_SHARD = r"(?:-\d{5}-of-\d{5})"
#: Weights as diffusers and transformers name them: "model.fp16-00001-of-00002.safetensors", or as it was once written.
WEIGHTS = re.compile(
    rf"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?{_SHARD}?(?:\.(?P<late>\w+))?"
    r"(?P<ending>\.safetensors|\.bin)"
)
#: Tells which shard holds which weights.
SHARDS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<early>\w+))?(?P<ending>\.safetensors|\.bin)\.index"
    r"(?:\.(?P<variant>\w+))?\.json"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The files to load: small ones first, then weights."""

    files: tuple[str, ...]
    #: The variant by which to load them; empty where the repository has none of it.
    variant: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """Which of a part's sets of weights a file belongs to."""

    ending: str
    variant: str


def choose(
    what: str, names: Iterable[str], index: Mapping[str, Any], *, variant: str, allow_pickle: bool = False
) -> Choice:
    """What of these files the model is loaded from; raises SetupError where that would take a pickle.

    ``variant`` is taken part by part where there is one. ``what`` is the model's name, for messages.
    """
    small: list[str] = [INDEX]
    weights: list[str] = []
    found_variant = ""
    by_part: dict[str, list[str]] = {part: [] for part in parts(index)}
    for name in sorted(names):
        part, slash, _ = name.partition("/")
        if slash and part in by_part:
            by_part[part].append(name)
    for own in by_part.values():
        sets = _sets(own)
        kind = _best(what, sets, variant, allow_pickle) if sets else None
        for name in own:
            of = _kind(name)
            if of is None and name.endswith(SMALL):
                small.append(name)
            elif of is not None and of == kind:
                (small if name.endswith(".json") else weights).append(name)
        if kind is not None and kind.variant:
            found_variant = kind.variant
    return Choice(files=(*small, *weights), variant=found_variant)


def parts(index: Mapping[str, Any]) -> list[str]:
    """The folders a model is made of, as its index names them."""
    return [
        name
        for name, value in index.items()
        if not name.startswith("_") and isinstance(value, list) and len(value) == 2 and value[1] is not None
    ]


def _kind(name: str) -> _Kind | None:
    """The set of weights a file belongs to, as one of them or as their list; None for other files."""
    base = name.rpartition("/")[2]
    if (found := WEIGHTS.fullmatch(base)) is not None:
        return _Kind(found["ending"], found["variant"] or found["late"] or "")
    if (found := SHARDS.fullmatch(base)) is not None:
        return _Kind(found["ending"], found["variant"] or found["early"] or "")
    return None


def _sets(names: Iterable[str]) -> set[_Kind]:
    """The sets of weights there are; a list alone is none."""
    return {kind for name in names if not name.endswith(".json") and (kind := _kind(name)) is not None}


def _best(what: str, sets: set[_Kind], variant: str, allow_pickle: bool) -> _Kind | None:
    for ending in (SAFE, ".bin") if allow_pickle else (SAFE,):
        for one in dict.fromkeys((variant, "")):
            if _Kind(ending, one) in sets:
                return _Kind(ending, one)
    if not allow_pickle and any(kind.ending in PICKLED for kind in sets):
        raise no_safetensors(what)
    return None


# --- are they whole? --------------------------------------------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    """The files in a folder that can be opened, as the hub would name them."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def read_index(folder: Path) -> dict[str, Any]:
    """The index of a model; raises SetupError where it has none that can be read."""
    return _read(folder / INDEX)


def missing(folder: Path, files: Iterable[str]) -> list[str]:
    """What is not there of the files, of the shards that they name, and of what every part of a model has."""
    there = set(names_in(folder))
    gone = [name for name in files if name not in there]
    chosen = sorted(there.intersection(files))
    for name in chosen:
        if SHARDS.fullmatch(name.rpartition("/")[2]):
            part = name.rpartition("/")[0]
            shards = {str(shard) for shard in dict(_read(folder / name).get("weight_map", {})).values()}
            gone += sorted(f"{part}/{shard}" for shard in shards if f"{part}/{shard}" not in there)
    if INDEX in there:
        gone += lacking(read_index(folder), chosen)
    return list(dict.fromkeys(gone))


def lacking(index: Mapping[str, Any], files: Iterable[str]) -> list[str]:
    """The parts of a model of which these files hold nothing, or no weights where it has some."""
    gone = []
    for part in parts(index):
        own = [name for name in files if name.startswith(f"{part}/")]
        has_weights = f"{part}/config.json" in own and not part.startswith("tokenizer")
        if not own or (has_weights and not _sets(own)):
            gone.append(f"the weights of {part}" if own else part)
    return gone


def verify(what: str, folder: Path, files: Iterable[str]) -> None:
    """Raise SetupError unless every file is there and opens."""
    files = list(files)
    if gone := missing(folder, files):
        raise incomplete(what, gone)
    for name in files:
        if name.endswith(".json"):
            _read(folder / name)
        elif name.endswith(SAFE):
            _check_header(folder / name)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise broken_file(path, exc) from None
    return found if isinstance(found, dict) else {}


def _check_header(path: Path) -> None:
    """A safetensors file says in its header how long it is."""
    try:
        tensors, length = read_header(path)
        ends = [tensor["data_offsets"][1] for tensor in tensors.values()]
        if (size := path.stat().st_size) != (said := length + max(ends, default=0)):
            raise ValueError(f"it has {size} bytes of {said}")
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
        raise broken_file(path, exc) from None
