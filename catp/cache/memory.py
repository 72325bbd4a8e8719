"""Results kept in this process, for agents without a store."""

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from catp.cache.age import AgeClock
from catp.cache.worth import OVERHEAD, priority, worth
from catp.runtime.hooks import CacheEntry, Found

__all__ = ["DEFAULT_MB", "MemoryCache"]

DEFAULT_MB = 64.0


@dataclass(slots=True)
class _Kept:
    entry: CacheEntry
    made_ns: int
    expires_ns: float
    size: int
    uses: int
    rank: float


class MemoryCache:
    """Results in memory, up to `cache_mb` MiB; the least worth keeping go first (`catp.cache.worth`).

    Raises:
        ValueError: `cache_mb` is not above zero.
    """

    def __init__(self, cache_mb: float = DEFAULT_MB, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        if not cache_mb > 0:
            raise ValueError(f"cache_mb must be more than zero, not {cache_mb!r}")
        self._room = int(cache_mb * (1 << 20))
        self._age = AgeClock(now_ns)
        self._kept: dict[str, _Kept] = {}
        self._order: list[tuple[float, str]] = []
        self._ends: list[tuple[float, str]] = []
        self._clock = 0.0
        self.size = 0
        self.problem: str | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: str) -> Found | None:
        """See `CallCache.get`."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._age.now_ns()
        if now > kept.expires_ns:
            self._forget(key)
            return None
        return Found(kept.entry, (now - kept.made_ns) / 1e9)

    async def put(self, key: str, entry: CacheEntry, life_s: float) -> None:
        """See `CallCache.put`; a result larger than the whole cache is not kept."""
        self._forget(key)
        size = len(entry.encoded.data) + OVERHEAD
        if size > self._room:
            return
        now = self._age.now_ns()
        expires = math.inf if life_s == math.inf else now + life_s * 1e9
        self._sweep(now)
        while self.size + size > self._room:
            self._evict()
        self._kept[key] = kept = _Kept(entry, now, expires, size, 1, 0.0)
        self.size += size
        if expires < math.inf:
            heapq.heappush(self._ends, (expires, key))
        self._rank(key, kept)

    async def drop(self, key: str) -> None:
        """See `CallCache.drop`."""
        self._forget(key)

    def used(self, key: str, times: int) -> None:
        """See `CallCache.used`."""
        kept = self._kept.get(key)
        if kept is not None and times:
            kept.uses += times
            self._rank(key, kept)

    def _rank(self, key: str, kept: _Kept) -> None:
        kept.rank = priority(self._clock, kept.uses, worth(kept.entry.price, kept.entry.ms), kept.size)
        heapq.heappush(self._order, (kept.rank, key))
        if len(self._order) > 64 + 4 * len(self._kept):  # mostly ranks that are out of date
            self._order = [(kept.rank, key) for key, kept in self._kept.items()]
            heapq.heapify(self._order)

    def _sweep(self, now: int) -> None:
        """Forget what has expired."""
        while self._ends and self._ends[0][0] < now:
            expires, key = heapq.heappop(self._ends)
            kept = self._kept.get(key)
            if kept is not None and kept.expires_ns == expires:
                self._forget(key)

    def _evict(self) -> None:
        rank, key = heapq.heappop(self._order)
        kept = self._kept.get(key)
        if kept is not None and kept.rank == rank:
            self._clock = rank
            self._forget(key)

    def _forget(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept.size
