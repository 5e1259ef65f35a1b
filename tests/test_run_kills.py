"""Runs that are killed again and again, at instants chosen by dice, and resumed until they are finished."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.cli_tools import TINY
from tests.run_tools import (
    BillingServer,
    Child,
    batch_folders,
    check_money,
    check_output,
    dice,
    read_csv,
    rows,
    run_row,
    start,
    until,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
OUTPUT = Path("output")
#: Of each kind of run; ``benchmarks/kills.py`` does a thousand.
KILLS = 8


def drive_through(first: Child, again: Callable[[], Child], progress: Callable[[], int], name: str) -> int:
    """Kill and resume until there were enough kills, then let it finish; returns how many met a living process."""
    rolls = dice(f"kills/{name}")
    child, kills = first, 0
    until(lambda: (OUTPUT / "tirada.db").exists() and _begun(), "the run to begin")
    safe: dict[int, str] = {}
    while kills < KILLS:
        goal = progress() + rolls.choice((0, 0, 1, 1, 2, 3, 5))
        until(lambda child=child, goal=goal: progress() >= goal or not child.running(), f"step {goal}")
        kills += child.running()
        child.kill()
        safe = look_at_the_wreck(safe)
        child = again()
    result = child.wait()
    assert result.code == 0, result.err
    return kills


def _begun() -> bool:
    return bool(rows(OUTPUT, "sqlite_master WHERE name = 'memory'")) and any(
        row["status"] == "running" for row in rows(OUTPUT, "runs")
    )


def look_at_the_wreck(safe: dict[int, str]) -> dict[int, str]:
    """No picture is half there, and none that was safe before is gone; returns those that are safe now."""
    for folder in batch_folders(OUTPUT):
        for path in folder.glob("[0-9]*.png"):
            with Image.open(path) as picture:
                picture.load()
    images = rows(OUTPUT, "images")
    now = {image["id"]: image["sha256"] for image in images if image["state"] == "done"}
    assert safe.items() <= now.items()
    folders = {concept["id"]: concept["folder"] for concept in rows(OUTPUT, "concepts")}
    for image in images:
        folder = OUTPUT / str(folders[image["concept_id"]])
        if image["state"] == "done":
            assert (folder / image["file"]).exists()
        if image["state"] == "received":
            assert (folder / f".{image['position']}.received").exists()
    return now


def pictures() -> int:
    return sum(1 for _ in OUTPUT.glob("*/[0-9]*.png"))


def test_a_draft_run_survives_being_killed() -> None:
    first = start(5, TINY, "--draft", "--prompts", 14, "--role", "artist")
    drive_through(first, lambda: start("resume"), pictures, "draft")
    infos = check_output(OUTPUT)
    assert [(info["status"], len(info["images"])) for info in infos] == [("done", 5)] * 14
    assert run_row(OUTPUT)["status"] == "done"


def test_a_paid_run_survives_being_killed() -> None:
    with BillingServer(delay=0.004) as server:
        settings = {"WRITER_BATCH": "2", "WRITER_IN_FLIGHT": "2", "IMAGES_IN_FLIGHT": "3"}
        first = start(4, TINY, "--dalle", "--prompts", 12, "--role", "artist", server=server, **settings)
        drive_through(first, lambda: start("resume", server=server, **settings), lambda: server.asked.total(), "paid")
        infos = check_output(OUTPUT)
        assert [(info["status"], len(info["images"])) for info in infos] == [("done", 4)] * 12
        check_money(OUTPUT, server)
        calls = Counter((call["kind"], call["state"]) for call in rows(OUTPUT, "calls"))
        # Three at once and no more can be in doubt at each kill.
        assert calls["image", "in_doubt"] <= 3 * KILLS and calls["text", "in_doubt"] <= 2 * KILLS
        assert calls["image", "settled"] + calls["image", "in_doubt"] >= server.billed >= 48
        assert calls["text", "settled"] + calls["text", "in_doubt"] >= server.chats
    assert run_row(OUTPUT)["status"] == "done"


def test_a_list_of_prompts_survives_being_killed() -> None:
    path = OUTPUT / "batch_prompts.csv"
    with BillingServer(delay=0.004) as server:
        settings = {"WRITER_BATCH": "2", "WRITER_IN_FLIGHT": "2"}
        first = start(70, "--only-prompts", "--role", "artist", server=server, **settings)
        drive_through(first, lambda: start("resume", server=server, **settings), lambda: server.chats, "prompts")
    found = read_csv(path)
    assert all(None not in row and all(row.values()) for row in found)
    written = Counter((row["title"], row["prompt"]) for row in rows(OUTPUT, "concepts"))
    assert Counter((row["title"], row["prompt"]) for row in found) == written and written.total() == 70
    assert {concept["status"] for concept in rows(OUTPUT, "concepts")} == {"done"}
