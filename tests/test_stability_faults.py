"""What goes wrong with Stability's service, each thing as one of our errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import requests

from models.backends import http, stability
from models.errors import (
    BadAnswer,
    InDoubt,
    ModelError,
    OutOfCredit,
    RateLimited,
    Refused,
    SetupError,
    Unavailable,
    UnsupportedRequest,
)
from tests.servers.base import Fault
from tests.servers.pictures import encoded_text
from tests.servers.stability_api import StabilityServer
from tests.stability_tools import KEY, Make, backends, fail, render

PICTURE = encoded_text(64, 64)


@pytest.fixture
def server() -> Iterator[StabilityServer]:
    with StabilityServer(key=KEY, image_size=(64, 64)) as server:
        yield server


@pytest.fixture
def make(server: StabilityServer) -> Iterator[Make]:
    with backends(server.url) as build:
        yield build


def answer(**changes: object) -> Fault:
    return Fault(body={"image": PICTURE, "finish_reason": "SUCCESS", "seed": 1, **changes})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=301, headers={"Location": "https://elsewhere/?key=1"}), SetupError),
        (Fault(status=400), UnsupportedRequest),
        (Fault(status=401), SetupError),
        (Fault(status=402), OutOfCredit),
        (Fault(status=403), Refused),
        (Fault(status=403, body=b"<html>Forbidden</html>", content_type="text/html"), SetupError),
        (Fault(status=403, body=b"[]"), SetupError),
        (Fault(status=404), UnsupportedRequest),
        (Fault(status=408), Unavailable),
        (Fault(status=413), UnsupportedRequest),
        (Fault(status=422), Refused),
        (Fault(status=429), RateLimited),
        (Fault(status=500), Unavailable),
        (Fault(status=502, body=b"<html>Bad gateway</html>", content_type="text/html"), Unavailable),
        (Fault(status=503), Unavailable),
        (Fault(status=504), InDoubt),
        (Fault(status=524), InDoubt),
        (Fault(cut=True), InDoubt),
        (Fault(truncate=True), InDoubt),
        (Fault(status=500, truncate=True), InDoubt),
        (Fault(body=b"<html>Welcome!</html>", content_type="text/html"), BadAnswer),
        (Fault(body=b""), BadAnswer),
        (Fault(body=b'{"image": "iVBO'), BadAnswer),
        (Fault(body=b"null"), BadAnswer),
        (Fault(body=b"[]"), BadAnswer),
        (Fault(body={}), BadAnswer),
        (Fault(body=b"\xff" * 100, headers={"Content-Encoding": "gzip"}), BadAnswer),
        (answer(image=None), BadAnswer),
        (answer(image=""), BadAnswer),
        (answer(image=7), BadAnswer),
        (answer(image=[PICTURE]), BadAnswer),
        (answer(image="no base64!"), BadAnswer),
        (answer(image="bm8gcGljdHVyZQ=="), BadAnswer),
        (answer(finish_reason="ERROR"), BadAnswer),
        (answer(finish_reason=""), BadAnswer),
        (answer(finish_reason=3), BadAnswer),
    ],
)
def test_every_fault_is_an_error_of_ours(
    server: StabilityServer, make: Make, fault: Fault, expected: type[ModelError]
) -> None:
    server.faults = [fault]
    error = fail(make())
    assert type(error) is expected, error
    assert "<html>" not in str(error)
    assert "key=1" not in str(error)
    assert len(server.requests) == 1


def test_a_picture_without_a_reason_is_a_picture(server: StabilityServer, make: Make) -> None:
    server.faults = [answer(finish_reason=None), Fault(body={"image": PICTURE, "new_field": 1})]
    backend = make()
    render(backend)
    render(backend)


def test_after_a_fault_the_next_request_goes_through(server: StabilityServer, make: Make) -> None:
    server.faults = [Fault(cut=True), Fault(status=500), Fault(truncate=True)]
    backend = make()
    assert [fail(backend).kind for _ in range(3)] == ["in_doubt", "unavailable", "in_doubt"]
    render(backend)
    assert server.billed == 3


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "900"}, 900, 900),
        ({"Retry-After": "DATE"}, 30, 61),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, 0),
    ],
)
def test_the_wait_is_what_the_service_asks_for(
    server: StabilityServer, make: Make, headers: dict[str, str], low: float, high: float
) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    headers = {name: soon if value == "DATE" else value for name, value in headers.items()}
    server.faults = [Fault(status=429, headers=headers), Fault(status=503, headers=headers)]
    backend = make()
    for error in (fail(backend), fail(backend)):
        assert isinstance(error, RateLimited | Unavailable)
        assert error.retry_after is not None
        assert low <= error.retry_after <= high


@pytest.mark.parametrize("value", ["", "soon", "inf"])
def test_an_unsaid_wait_is_the_documented_one_of_the_service_itself(
    server: StabilityServer, make: Make, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    headers = {"Retry-After": value} if value else {}
    server.faults = [Fault(status=429, headers=headers), Fault(status=429, headers=headers)]
    elsewhere = fail(make())
    assert isinstance(elsewhere, RateLimited)
    assert elsewhere.retry_after is None
    monkeypatch.setattr(stability, "OFFICIAL_URL", server.url)
    itself = fail(make(base_url=None))
    assert isinstance(itself, RateLimited)
    assert itself.retry_after == 60


def test_silence_is_in_doubt(server: StabilityServer, make: Make) -> None:
    server.faults = [Fault(delay=30)]
    assert isinstance(fail(make(timeout=0.2)), InDoubt)


def test_nobody_at_home(make: Make) -> None:
    with StabilityServer() as gone:
        url = gone.url
    error = fail(make(base_url=url.replace("127.0.0.1", "me:secret@127.0.0.1")))
    assert isinstance(error, Unavailable)
    assert "127.0.0.1" in str(error)
    assert "secret" not in str(error)


def test_encryption_that_fails_before_and_after_the_request_left(
    server: StabilityServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise requests.exceptions.SSLError("bad record mac")

    assert isinstance(fail(make(base_url=server.url.replace("http:", "https:"))), Unavailable)
    assert server.billed == 0
    monkeypatch.setattr(http.HttpApi, "_read", broken)
    assert isinstance(fail(make()), InDoubt)
    assert server.billed == 1


def test_a_name_that_does_not_resolve(make: Make) -> None:
    assert isinstance(fail(make(base_url="http://no-such-host.invalid")), Unavailable)


@pytest.mark.parametrize("wrong", ["sk-wrong-abcdefghijklmnop", "local-secret-99"])
def test_a_wrong_key_is_never_shown(make: Make, wrong: str) -> None:
    error = fail(make(key=wrong))
    assert isinstance(error, SetupError)
    assert wrong not in str(error)
    assert "[redacted]" in str(error)
    assert "STABILITY_API_KEY" in str(error)


def test_too_large_an_answer_is_not_read_to_its_end(
    server: StabilityServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ANSWER_MAX", 1000)
    server.faults = [Fault(body=b" " * 2_000_000)]
    backend = make()
    assert "larger" in str(fail(backend))
    monkeypatch.undo()
    render(backend)
