"""Results kept in this process, for agents without a store."""

import heapq
import math
import threading
import time
from collections.abc import Callable, Iterable
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


class _Heap:
    """Numbers with keys, lowest first; what has become untrue is left in until it comes up, or there is much of it."""

    def __init__(self, all_now: Callable[[], Iterable[tuple[float, str]]], true: Callable[[float, str], bool]) -> None:
        self._heap: list[tuple[float, str]] = []
        self._all_now = all_now
        self._true = true
        self._most = 64

    def push(self, number: float, key: str) -> None:
        """Add a key, or move it."""
        heapq.heappush(self._heap, (number, key))
        if len(self._heap) > self._most:
            self._heap = list(self._all_now())
            heapq.heapify(self._heap)
            self._most = 64 + 4 * len(self._heap)

    def first(self) -> tuple[float, str] | None:
        """The lowest number that is still true, and its key."""
        while self._heap and not self._true(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None


class MemoryCache:
    """Results in memory, up to `cache_mb` MiB; the least worth keeping go first (`catp.cache.worth`). Thread-safe.

    Raises:
        ValueError: `cache_mb` is not above zero.
    """

    def __init__(self, cache_mb: float = DEFAULT_MB, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        if not cache_mb > 0:
            raise ValueError(f"cache_mb must be more than zero, not {cache_mb!r}")
        self._room = int(cache_mb * (1 << 20))
        self._age = AgeClock(now_ns)
        self._kept: dict[str, _Kept] = {}
        self._ranks = _Heap(lambda: ((kept.rank, key) for key, kept in self._kept.items()), self._is_rank)
        self._ends = _Heap(lambda: ((kept.expires_ns, key) for key, kept in self._kept.items()), self._is_end)
        self._lock = threading.Lock()
        self._clock = 0.0
        self.size = 0
        self.problem: str | None = None

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: str) -> Found | None:
        """See `CallCache.get`."""
        with self._lock:
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
        with self._lock:
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
            self._ends.push(expires, key)
            self._rank(key, kept)

    async def drop(self, key: str) -> None:
        """See `CallCache.drop`."""
        with self._lock:
            self._forget(key)

    def used(self, key: str, times: int) -> None:
        """See `CallCache.used`."""
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and times:
                kept.uses += times
                self._rank(key, kept)

    def _rank(self, key: str, kept: _Kept) -> None:
        kept.rank = priority(self._clock, kept.uses, worth(kept.entry.price, kept.entry.ms), kept.size)
        self._ranks.push(kept.rank, key)

    def _sweep(self, now: int) -> None:
        """Forget what has expired."""
        while (first := self._ends.first()) is not None and first[0] < now:
            self._forget(first[1])

    def _evict(self) -> None:
        lowest = self._ranks.first()
        assert lowest is not None
        self._clock = lowest[0]
        self._forget(lowest[1])

    def _is_rank(self, number: float, key: str) -> bool:
        return key in self._kept and self._kept[key].rank == number

    def _is_end(self, number: float, key: str) -> bool:
        return key in self._kept and self._kept[key].expires_ns == number

    def _forget(self, key: str) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.size -= kept.size
