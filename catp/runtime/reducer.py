"""The pure heart of the runtime: `reduce(state, event) -> (state, commands)`.

No clock, no task, no value and no unseeded chance in here: time comes with the events, values stay with the shell.

    pending ──guard true, inputs there──> ready ──first call──> running ──> ok
       │  └──@approve──> waiting_approval ──granted──> ready       └──> failed | refused | poisoned
       ├── guard false ──> skipped (with `else`: has a value)
       ├── an input is missing in every alternative ──> poisoned
       └── any state but an end ── deadline, cancellation ──> cancelled

With `@approve` on the plan itself nothing leaves `pending` before somebody has agreed to the whole of it.

This module moves steps; `catp.runtime.attempts` moves the calls inside a step (retry, fallback, hedge). A step waits by
counting: each result wakes only those who wait for it, so a transition costs the number of its own edges. Waking goes
through a queue, not through recursion, so that a chain of any length can be poisoned.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from catp.runtime.attempts import advance_unit, close_unit, on_call_ended, on_call_started, on_timer
from catp.runtime.commands import (
    Approved,
    Ask,
    CallEnded,
    CallStarted,
    CancelRun,
    Command,
    Conclude,
    Concluded,
    Event,
    Gather,
    Prepare,
    Prepared,
    Replanned,
    RunStarted,
    SetTimer,
    StopTimer,
    TimerFired,
    Warned,
)
from catp.runtime.events import StepStatus
from catp.runtime.program import Program
from catp.runtime.revive import revive
from catp.runtime.state import Problem, RunState, StepRun, Unit
from catp.runtime.steps import emit, end_step, look_all, poison, wake

__all__ = ["new_state", "reduce"]


def new_state(program: Program, run_id: str, *, seed: int = 0) -> RunState:
    """Return the state of a run that has not started; `seed` decides the jitter of retries."""
    steps = {name: StepRun(info) for name, info in program.steps.items()}
    return RunState(program, run_id, steps, Random(seed), open_steps=len(steps))


def reduce(state: RunState, event: Event) -> tuple[RunState, list[Command]]:
    """Apply one event and return what to do, in order. `state` is changed in place and returned."""
    state.out = []
    state.now_ns = event.at_ns
    _HANDLERS[type(event)](state, event)
    while state.todo:
        waiter = state.todo.popleft()
        if not waiter.open:
            continue
        if isinstance(waiter, Unit):
            advance_unit(state, waiter)
        else:
            _advance(state, waiter)
    if state.started and not state.live and not state.concluding and (not state.open_steps or _only_waits(state)):
        state.concluding = True
        if state.deadline_timer is not None:
            state.out.append(StopTimer(state.deadline_timer))
        state.out.append(Conclude())
    return state, state.out


def _only_waits(state: RunState) -> bool:
    """True if nothing can move before somebody decides on the plan or a step whose approval was put off."""
    if not state.deferred or state.timers or state.asking:
        return False
    return all(step.phase != "asked" for step in state.steps.values())


def _on_started(state: RunState, event: RunStarted) -> None:
    state.started = True
    state.deadline_s = state.left_s = event.deadline_s
    if event.restored is None:
        emit(state, "run.created", data=event.data)
    else:
        revive(state, event, event.restored)
    if event.stop:
        _on_cancel(state, CancelRun(event.at_ns, event.stop))
    else:
        _begin_or_ask(state)


def _begin_or_ask(state: RunState) -> None:
    """Let the steps go, or ask first: also when a run goes on, since an approval holds for one plan, cap and time."""
    if state.program.approve and state.open_steps:
        state.held, state.begun = True, False
        emit(state, "run.awaiting_approval")
        state.asking += 1
        state.out.append(Ask(None))
    else:
        _begin(state)


def _begin(state: RunState) -> None:
    """Let the steps go; the deadline counts from here, so that a person's time to think is not the plan's."""
    if not state.begun:
        state.begun = True
        emit(state, "run.started")
    if state.left_s is not None:
        state.deadline_timer = state.next_id
        state.next_id += 1
        state.out.append(SetTimer(state.deadline_timer, state.left_s))
    state.todo.extend(step for step in state.steps.values() if step.open)


def _advance(state: RunState, step: StepRun) -> None:
    """Move a step on as far as the results at hand allow."""
    info = step.info
    if step.phase == "guard":
        if info.guard_needs:
            verdict = look_all(state, step, info.guard_needs, None)
            if verdict == "wait":
                return
            if isinstance(verdict, Problem):
                poison(state, step, verdict)
                return
        if info.guard:
            step.phase = "asked"
            state.out.append(Prepare(info.name, "guard"))
            return
        step.phase = "args"
    if step.phase == "args":
        _advance_args(state, step)
    elif step.phase == "else":
        verdict = look_all(state, step, info.else_needs, None)
        if verdict == "wait":
            return
        if isinstance(verdict, Problem):
            poison(state, step, verdict)
            return
        step.phase = "asked"
        state.out.append(Prepare(info.name, "else"))


def _advance_args(state: RunState, step: StepRun) -> None:
    attempts = step.info.attempts
    while step.first < len(attempts):
        verdict = look_all(state, step, attempts[step.first].needs, None)
        if verdict == "wait":
            return
        if verdict == "go":
            if attempts[step.first].mapped:
                step.phase = "asked"
                state.out.append(Prepare(step.info.name, "width", step.first))
            else:
                _open(state, step, None)
            return
        assert isinstance(verdict, Problem)  # "lost" is only ever said of an element
        step.problems.append(verdict)
        step.first += 1
    poison(state, step, *step.problems)


def _on_prepared(state: RunState, event: Prepared) -> None:
    step = state.steps[event.step]
    if not step.open:
        return
    if event.question == "guard":
        if event.yes:
            step.phase = "args"
            state.todo.append(step)
        elif event.reason is not None:
            poison(state, step, Problem("poisoned", event.reason))
        elif step.info.otherwise is not None:
            step.phase = "else"
            state.todo.append(step)
        else:
            end_step(state, step, "skipped", _guard_text(step))
    elif event.question == "else":
        if event.yes:
            step.has_value = True
            end_step(state, step, "skipped", f"{_guard_text(step)}; its value is that of `{step.info.otherwise}`")
        else:
            poison(state, step, Problem("poisoned", event.reason or "the else value is missing"))
    elif event.yes:
        _open(state, step, event.width)
    else:
        step.problems.append(Problem("failed", event.reason or "no list to map over"))
        step.first += 1
        step.phase = "args"
        if step.first < len(step.info.attempts):
            state.todo.append(step)
        else:
            end_step(state, step, "failed", "; ".join(p.reason for p in step.problems))


def _guard_text(step: StepRun) -> str:
    tests = " and ".join(f"{t.ref} {t.op} {t.value.value!r}" for t in step.info.guard)
    return f"its condition is false: {tests}"


def _open(state: RunState, step: StepRun, width: int | None) -> None:
    """The inputs are there: make the units, ask for approval if need be, then start."""
    elements: list[int | None] = [None] if width is None else list(range(width))
    tries = len(step.info.attempts)
    step.units = [
        Unit(step, element, step.first, [0] * tries, number=state.numbers.get((step.info.name, element), 0))
        for element in elements
    ]
    step.left = len(elements)
    past = state.past.pop(step.info.name, None)
    if past is not None:
        for unit in step.units:
            unit.past = past.units.get(unit.element)
    if step.info.approve:  # also when the run goes on: whoever remembers the answer gives it again
        step.phase, step.status = "approval", "waiting_approval"
        emit(state, "node.awaiting_approval", step.info.name)
        state.asking += 1
        state.out.append(Ask(step.info.name))
    else:
        _launch(state, step)


def _launch(state: RunState, step: StepRun) -> None:
    step.phase, step.status = "run", "ready"
    step.ready_ns = state.now_ns if step.ready_ns is None else step.ready_ns
    units = step.units or []
    emit(state, "node.ready", step.info.name, data={"width": len(units)} if step.info.mapped else None)
    wake(state, step.width_waiters, missing=False)
    if not units:
        step.has_value = True
        state.out.append(Gather(step.info.name))
        end_step(state, step, "ok", "")
    else:
        state.todo.extend(units)


def _on_approved(state: RunState, event: Approved) -> None:
    state.asking -= 1
    if event.step is None:
        _on_plan_approved(state, event)
        return
    state.deferred.discard(event.step)
    step = state.steps[event.step]
    if step.phase != "approval" or not step.open:
        return
    if event.granted is None:
        state.deferred.add(event.step)
    elif event.granted:
        _launch(state, step)
    else:
        end_step(state, step, "refused", event.reason)


def _on_plan_approved(state: RunState, event: Approved) -> None:
    if not state.held:
        return
    if event.granted is None:
        state.deferred.add(None)
        return
    state.held = False
    if event.granted:
        _begin(state)
    else:
        _end_all(state, "refused", f"the plan was not approved: {event.reason}")


def _on_cancel(state: RunState, event: CancelRun) -> None:
    state.cancelled = True
    _stop(state, event.reason)


def _on_timer_fired(state: RunState, event: TimerFired) -> None:
    if event.timer == state.deadline_timer:
        state.deadline_timer = None
        _stop(state, f"the run's deadline of {state.deadline_s:g} s has passed")
    else:
        on_timer(state, event)


def _stop(state: RunState, reason: str) -> None:
    """End every open step at once; their calls are told to stop and are waited for."""
    state.stopped = state.stopped or reason
    state.held = False
    _end_all(state, "cancelled", reason)


def _end_all(state: RunState, status: StepStatus, reason: str) -> None:
    ending = [step for step in state.steps.values() if step.open]
    for step in ending:
        step.status = status  # first of all, so that none is poisoned by another
    for step in ending:
        for unit in step.units or ():
            if unit.open:
                unit.status, unit.reason = status, reason
                close_unit(state, unit, reason)
        end_step(state, step, status, reason)


def _on_warned(state: RunState, event: Warned) -> None:
    emit(state, "run.budget_warning", event.step, element=event.element, data=event.data)


def _on_replanned(state: RunState, event: Replanned) -> None:
    """Go on with another plan: what is kept stays ended, everything else starts afresh."""
    old = state.steps
    state.retired.update({name: step for name, step in old.items() if name not in event.program.steps})
    for name, step in old.items():
        if name not in event.keep:
            state.numbers.update({(name, unit.element): unit.number for unit in step.units or ()})
    state.program = event.program
    state.steps = {
        name: old[name] if name in event.keep else StepRun(info) for name, info in event.program.steps.items()
    }
    state.open_steps = sum(step.open for step in state.steps.values())
    state.concluding = False
    state.deferred &= event.keep
    emit(state, "run.replanned", data=event.data)
    state.left_s = event.left_s
    _begin_or_ask(state)  # whoever approved the plan has not seen this one


def _on_concluded(state: RunState, event: Concluded) -> None:
    state.status = event.status
    emit(state, "run.waiting" if event.status == "waiting" else "run.finished", data=event.data)


_HANDLERS: dict[type, Callable[[RunState, Any], None]] = {
    RunStarted: _on_started,
    Prepared: _on_prepared,
    Approved: _on_approved,
    CallStarted: on_call_started,
    CallEnded: on_call_ended,
    TimerFired: _on_timer_fired,
    CancelRun: _on_cancel,
    Warned: _on_warned,
    Replanned: _on_replanned,
    Concluded: _on_concluded,
}
