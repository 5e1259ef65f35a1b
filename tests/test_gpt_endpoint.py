"""The GPT writer and its endpoint: models, dialects, errors of a whole call, and money."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from models.catalog import ModelRow, load_catalog
from models.contract import Concept
from models.errors import (
    BadAnswer,
    InDoubt,
    ModelError,
    OutOfCredit,
    RateLimited,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from models.redaction import register
from models.writers.endpoint import MOST_OUTPUT, MOST_THINKING
from models.writers.gpt import GptWriter
from tests.gpt_bench import (
    CATALOG,
    GOOD,
    KEY,
    Bench,
    Notes,
    RecordingMeter,
    Titles,
    briefs,
    concepts,
    ending,
    faulty,
    good,
)
from tests.servers.openai_api import Fault
from tests.servers.openai_chat import completion


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


# --- models ---------------------------------------------------------------------------------------------------------


def official(model: str | None, key: str | None = KEY, url: str | None = None) -> GptWriter:
    return GptWriter(
        key=key, base_url=url, model=model, catalog=CATALOG, meter=RecordingMeter(), novelty=Titles(), memory=Notes()
    )


def test_the_official_endpoint_takes_living_models_only() -> None:
    assert official(None).model == "gpt-6-luna"
    assert official("GPT-6-Sol").model == "gpt-6-sol"
    assert official("gpt-6-luna-2026-09-01").model == "gpt-6-luna-2026-09-01"
    with pytest.raises(UnsupportedRequest, match="gpt-6-luna"):
        official("gpt-4.1-nano")
    with pytest.raises(UnsupportedRequest, match="Did you mean"):
        official("gpt-6-lunar")
    for url in (None, "https://eu.api.openai.com/v1"):
        with pytest.raises(SetupError, match="OPENAI_API_KEY"):
            official(None, key=None, url=url)


def test_any_name_goes_elsewhere_at_an_unknown_price(bench: Bench) -> None:
    writer = bench.writer("llama-9")
    good(writer.write(briefs(1)))
    [request] = bench.sent
    assert request["model"] == writer.model == "llama-9" and "reasoning_effort" not in request
    assert request["max_completion_tokens"] == MOST_OUTPUT + MOST_THINKING
    assert writer.price(10) is None
    assert list(bench.meter.reserved.values()) == [("text", "llama-9", None)]
    assert bench.meter.calls[0]["cost"] is None and bench.meter.calls[0]["usage"]["output"] > 0


@pytest.mark.parametrize(("model", "effort"), [("gpt-6-astra", "low"), ("gpt-5", "minimal"), ("gpt-4o", None)])
def test_the_lowest_effort_of_the_catalog_is_asked(bench: Bench, model: str, effort: str | None) -> None:
    good(bench.writer(model).write(briefs(1)))
    assert bench.sent[0].get("reasoning_effort") == effort


def test_a_password_in_the_address_stays_out_of_the_memory(bench: Bench) -> None:
    # A user and a password in the address take the place of the bearer.
    bench.server._authorize = lambda headers: None  # type: ignore[method-assign]
    good(bench.writer("llama-9", base_url=bench.server.url.replace("://", "://user:secret-word@")).write(briefs(1)))
    assert list(bench.memory) == [f"writer-format:{host(bench)}:llama-9"]


def test_the_environment_does_not_say_where_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert official(None)._endpoint._connect().base_url == "https://api.openai.com/v1/"


# --- dialects -------------------------------------------------------------------------------------------------------


def forms(bench: Bench) -> list[str | None]:
    return [(request.get("response_format") or {}).get("type") for request in bench.sent]


def host(bench: Bench) -> str:
    return f"127.0.0.1:{bench.server.port}"


def test_formats_are_tried_in_turn_and_remembered(bench: Bench) -> None:
    bench.server.rules.json_schema = bench.server.rules.json_object = False
    bench.answers(f"<think>Two then.</think>Gladly!\n```json\n{json.dumps(concepts(*GOOD[:2]))}\n```")
    writer = bench.writer("llama-9")
    good(writer.write(briefs(2)))
    good(writer.write(briefs(1)))
    assert forms(bench) == ["json_schema", "json_object", None, None]
    assert bench.memory == {f"writer-format:{host(bench)}:llama-9": "text"}
    good(bench.writer("llama-9").write(briefs(1)))
    assert forms(bench)[4:] == [None]
    assert [call["error"] is None for call in bench.meter.calls] == [False, False, True, True, True]
    assert [call["cost"] for call in bench.meter.calls[:2]] == [0, 0]


def test_a_format_that_works_at_once_is_remembered_too(bench: Bench) -> None:
    bench.writer().write(briefs(1))
    assert bench.memory == {f"writer-format:{host(bench)}:gpt-6-luna": "schema"}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": "'response_format.type' must be 'text'"}),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "response_format"], "input": {}}]}),
        (404, {"error": {"message": "This feature is unsupported here"}}),
        (400, b"grammar is not supported"),
    ],
)
def test_refusals_of_the_format_in_many_words(bench: Bench, status: int, body: Any) -> None:
    bench.server.faults = [Fault(status=status, body=body)]
    good(bench.writer("llama-9").write(briefs(1)))
    assert forms(bench) == ["json_schema", "json_object"]


def test_refused_parameters_are_dropped_once_and_remembered(bench: Bench) -> None:
    bench.server.rules.reasoning_effort = False
    extra = {
        "object": "error",
        "message": "[{'loc': ('body', 'max_completion_tokens'), 'msg': 'Extra inputs'}]",
        "code": 400,
    }
    bench.server.faults = [Fault(status=400, body=extra)]
    good(bench.writer().write(briefs(1)))
    kept = [sorted(set(request) - {"model", "messages"}) for request in bench.sent]
    assert kept == [
        ["max_completion_tokens", "reasoning_effort", "response_format"],
        ["reasoning_effort", "response_format"],
        ["response_format"],
    ]
    key = f"writer-refused:{host(bench)}:gpt-6-luna"
    assert bench.memory[key] == "max_completion_tokens reasoning_effort"
    good(bench.writer().write(briefs(1)))
    assert sorted(set(bench.sent[3]) - {"model", "messages"}) == ["response_format"]


def test_it_never_goes_round_in_circles(bench: Bench) -> None:
    body = {"error": {"message": "response_format, reasoning_effort, max_tokens: unsupported"}}
    bench.server.faults = [Fault(status=400, body=body) for _ in range(20)]
    results = bench.writer().write(briefs(2))
    assert [type(result) for result in results] == [UnsupportedRequest] * 2
    assert len(bench.sent) == 5 and bench.memory == {}


def test_a_model_that_does_not_exist_is_no_dialect(bench: Bench) -> None:
    writer = bench.writer("llama-9")
    bench.server.text_models.remove("llama-9")
    [error] = writer.write(briefs(1))
    assert isinstance(error, SetupError) and len(bench.sent) == 1


# --- errors of a whole call -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(status=401), SetupError),
        (Fault(status=403), SetupError),
        (Fault(status=404), SetupError),
        (Fault(status=402), OutOfCredit),
        (Fault(status=429, code="insufficient_quota"), OutOfCredit),
        (Fault(status=429, headers={"Retry-After": "7"}), RateLimited),
        (Fault(status=500), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(cut=True), InDoubt),
        (Fault(truncate=True), InDoubt),
        (Fault(body=b"<html>Welcome</html>", content_type="text/html"), BadAnswer),
        (Fault(body=b'{"id": ', content_type="application/json"), BadAnswer),
        (Fault(body={"error": {"message": f"no such thing {KEY}"}}), BadAnswer),
    ],
)
def test_an_error_of_the_call_is_the_error_of_each_brief(bench: Bench, fault: Fault, kind: type[ModelError]) -> None:
    register(KEY)
    bench.server.faults = [fault]
    results = bench.writer().write(briefs(3))
    assert [type(result) for result in results] == [kind] * 3
    assert len(bench.sent) == 1
    [call] = bench.meter.calls
    assert type(call["error"]) is kind
    if kind is InDoubt:
        assert call["cost"] is None
    elif kind is not BadAnswer:
        assert call["cost"] == 0
    if kind is RateLimited:
        assert results[0].retry_after == 7  # type: ignore[union-attr]
    assert KEY not in "".join(str(result) for result in results)


def test_a_wrong_key_is_not_repeated_in_the_message(bench: Bench) -> None:
    [error] = bench.writer(key="plain-but-secret-key").write(briefs(1))
    assert isinstance(error, SetupError) and "plain-but-secret-key" not in str(error)
    assert "OPENAI_API_KEY" in str(error)


def test_the_key_is_in_the_header_only(bench: Bench) -> None:
    bench.writer().write(briefs(1))
    [request] = bench.server.requests
    assert request.headers["authorization"] == f"Bearer {KEY}" and KEY not in json.dumps(request.json)


def test_nobody_listening_is_unavailable(bench: Bench) -> None:
    writer = bench.writer(base_url="http://127.0.0.1:9/v1")
    [error] = writer.write(briefs(1))
    assert isinstance(error, Unavailable) and bench.meter.calls[0]["cost"] == 0


@pytest.mark.parametrize("fault", [Fault(delay=30), Fault(drip=0.02)], ids=["silent", "dripping"])
def test_a_timeout_leaves_the_call_in_doubt(bench: Bench, fault: Fault) -> None:
    bench.server.faults = [fault]
    [error] = bench.writer(timeout=0.2).write(briefs(1))
    assert isinstance(error, InDoubt)


def test_after_a_limit_nothing_more_is_sent(bench: Bench) -> None:
    bench.server.faults = [Fault(status=429)]
    results = bench.writer(batch=2).write(briefs(6))
    assert [type(result) for result in results] == [RateLimited] * 6 and len(bench.sent) == 1


def test_what_was_good_before_an_error_is_kept(bench: Bench) -> None:
    def then_break(request: dict[str, Any]) -> Any:
        bench.server.faults = [Fault(status=500)]
        return concepts(GOOD[0], faulty(title=""))

    bench.answers(then_break)
    first, second = bench.writer().write(briefs(2))
    assert isinstance(first, Concept) and isinstance(second, Unavailable)


def test_an_interruption_is_settled_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import openai.resources.chat.completions as resource

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resource.Completions, "create", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bench.writer().write(briefs(1))
    assert isinstance(bench.meter.calls[0]["error"], InDoubt)


def test_an_answer_in_parts_or_without_any(bench: Bench) -> None:
    def parts(request: dict[str, Any]) -> tuple[int, Any]:
        body = completion(request, "")
        text = json.dumps(concepts(GOOD[0]))
        body["choices"][0]["message"]["content"] = [{"type": "text", "text": part} for part in (text[:9], text[9:])]
        return 200, body

    def bare(request: dict[str, Any]) -> tuple[int, Any]:
        return 200, {"choices": [{"message": {"role": "assistant"}}]}

    bench.answers(bare, parts)
    [concept] = good(bench.writer().write(briefs(1)))
    assert concept.title == GOOD[0]["title"]
    [nothing, whole] = bench.meter.calls[0], bench.meter.calls[-1]
    assert (nothing["usage"], nothing["error"], whole["error"]) == (None, None, None)
    assert 0 < nothing["cost"] < bench.meter.reserved_usd(0)


# --- money ----------------------------------------------------------------------------------------------------------


def test_tokens_and_cost_with_cached_ones_taken_off(bench: Bench) -> None:
    counted = {"prompt_tokens": 1500, "completion_tokens": 400, "prompt_tokens_details": {"cached_tokens": 1000}}
    bench.answers(ending("stop", json.dumps(concepts(GOOD[0])), **counted))
    good(bench.writer().write(briefs(1)))
    [call] = bench.meter.calls
    assert call["usage"] == {"input": 500, "cached": 1000, "output": 400}
    assert call["cost"] == (500 * Decimal("0.10") + 1000 * Decimal("0.01") + 400 * Decimal("0.50")) / 1_000_000
    [(kind, model, estimate)] = bench.meter.reserved.values()
    assert (kind, model) == ("text", "gpt-6-luna") and estimate is not None and 0 < estimate < Decimal("0.001")


@pytest.mark.parametrize("counted", [None, {"prompt_tokens": None}])
def test_tokens_nobody_counted_are_counted_by_the_length_of_the_texts(bench: Bench, counted: Any) -> None:
    def reply(request: dict[str, Any]) -> tuple[int, Any]:
        return 200, completion(request, concepts(GOOD[0])) | {"usage": counted}

    bench.answers(reply)
    good(bench.writer().write(briefs(1)))
    [call] = bench.meter.calls
    assert call["error"] is None and call["usage"] is None and 0 < call["cost"] < bench.meter.reserved_usd(0)


def test_a_row_without_a_price_for_cached_tokens_charges_them_in_full(bench: Bench) -> None:
    row = ModelRow(
        id="own",
        kind="text",
        about="",
        per_million={"input": Decimal(1), "output": Decimal(2)},
        source="me",
        checked=date(2026, 1, 1),
    )
    catalog = load_catalog(today=date(2026, 11, 20))
    catalog._names["text", "own"] = row
    counted = {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}}
    bench.answers(ending("stop", json.dumps(concepts(GOOD[0])), **counted))
    good(bench.writer("own", catalog=catalog).write(briefs(1)))
    assert bench.meter.calls[0]["cost"] == Decimal(120) / 1_000_000


def test_the_price_grows_with_the_concepts() -> None:
    writer = official(None)
    prices = [writer.price(count) for count in (0, 1, 5, 6, 500)]
    assert prices[0] == 0 and prices == sorted(prices)  # type: ignore[type-var]
    assert prices[4] is not None and Decimal("0.03") < prices[4] < Decimal("0.15")
    assert official("gpt-6-astra").price(5) is None
