"""``--sdapi`` in whole runs: how far an image is, stopping the server, and what models it has."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import TINY, Tirada
from tests.run_tools import batch_folders, check_folder, check_output, figures, rows, run_row, start, until
from tests.sdapi_tools import ask, backends
from tests.servers.base import Fault
from tests.servers.sd_webui import MODELS, SdWebui
from tirada.cli import console, progress
from tirada.engine import watching
from tirada.engine.events import StepProgress

OUTPUT = Path("output")
COMMAND = ("--sdapi", "--writer", "composer", "--role", "artist")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SdWebui]:
    monkeypatch.setattr(watching, "EVERY", 0.01)
    with SdWebui() as server:
        monkeypatch.setenv("STABLE_DIFFUSION_URL", server.url)
        yield server


def looks(server: SdWebui) -> int:
    """How often it was asked how far it is."""
    return sum("/progress" in one.path for one in server.requests)


# --- watching -------------------------------------------------------------------------------------------------------


def test_a_run_tells_how_far_the_image_under_way_is(
    tirada: Tirada, server: SdWebui, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[StepProgress] = []
    original = progress.Lines.__call__

    def listen(self: progress.Lines, event: Any) -> None:
        original(self, event)
        if isinstance(event, StepProgress):
            seen.append(event)
            server.release()

    monkeypatch.setattr(progress.Lines, "__call__", listen)
    server.hold()
    result = tirada(2, TINY, *COMMAND, "--steps", 30)
    assert result.code == 0, result.err
    assert (seen[0].step, seen[0].steps) == (15, 30) and 0.5 < seen[0].share < 0.6
    # Lines are for logs: steps are no news there.
    assert "step" not in result.err and "15/30" not in result.err
    (info,) = check_output(OUTPUT)
    assert len(info["images"]) == server.made == 2 and Decimal(info["cost_usd"]) == 0
    # Nobody looks at it when the run is over.
    assert not [thread for thread in threading.enumerate() if thread.name == "watch"]


def test_the_bar_shows_the_step(tirada: Tirada, server: SdWebui, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    original = progress.Bars.__call__

    def listen(self: progress.Bars, event: Any) -> None:
        original(self, event)
        if self._images is not None:
            shown.append(self._progress.tasks[self._images].fields["steps"])
        if isinstance(event, StepProgress):
            server.release()

    monkeypatch.setattr(console, "ask_terminal", lambda: True)
    monkeypatch.setattr(progress.Bars, "__call__", listen)
    server.hold()
    assert tirada(1, TINY, *COMMAND, "--steps", 30).code == 0
    assert "step 15/30" in shown
    # The image is done, and so are its steps.
    assert shown[-1] == ""


def test_a_server_that_does_not_say_how_far_it_is(tirada: Tirada, server: SdWebui) -> None:
    server.faults = [Fault(status=500, path="/progress")] * 1000
    server.hold()

    def release() -> None:
        until(lambda: looks(server) > 2, "three looks")
        server.release()

    thread = threading.Thread(target=release)
    thread.start()
    result = tirada(1, TINY, *COMMAND, "--json")
    thread.join()
    assert result.code == 0 and figures(result, "done", "failed") == (1, 0)


def test_a_backend_that_cannot_be_asked_is_not_asked(tirada: Tirada, server: SdWebui) -> None:
    assert tirada(1, TINY, "--draft", *COMMAND[1:]).code == 0
    assert server.requests == []


def test_a_bug_in_looking_spoils_no_image(tirada: Tirada, server: SdWebui, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: Any) -> None:
        server.release()
        raise ZeroDivisionError("the bug in progress")

    monkeypatch.setattr("models.backends.sdapi.SdapiBackend.progress", broken)
    server.hold()
    result = tirada(2, TINY, *COMMAND)
    assert result.code == 0 and "ZeroDivisionError: the bug in progress" in result.err
    check_output(OUTPUT)


# --- leaving --------------------------------------------------------------------------------------------------------


@needs_fork
def test_once_finishes_the_image_under_way(server: SdWebui) -> None:
    server.hold()
    child = start(3, TINY, *COMMAND, STABLE_DIFFUSION_URL=server.url)
    assert server.started.wait(30)
    child.signal(signal.SIGINT)
    child.says("Stopping. Interrupted")
    server.release()
    assert child.wait().code == 130
    assert server.made == 1 and server.interruptions == 0
    (folder,) = batch_folders(OUTPUT)
    assert len(check_folder(folder)["images"]) == 1


@needs_fork
def test_twice_stops_the_server_too(tirada: Tirada, server: SdWebui) -> None:
    server.hold()
    child = start(3, TINY, *COMMAND, STABLE_DIFFUSION_URL=server.url)
    assert server.started.wait(30)
    child.signal(signal.SIGINT)
    child.says("Stopping. Interrupted")
    child.signal(signal.SIGINT)
    result = child.wait()
    assert result.code == 130 and "Traceback" not in result.err, result.err
    assert server.interruptions == 1 and server.made == 0
    assert run_row(OUTPUT)["status"] == "interrupted"
    # The half-rendered picture was thrown away, and is made anew.
    assert tirada("resume", "--json").json["done"] == 3
    assert server.made == 3
    check_output(OUTPUT)
    assert {row["state"] for row in rows(OUTPUT, "images")} == {"done"}


def test_a_server_that_does_not_answer_holds_nobody_up(server: SdWebui, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PATIENCE", 0.05)
    server.hold()
    server.faults = [Fault(delay=30, path="/interrupt")]
    with backends(server) as make:
        backend = make()
        thread = threading.Thread(target=lambda: backend.generate([ask()]))
        thread.start()
        assert server.started.wait(30)
        began = time.monotonic()
        watching.stop_server(backend)
        assert time.monotonic() - began < 10
        server.release()
        thread.join(30)


@pytest.mark.parametrize("flavour", ["drawthings", "a1111"])
def test_stopping_never_fails(server: SdWebui, flavour: Any) -> None:
    server.flavour = flavour
    watching.stop_server(None)
    with backends(server) as make:
        watching.stop_server(make())
    with backends(server) as make:
        watching.stop_server(make(url="http://127.0.0.1:9"))
    assert server.interruptions == 0


# --- models ---------------------------------------------------------------------------------------------------------


def test_models_lists_the_checkpoints_of_the_server(tirada: Tirada, server: SdWebui) -> None:
    result = tirada("models")
    assert result.code == 0 and result.err == ""
    assert all(name in result.out for name in MODELS) and "CHECKPOINT" in result.out
    listed = tirada("models", "--json").json
    assert [row["id"] for row in listed if row.get("backend") == "sdapi"] == [*MODELS]
    # Any of them can be asked for by that name.
    assert tirada(1, TINY, *COMMAND, "--model", MODELS[1]).code == 0


def test_a_server_that_is_not_named_is_not_looked_for(
    tirada: Tirada, server: SdWebui, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STABLE_DIFFUSION_URL")
    result = tirada("models")
    assert result.code == 0 and "CHECKPOINT" not in result.out and result.err == ""
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://somewhere.invalid:7860", "not-a-url"])
def test_a_server_that_is_not_there_is_a_line(tirada: Tirada, url: str) -> None:
    for options in ((), ("--json",)):
        result = tirada("models", *options, STABLE_DIFFUSION_URL=url)
        assert result.code == 0 and "gpt-6-luna" in result.out
        assert len(result.err.splitlines()) == 1 and len(result.err) < 200, result.err


def test_a_server_without_a_list_says_so(tirada: Tirada, server: SdWebui) -> None:
    server.flavour = "drawthings"
    result = tirada("models")
    assert result.code == 0 and "does not say which checkpoints" in result.err


def test_a_password_in_the_address_is_not_shown(tirada: Tirada, server: SdWebui) -> None:
    server.login = "me:hunter2-secret"
    wrong = server.url.replace("://", "://me:other-secret@")
    result = tirada("models", STABLE_DIFFUSION_URL=wrong)
    assert result.code == 0 and "other-secret" not in result.out + result.err
