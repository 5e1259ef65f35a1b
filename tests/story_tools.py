"""Stories for tests: a small one through the front door, and what a text model would write."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cli_tools import Result, Tirada

IDEA = "a shy lighthouse keeper befriends a whale"
#: Small pictures, always the same.
SMALL = ("--size", "64x64", "--seed", "7")


def tell(tirada: Tirada, *options: object, idea: str = IDEA, code: int = 0, **env: str) -> Result:
    """Run ``story`` with small pictures, offline unless the environment has a key."""
    done = tirada("story", idea, *SMALL, *options, **env)
    assert done.code == code, done.err
    return done


def record(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "story.json").read_text(encoding="utf-8"))
    return loaded


def answer(pages: int) -> dict[str, Any]:
    """A sound answer of a text model."""
    words = "Mira rowed out before breakfast and counted the waves, one two three, until one of them answered her."
    return {
        "title": "The Wave That Answered",
        "summary": "Mira counts waves, and one of them is somebody.",
        "characters": [
            {"name": "Mira", "look": "a small girl with two black plaits, in a yellow raincoat"},
            {"name": "Ondo", "look": "a young blue whale with a white spot over one eye"},
        ],
        "setting": "a rocky bay with green water and white gulls",
        "cover": "Mira in a rowing boat beside the huge calm eye of Ondo, pale sky above",
        "pages": [
            {"text": f"{number}: {words}", "picture": f"Mira in her boat, wave number {number} rising behind"}
            for number in range(1, pages + 1)
        ],
    }


def always(reply: Mapping[str, Any]) -> Callable[[Any], Any]:
    """What a stand-in says to everything."""
    return lambda request: reply
