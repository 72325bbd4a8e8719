"""From events to rows: what lists and pages read of a run is folded from its events, and from nothing else.

`fold` is pure: events in, row changes out. `project` applies them. Changes are increments (`cost_nano + 12`), so a run
can be projected batch by batch, in order, each event once; `run.created` resets the row of its run, so projecting all
events again gives the same rows again.

The price of a call counts for the day and the budget period in which the call started.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.planlang.jsonform import to_json
from catp.planlang.money import parse_usd
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.store.budget_spend import Spend, spend
from catp.store.rollups import Roll, Rolls, apply_rolls
from catp.store.statements import ADD_PLAN, clean, execute
from catp.store.tables import NO_ELEMENT

__all__ = ["CallId", "Changes", "fold", "project"]


class CallId(NamedTuple):
    """The key of a call; `element` is -1 for a step that is not mapped."""

    run_id: str
    step: str
    element: int
    attempt: int


@dataclass(slots=True)
class _Run:
    cost: int = 0
    saved: int = 0
    unpriced: int = 0
    status: str | None = None
    ended_ns: int | None = None
    latency_ms: float | None = None


@dataclass(slots=True)
class _Step:
    status: str = "pending"
    reason: str | None = None
    tool: str | None = None
    calls: int = 0
    ready_ns: int | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    cost: int | None = None
    saved: int = 0


@dataclass(slots=True)
class Changes:
    """What a batch of events changes. Rows are tuples in the order of the statements below."""

    created: list[tuple[Any, ...]] = field(default_factory=list)
    runs: dict[str, _Run] = field(default_factory=dict)
    steps: dict[tuple[str, str], _Step] = field(default_factory=dict)
    started: dict[CallId, list[Any]] = field(default_factory=dict)
    settled: dict[CallId, tuple[Any, ...]] = field(default_factory=dict)
    costs: list[tuple[Any, ...]] = field(default_factory=list)
    spends: list[Spend] = field(default_factory=list)
    rolls: Rolls = field(default_factory=Rolls)
    replanned: list[tuple[str, str, str, int]] = field(default_factory=list)


def project(connection: Connection, events: Sequence[RunEvent]) -> None:
    """Bring the projections up to date with events that follow those projected before, in order.

    The plans of created runs must be there. Whoever appends events does both in one transaction.
    """
    _apply(connection, fold(events))


def fold(events: Sequence[RunEvent]) -> Changes:
    """Return what the events change; those of one run must be in order, different runs may be mixed."""
    changes = Changes()
    for event in events:
        handler = _HANDLERS.get(event.type)
        if handler is not None:
            handler(changes, event)
        elif event.type.startswith("node."):
            _on_transition(changes, event)
    return changes


# --- runs -----------------------------------------------------------------------------------------------------------


def _on_created(changes: Changes, event: RunEvent) -> None:
    data = event.data
    price = data.get("price") or {}
    changes.runs.pop(event.run_id, None)
    changes.rolls.created.append(event.run_id)
    changes.created.append(
        (
            event.run_id, clean(str(data.get("project") or "default")), clean(str(data.get("agent") or "")),
            clean(str(data.get("task") or "")), data["plan"], clean(str(data.get("policy") or "")), event.at_ns,
            _money(price.get("low")), _money(price.get("expected")), _money(price.get("p95")),
            _money(data.get("budget")), data.get("deadline_ms"), data.get("latency_ms"), data.get("alpha"),
            data.get("quality"), data.get("parent"), data.get("fork_step"),
        )
    )  # fmt: skip


def _run(changes: Changes, run_id: str) -> _Run:
    found = changes.runs.get(run_id)
    if found is None:
        found = changes.runs[run_id] = _Run()
    return found


def _on_resumed(changes: Changes, event: RunEvent) -> None:
    run = _run(changes, event.run_id)
    run.status, run.ended_ns = "running", None


def _on_run_over(changes: Changes, event: RunEvent) -> None:
    run = _run(changes, event.run_id)
    run.status = str(event.data["status"])
    run.latency_ms = event.data.get("ms")
    run.ended_ns = event.at_ns if event.type == "run.finished" else None
    if run.ended_ns is not None:
        changes.rolls.ended.append((event.run_id, run.status == "complete", run.latency_ms or 0.0))


def _on_replanned(changes: Changes, event: RunEvent) -> None:
    changes.replanned.append((event.run_id, event.data["plan"], event.data["source"], event.at_ns))


# --- steps ----------------------------------------------------------------------------------------------------------

_STATUS = {
    "node.ready": "ready", "node.awaiting_approval": "waiting_approval", "node.finished": "ok", "node.failed": "failed",
    "node.skipped": "skipped", "node.refused": "refused", "node.poisoned": "poisoned", "node.cancelled": "cancelled",
}  # fmt: skip
_BEFORE_RUNNING = frozenset({"pending", "ready", "waiting_approval"})


def _step(changes: Changes, event: RunEvent) -> _Step:
    assert event.step is not None
    key = (event.run_id, event.step)
    found = changes.steps.get(key)
    if found is None:
        found = changes.steps[key] = _Step()
    return found


def _on_transition(changes: Changes, event: RunEvent) -> None:
    """A step moves; events with an element or an attempt are about a part of it and change nothing here."""
    status = _STATUS.get(event.type)
    if status is None or event.step is None or event.attempt is not None or event.element is not None:
        return
    step = _step(changes, event)
    step.status = status
    step.reason = clean(str(event.data.get("reason") or ""))
    if status == "ready":
        step.ready_ns = event.at_ns
    elif status != "waiting_approval":
        step.ended_ns = event.at_ns
        step.tool = event.data.get("tool") or step.tool


# --- calls ----------------------------------------------------------------------------------------------------------


def _call_id(event: RunEvent) -> CallId:
    assert event.step is not None
    element = NO_ELEMENT if event.element is None else event.element
    return CallId(event.run_id, event.step, element, event.attempt or 0)


def _on_started(changes: Changes, event: RunEvent) -> None:
    data, step = event.data, _step(changes, event)
    step.calls += 1
    if step.status in _BEFORE_RUNNING:
        step.status = "running"
    if step.started_ns is None:
        step.started_ns = event.at_ns
    if event.element is None:
        step.tool = data["tool"]
    changes.started[_call_id(event)] = [
        data["tool"], data.get("version") or "1", data.get("alternative") or 0, data.get("key"), event.at_ns,
        _money(data.get("reserved")), _money(data.get("est")), data.get("est_ms"), data.get("p95_ms"),
    ]  # fmt: skip


def _on_settled(changes: Changes, event: RunEvent) -> None:
    data, step, call = event.data, _step(changes, event), _call_id(event)
    run = _run(changes, event.run_id)
    ms = data.get("ms")
    began = event.at_ns - round(ms * 1e6) if ms is not None else event.at_ns
    total: int | None = None
    saved = unpriced = 0
    for row in data.get("rows", ()):
        amount = _money(row.get("amount"))
        kept = _money(row.get("saved"))
        if amount is None:
            unpriced += 1
        else:
            total = (total or 0) + amount
        saved += kept or 0
        changes.costs.append(_cost_row(event, call, began, row, amount, kept))
    if total is None and not data.get("rows"):
        total = _money(data.get("amount"))  # a call that cost nothing has no rows
    if total is not None:
        step.cost = (step.cost or 0) + total
        run.cost += total
        changes.spends.append(Spend(call, began, total))
    step.saved += saved
    run.saved += saved
    run.unpriced += unpriced
    _roll(changes.rolls.call(event.run_id, began, str(data["tool"])), data, total or 0, saved, unpriced)
    usage, output = data.get("usage"), data.get("output")
    changes.settled[call] = (
        str(data["tool"]), data.get("outcome"), bool(data.get("cached")), began, event.at_ns, total, ms,
        data.get("size"), None if usage is None else json.dumps(usage), None if output is None else json.dumps(output),
        data.get("error"), None if "reason" not in data else clean(str(data["reason"])),
    )  # fmt: skip


def _roll(roll: Roll, data: Mapping[str, Any], cost: int, saved: int, unpriced: int) -> None:
    ok, cached = data.get("outcome") == "ok", bool(data.get("cached"))
    roll.n += 1
    roll.ok += ok
    roll.cached += cached
    roll.cost += cost
    roll.saved += saved
    roll.unpriced += unpriced
    if ok and not cached:
        roll.took(data.get("ms") or 0.0)


def _cost_row(
    event: RunEvent, call: CallId, began: int, row: Mapping[str, Any], amount: int | None, saved: int | None
) -> tuple[Any, ...]:
    quantity = row.get("quantity")
    if quantity is not None and not math.isfinite(quantity):
        quantity = None
    return (
        event.run_id, row["seq"], began, call.step, call.attempt, event.element, event.data["tool"], row["kind"],
        quantity, row["unit"], row.get("unit_price"), amount, row["source"], bool(row["priced"]),
        _money(row.get("estimate")), bool(row.get("overrun")), saved, clean(row.get("note") or ""),
    )  # fmt: skip


@lru_cache(maxsize=8192)
def _amount(text: str) -> int:
    return parse_usd(text)


def _money(text: str | None) -> int | None:
    return None if text is None else _amount(text)


_HANDLERS = {
    "run.created": _on_created,
    "run.resumed": _on_resumed,
    "run.replanned": _on_replanned,
    "run.waiting": _on_run_over,
    "run.finished": _on_run_over,
    "node.started": _on_started,
    "node.settled": _on_settled,
}


# --- to the tables --------------------------------------------------------------------------------------------------

_CREATE_RUN = """
INSERT INTO runs (id, project, agent, task, plan_hash, policy, created_ns, est_cost_lo, est_cost_p50, est_cost_hi,
    budget_nano, deadline_ms, est_latency_ms, alpha, predicted_quality, parent_run_id, fork_step,
    status, cost_nano, saved_nano, unpriced)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'running', 0, 0, 0)
ON CONFLICT (id) DO UPDATE SET project = excluded.project, agent = excluded.agent, task = excluded.task,
    plan_hash = excluded.plan_hash, policy = excluded.policy, created_ns = excluded.created_ns,
    est_cost_lo = excluded.est_cost_lo, est_cost_p50 = excluded.est_cost_p50, est_cost_hi = excluded.est_cost_hi,
    budget_nano = excluded.budget_nano, deadline_ms = excluded.deadline_ms, est_latency_ms = excluded.est_latency_ms,
    alpha = excluded.alpha, predicted_quality = excluded.predicted_quality, parent_run_id = excluded.parent_run_id,
    fork_step = excluded.fork_step, status = 'running', cost_nano = 0, saved_nano = 0, unpriced = 0,
    ended_ns = NULL, latency_ms = NULL
"""

_CHANGE_RUN = """
UPDATE runs SET cost_nano = cost_nano + ?, saved_nano = saved_nano + ?, unpriced = unpriced + ?
WHERE id = ?
"""

_MOVE_RUN = """
UPDATE runs SET cost_nano = cost_nano + ?, saved_nano = saved_nano + ?, unpriced = unpriced + ?,
    status = ?, ended_ns = ?, latency_ms = ?
WHERE id = ?
"""

# 'pending' means that the events say nothing of the status; 'running' does not reopen a step that has ended.
_CHANGE_STEP = """
INSERT INTO steps (run_id, step, status, reason, tool, calls, ready_ns, started_ns, ended_ns, cost_nano, saved_nano)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, step) DO UPDATE SET
    status = CASE
        WHEN excluded.status = 'pending' THEN steps.status
        WHEN excluded.status = 'running' AND steps.status NOT IN ('pending', 'ready', 'waiting_approval')
        THEN steps.status ELSE excluded.status END,
    reason = CASE WHEN excluded.status IN ('pending', 'running') THEN steps.reason ELSE excluded.reason END,
    tool = coalesce(excluded.tool, steps.tool), calls = steps.calls + excluded.calls,
    ready_ns = coalesce(excluded.ready_ns, steps.ready_ns),
    started_ns = coalesce(steps.started_ns, excluded.started_ns),
    ended_ns = CASE WHEN excluded.status IN ('pending', 'running') AND excluded.ready_ns IS NULL THEN steps.ended_ns
        ELSE excluded.ended_ns END,
    cost_nano = CASE WHEN excluded.cost_nano IS NULL THEN steps.cost_nano
        ELSE coalesce(steps.cost_nano, 0) + excluded.cost_nano END,
    saved_nano = steps.saved_nano + excluded.saved_nano
"""

_START_CALL = """
INSERT INTO calls (run_id, step, element, attempt, tool, version, alternative, key, started_ns, reserved_nano,
    est_cost_nano, est_ms, p95_ms, cached, outcome, ended_ns, cost_nano, ms, size, usage_json, output_json, error_type,
    reason)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, step, element, attempt) DO UPDATE SET tool = excluded.tool, version = excluded.version,
    alternative = excluded.alternative, key = excluded.key, started_ns = excluded.started_ns,
    reserved_nano = excluded.reserved_nano, est_cost_nano = excluded.est_cost_nano, est_ms = excluded.est_ms,
    p95_ms = excluded.p95_ms, cached = excluded.cached, outcome = excluded.outcome, ended_ns = excluded.ended_ns,
    cost_nano = excluded.cost_nano, ms = excluded.ms, size = excluded.size, usage_json = excluded.usage_json,
    output_json = excluded.output_json, error_type = excluded.error_type, reason = excluded.reason
"""

_SETTLE_CALL = """
INSERT INTO calls (run_id, step, element, attempt, tool, outcome, cached, started_ns, ended_ns, cost_nano, ms, size,
    usage_json, output_json, error_type, reason, version, alternative)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '1', 0)
ON CONFLICT (run_id, step, element, attempt) DO UPDATE SET outcome = excluded.outcome, cached = excluded.cached,
    ended_ns = excluded.ended_ns, cost_nano = excluded.cost_nano, ms = excluded.ms, size = excluded.size,
    usage_json = excluded.usage_json, output_json = excluded.output_json, error_type = excluded.error_type,
    reason = excluded.reason
"""

_ADD_COST = """
INSERT INTO costs (run_id, seq, ts_ns, step, attempt, element, tool, kind, quantity, unit, unit_price_usd, amount_nano,
    source, priced, estimate_nano, overrun, saved_nano, note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _apply(connection: Connection, changes: Changes) -> None:
    execute(connection, _CREATE_RUN, changes.created)
    _replan(connection, changes.replanned)
    changed, moved = [], []
    for run_id, run in changes.runs.items():
        if run.status is not None:
            moved.append((run.cost, run.saved, run.unpriced, run.status, run.ended_ns, run.latency_ms, run_id))
        elif run.cost or run.saved or run.unpriced:
            changed.append((run.cost, run.saved, run.unpriced, run_id))
    execute(connection, _CHANGE_RUN, changed)
    execute(connection, _MOVE_RUN, moved)
    execute(
        connection, _CHANGE_STEP,
        [
            (*key, s.status, s.reason or "", s.tool, s.calls, s.ready_ns, s.started_ns, s.ended_ns, s.cost, s.saved)
            for key, s in changes.steps.items()
        ],
    )  # fmt: skip
    execute(connection, _START_CALL, [_call_row(call, row, changes.settled) for call, row in changes.started.items()])
    rest = [(*call, *row) for call, row in changes.settled.items() if call not in changes.started]
    execute(connection, _SETTLE_CALL, rest)
    execute(connection, _ADD_COST, changes.costs)
    spend(connection, changes.spends)
    apply_rolls(connection, changes.rolls)


def _replan(connection: Connection, replanned: Sequence[tuple[str, str, str, int]]) -> None:
    """A repair gave these runs another plan."""
    for run_id, digest, source, at_ns in replanned:
        plan = parse(source)
        execute(connection, ADD_PLAN, [(digest, source, json.dumps(to_json(plan)), len(plan.steps), at_ns)])
        execute(connection, "UPDATE runs SET plan_hash = ? WHERE id = ?", [(digest, run_id)])


_OPEN_CALL = (False, None, None, None, None, None, None, None, None, None)


def _call_row(call: CallId, row: list[Any], settled: Mapping[CallId, tuple[Any, ...]]) -> tuple[Any, ...]:
    end = settled.get(call)
    if end is None:
        return (*call, *row, *_OPEN_CALL)
    _tool, outcome, cached, _began, *rest = end
    return (*call, *row, cached, outcome, *rest)
