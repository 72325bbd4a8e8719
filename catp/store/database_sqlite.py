"""A SQLite file: one connection that writes, on a thread of its own, and a pool of connections that can only read.

WAL lets readers go on while something is written. All writes of a process pass through one thread, so they never wait
for each other inside SQLite; other processes are waited for up to `busy_s`.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

from catp.store.database import Database, Work
from catp.store.errors import StoreError, named
from catp.store.filesystem import refuse_network, system_mounts
from catp.store.same_file import FileId, file_id, still_there
from catp.store.versions import current, make_current

__all__ = ["SqliteDatabase"]

T = TypeVar("T")
_READERS = 8
_Job = tuple[Work[Any], bool, "Future[Any]"]


class SqliteDatabase(Database):
    """See `Database`.

    Args:
        path: The file; its folder is made when something is written.
        busy_s: How long to wait for another process that writes, in seconds.
        mounts: Tells which file systems are network file systems; `/proc/mounts` by default.
    """

    dialect: Literal["sqlite", "postgresql"] = "sqlite"

    def __init__(self, path: Path, *, busy_s: float = 10.0, mounts: Callable[[], str] = system_mounts) -> None:
        self.path = path
        self.name = str(path)
        self._busy_s = busy_s
        self._mounts = mounts
        self._lock = threading.Lock()  # guards the fields; held for a moment only
        self._opening = threading.Lock()
        self._readers: Engine | None = None
        self._reading: ThreadPoolExecutor | None = None
        self._jobs: SimpleQueue[_Job | None] | None = None
        self._writer: threading.Thread | None = None

    def read(self, work: Work[T]) -> T:
        """Run the work here and now: readers need no thread of their own."""
        with named(self.name):
            engine = self._readers or self._open()
            with engine.begin() as connection:
                return work(connection)

    def submit_read(self, work: Work[T]) -> "Future[T]":
        """See `Database.submit_read`."""
        with self._lock:
            if self._reading is None:
                self._reading = ThreadPoolExecutor(_READERS, thread_name_prefix="catp-store-read")
            return self._reading.submit(self.read, work)

    def submit_write(self, work: Work[T], *, durable: bool = False) -> "Future[T]":
        """See `Database.submit_write`."""
        future: Future[T] = Future()
        with self._lock:
            if self._jobs is None:
                self._jobs = SimpleQueue()
                self._writer = threading.Thread(
                    target=self._write_all, args=(self._jobs,), name="catp-store-write", daemon=True
                )
                self._writer.start()
            self._jobs.put((work, durable, future))
        return future

    def close(self) -> None:
        """See `Database.close`."""
        with self._lock:
            reading, jobs, writer = self._reading, self._jobs, self._writer
            self._reading = self._jobs = self._writer = None
        if reading is not None:
            reading.shutdown()
        self._close_readers()
        if jobs is not None and writer is not None:  # after the readers: whoever may write tidies the log away
            jobs.put(None)
            writer.join()
        self._close_readers()

    def _close_readers(self) -> None:
        with self._lock:
            readers, self._readers = self._readers, None
        if readers is not None:
            readers.dispose()

    # --- reading ----------------------------------------------------------------------------------------------------

    def _open(self) -> Engine:
        """Make sure that the file is there and of this version, then return the readers' pool."""
        with self._opening:
            if self._readers is None:
                refuse_network(self.path, self._mounts())
                readers = create_engine(
                    "sqlite://", creator=self._reader, poolclass=QueuePool, pool_size=_READERS, pool_use_lifo=True
                )
                event.listen(readers, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
                try:
                    self._ensure_current(readers)
                except BaseException:
                    readers.dispose()
                    raise
                self._readers = readers
            return self._readers

    def _ensure_current(self, readers: Engine) -> None:
        if self.path.exists() and self.path.stat().st_size:
            with readers.begin() as connection:
                if current(connection, self.name):
                    return
        engine = self._writing_engine()
        try:
            with engine.connect() as connection:
                make_current(connection, self.name)
        finally:
            engine.dispose()

    def _reader(self) -> sqlite3.Connection:
        raw = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=ro", uri=True, timeout=self._busy_s, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        raw.execute("PRAGMA cache_size=-2000")  # kB, of each of up to eight
        return raw

    # --- writing ----------------------------------------------------------------------------------------------------

    def _writing_engine(self) -> Engine:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine("sqlite://", creator=self._write_connection, poolclass=NullPool)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        return engine

    def _write_connection(self) -> sqlite3.Connection:
        raw = sqlite3.connect(os.fspath(self.path), timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        try:
            self._use_wal(raw)
            # The log may grow to 16 MB (pages of 4 kB) before it is copied into the file, which waits for the disk.
            for pragma in ("synchronous=NORMAL", "foreign_keys=ON", "cache_size=-64000", "wal_autocheckpoint=4000"):
                raw.execute(f"PRAGMA {pragma}")
        except BaseException:
            raw.close()
            raise
        return raw

    def _use_wal(self, raw: sqlite3.Connection) -> None:
        """Two processes may do this to one fresh file at once; SQLite then refuses instead of waiting."""
        end = time.monotonic() + self._busy_s
        while True:
            try:
                mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                if mode != "wal":
                    raise StoreError(f"run store {self.name} cannot use write-ahead logging here (it stays {mode!r})")
                return

    def _write_all(self, jobs: "SimpleQueue[_Job | None]") -> None:
        engine: Engine | None = None
        connection: Connection | None = None
        opened: FileId | None = None
        while (job := jobs.get()) is not None:
            work, durable, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with named(self.name):
                    if connection is None:
                        self._open()
                        engine = self._writing_engine()
                        connection = engine.connect()
                        opened = file_id(self.path)
                    still_there(self.path, opened)
                    result = _in_transaction(connection, work, durable)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        if connection is not None:
            connection.close()
        if engine is not None:
            engine.dispose()


def _in_transaction(connection: Connection, work: Work[T], durable: bool) -> T:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    if durable:  # cannot be changed within the transaction
        raw.execute("PRAGMA synchronous=FULL")
    try:
        with connection.begin():
            return work(connection)
    finally:
        if durable:
            raw.execute("PRAGMA synchronous=NORMAL")
