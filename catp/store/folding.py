"""From events to changes of rows, purely: everything that lists and pages show of a run follows from its events.

Changes are increments (`cost_nano + 12`), so a run can be folded batch by batch, in order, each event once. The price
of a call counts for the day and the budget period in which the call started.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from catp.planlang.money import parse_usd
from catp.runtime.events import RunEvent
from catp.runtime.planning import PLANNING_STEP
from catp.store.budget_spend import Spend
from catp.store.rollups import Roll, Rolls
from catp.store.statements import clean
from catp.store.tables import NO_ELEMENT

__all__ = ["CallId", "Changes", "fold"]


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
    """What a batch of events changes. Rows are tuples in the order of the statements in `catp.store.projector`."""

    created: list[tuple[Any, ...]] = field(default_factory=list)
    candidates: list[tuple[Any, ...]] = field(default_factory=list)
    runs: dict[str, _Run] = field(default_factory=dict)
    steps: dict[tuple[str, str], _Step] = field(default_factory=dict)
    started: dict[CallId, list[Any]] = field(default_factory=dict)
    settled: dict[CallId, tuple[Any, ...]] = field(default_factory=dict)
    costs: list[tuple[Any, ...]] = field(default_factory=list)
    spends: list[Spend] = field(default_factory=list)
    rolls: Rolls = field(default_factory=Rolls)
    replanned: list[tuple[str, str, str, int]] = field(default_factory=list)


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
    changes.candidates += [_candidate(event.run_id, one) for one in data.get("candidates", ())]
    _on_planned(changes, event)


def _candidate(run_id: str, one: Mapping[str, Any]) -> tuple[Any, ...]:
    price = one.get("price") or {}
    return (
        run_id, one["rank"], one["plan"], _money(price.get("low")), _money(price.get("expected")),
        _money(price.get("p95")), one.get("latency_ms"), one.get("quality"), one.get("utility"),
        bool(one.get("chosen")),
    )  # fmt: skip


def _on_planned(changes: Changes, event: RunEvent) -> None:
    """Planning, and what it started in vain, belong to the run and its policy: they are no call of a step."""
    planning = event.data.get("planning")
    if planning is not None:
        call = CallId(event.run_id, PLANNING_STEP, NO_ELEMENT, planning["number"])
        _book(changes, event, call, str(planning["planner"]), planning["rows"])
    for lost in event.data.get("eager", {}).get("calls", ()):
        _book(changes, event, CallId(event.run_id, PLANNING_STEP, lost["number"], 1), str(lost["tool"]), lost["rows"])


def _book(changes: Changes, event: RunEvent, call: CallId, payee: str, rows: Sequence[Mapping[str, Any]]) -> None:
    run, roll = _run(changes, event.run_id), changes.rolls.plan(event.run_id, event.at_ns)
    for row in rows:
        amount = _money(row.get("amount"))
        changes.costs.append(_cost_row(call, payee, event.at_ns, row, amount, None))
        run.unpriced += amount is None
        run.cost += amount or 0
        roll.unpriced += amount is None
        roll.cost += amount or 0
        if amount is not None:
            changes.spends.append(Spend(call, event.at_ns, amount))


def _run(changes: Changes, run_id: str) -> _Run:
    found = changes.runs.get(run_id)
    if found is None:
        found = changes.runs[run_id] = _Run()
    return found


def _on_resumed(changes: Changes, event: RunEvent) -> None:
    run = _run(changes, event.run_id)
    run.status, run.ended_ns = "running", None
    _on_planned(changes, event)


def _on_run_over(changes: Changes, event: RunEvent) -> None:
    run = _run(changes, event.run_id)
    _on_planned(changes, event)
    run.status = str(event.data["status"])
    run.latency_ms = event.data.get("ms")
    run.ended_ns = event.at_ns if event.type == "run.finished" else None
    if run.ended_ns is not None:
        changes.rolls.ended.append((event.run_id, run.status == "complete", run.latency_ms or 0.0))


def _on_replanned(changes: Changes, event: RunEvent) -> None:
    changes.replanned.append((event.run_id, event.data["plan"], event.data["source"], event.at_ns))
    _on_planned(changes, event)


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
        changes.costs.append(_cost_row(call, str(data["tool"]), began, row, amount, kept))
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
    call: CallId, tool: str, began: int, row: Mapping[str, Any], amount: int | None, saved: int | None
) -> tuple[Any, ...]:
    quantity = row.get("quantity")
    if quantity is not None and not math.isfinite(quantity):
        quantity = None
    return (
        call.run_id, row["seq"], began, call.step, call.attempt,
        None if call.element == NO_ELEMENT else call.element, clean(tool), row["kind"],
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
