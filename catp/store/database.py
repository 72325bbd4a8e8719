"""A database that runs work: functions of a synchronous SQLAlchemy `Connection`, each in one transaction.

    database = open_database("runs.db", busy_s=10)            # or "postgresql://user@host/database"
    database.read(lambda connection: connection.execute(select(runs)).all())
    database.write(lambda connection: connection.execute(insert(runs), rows))
    await database.awrite(...)                                 # the same from an event loop, without blocking it

Work is all or nothing: whatever it raises rolls its transaction back and is raised by `read` or `write`. It must touch
nothing but the connection, since it may run in another thread, and must not call the database again.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from sqlalchemy import Connection

__all__ = ["Database", "Work", "open_database"]

T = TypeVar("T")
Work: TypeAlias = Callable[[Connection], T]


class Database(ABC):
    """Runs work in transactions; safe to use from any thread and any event loop. Opens itself when first used."""

    name: str
    """How messages call it: a path, or a URL without its password."""
    dialect: Literal["sqlite", "postgresql"]

    def read(self, work: Work[T]) -> T:
        """Run work that changes nothing, on one consistent snapshot."""
        return self.submit_read(work).result()

    def write(self, work: Work[T], *, durable: bool = False) -> T:
        """Run work that may change rows, commit, and return its result.

        A `durable` commit is on the disk when this returns and survives a power cut; any other survives the end of this
        process, at whatever moment, and reaches the disk a little later, in order.
        """
        return self.submit_write(work, durable=durable).result()

    async def aread(self, work: Work[T]) -> T:
        """Like `read`, without blocking the event loop."""
        return await asyncio.wrap_future(self.submit_read(work))

    async def awrite(self, work: Work[T], *, durable: bool = False) -> T:
        """Like `write`, without blocking the event loop. Cancelling the wait does not undo work that has begun."""
        return await asyncio.wrap_future(self.submit_write(work, durable=durable))

    @abstractmethod
    def submit_read(self, work: Work[T]) -> "Future[T]":
        """Start reading; the future holds the result."""

    @abstractmethod
    def submit_write(self, work: Work[T], *, durable: bool = False) -> "Future[T]":
        """Start writing; writes of one process are carried out in the order in which they are submitted."""

    @abstractmethod
    def close(self) -> None:
        """Finish what was submitted and release the connections; the database opens again when used."""


def open_database(target: Path | str, *, busy_s: float) -> Database:
    """Return the database that a path or URL names; nothing is opened yet.

    Raises:
        ValueError: A URL of another kind of database.
    """
    if isinstance(target, str) and "://" in target:
        from catp.store.database_postgres import PostgresDatabase

        return PostgresDatabase(target, busy_s=busy_s)
    from catp.store.database_sqlite import SqliteDatabase

    return SqliteDatabase(Path(target), busy_s=busy_s)
