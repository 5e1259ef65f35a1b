"""Limits that hold to the cent, estimates that come true, and books that agree with the services' own bills."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from models.registry import BackendRow
from tests.backend_tools import HOSTED, PAID, READY, Standin, never_pause, standin
from tests.cli_tools import MAIN, TINY, Result, Tirada, clean_environment, endpoint, prompts
from tests.run_tools import IMAGES, BillingServer, check_output, rows, start
from tests.servers.base import Answer
from tests.servers.openai_chat import default_chat
from tests.servers.openai_images import QUALITIES_2
from tirada.store import calls

OUTPUT = Path("output")
#: An amount as people write it: no exponent, no noise of binary fractions.
AMOUNT = re.compile(r"\d+(\.\d{1,12})?")
paid = pytest.mark.parametrize("row", PAID, ids=lambda row: row.name)
hosted = pytest.mark.parametrize("row", HOSTED, ids=lambda row: row.name)
one_service = pytest.mark.parametrize("row", [row for row in PAID if row.name == "stability"], ids=lambda row: row.name)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    never_pause(monkeypatch.setattr)


@pytest.fixture
def service(row: BackendRow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with standin(row, (64, 64)) as found:
        for name, value in found.settings.items():
            monkeypatch.setenv(name, value)
        yield found


@pytest.fixture
def openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[BillingServer]:
    with BillingServer() as server:
        for name, value in endpoint(server).items():
            monkeypatch.setenv(name, value)
        yield server


def render(tirada: Tirada, row: BackendRow, count: int, *more: object, **env: str) -> Result:
    """So many images of one idea that costs nothing to write."""
    return tirada(count, TINY, row.flag, "--from", prompts("in.csv", "a kettle on a stove"), "--json", *more, **env)


def price_of(tirada: Tirada, row: BackendRow) -> Decimal:
    return Decimal(render(tirada, row, 1, "--dry-run").json["images_usd"])


def spent() -> Decimal:
    """What the store counts."""
    return sum((Decimal(call["cost"] or 0) for call in rows(OUTPUT, "calls")), Decimal(0))


# --- the limit of a run ---------------------------------------------------------------------------------------------


@paid
@pytest.mark.parametrize("affords", ["0", "0.9", "1", "3.5", "6", "99"])
def test_a_budget_is_never_passed(row: BackendRow, service: Standin, tirada: Tirada, affords: str) -> None:
    budget = price_of(tirada, row) * Decimal(affords)
    result = render(tirada, row, 6, "--budget", budget)
    made = min(6, int(Decimal(affords)))
    assert service.bill() <= budget
    assert result.json["done"] == made == len(service.requests())
    assert result.code == (0 if made == 6 else 5), result.err
    assert Decimal(result.json["cost_usd"]) == service.bill() == spent()
    if made < 6:
        assert result.json["status"] == "stopped" and f"budget of {budget} USD" in result.json["message"]
    if made:
        check_output(OUTPUT)


@paid
def test_resume_with_a_larger_budget_goes_on(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    price = price_of(tirada, row)
    assert render(tirada, row, 5, "--budget", price * 2).json["done"] == 2
    same = tirada("resume", "--json")
    assert (same.code, same.json["done"]) == (5, 2)
    # The budget is that of the run, with what it has cost so far.
    more = tirada("resume", "--budget", price * 4, "--json")
    assert (more.code, more.json["done"]) == (5, 4) and service.bill() <= price * 4
    less = tirada("resume", "--budget", price, "--json")
    assert (less.code, less.json["done"]) == (5, 4)
    whole = tirada("resume", "--budget", price * 5, "--json")
    assert (whole.code, whole.json["done"], whole.json["status"]) == (0, 5, "done")
    assert len(service.requests()) == 5 and Decimal(whole.json["cost_usd"]) == service.bill() <= price * 5
    check_output(OUTPUT)


@paid
def test_retries_draw_on_the_same_budget(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    from tests.servers.base import Fault

    price = price_of(tirada, row)
    service.fail(*[Fault(body=b"<html>billed all the same</html>")] * 4)
    result = render(tirada, row, 2, "--budget", price * 3, IMAGES_IN_FLIGHT="1")
    assert result.code == 5 and len(service.requests()) == 3
    assert service.bill() <= spent() <= price * 3


@paid
def test_the_budget_may_be_a_setting(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    price = price_of(tirada, row)
    limit = {"BUDGET_USD_PER_RUN": str(price * 2)}
    for _ in range(2):  # each run has its own
        result = render(tirada, row, 3, **limit)
        assert (result.code, result.json["done"]) == (5, 2)
    assert service.bill() <= price * 4
    assert tirada("resume", "--json", **limit).code == 5 and len(service.requests()) == 4
    assert tirada("resume", "--json").json["done"] == 3


def test_text_alone_may_eat_the_budget(openai: BillingServer, tirada: Tirada) -> None:
    wanted = (2, TINY, "--dalle", "--role", "artist", "--json")
    expected = tirada(*wanted, "--dry-run").json
    text, image = Decimal(expected["text_usd"]), Decimal(expected["images_usd"]) / 2
    assert 0 < text < image / 2
    # Room for the longest answer there can be, but for no image.
    result = tirada(*wanted, "--budget", image * Decimal("0.9"))
    assert result.code == 5 and result.json["done"] == 0
    assert (openai.chats, openai.billed) == (1, 0)
    assert openai.total() == Decimal(result.json["cost_usd"]) <= image
    result = tirada(*wanted, "--budget", text / 10)
    assert result.code == 5 and openai.chats == 1
    assert tirada(20, "--only-prompts", "--role", "artist", "--budget", 0).code == 5 and openai.chats == 1


class Modest(BillingServer):
    """Left to choose, it takes the lowest quality."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], payload: Any) -> Answer:
        if path.endswith(IMAGES):
            payload = {**payload, "quality": "low"}
        return super().answer(method, path, headers, payload)


def test_what_is_set_aside_in_vain_is_spent_after_all(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    """More is set aside for a picture of any quality than most of them cost."""
    with Modest() as openai:
        for name, value in endpoint(openai).items():
            monkeypatch.setenv(name, value)
        spend_all(openai, tirada)


def spend_all(openai: BillingServer, tirada: Tirada) -> None:
    wanted = (8, TINY, "--dalle", "--option", "quality=auto", "--writer", "composer", "--role", "artist", "--json")
    dear = Decimal(tirada(*wanted, "--dry-run").json["images_usd"]) / 8
    result = tirada(*wanted, "--budget", dear * 2, IMAGES_IN_FLIGHT="4")
    cheap = openai.total() / openai.billed
    assert cheap < dear / 8
    # Two fit at first; they cost less, so all the others follow.
    assert (result.code, result.json["done"]) == (0, 8), result.err
    assert openai.total() == Decimal(result.json["cost_usd"]) <= dear * 2


def test_answers_longer_than_expected_raise_what_is_set_aside(openai: BillingServer, tirada: Tirada) -> None:
    """Even of a model that says more than it was given room for."""
    import json

    openai.chat = lambda request: json.dumps(default_chat(request)) + " " * 8000
    env = {"WRITER_BATCH": "1", "WRITER_IN_FLIGHT": "1"}
    result = tirada(60, "--only-prompts", "--role", "artist", "--json", "--budget", "0.02", **env)
    assert result.code == 5 and 5 < result.json["done"] < 60
    assert openai.total() == Decimal(result.json["cost_usd"]) <= Decimal("0.02")


# --- the limit of a month -------------------------------------------------------------------------------------------


@paid
def test_a_month_has_a_limit_over_all_runs(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    price = price_of(tirada, row)
    limit = {"BUDGET_USD_PER_MONTH": str(price * 5)}
    codes = [render(tirada, row, 3, **limit) for _ in range(3)]
    assert [(one.code, one.json["done"]) for one in codes] == [(0, 3), (5, 2), (5, 0)]
    assert "month" in codes[1].json["message"]
    assert service.bill() == spent() <= price * 5
    month = tirada("costs", "--json", **limit).json
    assert Decimal(month["month_usd"]) == service.bill() and Decimal(month["month_limit_usd"]) == price * 5
    assert month["month"] == datetime.now(UTC).strftime("%Y-%m")
    assert tirada("resume", "--all", "-q", BUDGET_USD_PER_MONTH=str(price * 9)).code == 0
    assert len(service.requests()) == 9


@one_service
def test_a_new_month_starts_from_nothing(
    row: BackendRow, service: Standin, tirada: Tirada, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = {"BUDGET_USD_PER_MONTH": str(price_of(tirada, row) * 2)}
    with monkeypatch.context() as patch:
        patch.setattr(calls, "now", lambda: "2026-10-31T23:59:59.999+00:00")
        assert render(tirada, row, 3, **limit).json["done"] == 2
    newest = tirada("show", "latest", "--json").json
    assert newest["done"] == 2
    assert tirada("resume", "--json", **limit).json["done"] == 3
    months = tirada("costs", "--by", "month", "--json").json["rows"]
    assert [(one["month"], one["calls"]) for one in months] == [(f"{datetime.now(UTC):%Y-%m}", 1), ("2026-10", 2)]


@one_service
def test_two_processes_share_the_month(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    limit = {**service.settings, "BUDGET_USD_PER_MONTH": "0.211"}  # seven images and a bit
    source = prompts("in.csv", "a kettle on a stove")
    command = (6, TINY, row.flag, "--from", source, "--json", "--output", OUTPUT)
    both = [child.wait() for child in [start(*command, **limit) for _ in range(2)]]
    assert {one.code for one in both} <= {0, 5} and 5 in {one.code for one in both}, [one.err for one in both]
    assert len(service.requests()) == sum(one.json["done"] for one in both) == 7
    assert service.bill() == spent() == Decimal("0.21")
    check_output(OUTPUT)


# --- prices that nobody knows ---------------------------------------------------------------------------------------


def house_model(openai: BillingServer) -> tuple[object, ...]:
    openai.image_models["house-model"] = (QUALITIES_2, True)
    return (2, "1024x1024", "--dalle", "--from", prompts("in.csv", "a kettle"), "--model", "house-model")


@pytest.mark.parametrize("limit", ["--budget", "BUDGET_USD_PER_RUN", "BUDGET_USD_PER_MONTH"])
def test_an_unknown_price_and_a_budget_do_not_go_together(openai: BillingServer, tirada: Tirada, limit: str) -> None:
    more, env = (("--budget", "9"), {}) if limit == "--budget" else ((), {limit: "9"})
    command = house_model(openai)
    result = tirada(*command, *more, **env)
    assert result.code == 3 and "'house-model'" in result.err and "CATALOG_FILE" in result.err
    assert not openai.requests and not OUTPUT.exists()
    Path("mine.toml").write_text(
        '[[image]]\nid = "house-model"\nbackend = "dalle"\nabout = "ours"\nprice = "0.02"\n'
        'source = "us"\nchecked = 2026-11-20\n'
    )
    result = tirada(*command, "--json", *more, **env, CATALOG_FILE="mine.toml")
    assert (result.code, result.json["cost_usd"]) == (0, "0.04"), result.err


def test_an_unknown_price_without_a_budget_is_said(openai: BillingServer, tirada: Tirada) -> None:
    command = house_model(openai)
    result = tirada(*command)
    assert result.code == 0
    assert "Expected cost: unknown" in result.err and "some prices are unknown" in result.err
    (info,) = check_output(OUTPUT)
    assert info["cost_usd"] is None and all(image["cost_usd"] is None for image in info["images"])
    plan = tirada(*command, "--dry-run", "--json").json
    assert plan["images_usd"] is None and plan["total_usd"] is None
    assert "unknown" in tirada(*command, "--dry-run").out
    # A limit that is set afterwards cannot hold either.
    assert tirada("retry", info["run_id"], "--budget", "1").code == 0


def test_an_unknown_price_of_the_text(openai: BillingServer, tirada: Tirada) -> None:
    openai.text_models.append("somebody-elses")
    env = {"WRITER_MODEL": "somebody-elses"}
    result = tirada(3, "--only-prompts", "--role", "artist", "--budget", "1", **env)
    assert result.code == 3 and "'somebody-elses'" in result.err and not openai.requests
    assert tirada(3, "--only-prompts", "--role", "artist", **env).code == 0


# --- being asked ----------------------------------------------------------------------------------------------------


@paid
def test_dear_runs_are_agreed_to_first(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    price = price_of(tirada, row)
    above = {"CONFIRM_ABOVE_USD": str(price * 2)}
    assert render(tirada, row, 2, **above).code == 0
    result = render(tirada, row, 3, **above)
    assert result.code == 2 and "--yes" in result.err and "--budget" in result.err
    assert len(service.requests()) == 2 and len(rows(OUTPUT, "runs")) == 1
    for more in (("--yes",), ("--budget", price * 3), ("--dry-run",)):
        assert render(tirada, row, 3, *more, **above).code == 0
    assert render(tirada, row, 3, **above, BUDGET_USD_PER_MONTH="9").code == 0
    assert len(service.requests()) == 2 + 3 * 3
    # Five dollars are what an unattended run may cost by itself.
    assert render(tirada, row, 5000).code == 2
    assert len(service.requests()) == 2 + 3 * 3


@one_service
@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2), ("", 2)])
def test_on_a_terminal_the_user_is_asked(row: BackendRow, service: Standin, answer: str, code: int) -> None:
    master, slave = pty.openpty()
    source = prompts("in.csv", "a kettle on a stove")
    command = [sys.executable, str(MAIN), "2", TINY, row.flag, "--from", str(source)]
    env = clean_environment(**service.settings, CONFIRM_ABOVE_USD="0.01", TERM="dumb", COLUMNS="300")
    child = subprocess.Popen(command, stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=env)
    os.close(slave)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(master, 4096)
    assert not service.requests()
    os.write(master, answer.encode() + b"\n")
    while more := _read(master):
        said += more
    out, _ = child.communicate(timeout=30)
    os.close(master)
    assert child.returncode == code, said
    assert b"expected to cost 0.06 USD (CONFIRM_ABOVE_USD is 0.01)" in said
    assert len(service.requests()) == (0 if code else 2) and bool(out) == (code == 0)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side has gone
        return b""


@one_service
def test_a_rerun_is_agreed_to_and_limited_like_a_run(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    (folder,) = map(Path, render(tirada, row, 3).json["folders"])
    above = {"CONFIRM_ABOVE_USD": "0.08"}
    result = tirada("rerun", folder, **above)
    assert result.code == 2 and "--yes" in result.err and len(service.requests()) == 3
    assert tirada("rerun", folder, "--yes", **above).code == 0
    limited = tirada("rerun", folder, "--budget", "0.07", "--json", **above)
    assert (limited.code, limited.json["done"]) == (5, 2)
    assert service.bill() == Decimal("0.24")


# --- estimates ------------------------------------------------------------------------------------------------------


@hosted
@pytest.mark.parametrize("size", ["1024x1024", "1792x1008"])
def test_the_estimate_comes_true(row: BackendRow, service: Standin, tirada: Tirada, size: str) -> None:
    command = (2, size, row.flag, "--prompts", 3, "--writer", "composer", "--role", "artist", "--seed", 4)
    plan = tirada(*command, "--dry-run", "--json").json
    assert not service.requests() and not OUTPUT.exists()
    expected = Decimal(plan["total_usd"])
    assert AMOUNT.fullmatch(plan["total_usd"]) and plan["text_usd"] == "0"
    human = tirada(*command, "--dry-run").out
    result = tirada(*command)
    assert result.code == 0
    bill = service.bill()
    if not row.paid:
        assert expected == bill == 0 and "Expected cost: nothing." in result.err
        return
    assert f"Expected cost: {expected:.4f} USD" in result.err and plan["total_usd"] in human
    assert bill * Decimal("0.98") <= expected <= bill * Decimal("1.05")


def test_the_estimate_of_text_is_of_the_right_size(openai: BillingServer, tirada: Tirada) -> None:
    command = (40, "--only-prompts", "--json")
    expected = Decimal(tirada(*command, "--dry-run").json["text_usd"])
    assert tirada(*command).json["done"] == 40
    assert openai.total() / 2 <= expected <= openai.total() * 3


@pytest.mark.parametrize("row", [row for row in READY if not row.settings], ids=lambda row: row.name)
def test_what_is_free_is_free(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    result = tirada(2, TINY, row.flag, "--role", "artist", "--budget", "0", "--json")
    assert (result.code, Decimal(result.json["cost_usd"])) == (0, 0)
    assert tirada("costs").code == 0 and tirada("costs", "--json").json["rows"] == []
