"""The pure heart of the runtime: `reduce(state, event) -> (state, commands)`.

No clock, no task, no value and no unseeded chance in here: time comes with the events, values stay with the shell.

    pending ──guard true, inputs there──> ready ──first call──> running ──> ok
       │  └──@approve──> waiting_approval ──granted──> ready       └──> failed | refused | poisoned
       ├── guard false ──> skipped (with `else`: has a value)
       ├── an input is missing in every alternative ──> poisoned
       └── any state but an end ── deadline, cancellation ──> cancelled

With `@approve` on the plan itself nothing leaves `pending` before somebody has agreed to the whole of it.

Here each event is handed to what moves the run (`catp.runtime.run_moves`), its steps (`catp.runtime.step_moves`) or the
calls inside a step (`catp.runtime.attempts`: retry, fallback, hedge). A step waits by counting: each result wakes only
those who wait for it, so a transition costs the number of its own edges. Waking goes through a queue, not through
recursion, so that a chain of any length can be poisoned.
"""

from collections.abc import Callable
from random import Random
from typing import Any

from catp.runtime.attempts import advance_unit, on_call_ended, on_call_started, on_timer
from catp.runtime.commands import (
    Approved,
    CallEnded,
    CallStarted,
    CancelRun,
    Command,
    Conclude,
    Concluded,
    Event,
    Prepared,
    Replanned,
    RunStarted,
    StopTimer,
    TimerFired,
    Warned,
)
from catp.runtime.program import Program
from catp.runtime.run_moves import on_cancel, on_concluded, on_plan_approved, on_replanned, on_started, on_warned, stop
from catp.runtime.state import RunState, StepRun, Unit
from catp.runtime.step_moves import advance, on_prepared, on_step_approved

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
            advance(state, waiter)
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


def _on_approved(state: RunState, event: Approved) -> None:
    state.asking -= 1
    if event.step is None:
        on_plan_approved(state, event)
    else:
        on_step_approved(state, state.steps[event.step], event)


def _on_timer_fired(state: RunState, event: TimerFired) -> None:
    if event.timer == state.deadline_timer:
        state.deadline_timer = None
        stop(state, f"the run's deadline of {state.deadline_s:g} s has passed")
    else:
        on_timer(state, event)


_HANDLERS: dict[type, Callable[[RunState, Any], None]] = {
    RunStarted: on_started,
    Prepared: on_prepared,
    Approved: _on_approved,
    CallStarted: on_call_started,
    CallEnded: on_call_ended,
    TimerFired: _on_timer_fired,
    CancelRun: on_cancel,
    Warned: on_warned,
    Replanned: on_replanned,
    Concluded: on_concluded,
}
