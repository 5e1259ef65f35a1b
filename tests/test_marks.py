"""``mark``, and what ``show``, ``history`` and ``costs`` say of users and verdicts."""

from __future__ import annotations

import os
import re
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from tests.cli_tools import TINY, Result, Tirada, info_of, prompts
from tests.servers.openai_api import OpenAIServer
from tests.test_jobs import ROW
from tirada.workflows import registry

OUTPUT = Path("output")


def batch(tirada: Tirada, *more: object, count: int = 2) -> Path:
    """The folder of a run of drafts."""
    result = tirada(count, TINY, "--draft", *more)
    assert result.code == 0, result.err
    return result.folders[0]


def marks() -> list[tuple[str, int, str, str]]:
    """(folder, number, user, verdict) of every mark in the store."""
    query = """
        SELECT concepts.folder, images.position, marks.user, marks.verdict FROM marks
        JOIN images ON images.id = marks.image_id JOIN concepts ON concepts.id = images.concept_id
        ORDER BY concepts.position, images.position, marks.user
    """
    with sqlite3.connect(OUTPUT / "tirada.db") as store:
        return store.execute(query).fetchall()


def refused(result: Result, *words: str) -> None:
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    for word in words:
        assert word in result.err
    assert not marks()


# --- what an image may be called --------------------------------------------------------------------------------------


def test_every_way_to_name_an_image(tirada: Tirada) -> None:
    folder = batch(tirada, count=3)
    info = info_of(folder)
    ways = [
        folder / "02.png",
        folder.absolute() / "02.png",
        f"{folder}/2",
        f"{folder.name}/2",
        f"{folder.name}/02.png",
        f"{folder.name}/002",
        f"{info['batch_id'][:9]}/2",
        f"{info['run_id']}/2",
        f"{info['run_id'][:6]}/02.png",
        "latest/2",
    ]
    for way in ways:
        assert tirada("mark", way, "good").code == 0, way
        assert marks() == [(folder.name, 2, "", "good")]
        assert tirada("mark", way, "--clear").code == 0
        assert marks() == []


def test_from_inside_the_folder(tirada: Tirada) -> None:
    folder = batch(tirada)
    output = OUTPUT.absolute()
    os.chdir(folder)
    refusal = tirada("mark", "01.png", "good", "--output", "..")
    assert refusal.code == 0, refusal.err
    os.chdir(output.parent)
    assert marks() == [(folder.name, 1, "", "good")]


def test_a_token_goes_by_its_own_number(tirada: Tirada) -> None:
    """The base comes first among the images of a collection, so that token 2 is the third of them."""
    (folder,) = tirada("collection", 3, "--draft", "--size", TINY).folders
    for way in ("latest/2", "latest/02", f"{folder.name}/2", folder / "02.png"):
        (said,) = tirada("mark", way, "good", "--json").json
        assert (said["image"], said["title"]) == (str(folder / "02.png"), "Lantern Fox #2")
    assert marks() == [(folder.name, 3, "", "good")]


def test_several_at_once_and_each_once(tirada: Tirada) -> None:
    folder = batch(tirada, count=3)
    result = tirada("mark", folder / "01.png", f"{folder.name}/3", "latest/1", "bad")
    assert result.code == 0 and result.out == ""
    assert result.err.splitlines() == [f"{folder / '01.png'}: bad", f"{folder / '03.png'}: bad"]
    assert [number for _, number, _, _ in marks()] == [1, 3]


def test_images_of_a_job_have_names(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WORKFLOWS", (*registry.WORKFLOWS, ROW))
    (folder,) = tirada("postcard", "Lisbon", "--draft", "--user", "Ann").folders
    for way in (folder / "card-2.png", f"{folder.name}/card-2", "latest/card-2", "latest/3"):
        (said,) = tirada("mark", way, "good", "--json").json
        assert said["image"] == str(folder / "card-2.png")
        assert (said["title"], said["user"]) == ("Card 2", "Ann")
    assert marks() == [(folder.name, 3, "Ann", "good")]
    assert "did you mean 'card-1'?" in tirada("mark", "latest/card1", "good").err


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_a_later_verdict_replaces_the_earlier(tirada: Tirada) -> None:
    folder = batch(tirada)
    tirada("mark", "latest/1", "good")
    assert tirada("mark", "latest/1", "good").err == f"{folder / '01.png'}: good\n"
    assert tirada("mark", "latest/1", "bad").err == f"{folder / '01.png'}: bad, was good\n"
    assert marks() == [(folder.name, 1, "", "bad")]
    assert tirada("mark", "latest/1", "--clear").err == f"{folder / '01.png'}: no longer bad\n"
    assert tirada("mark", "latest/1", "--clear").err == f"{folder / '01.png'}: had no verdict\n"
    assert marks() == []


def test_everybody_has_a_verdict_of_their_own(tirada: Tirada) -> None:
    folder = batch(tirada, "--user", "Ann")
    tirada("mark", "latest/1", "good")
    tirada("mark", "latest/1", "bad", "--user", "  Bob\tthe Builder ")
    assert marks() == [(folder.name, 1, "Ann", "good"), (folder.name, 1, "Bob the Builder", "bad")]
    (said,) = tirada("mark", "latest/1", "--clear", "--user", "Bob the Builder", "--json").json
    assert (said["verdict"], said["before"], said["user"]) == (None, "bad", "Bob the Builder")
    assert marks() == [(folder.name, 1, "Ann", "good")]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_names_that_are_none(tirada: Tirada, name: str) -> None:
    batch(tirada)
    result = tirada("mark", "latest/1", "good", "--user", name)
    assert result.code == 2 and "1 to 100 characters" in result.err
    assert not marks()


def test_names_do_not_steer_the_terminal(tirada: Tirada) -> None:
    folder = batch(tirada)
    said = tirada("mark", "latest/1", "good", "--user", "Ann\x1b[31m\x9b2J")
    assert said.err == f"{folder / '01.png'}: good (Ann\ufffd[31m\ufffd2J)\n"
    listed = tirada("favourites").out
    assert "Ann\ufffd[31m" in listed and not re.search(r"[\x1b\x9b]", listed)


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_verdicts_that_are_none(tirada: Tirada) -> None:
    batch(tirada)
    refused(tirada("mark", "latest/1", "god"), "'god' is no verdict", "did you mean 'good'?")
    refused(tirada("mark", "latest/1", "GOOD"), "did you mean 'good'?")
    refused(tirada("mark", "latest/1"), "'latest/1' is no verdict", "say good or bad last")
    refused(tirada("mark", "good"), "There is no image before 'good'")
    refused(tirada("mark"), "Say which images")
    refused(tirada("mark", "--clear"), "Say which images")
    refused(tirada("mark", "latest/1", "good", "--clear"), "leave out 'good'")


def test_images_that_are_none(tirada: Tirada) -> None:
    folder = batch(tirada)
    refused(tirada("mark", "latest/3", "good"), "has no image '3'", "there are: 01.png, 02.png")
    refused(tirada("mark", f"latest/{'9' * 400}", "good"), "has no image")
    refused(tirada("mark", "latest/0", "good"), "has no image '0'")
    refused(tirada("mark", folder / "index.html", "good"), "has no image 'index.html'")
    refused(tirada("mark", f"{folder.name}x/1", "good"), "There is no run")
    for word in ("3", "01.png", "", "..", "/1", "../1"):
        refused(tirada("mark", word, "good"), "name its file, FOLDER/NUMBER or RUN/NUMBER")


def test_one_wrong_name_and_nothing_is_marked(tirada: Tirada) -> None:
    batch(tirada)
    refused(tirada("mark", "latest/1", "latest/7", "good"), "has no image '7'")


def test_a_file_of_another_output_folder(tirada: Tirada) -> None:
    batch(tirada)
    other = batch(tirada, "--output", "elsewhere")
    refused(tirada("mark", other / "01.png", "good"), "is not in the output folder 'output'", "--output names another")
    assert tirada("mark", other / "01.png", "good", "--output", "elsewhere").code == 0


def test_a_number_of_a_run_with_several_folders(tirada: Tirada) -> None:
    folder = batch(tirada, "--prompts", 2)
    refused(tirada("mark", "latest/1", "good"), "has 2 images '1'; name the folder:", folder.name)


def test_an_image_that_was_not_made(tirada: Tirada, openai: OpenAIServer) -> None:
    source = prompts("in.csv", "FORBIDDEN things")
    assert tirada(1, TINY, "--dalle", "--from", source).code == 1
    refused(tirada("mark", "latest/1", "good"), "was not made (refused)")


def test_where_nothing_was_made(tirada: Tirada) -> None:
    result = tirada("mark", "latest/1", "good")
    assert (result.code, result.out) == (2, "") and "Nothing was made in 'output' yet" in result.err
    assert not OUTPUT.exists()


def test_an_image_whose_file_is_gone_can_still_be_marked(tirada: Tirada) -> None:
    folder = batch(tirada)
    (folder / "01.png").unlink()
    assert tirada("mark", folder / "01.png", "bad").code == 0
    assert marks() == [(folder.name, 1, "", "bad")]


# --- what is said of it -----------------------------------------------------------------------------------------------


def test_show_tells_users_and_verdicts(tirada: Tirada) -> None:
    folder = batch(tirada, "--user", "Ann", count=3)
    tirada("mark", "latest/1", "latest/2", "good")
    tirada("mark", "latest/1", "bad", "--user", "Bob")
    run = tirada("show", "latest", "--json").json
    assert (run["user"], run["marks"]) == ("Ann", {"good": 2, "bad": 1})
    plain = tirada("show", "latest").out
    assert "user            Ann\n" in plain and "marks           good 2, bad 1\n" in plain
    shown = tirada("show", folder.name, "--json").json
    assert shown["user"] == "Ann"
    said = [[(mark["user"], mark["verdict"]) for mark in image["marks"]] for image in shown["images"]]
    assert said == [[("Ann", "good"), ("Bob", "bad")], [("Ann", "good")], []]
    assert ", marks good (Ann), bad (Bob)" in tirada("show", folder.name).out


def test_history_of_one_user(tirada: Tirada) -> None:
    batch(tirada)
    assert "USER" not in tirada("history").out
    batch(tirada, "--user", "Ann Lee")
    batch(tirada, "--user", "Bob")
    header, *rows = tirada("history").out.splitlines()
    assert re.split(r" {2,}", header)[2] == "USER"
    assert ["Bob" in rows[0], "Ann Lee" in rows[1], " -  " in rows[2]] == [True] * 3
    (only,) = tirada("history", "--user", "Ann Lee", "--json").json
    assert only["user"] == "Ann Lee"
    result = tirada("history", "--user", "Anne Lee")
    assert (result.code, result.out) == (2, "") and "did you mean 'Ann Lee'?" in result.err
    assert "there are: Ann Lee, Bob." in tirada("history", "--user", "Zoe").err


def test_history_where_nobody_has_a_name(tirada: Tirada) -> None:
    batch(tirada)
    result = tirada("history", "--user", "Ann")
    assert result.code == 2 and "nothing here was made or marked with --user" in result.err


def test_who_only_marks_is_known_too(tirada: Tirada) -> None:
    batch(tirada)
    tirada("mark", "latest/1", "good", "--user", "Bob")
    result = tirada("history", "--user", "Bob")
    assert (result.code, result.out) == (0, "") and "Nothing was made here yet for Bob." in result.err


def test_costs_by_user(tirada: Tirada, openai: OpenAIServer) -> None:
    source = prompts("in.csv", "a kettle")
    for user in (("--user", "Ann"), ("--user", "Ann"), ()):
        assert tirada(1, TINY, "--dalle", "--from", source, *user).code == 0
    rows = tirada("costs", "--by", "user", "--json").json["rows"]
    assert [(row["user"], row["calls"]) for row in rows] == [("Ann", 2), ("", 1)]
    whole = tirada("costs", "--by", "month", "--json").json["rows"][0]
    assert sum(Decimal(row["usd"]) for row in rows) == Decimal(whole["usd"]) > 0
    lines = tirada("costs", "--by", "user").out.splitlines()
    assert lines[0].split() == ["USER", "CALLS", "IN", "DOUBT", "USD"]
    assert [line.split()[0] for line in lines[1:3]] == ["Ann", "-"]
