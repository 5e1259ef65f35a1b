"""A store that is new to several processes at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from sqlalchemy import text

from tirada.store.database import Database

AT_ONCE = 3
#: About one new store in twenty turned somebody away before.
STORES = 60


def test_whoever_opens_a_new_store_at_the_same_instant_gets_in(tmp_path: Path) -> None:
    together = Barrier(AT_ONCE, timeout=120)

    def open_all(_who: int) -> None:
        for number in range(STORES):
            together.wait()
            database = Database(tmp_path / f"{number}.db")
            database.change(lambda connection: connection.execute(text("SELECT id FROM runs")).all())
            database.close()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in [pool.submit(open_all, who) for who in range(AT_ONCE)]:
            one.result()
