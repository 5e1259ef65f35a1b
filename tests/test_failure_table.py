"""The table of design.md §5 row by row, with every service, through the command line: the second of three images goes
wrong, and the engine does what the table says.

Invariant: what a service bills is never more than what the store counts, and nothing is asked for that was not counted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from models.registry import BackendRow
from tests.backend_tools import HOSTED, KEY, PAID, SERIAL, Standin, at, never_pause, standin
from tests.cli_tools import TINY, Result, Tirada, prompts
from tests.run_tools import PATIENCE, BillingServer, check_output, rows, until
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer
from tirada.engine import state
from tirada.engine.throttle import Throttle

OUTPUT = Path("output")
hosted = pytest.mark.parametrize("row", HOSTED, ids=lambda row: row.name)
paid = pytest.mark.parametrize("row", PAID, ids=lambda row: row.name)
flux = pytest.mark.parametrize("row", [row for row in PAID if row.name == "flux-api"], ids=lambda row: row.name)
OK = Fault()


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SERIAL, "SAVE_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    never_pause(monkeypatch.setattr)


@pytest.fixture
def service(row: BackendRow, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standin]:
    with standin(row, (64, 64)) as found:
        for name, value in found.settings.items():
            monkeypatch.setenv(name, value)
        yield found


@dataclass(frozen=True, slots=True)
class Drive:
    """Renders so many ideas of one image each."""

    tirada: Tirada
    row: BackendRow

    def __call__(self, count: int = 3, *more: object, words: str = "a kettle", **env: str) -> Result:
        source = prompts("in.csv", *(f"{words} number {n}" for n in range(1, count + 1)))
        result = self.tirada(1, TINY, self.row.flag, "--from", source, "--json", *more, **env)
        assert KEY not in result.out + result.err and "Traceback" not in result.err, result.err
        return result


@pytest.fixture
def drive(tirada: Tirada, row: BackendRow) -> Drive:
    return Drive(tirada, row)


def figures(result: Result) -> dict[str, int]:
    """What is not zero of done, failed, refused and in doubt."""
    return {name: result.json[name] for name in ("done", "failed", "refused", "in_doubt") if result.json[name]}


def kinds(result: Result) -> list[str]:
    return [failure["error"] for failure in result.json["failures"]]


def check_bill(service: Standin, result: Result) -> None:
    """What is counted covers what is billed; to the cent, unless something is in doubt or came to nothing."""
    told = Decimal(result.json["cost_usd"])
    calls = rows(OUTPUT, "calls")
    assert told == sum(Decimal(call["cost"] or 0) for call in calls) >= service.bill()
    if not {call["error_kind"] for call in calls} & {"in_doubt", "bad_answer"}:
        assert told == service.bill()


# --- rows that end the run ------------------------------------------------------------------------------------------


@hosted
@pytest.mark.parametrize(("status", "code", "kind"), [(401, 3, "setup"), (402, 5, "out_of_credit")])
def test_set_up_and_credit_stop_the_run(
    service: Standin, drive: Drive, tirada: Tirada, status: int, code: int, kind: str
) -> None:
    service.fail(OK, Fault(status=status))
    result = drive()
    assert (result.code, figures(result), result.json["status"]) == (code, {"done": 1}, "stopped")
    assert len(service.requests()) == 2 and result.json["message"]
    if drive.row.paid:
        assert Counter(call["error_kind"] for call in rows(OUTPUT, "calls")) == {None: 1, kind: 1}
    check_bill(service, result)
    again = tirada("resume", "--json")
    assert again.code == 0 and figures(again) == {"done": 3}
    # The one that was turned away, and the one that was never sent.
    assert len(service.requests()) == 4
    check_output(OUTPUT)
    check_bill(service, again)


@hosted
def test_unsupported_stops_before_anything_worked_and_fails_alone_after(service: Standin, drive: Drive) -> None:
    service.fail(Fault(status=422 if drive.row.name != "stability" else 400))
    result = drive()
    assert (result.code, figures(result), len(service.requests())) == (3, {}, 1)
    service.fail(OK, Fault(status=422 if drive.row.name != "stability" else 400))
    result = drive()
    assert (result.code, figures(result), kinds(result)) == (4, {"done": 2, "failed": 1}, ["unsupported"])
    assert len(service.requests()) == 4
    check_output(OUTPUT)


@paid
def test_unsupported_is_found_before_anything_is_sent(service: Standin, drive: Drive) -> None:
    for more in (("--scheduler", "Euler"), ("--option", "no-such=1"), ("--init-image", "no-such.png")):
        assert drive(3, *more).code == 2
    assert not service.server.requests and not OUTPUT.exists()


@paid
def test_what_is_in_flight_is_finished_when_the_credit_ends(service: Standin, drive: Drive) -> None:
    """Three are at the service when the fourth is told that there is no credit; its news lets them go on."""
    gate, server, original = threading.Event(), service.server, service.server.answer
    numbers = count(1)

    def answer(method: str, path: str, *rest: Any) -> Any:
        if service.work in path:
            assert gate.wait(PATIENCE)
        return original(method, path, *rest)

    def broke() -> None:
        until(lambda: OUTPUT.joinpath("tirada.db").exists(), "the store")
        until(lambda: _calls("out_of_credit"), "the news")
        gate.set()

    server.answer = answer
    handle = server.handle

    def handled(method: str, path: str, *rest: Any) -> Any:
        if service.work in path and next(numbers) == 4:
            server.faults = [at(Fault(status=402), service.work)]
        return handle(method, path, *rest)

    server.handle = handled
    opener = threading.Thread(target=broke)
    opener.start()
    result = drive(9, IMAGES_IN_FLIGHT="4")
    opener.join()
    assert (result.code, figures(result)) == (5, {"done": 3})
    assert len(service.requests()) == 4
    check_bill(service, result)


def _calls(kind: str) -> int:
    import sqlite3

    try:
        return sum(call["error_kind"] == kind for call in rows(OUTPUT, "calls"))
    except sqlite3.OperationalError:  # no table yet
        return 0


# --- rows that concern one image ------------------------------------------------------------------------------------


@paid
def test_a_refusal_is_final(service: Standin, drive: Drive, tirada: Tirada) -> None:
    source = prompts("in.csv", "a kettle", "FORBIDDEN things", "a heron")
    result = tirada(2, TINY, drive.row.flag, "--from", source, "--json")
    assert (result.code, figures(result)) == (4, {"done": 4, "refused": 2})
    assert len(service.requests()) == 6
    assert tirada("resume").code == 0 and len(service.requests()) == 6
    check_output(OUTPUT)
    check_bill(service, result)


@hosted
@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=503, headers={"Retry-After": "0"})], ids=str)
@pytest.mark.parametrize("tries", [1, 3])
def test_unavailable_is_tried_again_so_many_times(service: Standin, drive: Drive, fault: Fault, tries: int) -> None:
    service.fail(OK, *[fault] * tries)
    result = drive(RETRY_TRIES=str(tries))
    assert (result.code, figures(result), kinds(result)) == (4, {"done": 2, "failed": 1}, ["unavailable"])
    # The SDK and the session never ask by themselves.
    assert len(service.requests()) == 2 + tries
    check_bill(service, result)


@hosted
@pytest.mark.parametrize("name", ["cut", "slow"])
def test_a_lost_answer(service: Standin, drive: Drive, tirada: Tirada, name: str) -> None:
    fault, more = Fault(cut=True), {}
    if name == "slow":
        fault, more = Fault(delay=5), {"REQUEST_TIMEOUT_SECONDS": "0.7"}
    service.fail(OK, fault)
    result = drive(**more)
    if not drive.row.paid:
        # Nothing was paid for, so it is asked for again at once.
        assert (result.code, figures(result), len(service.requests())) == (0, {"done": 3}, 4)
        return
    assert (result.code, figures(result), kinds(result)) == (4, {"done": 2, "in_doubt": 1}, ["in_doubt"])
    assert len(service.requests()) == 3
    check_bill(service, result)
    again = tirada("resume", "--json")
    assert (again.code, figures(again), len(service.requests())) == (0, {"done": 3}, 4)
    assert Decimal(again.json["cost_usd"]) > Decimal(result.json["cost_usd"])
    check_bill(service, again)
    check_output(OUTPUT)


@hosted
def test_a_useless_answer_is_tried_again_and_counted(service: Standin, drive: Drive) -> None:
    service.fail(OK, Fault(body=b"<html>Welcome</html>"), Fault(body=b"{}"))
    result = drive()
    assert (result.code, figures(result), len(service.requests())) == (0, {"done": 3}, 5)
    check_bill(service, result)
    # It was billed like a good one, and is counted so.
    calls = [call for call in rows(OUTPUT, "calls") if call["error_kind"] == "bad_answer"]
    assert len(calls) == (2 if drive.row.paid else 0) and all(Decimal(call["cost"]) for call in calls)


# --- 429 ------------------------------------------------------------------------------------------------------------


@hosted
def test_rate_limits_are_no_failed_tries(service: Standin, drive: Drive) -> None:
    service.fail(OK, *[Fault(status=429, headers={"Retry-After": "0"})] * 7)
    result = drive(RETRY_TRIES="2")
    assert (result.code, figures(result), len(service.requests())) == (0, {"done": 3}, 10)
    check_bill(service, result)


class Leaping:
    """A clock on which a minute passes whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 60
        return self.now


@hosted
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_service_is_left_alone_as_long_as_it_says(
    service: Standin, drive: Drive, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also longer than the 120 s that the SDK of OpenAI would wait."""
    clock, wait = Leaping(), 600
    waits: list[float] = []

    class Watched(Throttle):
        def slow_down(self, began: float, wait: float) -> None:
            waits.append(wait)
            super().slow_down(began, wait)

    monkeypatch.setattr(state, "Throttle", partial(Watched, clock=clock))
    monkeypatch.setattr(state, "TICK", 0.001)
    monkeypatch.setattr("tirada.engine.rendering.TICK", 0.001)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)
    service.fail(OK, Fault(status=429, headers={"Retry-After": str(wait) if form == "seconds" else date}))
    before = clock.now
    result = drive()
    assert (result.code, figures(result), len(service.requests())) == (0, {"done": 3}, 4)
    assert len(waits) == 1 and wait - 30 < waits[0] <= wait
    assert clock.now - before >= waits[0]


@hosted
def test_who_asks_for_more_patience_than_there_is_ends_the_run(service: Standin, drive: Drive, tirada: Tirada) -> None:
    service.fail(OK, Fault(status=429, headers={"Retry-After": "200"}))
    result = drive(RETRY_MAX_TOTAL_SECONDS="199")
    assert (result.code, figures(result), result.json["status"]) == (4, {"done": 1}, "stopped")
    assert len(service.requests()) == 2
    again = tirada("resume", "--json")
    assert (again.code, figures(again), len(service.requests())) == (0, {"done": 3}, 4)
    check_output(OUTPUT)


class Crowded(BillingServer):
    """Takes so many image requests at once and turns the others away, as services do."""

    def __init__(self, room: int) -> None:
        super().__init__(delay=0.004)
        self.room = room
        #: (requests at once, turned away) as each came in.
        self.seen: list[tuple[int, bool]] = []
        #: More than there is room for have come in at once; until then all wait, however slow the machine is.
        self._rush = threading.Event()

    def _answer_with(self, fault: Fault | None, *rest: Any) -> Any:
        if self._now > self.room:
            self._rush.set()
        self._rush.wait(PATIENCE)
        with self._lock:
            crowd = self._now
            self.seen.append((crowd, crowd > self.room))
        if crowd > self.room:
            return self.error(429)
        return super()._answer_with(fault, *rest)


def test_429_halves_what_is_in_flight_and_successes_grow_it_again(
    tirada: Tirada, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tirada.engine.rendering.TICK", 0.01)
    with Crowded(room=5) as server:
        env = {"OPENAI_API_KEY": server.key, "OPENAI_BASE_URL": server.url, "IMAGES_IN_FLIGHT": "24"}
        result = tirada(100, TINY, "--dalle", "--writer", "composer", "--role", "artist", "--json", **env)
    assert (result.code, result.json["done"]) == (0, 100), result.err
    assert server.billed == 100 and server.peak > server.room
    turned_away = [index for index, (_, away) in enumerate(server.seen) if away]
    # Nearly all of the first rush, and then only now and then where it feels for more room.
    assert len(turned_away) < 60
    late = [crowd for crowd, _ in server.seen[len(server.seen) // 2 :]]
    assert 2 <= max(late) <= 2 * server.room and server.peak > max(late)
    assert Decimal(result.json["cost_usd"]) == server.total()


# --- jobs -----------------------------------------------------------------------------------------------------------


@flux
@pytest.mark.parametrize("path", ["get_result", "/results/"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(status=504),
        Fault(cut=True),
        Fault(truncate=True),
        Fault(status=404, body=b"<html>"),
    ],
    ids=lambda fault: f"{fault.status}{'cut' * fault.cut}{'half' * fault.truncate}",
)
def test_looking_at_a_job_again_costs_nothing(service: Standin, drive: Drive, path: str, fault: Fault) -> None:
    service.server.faults = [at(fault, path)] * 6
    result = drive(2)
    assert (result.code, figures(result), len(service.requests())) == (0, {"done": 2}, 2)
    check_bill(service, result)


@flux
@pytest.mark.parametrize(
    ("word", "kind"), [("FORBIDDEN", "refused"), ("UNSEEMLY", "refused"), ("UNLUCKY", "bad_answer")]
)
def test_a_job_that_ends_without_a_picture(service: Standin, drive: Drive, word: str, kind: str) -> None:
    result = drive(1, words=word, RETRY_TRIES="3")
    assert (result.code, kinds(result)) == (1, [kind])
    server: BflServer = service.server
    assert len(server.jobs) == (1 if kind == "refused" else 3)
    # Documented as free: only a job that becomes ready is billed.
    assert server.bill == Decimal(result.json["cost_usd"]) == 0


@flux
def test_a_key_that_dies_while_a_job_is_made(service: Standin, drive: Drive, tirada: Tirada) -> None:
    service.server.faults = [at(Fault(status=401), "get_result")]
    result = drive(2)
    assert (result.code, result.json["status"]) == (3, "stopped")
    again: Callable[..., Result] = tirada
    assert again("resume", "--json").json["done"] == 2
    assert len(service.server.jobs) == service.server.billed == 2
    check_output(OUTPUT)
