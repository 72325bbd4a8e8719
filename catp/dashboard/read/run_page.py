"""One run without its values: nodes with estimates and actual figures, slack, critical path, forecast.

    cost of the run = sum over its nodes + planning = sum of its ledger rows

Critical path and slack are of the work as it went so far: what has ended counts with the time it took, the rest with
the estimate. forecast = spent + what the unfinished nodes are still expected to cost; where nothing is known of one, it
is at least what the plan was quoted at, and null if it had no price.
`run_figures` is what a page that has all nodes asks while the run goes on: only those that something happened to.
"""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from catp.dashboard.actions import approval_json
from catp.dashboard.forms import WORKED, iso, ms_between, run_row, usd
from catp.dashboard.read.graph import parents
from catp.dashboard.read.history import Typical, typical
from catp.planlang.critical import schedule
from catp.planlang.money import parse_usd
from catp.planlang.nodes import Plan, Step
from catp.planlang.parser import parse
from catp.planlang.registry_view import PriceRange
from catp.runtime.planning import PLANNING_STEP
from catp.store import queries
from catp.store.approvals import pending
from catp.store.records import RunSummary, StoredStep
from catp.store.statements import query

__all__ = ["run_figures", "run_page"]

_OVER = frozenset({"ok", "failed", "skipped", "refused", "poisoned", "cancelled"})
_ENDED = frozenset({"complete", "degraded", "failed", "cancelled"})
_DONE = frozenset({"complete", "degraded"})
_OPEN = frozenset({"pending", "ready", "waiting_approval"})
_SPANS = 200
"""Calls of one node that are told one by one."""


def run_page(connection: Connection, run_id: str, store: str) -> dict[str, Any]:
    """Return the page of a run; raise `KeyError` if there is none."""
    run = queries.find(connection, run_id, store)
    plan, before = _plan(queries.plan_source(connection, run.plan_hash))
    steps = {step.step: step for step in queries.steps(connection, run.id)}
    ledger = _ledger(connection, run.id)
    calls = _calls(connection, run.id)
    over = run.status in _ENDED
    past: dict[str, Typical | None] = {}
    nodes = []
    for planned in plan.steps:
        tool = _tool(planned, steps.get(planned.name))
        if tool not in past:
            past[tool] = typical(connection, tool, without=run.id)
        nodes.append(
            _node(planned.name, tool, steps.get(planned.name), calls.get(planned.name, []), ledger, past[tool], run)
            | {"parents": before[planned.name], "in_plan": True, "mapped": planned.mapped}
        )
    gone = [name for name in dict.fromkeys([*steps, *ledger]) if name not in before and name != PLANNING_STEP]
    nodes += [
        _node(
            name, steps[name].tool if name in steps else None, steps.get(name), calls.get(name, []), ledger, None, run
        )
        | {"parents": [], "in_plan": False, "mapped": False}
        for name in gone  # steps of a plan that a repair replaced
    ]
    times = schedule(before, {node["id"]: _duration(node, over) for node in nodes if node["in_plan"]})
    critical = set(times.path)
    for node in nodes:
        node["slack_ms"] = round(times.slack[node["id"]], 3) if node["in_plan"] else None
        node["critical"] = node["id"] in critical
    spent = sum(amount for amount, _, _ in ledger.values())
    planning = ledger.get(PLANNING_STEP, (0, 0, 0))
    return {
        **run_row(run),
        "nodes": nodes,
        "planning": {"cost": usd(planning[0]), "rows": planning[1], "unpriced": planning[2]},
        "ledger": {"total": usd(spent), "rows": sum(rows for _, rows, _ in ledger.values())},
        "plans": _plans(connection, run.id),
        "critical_path": list(times.path), "critical_ms": round(times.length, 3),
        **_ahead(run, before, nodes),
        "approvals": [approval_json(one) for one in pending(connection, run_id=run.id, now_ns=time.time_ns())],
        "forecast": _forecast(nodes, spent, over, sum(unpriced for _, _, unpriced in ledger.values()), run.estimate),
        "progress": {"total": len(plan.steps), "done": sum(n["in_plan"] and n["status"] in WORKED for n in nodes)},
        "last_seq": _last(connection, "run_seq", run.id), "last_event_id": _last(connection, "seq", run.id),
    }  # fmt: skip


def run_figures(connection: Connection, run_id: str, store: str, since: int) -> dict[str, Any]:
    """Return `run_page` with only those nodes of which an event comes after event `since`.

    `times` has `[slack_ms, starts_ms]` of all.
    """
    page = run_page(connection, run_id, store)
    sql = "SELECT DISTINCT step FROM events WHERE run_id = ? AND run_seq > ? AND step IS NOT NULL"
    moved = {row.step for row in query(connection, sql, page["id"], since)}
    times = {node["id"]: [node["slack_ms"], node["starts_ms"]] for node in page["nodes"] if node["in_plan"]}
    return {**page, "nodes": [node for node in page["nodes"] if node["id"] in moved], "times": times}


@lru_cache(maxsize=64)
def _plan(source: str) -> tuple[Plan, dict[str, list[str]]]:
    plan = parse(source)
    return plan, parents(plan)


def _plans(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """The plan the run began with, and those that repairs gave it."""
    rows = query(
        connection, "SELECT ts_ns, data_json FROM events WHERE run_id = ? AND type IN ('run.created', 'run.replanned') "
        "ORDER BY run_seq", run_id,
    )  # fmt: skip
    return [{"hash": json.loads(row.data_json)["plan"], "since": iso(row.ts_ns)} for row in rows]


def _ahead(run: RunSummary, before: Mapping[str, list[str]], nodes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is expected of a run that goes on: when its open nodes start, if nothing has to wait, and when it ends.

    Times are in ms from its start, by the clock of this server, which is told as well.
    """
    for node in nodes:
        node["starts_ms"] = None
    if run.status != "running":
        return {"now_ms": None, "ends_ms": None}
    now = max(0.0, (time.time_ns() - run.created_ns) / 1e6)  # 0 for a run that another clock dates into the future
    left = {node["id"]: max(0.0, _duration(node, False) - _elapsed(node)) for node in nodes if node["in_plan"]}
    times = schedule(before, left)
    for node in nodes:
        if node["status"] in _OPEN and node["in_plan"]:
            node["starts_ms"] = round(now + times.start[node["id"]], 3)
    return {"now_ms": round(now, 3), "ends_ms": round(now + times.length, 3)}


def _elapsed(node: Mapping[str, Any]) -> float:
    """How long a node has been at work, in ms; all of its time if it is over."""
    if node["status"] in _OVER:
        return float(node["actual"]["ms"] or 0.0)
    if node["status"] != "running" or node["actual"]["start"] is None:
        return 0.0
    return max(0.0, (time.time() - datetime.fromisoformat(node["actual"]["start"]).timestamp()) * 1000)


def _tool(planned: Step, step: StoredStep | None) -> str:
    return step.tool if step is not None and step.tool is not None else planned.attempts[0].tool


def _last(connection: Connection, column: str, run_id: str) -> int:
    return int(query(connection, f"SELECT COALESCE(MAX({column}), 0) AS n FROM events WHERE run_id = ?", run_id)[0].n)


def _ledger(connection: Connection, run_id: str) -> dict[str, tuple[int, int, int]]:
    """Amount, rows and unpriced rows by step."""
    rows = query(
        connection, "SELECT step, COALESCE(SUM(amount_nano), 0) AS amount, COUNT(*) AS n, "
        "COUNT(amount_nano) AS priced FROM costs WHERE run_id = ? GROUP BY step", run_id,
    )  # fmt: skip
    return {row.step: (int(row.amount), int(row.n), int(row.n) - int(row.priced)) for row in rows}


def _calls(connection: Connection, run_id: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for row in query(
        connection, "SELECT step, element, attempt, alternative, cached, outcome, started_ns, ended_ns, "
        "reserved_nano, est_cost_nano, est_ms, p95_ms, error_type, reason FROM calls WHERE run_id = ? "
        "ORDER BY step, element, attempt", run_id,
    ):  # fmt: skip
        found.setdefault(row.step, []).append(row)
    return found


def _node(
    name: str, tool: str | None, step: StoredStep | None, calls: Sequence[Any],
    ledger: Mapping[str, tuple[int, int, int]], past: Typical | None, run: Any,
) -> dict[str, Any]:  # fmt: skip
    # of a plan that was done, what nothing is known of was needed by no output
    status = step.status if step is not None else "skipped" if run.status in _DONE else "pending"
    if run.status == "interrupted" and status in ("running", "ready"):
        status = "lost"  # nobody drives it any more
    amount, rows, unpriced = ledger.get(name, (0, 0, 0))
    cost = amount if rows > unpriced else step.cost if step is not None and not rows else None
    began, ended = (None, None) if step is None else (step.started_ns, step.ended_ns)
    failed = next((call for call in reversed(calls) if call.error_type or call.outcome in ("error", "timeout")), None)
    error = None
    if status not in ("ok", "skipped") and failed is not None:
        error = {"type": failed.error_type or failed.outcome, "reason": failed.reason}
    return {
        "id": name, "tool": tool, "status": status, "reason": step.reason if step is not None else "",
        "elements": len({call.element for call in calls}) or None,
        "calls": len(calls), "attempt": max((call.attempt for call in calls), default=0),
        "est": _estimate(calls, past),
        "actual": {
            "cost": usd(cost), "saved": usd(step.saved if step is not None else 0), "unpriced": unpriced, "rows": rows,
            "ms": ms_between(began, ended), "start_ms": ms_between(run.created_ns, began),
            "end_ms": ms_between(run.created_ns, ended),
            "queue_ms": ms_between(step.ready_ns if step is not None else None, began),
            "start": iso(began), "end": iso(ended),
        },
        "cached": bool(calls) and all(call.cached for call in calls), "error": error,
        "spans": _spans(calls, run.created_ns) if len(calls) > 1 else [],
    }  # fmt: skip


def _spans(calls: Sequence[Any], from_ns: int) -> list[list[Any]]:
    """`[attempt, start_ms, end_ms, outcome]` of calls, where a node made several."""
    return [
        [call.attempt, ms_between(from_ns, call.started_ns), ms_between(from_ns, call.ended_ns), call.outcome]
        for call in calls[:_SPANS]
    ]


def _estimate(calls: Sequence[Any], past: Typical | None) -> dict[str, Any]:
    """What was said when the calls began, if every first call has it; else what the tool used to take.

    A tool without a profile says 0 ms: then the time is what it used to be as well.
    """
    first = {call.element: call for call in reversed(calls)}.values()
    if first and all(call.est_cost_nano is not None and call.est_ms is not None for call in first):
        low = sum(call.est_cost_nano for call in first)
        high = sum(max(call.est_cost_nano, call.reserved_nano or 0) for call in first)
        if high == low and past is not None and past.cost is not None and past.cost[0]:
            # held at the expected price, which says nothing of how far off that may be
            high = round(low * past.cost[1] / past.cost[0])
        ms = max(call.est_ms for call in first)
        late = max(max(call.est_ms, call.p95_ms or 0.0) for call in first)
        if not late and past is not None:
            ms, late = (round(value, 3) for value in past.ms)
        return {
            "source": "call",
            "n": None,
            "cost": {"p50": usd(low), "p90": usd(high)},
            "ms": {"p50": ms, "p90": late},
        }
    if past is None:
        nothing = {"p50": None, "p90": None}
        return {"source": None, "n": 0, "cost": nothing, "ms": nothing}
    p50, p90 = (None, None) if past.cost is None else past.cost
    return {
        "source": "history", "n": past.n, "cost": {"p50": usd(p50), "p90": usd(p90)},
        "ms": {"p50": round(past.ms[0], 3), "p90": round(past.ms[1], 3)},
    }  # fmt: skip


def _duration(node: Mapping[str, Any], over: bool) -> float:
    if node["status"] in _OVER or over:
        return max(0.0, node["actual"]["ms"] or 0.0)
    return max(_elapsed(node), node["est"]["ms"]["p50"] or 0.0)


def _forecast(
    nodes: Sequence[Mapping[str, Any]], spent: int, over: bool, unpriced_rows: int, quoted: PriceRange
) -> dict[str, Any]:
    open_ = [] if over else [node for node in nodes if node["in_plan"] and node["status"] not in _OVER]
    unknown = [node["id"] for node in open_ if node["est"]["cost"]["p50"] is None]
    sums = {"p50": spent, "p90": spent}
    for node in open_:
        paid = parse_usd(node["actual"]["cost"] or "0")
        for quantile in sums:
            said = node["est"]["cost"][quantile]
            sums[quantile] += 0 if said is None else max(0, parse_usd(said) - paid)
    least = sums["p50"]
    if unknown and quoted.expected is not None:  # no history of a tool, but the plan as a whole had a price
        sums = {"p50": max(sums["p50"], quoted.expected), "p90": max(sums["p90"], quoted.p95 or quoted.expected)}
        unknown = []
    whole = not unknown and not unpriced_rows
    return {
        "p50": usd(sums["p50"]) if whole else None, "p90": usd(sums["p90"]) if whole else None,
        "at_least": usd(least), "unpriced_nodes": unknown, "unpriced_rows": unpriced_rows,
    }  # fmt: skip
