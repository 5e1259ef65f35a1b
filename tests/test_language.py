"""The language check, on the short captions it was measured with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.writers.language import NAMES, is_clearly_not, name_of

HERE = Path(__file__).parent
ROWS = [json.loads(line) for line in (HERE / "captions.jsonl").read_text("utf-8").splitlines()]
LANGUAGES = sorted({row["language"] for row in ROWS})


@pytest.mark.parametrize("asked", LANGUAGES)
def test_a_correct_caption_is_never_called_wrong(asked: str) -> None:
    rows = [row for row in ROWS if row["language"] == asked]
    assert len(rows) == 10
    for row in rows:
        assert not is_clearly_not(row["description"], asked), row
        assert not is_clearly_not(f"{row['title']}. {row['description']}", asked), row


@pytest.mark.parametrize("asked", LANGUAGES)
def test_nearly_every_caption_in_another_language_is_found_out(asked: str) -> None:
    others = [f"{row['title']}. {row['description']}" for row in ROWS if row["language"] != asked]
    passed = [text for text in others if not is_clearly_not(text, asked)]
    assert len(passed) <= 3, passed


def test_our_own_examples_are_english() -> None:
    lines = [line for path in (HERE.parent / "tuning").glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    assert lines
    for row in map(json.loads, lines):
        assert not is_clearly_not(f"{row['title']}. {row['description']}", "en"), row
        assert is_clearly_not(row["description"], "fr"), row


def test_neighbours_are_not_held_against_each_other() -> None:
    norwegian = "En rød rev krysser isen ved kanten av en bjørkeskog tidlig om morgenen."
    assert not any(is_clearly_not(norwegian, code) for code in ("nb", "no", "nn", "da", "sv"))
    assert is_clearly_not(norwegian, "en")


@pytest.mark.parametrize("code", ["xx", "tlh", "yi"])
def test_unknown_languages_are_not_checked(code: str) -> None:
    assert not is_clearly_not("A red fox steps across cracked ice at the edge of a forest.", code)
    assert code in name_of(code)


def test_regions_and_short_texts() -> None:
    assert is_clearly_not("A red fox crosses the frozen stream in the morning.", "pt-BR")
    assert name_of("pt_BR") == "Portuguese"
    assert not is_clearly_not("Ein roter Fuchs", "en")


def test_every_named_language_is_known_to_the_classifier() -> None:
    from models.writers.language import _identifier

    assert set(NAMES) - {"nb"} <= set(_identifier().labels)
