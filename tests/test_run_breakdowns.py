"""Bugs, broken disks and stores that cannot be written: one item fails, or the run stops and can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError as SQLAlchemyDatabaseError

from models import registry
from models.backends.draft import DraftBackend
from models.contract import GeneratedImage, ImageRequest
from models.errors import ModelError
from models.registry import BackendConfig, BackendRow
from models.writers.composer import ComposerWriter
from tests.cli_tools import TINY, Tirada, endpoint
from tests.run_tools import (
    SERIAL,
    BillingServer,
    batch_folders,
    check_money,
    check_output,
    figures,
    read_csv,
    render,
    rows,
)
from tirada.cli import progress
from tirada.engine import saving
from tirada.errors import StoreError
from tirada.output import info as info_module
from tirada.store.database import Database

OUTPUT = Path("output")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in {**endpoint(server), **SERIAL}.items():
            monkeypatch.setenv(name, value)
        yield server


# --- bugs ------------------------------------------------------------------------------------------


class FlakyBackend(DraftBackend):
    """A backend of somebody else, with a bug."""

    name = "flaky"

    def generate(self, batch: Sequence[ImageRequest]) -> list[GeneratedImage | ModelError]:
        seed = batch[0].seed or 0
        if seed % 4 == 1:
            raise ZeroDivisionError("the bug in flaky")
        if seed % 4 == 2:
            return []
        if seed % 4 == 3:
            return ["no image at all"]  # type: ignore[list-item]
        return super().generate(batch)


def build_flaky(_config: BackendConfig) -> FlakyBackend:
    return FlakyBackend()


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> str:
    target = f"{__name__}:{build_flaky.__name__}"
    row = BackendRow(name="flaky", label="Flaky", summary="fails now and then", target=target, paid=False)
    monkeypatch.setattr(registry, "_announced", lambda: [row])
    return "flaky"


def test_a_bug_in_a_backend_fails_the_item_and_keeps_its_traceback(tirada: Tirada, flaky: str) -> None:
    result = tirada(8, TINY, "--backend", flaky, "--role", "artist", "--seed", 0, "--json")
    assert result.code == 4
    assert figures(result, "status", "done", "failed") == ("partial", 2, 6)
    assert {failure["error"] for failure in result.json["failures"]} == {"bug"}
    assert "Traceback" in result.err and "ZeroDivisionError: the bug in flaky" in result.err
    (info,) = check_output(OUTPUT)
    assert [failure["index"] for failure in info["failures"]] == [2, 3, 4, 6, 7, 8]
    assert Decimal(info["cost_usd"]) == 0


def test_a_bug_in_the_writer_keeps_its_traceback(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = ComposerWriter.write, []

    def write(self: ComposerWriter, briefs: Any) -> Any:
        calls.append(len(briefs))
        if len(calls) == 2:
            raise ZeroDivisionError("the bug in the writer")
        return original(self, briefs)

    monkeypatch.setattr(ComposerWriter, "write", write)
    monkeypatch.setattr(ComposerWriter, "batch", 2)
    result = tirada(6, "--only-prompts", "--role", "artist", "--json")
    assert result.code == 4
    assert figures(result, "done", "failed") == (4, 2)
    assert "ZeroDivisionError: the bug in the writer" in result.err
    assert len(read_csv(OUTPUT / "batch_prompts.csv")) == 4


def test_a_bug_while_saving_fails_the_item(
    tirada: Tirada, server: BillingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = saving.prepare, []

    def prepare(*args: Any, **named: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise ZeroDivisionError("the bug in prepare")
        return original(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "prepare", prepare)
        result = render(tirada, 3, SAVE_THREADS="1")
    assert result.code == 4
    assert figures(result, "done", "failed") == (2, 1)
    assert "ZeroDivisionError: the bug in prepare" in result.err
    # What was paid for and could not be saved is kept as it came, and not paid for again.
    (folder,) = batch_folders(OUTPUT)
    assert len(list(folder.glob(".*.received"))) == 1
    assert tirada("resume").code == 0 and len(list(folder.glob(".*.received"))) == 1
    again = tirada("retry", result.json["run_id"], "--json")
    assert again.code == 0 and again.json["done"] == 3, again.err
    assert server.asked["image"] == 3 and Decimal(again.json["cost_usd"]) == server.total()
    check_output(OUTPUT)


# --- disks and stores ----------------------------------------------------------------------------------------------


def test_nothing_is_sent_when_the_disk_is_full(tirada: Tirada, server: BillingServer) -> None:
    result = render(tirada, 2, MIN_FREE_MB=str(10**9))
    assert result.code == 1 and "MIN_FREE_MB" in result.json["message"]
    assert server.asked["image"] == 0
    assert render(tirada, 1).code == 0
    assert tirada("resume", "--json").json["done"] == 2
    check_output(OUTPUT)


def test_a_disk_that_fills_up_stops_the_run_and_loses_nothing_it_holds(
    tirada: Tirada, server: BillingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = saving.write_bytes

    def write_bytes(path: Path, *rest: Any, **named: Any) -> None:
        if path.name == "02.png":
            raise OSError(28, "No space left on device", str(path))
        original(path, *rest, **named)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "write_bytes", write_bytes)
        result = render(tirada, 4)
    assert result.code == 1 and "No space left" in result.json["message"]
    assert "Traceback" not in result.err
    asked = server.asked["image"]
    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    assert figures(again, "done", "status") == (4, "done")
    # The picture that could not be saved was there, and was not paid for again.
    assert asked < 5 and server.asked["image"] == server.billed == 4
    check_output(OUTPUT)
    assert Decimal(again.json["cost_usd"]) == server.total()


def test_a_disk_too_full_to_put_the_answer_aside(
    tirada: Tirada, server: BillingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_bytes(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        result = render(tirada, 2)
    assert result.code == 1 and "No space left" in result.json["message"]
    assert [call["state"] for call in rows(OUTPUT, "calls")] == ["settled"]
    assert Decimal(result.json["cost_usd"]) == server.total() and result.json["in_doubt"] == 1
    # The lost picture is paid twice only by who was told, and the report says so.
    assert tirada("resume", "--skip-in-doubt", "--json").json["done"] == 1
    again = tirada("resume", "--json")
    assert again.code == 0 and again.json["done"] == 2
    assert server.billed == 3 and Decimal(again.json["cost_usd"]) == server.total()


def test_the_books_agree_while_the_store_cannot_be_written(
    tirada: Tirada, server: BillingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Database.change

    def change(self: Database, work: Any) -> Any:
        if server.asked["image"] >= 2:
            raise StoreError("The store cannot be written: database or disk is full.")
        return original(self, work)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "change", change)
        assert render(tirada, 4, SAVE_THREADS="1").code == 1
    costs = tirada("costs", "--json").json
    [row] = costs["rows"]
    assert row["usd"] == costs["month_usd"] == tirada("history", "--json").json[0]["cost_usd"]
    assert Decimal(row["usd"]) >= server.total() > 0
    again = tirada("resume", "--json")
    assert again.code == 0 and again.json["done"] == 4
    check_money(OUTPUT, server)


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    def make_folder(*_: Any, **__: Any) -> Path:
        raise PermissionError(13, "Permission denied", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr("tirada.engine.source.make_folder", make_folder)
        result = tirada(2, TINY, "--draft", "--role", "artist")
    assert result.code == 1
    assert "Permission denied" in result.err and "Traceback" not in result.err
    assert tirada("resume").code == 0
    check_output(OUTPUT)


def test_info_files_that_cannot_be_written_are_written_on_resume(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_text(path: Path, *_: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(info_module, "write_text", write_text)
        result = tirada(2, TINY, "--draft", "--role", "artist", "--json")
    assert result.code == 1 and figures(result, "status", "done") == ("stopped", 2)
    again = tirada("resume")
    assert again.code == 0, again.err
    assert [info["status"] for info in check_output(OUTPUT)] == ["done"]
    assert {concept["status"] for concept in rows(OUTPUT, "concepts")} == {"done"}


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_a_store_that_cannot_be_written_stops_the_run(
    tirada: Tirada, server: BillingServer, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    original, calls = Database.change, []

    def change(self: Database, work: Any) -> Any:
        # Opening the run takes four changes (run, begun, decks, concept), each image three.
        calls.append(work)
        if len(calls) >= 4 + number:
            raise StoreError("The store cannot be written: database or disk is full.")
        return original(self, work)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "change", change)
        result = render(tirada, 2, SAVE_THREADS="1")
    assert result.code == 1 and "database or disk is full" in result.err + result.out
    assert "Traceback" not in result.err
    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    assert again.json["done"] == 2
    check_output(OUTPUT)
    check_money(OUTPUT, server)


def test_a_store_whose_writer_died_answers_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "a.db")

    def connect() -> Any:
        raise SQLAlchemyDatabaseError("connect", {}, OSError("the disk is gone"))

    monkeypatch.setattr(database._engine, "connect", connect)
    for _ in range(2):
        with pytest.raises(StoreError, match="the disk is gone"):
            database.change(lambda connection: None)
    database.close()


def test_a_listener_that_has_gone_stops_nothing(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(self: Any, event: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(progress.Lines, "__call__", listen)
    assert tirada(2, TINY, "--draft", "--role", "artist").code == 0
    check_output(OUTPUT)
