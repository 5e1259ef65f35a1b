"""What its service may do to a backend, each against its stand-in over HTTP: every fault becomes one of our errors.

Invariant: every request leaves at most once, and no message holds the key.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from models.backends import dalle, http
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
from models.registry import BackendRow
from tests.backend_tools import (
    ADDRESS,
    HOSTED,
    INDECENT,
    KEY,
    MODERATED,
    WRONG,
    Standin,
    ask,
    build,
    built,
    fail,
    json_fault,
    render,
    standin,
)
from tests.servers.base import Fault

hosted = pytest.mark.parametrize("row", HOSTED, ids=lambda row: row.name)


@pytest.fixture
def small(row: BackendRow) -> Iterator[Standin]:
    """The stand-in with tiny pictures."""
    with standin(row, (64, 64)) as found:
        yield found


def lost(row: BackendRow) -> type[ModelError]:
    """What an answer that never came means: it may have been paid for, or cost nothing to ask for again."""
    return InDoubt if row.paid else Unavailable


@hosted
def test_a_wrong_key_is_a_matter_of_the_set_up(row: BackendRow, small: Standin) -> None:
    wrong = "sk-wrong-9876543210zyxwvutsrq"
    settings = {name: value.replace(KEY, wrong) for name, value in small.settings.items()}
    made = build(row, settings)
    error = fail(made)
    made.close()
    assert isinstance(error, SetupError) and wrong not in str(error)
    assert error.hint


@hosted
def test_what_it_will_not_draw(row: BackendRow, small: Standin) -> None:
    with built(row, small) as made:
        if row.name not in MODERATED:
            render(made, ask(prompt=INDECENT))
            return
        error = fail(made, ask(prompt=INDECENT))
    assert isinstance(error, Refused) and not error.cost_usd
    assert len(small.requests()) == 1 and small.bill() == 0


@hosted
@pytest.mark.parametrize("status", [402, 408, 409, 413, 422, 429, 500, 502, 503, 504, 524])
def test_statuses(row: BackendRow, small: Standin, status: int) -> None:
    expected: dict[int, type[ModelError]] = {402: OutOfCredit, 413: UnsupportedRequest, 429: RateLimited}
    expected |= dict.fromkeys((408, 409, 500, 502, 503), Unavailable)
    expected |= dict.fromkeys((504, 524), lost(row))
    # Stability turns down a well-formed prompt with it.
    expected[422] = Refused if row.name == "stability" else UnsupportedRequest
    with built(row, small) as made:
        small.fail(Fault(status=status))
        assert type(fail(made)) is expected[status]
        small.fail(Fault(status=status, body=b"<html><h1>Oops</h1></html>", content_type="text/html"))
        assert type(fail(made)) is expected[status]
    # Nothing asks again by itself.
    assert len(small.requests()) == 2 and small.bill() == 0


@hosted
def test_how_long_to_wait(row: BackendRow, small: Standin) -> None:
    def header(value: str) -> Fault:
        return Fault(status=429, headers={"Retry-After": value})

    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=300), usegmt=True)
    with built(row, small) as made:
        small.fail(header("7"), header("4000"), header("0"), header(soon), header(past), header("soon"), header("inf"))
        found = [fail(made) for _ in range(7)]
        small.fail(Fault(status=429))
        found.append(fail(made))
    waits = [error.retry_after for error in found if isinstance(error, RateLimited)]
    assert waits[:3] == [7, 4000, 0]
    assert waits[3] is not None and 290 < waits[3] <= 300
    assert waits[4:] == [0, None, None, None]


@hosted
@pytest.mark.parametrize("fault", [Fault(cut=True), Fault(truncate=True)], ids=["cut", "truncated"])
def test_an_answer_that_breaks_off(row: BackendRow, small: Standin, fault: Fault) -> None:
    with built(row, small) as made:
        small.fail(fault)
        assert type(fail(made)) is lost(row)
        render(made)
    assert len(small.requests()) == 2


@hosted
def test_an_answer_that_takes_too_long(row: BackendRow, small: Standin) -> None:
    with built(row, small, timeout=0.15) as made:
        small.fail(Fault(delay=30))
        assert type(fail(made)) is lost(row)


@hosted
def test_an_answer_that_drips(row: BackendRow, small: Standin) -> None:
    """Each byte comes in time; all of them take a quarter of a minute at the least, and then nothing would be lost."""
    with built(row, small, timeout=0.4) as made:
        small.fail(Fault(drip=0.1))
        began = time.monotonic()
        assert type(fail(made)) is lost(row)
        assert time.monotonic() - began < 12


@hosted
def test_answers_that_are_nothing_of_the_kind(row: BackendRow, small: Standin) -> None:
    bodies = [
        *(json_fault(body) for body in WRONG[row.name]),
        Fault(body=b""),
        Fault(body=b'{"cut": "off'),
        Fault(body=b"\xff\xfe\x00"),
        Fault(body=b"[" * 200_000),
        Fault(body=b"<!doctype html><html><body>Welcome</body></html>", content_type="text/html"),
    ]
    with built(row, small) as made:
        for fault in bodies:
            small.fail(fault)
            assert type(fail(made)) is BadAnswer, fault.body
        render(made)


@hosted
def test_an_answer_without_end_is_not_read(row: BackendRow, small: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (http, dalle):
        monkeypatch.setattr(module, "ANSWER_MAX", 1024 * 1024)
    with built(row, small) as made:
        small.fail(Fault(body=b'{"' + b"x" * 3 * 1024 * 1024 + b'": 1}'))
        error = fail(made)
        assert type(error) is BadAnswer and "larger than 1 MB" in str(error)


@hosted
def test_nobody_there(row: BackendRow, small: Standin) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        settings = {**small.settings, ADDRESS[row.name]: f"http://127.0.0.1:{taken.getsockname()[1]}"}
        made = build(row, settings)
        assert type(fail(made)) is Unavailable
        made.close()


@hosted
def test_a_redirect_is_not_followed(row: BackendRow, small: Standin) -> None:
    """The key would go along."""
    with built(row, small) as made:
        for status in (301, 302, 307, 308):
            small.fail(Fault(status=status, headers={"Location": f"{small.server.url}/elsewhere"}))
            error = fail(made)
            assert isinstance(error, SetupError | UnsupportedRequest | BadAnswer), error
    assert not [one for one in small.server.requests if "elsewhere" in one.path]
