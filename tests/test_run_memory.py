"""Bounded queues: whatever is slow, the other stages wait for it instead of piling up work in memory."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.cli_tools import TINY, Tirada, endpoint
from tests.run_tools import IMAGES, BillingServer, check_output, rows, until
from tirada.engine import saving
from tirada.engine.run import AHEAD
from tirada.store import store

OUTPUT = Path("output")


def test_ideas_are_not_written_far_ahead_of_the_pictures(tirada: Tirada) -> None:
    batch, writers, renderers = 2, 2, 2
    # In the render stage, in the queue, and in the hands of writers that wait for a place in it.
    limit = renderers + AHEAD + batch * writers

    class Watching(BillingServer):
        def handle(self, method: str, path: str, headers: Any, body: bytes) -> Any:
            if path.endswith(IMAGES):
                # The first picture takes as long as it takes the writers to come to a halt.
                until(lambda: self.chats * batch >= min(AHEAD, 60), "the writers to run ahead")
                ahead.append(self.chats * batch - self.asked["image"])
            return super().handle(method, path, headers, body)

    ahead: list[int] = []
    settings = {"WRITER_BATCH": batch, "WRITER_IN_FLIGHT": writers, "IMAGES_IN_FLIGHT": renderers}
    with Watching() as server:
        env = {**endpoint(server), **{name: str(value) for name, value in settings.items()}}
        result = tirada(1, TINY, "--dalle", "--prompts", 60, "--role", "artist", "--json", **env)
    assert result.code == 0, result.err
    assert result.json["done"] == 60
    # Two calls that are under way are counted by the server before their ideas reach the queue.
    assert AHEAD // 2 <= max(ahead) <= limit + batch * writers


def test_pictures_are_not_rendered_far_ahead_of_saving(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    renderers, savers = 3, 1
    # In the queue, in the hands of the saver, and in those of renderers that wait for a place.
    limit = 2 * savers + 2 + savers + renderers
    original, waiting, prepared = saving.prepare, [], []

    def prepare(*args: Any, **named: Any) -> Any:
        if not prepared:
            until(lambda: server.billed >= limit, "the renderers to run ahead")
        waiting.append(server.billed - len(prepared))
        prepared.append(1)
        return original(*args, **named)

    monkeypatch.setattr(saving, "prepare", prepare)
    with BillingServer() as server:
        settings = {"IMAGES_IN_FLIGHT": str(renderers), "SAVE_THREADS": str(savers)}
        arguments = (60, TINY, "--dalle", "--writer", "composer", "--role", "artist")
        assert tirada(*arguments, **endpoint(server), **settings).code == 0
    assert len(prepared) == 60 and max(waiting) == limit


def test_a_large_run_is_read_from_the_store_in_pages(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PAGE", 3)
    assert tirada(10, TINY, "--draft", "--role", "artist", "--prompts", 4).code == 0
    assert [len(info["images"]) for info in check_output(OUTPUT)] == [10] * 4
    assert {row["state"] for row in rows(OUTPUT, "images")} == {"done"}


def test_finished_ideas_are_forgotten(tirada: Tirada, monkeypatch: pytest.MonkeyPatch) -> None:
    from tirada.engine.source import TaskSource

    most = 0
    lock = threading.Lock()
    original = TaskSource.forget

    def forget(self: TaskSource, concept: Any) -> None:
        nonlocal most
        with lock:
            most = max(most, len(self.active()))
        original(self, concept)
        assert concept not in self.active()

    monkeypatch.setattr(TaskSource, "forget", forget)
    assert tirada(1, TINY, "--draft", "--role", "artist", "--prompts", 40).code == 0
    # Those being rendered, those being saved, and what lies between.
    assert 1 <= most <= 2 + 3 + 8 + 1
