"""What metering costs and how honest it is: overhead per placement, billing under contention, peaks sampling misses.

    .venv/bin/python benchmarks/metering.py [--quick]

Peers in the same run: `ProcessPoolExecutor` (a call in a process, unmetered) for the overhead, wall-clock billing for
contention, and resident memory sampled every 100 ms for peaks.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from catp.tools import Tool, WorkerPool, tool
from catp.tools.meter import CallMeter

RESULTS = Path(__file__).parent / "results" / "metering.json"
POOL = WorkerPool(size=1)


@tool(pool=POOL)
def in_process(text: str) -> str:
    return text


@tool(placement="thread")
def in_thread(text: str) -> str:
    return text


@tool()
async def in_loop(text: str) -> str:
    return text


@tool(pool=POOL)
def compute(rounds: int) -> int:
    return sum(n * n % 7 for n in range(rounds))


@tool(pool=POOL)
def transient(megabytes: int) -> int:
    block = bytearray(megabytes << 20)
    block[::4096] = b"x" * len(block[::4096])
    return len(block)


def plain(text: str) -> str:
    return text


async def micros(call: Callable[[], Awaitable[Any]], count: int) -> float:
    """Median microseconds of one call after the other."""
    for _ in range(5):
        await call()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        await call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


async def overhead(count: int) -> dict[str, float]:
    rows: dict[str, float] = {}
    tools: tuple[Tool[Any, Any], ...] = (in_loop, in_thread, in_process)
    for one in tools:
        rows[one.spec.name] = await micros(partial(one.spec.backend.call, {"text": "x"}, timeout=60), count)
    big = "x" * (1 << 20)
    rows["in_process, 1 MB both ways"] = await micros(
        partial(in_process.spec.backend.call, {"text": big}, timeout=60), count
    )
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(1) as pool:
        rows["ProcessPoolExecutor (unmetered)"] = await micros(lambda: loop.run_in_executor(pool, plain, "x"), count)
        rows["ProcessPoolExecutor, 1 MB both ways"] = await micros(
            lambda: loop.run_in_executor(pool, plain, big), count
        )
    meter = CallMeter()
    start = time.perf_counter()
    for _ in range(count):
        meter.start()
        meter.stop()
    rows["one CallMeter reading"] = (time.perf_counter() - start) / count * 1e6
    return {name: round(value, 1) for name, value in rows.items()}


@contextmanager
def burners(count: int) -> Iterator[None]:
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.3)
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


async def billed(calls: int, rounds: int) -> dict[str, float]:
    """Median CPU and wall milliseconds of the same computation, and their coefficient of variation."""
    usages = [(await compute.spec.backend.call({"rounds": rounds}, timeout=600)).usage for _ in range(calls)]
    found: dict[str, float] = {}
    for name in ("cpu_ms", "wall_ms"):
        values = [getattr(usage, name) for usage in usages]
        found[name] = round(statistics.median(values), 2)
        found[f"{name}_cv"] = round(statistics.stdev(values) / statistics.mean(values), 3)
    return found


async def contention(calls: int, rounds: int) -> dict[str, Any]:
    await compute.spec.backend.call({"rounds": 1}, timeout=60)
    idle = await billed(calls, rounds)
    with burners(2 * len(os.sched_getaffinity(0))):
        busy = await billed(calls, rounds)
    return {
        "idle": idle, "busy": busy,
        "cpu_busy_over_idle": round(busy["cpu_ms"] / idle["cpu_ms"], 3),
        "wall_busy_over_idle": round(busy["wall_ms"] / idle["wall_ms"], 3),
    }  # fmt: skip


def sampled_peak(pid: int, stop: threading.Event, found: list[float]) -> None:
    """What a monitor that looks every 100 ms sees."""
    while not stop.is_set():
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            found.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20))
        stop.wait(0.1)


async def peaks(repeat: int, megabytes: int = 100) -> dict[str, float]:
    """How many of so many transient megabytes each method sees, in the median call."""
    before = set(POOL.pids)
    await transient.spec.backend.call({"megabytes": 1}, timeout=60)
    (pid,) = set(POOL.pids) - before
    base = (await transient.spec.backend.call({"megabytes": 0}, timeout=60)).usage.peak_mb
    kernel, sampled = [], []
    for _ in range(repeat):
        stop, seen = threading.Event(), [base]
        monitor = threading.Thread(target=sampled_peak, args=(pid, stop, seen))
        monitor.start()
        usage = (await transient.spec.backend.call({"megabytes": megabytes}, timeout=60)).usage
        stop.set()
        monitor.join()
        kernel.append(usage.peak_mb - base)
        sampled.append(max(seen) - base)
    return {
        "transient_mb": megabytes,
        "vmhwm_mb": round(statistics.median(kernel), 1),
        "sampled_100ms_mb": round(statistics.median(sampled), 1),
    }


async def measure(quick: bool) -> dict[str, Any]:
    return {
        "overhead_us": await overhead(100 if quick else 1000),
        "contention": await contention(5 if quick else 30, 200_000 if quick else 1_000_000),
        "peak_memory": await peaks(3 if quick else 20),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few repetitions; results are not stored")
    quick = parser.parse_args().quick
    load = os.getloadavg()[0]
    found = asyncio.run(measure(quick))
    POOL.close()
    for name, value in found["overhead_us"].items():
        print(f"{name:40}{value:>10.1f} us")
    for state in ("idle", "busy"):
        row = found["contention"][state]
        print(f"{state:10} cpu {row['cpu_ms']:8.1f} ms (cv {row['cpu_ms_cv']:.3f})   ", end="")
        print(f"wall {row['wall_ms']:8.1f} ms (cv {row['wall_ms_cv']:.3f})")
    ratios = found["contention"]
    print(f"busy/idle: cpu x{ratios['cpu_busy_over_idle']}, wall x{ratios['wall_busy_over_idle']}")
    print("peak of a transient: " + ", ".join(f"{name} {value}" for name, value in found["peak_memory"].items()))
    if quick:
        return
    machine = {
        "python": platform.python_version(), "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)), "load_1m_before": round(load, 2),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"benchmark": "metering", "machine": machine, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
