"""Every command, as it is typed and as it answers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from models.sizes import NAMED_SIZES
from tests.cli_tools import (
    MAIN,
    TINY,
    Result,
    Tirada,
    clean_environment,
    hashes,
    info_of,
    made,
    on_terminal,
    own_catalog,
    prompts,
)
from tests.gpt_bench import SPANISH
from tests.servers.openai_api import OpenAIServer
from tirada import __version__
from tirada.cli.app import COMMANDS, GROUPS

ROLE_NAMES = {"photographer", "artist", "illustrator_2d", "render_3d", "cartoonist", "artist_monster"}


def table(result: Result) -> dict[str, list[str]]:
    """First cell of each line -> all cells; cells are two spaces apart."""
    rows = [re.split(r"\s{2,}", line) for line in result.out.splitlines() if line.strip()]
    return {row[0]: row for row in rows}


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), (), ("batch", "--help")])
def test_help_fits_a_terminal_and_names_every_command(tirada: Tirada, arguments: tuple[str, ...]) -> None:
    result = tirada(*arguments, COLUMNS="80")
    assert result.code == 0
    assert max(map(len, result.out.splitlines())) <= 80
    for name, command in COMMANDS.items():
        assert command.__doc__
        assert name == "batch" or re.search(rf"^ +{name} +{re.escape(command.__doc__)}$", result.out, re.MULTILINE)


@pytest.mark.parametrize(("group", "name"), [(group, name) for group, own in GROUPS.items() for name in own])
def test_commands_of_commands_have_help(tirada: Tirada, group: str, name: str) -> None:
    result = tirada(group, name, "--help", COLUMNS="80")
    assert result.code == 0
    assert str(GROUPS[group][name].__doc__) in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert f"  {name} " in tirada(group, "--help").out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_every_option_has_help(tirada: Tirada, name: str) -> None:
    result = tirada(name, "--help", COLUMNS="80")
    assert result.code == 0
    assert str(COMMANDS[name].__doc__) in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    options = re.findall(r"^  (?:-\w, )?--[\w-]+(?: \S+)?\s*(.*)\n(.*)", result.out, re.MULTILINE)
    assert options
    for same_line, next_line in options:
        assert same_line or next_line.startswith(" " * 10)


def test_version(tirada: Tirada) -> None:
    assert tirada("--version") == Result(0, f"Tirada {__version__}\n", "")


# --- listings ---------------------------------------------------------------------------------------------------------


def test_roles(tirada: Tirada) -> None:
    rows = table(tirada("roles"))
    assert rows.keys() >= ROLE_NAMES
    assert len(rows) >= 13
    listed = tirada("roles", "--json").json
    assert {role["name"] for role in listed} == rows.keys() - {"ROLE"}


def test_one_role(tirada: Tirada) -> None:
    result = tirada("roles", "photographer_food")
    assert result.out.startswith("photographer_food: ")
    for word in ("Template:", "Negative:", "scene,", "lens,", "few-shot examples"):
        assert word in result.out
    (role,) = tirada("roles", "photographer_food", "--json").json
    assert role["name"] == "photographer_food"


def test_backends(tirada: Tirada) -> None:
    rows = table(tirada("backends"))
    assert rows["draft"][1:4] == ["--draft", "no", "ready"]
    assert rows["dalle"][1:4] == ["--dalle", "yes", "needs OPENAI_API_KEY"]
    assert rows["stable-diffusion"][3] == rows["flux"][3] == "ready"
    states = {row["name"]: row["state"] for row in tirada("backends", "--json", OPENAI_API_KEY="test-key").json}
    assert states["dalle"] == "ready"


def test_models(tirada: Tirada) -> None:
    rows = table(tirada("models"))
    assert "gpt-image-2.6-flare*" in rows
    assert "gpt-6-luna*" in rows
    assert "dall-e-3" not in rows
    everything = table(tirada("models", "--all"))
    assert everything.keys() > rows.keys()
    assert "2026-05-12 -> gpt-image-2.6-flare" in everything["dall-e-3"]
    listed = tirada("models", "--all", "--json").json
    assert all(row["source"] and row["checked"] for row in listed)


def test_models_of_ones_own(tirada: Tirada) -> None:
    row = '[[image]]\nid = "mine"\nbackend = "dalle"\nprice = "0.5"'
    rows = table(tirada("models", CATALOG_FILE=own_catalog(row)))
    assert rows["mine"][1:3] == ["dalle", "0.5"]
    assert len(rows) > 5


# --- history and show -------------------------------------------------------------------------------------------------


def test_history_and_show(tirada: Tirada) -> None:
    tirada("2", "--only-prompts")
    made_images = tirada("2", TINY, "--prompts", "2", "--json").json
    assert tirada("history", "-n", "1").out.splitlines()[1].startswith(made_images["run_id"])
    rows = table(tirada("history"))
    assert len(rows) == 3
    assert rows[made_images["run_id"]][2:] == ["done", "4/4 images", "-", f"python main.py 2 {TINY} --prompts 2 --json"]
    newest, oldest = tirada("history", "--json").json
    assert (newest["id"], oldest["concepts"]) == (made_images["run_id"], 2)

    shown = tirada("show", newest["id"][:7], "--json").json
    assert shown["id"] == newest["id"]
    assert [folder["done"] for folder in shown["folders"]] == [2, 2]
    folder = Path(made_images["folders"][0])
    info = info_of(folder)
    for name in (folder.name, info["batch_id"], info["batch_id"][:9]):
        concept = tirada("show", name, "--json").json
        assert concept["title"] == info["title"]
        assert [image["sha256"] for image in concept["images"]] == [image["sha256"] for image in info["images"]]
    plain = tirada("show", newest["id"])
    assert folder.name in plain.out
    assert info["title"] in plain.out


def test_show_wants_to_know_which(tirada: Tirada) -> None:
    tirada("1", "--only-prompts")
    tirada("1", "--only-prompts")
    result = tirada("show", "")
    assert result.code == 2
    assert "fits 2 runs" in result.err
    result = tirada("show", "zzz")
    assert result.code == 2
    assert "`python main.py history` lists them" in result.err


def test_resume_without_anything_to_do(tirada: Tirada) -> None:
    run = tirada("1", "--only-prompts", "--json").json["run_id"]
    assert "Nothing to resume" in tirada("resume").err
    assert f"Run {run} has come to its end (done)" in tirada("resume", run[:6]).err


# --- which backend ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "chosen", "ignored"),
    [
        (("--draft", "--dalle"), "draft", "dalle"),
        (("--dalle", "--draft"), "dalle", "draft"),
        (("--draft", "--stable-diffusion"), "draft", "stable-diffusion"),
        (("--backend", "dalle", "--draft"), "dalle", "draft"),
        (("--dalle", "--backend", "draft"), "dalle", "draft"),
        (("--draft", "--backend", "draft"), "draft", ""),
    ],
)
def test_the_first_backend_typed_wins(
    tirada: Tirada, openai: OpenAIServer, flags: tuple[str, ...], chosen: str, ignored: str
) -> None:
    result = tirada("1", TINY, *flags, "--writer", "composer", "--json")
    assert result.code == 0
    assert info_of(Path(result.json["folders"][0]))["backend"] == chosen
    warning = f"Warning: {ignored!r} is ignored: {chosen!r} was named first.\n" if ignored else ""
    assert result.err == warning
    assert openai.billed == (chosen == "dalle")


def test_the_backend_of_the_settings(tirada: Tirada, openai: OpenAIServer) -> None:
    assert tirada("1", TINY, "--dry-run", "--json", BACKEND="dalle").json["backend"] == "dalle"
    assert tirada("1", TINY, "--dry-run", "--json", "--draft", BACKEND="dalle").json["backend"] == "draft"


# --- what is said, and where ------------------------------------------------------------------------------------------


def test_a_dry_run_sends_and_writes_nothing(tirada: Tirada, openai: OpenAIServer) -> None:
    plain = tirada("3", "256x256", "--dalle", "--prompts", "2", "--dry-run", "--theme", "harbours")
    assert plain.code == 0
    assert plain.out.startswith("Dry run: nothing is sent, nothing is written.\n")
    facts = tirada("3", "256x256", "--dalle", "--prompts", "2", "--dry-run", "--json").json
    assert (facts["prompts"], facts["images"]) == (2, 6)
    assert (facts["size"], facts["rendered_size"]) == ("256x256", "816x816")
    assert facts["writer"] == "gpt gpt-6-luna"
    text, images, total = (Decimal(facts[f"{name}_usd"]) for name in ("text", "images", "total"))
    # 439 tokens at 30 USD a million for a square of 1024; a prompt costs next to nothing.
    each = Decimal(439) * 816 * 816 / 1024**2 * 30 / 1_000_000
    assert each * 6 < images < each * 6 + Decimal("0.01")
    assert 0 < text < Decimal("0.01")
    assert total == text + images
    assert openai.requests == []
    assert made() == []


def test_a_dry_run_of_prompts_and_of_files(tirada: Tirada) -> None:
    facts = tirada("7", "--only-prompts", "--dry-run", "--json", "--output", "x").json
    assert (facts["prompts"], facts["images"], facts["output"]) == (7, 0, "x/batch_prompts.csv")
    assert "backend" not in facts
    facts = tirada("2", TINY, "--from", prompts("in.csv", "one", "two", "three"), "--dry-run", "--json").json
    assert (facts["prompts"], facts["images"], facts["writer"]) == (3, 6, "file")
    assert made() == ["in.csv"]


def test_quiet_says_nothing_but_results(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--quiet")
    assert result.err == ""
    assert result.out == f"{result.folders[0]}\n"
    assert tirada("2", "--only-prompts", "-q") == Result(0, "output/batch_prompts.csv\n", "")


def test_json_is_one_document_and_everything_else_is_on_stderr(tirada: Tirada) -> None:
    Path("in.jsonl").write_text('{"prompt": "a lighthouse"}\nbroken\n', encoding="utf-8")
    result = tirada("1", TINY, "--from", "in.jsonl", "--draft", "--dalle", "--json")
    report = result.json
    assert (report["status"], report["exit_code"], report["done"], report["wanted"]) == ("done", 0, 1, 1)
    assert (report["cost_usd"], report["cost_complete"]) == ("0", True)
    assert re.fullmatch(r"(Warning: .+\n){2}", result.err)
    failed = tirada("1", TINY, "--json", MIN_FREE_MB="999999999")
    assert failed.code == failed.json["exit_code"] == 1
    assert "MIN_FREE_MB" in failed.json["message"]


def test_plain_lines_where_nobody_watches(tirada_process: Tirada) -> None:
    result = tirada_process("2", TINY, "--prompts", "2")
    assert result.code == 0
    assert "\x1b" not in result.err + result.out
    lines = result.err.splitlines()
    assert re.fullmatch(r"Run \w{12} starts\.", lines[3])
    assert sum(line.endswith(": 2 images") for line in lines) == 2
    assert re.match(r"Run \w{12} done: 4 of 4 images, no cost", lines[-1])
    assert len(result.folders) == len(result.out.splitlines()) == 2


def test_a_bar_on_a_terminal() -> None:
    result = on_terminal("3", TINY, TERM="xterm", COLUMNS="100")
    assert result.code == 0
    assert "\x1b[" in result.err
    assert re.search(r"Prompts.*━.*1/1", result.err)
    assert re.search(r"Images.*━.*3/3", result.err)
    assert Path(result.out.strip()).is_dir()


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "size"),
    [*NAMED_SIZES.items(), ("256", (256, 256)), ("640x360", (640, 360)), ("640X360", (640, 360)), ("", (1024, 1024))],
)
def test_sizes(tirada: Tirada, typed: str, size: tuple[int, int]) -> None:
    words = [typed] if typed else []
    facts = tirada("1", *words, "--draft", "--dry-run", "--json").json
    assert facts["size"] == facts["rendered_size"] == f"{size[0]}x{size[1]}"


def test_size_and_format_of_the_settings(tirada: Tirada) -> None:
    result = tirada("1", SIZE="96x64", FORMAT="webp", OUTPUT_DIR="mine")
    info = info_of(result.folders[0])
    assert (info["size"], info["format"]) == ("96x64", "webp")
    assert made() == ["mine"]


@pytest.mark.parametrize(
    ("name", "file", "kind"), [("png", "01.png", "PNG"), ("jpeg", "01.jpg", "JPEG"), ("webp", "01.webp", "WEBP")]
)
def test_formats(tirada: Tirada, name: str, file: str, kind: str) -> None:
    (folder,) = tirada("1", "96x64", "--format", name).folders
    with Image.open(folder / file) as picture:
        assert (picture.format, picture.size) == (kind, (96, 64))


def test_another_output_folder(tirada: Tirada) -> None:
    result = tirada("1", TINY, "--output", "there/deep")
    assert made() == ["there"]
    assert result.folders[0].parent == Path("there/deep")
    assert table(tirada("history", "-o", "there/deep")).keys() > {"RUN"}
    assert tirada("history").code == 2


def test_a_seed_makes_a_run_repeatable(tirada: Tirada) -> None:
    def run(seed: int, output: str) -> list[tuple[str, list[str]]]:
        return hashes(tirada("2", TINY, "--prompts", "3", "--seed", str(seed), "--output", output).folders)

    first = run(7, "a")
    assert len(first) == 3
    assert run(7, "b") == first
    assert run(8, "c") != first
    assert len({sha for _, shas in first for sha in shas}) == 6


def test_prompts_grow_one_list_that_can_be_rendered(tirada: Tirada) -> None:
    for _ in range(2):
        assert tirada("5", "--only-prompts", "--theme", "lighthouses", "--quiet").code == 0
    listed = Path("output/batch_prompts.csv").read_text(encoding="utf-8")
    assert listed.count("title,description,metatags,prompt") == 1
    rendered = tirada("1", TINY, "--from", "output/batch_prompts.csv", "--prompts", "3")
    assert rendered.code == 0
    infos = [info_of(folder) for folder in rendered.folders]
    assert len({info["title"] for info in infos}) == 3
    assert all("lighthouses" in f"{info['title']} {info['description']}".casefold() for info in infos)


def test_another_language_is_for_gpt(tirada: Tirada, openai: OpenAIServer) -> None:
    openai.chat = lambda _request: {"concepts": [SPANISH]}
    assert tirada("1", "--only-prompts", "--language", "es").code == 0
    assert "Spanish" in str(openai.requests[0].json["messages"])
    assert SPANISH["title"] in Path("output/batch_prompts.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["--help", "--version", "backends", "models", "roles", "doctor", "1 64x64"])
def test_nobody_reads(command: str) -> None:
    """As in ``python main.py roles | head -1``, where the reader has gone before we are done."""
    ours, theirs = os.pipe()
    os.close(ours)
    words = [sys.executable, str(MAIN), *command.split()]
    try:
        done = subprocess.run(words, env=clean_environment(), stdout=theirs, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(theirs)
    assert done.returncode == 141
    assert not re.search("Traceback|Error|Exception|pipe", done.stderr)


def test_nobody_listens_and_the_work_is_done_all_the_same() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    words = [sys.executable, str(MAIN), "1", TINY]
    try:
        done = subprocess.run(words, env=clean_environment(), stdout=subprocess.PIPE, stderr=theirs, text=True)
    finally:
        os.close(theirs)
    assert done.returncode == 0
    assert info_of(Path(done.stdout.strip()))["status"] == "done"


def test_a_reader_that_has_seen_enough(start_tirada: Callable[..., subprocess.Popen[str]]) -> None:
    process = start_tirada("roles", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "[\n"
    process.stdout.close()
    assert process.wait() == 141
    assert process.stderr.read() == ""
    process.stderr.close()
