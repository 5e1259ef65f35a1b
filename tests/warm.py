"""What a process works out once at its start, kept where thousands of commands run in one process.

Invariant: only functions of other packages that answer from their arguments alone are remembered, and every caller gets
an answer of its own: a test sees what it would see in a process of its own, sooner.
"""

from __future__ import annotations

import functools
import pickle
import tomllib
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import typer.main


def remember() -> None:
    """From now on in this process."""
    loads = _parsed(tomllib.loads)
    tomllib.loads = loads
    tomllib.load = lambda file, /, **options: loads(file.read().decode(), **options)
    typer.main.get_params_from_function = _signatures(typer.main.get_params_from_function)


def _parsed(loads: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Files that are TOML are parsed once for each text."""

    @functools.cache
    def pickled(text: str) -> bytes:
        return pickle.dumps(loads(text))

    def remembered(text: str, /, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = loads(text, **options) if options else pickle.loads(pickled(text))
        return found

    return remembered


def _signatures(read: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """The parameters of a command are read from its signature once; Typer makes the options anew each time."""
    known: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

    def remembered(function: Any) -> dict[str, Any]:
        if function not in known:
            known[function] = read(function)
        return dict(known[function])

    return remembered
