"""The projections in the tables: the changes that a batch of events makes, applied in the caller's transaction.

`run.created` resets the row of its run, so projecting all events again gives the same rows again (`catp db rebuild`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from catp.planlang.jsonform import to_json
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.store.budget_spend import spend
from catp.store.folding import CallId, Changes, fold
from catp.store.rollups import apply_rolls
from catp.store.statements import ADD_PLAN, execute

__all__ = ["project"]


def project(connection: Connection, events: Sequence[RunEvent]) -> None:
    """Bring the projections up to date with events that follow those projected before, in order.

    The plans of created runs must be there. Whoever appends events does both in one transaction.
    """
    _apply(connection, fold(events))


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

_ADD_CANDIDATE = """
INSERT INTO candidates (run_id, rank, plan_hash, est_low, est_cost, est_p95, est_ms, quality, utility, chosen)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
    execute(connection, _ADD_CANDIDATE, changes.candidates)
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
