"""One SQLite database: many readers, one writer thread with group commit.

Invariant: when ``change`` returns, the change is on disk (WAL, synchronous=FULL), whole or not at all. Changes that
wait at the same time share one commit, so that durability costs one flush for many of them.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import NullPool

from tirada.errors import StoreError
from tirada.store import accounts
from tirada.store.schema import VERSION, metadata

T = TypeVar("T")
_Change = tuple[Callable[[Connection], Any], Future[Any]]
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
        self._queue: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
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
                    _bring_up_to_date(connection)
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

    @contextlib.contextmanager
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
        """Commit group after group until the store is closed; whoever waits for a change always gets an answer."""
        try:
            with self._engine.connect() as connection:
                while group := self._next_group():
                    self._commit(connection, group)
        except BaseException as exc:  # noqa: BLE001 - handed to whoever asks for a change from now on
            while group := self._next_group():
                self._fail(group, exc)

    def _next_group(self) -> list[_Change]:
        """The changes that wait, at least one; none when the store is closed."""
        group: list[_Change] = []
        while len(group) < GROUP:
            try:
                item = self._queue.get(block=not group)
            except queue.Empty:
                break
            if item is None:
                # Read together with the last group: it is still there for the next call.
                self._queue.put(None)
                break
            group.append(item)
        return group

    def _commit(self, connection: Connection, group: Sequence[_Change]) -> None:
        """Run the changes in one transaction; where one fails, each in its own, so that it takes no other with it."""
        try:
            results = [work(connection) for work, _ in group]
            accounts.flush(connection)
        except BaseException as exc:  # noqa: BLE001 - handed to whoever asked for the change
            _roll_back(connection)
            if len(group) == 1:
                self._fail(group, exc)
                return
            for change in group:
                self._commit(connection, [change])
            return
        try:
            connection.commit()
        except BaseException as exc:  # noqa: BLE001 - a commit that fails fails for everyone in the group
            _roll_back(connection)
            self._fail(group, exc)
            return
        for (_, future), result in zip(group, results, strict=True):
            future.set_result(result)

    def _fail(self, group: Sequence[_Change], exc: BaseException) -> None:
        if isinstance(exc, DatabaseError):
            exc = StoreError(f"The store {str(self.path)!r} cannot be written: {exc.orig}.")
        for _, future in group:
            future.set_exception(exc)


def _roll_back(connection: Connection) -> None:
    accounts.forget(connection)
    # Where even this fails, the next change says so.
    with contextlib.suppress(DatabaseError):
        connection.rollback()


def _bring_up_to_date(connection: Connection) -> None:
    """Make what an older layout lacks: tables, and columns, all of which may be empty."""
    before = inspect(connection)
    there = {name: {column["name"] for column in before.get_columns(name)} for name in before.get_table_names()}
    metadata.create_all(connection)
    for name, columns in there.items():
        table = metadata.tables.get(name)
        for column in () if table is None else table.columns:
            if column.name not in columns:
                kind = column.type.compile(connection.dialect)
                connection.execute(text(f'ALTER TABLE "{name}" ADD COLUMN "{column.name}" {kind}'))


def _journal_ahead(connection: Any) -> None:
    """Turn the write-ahead log on, which a new file does only once.

    Of two processes that do so at the same instant SQLite turns one away at once, without the wait it keeps elsewhere
    (each holds what the other wants); the one that is turned away finds it done a moment later.
    """
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
        _journal_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE: a transaction that will write takes its turn at once, instead of failing half-way.
        immediate = connection.get_execution_options().get("writes", True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
