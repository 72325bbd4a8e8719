"""What is kept in memory: eviction against a brute-force reference, bounds, lifetimes, clocks that are set back."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.cache import MemoryCache
from catp.cache.age import AgeClock
from catp.cache.worth import OVERHEAD, worth
from catp.planlang.money import Money
from catp.runtime.codec import Encoded
from catp.runtime.hooks import CacheEntry

HOUR = 3_600_000_000_000


def entry(size: int, price: int | None = 0, ms: float = 0.0) -> CacheEntry:
    return CacheEntry("t", "1", Encoded("bytes", "", b"x" * size), None if price is None else Money(price), ms)


class Reference:
    """GreedyDual-Size-Frequency, taken literally: look at everything, throw out the lowest, move the clock to it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.clock = 0.0
        self.kept: dict[str, list[Any]] = {}  # entry, uses, priority

    def put(self, key: str, new: CacheEntry) -> None:
        self.kept.pop(key, None)
        size = len(new.encoded.data) + OVERHEAD
        if size > self.room:
            return
        while sum(len(e.encoded.data) + OVERHEAD for e, *_ in self.kept.values()) + size > self.room:
            lowest = min(self.kept, key=lambda k: (self.kept[k][2], k))
            self.clock = self.kept.pop(lowest)[2]
        self.kept[key] = [new, 1, self._priority(new, 1)]

    def used(self, key: str, times: int) -> None:
        if key in self.kept:
            self.kept[key][1] += times
            self.kept[key][2] = self._priority(*self.kept[key][:2])

    def _priority(self, kept: CacheEntry, uses: int) -> float:
        return self.clock + uses * worth(kept.price, kept.ms) / (len(kept.encoded.data) + OVERHEAD)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("abcdefgh"), st.integers(0, 6000), st.sampled_from([None, 0, 10**5, 10**7, 10**9]),
        st.floats(0, 1e5), st.integers(0, 3),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(STEPS, st.sampled_from([2, 8, 16]))
async def test_the_least_worth_keeping_go_first(steps: list[tuple[Any, ...]], kib: int) -> None:
    cache, reference = MemoryCache(kib / 1024), Reference(kib * 1024)
    for key, size, price, ms, uses in steps:
        if uses:
            cache.used(key, uses)
            reference.used(key, uses)
        else:
            await cache.put(key, entry(size, price, ms), math.inf)
            reference.put(key, entry(size, price, ms))
        assert {k for k in "abcdefgh" if await cache.get(k)} == set(reference.kept)
        assert cache.size <= kib * 1024


async def test_dear_small_and_popular_results_stay() -> None:
    cache = MemoryCache(8 * 1024 / 2**20)
    await cache.put("dear", entry(1000, 10**9), math.inf)
    await cache.put("cheap", entry(1000, 10**3), math.inf)
    await cache.put("popular", entry(1000, 10**5), math.inf)
    await cache.put("large", entry(3000, 10**5), math.inf)
    cache.used("popular", 50)
    await cache.put("new", entry(1500, 10**8), math.inf)
    await cache.put("newer", entry(1500, 10**8), math.inf)
    assert [key for key in ("dear", "cheap", "popular", "large", "new", "newer") if await cache.get(key)] == [
        "dear", "popular", "new", "newer",
    ]  # fmt: skip


async def test_a_dear_result_that_nobody_asks_for_goes_in_the_end() -> None:
    cache = MemoryCache(4 * 1024 / 2**20)
    await cache.put("once dear", entry(1000, 10**6), math.inf)
    for place in range(2000):
        await cache.put(f"later {place}", entry(1000, 10**5), math.inf)
    assert await cache.get("once dear") is None


async def test_lifetimes_and_clocks_set_back() -> None:
    now = 1_700_000_000_000_000_000
    cache = MemoryCache(1, now_ns=lambda: now)
    await cache.put("ten minutes", entry(10), 600.0)
    await cache.put("ever", entry(10), math.inf)
    now += 300 * 10**9
    found = await cache.get("ten minutes")
    assert found is not None
    assert found.age_s == 300
    now -= 24 * HOUR  # somebody corrects the clock
    found = await cache.get("ten minutes")
    assert found is not None
    assert found.age_s == 300
    now += 301 * 10**9
    assert await cache.get("ten minutes") is None
    kept = await cache.get("ever")
    assert kept is not None
    assert kept.age_s == 601
    now += 10**9
    await cache.put("new", entry(10), 10.0)
    assert await cache.get("new") is not None


async def test_what_has_expired_makes_room_before_anything_else() -> None:
    now = 0
    cache = MemoryCache(4 * 1024 / 2**20, now_ns=lambda: now)
    await cache.put("expired and dear", entry(1000, 10**9), 1.0)
    await cache.put("cheap", entry(1000, 1), math.inf)
    now += 2 * 10**9
    await cache.put("new", entry(1500, 1), math.inf)
    assert await cache.get("cheap") is not None
    assert len(cache) == 2


async def test_a_result_larger_than_the_cache_is_not_kept() -> None:
    cache = MemoryCache(4 * 1024 / 2**20)
    await cache.put("small", entry(100), math.inf)
    await cache.put("small", entry(10_000), math.inf)
    await cache.put("large", entry(10_000), math.inf)
    assert (len(cache), cache.size) == (0, 0)  # nor is what it replaces


def test_a_cache_needs_room() -> None:
    with pytest.raises(ValueError, match="cache_mb must be more than zero"):
        MemoryCache(0)


@given(st.lists(st.tuples(st.integers(0, 10), st.integers(-50, 50)), max_size=30))
def test_the_age_clock_never_goes_back(moves: list[tuple[int, int]]) -> None:
    now = 1000
    clock = AgeClock(lambda: now)
    last = clock.now_ns()
    for on, jump in moves:
        now += on
        assert clock.now_ns() >= last + on
        last = clock.now_ns()
        now += jump
        clock.seen(last - 5)
        assert clock.now_ns() >= last + max(0, jump)
        last = clock.now_ns()
