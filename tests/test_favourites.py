"""``favourites``, and what ``tuning add`` makes of them."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.contract import Concept, Example
from models.roles import RoleLibrary
from models.writers.checks import ForbiddenNames
from tests.cli_tools import ROOT, TINY, Result, Tirada, info_of, write_csv
from tirada.output.examples import append_examples, example_of

TUNING = Path("tuned")
GOOD = "A heron waits in the shallows while the mist lifts off the water behind it."
TAGS = "heron, mist, shallows, water, morning"


@pytest.fixture(autouse=True)
def _own_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNING_DIR", str(TUNING))


def made(tirada: Tirada, *more: object, prompts: int = 1) -> list[Path]:
    """Folders of one draft each, of ideas of the role artist."""
    result = tirada(1, TINY, "--draft", "--prompts", prompts, "--role", "artist", *more)
    assert result.code == 0, result.err
    return result.folders


def from_file(tirada: Tirada, *rows: tuple[str, str, str]) -> list[Path]:
    """Folders of one draft each, of ideas (title, description, tags) from a file: they have no role."""
    source = write_csv(
        Path("in.csv"), *((*row, "a prompt") for row in rows), header=("title", "description", "metatags", "prompt")
    )
    result = tirada(1, TINY, "--draft", "--from", source)
    assert result.code == 0, result.err
    return result.folders


def like(tirada: Tirada, *folders: Path, user: str = "") -> None:
    named = ("--user", user) if user else ()
    assert tirada("mark", *(folder / "01.png" for folder in folders), "good", *named).code == 0


def examples(role: str = "artist") -> list[dict[str, Any]]:
    path = TUNING / f"{role}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def add(tirada: Tirada, *more: object, role: str = "artist") -> Result:
    return tirada("tuning", "add", "--from-favourites", role, *more)


# --- favourites -------------------------------------------------------------------------------------------------------


def test_favourites_are_what_was_marked_good(tirada: Tirada) -> None:
    one, two, three = made(tirada, prompts=3)
    like(tirada, one)
    tirada("mark", two / "01.png", "bad")
    like(tirada, three, user="Ann")
    found = tirada("favourites", "--json").json
    assert [each["image"] for each in found] == [str(three / "01.png"), str(one / "01.png")]
    info = info_of(three)
    assert found[0]["title"] == info["title"] and found[0]["run_id"] == info["run_id"]
    assert found[0]["prompt"] == info["prompt"] and found[0]["role"] == "artist"
    assert [(mark["user"], mark["verdict"]) for mark in found[0]["marks"]] == [("Ann", "good")]
    header, first, second = tirada("favourites").out.splitlines()
    assert header.split("  ")[0] == "MARKED (UTC)"
    assert str(three / "01.png") in first and "  Ann  " in first and first.endswith(info["title"])
    assert str(one / "01.png") in second and "  -  " in second


def test_favourites_of_one_user(tirada: Tirada) -> None:
    one, two = made(tirada, "--user", "Ann", prompts=2)
    like(tirada, one)
    like(tirada, one, two, user="Bob")
    tirada("mark", two / "01.png", "bad")
    assert [each["image"] for each in tirada("favourites", "--user", "Ann", "--json").json] == [str(one / "01.png")]
    assert len(tirada("favourites", "--user", "Bob", "--json").json) == 2
    assert "  Ann, Bob  " in tirada("favourites").out
    assert "  Bob  " in tirada("favourites", "--user", "Bob", "-n", "1").out.splitlines()[1]
    assert "did you mean 'Bob'?" in tirada("favourites", "--user", "Bobb").err


def test_no_favourites_yet(tirada: Tirada) -> None:
    made(tirada)
    result = tirada("favourites")
    assert (result.code, result.out) == (0, "") and "Nothing is marked as good yet" in result.err
    assert tirada("favourites", "--json").json == []


def test_a_favourite_whose_file_is_gone(tirada: Tirada) -> None:
    (folder,) = made(tirada)
    like(tirada, folder)
    (folder / "01.png").unlink()
    assert f"{folder / '01.png'} (gone)" in tirada("favourites").out


# --- tuning -----------------------------------------------------------------------------------------------------------


def test_favourites_become_examples(tirada: Tirada) -> None:
    one, two, three = made(tirada, prompts=3)
    like(tirada, three)
    like(tirada, one)
    result = add(tirada)
    assert result.code == 0, result.err
    infos = [info_of(three), info_of(one)]
    assert result.out.splitlines() == [info["title"] for info in infos]
    assert f"2 examples added to {TUNING / 'artist.jsonl'}." in result.err
    assert examples() == [{key: info[key] for key in ("title", "description", "metatags")} for info in infos]
    # The very reader of the writers finds them, and nothing wrong with them.
    library = RoleLibrary(ROOT / "data", TUNING)
    assert [example.title for example in library.load("artist").examples] == [info["title"] for info in infos]
    assert not library.problems
    assert "2 few-shot examples\n" in tirada("roles", "artist").out
    like(tirada, two)
    again = add(tirada, "--json").json
    assert again["added"] == [info_of(two)["title"]]
    assert [entry["reason"] for entry in again["skipped"]] == ["it is among the examples already."] * 2
    assert len(examples()) == 3


def test_a_dry_run_changes_nothing(tirada: Tirada) -> None:
    (folder,) = made(tirada)
    like(tirada, folder)
    result = add(tirada, "--dry-run")
    assert (result.code, result.out) == (0, info_of(folder)["title"] + "\n")
    assert "1 example would be added" in result.err
    assert not TUNING.exists()


def test_ideas_of_another_role_are_told_and_skipped(tirada: Tirada) -> None:
    (folder,) = made(tirada)
    (plain,) = from_file(tirada, ("A heron in the shallows", GOOD, TAGS))
    like(tirada, folder)
    like(tirada, plain)
    result = add(tirada, role="cartoonist")
    assert (result.code, result.out) == (0, "")
    assert "its role is 'artist' (--any-role takes it)" in result.err
    assert "'A heron in the shallows' is left out: it has no role (--any-role takes it)" in result.err
    assert not examples("cartoonist")
    assert add(tirada, "--any-role", role="cartoonist").code == 0
    assert [one["title"] for one in examples("cartoonist")] == [info_of(folder)["title"], "A heron in the shallows"]


def test_ideas_that_do_not_fit_are_told_and_skipped(tirada: Tirada) -> None:
    folders = from_file(
        tirada,
        ("Too short", "A heron.", TAGS),
        ("Few tags", GOOD, "heron, mist"),
        ("Heron as Pikachu would see it", GOOD.replace("heron", "bird"), TAGS),
        ("A heron in the shallows", GOOD, TAGS),
        ("a heron in the shallows!", GOOD + " Twice.", TAGS),
    )
    like(tirada, *folders)
    result = add(tirada, "--any-role")
    assert result.code == 0
    assert [one["title"] for one in examples()] == ["A heron in the shallows"]
    for said in ("has 8 characters; at least 40", "There are 2 metatags", "'Pikachu' is not allowed", "already"):
        assert said in result.err
    assert result.err.count(" is left out: ") == 4


def test_ideas_in_another_language_are_told_and_skipped(tirada: Tirada) -> None:
    write_csv(
        Path("in.csv"),
        ("Garza en la niebla", "Una garza espera en el agua quieta mientras sube la niebla.", TAGS, "una garza"),
        header=("title", "description", "metatags", "prompt"),
    )
    (folder,) = tirada(1, TINY, "--draft", "--from", "in.csv", "--language", "es").folders
    like(tirada, folder)
    assert "it is written in 'es', and examples are in English" in add(tirada, "--any-role").err
    assert not examples()


def test_examples_of_one_users_favourites(tirada: Tirada) -> None:
    one, two = made(tirada, prompts=2)
    like(tirada, one, user="Ann")
    like(tirada, two, user="Bob")
    assert add(tirada, "--user", "Bob").out == info_of(two)["title"] + "\n"
    assert add(tirada, "--user", "Bbo").code == 2


def test_an_idea_counts_once_however_many_of_its_images_are_good(tirada: Tirada) -> None:
    tirada(3, TINY, "--draft", "--role", "artist")
    tirada("mark", "latest/1", "latest/2", "latest/3", "good")
    assert len(add(tirada, "--json").json["added"]) == len(examples()) == 1


def test_what_is_in_the_file_stays_as_it_is(tirada: Tirada) -> None:
    (folder,) = made(tirada)
    like(tirada, folder)
    TUNING.mkdir()
    # Made by hand: without a last line end, and with a line that is none.
    before = b'\xef\xbb\xbf{"title"\n\n{"prompt": "Example: {}"}'
    (TUNING / "artist.jsonl").write_bytes(before)
    result = add(tirada)
    assert result.code == 0 and "artist.jsonl:1: not valid JSON" in result.err
    after = (TUNING / "artist.jsonl").read_bytes()
    assert after.startswith(before + b"\n") and after.endswith(b"}\n")
    assert json.loads(after.splitlines()[-1])["title"] == info_of(folder)["title"]


def test_commands_that_make_no_sense(tirada: Tirada) -> None:
    made(tirada)
    assert "Did you mean 'artist'?" in add(tirada, role="artsit").err
    assert "There is no role" in add(tirada, role="../artist").err
    wanting = tirada("tuning", "add", "artist")
    assert wanting.code == 2 and "tuning add --from-favourites artist" in wanting.err
    assert tirada("tuning", "--json", "add", "artist").code == 2
    nothing = add(tirada)
    assert (nothing.code, nothing.out) == (0, "") and "0 examples added" in nothing.err
    assert not TUNING.exists()


def test_a_full_disk_leaves_the_file_as_it_was(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder,) = made(tirada)
    like(tirada, folder)
    TUNING.mkdir()
    (TUNING / "artist.jsonl").write_bytes(b'{"title": "x"}\n')

    def half(descriptor: int, data: bytes) -> int:
        return int(write(descriptor, data[: len(data) // 2]))

    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        result = add(tirada)
    assert result.code == 1 and "artist.jsonl" in result.err and "so none were kept" in result.err
    assert Path(TUNING / "artist.jsonl").read_bytes() == b'{"title": "x"}\n'


def _append(path: Path, numbers: Sequence[int]) -> None:
    for number in numbers:
        append_examples(path, [Example(title=f"Heron {number}", description=f"{GOOD} {number}", metatags=("a",) * 5)])


def test_two_processes_at_once_lose_and_repeat_nothing(tmp_path: Path) -> None:
    path = tmp_path / "artist.jsonl"
    workers = [multiprocessing.get_context("spawn").Process(target=_append, args=(path, range(20))) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    titles = [json.loads(line)["title"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert sorted(titles) == sorted(f"Heron {number}" for number in range(20))


def test_an_example_says_all_that_is_wrong() -> None:
    concept = Concept(title="x" * 121, description="short", metatags=("a",), prompt="")
    with pytest.raises(ValueError, match=r"121 characters.*5 characters.*1 metatags"):
        example_of(concept, ForbiddenNames(["nobody"]))


def test_the_examples_of_each_role(tirada: Tirada) -> None:
    (folder,) = made(tirada)
    like(tirada, folder)
    add(tirada)
    listed = {row["role"]: row for row in tirada("tuning", "--json").json}
    assert listed["artist"] == {"role": "artist", "examples": 1, "file": str(TUNING / "artist.jsonl")}
    assert listed["cartoonist"]["examples"] == 0
    assert f"artist                     1         {TUNING / 'artist.jsonl'}" in tirada("tuning").out
