"""Puts the ends of an earlier life into the state of a run that goes on, and units back where they stood.

Steps that ended are over at once and tell nobody. All others go their normal way through guard, inputs and approval;
`recall` then gives their units the values, tries and problems they had, so that nothing finished is called again and
the tries of both lives add up.
"""

from typing import Any

from catp.runtime.commands import Call, CallEnded, CallResult, RunStarted
from catp.runtime.events import EventType
from catp.runtime.restore import Restored, RestoredStep, RestoredUnit
from catp.runtime.state import Problem, RunState, StepRun, Unit
from catp.runtime.steps import END_EVENT, emit

__all__ = ["decided_call", "put_back", "revive"]


def revive(state: RunState, event: RunStarted, past: Restored) -> None:
    """Record that the run goes on, or that it is forked, and end the steps that had ended."""
    for failure in past.failures:
        state.failures.add(failure)
    if past.fork:
        emit(state, "run.created", data=event.data)
    else:
        state.seq, state.calls_made, state.begun = past.seq, past.calls, past.begun
        if state.left_s is not None:
            state.left_s -= past.elapsed_ns / 1e9
        state.numbers.update(past.numbers)
        state.spent = sum(row.amount for row in past.rows if row.amount is not None)
        emit(state, "run.resumed", data=event.data)
        for call, data in event.lost:
            emit(state, "node.settled", call.step, attempt=call.number, element=call.element, data=data)
    for name, known in past.steps.items():
        step = state.steps.get(name)
        if step is not None:
            _recall_step(state, step, known, past)


def _recall_step(state: RunState, step: StepRun, known: RestoredStep, past: Restored) -> None:
    step.calls = known.calls
    if known.status is None:  # its time starts again: nobody worked on it while the process was gone
        state.past[step.info.name] = known
        return
    step.ready_ns, step.started_ns = known.ready_ns, known.started_ns
    step.status, step.reason, step.phase, step.ended_ns = known.status, known.reason, "over", known.ended_ns
    step.has_value = known.has_value
    tries = len(step.info.attempts)
    if step.info.mapped or known.tool is not None:
        step.units = []
        for element, unit in known.units.items():
            lost = step.info.mapped and unit.status != "ok"
            status = "skipped" if lost else unit.status or known.status
            step.units.append(Unit(step, element, min(unit.attempt, tries - 1), [0] * tries, status, lost=lost))
    state.open_steps -= 1
    if past.fork:
        _announce(state, step, known)


def _announce(state: RunState, step: StepRun, known: RestoredStep) -> None:
    """Tell the journal of a fork what it took over, so that the fork can be resumed by itself."""
    name = step.info.name
    if known.width is not None:
        emit(state, "node.ready", name, data={"width": known.width})
        for element, unit in known.units.items():
            if unit.status is not None:
                ended = {} if unit.status == "ok" else {"status": unit.status, "reason": unit.reason}
                kind: EventType = "node.finished" if unit.status == "ok" else "node.failed"
                emit(state, kind, name, element=element, data=ended)
    data: dict[str, Any] = {"reason": known.reason, "tool": known.tool, "attempts": 0, "width": known.width}
    data["kept"] = True
    if known.status == "skipped" and known.has_value:
        data["else"] = str(step.info.otherwise)
    data = {key: value for key, value in data.items() if value not in (None, "")}
    emit(state, END_EVENT[known.status or "ok"], name, data=data)


def put_back(unit: Unit, past: RestoredUnit) -> None:
    """Give a unit the tries and problems it had."""
    unit.number = max(unit.number, past.number)
    unit.attempt = max(unit.attempt, past.attempt)
    unit.problems += [Problem(status, reason) for status, reason in past.problems]
    for attempt, tries in past.tries.items():
        if attempt < len(unit.tries):
            unit.tries[attempt] = tries


def decided_call(state: RunState, past: RestoredUnit) -> tuple[Call, CallEnded]:
    """The failed call after which the journal ends, as if it ended now."""
    last = past.last
    assert last is not None
    call = Call(-1, last.step, last.element, last.alternative, last.number)
    permanent = last.error in ("ToolUnavailable", "SaidToHaveFailed")
    result: CallResult = (
        "timeout" if last.outcome == "timeout" else "rejected" if last.outcome == "rejected" else "error"
    )
    return call, CallEnded(state.now_ns, call.id, result, last.reason, last.error, permanent=permanent)
