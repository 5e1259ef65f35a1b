"""Everything a service can do wrong, row by row of the table in design.md §5, against the stand-in over HTTP."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models import registry
from models.backends.draft import DraftBackend
from models.contract import GeneratedImage, ImageRequest
from models.errors import ModelError
from models.registry import BackendConfig, BackendRow
from models.writers.composer import ComposerWriter
from tests.cli_tools import TINY, Result, Tirada, endpoint, write_csv
from tests.run_tools import BillingServer, batch_folders, check_money, check_output, read_csv, rows, run_row, until
from tests.servers.base import Fault
from tests.servers.openai_api import encoded
from tests.servers.openai_chat import default_chat
from tirada.cli import progress
from tirada.engine import saving
from tirada.output import info as info_module

OUTPUT = Path("output")
#: One call at a time, so that the nth request is the nth image.
SERIAL = {"IMAGES_IN_FLIGHT": "1", "WRITER_IN_FLIGHT": "1", "WRITER_BATCH": "1"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in {**endpoint(server), **SERIAL}.items():
            monkeypatch.setenv(name, value)
        yield server


def render(tirada: Tirada, images: int = 4, *more: object, **env: str) -> Result:
    """So many images of one idea that costs nothing to write."""
    return tirada(images, TINY, "--dalle", "--writer", "composer", "--role", "artist", "--json", *more, **env)


def figures(result: Result, *names: str) -> tuple[Any, ...]:
    return tuple(result.json[name] for name in names)


def picture(data: bytes) -> dict[str, Any]:
    """An answer that holds this as a picture, with the bill of a real one."""
    details = {"text_tokens": 30, "image_tokens": 0}
    usage = {"input_tokens": 30, "output_tokens": 1000, "total_tokens": 1030, "input_tokens_details": details}
    return {"created": 1, "data": [{"b64_json": base64.b64encode(data).decode()}], "usage": usage}


# --- errors that pass -----------------------------------------------------------------------------------------------


def test_rate_limits_are_waited_out(tirada: Tirada, server: BillingServer) -> None:
    server.on_image = dict.fromkeys((1, 2, 4), Fault(status=429, headers={"Retry-After": "0"}))
    result = render(tirada)
    assert result.code == 0, result.err
    assert figures(result, "done", "failed") == (4, 0)
    assert server.asked["image"] == 4 + 3 and server.billed == 4
    (info,) = check_output(OUTPUT)
    assert [image["attempts"] for image in info["images"]] == [3, 2, 1, 1]
    assert Decimal(result.json["cost_usd"]) == server.total() == Decimal(info["cost_usd"])
    assert Counter((c["state"], c["error_kind"]) for c in rows(OUTPUT, "calls")) == {
        ("settled", None): 4,
        ("failed", "rate_limited"): 3,
    }


def test_server_errors_are_tried_again_and_then_given_up(tirada: Tirada, server: BillingServer) -> None:
    statuses = {1: 500, 2: 502, 3: 503, 4: 500, 6: 500}
    server.on_image = {number: Fault(status=status) for number, status in statuses.items()}
    result = render(tirada)
    assert result.code == 4
    assert figures(result, "status", "done", "failed") == ("partial", 3, 1)
    assert server.asked["image"] == 4 + 4
    (info,) = check_output(OUTPUT)
    assert info["status"] == "partial" and [image["file"] for image in info["images"]] == ["02.png", "03.png", "04.png"]
    (failure,) = info["failures"]
    assert (failure["index"], failure["error"], failure["attempts"]) == (1, "unavailable", 4)
    assert Decimal(info["cost_usd"]) == server.total()
    assert result.json["failures"][0]["error"] == "unavailable"


def test_the_number_of_tries_is_a_setting(tirada: Tirada, server: BillingServer) -> None:
    server.on_image = {1: Fault(status=500), 2: Fault(status=500)}
    assert figures(render(tirada, 2, RETRY_TRIES="2"), "done", "failed") == (1, 1)
    assert server.asked["image"] == 3


def test_bytes_that_are_no_picture_are_asked_for_again(tirada: Tirada, server: BillingServer) -> None:
    broken = base64.b64decode(encoded(64, 64))[:-60]
    server.on_image = {1: Fault(body=picture(b"certainly no picture")), 3: Fault(body=picture(broken))}
    result = render(tirada, 2)
    assert result.code == 0, result.err
    assert server.asked["image"] == 4
    (info,) = check_output(OUTPUT)
    assert [image["attempts"] for image in info["images"]] == [2, 2]
    # What was useless was paid for all the same.
    calls = [Decimal(call["cost"]) for call in rows(OUTPUT, "calls")]
    assert len(calls) == 4 and all(calls)
    assert Decimal(result.json["cost_usd"]) == Decimal(info["cost_usd"]) == sum(calls)


@pytest.mark.parametrize("where", ["backend", "save stage"])
def test_bytes_that_stay_broken_fail_that_image(tirada: Tirada, server: BillingServer, where: str) -> None:
    data = b"certainly no picture" if where == "backend" else base64.b64decode(encoded(64, 64))[:-60]
    server.on_image = dict.fromkeys(range(1, 5), Fault(body=picture(data)))
    result = render(tirada, 2, SAVE_THREADS="1", RETRY_TRIES="3")
    assert result.code == 4, result.err
    (info,) = check_output(OUTPUT)
    assert [failure["error"] for failure in info["failures"]] == ["bad_answer"]
    assert figures(result, "done", "failed") == (1, 1)
    assert info["failures"][0]["attempts"] == 3
    calls = [Decimal(call["cost"]) for call in rows(OUTPUT, "calls")]
    assert len(calls) == server.asked["image"] and Decimal(result.json["cost_usd"]) == sum(calls)
    assert Decimal(info["cost_usd"]) == sum(calls)


# --- errors that stay -----------------------------------------------------------------------------------------------


def test_a_refusal_is_never_repeated(tirada: Tirada, server: BillingServer) -> None:
    path = write_csv(
        Path("mine.csv"),
        ("Fine", "A heron stands in the shallows while the last light goes.", "A heron in the shallows"),
        ("Not Fine", "Something that the service does not draw, for good reasons.", "FORBIDDEN things"),
        ("Also Fine", "An iron bridge over a gorge with a single lamp in the fog.", "An iron bridge in fog"),
    )
    result = tirada(2, TINY, "--dalle", "--from", path, "--json")
    assert result.code == 4
    assert figures(result, "done", "refused", "failed") == (4, 2, 0)
    assert server.asked["image"] == 6 and server.billed == 4
    infos = {info["title"]: info for info in check_output(OUTPUT)}
    assert [f["error"] for f in infos["Not Fine"]["failures"]] == ["refused", "refused"]
    assert infos["Not Fine"]["status"] == "failed" and infos["Fine"]["status"] == "done"
    assert Decimal(infos["Not Fine"]["cost_usd"]) == 0
    assert Decimal(result.json["cost_usd"]) == server.total()
    again = tirada("resume")
    assert again.code == 0 and server.asked["image"] == 6


@pytest.mark.parametrize("fault", [Fault(cut=True), Fault(truncate=True), Fault(status=504)], ids=str)
def test_a_lost_answer_is_in_doubt_and_not_repeated(tirada: Tirada, server: BillingServer, fault: Fault) -> None:
    server.on_image = {2: fault}
    result = render(tirada)
    assert result.code == 4
    assert figures(result, "status", "done", "in_doubt") == ("partial", 3, 1)
    assert server.asked["image"] == 4
    (info,) = check_output(OUTPUT)
    assert [(f["index"], f["error"]) for f in info["failures"]] == [(2, "in_doubt")]
    (doubtful,) = [call for call in rows(OUTPUT, "calls") if call["state"] == "in_doubt"]
    assert Decimal(doubtful["cost"]) == Decimal(doubtful["estimate"]) > 0
    settled = sum(Decimal(call["cost"]) for call in rows(OUTPUT, "calls") if call["state"] == "settled")
    assert Decimal(result.json["cost_usd"]) == settled + Decimal(doubtful["cost"]) == Decimal(info["cost_usd"])

    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    assert server.asked["image"] == 5
    assert figures(again, "status", "done", "in_doubt") == ("done", 4, 0)
    (info,) = check_output(OUTPUT)
    assert info["status"] == "done" and info["images"][1]["attempts"] == 2
    assert Decimal(again.json["cost_usd"]) == Decimal(info["cost_usd"]) > settled + Decimal(doubtful["cost"])
    check_money(OUTPUT, server)


def test_one_request_that_is_not_supported_fails_alone(tirada: Tirada, server: BillingServer) -> None:
    server.on_image = {2: Fault(status=400)}
    result = render(tirada)
    assert result.code == 4
    assert figures(result, "done", "failed") == (3, 1)
    assert result.json["failures"][0]["error"] == "unsupported"


def test_when_nothing_is_supported_the_run_stops_at_once(tirada: Tirada, server: BillingServer) -> None:
    server.image_models.clear()
    result = render(tirada)
    assert result.code == 3 and server.asked["image"] == 1
    assert figures(result, "status", "done", "failed") == ("stopped", 0, 0)


# --- errors that end the run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(status=429, code="insufficient_quota"), 5),
        (Fault(status=402), 5),
        (Fault(status=401), 3),
    ],
    ids=["quota", "billing", "key"],
)
def test_what_stops_the_run_can_be_resumed(tirada: Tirada, server: BillingServer, fault: Fault, code: int) -> None:
    server.on_image = {3: fault}
    result = render(tirada, 3, "--prompts", 2)
    assert result.code == code
    assert figures(result, "status", "done", "failed", "refused") == ("stopped", 2, 0, 0)
    assert result.json["message"] and server.asked["image"] == 3
    statuses = [info["status"] for info in check_output(OUTPUT)]
    assert statuses == ["interrupted"]
    assert run_row(OUTPUT)["status"] == "stopped"

    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    assert figures(again, "status", "done", "wanted") == ("done", 6, 6)
    assert server.asked["image"] == 3 + 4
    assert [info["status"] for info in check_output(OUTPUT)] == ["done", "done"]
    assert Decimal(again.json["cost_usd"]) == server.total()


def test_what_is_in_flight_is_finished_when_the_credit_ends(tirada: Tirada, server: BillingServer) -> None:
    # Three wait at the gate while the fourth is told that there is no credit; its news opens the gate.
    server.hold_images, server.on_image = 1, {4: Fault(status=429, code="insufficient_quota")}
    server.no_wait.add(4)
    opener = threading.Thread(target=_open_when, args=(server, _halted))
    opener.start()
    result = render(tirada, 12, IMAGES_IN_FLIGHT="4")
    opener.join()
    assert result.code == 5
    assert server.billed == result.json["done"] == 3 and server.asked["image"] == 4
    (info,) = check_output(OUTPUT)
    assert len(info["images"]) == 3 and info["status"] == "interrupted"


def _halted() -> bool:
    """The call that found no credit is settled, so the run knows."""
    return any(call["error_kind"] == "out_of_credit" for call in rows(OUTPUT, "calls"))


def _open_when(server: BillingServer, condition: Callable[[], Any]) -> None:
    def there() -> Any:
        try:
            return condition()
        except sqlite3.OperationalError:  # no table yet
            return False

    until(there, "the run to halt")
    server.gate.set()


def test_a_service_that_is_down_ends_the_run(tirada: Tirada, server: BillingServer) -> None:
    server.on_image = dict.fromkeys(range(3, 100), Fault(status=503))
    result = render(tirada, 20, RETRY_TRIES="2")
    assert result.code == 4
    assert figures(result, "status", "done", "failed") == ("stopped", 2, 5)
    assert server.asked["image"] == 2 + 5 * 2
    assert "in a row" in result.json["message"]

    server.on_image.clear()
    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    assert figures(again, "status", "done", "failed") == ("done", 20, 0)
    assert server.billed == 20


def test_failures_that_are_not_in_a_row_end_nothing(tirada: Tirada, server: BillingServer) -> None:
    server.on_image = {number: Fault(status=500) for number in range(1, 13) if number % 2}
    assert figures(render(tirada, 12, RETRY_TRIES="1"), "status", "done", "failed") == ("partial", 6, 6)


def test_nothing_is_sent_when_the_disk_is_full(tirada: Tirada, server: BillingServer) -> None:
    result = render(tirada, 2, MIN_FREE_MB=str(10**9))
    assert result.code == 1 and "MIN_FREE_MB" in result.json["message"]
    assert server.asked["image"] == 0
    assert render(tirada, 1).code == 0
    assert tirada("resume", "--json").json["done"] == 2
    check_output(OUTPUT)


# --- bugs and broken disks ------------------------------------------------------------------------------------------


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

    monkeypatch.setattr(saving, "prepare", prepare)
    result = render(tirada, 3, SAVE_THREADS="1")
    assert result.code == 4
    assert figures(result, "done", "failed") == (2, 1)
    assert "ZeroDivisionError: the bug in prepare" in result.err
    # What was paid for and could not be saved is kept as it came.
    (folder,) = batch_folders(OUTPUT)
    assert len(list(folder.glob(".*.received"))) == 1


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
    again = tirada("resume", "--json")
    assert again.code == 0 and again.json["done"] == 2
    # The lost picture is paid twice, and the report says so.
    assert server.billed == 3 and Decimal(again.json["cost_usd"]) == server.total()


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


def test_a_listener_that_has_gone_stops_nothing(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(self: Any, event: Any) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(progress.Lines, "__call__", listen)
    assert tirada(2, TINY, "--draft", "--role", "artist").code == 0
    check_output(OUTPUT)


# --- writers --------------------------------------------------------------------------------------------------------


def test_one_idea_that_cannot_be_written_spoils_no_other(tirada: Tirada, server: BillingServer) -> None:
    def chat(request: Any) -> Any:
        # The second idea is never any good, however often it is asked for.
        bad = 2 <= server.asked["text"] <= 4
        return {"concepts": [{"title": "", "description": "short", "metatags": []}]} if bad else default_chat(request)

    server.chat = chat
    result = tirada(2, TINY, "--dalle", "--prompts", 3, "--role", "artist", "--json")
    assert result.code == 4
    assert figures(result, "done", "failed", "concepts_written", "concepts_failed") == (4, 2, 2, 1)
    assert result.json["failures"] == [
        {"concept": 1, "image": None, "error": "bad_answer", "message": result.json["failures"][0]["message"]}
    ]
    assert len(check_output(OUTPUT)) == 2
    assert server.billed == 4 and Decimal(result.json["cost_usd"]) == server.total()


def test_a_writer_that_is_cut_off_is_asked_again(tirada: Tirada, server: BillingServer) -> None:
    server.faults = [Fault(cut=True, path="/chat/"), Fault(status=500, path="/chat/")]
    result = tirada(1, TINY, "--draft", "--role", "artist", "--json")
    assert result.code == 0, result.err
    assert server.asked["text"] == 3
    states = Counter(call["state"] for call in rows(OUTPUT, "calls"))
    assert states == {"in_doubt": 1, "failed": 1, "settled": 1}
    assert Decimal(result.json["cost_usd"]) == sum(Decimal(call["cost"] or 0) for call in rows(OUTPUT, "calls"))


def test_a_writer_without_credit_stops_the_run(tirada: Tirada, server: BillingServer) -> None:
    server.faults = [Fault(status=429, code="insufficient_quota", path="/chat/")]
    result = tirada(3, "--only-prompts", "--role", "artist", "--json")
    assert result.code == 5
    assert figures(result, "status", "done") == ("stopped", 0)
    assert tirada("resume").code == 0
    assert len(read_csv(OUTPUT / "batch_prompts.csv")) == 3


def test_a_text_service_that_is_down_can_be_resumed_in_full(tirada: Tirada, server: BillingServer) -> None:
    server.faults = [Fault(status=503, path="/chat/")] * 100
    result = tirada(12, "--only-prompts", "--role", "artist", "--json", RETRY_TRIES="1")
    assert result.code == 1 and figures(result, "status", "done", "failed") == ("stopped", 0, 5)
    server.faults.clear()
    again = tirada("resume", "--json")
    assert again.code == 0, again.err
    assert figures(again, "done", "failed") == (12, 0)
    assert len(read_csv(OUTPUT / "batch_prompts.csv")) == 12


def test_no_key_is_left_in_the_store(tirada: Tirada, server: BillingServer) -> None:
    server.faults = [Fault(status=401, body={"error": {"message": f"Bad key {server.key}", "code": "invalid_api_key"}})]
    result = render(tirada, 1)
    assert result.code == 3 and server.key not in result.out + result.err
    assert server.key not in json.dumps([rows(OUTPUT, name) for name in ("runs", "images", "calls", "concepts")])
