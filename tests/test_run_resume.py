"""Runs that are killed or interrupted, and what ``resume`` makes of them; each is a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import TINY, endpoint, write_csv
from tests.run_tools import (
    BillingServer,
    KillAt,
    batch_folders,
    check_folder,
    check_money,
    check_output,
    image_hashes,
    read_csv,
    read_info,
    rows,
    run,
    run_row,
    start,
    until,
    write_role,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
OUTPUT = Path("output")
CSV = OUTPUT / "batch_prompts.csv"
KILLED = -signal.SIGKILL


@pytest.fixture
def server() -> Iterator[BillingServer]:
    with BillingServer() as server:
        yield server


def dalle(server: BillingServer, *args: object, kill_at: KillAt | None = None, **env: str) -> Any:
    options = ("--dalle", "--writer", "composer", "--role", "artist", "--json")
    return start(*args, TINY, *options, server=server, kill_at=kill_at, **env)


def resume(server: BillingServer | None = None, *args: object, **env: str) -> Any:
    result = run("resume", *args, "--json", server=server, **env)
    assert result.code == 0, (result.out, result.err)
    return result.json


def hashes() -> dict[str, int]:
    """Every file in the folders, with the time it was written."""
    return {str(path): path.stat().st_mtime_ns for folder in batch_folders(OUTPUT) for path in folder.iterdir()}


# --- killed at an exact instant -------------------------------------------------------------------------------------

#: Every step between the plan and the finished folder.
STEPS = [
    KillAt("tirada.store.store:Store.start_run"),
    KillAt("tirada.engine.writing:BriefSource.take"),
    KillAt("tirada.store.store:Store.add_concepts", after=True),
    KillAt("tirada.engine.source:make_folder", after=True),
    KillAt("tirada.store.store:Store.update_concept", after=True),
    KillAt("tirada.store.store:Store.submit_image", 2, after=True),
    KillAt("tirada.engine.saving:Saver._put_aside", 2),
    KillAt("tirada.engine.saving:Saver._put_aside", 2, after=True),
    KillAt("tirada.engine.saving:fsync_folder", 2),
    KillAt("tirada.engine.saving:prepare", 2),
    KillAt("tirada.engine.saving:write_bytes", 2, after=True),
    KillAt("tirada.store.store:Store.set_image", 4, after=True),
    KillAt("tirada.engine.saving:Saver.settle", 3),
    KillAt("tirada.engine.finishing:write_folder"),
    KillAt("tirada.output.info:write_text", 2),
    KillAt("tirada.output.info:write_text", 4, after=True),
    KillAt("tirada.store.store:Store.finish_concepts", after=True),
    KillAt("tirada.store.store:Store.finish_run"),
    KillAt("tirada.store.store:Store.finish_run", after=True),
]
#: Steps before which nothing was begun, and those after which nothing is missing.
NOT_BEGUN, ALL_DONE = STEPS[:1], STEPS[-1:]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_killed_anywhere_and_resumed(server: BillingServer, step: KillAt) -> None:
    killed = dalle(server, 3, "--prompts", 2, kill_at=step, IMAGES_IN_FLIGHT="2", SAVE_THREADS="2").wait()
    assert killed.code == KILLED, killed.err
    report = run("resume", "--json", server=server)
    assert report.code == 0, report.err
    if step in NOT_BEGUN:
        assert "Nothing to resume" in report.err and server.asked["image"] == 0
        return
    if step not in ALL_DONE:
        assert (report.json["status"], report.json["done"], report.json["wanted"]) == ("done", 6, 6)
    infos = check_output(OUTPUT)
    assert [(info["status"], len(info["images"])) for info in infos] == [("done", 3), ("done", 3)]
    check_money(OUTPUT, server)
    doubtful = sum(call["state"] == "in_doubt" for call in rows(OUTPUT, "calls"))
    # Only what was on its way when the process died may be asked for twice.
    assert 6 <= server.billed <= 6 + doubtful and doubtful <= 2
    assert run_row(OUTPUT)["status"] == "done"
    assert {concept["status"] for concept in rows(OUTPUT, "concepts")} == {"done"}


@pytest.mark.parametrize(
    "step",
    [
        KillAt("tirada.engine.saving:Saver._put_aside", after=True),
        KillAt("tirada.engine.saving:fsync_folder"),
        KillAt("tirada.engine.saving:prepare"),
        KillAt("tirada.engine.saving:write_bytes", after=True),
    ],
    ids=str,
)
def test_what_was_received_is_saved_without_asking_again(server: BillingServer, step: KillAt) -> None:
    assert dalle(server, 1, kill_at=step).wait().code == KILLED
    (folder,) = batch_folders(OUTPUT)
    assert (folder / ".1.received").exists() and server.billed == 1
    assert resume(server)["done"] == 1
    assert server.asked["image"] == 1
    (info,) = check_output(OUTPUT)
    assert info["images"][0]["attempts"] == 1 and info["images"][0]["model"] == info["model"]
    check_money(OUTPUT, server)


def test_bytes_put_aside_that_a_power_cut_broke_are_asked_for_again(server: BillingServer) -> None:
    assert dalle(server, 1, kill_at=KillAt("tirada.engine.saving:prepare")).wait().code == KILLED
    (folder,) = batch_folders(OUTPUT)
    (folder / ".1.received").write_bytes(b"")
    assert resume(server)["done"] == 1
    assert server.asked["image"] == 2
    (info,) = check_output(OUTPUT)
    assert info["images"][0]["attempts"] == 2
    assert Decimal(info["cost_usd"]) == server.total()


PROMPT_STEPS = [
    KillAt("tirada.store.store:Store.add_concepts"),
    KillAt("tirada.engine.writing:append_rows"),
    KillAt("tirada.engine.writing:append_rows", after=True),
    KillAt("tirada.engine.writing:append_rows", 2),
    KillAt("tirada.engine.writing:append_rows", 2, after=True),
    KillAt("tirada.store.store:Store.finish_concepts", after=True),
]


@pytest.mark.parametrize("step", PROMPT_STEPS, ids=str)
def test_prompts_killed_between_store_and_list(server: BillingServer, step: KillAt) -> None:
    settings = {"WRITER_BATCH": "2", "WRITER_IN_FLIGHT": "1"}
    assert run("6", "--only-prompts", "--role", "artist", server=server, kill_at=step, **settings).code == KILLED
    assert resume(server, **settings)["done"] == 6
    found = read_csv(CSV)
    written = {(row["title"], row["prompt"]) for row in rows(OUTPUT, "concepts")}
    assert len(found) == 6 and {(row["title"], row["prompt"]) for row in found} == written
    # What was written and paid for is not written again.
    assert server.chats == 3 + step.target.endswith("add_concepts")


# --- killed while the service works ---------------------------------------------------------------------------------


def test_killed_before_the_first_idea(server: BillingServer) -> None:
    server.hold_chats = 1
    child = start(2, TINY, "--dalle", "--role", "artist", server=server)
    until(lambda: server.asked["text"], "the first question")
    assert child.kill().code == KILLED
    assert rows(OUTPUT, "concepts") == [] and not batch_folders(OUTPUT)
    server.gate.set()
    report = resume(server)
    assert (report["done"], report["wanted"]) == (2, 2)
    check_output(OUTPUT)
    states = Counter((call["kind"], call["state"]) for call in rows(OUTPUT, "calls"))
    assert states == {("text", "in_doubt"): 1, ("text", "settled"): 1, ("image", "settled"): 2}
    assert Decimal(report["cost_usd"]) == sum(Decimal(call["cost"]) for call in rows(OUTPUT, "calls"))


def test_killed_while_images_are_made(server: BillingServer) -> None:
    server.hold_images = 4
    child = dalle(server, 8, IMAGES_IN_FLIGHT="3")
    until(lambda: server.asked["image"] == 6, "three images under way")
    until(lambda: sum(row["state"] == "done" for row in rows(OUTPUT, "images")) == 3, "three images saved")
    before = hashes()
    assert child.kill().code == KILLED
    assert "cut off" in run("history", server=server).out
    server.gate.set()
    result = run("resume", "--json", server=server)
    assert result.code == 0, result.err
    report = result.json
    assert report["done"] == 8 and server.asked["image"] == 8 + 3
    (info,) = check_output(OUTPUT)
    kept = {path: stamp for path, stamp in before.items() if path.endswith(".png")}
    assert len(kept) == 3 and kept.items() <= hashes().items()
    calls = Counter(call["state"] for call in rows(OUTPUT, "calls"))
    assert calls == {"settled": 8, "in_doubt": 3}
    assert Decimal(report["cost_usd"]) == Decimal(info["cost_usd"])
    assert Decimal(report["cost_usd"]) == sum(Decimal(call["cost"]) for call in rows(OUTPUT, "calls"))


@pytest.mark.parametrize("kill", ["before", "after"])
def test_prompts_with_odd_characters_are_found_again(kill: str) -> None:
    """A file does not give back every character as it was written."""
    role = write_role(Path("data"), "artist", ["a lamp by the sea", "a boat", "a hill"]) / "roles" / "artist.toml"
    role.write_text(role.read_text().replace(" {style}", r"\r\n{style}\u0000\u000b\rend"))
    step = KillAt("tirada.engine.writing:append_rows", after=kill == "after")
    arguments = ("3", "--only-prompts", "--writer", "composer", "--role", "artist")
    assert run(*arguments, kill_at=step, DATA_DIR="data").code == KILLED
    if kill == "after":
        # As an earlier version stored them.
        with contextlib.closing(sqlite3.connect(OUTPUT / "tirada.db")) as connection:
            connection.execute("UPDATE concepts SET prompt = replace(prompt, 'end', char(0) || 'end')")
            connection.commit()
    assert run("resume", "--json", DATA_DIR="data").json["done"] == 3
    found = [(row["title"], row["prompt"]) for row in read_csv(CSV)]
    assert len(found) == 3 and not any("\0" in prompt or "\r" in prompt for _, prompt in found)
    stored = [(row["title"], row["prompt"].replace("\0", "")) for row in rows(OUTPUT, "concepts", "position")]
    assert stored == found


def test_a_command_line_that_is_no_text() -> None:
    assert run("1", "--only-prompts", "--writer", "composer", "--theme", "caf\udce9\rroyal").code == 0
    (row,) = read_csv(CSV)
    assert "\ufffd" in row["prompt"] and rows(OUTPUT, "concepts")[0]["prompt"] == row["prompt"]


def test_the_resumed_run_says_what_is_in_doubt(server: BillingServer) -> None:
    server.hold_images = 1
    child = dalle(server, 2, IMAGES_IN_FLIGHT="2")
    until(lambda: server.asked["image"] == 2, "two images under way")
    child.kill()
    server.gate.set()
    result = run("resume", server=server)
    assert result.code == 0
    assert "2 images are in doubt: their answers were lost, and they may have cost 0.0" in result.err, result.err


# --- resume and the rest of the world -------------------------------------------------------------------------------


def test_resuming_a_finished_run_does_nothing(server: BillingServer) -> None:
    assert dalle(server, 2).wait().code == 0
    before, asked = hashes(), server.asked["image"]
    for arguments in (("resume",), ("resume", run_row(OUTPUT)["id"])):
        result = run(*arguments, server=server)
        assert result.code == 0 and result.out == ""
    assert hashes() == before and server.asked["image"] == asked
    assert run_row(OUTPUT)["status"] == "done"


def test_resuming_by_the_beginning_of_an_id(server: BillingServer) -> None:
    ids = []
    for _ in range(2):
        assert dalle(server, 2, kill_at=KillAt("tirada.engine.saving:prepare")).wait().code == KILLED
        ids.append(rows(OUTPUT, "runs", "created_at")[-1]["id"])
    first = ids[0]
    shortest = next(first[:n] for n in range(1, 13) if not ids[1].startswith(first[:n]))
    assert resume(server, shortest)["run_id"] == first
    assert {row["id"]: row["status"] for row in rows(OUTPUT, "runs")} == {first: "done", ids[1]: "running"}
    assert resume(server)["run_id"] == ids[1]
    assert run("resume", "zz", server=server).code == 2


def test_a_run_that_is_still_going_is_left_alone(server: BillingServer) -> None:
    server.hold_images = 1
    child = dalle(server, 2)
    until(lambda: server.asked["image"], "an image under way")
    result = run("resume", run_row(OUTPUT)["id"], server=server)
    assert result.code == 2 and "still going" in result.err
    server.gate.set()
    assert child.wait().code == 0
    assert server.asked["image"] == 2
    assert {call["state"] for call in rows(OUTPUT, "calls")} == {"settled"}
    check_output(OUTPUT)


def test_a_resumed_run_keeps_its_model(server: BillingServer) -> None:
    env = {"DALLE_MODEL": "gpt-image-1.5"}
    step = KillAt("tirada.engine.saving:prepare", 2)
    assert dalle(server, 3, kill_at=step, IMAGES_IN_FLIGHT="1", **env).wait().code == KILLED
    resume(server, DALLE_MODEL="gpt-image-2")
    (info,) = check_output(OUTPUT)
    assert info["model"] == "gpt-image-1.5" and {image["model"] for image in info["images"]} == {"gpt-image-1.5"}
    assert {one.json["model"] for one in server.requests} == {"gpt-image-1.5"}


def test_a_run_from_a_file_needs_the_file_no_longer(server: BillingServer) -> None:
    given = [(f"Title {n}", f"A description of picture {n} that is long enough.", f"prompt {n}") for n in range(4)]
    path = write_csv(Path("mine.csv"), *given)
    step = KillAt("tirada.engine.saving:prepare", 2)
    assert run(1, TINY, "--dalle", "--from", path, server=server, kill_at=step).code == KILLED
    path.unlink()
    assert resume(server)["done"] == 4
    assert {info["title"] for info in check_output(OUTPUT)} == {title for title, _, _ in given}


@pytest.mark.parametrize("step", [KillAt("tirada.engine.saving:write_bytes", n) for n in (1, 5, 8)], ids=str)
def test_a_seeded_run_that_was_killed_equals_one_that_was_not(tmp_path: Path, step: KillAt) -> None:
    command = ("2", TINY, "--draft", "--role", "artist", "--prompts", "4", "--seed", "11")
    assert run(*command, "-o", tmp_path / "whole").code == 0
    assert run(*command, kill_at=step).code == KILLED
    resume()
    check_output(OUTPUT)
    assert image_hashes(OUTPUT) == image_hashes(tmp_path / "whole")


def test_a_seeded_run_killed_while_ideas_are_written(tmp_path: Path, server: BillingServer) -> None:
    """GPT's own words differ each time; what it is asked for does not."""
    briefs = []
    settings = {"WRITER_BATCH": "1", "WRITER_IN_FLIGHT": "1"}
    for output, step in ((tmp_path / "whole", None), (OUTPUT, KillAt("tirada.store.store:Store.add_concepts", 3))):
        arguments = (5, "--only-prompts", "--seed", 11, "-o", output)  # of all roles
        code = run(*arguments, server=server, kill_at=step, **settings).code
        assert code == (KILLED if step else 0)
        if step:
            resume(server, **settings)
        briefs.append([(row["role"], row["brief"]) for row in rows(output, "concepts", "position")])
    assert briefs[0] == briefs[1] and len(briefs[0]) == 5


# --- Ctrl-C ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_finishes_what_is_under_way(server: BillingServer, number: int) -> None:
    server.hold_images = 3
    child = start(9, TINY, "--dalle", "--writer", "composer", "--role", "artist", server=server, IMAGES_IN_FLIGHT="3")
    until(lambda: server.asked["image"] == 5, "three images under way")
    child.signal(number)
    child.says("Stopping. Interrupted")
    server.gate.set()
    result = child.wait()
    assert result.code == 130, result.err
    assert "Traceback" not in result.err
    assert server.asked["image"] == server.billed == 5 and "5 of 9 images" in result.err
    (folder,) = batch_folders(OUTPUT)
    info = check_folder(folder)
    assert info["status"] == "interrupted" and len(info["images"]) == 5 and info["failures"] == []
    assert run_row(OUTPUT)["status"] == "interrupted"
    assert resume(server)["done"] == 9
    assert server.asked["image"] == 9
    assert check_folder(folder)["status"] == "done"


def test_once_while_ideas_are_written(server: BillingServer) -> None:
    server.hold_chats = 2
    settings = {"WRITER_BATCH": "2", "WRITER_IN_FLIGHT": "1"}
    child = start(8, "--only-prompts", "--role", "artist", server=server, **settings)
    until(lambda: server.asked["text"] == 2, "the second question")
    child.signal(signal.SIGINT)
    child.says("Stopping. Interrupted")
    server.gate.set()
    result = child.wait()
    assert result.code == 130, result.err
    assert len(read_csv(CSV)) == 4 and "4 of 8 prompts" in result.err
    assert resume(server)["done"] == 8
    assert len(read_csv(CSV)) == 8


def test_twice_stops_at_once(server: BillingServer) -> None:
    server.hold_images = 3
    child = start(9, TINY, "--dalle", "--writer", "composer", "--role", "artist", server=server, IMAGES_IN_FLIGHT="3")
    until(lambda: server.asked["image"] == 5, "three images under way")
    until(lambda: sum(row["state"] == "done" for row in rows(OUTPUT, "images")) == 2, "two images saved")
    child.signal(signal.SIGINT)
    child.says("Stopping. Interrupted")
    child.signal(signal.SIGINT)
    # The gate stays shut: nothing is waited for.
    result = child.wait()
    assert result.code == 130 and "Traceback" not in result.err, result.err
    server.gate.set()
    assert resume(server)["done"] == 9
    check_output(OUTPUT)
    check_money(OUTPUT, server)
    doubtful = [call for call in rows(OUTPUT, "calls") if call["state"] == "in_doubt"]
    assert len(doubtful) == 3 and server.asked["image"] == 12


def test_info_of_an_interrupted_folder_is_written_again() -> None:
    step = KillAt("tirada.engine.saving:write_bytes", 3)
    assert run(4, TINY, "--draft", "--role", "artist", kill_at=step).code == KILLED
    (folder,) = batch_folders(OUTPUT)
    assert not (folder / "info.json").exists()
    resume()
    assert read_info(folder)["status"] == "done"


def test_endpoint_settings_are_read_again_on_resume(server: BillingServer) -> None:
    assert dalle(server, 2, kill_at=KillAt("tirada.engine.saving:Saver.deliver")).wait().code == KILLED
    with BillingServer() as other:
        assert run("resume", **endpoint(other)).code == 0
        assert other.billed >= 1
    check_output(OUTPUT)
