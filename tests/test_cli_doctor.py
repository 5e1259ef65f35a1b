"""``doctor``: what it finds, and what it leaves alone."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.cli_tools import TINY, Tirada, made, own_catalog
from tests.run_tools import write_role


def test_a_healthy_doctor(tirada: Tirada) -> None:
    result = tirada("doctor")
    assert result.code == 0
    assert "problem" not in result.out
    for said in ("Python 3.", "OPENAI_API_KEY is not set", "Writer: composer\n", " roles, ", " few-shot", "MB free"):
        assert said in result.out
    assert made() == []
    findings = tirada("doctor", "--json", OPENAI_API_KEY="test-key").json
    assert {"level": "ok", "message": "OPENAI_API_KEY is set"} in findings


def test_the_doctor_warns_of_models_that_retire_soon(tirada: Tirada) -> None:
    def row(name: str, days: int) -> str:
        day = date.today() + timedelta(days=days)
        return f'[[text]]\nid = "{name}"\nretires = {day}\nuse = "other"'

    catalog = own_catalog(row("leaves-soon", 59), row("leaves-later", 61), row("has-left", -1))
    # What these settings never use is nothing to warn of.
    assert "retire" not in tirada("doctor", CATALOG_FILE=catalog).out
    result = tirada("doctor", CATALOG_FILE=catalog, WRITER_MODEL="leaves-soon")
    assert result.code == 0
    said = r"warning +leaves-soon retires on \S+, in 59 days, and WRITER_MODEL names it; use other\n"
    assert re.search(said, result.out)
    assert "retire" not in tirada("doctor", CATALOG_FILE=catalog, WRITER_MODEL="leaves-later").out
    result = tirada("doctor", CATALOG_FILE=catalog, OPENAI_API_KEY="test-key", WRITER_MODEL="has-left")
    assert result.code == 3
    assert re.search(r"problem +has-left was retired", result.out)


def test_the_doctor_warns_of_the_default_of_a_backend_that_is_ready(tirada: Tirada) -> None:
    day = date.today() + timedelta(days=1)
    row = f'[[image]]\nid = "gpt-image-2.6-flare"\nbackend = "dalle"\ndefault = true\nretires = {day}\nuse = "other"'
    catalog = own_catalog(row)
    assert "retire" not in tirada("doctor", CATALOG_FILE=catalog).out
    said = f"gpt-image-2.6-flare retires on {day}, in 1 day, and --dalle uses it; use other\n"
    assert said in tirada("doctor", CATALOG_FILE=catalog, OPENAI_API_KEY="test-key").out
    assert said in tirada("doctor", CATALOG_FILE=catalog, BACKEND="dalle").out
    other = tirada("doctor", CATALOG_FILE=catalog, OPENAI_API_KEY="test-key", DALLE_MODEL="gpt-image-2")
    assert "gpt-image-2.6-flare" not in other.out


def test_the_doctor_warns_of_roles_with_little_to_choose_from(tirada: Tirada) -> None:
    write_role(Path("mine"), "thin", ["a fox", "an owl"])
    result = tirada("doctor", DATA_DIR="mine", TUNING_DIR="tuning")
    assert result.code == 0
    (line,) = [line for line in result.out.splitlines() if "Role thin" in line]
    assert line.startswith("warning ")
    for said in ("fewer than 30 entries to choose from (2 in scene", "no few-shot examples (tuning/thin.jsonl)"):
        assert said in line
    assert "Role " not in tirada("doctor").out


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("RETRY_TRIES", "many", "RETRY_TRIES"),
        ("DATA_DIR", "nowhere", "No roles found in 'nowhere/roles'"),
        ("MIN_FREE_MB", "999999999", "MB free"),
        ("DALLE_MODEL", "dall-e-3", "dall-e-3 was retired on 2026-05-12"),
        ("WRITER", "gpt", "No OpenAI key is set"),
        ("WRITER_LANGUAGE", "es", "The composer writes English"),
        ("OUTPUT_DIR", "a-file", "a-file"),
    ],
)
def test_the_doctor_finds_problems(tirada: Tirada, setting: str, value: str, said: str) -> None:
    Path("a-file").touch()
    result = tirada("doctor", **{setting: value})
    assert result.code == 3
    problems = [line for line in result.out.splitlines() if line.startswith("problem")]
    assert len(problems) == 1
    assert said in problems[0]
    assert made() == ["a-file"]


def test_the_doctor_names_what_can_be_resumed(tirada: Tirada) -> None:
    tirada("1", TINY, MIN_FREE_MB="999999999")
    run = tirada("history", "--json").json[0]["id"]
    assert f"1 unfinished run; the newest: python main.py resume {run}" in tirada("doctor").out
    tirada("resume")
    assert "No unfinished run" in tirada("doctor").out
