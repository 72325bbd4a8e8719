"""What moves a run as a whole: it starts, is approved, goes on with another plan, is stopped, ends.

`catp.runtime.reducer` calls these; each takes the state and one event.
"""

from catp.runtime.attempts import close_unit
from catp.runtime.commands import Approved, Ask, CancelRun, Concluded, Replanned, RunStarted, SetTimer, Warned
from catp.runtime.events import StepStatus
from catp.runtime.revive import revive
from catp.runtime.state import RunState, StepRun
from catp.runtime.steps import emit, end_step

__all__ = ["on_cancel", "on_concluded", "on_plan_approved", "on_replanned", "on_started", "on_warned", "stop"]


def on_started(state: RunState, event: RunStarted) -> None:
    """A run begins, or goes on where an earlier life of it ended."""
    state.started = True
    state.deadline_s = state.left_s = event.deadline_s
    if event.restored is None:
        emit(state, "run.created", data=event.data)
    else:
        revive(state, event, event.restored)
    if event.stop:
        on_cancel(state, CancelRun(event.at_ns, event.stop))
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


def on_plan_approved(state: RunState, event: Approved) -> None:
    """Somebody has decided on the whole plan."""
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


def on_cancel(state: RunState, event: CancelRun) -> None:
    """The caller wants no more of it."""
    state.cancelled = True
    stop(state, event.reason)


def stop(state: RunState, reason: str) -> None:
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


def on_warned(state: RunState, event: Warned) -> None:
    """Money is used up to a warn level, or beyond what was reserved."""
    emit(state, "run.budget_warning", event.step, element=event.element, data=event.data)


def on_replanned(state: RunState, event: Replanned) -> None:
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


def on_concluded(state: RunState, event: Concluded) -> None:
    """The shell has collected the outputs: the run is over, or waits for a decision."""
    state.status = event.status
    emit(state, "run.waiting" if event.status == "waiting" else "run.finished", data=event.data)
