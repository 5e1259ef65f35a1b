"""What runs remember of each other: the cards that were dealt, and what was written."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz import fuzz

from tests.cli_tools import Tirada, endpoint
from tests.run_tools import BillingServer, read_csv, rows, start, write_role
from tests.servers.openai_chat import default_chat, invent, wanted_count
from tirada.engine.novelty import NEAR

OUTPUT = Path("output")
CSV = OUTPUT / "batch_prompts.csv"
SCENES = [f"a heron with {n} rings" for n in range(10)]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with one small role."""
    folder = write_role(tmp_path / "data", "tester", SCENES)
    monkeypatch.setenv("DATA_DIR", str(folder))
    monkeypatch.setenv("TUNING_DIR", str(tmp_path / "tuning"))
    return folder


def dealt(start: int = 0) -> list[str]:
    """The scenes of all concepts so far, in the order they were dealt."""
    return [json.loads(row["brief"])["scene"] for row in rows(OUTPUT, "concepts")][start:]


def write(tirada: Tirada, count: int, *more: object, **env: str) -> None:
    result = tirada(count, "--only-prompts", "--quiet", *more, **env)
    assert result.code == 0, result.err


# --- decks ----------------------------------------------------------------------------------------------------------


def test_separate_runs_deal_everything_before_anything_repeats(tirada: Tirada, data: Path) -> None:
    for _ in range(20):
        write(tirada, 1)
    cards = dealt()
    assert sorted(cards[:10]) == sorted(cards[10:]) == SCENES
    assert cards[:10] != SCENES and cards[:10] != cards[10:]


def test_every_list_is_a_deck_of_its_own(tirada: Tirada, data: Path) -> None:
    write(tirada, 40)
    briefs = [json.loads(row["brief"]) for row in rows(OUTPUT, "concepts")]
    assert len({brief["style"] for brief in briefs}) == len({brief["light"] for brief in briefs}) == 40
    assert {brief["scene"] for brief in briefs} == set(SCENES)


def test_roles_are_dealt_too(tirada: Tirada, data: Path) -> None:
    for name in ("second", "third"):
        write_role(data, name, SCENES)
    for _ in range(6):
        write(tirada, 1)
    roles = [row["role"] for row in rows(OUTPUT, "concepts")]
    assert sorted(roles[:3]) == sorted(roles[3:]) == ["second", "tester", "third"]


def test_data_edited_in_between_is_noticed(tirada: Tirada, data: Path) -> None:
    write(tirada, 4)
    seen = set(dealt())
    gone = next(scene for scene in SCENES if scene not in seen)
    present = [scene for scene in SCENES if scene != gone] + ["a stork that is new"]
    write_role(data, "tester", present)
    for _ in range(6):
        write(tirada, 1)
    assert set(dealt(4)) == set(present) - seen


def test_a_seed_leaves_the_remembered_deck_alone(tirada: Tirada, data: Path) -> None:
    write(tirada, 3)
    write(tirada, 5, "--seed", 1)
    write(tirada, 7)
    cards = dealt()
    assert sorted(cards[:3] + cards[8:]) == SCENES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_never_get_the_same_card(data: Path, tmp_path: Path) -> None:
    scenes = [f"a heron with {n} rings" for n in range(60)]
    write_role(data, "tester", scenes)
    env = {"DATA_DIR": str(data), "TUNING_DIR": str(tmp_path / "tuning")}
    children = [start(20, "--only-prompts", **env) for _ in range(3)]
    assert [child.wait().code for child in children] == [0, 0, 0]
    assert sorted(dealt()) == sorted(scenes)


# --- nothing twice --------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in {**endpoint(server), "WRITER_BATCH": "2", "WRITER_IN_FLIGHT": "2"}.items():
            monkeypatch.setenv(name, value)
        yield server


def closest(texts: list[str]) -> float:
    """The likeness of the two that are most alike, without regard to the order of words."""
    pairs = [(one, other) for number, one in enumerate(texts) for other in texts[:number]]
    return max(fuzz.token_sort_ratio(one.casefold(), other.casefold()) for one, other in pairs)


def test_a_model_that_repeats_itself_is_asked_again(tirada: Tirada, server: BillingServer) -> None:
    def chat(request: Any) -> Any:
        if "too close to" in json.dumps(request["messages"]):
            return default_chat(request)
        # The same idea, told a little differently each time.
        one = invent(1)
        turns = ("", " Softly.", " It is late.")
        said = one["description"] + turns[server.asked["text"] % 3]
        return {"concepts": [{**one, "description": said}] * wanted_count(request)}

    server.chat = chat
    result = tirada(8, "--only-prompts", "--role", "artist", "--json")
    assert result.code == 0, result.err
    assert result.json["done"] == 8 and result.json["near_duplicates_rejected"] >= 7
    for source in (read_csv(CSV), rows(OUTPUT, "concepts")):
        assert len(source) == 8
        assert closest([f"{row['title']} {row['description']}" for row in source]) < NEAR


def test_what_an_earlier_run_wrote_is_not_written_again(tirada: Tirada, server: BillingServer) -> None:
    known = [invent(number) for number in (21, 22)]
    server.chat = lambda request: {"concepts": known}
    write(tirada, 2, "--role", "artist")

    def chat(request: Any) -> Any:
        again = "too close to" in json.dumps(request["messages"])
        return default_chat(request) if again else {"concepts": known}

    server.chat = chat
    write(tirada, 2, "--role", "artist")
    titles = [row["title"] for row in read_csv(CSV)]
    assert titles[:2] == [one["title"] for one in known] and len(set(titles)) == 4


def test_rows_that_others_put_into_the_list_count_too(tirada: Tirada, server: BillingServer) -> None:
    mine = invent(31)
    OUTPUT.mkdir()
    with CSV.open("w", encoding="utf-8", newline="") as file:
        rows_ = [("title", "description", "metatags", "prompt"), (mine["title"], mine["description"], "a, b", "mine")]
        csv.writer(file).writerows(rows_)

    def chat(request: Any) -> Any:
        return default_chat(request) if "too close to" in json.dumps(request["messages"]) else {"concepts": [mine]}

    server.chat = chat
    write(tirada, 1)
    assert server.asked["text"] == 2
    assert [row["title"] == mine["title"] for row in read_csv(CSV)] == [True, False]


def test_a_model_that_never_stops_repeating_fails_alone(tirada: Tirada, server: BillingServer) -> None:
    server.chat = lambda request: {"concepts": [invent(41)] * wanted_count(request)}
    result = tirada(3, "--only-prompts", "--role", "artist", "--json")
    assert result.code == 4
    assert (result.json["done"], result.json["failed"]) == (1, 2)
    assert len(read_csv(CSV)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_write_at_once_tear_no_line() -> None:
    children = [start(150, "--only-prompts") for _ in range(3)]
    assert [child.wait().code for child in children] == [0, 0, 0]
    found = read_csv(CSV)
    assert len(found) == 450 and CSV.read_bytes().count(b"title,description,metatags,prompt\r\n") == 1
    written = sorted((row["title"], row["prompt"]) for row in rows(OUTPUT, "concepts"))
    assert sorted((row["title"], row["prompt"]) for row in found) == written
