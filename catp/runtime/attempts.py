"""The part of the reducer that moves calls inside a step: start, retry, fall back, hedge, settle on a winner.

A unit (a step, or one element of a mapped step) tries its alternatives in order. It is won by the first call that
returns an accepted result; every other call of the unit is then stopped. It is lost when no call is running, no retry
is due, and no alternative is left.
"""

from catp.runtime.commands import (
    Bind,
    Call,
    CallEnded,
    CallStarted,
    CancelCall,
    Gather,
    SetTimer,
    StartCall,
    StopTimer,
    TimerFired,
)
from catp.runtime.events import StepStatus
from catp.runtime.repairs import BLOCKED, FailedCall
from catp.runtime.revive import decided_call, put_back
from catp.runtime.state import Problem, RunState, StepRun, Unit
from catp.runtime.steps import emit, end_step, look_all, wake

__all__ = ["advance_unit", "close_unit", "on_call_ended", "on_call_started", "on_timer"]

_MAX_BACKOFF_S = 60.0

_PROBLEM: dict[str, StepStatus] = {"refused": "refused", "missing": "poisoned"}


def advance_unit(state: RunState, unit: Unit) -> None:
    """Start the alternative in hand if its inputs are there; skip it if one is missing for good."""
    if unit.past is not None and _recall(state, unit):
        return
    attempts = unit.step.info.attempts
    while unit.attempt < len(attempts):
        verdict = look_all(state, unit, attempts[unit.attempt].needs, unit.element)
        unit.parked = verdict == "wait"
        if verdict == "wait":
            return
        if verdict == "go":
            _start(state, unit, unit.attempt)
            return
        if verdict == "lost":
            unit.lost, unit.status, unit.reason = True, "skipped", "its element upstream was given up"
            close_unit(state, unit, unit.reason)
            _unit_over(state, unit)
            return
        unit.problems.append(verdict)
        unit.cut = unit.step.info.mapped
        unit.attempt += 1
    _give_up_if_idle(state, unit)


def _recall(state: RunState, unit: Unit) -> bool:
    """Take an earlier life of the unit into account; True if nothing is left to start."""
    past, unit.past = unit.past, None
    assert past is not None
    put_back(unit, past)
    if past.status is not None:
        unit.status, unit.attempt, unit.reason = past.status, past.attempt, past.reason
        _unit_over(state, unit, told=past.told)
        return True
    if past.undecided:
        call, ended = decided_call(state, past)
        _fail(state, unit, call, ended)
        return True
    return False


def _start(state: RunState, unit: Unit, attempt: int) -> None:
    limit = state.program.max_calls
    unit.number += 1
    call = Call(state.next_id, unit.step.info.name, unit.element, attempt, unit.number)
    state.next_id += 1
    unit.tries[attempt] += 1
    unit.calls[call.id] = call
    state.live[call.id] = (call, unit)
    if limit is not None and state.calls_made >= limit:
        refused = f"the plan's limit of {limit} calls is reached"
        on_call_ended(state, CallEnded(state.now_ns, call.id, "refused", refused))
        return
    state.calls_made += 1
    state.out.append(StartCall(call))


def on_call_started(state: RunState, event: CallStarted) -> None:
    """Record a started call and plan its hedge."""
    call, unit = state.live[event.call]
    step = unit.step
    step.calls += 1
    if step.open:
        step.status = "running"
        if unit.open:
            unit.status = "running"
        if step.started_ns is None:
            step.started_ns = state.now_ns
    emit(state, "node.started", call.step, attempt=call.number, element=call.element, data=event.data)
    hedge = step.info.hedge_s
    if hedge is not None and unit.open and unit.tries[call.attempt] == 1 and unit.attempt + 1 < len(step.info.attempts):
        timer = state.next_id
        state.next_id += 1
        unit.timers[timer] = ("hedge", call.attempt)
        state.timers[timer] = unit
        state.out.append(SetTimer(timer, hedge))


def on_call_ended(state: RunState, event: CallEnded) -> None:
    """Settle the record of a call, then decide what its unit does next."""
    call, unit = state.live.pop(event.call)
    unit.calls.pop(call.id, None)
    won = unit.open and event.result == "ok"
    if won:  # first of all, so that whoever reads that the call is paid finds its value as well
        state.out.append(Bind(call.step, call.element, call.id))
    if event.data:
        emit(state, "node.settled", call.step, attempt=call.number, element=call.element, data=event.data)
    if event.amount is not None:
        state.spent += event.amount
    if won:
        _win(state, unit, call)
    elif unit.open:
        _fail(state, unit, call, event)


def _fail(state: RunState, unit: Unit, call: Call, event: CallEnded) -> None:
    """A call gave no value: try again, or go on to the next alternative, or give the unit up."""
    problem = Problem(_PROBLEM.get(event.result, "failed"), event.reason)
    if _retry(state, unit, call, event):
        return
    unit.problems.append(problem)
    if event.result in ("error", "timeout", "rejected") and event.error_type != BLOCKED:
        tool, arguments = unit.step.info.attempts[call.attempt].tool, event.data.get("arguments")
        state.failures.add(FailedCall(call.step, tool, event.error_type or event.result, event.reason, arguments))
    if event.result == "refused":
        data = {"reason": event.reason, **(event.refusal or {})}
        emit(state, "node.refused", call.step, attempt=call.number, element=call.element, data=data)
    if unit.parked:
        return  # the next alternative is already chosen and waits for its inputs
    if unit.attempt + 1 < len(unit.step.info.attempts):
        unit.attempt += 1
        tool = unit.step.info.attempts[unit.attempt].tool
        data = {"reason": event.reason, "to": tool}
        emit(state, "node.fallback", call.step, attempt=call.number, element=call.element, data=data)
        state.todo.append(unit)
    else:
        _give_up_if_idle(state, unit)


def _retry(state: RunState, unit: Unit, call: Call, event: CallEnded) -> bool:
    info, tries = unit.step.info, unit.tries[call.attempt]
    if event.result not in ("error", "timeout") or event.permanent or tries > info.retries:
        return False
    if info.retry_on and not {event.result, event.error_type.lower()} & info.retry_on:
        return False
    delay = min(_MAX_BACKOFF_S, info.backoff_s * 2 ** (tries - 1)) * state.rng.uniform(0.75, 1.25)
    timer = state.next_id
    state.next_id += 1
    unit.timers[timer] = ("retry", call.attempt)
    state.timers[timer] = unit
    state.out.append(SetTimer(timer, delay))
    data = {
        "reason": event.reason,
        "delay_ms": round(delay * 1e3, 3),
        "tool": unit.step.info.attempts[call.attempt].tool,
    }
    emit(state, "node.retrying", call.step, attempt=call.number, element=call.element, data=data)
    return True


def on_timer(state: RunState, event: TimerFired) -> None:
    """A retry is due, or a call has been slow for long enough to start its rival."""
    unit = state.timers.pop(event.timer, None)
    if unit is None or not unit.open:
        return
    kind, attempt = unit.timers.pop(event.timer)
    if kind == "retry":
        _start(state, unit, attempt)
        return
    attempts = unit.step.info.attempts
    if unit.parked or unit.attempt + 1 >= len(attempts):
        return
    unit.attempt += 1
    data = {"after_ms": (unit.step.info.hedge_s or 0.0) * 1e3, "tool": attempts[unit.attempt].tool}
    emit(state, "node.hedged", unit.step.info.name, attempt=unit.number, element=unit.element, data=data)
    state.todo.append(unit)


def _win(state: RunState, unit: Unit, call: Call) -> None:
    unit.status, unit.attempt = "ok", call.attempt
    close_unit(state, unit, "another call of the step was faster")
    _unit_over(state, unit)


def _give_up_if_idle(state: RunState, unit: Unit) -> None:
    """End a unit without a value, unless a call or a retry may still give one."""
    if unit.calls or any(kind == "retry" for kind, _ in unit.timers.values()):
        return
    kinds = {problem.status for problem in unit.problems}
    unit.status = "failed" if "failed" in kinds else "refused" if "refused" in kinds else "poisoned"
    unit.reason = "; ".join(dict.fromkeys(problem.reason for problem in unit.problems))
    close_unit(state, unit, unit.reason)
    _unit_over(state, unit)


def close_unit(state: RunState, unit: Unit, reason: str) -> None:
    """Stop everything a unit still has under way."""
    state.out.extend(CancelCall(call, reason) for call in unit.calls)
    for timer in unit.timers:
        state.timers.pop(timer, None)
        state.out.append(StopTimer(timer))
    unit.timers.clear()
    unit.waiting.ticket += 1


def _unit_over(state: RunState, unit: Unit, *, told: bool = False) -> None:
    """Count the end of a unit and record it, unless an earlier life of the run has told it already."""
    step = unit.step
    if not step.info.mapped:
        step.has_value = unit.status == "ok"
        end_step(state, step, unit.status, unit.reason)
        return
    step.left -= 1
    if unit.status == "ok":
        step.ok += 1
        if not told:
            emit(state, "node.finished", step.info.name, element=unit.element)
        wake(state, unit.waiters, missing=False)
    elif unit.lost:
        step.lost += 1
        wake(state, unit.waiters, missing=True)
    else:
        step.bad += 1
        if not told:
            emit(
                state, "node.failed", step.info.name, element=unit.element,
                data={"reason": unit.reason, "status": unit.status},
            )  # fmt: skip
        step.problems.append(Problem(unit.status, f"element {unit.element}: {unit.reason}"))
        if unit.cut and unit.status == "poisoned":
            # the list itself is missing, not one element of it: no quorum covers that, fused or not
            _fail_map(state, step, "poisoned")
            return
        if step.bad > _may_lose(step.info.quorum, len(step.units or ())):
            _fail_map(state, step)
            return
        unit.lost = True
        wake(state, unit.waiters, missing=True)
    if step.left == 0:
        _end_map(state, step)


def _end_map(state: RunState, step: StepRun) -> None:
    if step.bad > _may_lose(step.info.quorum, len(step.units or ()) - step.lost):
        _fail_map(state, step)
    else:
        step.has_value = True
        state.out.append(Gather(step.info.name))
        note = "; ".join(problem.reason for problem in step.problems)
        end_step(state, step, "ok", f"{step.bad} elements lost within the quorum: {note}" if step.bad else "")


def _fail_map(state: RunState, step: StepRun, status: StepStatus | None = None) -> None:
    kinds = {problem.status for problem in step.problems}
    if status is None:
        status = "failed" if "failed" in kinds else "refused" if "refused" in kinds else "poisoned"
    reason = "; ".join(problem.reason for problem in step.problems)
    if step.info.quorum < 1 and status != "poisoned":
        reason = f"fewer than {step.info.quorum:g} of the elements are left: {reason}"
    for unit in step.units or ():
        if unit.open:
            unit.status, unit.reason = "cancelled", "another element failed"
            close_unit(state, unit, unit.reason)
    end_step(state, step, status, reason)


def _may_lose(quorum: float, width: int) -> int:
    """How many of `width` elements may be missing; rounding must not turn 0.8 of 5 into 5."""
    return int((1.0 - quorum) * width + 1e-9)
