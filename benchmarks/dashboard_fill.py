"""A large run store for benchmarks of the dashboard, written straight into the tables of a SQLite file.

100,000 runs of eight calls over 40 tools, 4 projects, 5 policies, 60 days: as the projections of such runs would be,
with one event each. Through the store's own path it would take a quarter of an hour.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from catp.store.rollups import _NOTHING
from catp.store.store import RunStore

__all__ = ["CALLS", "fill"]

CALLS, TOOLS, PROJECTS, POLICIES, DAYS = 8, 40, 4, 5, 60
STATUSES = ["complete"] * 84 + ["degraded"] * 8 + ["failed"] * 5 + ["cancelled"] * 2 + ["running"]
_DAY_NS = 86_400_000_000_000
_RUN = """
INSERT INTO runs (id, project, agent, task, plan_hash, policy, status, created_ns, ended_ns, est_cost_p50, cost_nano,
    saved_nano, unpriced, budget_nano, est_latency_ms, latency_ms, alpha, predicted_quality)
VALUES (?, ?, '', ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, 900.0, ?, 0.8, 0.7)
"""
_STEP = "INSERT INTO steps (run_id, step, status, reason, tool, calls, saved_nano) VALUES (?, ?, ?, '', ?, 1, 0)"
_CALL = """
INSERT INTO calls (run_id, step, element, attempt, tool, version, alternative, outcome, cached, started_ns, ended_ns,
    cost_nano, ms, error_type, reason)
VALUES (?, ?, -1, 1, ?, '1', 0, ?, 0, ?, ?, ?, ?, ?, NULL)
"""
_COST = """
INSERT INTO costs (run_id, seq, ts_ns, step, attempt, tool, kind, quantity, unit, amount_nano, source, priced, overrun,
    note)
VALUES (?, ?, ?, ?, 1, ?, 'call', 1.0, 'call', ?, 'declared', 1, 0, '')
"""
_EVENT = "INSERT INTO events (run_id, run_seq, ts_ns, type, data_json) VALUES (?, 1, ?, 'run.created', ?)"
_ROLLUPS = """
INSERT INTO rollup_day (day, project, kind, name, pruned, n, ok, cached, cost_nano, saved_nano, unpriced, ms_sum,
    ms_hist)
SELECT date(k.started_ns / 1000000000, 'unixepoch'), r.project, 'tool', k.tool, 0, COUNT(*), SUM(k.outcome = 'ok'), 0,
    SUM(k.cost_nano), 0, 0, SUM(k.ms), ?
FROM calls k JOIN runs r ON r.id = k.run_id GROUP BY 1, 2, 4
UNION ALL
SELECT date(created_ns / 1000000000, 'unixepoch'), project, 'policy', policy, 0, COUNT(*), SUM(status = 'complete'), 0,
    SUM(cost_nano), 0, 0, SUM(COALESCE(latency_ms, 0)), ?
FROM runs GROUP BY 1, 2, 4
"""
_PLANS = 50


def fill(path: Path, runs: int, seed: int = 7) -> None:
    """Make a store with that many runs, the newest of them of now."""
    store = RunStore(path)
    store.list()
    store.close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA synchronous=OFF")
    raw.execute("PRAGMA cache_size=-200000")
    with raw:
        raw.executemany(
            "INSERT INTO plans (hash, source, ast_json, n_nodes, created_ns) VALUES (?, ?, '{}', ?, 0)",
            [(f"{number:064x}", _plan(number), CALLS) for number in range(_PLANS)],
        )
        rows: dict[str, list[tuple[Any, ...]]] = {sql: [] for sql in (_RUN, _STEP, _CALL, _COST, _EVENT)}
        for count, (sql, row) in enumerate(_rows(runs, Random(seed), time.time_ns()), 1):
            rows[sql].append(row)
            if count % 200_000 == 0:
                _flush(raw, rows)
        _flush(raw, rows)
        raw.execute(_ROLLUPS, (_NOTHING, _NOTHING))
    raw.close()


def _plan(number: int) -> str:
    steps = [f"s{place} = tool_{(number + place) % TOOLS:02d}({'t' if not place else f's{place - 1}'})"
             for place in range(CALLS)]  # fmt: skip
    return "\n".join(["in t: text", *steps, f"out s{CALLS - 1}", ""])


def _flush(raw: sqlite3.Connection, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    for sql, waiting in rows.items():
        raw.executemany(sql, waiting)
        waiting.clear()


def _rows(runs: int, rng: Random, now_ns: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for number in range(runs):
        run_id = f"01M{number:023d}"
        at = now_ns - (runs - number) * DAYS * _DAY_NS // runs
        status = rng.choice(STATUSES)
        times = [rng.lognormvariate(5.0, 1.0) for _ in range(CALLS)]
        amounts = [rng.randint(1_000, 500_000) for _ in range(CALLS)]
        plan = f"{rng.randrange(_PLANS):064x}"
        ended = None if status == "running" else at + round(sum(times) * 1e6)
        yield _RUN, (
            run_id, f"p{rng.randrange(PROJECTS)}", f"read page {number} and tell me its language",
            plan, f"policy {rng.randrange(POLICIES)}", status, at, ended, sum(amounts),
            sum(amounts), rng.choice([None, 5_000_000]), None if ended is None else sum(times),
        )  # fmt: skip
        yield _EVENT, (run_id, at, json.dumps({"plan": plan, "task": "a task"}))
        for place, (ms, amount) in enumerate(zip(times, amounts, strict=True)):
            step, tool = f"s{place}", f"tool_{rng.randrange(TOOLS):02d}"
            failed = status == "failed" and place == CALLS - 1
            yield _STEP, (run_id, step, "failed" if failed else "ok", tool)
            outcome, error = ("error", "ValueError") if failed else ("ok", None)
            yield _CALL, (run_id, step, tool, outcome, at, at + round(ms * 1e6), amount, ms, error)
            yield _COST, (run_id, place + 1, at, step, tool, amount)
