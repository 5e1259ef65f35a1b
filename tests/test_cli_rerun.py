"""``rerun``: the images of an info.json again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli_tools import TINY, Tirada, hashes, info_of, made
from tests.servers.openai_api import OpenAIServer


def test_rerun_makes_the_same_images_in_a_new_folder(tirada: Tirada) -> None:
    (first,) = tirada("3", "96x64", "--format", "webp", "--negative", "rain").folders
    for path in (first, first / "info.json"):
        (again,) = tirada("rerun", path).folders
        assert again != first
        assert hashes([again]) == hashes([first])
        old, new = info_of(first), info_of(again)
        for key in ("seeds", "prompt", "brief", "role", "size", "format", "title", "metatags", "quantity", "writer"):
            assert new[key] == old[key], key
    assert tirada("rerun", first, "--dry-run", "--json").json["images"] == 3


def test_rerun_with_a_service_that_has_no_seeds(tirada: Tirada, openai: OpenAIServer) -> None:
    (first,) = tirada("1", TINY, "--dalle", "--option", "quality=low", "--writer", "composer").folders
    result = tirada("rerun", first)
    assert "OpenAI Images takes no seeds" in result.err
    assert openai.requests[0].json == openai.requests[1].json
    (drafted,) = tirada("rerun", first, "--draft").folders
    assert info_of(drafted)["backend"] == "draft"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a JSON file"),
        ("[1]", "not an info.json of Tirada"),
        ('{"name": "package"}', "it has no 'schema'"),
        ('{"schema": 2}', "has schema 2; this Tirada reads 1"),
        ('{"schema": 1, "title": "x"}', "Field required"),
        ("\xff", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
    ],
)
def test_rerun_of_something_else(tirada: Tirada, content: str, said: str) -> None:
    Path("info.json").write_text(content, encoding="latin-1")
    result = tirada("rerun", "info.json")
    assert result.code == 2
    assert said in result.err
    assert "info.json" in result.err
    assert "Traceback" not in result.err
    assert made() == ["info.json"]
