"""Calls that may have acted on the world without anybody knowing: found, asked about, decided.

| what | tool is `pure` or `read` | `write`, with `@key`, backend takes keys | any other `write` |
|---|---|---|---|
| under way when the process stopped | called again | called again, same key | **asked** |
| stopped (Ctrl-C, deadline), to be run again | called again | called again, same key | **asked** |
| failed for good, to be retried | called again | called again, same key | **asked** |
| ended well, but its value cannot be read back and is needed | called again | called again, same key | **asked** |

The answers: `again` calls it once more, `done` takes it as done (with the value that later steps need), `failed` as
failed: its next alternative is tried, or the step fails.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from catp.runtime.program import Program, StepInfo
from catp.runtime.restore import PastCall, Restored, RestoredStep, RestoredUnit, Say

__all__ = ["Decider", "Decision", "Doubt", "InDoubt", "settle_doubts"]


_NEVER_CALLED = frozenset({"ToolUnavailable", "JournalUnavailable"})


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call of a tool that writes, of which nobody knows whether it acted, and why that is so."""

    step: str
    element: int | None
    tool: str
    why: str
    key: str | None = None

    @property
    def place(self) -> str:
        """The step, with the element in brackets."""
        return self.step if self.element is None else f"{self.step}[{self.element}]"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a call in doubt; `value` is what the step gives if it is `done`."""

    say: Say
    value: Any = None


Decider: TypeAlias = Callable[[Doubt], "Decision | Say | Awaitable[Decision | Say | None] | None"]
"""Decides about one call in doubt; None if it cannot."""


class InDoubt(RuntimeError):
    """Calls that may have acted, and nobody who said what to do about them; nothing was run. `doubts` lists them."""

    def __init__(self, run_id: str, doubts: tuple[Doubt, ...]) -> None:
        self.run_id = run_id
        self.doubts = doubts
        lines = [f"run {run_id} cannot go on before somebody says what to do about these calls:"]
        lines += [f"  {d.place}: {d.tool} {d.why}; it writes, and may or may not have acted" for d in doubts]
        lines.append(
            f"look whether it did, then say for each one of: {doubts[0].step}=again (call it), {doubts[0].step}=done "
            f"(take it as done), {doubts[0].step}=failed; with --in-flight, or in_flight= of Agent.resume"
        )
        super().__init__("\n".join(lines))


async def settle_doubts(
    run_id: str, run: Restored, program: Program, *, takes_key: Callable[[str], bool], decide: Decider | None
) -> Restored:
    """Open again what must be run again, and decide about calls that may have acted.

    `takes_key` says of a tool whether its backend passes idempotency keys on. Raises `InDoubt` with every call that
    nobody decided about.
    """
    run = _drop_unreadable(run, program)
    open_doubts: list[Doubt] = []
    steps = dict(run.steps)
    for name, element, unit, why in _uncertain(run, program):
        info = program.steps[name]
        assert unit.last is not None
        if unit.said == "failed":  # decided in a life that ended before anything came of it
            known = steps[name]
            steps[name] = replace(known, units={**known.units, element: _decided(unit, Decision("failed"), why)})
            continue
        if not (info.writes or unit.last.writes) or (info.key is not None and takes_key(unit.last.tool)):
            continue
        doubt = Doubt(name, element, unit.last.tool, why, unit.last.key)
        decision = await _ask(decide, doubt)
        if decision is None:
            open_doubts.append(doubt)
            continue
        reader = _reader(name, steps, program)
        if decision == Decision("done") and reader is not None:
            needs = f"`{reader}` reads its value, so `done` must come with one: {doubt.place}=done=VALUE"
            open_doubts.append(replace(doubt, why=f"{why} ({needs})"))
            continue
        known = steps[name]
        steps[name] = replace(known, units={**known.units, element: _decided(unit, decision, why)})
    if open_doubts:
        raise InDoubt(run_id, tuple(open_doubts))
    return replace(run, steps=steps)


def _reader(name: str, steps: Mapping[str, RestoredStep], program: Program) -> str | None:
    """A step that is still to be done and reads this one, if any."""
    return next((n for n, info in program.steps.items() if _is_open(steps.get(n)) and name in _roots(info)), None)


async def _ask(decide: Decider | None, doubt: Doubt) -> Decision | None:
    answer = decide(doubt) if decide is not None else None
    if inspect.isawaitable(answer):
        answer = await answer
    return Decision(answer) if isinstance(answer, str) else answer


def _decided(unit: RestoredUnit, decision: Decision, why: str) -> RestoredUnit:
    assert unit.last is not None
    if decision.say == "done":
        return replace(
            unit, status="ok", has_value=True, value=decision.value, attempt=unit.last.alternative, undecided=False,
            told=False, said="done",
        )  # fmt: skip
    if decision.say == "failed":
        last = unit.last._replace(outcome="error", reason=f"said to have failed: {why}", error="SaidToHaveFailed")
        return replace(unit, last=last, undecided=True, said="failed")
    return replace(unit, attempt=unit.last.alternative, undecided=False, said="again")


def _uncertain(run: Restored, program: Program) -> Iterator[tuple[str, int | None, RestoredUnit, str]]:
    """Every open unit whose last call may have acted, with the reason in words."""
    lost = {(call.step, call.element, call.number) for call in run.lost}
    for name, step in run.steps.items():
        if step.status is not None or name not in program.steps:
            continue
        for element, unit in step.units.items():
            if unit.status is not None or unit.last is None or unit.undecided or unit.said == "again":
                continue
            why = _why(unit.last, (name, element, unit.last.number) in lost, unit, name in run.retried)
            if why is not None:
                yield name, element, unit, why


def _why(call: PastCall, lost: bool, unit: RestoredUnit, again: bool) -> str | None:
    if lost or call.outcome == "lost":
        return "was under way when the process stopped"
    if call.outcome == "cancelled":
        return "was stopped before it ended"
    if call.outcome == "ok":
        return "ended well, but its value cannot be read back"
    if again and not unit.tries and call.error not in _NEVER_CALLED:
        return f"had failed ({call.reason})"
    return None


def _drop_unreadable(run: Restored, program: Program) -> Restored:
    """Open finished steps whose value is gone, if anything that is still to be done needs it."""
    steps, notes = dict(run.steps), []
    needed = [output.ref.root for output in program.outputs]
    needed += [root for name, info in program.steps.items() if _is_open(steps.get(name)) for root in _roots(info)]
    seen: set[str] = set()
    while needed:
        name = needed.pop()
        step = steps.get(name)
        if name in seen or step is None:
            continue
        seen.add(name)
        if step.status == "ok" and not step.has_value:
            steps[name] = _opened(step)
            notes.append(f"the value of step {name!r} cannot be read back")
            needed += _roots(program.steps[name])
    return replace(run, steps=steps, notes=(*run.notes, *notes))


def _opened(step: RestoredStep) -> RestoredStep:
    units = {
        element: unit if unit.status != "ok" or unit.has_value else replace(unit, status=None, told=False)
        for element, unit in step.units.items()
    }
    return replace(step, status=None, ended_ns=None, units=units)


def _is_open(step: RestoredStep | None) -> bool:
    return step is None or step.status is None


def _roots(info: StepInfo) -> list[str]:
    """The steps whose values this one may read."""
    needs = [*info.guard_needs, *info.else_needs, *(need for attempt in info.attempts for need in attempt.needs)]
    return [need.root for need in needs]
