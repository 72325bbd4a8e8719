"""The run store: events a second with their projections, a page of the run list, what a journal costs a running plan.

    .venv/bin/python benchmarks/store.py [--quick]

1. Events of 12-step runs (51 events each) through journals until all is committed: events, steps, calls, ledger rows,
   sums of runs and days. Peers, which keep events only: a commit for every event with SQLAlchemy's ORM (the naive way),
   with sqlite3, and one `executemany` of everything (the floor). Bar: 30,000 events a second.
2. The newest page of 20 and one in the middle of 100,000 runs, all projects and one; the same with OFFSET, and by
   reading everything and slicing. Bar: 5 ms.
3. A plan of 200 no-op steps, side by side, without a journal, with one, and with a durable wait at every step: added
   microseconds a step on the event loop (CPU of its thread) and in the process. The same on PostgreSQL where one runs
   (`CATP_BENCH_POSTGRES=postgresql://...`).

The machine is shared: rates are the best of several, events per second of CPU time stand beside those per second, and
the load is reported.
"""

import argparse
import asyncio
import json
import os
import platform
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.runtime.hooks import Journal
from catp.runtime.ids import new_run_id
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run
from catp.store.records import NewRun
from catp.store.statements import execute
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool

RESULTS = Path(__file__).parent / "results" / "store.json"
BAR_EVENTS, BAR_PAGE_MS = 30_000, 5.0


@tool(price=PerCall("0.001"))
async def work(text: str) -> str:
    return text


CATALOGUE = Catalogue([work])


def chain(steps: int) -> CompiledPlan:
    names = [f"s{n}" for n in range(steps)]
    lines = [f"{name} = work({before})" for name, before in zip(names, ["t", *names], strict=False)]
    return compiled("\n".join(["in t: text", *lines, f"out {names[-1]}"]))


def fan(steps: int) -> CompiledPlan:
    lines = [f's{n} = work("text {n}") @after(first)' for n in range(steps)]
    outputs = ", ".join(f"s{n}" for n in range(steps))
    return compiled("\n".join(["in t: text", "first = work(t)", *lines, f"out first, {outputs}"]))


def compiled(source: str) -> CompiledPlan:
    return compile_plan(parse(source), CATALOGUE.view(), estimator=CATALOGUE.estimator(), facts={})


def new_run(plan: CompiledPlan, run_id: str | None = None) -> NewRun:
    return NewRun(run_id or new_run_id(), plan.digest, "plan", {}, len(plan.plan.steps))


async def recorded(plan: CompiledPlan) -> Sequence[RunEvent]:
    about = {"task": "a task", "policy": "search", "project": "p", "agent": "bot"}
    run = Run(plan, {"t": "text"}, CATALOGUE, ledger=Ledger(), about=about)
    return (await run.wait()).events


# --- 1. events a second ---------------------------------------------------------------------------------------------


async def journalled(
    target: Path | str, plan: CompiledPlan, events: Sequence[RunEvent], runs: int
) -> tuple[float, float]:
    """Seconds, and of CPU time, until every event of so many runs, mixed, is committed."""
    store = RunStore(target)
    journals = [store.begin(new_run(plan)) for _ in range(runs)]
    batches = [[event._replace(run_id=journal.run_id) for journal in journals] for event in events]
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        for journal, event in zip(journals, batch, strict=True):
            journal.event(event)
    problems = await asyncio.gather(*(journal.close() for journal in journals))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert problems == [None] * runs
    assert store.find(journals[-1].run_id).cost > 0
    store.close()
    return seconds, cpu


def event_tuple(event: RunEvent) -> tuple[Any, ...]:
    data = json.dumps(dict(event.data))
    return (event.run_id, event.seq, event.at_ns, event.type, event.step, event.attempt, event.element, data)


TABLE = """CREATE TABLE events (seq INTEGER PRIMARY KEY, run_id TEXT, run_seq INTEGER, ts_ns INTEGER, type TEXT,
step TEXT, attempt INTEGER, element INTEGER, data TEXT, UNIQUE (run_id, run_seq))"""
INSERT = (
    "INSERT INTO events (run_id, run_seq, ts_ns, type, step, attempt, element, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def sqlite_peer(path: Path, events: Sequence[RunEvent], *, together: bool) -> float:
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("PRAGMA journal_mode=WAL")
    raw.execute("PRAGMA synchronous=NORMAL")
    raw.execute(TABLE)
    start = time.perf_counter()
    if together:
        raw.execute("BEGIN")
        raw.executemany(INSERT, map(event_tuple, events))
        raw.execute("COMMIT")
    else:
        for event in events:
            raw.execute(INSERT, event_tuple(event))
    seconds = time.perf_counter() - start
    raw.close()
    return seconds


class Base(DeclarativeBase):
    pass


class OrmEvent(Base):
    __tablename__ = "events"
    seq: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    run_seq: Mapped[int]
    ts_ns: Mapped[int]
    type: Mapped[str]
    step: Mapped[str | None]
    attempt: Mapped[int | None]
    element: Mapped[int | None]
    data: Mapped[str]


def orm_peer(path: Path, events: Sequence[RunEvent]) -> float:
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    names = ("run_id", "run_seq", "ts_ns", "type", "step", "attempt", "element", "data")
    start = time.perf_counter()
    with Session(engine) as session:
        for event in events:
            session.add(OrmEvent(**dict(zip(names, event_tuple(event), strict=True))))
            session.commit()
    seconds = time.perf_counter() - start
    engine.dispose()
    return seconds


async def rates(folder: Path, quick: bool) -> dict[str, float]:
    plan = chain(12)
    events = await recorded(plan)
    runs, tries = (100, 1) if quick else (600, 5)
    rows: dict[str, float] = {}

    async def best(name: str, target: Callable[[int], Path | str]) -> None:
        times = [await journalled(target(n), plan, events, runs) for n in range(tries)]
        for of, column in zip(("", ", per CPU second"), zip(*times, strict=True), strict=True):
            rows[f"journal, {name}, with projections{of}"] = runs * len(events) / min(column)

    await best("SQLite", lambda n: folder / f"ours{n}.db")
    url = os.environ.get("CATP_BENCH_POSTGRES")
    if url:
        await best("PostgreSQL", lambda n: url)
    many = [event._replace(run_id=new_run_id()) for event in events for _ in range(runs)]
    rows["sqlite3, one executemany, events only"] = len(many) / min(
        sqlite_peer(folder / f"floor{n}.db", many, together=True) for n in range(tries)
    )
    few = many[: 500 if quick else 3000]
    rows["sqlite3, a commit each, events only"] = len(few) / min(
        sqlite_peer(folder / f"each{n}.db", few, together=False) for n in range(tries)
    )
    rows["SQLAlchemy ORM, a commit each, events only"] = len(few) / orm_peer(folder / "orm.db", few)
    return {name: round(rate) for name, rate in rows.items()}


# --- 2. pages -------------------------------------------------------------------------------------------------------

ADD_RUN = """INSERT INTO runs (id, project, agent, task, plan_hash, policy, status, created_ns, ended_ns, est_cost_lo,
est_cost_p50, est_cost_hi, cost_nano, saved_nano, unpriced, latency_ms) VALUES
(?, ?, '', ?, ?, 'search', 'complete', ?, ?, 1, 2, 3, ?, 0, 0, 1000.0)"""


def fill(store: RunStore, plan: CompiledPlan, runs: int) -> list[str]:
    first = time.time_ns() - runs * 10**9
    ids = [f"01M{n:023d}" for n in range(runs)]
    rows = [
        (id_, "one" if n % 50 == 0 else f"p{n % 7}", f"task {n} of many, with some text", plan.digest, first + n, n, n)
        for n, id_ in enumerate(ids)
    ]
    store.begin(new_run(plan))
    store.database.write(lambda connection: execute(connection, ADD_RUN, rows))
    return ids


def milliseconds(question: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        question()
        times.append(time.perf_counter() - start)
    return round(statistics.median(times) * 1e3, 3)


def pages(folder: Path, quick: bool) -> dict[str, float]:
    count, repeat = (5_000, 5) if quick else (100_000, 51)
    store = RunStore(folder / "pages.db")
    ids = fill(store, chain(12), count)
    middle = ids[count // 10]
    raw = sqlite3.connect(folder / "pages.db")
    everything = "SELECT * FROM runs ORDER BY id DESC"

    def offset() -> object:
        return raw.execute(f"{everything} LIMIT 20 OFFSET {count * 9 // 10}").fetchall()

    found = {
        "newest page": milliseconds(lambda: store.list(limit=20), repeat),
        "a page 90 % down": milliseconds(lambda: store.list(limit=20, before=middle), repeat),
        "a page of one project": milliseconds(lambda: store.list(limit=20, before=middle, project="one"), repeat),
        "a page of running runs": milliseconds(lambda: store.list(limit=20, status="running"), repeat),
        "one run, whole": milliseconds(lambda: store.get(middle), repeat),
        "peer: OFFSET, 90 % down": milliseconds(offset, min(repeat, 11)),
        "peer: read all, slice": milliseconds(lambda: raw.execute(everything).fetchall()[-20:], min(repeat, 3)),
    }
    raw.close()
    store.close()
    return found


# --- 3. what a journal costs a run ----------------------------------------------------------------------------------


class Careful:
    """A journal that is waited for after every event, as if every step wrote to the world."""

    def __init__(self, journal: Any) -> None:
        self.event, self.value, self.durable = journal.event, journal.value, journal.durable


async def per_step(store: RunStore | None, plan: CompiledPlan, steps: int) -> tuple[float, float]:
    """CPU microseconds a step: on the event loop's thread, and in the process."""
    run_id = new_run_id()
    opened = store.begin(new_run(plan, run_id)) if store is not None else None
    journal: Journal | None = opened
    run = Run(plan, {"t": "text"}, CATALOGUE, ledger=Ledger(), run_id=run_id, journal=journal)
    loop, process = time.thread_time(), time.process_time()
    await run.wait()
    on_loop = time.thread_time() - loop
    if opened is not None:
        assert await opened.close() is None
    return on_loop / steps * 1e6, (time.process_time() - process) / steps * 1e6


async def overhead(folder: Path, quick: bool) -> dict[str, dict[str, float]]:
    steps, tries = 200, 3 if quick else 15
    plan = fan(steps)
    store = RunStore(folder / "overhead.db")
    found: dict[str, dict[str, float]] = {}
    for name, kept in (("no journal", None), ("journal", store)):
        times = [await per_step(kept, plan, steps) for _ in range(tries)]
        loop, process = (min(column) for column in zip(*times, strict=True))
        found[name] = {"loop_us": round(loop, 1), "process_us": round(process, 1)}
    run = new_run(plan)
    journal = store.begin(run)
    events = await recorded(plan)
    waits = []
    for event in events[:100]:
        journal.event(event._replace(run_id=run.run_id))
        start = time.perf_counter()
        await journal.durable()
        waits.append(time.perf_counter() - start)
    await journal.close()
    found["a durable wait"] = {"median_us": round(statistics.median(waits) * 1e6, 1)}
    store.close()
    return found


async def measure(quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("CATP_BENCH_DIR")) as name:
        folder = Path(name)
        return {
            "events_per_second": await rates(folder, quick),
            "page_ms": pages(folder, quick),
            "per_step": await overhead(folder, quick),
        }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="few repetitions; results are not stored")
    quick = parser.parse_args().quick
    load = os.getloadavg()[0]
    found = asyncio.run(measure(quick))
    for name, rate in found["events_per_second"].items():
        print(f"{name:57}{rate:>12,} events/s")
    for name, ms in found["page_ms"].items():
        print(f"{name:57}{ms:>12.3f} ms")
    for name, row in found["per_step"].items():
        print(f"{name:57}" + ", ".join(f"{key} {value}" for key, value in row.items()))
    ours = found["events_per_second"]["journal, SQLite, with projections"]
    worst = max(ms for name, ms in found["page_ms"].items() if not name.startswith("peer"))
    print(f"bars: {ours:,} of {BAR_EVENTS:,} events/s; worst page {worst} of {BAR_PAGE_MS} ms; load {load:.1f}")
    if quick:
        return
    machine = {
        "python": platform.python_version(), "machine": platform.machine(), "sqlite": sqlite3.sqlite_version,
        "cpus": len(os.sched_getaffinity(0)), "load_1m_before": round(load, 2),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"benchmark": "store", "machine": machine, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
