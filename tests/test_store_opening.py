"""A store that is new to several processes at once."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest
from sqlalchemy import text

from tirada.errors import StoreError
from tirada.store import database
from tirada.store.database import BUSY_SECONDS, Database

AT_ONCE, STORES = 3, 6


def read(store: Database) -> list[object]:
    return store.change(lambda connection: list(connection.execute(text("SELECT id FROM runs")).all()))


def test_whoever_opens_a_new_store_at_the_same_instant_gets_in(tmp_path: Path) -> None:
    together = Barrier(AT_ONCE, timeout=100)

    def open_all(_who: int) -> None:
        for number in range(STORES):
            together.wait()
            store = Database(tmp_path / f"{number}.db")
            assert read(store) == []
            store.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in [pool.submit(open_all, who) for who in range(AT_ONCE)]:
            one.result()


def test_who_is_turned_away_at_once_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another one is about to write to a file without a log, SQLite does not wait before it gives up."""
    path = tmp_path / "tirada.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        def sleep(_seconds: float) -> None:
            other.execute("ROLLBACK")

        monkeypatch.setattr(database, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
        store = Database(path)
        assert not other.in_transaction, "nobody was turned away"
    assert read(store) == []
    store.close()


def test_who_is_turned_away_for_good_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _seconds: now.append(now.pop() + BUSY_SECONDS / 3))
    monkeypatch.setattr(database, "time", clock)
    path = tmp_path / "tirada.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="cannot be opened: database is locked"):
            Database(path)
    assert now[0] > BUSY_SECONDS
