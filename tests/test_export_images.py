"""``export images``: the files in one zip, with a manifest."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import TINY, Result, Tirada, info_of, prompts
from tests.test_jobs import ROW
from tirada.output.export.images_zip import Entry, export
from tirada.workflows import registry

OUTPUT = Path("output")


def batch(tirada: Tirada, *more: object, count: int = 2) -> list[Path]:
    result = tirada(count, TINY, "--draft", *more)
    assert result.code == 0, result.err
    return result.folders


def zip_of(result: Result) -> Path:
    assert result.code == 0, result.err
    return Path(result.out.strip())


def names(path: Path) -> list[str]:
    """The images of a zip."""
    with zipfile.ZipFile(path) as zipped:
        assert zipped.testzip() is None
        found = zipped.namelist()
    assert found[-3:] == ["manifest.csv", "manifest.json", "README.txt"]
    return found[:-3]


def manifest(path: Path) -> list[dict[str, Any]]:
    with zipfile.ZipFile(path) as zipped:
        found: list[dict[str, Any]] = json.loads(zipped.read("manifest.json"))
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(path) as zipped:
        return list(csv.DictReader(io.StringIO(zipped.read("manifest.csv").decode("utf-8"), newline="")))


def test_all_images_and_what_there_is_to_say_of_them(tirada: Tirada) -> None:
    one, two = batch(tirada, "--prompts", 2, "--role", "artist", "--user", "Ann")
    tirada("mark", one / "02.png", "good")
    tirada("mark", one / "02.png", "bad", "--user", "Bob")
    result = tirada("export", "images")
    path = zip_of(result)
    assert path.parent == OUTPUT / "exports" and path.name.startswith("images-")
    assert names(path) == [f"{folder.name}/{file}" for folder in (one, two) for file in ("01.png", "02.png")]
    assert "4 images, described in manifest.csv, manifest.json." in result.err
    assert "4 images are drafts" in result.err
    with zipfile.ZipFile(path) as zipped:
        for entry in manifest(path):
            data = zipped.read(entry["file"])
            assert data == (OUTPUT / entry["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    info = info_of(one)
    second = manifest(path)[1]
    for key in ("title", "description", "metatags", "prompt", "role", "brief", "run_id", "backend", "model"):
        assert second[key] == info[key], key
    assert (second["user"], second["seed"], second["width"]) == ("Ann", info["images"][1]["seed"], 64)
    assert [(mark["user"], mark["verdict"]) for mark in second["marks"]] == [("Ann", "good"), ("Bob", "bad")]
    row = rows(path)[1]
    assert (row["file"], row["user"], row["marks"]) == (second["file"], "Ann", "good (Ann), bad (Bob)")
    assert row["brief"].startswith("scene: ") and row["metatags"] == ", ".join(info["metatags"])


def test_two_exports_are_the_same_to_the_byte(tirada: Tirada) -> None:
    batch(tirada, "--prompts", 2)
    for name in ("a.zip", "b.zip"):
        assert zip_of(tirada("export", "images", "--to", name)) == Path(name)
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()


def test_those_of_a_user_a_verdict_and_a_run(tirada: Tirada) -> None:
    (ann,) = batch(tirada, "--user", "Ann", count=3)
    (bob,) = batch(tirada, "--user", "Bob")
    tirada("mark", f"{ann.name}/1", f"{bob.name}/2", "good")
    tirada("mark", f"{ann.name}/3", "bad", "--user", "Bob")

    def exported(*words: object) -> list[str]:
        return names(zip_of(tirada("export", "images", *words)))

    assert exported("--user", "Ann") == [f"{ann.name}/{n:02d}.png" for n in (1, 2, 3)]
    assert exported("--marked", "good") == [f"{ann.name}/01.png", f"{bob.name}/02.png"]
    assert exported("--marked", "bad", "--user", "Ann") == [f"{ann.name}/03.png"]
    assert exported("latest") == [f"{bob.name}/{n:02d}.png" for n in (1, 2)]
    assert exported(info_of(ann)["run_id"], "--marked", "good") == [f"{ann.name}/01.png"]
    assert exported(bob, ann.name) == exported()
    nothing = tirada("export", "images", "--user", "Bob", "--marked", "bad")
    assert (nothing.code, nothing.out) == (2, "")
    assert "There is no finished image made for 'Bob' marked as bad to export." in nothing.err
    assert "did you mean 'Bob'?" in tirada("export", "images", "--user", "Bib").err


def test_steps_of_a_job_only_if_they_are_wanted(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "WORKFLOWS", (*registry.WORKFLOWS, ROW))
    (folder,) = tirada("postcard", "Lisbon", "--draft", "--tint").folders
    results = [f"{folder.name}/card-{n}.png" for n in (1, 2)]
    path = zip_of(tirada("export", "images"))
    assert names(path) == results
    assert manifest(path)[0]["title"] == "Card 1" and manifest(path)[0]["prompt"] == "Lisbon on a card 1"
    assert manifest(path)[0]["facts"]["paper"] == "matt" and "paper: matt" in rows(path)[0]["facts"]
    assert manifest(path)[0]["brief"] == {"greeting": "Greetings"}
    assert names(zip_of(tirada("export", "images", "--all"))) == [f"{folder.name}/view.png", *results]
    tirada("mark", "latest/view", "good")
    assert names(zip_of(tirada("export", "images", "--marked", "good"))) == [f"{folder.name}/view.png"]


def test_a_file_that_is_gone_is_told(tirada: Tirada) -> None:
    (folder,) = batch(tirada, count=3)
    (folder / "02.png").unlink()
    report = tirada("export", "images", "--json").json
    assert report["images"] == 2
    assert report["notes"][0] == f"1 file is not there any more, the first is '{folder.name}/02.png'."
    assert len(manifest(Path(report["file"]))) == 2
    for name in ("01.png", "03.png"):
        (folder / name).unlink()
    result = tirada("export", "images", "--to", "none.zip")
    assert result.code == 2 and "3 files are not there any more" in result.err
    assert not list(Path().glob("*none.zip*"))


def test_nothing_is_overwritten(tirada: Tirada) -> None:
    batch(tirada)
    Path("mine.zip").write_text("mine")
    taken = tirada("export", "images", "--to", "mine.zip")
    assert taken.code == 2 and "nothing is overwritten" in taken.err
    assert Path("mine.zip").read_text() == "mine"
    wrong = tirada("export", "images", "--to", "folder")
    assert wrong.code == 2 and "end it in .zip" in wrong.err


def test_a_disk_that_fails_leaves_no_half_zip(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    batch(tirada)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tirada.output.export.images_zip.shutil.copyfileobj", full)
    result = tirada("export", "images", "--to", "out/some.zip")
    assert result.code == 1 and "No space left" in result.err
    assert list(Path("out").iterdir()) == []


def test_options_and_targets_that_do_not_go_together(tirada: Tirada) -> None:
    (folder,) = batch(tirada)
    other = batch(tirada, "--output", "elsewhere")[0]
    for words in (("--user", "Ann"), ("--marked", "good"), ("--all",)):
        result = tirada("export", "huggingface", folder, *words)
        assert result.code == 2 and "are for images" in result.err
    result = tirada("export", "adobe-stock")
    assert result.code == 2 and "Say of which runs: python main.py export adobe-stock RUN..." in result.err
    result = tirada("export", "images", other)
    assert result.code == 2 and "is not in the output folder 'output'" in result.err


def test_names_of_a_foreign_store_lead_nowhere(tirada: Tirada) -> None:
    (folder,) = batch(tirada)
    Path("secret.png").write_bytes(b"secret")
    with sqlite3.connect(OUTPUT / "tirada.db") as store:
        store.execute("UPDATE images SET file = '../../secret.png' WHERE position = 1")
    report = tirada("export", "images", "--json").json
    assert report["images"] == 1 and names(Path(report["file"])) == [f"{folder.name}/02.png"]
    assert "../../secret.png" in report["notes"][0]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "C:x", "/x", "x\0y"])
def test_no_entry_can_be_unpacked_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.png").write_bytes(b"x")
    good = Entry(path=tmp_path / "x.png", folder="one", file="x.png", made_at="2026-11-20T03:15:08+00:00", record={})
    for bad in ({"folder": name, "file": "x.png"}, {"folder": "one", "file": name}):
        entry = Entry(path=tmp_path / "x.png", made_at="2026-11-20T03:15:08+00:00", record={}, **bad)
        path = tmp_path / f"{len(bad['file'])}-{len(bad['folder'])}.zip"
        done = export([entry, good], path)
        assert names(path) == ["one/x.png"] and len(done.notes) == 1
        with zipfile.ZipFile(path) as zipped:
            assert zipped.getinfo("one/x.png").date_time == (2026, 11, 20, 3, 15, 8)


def test_a_spreadsheet_is_given_no_formula(tirada: Tirada) -> None:
    source = prompts("in.csv", "=1+1")
    batch(tirada, "--from", source, "--user", "@Ann", count=1)
    path = zip_of(tirada("export", "images"))
    assert (rows(path)[0]["prompt"], rows(path)[0]["user"]) == ("'=1+1", "'@Ann")
    assert (manifest(path)[0]["prompt"], manifest(path)[0]["user"]) == ("=1+1", "@Ann")


def test_more_images_and_folders_than_are_read_at_once(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tirada.store.marks.PAGE", 2)
    folders = batch(tirada, "--prompts", 5, count=3)
    wanted = [f"{folder.name}/{n:02d}.png" for folder in folders for n in (1, 2, 3)]
    tirada("mark", *(OUTPUT / name for name in wanted), "good")
    for words in ((), ("latest",), ("latest", "--marked", "good")):
        path = zip_of(tirada("export", "images", *words))
        assert names(path) == wanted
        assert [len(entry["marks"]) for entry in manifest(path)] == [1] * 15
    assert len(tirada("favourites", "--json").json) == 15
