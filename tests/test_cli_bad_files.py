"""Files, settings and folders that are not as they should be: said clearly, and nothing lost or half written."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from pathlib import Path

import pytest

from tests.cli_tools import ROOT, TINY, Tirada, finish, info_of, made, prompts, start, write_csv

COLUMNS = "title,description,metatags,prompt"


def data_folder(*roles: str) -> Path:
    """A data folder with copies of some of our roles."""
    folder = Path("mine")
    (folder / "roles").mkdir(parents=True)
    for role in roles:
        shutil.copy(ROOT / "data" / "roles" / f"{role}.toml", folder / "roles")
    return folder


# --- files the user brings --------------------------------------------------------------------------------------------


def test_only_prompts_has_nothing_to_do_with_a_file(tirada: Tirada) -> None:
    source = prompts("in.csv", "a lighthouse")
    result = tirada("3", "--only-prompts", "--from", source)
    assert result.code == 2
    assert "--from renders prompts that exist already" in result.err
    assert made() == ["in.csv"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("in.csv", "", "in.csv: the file is empty"),
        ("in.csv", " \n\n", "in.csv: the file is empty"),
        ("in.csv", "prompt\n", "in.csv"),
        ("in.csv", "Name,Text\na,b\n", "its columns are 'Name', 'Text'; expected a column 'prompt'"),
        ("in.jsonl", "{\n", "in.jsonl:1: not valid JSON"),
        ("in.jsonl", '{"name": "x"}\n', "in.jsonl:1: no 'prompt'"),
        ("in.xlsx", "PK", ".csv, .tsv, .jsonl"),
        ("in", "prompt", ".csv, .tsv, .jsonl"),
    ],
)
def test_a_file_that_holds_no_prompt(tirada: Tirada, name: str, content: str, said: str) -> None:
    Path(name).write_text(content, encoding="utf-8")
    result = tirada("1", TINY, "--from", name)
    assert result.code == 2
    assert said in result.err
    assert made() == [name]


def test_broken_lines_are_named_and_the_rest_runs(tirada: Tirada) -> None:
    lines = ['{"prompt": "a lighthouse"}', '{"prompt"', "[1]", '{"nothing": 1}', "", '{"prompt": "a heron"}', "\udcff"]
    Path("in.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    result = tirada("1", TINY, "--from", "in.jsonl")
    assert result.code == 0
    for number, why in ((2, "not valid JSON"), (3, "not a JSON object"), (4, "no 'prompt'"), (7, "not UTF-8")):
        assert f"Warning: in.jsonl:{number}: {why}" in result.err
    assert [info_of(folder)["prompt"] for folder in result.folders] == ["a lighthouse", "a heron"]


def test_a_broken_csv_record_is_named_and_the_rest_runs(tirada: Tirada) -> None:
    Path("in.csv").write_text('prompt,title\n"a lighthouse, lit",Light\na,b,c,d\na heron,Bird\n', encoding="utf-8")
    result = tirada("1", TINY, "--from", "in.csv")
    assert result.code == 0
    assert "in.csv:3: 4 cells under a header of 2" in result.err
    assert len(result.folders) == 2


def test_titles_never_lead_out_of_the_output_folder(tirada: Tirada) -> None:
    titles = ["../../etc", "/etc/passwd", "CON", "nul", "😀" * 400, "", "..", "a" * 5000, "C:\\Windows", "x\0y\n../z"]
    rows = [(title, "A description.", f"prompt {number}") for number, title in enumerate(titles)]
    result = tirada("1", TINY, "--from", write_csv(Path("in.csv"), *rows), "--output", "deep/out")
    assert result.code == 0, result.err
    assert made() == ["deep", "in.csv"]
    assert [path.name for path in Path("deep").iterdir()] == ["out"]
    assert len(result.folders) == len(titles)
    for folder in result.folders:
        assert folder.parent == Path("deep/out")
        assert folder.name.isascii()
        assert len(folder.name) <= len("2026-01-01-") + 60 + len("-abcd")
        assert folder.name.split("-", 3)[3].rsplit("-", 1)[0] not in {"con", "nul", ""}
        assert sorted(p.name for p in folder.iterdir()) == ["01.png", "batch.csv", "index.html", "info.json", "info.md"]
    assert info_of(result.folders[0])["title"] == "../../etc"


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "Title;Prompt\nx;y\n", "\x00\x01\x02"])
def test_a_prompt_list_that_is_not_ours_is_left_alone(tirada: Tirada, content: str) -> None:
    path = Path("output/batch_prompts.csv")
    path.parent.mkdir()
    path.write_text(content, encoding="utf-8")
    result = tirada("2", "--only-prompts")
    assert result.code in (1, 2)
    assert "batch_prompts.csv" in result.err
    assert COLUMNS in result.err
    assert path.read_text(encoding="utf-8") == content
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", [("1", TINY), ("2", "--only-prompts")])
def test_an_output_path_that_is_a_file(tirada: Tirada, command: tuple[str, ...]) -> None:
    Path("out").write_text("precious", encoding="utf-8")
    for path in ("out", "out/deeper"):
        result = tirada(*command, "--output", path)
        assert result.code == 1
        assert f"The output folder '{path}' cannot be written" in result.err
        assert "Traceback" not in result.err
    assert Path("out").read_text(encoding="utf-8") == "precious"
    assert made() == ["out"]


# --- settings and data files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRY_TRIES", "many"),
        ("RETRY_TRIES", "0"),
        ("FORMAT", "gif"),
        ("SIZE", "huge"),
        ("SIZE", "10x10"),
        ("WRITER", "shakespeare"),
        ("WRITER_LANGUAGE", "spanish"),
        ("MIN_FREE_MB", "-1"),
        ("CATALOG_FILE", "missing.toml"),
        ("DATA_DIR", "nowhere"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_setting_that_makes_no_sense(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch, name: str, value: str, place: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    if place == ".env":
        Path(".env").write_text(f"{name}={value}\n", encoding="utf-8")
        result = tirada("1")
    else:
        result = tirada("1", **{name: value})
    assert result.code == 3
    assert name in result.err
    assert value in result.err
    assert "Traceback" not in result.err
    assert made() == [".env"][: place == ".env"]


def test_an_env_file_that_is_no_text(tirada: Tirada) -> None:
    Path(".env").write_bytes(b"SIZE=\xff\xfe\n")
    result = tirada("1")
    assert result.code == 3
    assert ".env" in result.err
    assert "Traceback" not in result.err


def test_the_language_of_the_desktop_is_no_setting_of_ours(tirada: Tirada) -> None:
    assert tirada("1", TINY, LANGUAGE="es_ES:es:en", LANG="es_ES.UTF-8").code == 0


def test_an_unknown_backend_in_the_settings(tirada: Tirada) -> None:
    result = tirada("1", TINY, BACKEND="drft")
    assert result.code in (2, 3)
    assert "Did you mean 'draft'?" in result.err


def test_a_broken_role_is_named_and_the_run_goes_on(tirada: Tirada) -> None:
    data = data_folder("artist")
    (data / "roles" / "sculptor.toml").write_text("title = 'Sculptor\n", encoding="utf-8")
    (data / "roles" / "weaver.toml").write_text("title = 'Weaver'\n", encoding="utf-8")
    result = tirada("2", TINY, DATA_DIR=str(data))
    assert result.code == 0
    assert "sculptor.toml: not valid TOML" in result.err
    assert "weaver.toml: 'description' must be a text" in result.err
    assert info_of(result.folders[0])["role"] == "artist"
    asked = tirada("2", TINY, "--role", "sculptor", DATA_DIR=str(data))
    assert asked.code == 3
    assert "sculptor.toml: not valid TOML" in asked.err


def test_no_usable_role_at_all(tirada: Tirada) -> None:
    data = data_folder()
    (data / "roles" / "sculptor.toml").write_text("title = 1\n", encoding="utf-8")
    result = tirada("2", TINY, DATA_DIR=str(data))
    assert result.code == 3
    assert "sculptor.toml" in result.err


def test_a_broken_few_shot_line_is_named_and_the_run_goes_on(tirada: Tirada) -> None:
    tuning = Path("tuned")
    tuning.mkdir()
    good = (ROOT / "tuning" / "artist.jsonl").read_text(encoding="utf-8").splitlines()[0]
    (tuning / "artist.jsonl").write_text(f'{good}\n{{"title"\n\n{{"title": "x"}}\n', encoding="utf-8")
    with (tuning / "artist.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"a":' * 50_000 + "\n" + json.dumps({"prompt": "Example: " + '{"a":' * 50_000 + "}"}) + "\n")
    result = tirada("1", TINY, "--role", "artist", TUNING_DIR=str(tuning))
    assert result.code == 0
    assert "tuned/artist.jsonl:5: not valid JSON: nested too deeply" in result.err
    assert "tuned/artist.jsonl:6: the JSON inside 'prompt' is broken: nested too deeply" in result.err
    assert "tuned/artist.jsonl:2: not valid JSON" in result.err
    assert "tuned/artist.jsonl:4: 'description' must be a text" in result.err
    assert "1 few-shot example\n" in tirada("roles", "artist", TUNING_DIR=str(tuning)).out


def test_a_broken_list_of_forbidden_names(tirada: Tirada) -> None:
    data = data_folder("artist")
    (data / "forbidden_names.toml").write_text("brands = 'one'\n", encoding="utf-8")
    result = tirada("1", TINY, DATA_DIR=str(data))
    assert result.code == 3
    assert "forbidden_names.toml" in result.err


@pytest.mark.parametrize("command", [("1", TINY), ("history",), ("resume",), ("show", "abc")])
def test_a_store_that_is_no_database(tirada: Tirada, command: tuple[str, ...]) -> None:
    store = Path("output/tirada.db")
    store.parent.mkdir()
    store.write_bytes(b"this is no database, whatever it is called. " * 30)
    before = store.read_bytes()
    result = tirada(*command, "--output", "output", "--quiet") if command[0] == "1" else tirada(*command)
    assert result.code == 1
    assert result.err == "Error: The store 'output/tirada.db' cannot be opened: file is not a database.\n"
    assert store.read_bytes() == before


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("2", TINY), ("2", "--only-prompts")])
def test_too_little_disk_left(tirada: Tirada, command: tuple[str, ...]) -> None:
    result = tirada(*command, MIN_FREE_MB="999999999")
    assert result.code == 1
    assert "MB are free in 'output'" in result.err
    assert "MIN_FREE_MB" in result.err
    assert "To go on: python main.py resume" in result.err
    assert not list(Path("output").rglob("*.png"))
    resumed = tirada("resume", "--json")
    assert resumed.code == 0
    assert (resumed.json["done"], resumed.json["wanted"]) == (2, 2)


def test_a_disk_that_fills_up(tirada: Tirada) -> None:
    limit = 300 * 1024

    def full() -> None:
        # Writing beyond the limit is then an error (EFBIG), as it is on a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    source = prompts("in.csv", "a mountain lake at dawn, bold layered hills")
    result = finish(start("2", "1800x1800", "--from", source, "--seed", "7", before=full))
    assert result.code == 1
    assert "too large" in result.err
    assert "Traceback" not in result.err
    assert "To go on: python main.py resume" in result.err
    (folder,) = Path("output").glob("*-a-mountain-lake-*")
    assert not list(folder.glob("*.png"))
    assert not list(folder.glob("*.tmp")) and not list(folder.glob(".*.tmp"))
    resumed = tirada("resume")
    assert resumed.code == 0, resumed.err
    assert info_of(folder)["status"] == "done"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["01.png", "02.png", "batch.csv", "index.html", "info.json", "info.md"]
