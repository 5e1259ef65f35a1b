"""The options of local rendering, from ``--option KEY=VALUE`` and the flags that stand for some of them.

Invariant: every value is checked before a model is loaded, and a message names what would be right.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from models.errors import UnsupportedRequest

Compile = Literal["auto", "on", "off"]
Cache = Literal["off", "balanced", "fast"]
SWITCH = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "compile": ("auto", "on", "off"),
    "cache": ("off", "balanced", "fast"),
    "memory": ("auto", "card", "text", "model", "group", "tiled", "8bit"),
    "attention": (),
    "config": (),
    "ip_adapter": (),
}
SWITCHES = ("allow_pickle", "safety_checker")
BATCH_MAX = 64
NAMES = frozenset({*CHOICES, *SWITCHES, "batch", "ip_adapter_scale"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the options of a request mean."""

    compile: Compile = "auto"
    cache: Cache = "off"
    #: Name of a memory plan, or "auto".
    memory: str = "auto"
    #: Name of an attention backend of diffusers; empty = the best there is.
    attention: str = ""
    #: Folder with the configuration of a single file; empty = the one its family has on the hub.
    config: str = ""
    #: Folder or file of another IP-Adapter than the catalog names, and how much the reference images count, 0 to 1.
    ip_adapter: str = ""
    ip_adapter_scale: float = 0.6
    allow_pickle: bool = False
    safety_checker: bool = True
    #: Images rendered together; 0 = what the device likes.
    batch: int = 0


def read_options(name: str, given: Mapping[str, str]) -> Options:
    """The options as what they mean; raises UnsupportedRequest. ``name`` is that of the backend."""
    found: dict[str, object] = {}
    for key, text in given.items():
        if key not in NAMES:
            close = difflib.get_close_matches(key, sorted(NAMES), n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(sorted(NAMES))}."
            raise UnsupportedRequest(f"{name} has no option {key!r}.", hint=hint)
        found[key] = _value(key, text.strip())
    return Options(**cast("dict[str, str]", found))  # type: ignore[arg-type]


def _value(key: str, text: str) -> object:
    if key in SWITCHES:
        if text.casefold() not in SWITCH:
            raise UnsupportedRequest(f"{key} is {text!r}; use true or false.")
        return SWITCH[text.casefold()]
    if key == "batch":
        if not text.isdecimal() or not 1 <= int(text) <= BATCH_MAX:
            raise UnsupportedRequest(f"batch is {text!r}; use a whole number from 1 to {BATCH_MAX}.")
        return int(text)
    if key == "ip_adapter_scale":
        return _share(key, text)
    legal = CHOICES[key]
    if legal and text not in legal:
        raise UnsupportedRequest(f"{key} is {text!r}; use one of {', '.join(legal)}.")
    if not text:
        raise UnsupportedRequest(f"{key} is empty.", hint="Leave it out.")
    return text


def _share(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UnsupportedRequest(f"{key} is {text!r}; use a number from 0 to 1.")
    return value
