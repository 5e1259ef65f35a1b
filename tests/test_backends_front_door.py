"""What each service does to one image, through the command line: exit code, store, info.json, requests.

Invariant: a failure is typed in ``info.json``, no key is anywhere, and nothing is asked more often than it may be.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from models.registry import BackendRow
from tests.backend_tools import (
    ADDRESS,
    HOSTED,
    INDECENT,
    KEY,
    MODERATED,
    SERIAL,
    WRONG,
    Standin,
    every,
    json_fault,
    never_pause,
    standin,
)
from tests.cli_tools import TINY, Result, Tirada, prompts
from tests.run_tools import check_output, rows
from tests.servers.base import Fault

OUTPUT = Path("output")
TRIES = 3
hosted = pytest.mark.parametrize("row", HOSTED, ids=lambda row: row.name)


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SERIAL, "RETRY_TRIES": str(TRIES)}.items():
        monkeypatch.setenv(name, value)
    never_pause(monkeypatch.setattr)


@pytest.fixture
def service(row: BackendRow) -> Iterator[Standin]:
    with standin(row, (64, 64)) as found:
        yield found


def one(tirada: Tirada, row: BackendRow, service: Standin, *more: object, prompt: str = "a kettle", **env: str) -> Any:
    source = prompts("in.csv", prompt)
    result = tirada(1, TINY, row.flag, "--from", source, "--json", *more, **{**service.settings, **env})
    assert KEY not in result.out + result.err and "Traceback" not in result.err
    assert all(KEY.encode() not in path.read_bytes() for path in OUTPUT.rglob("*") if path.is_file())
    return result


def failures(result: Result) -> list[tuple[str, int]]:
    """(kind, tries) as the info file says, which agrees with the report."""
    infos = check_output(OUTPUT)
    found = [(failure["error"], failure["attempts"]) for info in infos for failure in info["failures"]]
    assert [failure["error"] for failure in result.json["failures"]] == [kind for kind, _ in found]
    return found


@every
def test_one_image(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    result = one(tirada, row, service)
    assert result.code == 0, result.err
    (info,) = check_output(OUTPUT)
    assert (info["ai"], info["backend"], info["failures"]) == (row.label, row.name, [])
    assert Decimal(info["cost_usd"]) == Decimal(result.json["cost_usd"]) == service.bill()
    assert (service.bill() > 0) == row.paid


class Case(NamedTuple):
    """A fault that lasts, and how a run of one image ends because of it."""

    fault: Fault
    code: int
    #: Of the failure in info.json; nothing where the run stops and can be resumed.
    kind: str
    #: Requests for work.
    asked: int


def cases(row: BackendRow) -> dict[str, Case]:
    """By what the documentation of the services says, and design.md §5."""
    doubtful = ("in_doubt", 1) if row.paid else ("unavailable", TRIES)
    return {
        "auth": Case(Fault(status=401), 3, "", 1),
        "credit": Case(Fault(status=402), 5, "", 1),
        "too-large": Case(Fault(status=413), 3, "", 1),
        "500": Case(Fault(status=500), 1, "unavailable", TRIES),
        "503": Case(Fault(status=503, headers={"Retry-After": "0"}), 1, "unavailable", TRIES),
        "gateway": Case(Fault(status=504), 1, *doubtful),
        "cut": Case(Fault(cut=True), 1, *doubtful),
        "truncated": Case(Fault(truncate=True), 1, *doubtful),
        "slow": Case(Fault(delay=5), 1, *doubtful),
        "empty": Case(Fault(body=b""), 1, "bad_answer", TRIES),
        "html": Case(Fault(body=b"<html>Hello</html>", content_type="text/html"), 1, "bad_answer", TRIES),
        "wrong": Case(json_fault(WRONG[row.name][0]), 1, "bad_answer", TRIES),
        "rate-limit": Case(Fault(status=429, headers={"Retry-After": "0"}), 1, "", 40),
        "long-wait": Case(Fault(status=429, headers={"Retry-After": "1000"}), 1, "", 1),
    }


@hosted
@pytest.mark.parametrize("name", cases(HOSTED[0]))
def test_a_fault_that_lasts(row: BackendRow, service: Standin, tirada: Tirada, name: str) -> None:
    case = cases(row)[name]
    service.fail(*[case.fault] * 50)
    result = one(tirada, row, service, **({"REQUEST_TIMEOUT_SECONDS": "0.1"} if name == "slow" else {}))
    assert result.code == case.code, result.err
    assert len(service.requests()) == case.asked
    assert failures(result) == ([(case.kind, case.asked)] if case.kind else [])
    assert result.json["status"] == ("failed" if case.kind else "stopped")
    assert result.json["done"] == 0 and (case.kind or result.json["message"])
    calls = rows(OUTPUT, "calls")
    assert len(calls) == (case.asked if row.paid else 0)
    # What a budget is charged with is never less than what the service may have charged.
    assert sum(Decimal(call["cost"] or 0) for call in calls) >= service.bill()
    # Nothing of it is lost: once the service is well again the image is made.
    service.server.faults.clear()
    again = tirada("retry" if case.kind else "resume", result.json["run_id"], "--json", **service.settings)
    assert again.code == 0, again.err
    assert (again.json["status"], again.json["done"], again.json["failures"]) == ("done", 1, [])
    (info,) = check_output(OUTPUT)
    assert info["images"][0]["attempts"] == case.asked + 1


@hosted
@pytest.mark.parametrize("status", [429, 500])
def test_a_fault_that_passes(row: BackendRow, service: Standin, tirada: Tirada, status: int) -> None:
    service.fail(*[Fault(status=status)] * 2)
    result = one(tirada, row, service)
    assert result.code == 0, result.err
    assert len(service.requests()) == 3
    (info,) = check_output(OUTPUT)
    assert info["images"][0]["attempts"] == 3
    assert Decimal(info["cost_usd"]) == service.bill()


@hosted
def test_what_it_will_not_draw(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    result = one(tirada, row, service, prompt=INDECENT)
    if row.name not in MODERATED:
        assert result.code == 0
        return
    assert result.code == 1 and result.json["refused"] == 1
    assert failures(result) == [("refused", 1)]
    assert len(service.requests()) == 1 and service.bill() == Decimal(result.json["cost_usd"]) == 0


@hosted
def test_no_key_at_all(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    if not row.paid:
        pytest.skip("needs none")
    result = one(tirada, row, service, **dict.fromkeys(service.settings, ""))
    assert result.code == 3 and row.settings[0] in result.err
    assert not OUTPUT.exists() and not service.requests()


@hosted
def test_nobody_there(row: BackendRow, service: Standin, tirada: Tirada) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        gone = {ADDRESS[row.name]: f"http://127.0.0.1:{taken.getsockname()[1]}"}
        result = one(tirada, row, service, **gone)
    if not row.paid:
        # A server of one's own has to be started first.
        assert result.code == 3 and "cannot be reached" in result.err and not OUTPUT.exists()
        return
    assert result.code == 1
    assert failures(result) == [("unavailable", TRIES)]
    assert Decimal(result.json["cost_usd"]) == 0
    assert tirada("resume", **service.settings).code == 0
    check_output(OUTPUT)
