"""Whole runs that go well: what lies in the folders, what it cost, and what the prompt list holds."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli_tools import TINY, Tirada, endpoint, write_csv
from tests.run_tools import (
    BillingServer,
    batch_folders,
    check_folder,
    check_output,
    read_csv,
    read_info,
    rows,
    run_row,
)
from tests.servers.openai_chat import invent, wanted_count

OUTPUT = Path("output")
CSV = OUTPUT / "batch_prompts.csv"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in endpoint(server).items():
            monkeypatch.setenv(name, value)
        yield server


# --- folders --------------------------------------------------------------------------------------------------------


def test_one_idea_and_its_images_are_one_folder(tirada: Tirada) -> None:
    result = tirada(3, "96x64", "--draft")
    assert result.code == 0, result.err
    (folder,) = batch_folders(OUTPUT)
    assert result.out.splitlines() == [str(folder)]
    info = check_folder(folder)
    assert [image["file"] for image in info["images"]] == ["01.png", "02.png", "03.png"]
    assert info["status"] == "done" and info["quantity"] == 3 and info["failures"] == []
    assert info["size"] == "96x64" and {image["rendered_size"] for image in info["images"]} == {"96x64"}
    first = info["seeds"][0]
    assert info["seeds"] == [image["seed"] for image in info["images"]] == [first, first + 1, first + 2]
    assert Decimal(info["cost_usd"]) == 0
    check_output(OUTPUT)


def test_every_idea_has_a_folder_of_its_own(tirada: Tirada) -> None:
    result = tirada(2, TINY, "--draft", "--prompts", 3, "--json")
    assert result.code == 0, result.err
    report = result.json
    assert (report["wanted"], report["done"], report["concepts_written"]) == (6, 6, 3)
    infos = check_output(OUTPUT)
    assert [len(info["images"]) for info in infos] == [2, 2, 2]
    assert sorted(report["folders"]) == [str(folder) for folder in batch_folders(OUTPUT)]
    assert len({info["title"] for info in infos}) == len({info["prompt"] for info in infos}) == 3
    seeds = [seed for info in infos for seed in info["seeds"]]
    assert len(set(seeds)) == 6
    assert run_row(OUTPUT)["status"] == "done"
    assert {row["status"] for row in rows(OUTPUT, "concepts")} == {"done"}


@pytest.mark.parametrize(("fmt", "name", "kind"), [("jpeg", "1.jpg", "JPEG"), ("webp", "1.webp", "WEBP")])
def test_other_formats(tirada: Tirada, fmt: str, name: str, kind: str) -> None:
    assert tirada(1, TINY, "--draft", "--format", fmt).code == 0
    (info,) = check_output(OUTPUT)
    assert info["format"] == fmt and info["images"][0]["file"] == "0" + name
    with Image.open(batch_folders(OUTPUT)[0] / f"0{name}") as picture:
        assert picture.format == kind


def test_the_same_seed_makes_the_same_pictures(tirada: Tirada, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b", "c"):
        output = tmp_path / name
        assert tirada(2, TINY, "--draft", "--prompts", 2, "--seed", 8 if name == "c" else 7, "-o", output).code == 0
        infos = sorted(check_output(output), key=lambda info: info["seeds"])
        made.append([(info["title"], info["prompt"], [i["sha256"] for i in info["images"]]) for info in infos])
    assert made[0] == made[1] != made[2]


# --- the service ----------------------------------------------------------------------------------------------------


def test_a_size_the_service_lacks_is_rendered_larger_and_cut_down(tirada: Tirada) -> None:
    with BillingServer(image_size=None) as server:
        result = tirada(2, "256x256", "--dalle", **endpoint(server))
        assert result.code == 0, result.err
        asked = {request.json["size"] for request in server.requests if "/images/" in request.path}
    (info,) = check_output(OUTPUT)
    assert asked == {image["rendered_size"] for image in info["images"]}
    rendered = [int(side) for side in asked.pop().split("x")]
    assert rendered[0] >= 256 <= rendered[1] and rendered[0] * rendered[1] >= 655_360
    assert info["size"] == "256x256" and info["ai"] == "OpenAI Images" and info["seeds"] == [None, None]


def test_the_cost_is_the_bill_of_the_service(tirada: Tirada, server: BillingServer) -> None:
    result = tirada(3, "1024x1024", "--dalle", "--prompts", 2, "--json")
    assert result.code == 0, result.err
    report = result.json
    assert server.billed == 6 and server.total("text") > 0
    assert Decimal(report["cost_usd"]) == server.total() and report["cost_complete"]
    infos = check_output(OUTPUT)
    assert sum(Decimal(info["cost_usd"]) for info in infos) == server.total("image")
    each = sorted(Decimal(image["cost_usd"]) for info in infos for image in info["images"])
    assert each == sorted(cost for kind, cost in server.costs() if kind == "image")
    tokens: Counter[str] = Counter()
    for _, _, used in server.bill:
        tokens.update(used)
    assert {name: number for name, number in report["tokens"].items() if number} == tokens
    calls = rows(OUTPUT, "calls")
    assert {call["state"] for call in calls} == {"settled"}
    assert sum(Decimal(call["cost"]) for call in calls) == server.total()


def test_writing_in_another_language(tirada: Tirada, server: BillingServer) -> None:
    def spanish(request: Any) -> Any:
        lost = invent(len(server.requests))["title"]
        concept = {
            "title": f"Zorro rojo sobre el arroyo helado de {lost.rpartition(' ')[2]}",
            "description": "Un zorro rojo cruza despacio el hielo agrietado junto a un bosque de abedules al amanecer.",
            "metatags": ["zorro", "hielo", "bosque", "amanecer", "invierno"],
        }
        return {"concepts": [concept] * wanted_count(request)}

    server.chat = spanish
    result = tirada(1, "--only-prompts", "--language", "es")
    assert result.code == 0, result.err
    (request,) = [one.json for one in server.requests if "/chat/" in one.path]
    assert "Spanish" in json.dumps(request["messages"])
    (row,) = read_csv(CSV)
    assert row["title"].startswith("Zorro rojo") and row["metatags"].startswith("zorro, hielo")


def test_an_answer_in_the_wrong_language_is_asked_for_again(tirada: Tirada, server: BillingServer) -> None:
    english = server.chat
    spanish = {
        "title": "Zorro rojo sobre el arroyo helado",
        "description": "Un zorro rojo cruza despacio el hielo agrietado junto a un bosque de abedules al amanecer.",
        "metatags": ["zorro", "hielo", "bosque", "amanecer", "invierno"],
    }
    server.chat = lambda request: {"concepts": [spanish]} if server.asked["text"] > 1 else english(request)
    assert tirada(1, "--only-prompts", "--language", "es").code == 0
    assert server.asked["text"] == 2
    assert [row["title"] for row in read_csv(CSV)] == [spanish["title"]]


# --- prompts from a file --------------------------------------------------------------------------------------------

GIVEN = (
    ("Heron at Dusk", "A heron stands in the shallows while the last light goes.", "A heron in the shallows, dusk"),
    ("Iron Bridge", "An iron bridge over a gorge with a single lamp in the fog.", "An iron bridge in fog, one lamp"),
    ("Salt Market", "Sellers weigh blocks of salt on a market square at noon.", "A salt market at noon, dry light"),
)


def prompt_file(kind: str) -> Path:
    if kind == "csv":
        return write_csv(Path("mine.csv"), *GIVEN)
    path = Path("mine.jsonl")
    lines = [json.dumps(dict(zip(("title", "description", "prompt"), row, strict=True))) for row in GIVEN]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_images_of_every_row_of_a_file(tirada: Tirada, kind: str) -> None:
    result = tirada(2, TINY, "--draft", "--from", prompt_file(kind))
    assert result.code == 0, result.err
    infos = check_output(OUTPUT)
    assert {(i["title"], i["description"], i["prompt"]) for i in infos} == set(GIVEN)
    assert {i["writer"] for i in infos} == {"file"} and {len(i["images"]) for i in infos} == {2}


def test_the_first_rows_of_a_file(tirada: Tirada) -> None:
    assert tirada(1, TINY, "--draft", "--prompts", 2, "--from", prompt_file("csv")).code == 0
    assert {info["title"] for info in check_output(OUTPUT)} == {GIVEN[0][0], GIVEN[1][0]}


def test_rendering_the_list_that_was_written(tirada: Tirada) -> None:
    assert tirada(3, "--only-prompts").code == 0
    written = read_csv(CSV)
    result = tirada(1, TINY, "--draft", "--from", CSV)
    assert result.code == 0, result.err
    infos = check_output(OUTPUT)
    assert sorted((i["title"], i["prompt"]) for i in infos) == sorted((r["title"], r["prompt"]) for r in written)


# --- prompts only ---------------------------------------------------------------------------------------------------


def test_prompts_are_appended_and_none_repeats(tirada: Tirada) -> None:
    for sitting in (1, 2):
        result = tirada(40, "--only-prompts")
        assert result.code == 0, result.err
        assert result.out.strip() == str(CSV)
        assert len(read_csv(CSV)) == 40 * sitting
    text = CSV.read_bytes()
    assert text.count(b"title,description,metatags,prompt\r\n") == 1 and text.endswith(b"\r\n")
    found = read_csv(CSV)
    assert len({row["description"] for row in found}) == len({row["prompt"] for row in found}) == 80
    assert all(row[column].strip() for row in found for column in ("title", "description", "metatags", "prompt"))
    assert not batch_folders(OUTPUT) and not list(OUTPUT.rglob("*.png"))
    assert {run["status"] for run in rows(OUTPUT, "runs")} == {"done"}
    assert {concept["status"] for concept in rows(OUTPUT, "concepts")} == {"done"}


def test_prompts_by_gpt_make_no_image_call(tirada: Tirada, server: BillingServer) -> None:
    result = tirada(12, "--only-prompts", "--json")
    assert result.code == 0, result.err
    assert result.json["done"] == result.json["wanted"] == 12
    assert Decimal(result.json["cost_usd"]) == server.total("text") > 0
    assert server.asked["image"] == 0 and server.asked["text"] >= 3
    assert len(read_csv(CSV)) == 12


def test_the_theme_shows_in_what_is_written(tirada: Tirada) -> None:
    result = tirada(12, "--only-prompts", "--role", "photographer_animals", "--theme", "arctic wildlife")
    assert result.code == 0, result.err
    for row in read_csv(CSV):
        assert "arctic" in f"{row['title']} {row['description']} {row['metatags']}".casefold(), row
    assert {concept["role"] for concept in rows(OUTPUT, "concepts")} == {"photographer_animals"}


def test_the_theme_reaches_gpt(tirada: Tirada, server: BillingServer) -> None:
    assert tirada(1, TINY, "--draft", "--theme", "arctic wildlife").code == 0
    (request,) = [one.json for one in server.requests]
    assert "arctic wildlife" in json.dumps(request["messages"])
    assert read_info(batch_folders(OUTPUT)[0])["theme"] == "arctic wildlife"


def test_a_run_leaves_no_thread_behind(tirada: Tirada, server: BillingServer) -> None:
    before = {thread.name for thread in threading.enumerate()}
    assert tirada(4, TINY, "--dalle", "--prompts", 2).code == 0
    left = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in left if not name.startswith("Thread-")], left
