"""Rebuild what is shown about a run from its events alone: the check that the record is complete.

Step and element events without an attempt number are transitions of the step; events with one belong to a call.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from catp.planlang.money import Money, parse_usd
from catp.runtime.events import EventType, RunEvent, RunStatus, StepStatus

__all__ = ["Rebuilt", "rebuild"]

_STATUS: dict[EventType, StepStatus] = {
    "node.ready": "ready", "node.awaiting_approval": "waiting_approval", "node.finished": "ok", "node.failed": "failed",
    "node.skipped": "skipped", "node.refused": "refused", "node.poisoned": "poisoned", "node.cancelled": "cancelled",
}  # fmt: skip


@dataclass(slots=True)
class Rebuilt:
    """A run as its events tell it. `open_calls` are calls that started and never settled: empty after a clean end."""

    status: RunStatus = "running"
    steps: dict[str, StepStatus] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    spent: Money = Money(0)
    step_spent: dict[str, Money] = field(default_factory=dict)
    open_calls: set[tuple[str, int | None, int | None]] = field(default_factory=set)
    outputs: dict[str, str] = field(default_factory=dict)


def rebuild(events: Iterable[RunEvent]) -> Rebuilt:
    """Fold events into the state of their run; raise `ValueError` if one is missing or out of order."""
    run = Rebuilt()
    for place, event in enumerate(events, 1):
        if event.seq != place:
            raise ValueError(f"event {place} of run {event.run_id} is missing: found number {event.seq}")
        if event.step is None and "planning" in event.data:
            amounts = [row["amount"] for row in event.data["planning"]["rows"] if "amount" in row]
            run.spent = Money(run.spent + sum(parse_usd(amount) for amount in amounts))
        if event.step is None and "eager" in event.data:
            rows = [row for call in event.data["eager"].get("calls", ()) for row in call["rows"]]
            run.spent = Money(run.spent + sum(parse_usd(row["amount"]) for row in rows if "amount" in row))
        if event.type in ("run.finished", "run.waiting"):
            run.status = event.data["status"]
            run.outputs = {name: output["status"] for name, output in event.data["outputs"].items()}
        elif event.step is not None:
            _apply(run, event, event.step)
    return run


def _apply(run: Rebuilt, event: RunEvent, step: str) -> None:
    key = (step, event.element, event.attempt)
    if event.type == "node.started":
        run.open_calls.add(key)
        run.calls[step] = run.calls.get(step, 0) + 1
        if run.steps.get(step) == "ready":
            run.steps[step] = "running"
    elif event.type == "node.settled":
        run.open_calls.discard(key)
        amount = event.data["amount"]
        if amount is not None:
            run.spent = Money(run.spent + parse_usd(amount))
            run.step_spent[step] = Money(run.step_spent.get(step, 0) + parse_usd(amount))
    elif event.attempt is None and event.element is None and event.type in _STATUS:
        run.steps[step] = _STATUS[event.type]
        run.reasons[step] = event.data.get("reason", "")
