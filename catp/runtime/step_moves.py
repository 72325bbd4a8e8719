"""What moves a step before its calls: guard, inputs, width, approval, and then it is launched.

`catp.runtime.reducer` calls these; `catp.runtime.attempts` moves the calls inside a step (retry, fallback, hedge).
"""

from catp.runtime.commands import Approved, Ask, Gather, Prepare, Prepared
from catp.runtime.state import Problem, RunState, StepRun, Unit
from catp.runtime.steps import emit, end_step, look_all, poison, wake

__all__ = ["advance", "on_prepared", "on_step_approved"]


def advance(state: RunState, step: StepRun) -> None:
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


def on_prepared(state: RunState, event: Prepared) -> None:
    """The shell has answered what a guard, an `else` or a width is."""
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


def on_step_approved(state: RunState, step: StepRun, event: Approved) -> None:
    """Somebody has decided on a step, or put the decision off."""
    state.deferred.discard(step.info.name)
    if step.phase != "approval" or not step.open:
        return
    if event.granted is None:
        state.deferred.add(step.info.name)
    elif event.granted:
        _launch(state, step)
    else:
        end_step(state, step, "refused", event.reason)
