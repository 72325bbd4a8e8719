"""What the cache of results costs and saves: microseconds per hit, and money against other ways to evict.

    .venv/bin/python benchmarks/cache.py [--quick]

Costs: CPU time of runs of 200 independent calls of tools that take no time, per call. Peers in the same run: the same
calls without a cache, `functools.cache` (a lookup and nothing else) and one `SELECT` on the same SQLite file.

Savings: traces of priced calls (popularity by Zipf's law, sizes and prices log-normal), played against the eviction of
`MemoryCache` (GreedyDual-Size-Frequency with prices) and, in caches of the same size, LRU, LFU, the same rule without
prices, and a cache without a bound. The figure is the share of all money that was not spent.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import random
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from catp.cache import MemoryCache
from catp.cache.stored import StoredCache, clear
from catp.cache.worth import OVERHEAD
from catp.planlang.money import Money
from catp.runtime.clock import VirtualClock
from catp.runtime.codec import Encoded, decode, digest_arguments, encode
from catp.runtime.flights import Flights
from catp.runtime.hooks import CacheEntry
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run
from catp.runtime.testing import FakeCatalogue, compiled
from catp.store.store import RunStore

RESULTS = Path(__file__).parent / "results" / "cache.json"
CALLS = 200


class Bench:
    """Runs of `CALLS` independent calls, each with its own text."""

    def __init__(self, life_s: float | None, flights: Flights | None) -> None:
        self.clock = VirtualClock()
        self.tools = FakeCatalogue(self.clock)
        self.tools.add("t", cache_ttl_s=life_s)
        self.flights = flights
        steps = "\n".join(f's{place} = t("text {place}")' for place in range(CALLS))
        outputs = ", ".join(f"s{place}" for place in range(CALLS))
        self.plan = compiled(f"{steps}\nout {outputs}", self.tools)

    async def run_us(self) -> float:
        run = Run(self.plan, {}, self.tools, ledger=Ledger(), clock=self.clock, flights=self.flights)
        start = time.process_time()
        await run.wait()
        if self.flights is not None:
            await self.flights.settle()
        return (time.process_time() - start) / CALLS * 1e6


async def costs(repeat: int, folder: Path) -> dict[str, float]:
    """Microseconds of CPU time per call (of all threads), medians of so many runs."""
    store = RunStore(folder / "runs.db")
    kept = Flights(MemoryCache())
    stored = Flights(StoredCache(store.database))
    benches = {
        "no cache": Bench(None, None),
        "cache, tool did not opt in": Bench(None, kept),
        "hit in memory": Bench(600.0, kept),
        "hit in the run store (SQLite)": Bench(600.0, stored),
    }
    for bench in benches.values():  # fills the caches
        await bench.run_us()
    times: dict[str, list[float]] = {}
    for _ in range(repeat):  # interleaved, so that a busy moment hits all of them
        for name, bench in benches.items():
            times.setdefault(name, []).append(await bench.run_us())
        times.setdefault("miss, kept in memory", []).append(await Bench(600.0, Flights(MemoryCache())).run_us())
    for _ in range(min(repeat, 5)):
        store.database.write(clear)
        times.setdefault("miss, kept in the run store", []).append(await Bench(600.0, stored).run_us())
    store.close()
    found = {name: round(statistics.median(taken), 1) for name, taken in times.items()}
    return found | floors(repeat * CALLS, folder / "runs.db")


def floors(count: int, path: Path) -> dict[str, float]:
    """What a lookup costs at least, in microseconds."""

    @cache
    def echo(text: str) -> str:
        return text

    texts = [f"text {place}" for place in range(CALLS)] * (count // CALLS)
    start = time.perf_counter()
    for text in texts:
        echo(text)
    cached = time.perf_counter() - start
    raw = sqlite3.connect(path)
    keys = [row[0] for row in raw.execute("SELECT key FROM cache")]
    start = time.perf_counter()
    for place in range(count):
        raw.execute("SELECT inline FROM cache WHERE key = ?", (keys[place % len(keys)],)).fetchone()
    selected = time.perf_counter() - start
    raw.close()
    return {"functools.cache": round(cached / count * 1e6, 3), "one SELECT": round(selected / count * 1e6, 1)}


def values(repeat: int) -> dict[str, dict[str, float]]:
    """Milliseconds to encode, decode and digest values, and their bytes."""
    samples = {
        "text, 1 kB": "x" * 1000,
        "list of 1,000 records": [{"id": place, "score": place / 7, "name": f"item {place}"} for place in range(1000)],
        "photo-like image, 1 MP": Image.effect_noise((1000, 1000), 20).convert("RGB"),
        "flat image, 1 MP": Image.linear_gradient("L").resize((1000, 1000)).convert("RGB"),
    }
    found = {}
    for name, value in samples.items():
        encoded = encode(value)
        assert encoded.codec is not None
        found[name] = {
            "encode_ms": _ms(repeat, lambda value=value: encode(value)),
            "decode_ms": _ms(repeat, lambda e=encoded: decode(e.codec or "", e.data)),
            "digest_ms": _ms(repeat, lambda value=value: digest_arguments("t", "1", {"x": value})),
            "bytes": len(encoded.data),
        }
    return found


def _ms(repeat: int, work: Any) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e3, 3)


# --- what eviction saves ------------------------------------------------------------------------------------------


def trace(rng: random.Random, keys: int, calls: int, *, drift: bool) -> tuple[list[int], list[int], list[int]]:
    """Return sizes in bytes and prices in nano-USD by key, and the keys in the order in which they are asked for."""
    sizes = [max(64, min(1 << 20, round(rng.lognormvariate(9.0, 1.5)))) for _ in range(keys)]
    prices = [round(rng.lognormvariate(15.0, 2.0)) for _ in range(keys)]
    weights = [1 / (rank + 1) ** 0.8 for rank in range(keys)]
    order = list(range(keys))
    rng.shuffle(order)
    asked = [order[rank] for rank in rng.choices(range(keys), weights, k=calls // 2)]
    if drift:
        rng.shuffle(order)
    return sizes, prices, asked + [order[rank] for rank in rng.choices(range(keys), weights, k=calls - calls // 2)]


class Simple:
    """A cache that evicts by recency (LRU) or by count (LFU, ties by recency)."""

    def __init__(self, room: int, *, by_count: bool) -> None:
        self.room, self.by_count = room, by_count
        self.kept: OrderedDict[int, int] = OrderedDict()
        self.counts: dict[int, int] = {}
        self.size = 0

    def ask(self, key: int, size: int) -> bool:
        self.counts[key] = self.counts.get(key, 0) + 1
        if key in self.kept:
            self.kept.move_to_end(key)
            return True
        while self.kept and self.size + size > self.room:
            gone = min(self.kept, key=self.counts.__getitem__) if self.by_count else next(iter(self.kept))
            self.size -= self.kept.pop(gone)
        if size <= self.room:
            self.kept[key] = size
            self.size += size
        return False


async def saved_by_ours(room: int, sizes: list[int], prices: list[int], asked: list[int], *, priced: bool) -> float:
    buffer = memoryview(bytes(1 << 20))
    ours, saved = MemoryCache(room / (1 << 20)), 0
    for key in asked:
        name = str(key)
        if await ours.get(name) is not None:
            ours.used(name, 1)
            saved += prices[key]
        else:
            price = Money(prices[key] if priced else 1_000_000)
            data: Any = buffer[: sizes[key]]
            await ours.put(name, CacheEntry("t", "1", Encoded("bytes", "", data), price, 0.0), math.inf)
    return saved / sum(prices[key] for key in asked)


def saved_by(other: Simple, sizes: list[int], prices: list[int], asked: list[int]) -> float:
    saved = sum(prices[key] for key in asked if other.ask(key, sizes[key] + OVERHEAD))
    return saved / sum(prices[key] for key in asked)


async def savings(seeds: int, keys: int, calls: int) -> Iterator[dict[str, Any]]:
    """Share of the money saved, by the size of the cache; means over so many traces."""
    found = []
    for drift in (False, True):
        for share in (0.01, 0.05, 0.2):
            rows: dict[str, list[float]] = {}
            for seed in range(seeds):
                sizes, prices, asked = trace(random.Random(seed), keys, calls, drift=drift)
                room = round(share * sum(size + OVERHEAD for size in sizes))
                first = {key: prices[key] for key in asked}
                for name, value in {
                    "GDSF with prices": await saved_by_ours(room, sizes, prices, asked, priced=True),
                    "GDSF without prices": await saved_by_ours(room, sizes, prices, asked, priced=False),
                    "LRU": saved_by(Simple(room, by_count=False), sizes, prices, asked),
                    "LFU": saved_by(Simple(room, by_count=True), sizes, prices, asked),
                    "no bound": 1 - sum(first.values()) / sum(prices[key] for key in asked),
                }.items():
                    rows.setdefault(name, []).append(value)
            means = {name: round(statistics.mean(values), 4) for name, values in rows.items()}
            ratios = {f"over {name}": round(means["GDSF with prices"] / means[name], 2) for name in ("LRU", "LFU")}
            found.append({"popularity": "drifts" if drift else "stays", "cache_share": share, **means, **ratios})
    return iter(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few repetitions; results are not stored")
    quick = parser.parse_args().quick
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="catp-cache-"))
    try:
        per_call = asyncio.run(costs(3 if quick else 25, folder))
    finally:
        shutil.rmtree(folder)
    of_values = values(3 if quick else 15)
    table = list(asyncio.run(savings(1 if quick else 5, 1000 if quick else 3000, 5000 if quick else 40_000)))
    for name, us in per_call.items():
        print(f"{name:32}{us:>10} us")
    for name, row in of_values.items():
        print(f"{name:24} " + ", ".join(f"{what} {value:,}" for what, value in row.items()))
    for row in table:
        print("  ".join(f"{what} {value}" for what, value in row.items()))
    if quick:
        return
    machine = {
        "python": platform.python_version(), "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)), "load_1m_before": round(load, 2),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    found = {"benchmark": "cache", "machine": machine, "us_per_call": per_call, "values": of_values, "saved": table}
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
