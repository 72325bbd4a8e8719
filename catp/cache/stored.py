"""Results kept in the run store, where every process that uses the store finds them.

Values lie in the rows of the table `cache` themselves, so that its size bounds what is on the disk. Processes share the
rows but not the clock of the priorities: each starts from the lowest priority it finds and moves on as it evicts.
"""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection

from catp.cache.age import AgeClock
from catp.cache.worth import OVERHEAD, priority, worth
from catp.planlang.money import Money
from catp.runtime.codec import Encoded
from catp.runtime.hooks import CacheEntry, Found
from catp.store.database import Database
from catp.store.errors import StoreError
from catp.store.statements import execute, query

__all__ = ["DEFAULT_MB", "StoredCache", "ToolUse", "clear", "usage"]

T = TypeVar("T")
DEFAULT_MB = 256.0
_LARGEST = 0.25
"""Share of the cache that one result may take."""
_EVICT_TO = 0.95
"""A full cache is emptied to this share: its size is counted when it is full, and not at every result."""
_RECOUNT = 256
"""Results after which the size is counted again, since other processes write too."""
_REST_S = 30.0
"""How long a store that failed is left alone."""

_GET = """
SELECT tool, version, codec, mime, inline, price_nano, ms, created_ns, expires_ns, used_ns FROM cache WHERE key = ?
"""
_PUT = """
INSERT INTO cache (key, tool, version, codec, mime, inline, bytes, price_nano, ms, created_ns, expires_ns, used_ns,
    hits, priority) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)
ON CONFLICT (key) DO UPDATE SET tool = excluded.tool, version = excluded.version, codec = excluded.codec,
    mime = excluded.mime, inline = excluded.inline, sha256 = NULL, bytes = excluded.bytes,
    price_nano = excluded.price_nano, ms = excluded.ms, created_ns = excluded.created_ns,
    expires_ns = excluded.expires_ns, used_ns = excluded.used_ns, hits = 0, priority = excluded.priority
"""
_USED = """
UPDATE cache SET hits = hits + ?, used_ns = ?, priority = ? + (1 + hits + ?) * (COALESCE(price_nano, 0) + ms) / bytes
WHERE key = ?
"""
_DELETE = "DELETE FROM cache WHERE key = ?"


class StoredCache:
    """Results in a run store's database, up to `cache_mb` MiB; the least worth keeping go first (`catp.cache.worth`).

    A store that fails is left alone for half a minute; `problem` says why.

    Raises:
        ValueError: `cache_mb` is not above zero.
    """

    def __init__(
        self, database: Database, cache_mb: float = DEFAULT_MB, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        if not cache_mb > 0:
            raise ValueError(f"cache_mb must be more than zero, not {cache_mb!r}")
        self.problem: str | None = None
        self._database = database
        self._room = int(cache_mb * (1 << 20))
        self._age = AgeClock(now_ns)
        self._opened = False
        self._clock = 0.0
        self._size = 0
        self._puts = 0
        self._uses: dict[str, int] = {}
        self._lock = threading.Lock()  # guards `_uses`, which the event loop fills and the database's thread empties
        self._resting_until = 0.0

    async def get(self, key: str) -> Found | None:
        """See `CallCache.get`."""
        row = await self._guarded(lambda: self._database.aread(partial(self._read, key=key)))
        if row is None:
            return None
        if not _sound(row):
            await self.drop(key)
            return None
        self._age.seen(row.used_ns)
        now = self._age.now_ns()
        if row.inline is None or (row.expires_ns is not None and now > row.expires_ns):
            return None
        price = None if row.price_nano is None else Money(row.price_nano)
        entry = CacheEntry(row.tool, row.version, Encoded(row.codec, row.mime, bytes(row.inline)), price, row.ms)
        return Found(entry, (now - row.created_ns) / 1e9)

    async def put(self, key: str, entry: CacheEntry, life_s: float) -> None:
        """See `CallCache.put`; a result larger than a quarter of the cache is not kept."""
        if len(entry.encoded.data) + OVERHEAD <= self._room * _LARGEST:
            write = partial(self._write, key=key, entry=entry, life_s=life_s)
            await self._guarded(lambda: self._database.awrite(write))

    async def drop(self, key: str) -> None:
        """See `CallCache.drop`."""
        await self._guarded(lambda: self._database.awrite(partial(execute, sql=_DELETE, rows=[(key,)])))

    def used(self, key: str, times: int) -> None:
        """See `CallCache.used`. Uses are written together, when the database gets to it."""
        if not times or self._resting:
            return
        with self._lock:
            first = not self._uses
            self._uses[key] = self._uses.get(key, 0) + times
        if first:
            self._database.submit_write(self._count)

    # --- in a transaction, on a thread of the database --------------------------------------------------------------

    def _read(self, connection: Connection, key: str) -> Any:
        self._open(connection)
        rows = query(connection, _GET, key)
        return rows[0] if rows else None

    def _open(self, connection: Connection) -> None:
        """Learn from what is there: the time, the clock of the priorities, the size."""
        if not self._opened:
            sql = "SELECT MAX(used_ns) AS latest, MIN(priority) AS clock, SUM(bytes) AS size FROM cache"
            found = query(connection, sql)[0]
            self._age.seen(found.latest or 0)
            self._clock = max(self._clock, found.clock or 0.0)
            self._size = int(found.size or 0)
            self._opened = True

    def _write(self, connection: Connection, key: str, entry: CacheEntry, life_s: float) -> None:
        self._open(connection)
        now = self._age.now_ns()
        size = len(entry.encoded.data) + OVERHEAD
        self._puts += 1
        if self._size + size > self._room or self._puts % _RECOUNT == 0:
            execute(connection, _DELETE, [(key,)])
            self._make_room(connection, size, now)
        expires = None if life_s == math.inf else now + round(life_s * 1e9)
        rank = priority(self._clock, 1, worth(entry.price, entry.ms), size)
        encoded = entry.encoded
        row = (
            key, entry.tool, entry.version, encoded.codec, encoded.mime, encoded.data, size, entry.price, entry.ms, now,
            expires, now, rank,
        )  # fmt: skip
        execute(connection, _PUT, [row])
        self._size += size

    def _make_room(self, connection: Connection, size: int, now: int) -> None:
        execute(connection, "DELETE FROM cache WHERE expires_ns < ?", [(now,)])
        self._size = int(query(connection, "SELECT COALESCE(SUM(bytes), 0) AS size FROM cache")[0].size)
        if self._size + size <= self._room:
            return
        while self._size + size > self._room * _EVICT_TO:
            lowest = query(connection, "SELECT key, bytes, priority FROM cache ORDER BY priority LIMIT 100")
            gone = []
            for row in lowest:
                if self._size + size <= self._room * _EVICT_TO:
                    break
                gone.append((row.key,))
                self._size -= row.bytes
                self._clock = max(self._clock, row.priority)
            execute(connection, _DELETE, gone)
            if not gone:
                break

    def _count(self, connection: Connection) -> None:
        with self._lock:
            uses, self._uses = self._uses, {}
        now = self._age.now_ns()
        rows = [(times, now, self._clock, times, key) for key, times in uses.items()]
        execute(connection, _USED, rows)

    # --- failures ---------------------------------------------------------------------------------------------------

    @property
    def _resting(self) -> bool:
        return time.monotonic() < self._resting_until

    async def _guarded(self, work: Callable[[], Awaitable[T]]) -> T | None:
        if self._resting:
            return None
        try:
            return await work()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever is wrong with the store, calls can be made without it
            self.problem = str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"
            self._resting_until = time.monotonic() + _REST_S
            return None


class ToolUse(NamedTuple):
    """What the cache holds of one tool: results, bytes, how often they were used, what that saved (nano-USD)."""

    tool: str
    results: int
    bytes: int
    hits: int
    saved: Money


def usage(connection: Connection) -> list[ToolUse]:
    """Return what is kept, by tool, the largest first."""
    rows = query(
        connection,
        "SELECT tool, COUNT(*) AS n, SUM(bytes) AS size, SUM(hits) AS hits, "
        "SUM(hits * COALESCE(price_nano, 0)) AS saved FROM cache GROUP BY tool ORDER BY size DESC, tool",
    )
    return [ToolUse(row.tool, int(row.n), int(row.size), int(row.hits), Money(int(row.saved))) for row in rows]


def clear(connection: Connection, tool: str | None = None) -> int:
    """Forget all results, or those of one tool; return how many."""
    where, parameters = ("", ()) if tool is None else (" WHERE tool = ?", (tool,))
    found = query(connection, f"SELECT COUNT(*) AS n FROM cache{where}", *parameters)[0].n
    execute(connection, f"DELETE FROM cache{where}", [parameters])
    return int(found)


def _sound(row: Any) -> bool:
    """True if the numbers of a row can be what was written: SQLite keeps whatever a damaged or edited file holds."""
    counts = (row.used_ns, row.created_ns, *(n for n in (row.price_nano, row.expires_ns) if n is not None))
    return all(isinstance(n, int) and n >= 0 for n in counts) and isinstance(row.ms, int | float) and row.ms >= 0
