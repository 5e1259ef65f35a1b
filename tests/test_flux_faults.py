"""What goes wrong between the backend ``flux-api`` and its service: one error each, and nothing is paid twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

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
from tests.flux_tools import KEY, Make, ask, backends, fail, not_collected, render
from tests.servers.base import Fault
from tests.servers.bfl_api import BflServer

HTML: dict[str, Any] = {"body": b"<html>Welcome!</html>", "content_type": "text/html"}
POLL = "get_result"
FETCH = "/results/"


@pytest.fixture
def server() -> Iterator[BflServer]:
    with BflServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: BflServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


# --- while submitting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=400), UnsupportedRequest),
        (Fault(status=401), SetupError),
        (Fault(status=402), OutOfCredit),
        (Fault(status=403), SetupError),
        (Fault(status=404), UnsupportedRequest),
        (Fault(status=408), Unavailable),
        (Fault(status=422), UnsupportedRequest),
        (Fault(status=429), RateLimited),
        (Fault(status=500), Unavailable),
        (Fault(status=502, **HTML), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(status=504), InDoubt),
        (Fault(status=524), InDoubt),
        (Fault(cut=True), InDoubt),
        (Fault(truncate=True), InDoubt),
        (Fault(status=500, truncate=True), InDoubt),
        (Fault(status=302, headers={"Location": "https://elsewhere.example/?sig=1"}), SetupError),
        (Fault(**HTML), BadAnswer),
        (Fault(body=b""), BadAnswer),
        (Fault(body=b'{"id": "a", "polling'), BadAnswer),
        (Fault(body=b"[" * 200_000), BadAnswer),
        (Fault(body=b"null"), BadAnswer),
        (Fault(body=b"[]"), BadAnswer),
        (Fault(body={}), BadAnswer),
        (Fault(body={"id": "a"}), BadAnswer),
        (Fault(body={"id": "a", "polling_url": 7}), BadAnswer),
        (Fault(body={"id": "a", "polling_url": ""}), BadAnswer),
        (Fault(body=b"\xff" * 100, headers={"Content-Encoding": "gzip"}), BadAnswer),
    ],
)
def test_a_submission_is_made_once_whatever_happens(
    server: BflServer, make: Make, fault: Fault, expected: type[ModelError]
) -> None:
    server.faults = [fault]
    error = fail(make())
    assert type(error) is expected, error
    assert len(server.requests) == 1
    render(make())


def test_what_the_service_says_of_a_field_is_passed_on(server: BflServer, make: Make) -> None:
    server.faults = [
        Fault(status=422, body={"detail": [{"loc": ["body", "width"], "msg": "width is odd", "type": "x"}]})
    ]
    assert "width is odd" in str(fail(make()))


def test_without_credit_nothing_is_made(server: BflServer, make: Make) -> None:
    server.credit = Decimal("0.05")
    backend = make()
    render(backend)
    assert type(fail(backend)) is OutOfCredit
    assert server.bill == Decimal("0.03")


def test_silence_after_a_submission_is_in_doubt(server: BflServer, make: Make) -> None:
    server.faults = [Fault(delay=30)]
    assert type(fail(make(timeout=0.2))) is InDoubt


def test_nobody_at_home(make: Make) -> None:
    with BflServer() as gone:
        url = gone.url
    error = fail(make(base_url=url.replace("127.0.0.1", "me:secret@127.0.0.1")))
    assert type(error) is Unavailable
    assert "secret" not in str(error)
    assert type(fail(make(base_url="http://no-such-host.invalid"))) is Unavailable


@pytest.mark.parametrize("wrong", ["bfl_wrong_abcdefghijkl", "local-secret-99"])
def test_a_wrong_key_is_never_shown(server: BflServer, make: Make, wrong: str) -> None:
    backend = make()
    job = backend.submit(ask())
    for error in (fail(make(key=wrong)), not_collected(make(key=wrong), job)):
        assert type(error) is SetupError
        assert wrong not in str(error)
        assert "[redacted]" in str(error)
        assert "BFL_API_KEY" in str(error)


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "0"}, 0, 0),
        ({"Retry-After": "DATE"}, 30, 61),
        ({"retry-after-ms": "1500"}, 1.5, 1.5),
    ],
)
def test_the_wait_is_what_the_service_asks_for(
    server: BflServer, make: Make, headers: dict[str, str], low: float, high: float
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = {name: soon if value == "DATE" else value for name, value in headers.items()}
    backend = make()
    job = backend.submit(ask())
    server.faults = [
        Fault(path="flux-2-pro", status=429, headers=headers),
        Fault(path="flux-2-pro", status=503, headers=headers),
        Fault(path=POLL, status=429, headers=headers),
        Fault(path=POLL, status=503, headers=headers),
        Fault(path=FETCH, status=503, headers=headers),
    ]
    errors = [fail(backend), fail(backend), *(not_collected(backend, job) for _ in range(3))]
    assert [error.kind for error in errors] == ["rate_limited", "unavailable", "rate_limited", *["unavailable"] * 2]
    for error in errors:
        assert isinstance(error, RateLimited | Unavailable)
        assert error.retry_after is not None
        assert low <= error.retry_after <= high


@pytest.mark.parametrize("value", ["", "soon", "inf"])
def test_an_unreadable_wait_is_no_wait(server: BflServer, make: Make, value: str) -> None:
    server.faults = [Fault(status=429, headers={"Retry-After": value} if value else {})]
    error = fail(make())
    assert isinstance(error, RateLimited)
    assert error.retry_after is None


# --- after the job is made ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(path=POLL, cut=True), Unavailable),
        (Fault(path=POLL, truncate=True), Unavailable),
        (Fault(path=POLL, status=400), Unavailable),
        (Fault(path=POLL, status=401), SetupError),
        (Fault(path=POLL, status=402), Unavailable),
        (Fault(path=POLL, status=404), Unavailable),
        (Fault(path=POLL, status=422), Unavailable),
        (Fault(path=POLL, status=429), RateLimited),
        (Fault(path=POLL, status=500), Unavailable),
        (Fault(path=POLL, status=500, body={"status": "error", "message": "boom"}), Unavailable),
        (Fault(path=POLL, status=502, **HTML), Unavailable),
        (Fault(path=POLL, status=504), Unavailable),
        (Fault(path=POLL, status=302, headers={"Location": "https://elsewhere.example/"}), SetupError),
        (Fault(path=POLL, **HTML), Unavailable),
        (Fault(path=POLL, body=b""), Unavailable),
        (Fault(path=POLL, body=b"[]"), Unavailable),
        (Fault(path=POLL, body=b"\xff" * 100, headers={"Content-Encoding": "gzip"}), Unavailable),
        (Fault(path=FETCH, cut=True), Unavailable),
        (Fault(path=FETCH, truncate=True), Unavailable),
        (Fault(path=FETCH, status=400), Unavailable),
        (Fault(path=FETCH, status=500), Unavailable),
        (Fault(path=FETCH, status=204), Unavailable),
    ],
)
def test_what_happens_to_a_look_does_not_happen_to_the_job(
    server: BflServer, make: Make, fault: Fault, expected: type[ModelError]
) -> None:
    backend = make()
    job = backend.submit(ask())
    server.faults = [fault]
    error = not_collected(backend, job)
    assert type(error) is expected, error
    assert backend.collect(job) is not None
    server.faults = [fault]
    if expected is not SetupError:
        render(backend)
        assert server.billed == len(server.jobs) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=FETCH, **HTML),
        Fault(path=FETCH, body=b""),
        Fault(path=FETCH, body=b"\x89PNG\r\n\x1a\n"),
        Fault(path=FETCH, body=b"GIF89a"),
        Fault(path=FETCH, body=b"\xff" * 100, headers={"Content-Encoding": "gzip"}),
    ],
)
def test_what_is_no_picture_is_said(server: BflServer, make: Make, fault: Fault) -> None:
    server.faults = [fault]
    assert type(fail(make())) is BadAnswer
    assert server.billed == 1


def test_too_large_an_answer_is_not_read_to_its_end(
    server: BflServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make()
    job = backend.submit(ask())
    monkeypatch.setattr("models.backends.http.ANSWER_MAX", 5000)
    server.faults = [
        Fault(path=FETCH, body=b" " * 2_000_000),
        Fault(path="flux-2-pro", body=b" " * 2_000_000),
        Fault(path=POLL, body=b" " * 2_000_000),
    ]
    # A state that is too large says nothing of the job.
    assert type(not_collected(backend, job)) is Unavailable
    for error in (not_collected(backend, job), fail(backend)):
        assert type(error) is BadAnswer
        assert "larger" in str(error)
    monkeypatch.undo()
    assert backend.collect(job) is not None


def test_silence_after_the_job_was_made_is_no_more_than_that(server: BflServer, make: Make) -> None:
    job = make().submit(ask())
    server.faults = [Fault(path=POLL, delay=30), Fault(path=FETCH, delay=30)]
    backend = make(timeout=0.2)
    assert type(not_collected(backend, job)) is Unavailable
    assert type(not_collected(backend, job)) is Unavailable
    assert make().collect(job) is not None


def test_the_service_goes_away_while_a_job_is_made(make: Make) -> None:
    with BflServer(key=KEY) as server:
        backend = make(base_url=server.url)
        job = backend.submit(ask())
    assert type(not_collected(backend, job)) is Unavailable
