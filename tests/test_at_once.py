"""Several processes at once on one output folder: who looks at a run is not in its way, and nothing is made twice."""

from __future__ import annotations

import errno
import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import TINY, Tirada
from tests.run_tools import PATIENCE, BillingServer, Child, KillAt, Result, rows, run, run_row, start, until
from tests.story_tools import tell
from tirada.engine import going, items
from tirada.engine.going import is_going, run_lock

OUTPUT = Path("output")
DRAFTS = ("3", TINY, "--draft", "--writer", "composer", "--role", "artist")
REDO = ("story", "redo", "latest", "--page", "1")


# --- who works on a run -----------------------------------------------------------------------------------------------


def cut_off() -> str:
    """The id of a run that was killed."""
    assert run(*DRAFTS, kill_at=KillAt("tirada.engine.saving:write_bytes", 2)).code == -9
    return str(run_row(OUTPUT)["id"])


@contextmanager
def looked_at(run_id: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody is in the middle of looking whether the run is going, and stays there until that is in the way."""
    looking, over = threading.Event(), threading.Event()
    lock = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        try:
            lock(descriptor, how)
        except BlockingIOError:
            over.set()
            raise
        if threading.current_thread() is somebody:
            looking.set()
            assert over.wait(PATIENCE)

    somebody = threading.Thread(target=is_going, args=(OUTPUT, run_id))
    monkeypatch.setattr(fcntl, "flock", flock)
    somebody.start()
    try:
        assert looking.wait(PATIENCE)
        yield
    finally:
        over.set()
        somebody.join()


def test_who_looks_at_a_run_is_not_taken_for_working_on_it(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    with looked_at(cut_off(), monkeypatch):
        assert "cut off" in tirada("history").out
        assert tirada("show", "latest", "--json").json["status"] == "cut off"


def test_who_looks_at_a_run_keeps_nobody_from_resuming_it(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    with looked_at(cut_off(), monkeypatch):
        resumed = tirada("resume")
    assert resumed.code == 0, resumed.err
    assert run_row(OUTPUT)["status"] == "done"


def test_where_locks_cannot_be_shared_they_are_taken(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_SH:
            raise OSError(errno.ENOLCK, "No locks available")
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(going, "LOOK_SECONDS", 0.05)
    run_id = cut_off()
    assert "cut off" in tirada("history").out
    with run_lock(OUTPUT, run_id):
        assert "running" in tirada("history").out


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """A run that comes to its end between the moment its row is read and the look whether it is going."""
    with BillingServer() as server:
        server.hold_images = 1
        child = start("1", TINY, "--dalle", "--writer", "composer", server=server)
        until(lambda: server.asked["image"], "an image under way")

        def late(output: Path, run_id: str) -> bool:
            server.gate.set()
            assert child.wait().code == 0
            return is_going(output, run_id)

        monkeypatch.setattr(going, "is_going", late)
        yield child


def test_a_run_that_ends_while_it_is_looked_at_is_not_cut_off(tirada: Tirada, ending: Child) -> None:
    (row,) = tirada("history", "--json").json
    assert row["status"] == "done"


def test_a_run_that_ends_while_it_is_looked_at_is_not_resumed(tirada: Tirada, ending: Child) -> None:
    assert "every run has come to its end" in tirada("resume").err
    assert run_row(OUTPUT)["status"] == "done"


@pytest.mark.parametrize(("folders", "said"), [(0, "none of them is made yet."), (1, "name the folder: {}.")])
def test_folders_that_are_still_to_come_are_not_named(tirada: Tirada, folders: int, said: str) -> None:
    killed = run(*DRAFTS, "--prompts", 2, kill_at=KillAt("tirada.engine.source:make_folder", folders + 1))
    assert killed.code == -9
    names = [str(row["folder"]) for row in rows(OUTPUT, "concepts") if row["folder"]]
    wrong = tirada("mark", "latest/1", "good")
    assert wrong.code == 2 and f"has 2 images '1'; {said.format(*names)}" in wrong.err


# --- takes of a page --------------------------------------------------------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, *command: str) -> list[Result]:
    """Have another process run the command to its end when this one is about to call that function; its result."""
    results: list[Result] = []
    original: Callable[..., Any] = getattr(where, name)

    def call(*args: Any, **named: Any) -> Any:
        if not results:
            results.append(run(*command))
        return original(*args, **named)

    monkeypatch.setattr(where, name, call)
    return results


def takes() -> list[str]:
    return sorted(str(row["file"]) for row in rows(OUTPUT, "images") if row["name"].startswith("page-01"))


def test_two_who_plan_a_take_at_once_do_not_plan_the_same(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(tirada, "--pages", "2")
    others = meanwhile(monkeypatch, items, "add_to_job", *REDO)
    mine = tirada(*REDO)
    assert mine.code == 0, mine.err
    assert [other.code for other in others] == [2] and "still going" in others[0].err
    assert takes() == ["page-01-take-2.png", "page-01.png"]
    assert run_row(OUTPUT)["status"] == "done"


def test_who_comes_second_makes_the_next_take(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    from tirada.cli import again

    tell(tirada, "--pages", "2")
    others = meanwhile(monkeypatch, again, "take_up", *REDO)
    mine = tirada(*REDO)
    assert (mine.code, [other.code for other in others]) == (0, [0]), mine.err
    assert takes() == ["page-01-take-2.png", "page-01-take-3.png", "page-01.png"]


def test_a_take_that_cannot_be_made_now_is_not_planned(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(tirada, "--pages", "2")
    # The other one begins after we have looked whether there is one.
    monkeypatch.setattr(going, "is_going", lambda *_: False)
    monkeypatch.setattr(going, "LOOK_SECONDS", 0.05)
    with run_lock(OUTPUT, run_row(OUTPUT)["id"]):
        mine = tirada(*REDO)
    assert mine.code == 2 and "still going" in mine.err
    assert takes() == ["page-01.png"]
    assert run_row(OUTPUT)["status"] == "done"
