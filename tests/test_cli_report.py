"""What is said while a run goes on and at its end: each thing once, counted from 1, and results on stdout only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backend_tools import SERIAL
from tests.cli_tools import TINY, Result, Tirada, endpoint, info_of, on_terminal, prompts
from tests.servers.openai_api import Fault, OpenAIServer

WORDS = ("a lighthouse", "something FORBIDDEN", "a heron")


@pytest.fixture(autouse=True)
def _serial(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERIAL.items():
        monkeypatch.setenv(name, value)


def refused_one(tirada: Tirada, *more: str) -> Result:
    result = tirada("1", TINY, "--dalle", "--from", prompts("in.csv", *WORDS), *more)
    assert result.code == 4
    return result


def said(text: str) -> int:
    """How often the refusal is named."""
    return sum("refused: " in line for line in text.splitlines())


def test_concepts_are_counted_from_1_wherever_they_are_named(tirada: Tirada, openai: OpenAIServer) -> None:
    report = refused_one(tirada, "--json").json
    (failure,) = report["failures"]
    assert (failure["concept"], failure["image"], failure["error"]) == (2, 1, "refused")
    shown = tirada("show", report["run_id"], "--json").json
    assert shown["failures"] == report["failures"]
    assert shown["folders"][1]["folder"] == failure["folder"]
    assert tirada("show", failure["folder"], "--json").json["position"] == 2
    assert "concept 2, " in tirada("show", report["run_id"]).out
    assert "concept 2, image 1: refused" in refused_one(tirada, "--quiet").err


def test_a_folder_without_an_image_is_no_result(tirada: Tirada, openai: OpenAIServer) -> None:
    result = refused_one(tirada)
    assert [info_of(folder)["status"] for folder in result.folders] == ["done", "done"]
    report = refused_one(tirada, "--json").json
    assert len(report["folders"]) == 3
    assert [info_of(Path(folder))["status"] for folder in report["empty_folders"]] == ["failed"]


def test_a_failure_is_told_once(tirada: Tirada, openai: OpenAIServer) -> None:
    plain = refused_one(tirada)
    assert said(plain.err) == 1
    assert said(refused_one(tirada, "--quiet").err) == 1
    run_id = refused_one(tirada, "--json").json["run_id"]
    # One that was told in another sitting belongs into the report of this one; a new one is told as it happens.
    assert said(tirada("retry", run_id).err) == 1


def test_why_a_run_stops_is_told_once(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.faults += [Fault(status=402), Fault(status=402)]
    source = prompts("in.csv", *WORDS)
    assert tirada("1", TINY, "--dalle", "--from", source).err.count("credit") == 1
    assert tirada("1", TINY, "--dalle", "--from", source, "--quiet").err.count("credit") == 1


def test_a_failure_is_told_once_on_a_terminal(openai: OpenAIServer) -> None:
    command = ("1", TINY, "--dalle", "--from", prompts("in.csv", *WORDS))
    result = on_terminal(*command, TERM="xterm", COLUMNS="200", **endpoint(openai), **SERIAL)
    assert result.code == 4
    assert said(result.err) == 1
    assert len(result.out.splitlines()) == 2


def test_one_is_not_more_than_one(tirada: Tirada) -> None:
    result = tirada("1", TINY)
    assert ": 1 image\n" in result.err
    assert "1 of 1 image," in result.err
    assert "1 of 1 prompt," in tirada("1", "--only-prompts").err
    rows = tirada("history").out
    assert "1/1 image " in rows
    assert "1 prompt " in rows
