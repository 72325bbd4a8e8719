"""A PostgreSQL database (extra `postgres`): SQLAlchemy's async engine over asyncpg, on an event loop of its own.

The loop runs in a thread, so that work from any thread and any event loop shares one pool of connections. Work itself
stays synchronous (`AsyncConnection.run_sync`), the same functions as for SQLite.

Every commit is durable as the server understands it (`synchronous_commit`). Writes run side by side; those that the
server ends because they block each other are run again.
"""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from catp.store.database import Database, Work
from catp.store.errors import StoreError, StoreUnavailable, named
from catp.store.versions import current, make_current

__all__ = ["PostgresDatabase"]

T = TypeVar("T")
_CONNECTIONS = 8
_TRIES = 5
_RIVALRY = frozenset({"40001", "40P01"})  # serialization failure, deadlock: the loser may simply try again


class PostgresDatabase(Database):
    """See `Database`.

    Args:
        url: `postgresql://user:password@host:port/database`; the options of `asyncpg.connect`, and `sslmode`, may
            follow as a query.
        busy_s: How long to wait for a connection, and for rows that another transaction holds, in seconds.

    Raises:
        ValueError: The URL is none, or names another kind of database.
    """

    dialect: Literal["sqlite", "postgresql"] = "postgresql"

    def __init__(self, url: str, *, busy_s: float = 10.0) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise ValueError(f"{url!r} is no database URL such as postgresql://user@host/database") from error
        if parsed.drivername not in ("postgresql", "postgres", "postgresql+asyncpg"):
            raise ValueError(
                f"a run store is a SQLite file, given by its path, or a database postgresql://..., not {url!r}"
            )
        options = {"ssl" if name == "sslmode" else name: value for name, value in parsed.query.items()}
        self._url = parsed.set(drivername="postgresql+asyncpg", query=options)
        self.name = parsed.render_as_string(hide_password=True)
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._engine: AsyncEngine | None = None
        self._opening: asyncio.Lock | None = None
        self._checked = False

    def submit_read(self, work: Work[T]) -> "Future[T]":
        """See `Database.submit_read`."""
        return self._submit(self._run(work, {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}))

    def submit_write(self, work: Work[T], *, durable: bool = False) -> "Future[T]":
        """See `Database.submit_write`; every commit is durable."""
        return self._submit(self._run(work, {"isolation_level": "READ COMMITTED"}))

    def close(self) -> None:
        """See `Database.close`."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._dispose(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    # --- on the loop's thread ---------------------------------------------------------------------------------------

    def _submit(self, job: Coroutine[Any, Any, T]) -> "Future[T]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._opening = asyncio.Lock()
                self._thread = threading.Thread(target=self._loop.run_forever, name="catp-store-postgres", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(job, self._loop)

    async def _run(self, work: Work[T], options: dict[str, Any]) -> T:
        with named(self.name), _server_errors(self.name):
            engine = await self._open()
            for _ in range(_TRIES - 1):
                try:
                    return await _once(engine, work, options)
                except DBAPIError as error:
                    if getattr(error.orig, "sqlstate", None) not in _RIVALRY:
                        raise
            return await _once(engine, work, options)

    async def _open(self) -> AsyncEngine:
        assert self._opening is not None
        async with self._opening:
            if self._engine is None:
                settings = {"lock_timeout": f"{round(self._busy_s * 1000)}ms"}
                try:
                    self._engine = create_async_engine(
                        self._url, pool_size=_CONNECTIONS, max_overflow=0, pool_timeout=self._busy_s,
                        pool_pre_ping=True,
                        connect_args={"timeout": self._busy_s, "server_settings": settings},
                    )  # fmt: skip
                except ModuleNotFoundError as error:
                    raise StoreError(f"run store {self.name}: {error}; pip install 'catp[postgres]'") from error
            if not self._checked:
                try:
                    async with self._engine.connect() as connection:
                        await connection.run_sync(self._ensure_current)
                except BaseException:
                    await self._engine.dispose()
                    raise
                self._checked = True
            return self._engine

    def _ensure_current(self, connection: Connection) -> None:
        if not current(connection, self.name):
            connection.rollback()
            make_current(connection, self.name)

    async def _dispose(self) -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*waiting, return_exceptions=True)
        if self._engine is not None:
            await self._engine.dispose()
        self._engine, self._checked = None, False


async def _once(engine: AsyncEngine, work: Work[T], options: dict[str, Any]) -> T:
    async with engine.connect() as connection:
        await connection.execution_options(**options)
        async with connection.begin():
            return await connection.run_sync(work)


@contextmanager
def _server_errors(store: str) -> Iterator[None]:
    """Turn asyncpg's own errors, which SQLAlchemy does not wrap while it connects, into `StoreUnavailable`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, TypeError) and "unexpected keyword" in str(error):
            raise StoreError(f"run store {store}: unknown option in the URL: {error}") from error
        if type(error).__module__.startswith("asyncpg"):
            raise StoreUnavailable(f"run store {store}: {error}") from error
        raise
