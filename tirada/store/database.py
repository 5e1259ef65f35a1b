"""One SQLite database: many readers, one writer thread with group commit.

Invariant: when ``change`` returns, the change is on disk (WAL, synchronous=FULL), whole or not at all. Changes that
wait at the same time share one commit, so that durability costs one flush for many of them.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from tirada.errors import StoreError
from tirada.store.schema import VERSION, metadata

T = TypeVar("T")
#: How long a process waits for another one's commit, in seconds.
BUSY_SECONDS = 60
#: Changes that share one commit at most.
GROUP = 256


class Database:
    """Open (and create if need be) the database file; raises StoreError when that cannot be done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = _engine(path)
        self._reader = self._engine.execution_options(writes=False)
        self._queue: queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False
        try:
            with self._reader.connect() as connection:
                version = connection.execute(text("PRAGMA user_version")).scalar_one()
            if version > VERSION:
                raise StoreError(f"The store was written by a newer Tirada (layout {version}); this reads {VERSION}.")
            if version < VERSION:
                with self._engine.begin() as connection:
                    metadata.create_all(connection)
                    connection.execute(text(f"PRAGMA user_version={VERSION}"))
        except DatabaseError as exc:
            raise StoreError(f"The store {str(path)!r} cannot be opened: {exc.orig}.") from exc

    def change(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction on the writer thread and return its result once it is durable."""
        with self._lock:
            if self._closed:
                raise StoreError("The store is closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_loop, name="store", daemon=True)
                self._thread.start()
            future: Future[T] = Future()
            self._queue.put((work, future))
        return future.result()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading, which sees everything committed so far."""
        try:
            with self._reader.connect() as connection:
                yield connection
        except DatabaseError as exc:
            raise StoreError(f"The store {str(self.path)!r} cannot be read: {exc.orig}.") from exc

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
        self._engine.dispose()

    def _write_loop(self) -> None:
        with self._engine.connect() as connection:
            while (first := self._queue.get()) is not None:
                group = [first]
                last = False
                while len(group) < GROUP:
                    try:
                        item = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if item is None:
                        last = True
                        break
                    group.append(item)
                self._commit(connection, group)
                if last:
                    return

    def _commit(self, connection: Connection, group: list[tuple[Callable[[Connection], Any], Future[Any]]]) -> None:
        """Run every change in its own savepoint, so that one that fails takes no other with it; then commit once."""
        results: list[tuple[Future[Any], Any]] = []
        try:
            for work, future in group:
                try:
                    with connection.begin_nested():
                        results.append((future, work(connection)))
                except DatabaseError as exc:
                    future.set_exception(StoreError(f"The store {str(self.path)!r} cannot be written: {exc.orig}."))
                except BaseException as exc:  # noqa: BLE001 - handed to whoever asked for the change
                    future.set_exception(exc)
            connection.commit()
        except BaseException as exc:  # noqa: BLE001 - a commit that fails fails for everyone in the group
            connection.rollback()
            reason = exc.orig if isinstance(exc, DatabaseError) else exc
            error = StoreError(f"The store {str(self.path)!r} cannot be written: {reason}.")
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for future, result in results:
            future.set_result(result)


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that will write takes its turn at once, instead of failing half-way.
        immediate = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
