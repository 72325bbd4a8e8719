"""Moves shared by the reducer's parts: look for inputs, wait for them, end a step, wake who waited."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from catp.runtime.events import EventType, RunEvent, StepStatus
from catp.runtime.program import Need
from catp.runtime.state import Problem, RunState, StepRun, Unit

__all__ = ["END_EVENT", "emit", "end_step", "look_all", "poison", "wake"]

_NOTHING: Mapping[str, Any] = {}

END_EVENT: dict[StepStatus, EventType] = {
    "ok": "node.finished", "failed": "node.failed", "skipped": "node.skipped", "refused": "node.refused",
    "poisoned": "node.poisoned", "cancelled": "node.cancelled",
}  # fmt: skip
"""The event that records each end of a step."""


def emit(
    state: RunState,
    type_: EventType,
    step: str | None = None,
    *,
    attempt: int | None = None,
    element: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Record one transition."""
    state.seq += 1
    state.out.append(
        RunEvent(
            state.seq, state.run_id, state.now_ns, type_, step, attempt, element, _NOTHING if data is None else data
        )
    )


def look_all(
    state: RunState, waiter: StepRun | Unit, needs: Sequence[Need], element: int | None
) -> Literal["go", "wait", "lost"] | Problem:
    """Are all needs met? If one is missing for good, say so at once; if some are still to come, wait for those."""
    waiting = waiter.waiting
    waiting.ticket += 1
    pending: list[tuple[list[tuple[StepRun | Unit, int, bool]], bool]] = []
    for need in needs:
        root = state.steps[need.root]
        unit = None
        if need.element and element is not None and root.units and element < len(root.units):
            unit = root.units[element]
            if unit.lost and (root.open or root.has_value):
                return "lost"
        if root.has_value:
            continue
        found: list[tuple[StepRun | Unit, int, bool]] | None
        if not root.open:
            if need.required:
                return Problem("poisoned", f"`{need.root}` is missing: {root.status}: {root.reason}")
            found = None
        elif need.element and root.phase == "run":
            found = unit.waiters if unit is not None and unit.status != "ok" else None
        else:
            found = root.width_waiters if need.element else root.waiters
        if found is not None:
            pending.append((found, need.required))
    if not pending:
        return "go"
    waiting.count = len(pending)
    for waiters, required in pending:
        waiters.append((waiter, waiting.ticket, required))
    return "wait"


def wake(state: RunState, waiters: list[tuple[StepRun | Unit, int, bool]], *, missing: bool) -> None:
    """Something came, or will never come: let those go on who now have all, or who cannot do without it."""
    for waiter, ticket, required in waiters:
        waiting = waiter.waiting
        if waiting.ticket != ticket:
            continue
        waiting.count -= 1
        if waiting.count == 0 or (missing and required):
            waiting.ticket += 1
            state.todo.append(waiter)
    waiters.clear()


def end_step(state: RunState, step: StepRun, status: StepStatus, reason: str) -> None:
    """Put a step into an end state, record it, and wake everyone who waited for it or for one of its elements."""
    step.status, step.reason, step.phase, step.ended_ns = status, reason, "over", state.now_ns
    state.open_steps -= 1
    data: dict[str, Any] = {"reason": reason} if reason else {}
    if step.has_value and status == "skipped":
        data["else"] = str(step.info.otherwise)
    winner = step.units[0] if step.units and not step.info.mapped else None
    if status == "ok" and winner is not None:
        data["tool"] = step.info.attempts[winner.attempt].tool
        data["attempts"] = step.calls
    if status == "ok" and step.info.mapped:
        data["width"], data["lost"] = len(step.units or ()), step.lost + step.bad
    emit(state, END_EVENT[status], step.info.name, data=data)
    missing = not step.has_value
    wake(state, step.waiters, missing=missing)
    wake(state, step.width_waiters, missing=missing)
    if step.info.mapped:
        for unit in step.units or ():
            if unit.waiters:
                wake(state, unit.waiters, missing=missing)


def poison(state: RunState, step: StepRun, *problems: Problem) -> None:
    """End a step that cannot start because something it needs is missing."""
    end_step(state, step, "poisoned", "; ".join(dict.fromkeys(problem.reason for problem in problems)))
