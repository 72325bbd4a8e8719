"""What holding money costs, and whether a cap holds: 1,000 runs x 20 calls under one budget in several processes.

    .venv/bin/python benchmarks/money.py [--quick]

Prices of the calls vary by a factor of ten, and half of the time reach three times what a mean-based estimate says.
Peers under the same load, in the same harness (a SQLite table that all processes share):

    check then act      asks whether the cap is reached, calls, adds what it cost
    reserve the mean    holds the mean price atomically, calls, adds what it cost
"""

import argparse
import asyncio
import json
import os
import platform
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from catp.budgets import BudgetDesk, transactions_of
from catp.planlang.compile import compile_plan
from catp.planlang.jsonform import to_json
from catp.planlang.money import Money, format_usd, usd
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.runtime.clock import WallClock
from catp.runtime.ids import new_run_id
from catp.runtime.ledger import CallKey, Ledger
from catp.runtime.limits import Limit
from catp.runtime.run import Run
from catp.runtime.slots import Slots
from catp.runtime.testing import FakeCatalogue
from catp.store.budgets import set_budget, standings
from catp.store.records import NewRun
from catp.store.store import RunStore
from catp.tools.usage import Charge

RESULTS = Path(__file__).parent / "results" / "money.json"
MEAN, WORST = usd("0.01"), usd("0.03")
"""The mean price of a call, and the highest: three times the mean."""
SLOTS = 64
CALLS = 20


def actual_price(rng: random.Random) -> int:
    """Between a third of the mean and three times the mean; the mean of all is `MEAN`."""
    low = MEAN // 3
    return low + round((WORST - low) * rng.betavariate(0.5, 1.5))


# --- one process ----------------------------------------------------------------------------------------------------


def micros(work: Callable[[], object], count: int, repeat: int = 5) -> float:
    """Best of `repeat` means, in microseconds."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        for _ in range(count):
            work()
        best = min(best, (time.perf_counter() - start) / count)
    return round(best * 1e6, 2)


def cost_of_holding(count: int) -> dict[str, float]:
    """Reserve + settle of one call, in microseconds."""
    charges = (Charge("call", 1.0, "call", "0.01", MEAN),)
    plenty = Money(10**18)

    def both(ledger: Ledger, limits: Iterable[Limit] = ()) -> None:
        held = ledger.reserve(CallKey("r", "s", 1, "t"), WORST, estimate=MEAN, within=tuple(limits))
        ledger.settle(held, charges)  # type: ignore[arg-type]  # never refused

    daily = Limit(plenty, "agent", scope="agent", period="day", warn=(0.5, 0.8, 1.0))
    spent = {"n": 0}

    def counter() -> None:
        if spent["n"] + MEAN <= plenty:
            spent["n"] += MEAN

    rows = {
        "ledger, one cap": micros(partial(both, Ledger(plenty)), count),
        "ledger, cap + agent's day + project": micros(
            partial(both, Ledger(plenty, within=(daily, Limit(plenty, "project")), warn=(0.8,))), count
        ),
        "peer: a counter that is checked": micros(counter, count),
    }
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder) / "catp.db")
        store.database.write(lambda c: set_budget(c, "project", "default", "day", plenty, (0.8,), time.time_ns()))
        desk = BudgetDesk(transactions_of(store.database))
        shared = Ledger(plenty, shared=desk)
        number = iter(range(10**9))

        def through_store() -> None:
            held = shared.reserve(CallKey("r", "s", next(number), "t"), WORST, estimate=MEAN)
            shared.release(held)  # type: ignore[arg-type]

        few = max(50, count // 50)
        rows["shared budget in SQLite, reserve + release"] = micros(through_store, few)
        times = []
        for _ in range(few):
            key = CallKey("r", "s", next(number), "t")
            start = time.perf_counter()
            desk.reserve(key, WORST, Money(0))
            times.append(time.perf_counter() - start)
            desk.release(key)
        rows["shared budget in SQLite, reserve alone"] = round(statistics.median(times) * 1e6, 2)
        desk.close()
        store.close()
    return rows


# --- many processes -------------------------------------------------------------------------------------------------


class Peer:
    """What many programs do instead; one row in a table of its own."""

    def __init__(self, path: str, hold: int) -> None:
        self.hold = hold
        self.db = sqlite3.connect(path, timeout=60, isolation_level=None)

    def ask(self) -> bool:
        """True if the call may be made."""
        if not self.hold:
            return bool(self.db.execute("SELECT spent < cap FROM purse").fetchone()[0])
        sql = "UPDATE purse SET held = held + ? WHERE spent + held + ? <= cap"
        return bool(self.db.execute(sql, (self.hold, self.hold)).rowcount)

    def add(self, amount: int) -> None:
        """The call cost so much."""
        self.db.execute("UPDATE purse SET spent = spent + ?, held = held - ?", (amount, self.hold))


async def peer_process(path: str, hold: int, runs: int, seed: int) -> dict[str, Any]:
    rng, peer, slots = random.Random(seed), Peer(path, hold), asyncio.Semaphore(SLOTS)
    made = 0

    async def call() -> None:
        nonlocal made
        async with slots:
            price, takes = actual_price(rng), rng.uniform(0.002, 0.02)
            if peer.ask():
                made += 1
                await asyncio.sleep(takes)
                peer.add(price)

    await asyncio.gather(*(call() for _ in range(runs * CALLS)))
    return {"calls": made}


async def our_process(path: str, reserve_worst: bool, runs: int, seed: int) -> dict[str, Any]:
    """`runs` recorded runs at once, each a plan of 20 parallel calls, all under the project's budget."""
    rng, clock = random.Random(seed), WallClock()
    tools = FakeCatalogue(clock)
    tools.add(
        "t", lambda x: x, takes_s=lambda _: rng.uniform(0.002, 0.02), actual=lambda _: actual_price(rng),
        p95=WORST if reserve_worst else MEAN, expected=MEAN,
    )  # fmt: skip
    lines = "\n".join(f"s{n} = t({n})" for n in range(CALLS))
    plan = parse(f"{lines}\nout {', '.join(f's{n}' for n in range(CALLS))}")
    compiled = compile_plan(plan, tools.view(), estimator=tools)
    store = RunStore(path, busy_s=120)
    desk, slots = BudgetDesk(transactions_of(store.database)), Slots(SLOTS)
    excess: list[int] = []

    async def one() -> tuple[int, int]:
        run_id = new_run_id()
        new = NewRun(run_id, compiled.digest, to_text(plan), to_json(plan), CALLS)
        journal = await asyncio.to_thread(store.begin, new)
        run = Run(
            compiled, {}, tools, ledger=Ledger(shared=desk), clock=clock, slots=slots, run_id=run_id, journal=journal,
            about={"project": "default"},
        )  # fmt: skip
        async with desk.alive(run_id):
            outcome = await run.wait()
        problem = await journal.close()
        assert problem is None, problem
        excess.extend((row.amount or 0) - (WORST if reserve_worst else MEAN) for row in outcome.rows if row.overrun)
        return len(outcome.rows), outcome.spent

    done = await asyncio.gather(*(one() for _ in range(runs)))
    desk.close()
    store.close()
    worst = sorted(excess, reverse=True)[:SLOTS]
    return {"calls": sum(calls for calls, _ in done), "spent": sum(s for _, s in done), "worst_excess": worst}


def crowd(kind: str, processes: int, runs: int, cap: int) -> dict[str, Any]:
    """Run `runs` runs in so many processes under one cap."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "catp.db")
        if kind.startswith("peer"):
            db = sqlite3.connect(path)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE purse (cap INTEGER, spent INTEGER, held INTEGER)")
            db.execute("INSERT INTO purse VALUES (?, 0, 0)", (cap,))
            db.commit()
        else:
            store = RunStore(path)
            store.database.write(
                lambda c: set_budget(c, "project", "default", "total", Money(cap), (0.5, 1.0), time.time_ns())
            )
            store.close()
        start = time.perf_counter()
        share = [runs // processes + (place < runs % processes) for place in range(processes)]
        workers = [
            subprocess.Popen(
                [sys.executable, __file__, "--worker", kind, path, str(count), str(seed)], stdout=subprocess.PIPE
            )
            for seed, count in enumerate(share)
        ]
        told: list[Mapping[str, Any]] = [json.loads(worker.communicate()[0]) for worker in workers]
        wall = time.perf_counter() - start
        bound = sum(sum(one.get("worst_excess", ())) for one in told)
        if kind.startswith("peer"):
            spent = db.execute("SELECT spent FROM purse").fetchone()[0]
        else:
            store = RunStore(path)
            ((standing),) = store.database.read(lambda c: standings(c, time.time_ns()))
            rows = sqlite3.connect(path).execute("SELECT SUM(amount_nano) FROM costs").fetchone()[0]
            spent = standing.spent
            assert spent == rows == sum(one["spent"] for one in told), (spent, rows)
            assert standing.reserved == 0
            store.close()
    calls = sum(one["calls"] for one in told)
    return {
        "runs": runs, "processes": processes, "calls_made": calls, "cap_usd": format_usd(Money(cap)),
        "spent_usd": format_usd(Money(spent)), "over_percent": round(max(0, spent / cap - 1) * 100, 3),
        "used_percent": round(spent / cap * 100, 2), "in_flight_error_percent": round(bound / cap * 100, 3),
        "seconds": round(wall, 1),
    }  # fmt: skip


KINDS = {
    "ours, estimates bound prices": "ours-bounded",
    "ours, prices up to 3x the estimate": "ours-mean",
    "peer: check then act": "peer-check",
    "peer: reserve the mean": "peer-mean",
}


def worker(kind: str, path: str, runs: str, seed: str) -> None:
    if kind.startswith("peer"):
        found = asyncio.run(peer_process(path, MEAN if kind == "peer-mean" else 0, int(runs), int(seed)))
    else:
        found = asyncio.run(our_process(path, kind == "ours-bounded", int(runs), int(seed)))
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few runs; results are not stored")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(*options.worker)
        return
    load = os.getloadavg()[0]
    runs, processes = (60, 3) if options.quick else (1000, 4)
    cap = runs * CALLS * MEAN // 4  # enough for a quarter of the calls
    holding = cost_of_holding(2_000 if options.quick else 20_000)
    for name, value in holding.items():
        print(f"{name:48}{value:>10.2f} us")
    crowds = {}
    for name, kind in KINDS.items():
        found = crowds[name] = crowd(kind, processes, runs, cap)
        used = f"{found['calls_made']:>6} calls, used {found['used_percent']:>7} %, over {found['over_percent']} %"
        print(f"{name:38} {used} (in flight {found['in_flight_error_percent']} %), {found['seconds']} s", flush=True)
    if options.quick:
        return
    machine = {
        "python": platform.python_version(), "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)), "load_1m_before": round(load, 2),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"benchmark": "money", "machine": machine, "holding_us": holding, "crowds": crowds}
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
