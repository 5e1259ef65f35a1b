"""Everything a service can do wrong, row by row of the table in design.md §5, against the stand-in over HTTP."""

from __future__ import annotations

import base64
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import TINY, Tirada, endpoint, write_csv
from tests.run_tools import (
    SERIAL,
    BillingServer,
    check_money,
    check_output,
    figures,
    read_csv,
    render,
    rows,
    run_row,
    until,
)
from tests.servers.base import Fault
from tests.servers.openai_api import encoded
from tests.servers.openai_chat import default_chat

OUTPUT = Path("output")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in {**endpoint(server), **SERIAL}.items():
            monkeypatch.setenv(name, value)
        yield server


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


# --- a model that there is not --------------------------------------------------------------------------------------

NO_MODEL = [
    {"error": {"message": "The model 'nope' does not exist.", "code": "model_not_found", "type": "x", "param": None}},
    {"object": "error", "message": "The model `nope` does not exist.", "type": "NotFoundError", "code": 404},
    {"error": {"message": 'model "nope" not found, try pulling it first', "type": "api_error"}},
    {"error": {"message": "/images: Invalid model name passed in model=nope.", "type": None, "code": "400"}},
]


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("body", NO_MODEL, ids=["openai", "vllm", "ollama", "litellm"])
@pytest.mark.parametrize("number", [1, 2])
def test_a_model_that_is_not_there_ends_the_run_at_once(
    tirada: Tirada, server: BillingServer, number: int, body: Any, status: int
) -> None:
    """Also where the service worked before: no other image would fare better."""
    server.on_image = dict.fromkeys(range(number, 20), Fault(status=status, body=body))
    result = render(tirada, 6, "--model", "gpt-image-2")
    assert result.code == 3, result.err
    assert server.asked["image"] == number
    assert figures(result, "status", "done", "failed") == ("stopped", number - 1, 0)
    assert "Check the model name and the base URL." in result.out


def test_a_model_that_only_the_endpoint_could_know_costs_few_texts(tirada: Tirada, server: BillingServer) -> None:
    result = tirada(1, TINY, "--dalle", "--model", "nope", "--prompts", 40, "--writer", "gpt", "--json", "--yes")
    assert result.code == 3, result.err
    assert server.asked["image"] == 1 and server.chats < 12


def test_openai_itself_is_never_asked_for_a_model_it_has_not(tirada: Tirada, server: BillingServer) -> None:
    settings = {"OPENAI_IMAGES_BASE_URL": "https://api.openai.com/v1", "OPENAI_IMAGES_API_KEY": "sk-0123456789abcdef"}
    result = tirada(1, TINY, "--dalle", "--model", "nope", "--writer", "gpt", **settings)
    assert result.code in (2, 3)
    assert "There is no image model 'nope'." in result.err
    assert server.requests == []


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
        {
            "concept": 2,
            "folder": None,
            "image": None,
            "error": "bad_answer",
            "message": result.json["failures"][0]["message"],
        }
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
