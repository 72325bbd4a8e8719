"""Short transactions on the run store for code that must not wait: one for SQLite, one for any `Database`.

A reservation is made on the event loop, between two steps of a run. On a SQLite file it therefore has a connection of
its own, past the queue of the store's writer, with statements that stay prepared; if another process is writing it
tries again every 50 microseconds and soon gives up (`StoreBusy`) instead of SQLite's sleeps of up to 100 ms. PostgreSQL
answers through the store's own connections; the event loop waits for it.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import lru_cache
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, TextClause, text

from catp.store.database import Database
from catp.store.database_sqlite import SqliteDatabase
from catp.store.errors import StoreUnavailable, named
from catp.store.same_file import FileId, file_id, still_there

__all__ = ["Execute", "StoreBusy", "Transactions", "transactions_of"]

T = TypeVar("T")

Execute: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[Sequence[Any]]]
"""Runs one statement with `:name` parameters and returns its rows."""

_PATIENCE_S = 0.02
_PAUSE_S = 0.000_05
_ANSWER_S = 5.0


class StoreBusy(StoreUnavailable):
    """Another process is writing; try again in a moment."""


class Transactions(Protocol):
    """Runs work in transactions that see and change the store alone. Safe to use from any thread."""

    serial: bool
    """False if rows have to be locked against other transactions that run at the same time."""

    def run(self, work: Callable[[Execute], T]) -> T:
        """Run work in one transaction, commit, and return its result; `StoreBusy` or `StoreError` if that fails."""
        ...

    def look(self, work: Callable[[Execute], T]) -> T:
        """Run work that makes one query."""
        ...

    def close(self) -> None:
        """Release the connection; it opens again when used."""
        ...


def transactions_of(database: Database) -> Transactions:
    """Return the fastest transactions that a database has."""
    return _Sqlite(database) if isinstance(database, SqliteDatabase) else _Any(database)


class _Sqlite:
    """On a SQLite file. As long as there is none, there is nothing in it."""

    serial = True

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._path = database.path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: FileId | None = None

    def run(self, work: Callable[[Execute], T]) -> T:
        with self._lock, named(str(self._path)):
            connection = self._open()
            self._begin(connection)
            try:
                result = work(_executor(connection))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            return result

    def look(self, work: Callable[[Execute], T]) -> T:
        with self._lock, named(str(self._path)):
            if self._connection is None and not self._path.exists():
                return work(lambda _sql, _parameters: ())
            return work(_executor(self._open()))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._database.read(lambda _: None)  # makes sure that the tables are there, of this version
            connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None,
                check_same_thread=False,
            )  # fmt: skip
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(
                "PRAGMA wal_autocheckpoint=0"
            )  # a checkpoint takes milliseconds: the store's writer's work
            self._connection, self._opened = connection, file_id(self._path)
        still_there(self._path, self._opened)
        return self._connection

    def _begin(self, connection: sqlite3.Connection) -> None:
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() > end:
                    raise StoreBusy(f"run store {self._path} is being written by another process") from error
                time.sleep(_PAUSE_S)
            else:
                return


def _executor(connection: sqlite3.Connection) -> Execute:
    def execute(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        return connection.execute(sql, parameters).fetchall()

    return execute


class _Any:
    """On any database."""

    serial = False

    def __init__(self, database: Database) -> None:
        self._database = database

    def run(self, work: Callable[[Execute], T]) -> T:
        return self._wait(self._database.submit_write(lambda connection: work(_on(connection))))

    def look(self, work: Callable[[Execute], T]) -> T:
        return self._wait(self._database.submit_read(lambda connection: work(_on(connection))))

    def close(self) -> None:
        """The database belongs to the store."""

    def _wait(self, future: "Future[T]") -> T:
        try:
            return future.result(_ANSWER_S)
        except FutureTimeout:
            future.cancel()
            raise StoreUnavailable(f"run store {self._database.name} did not answer within {_ANSWER_S:g} s") from None


def _on(connection: Connection) -> Execute:
    def execute(sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        result = connection.execute(_text(sql), parameters)
        return result.all() if result.returns_rows else ()

    return execute


@lru_cache(maxsize=64)
def _text(sql: str) -> TextClause:
    return text(sql)
