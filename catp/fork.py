"""Forking a saved run: a new run that keeps, for nothing, what it need not do again.

    fork = await agent.fork(run_id, from_step="ocr", set={"ocr": "other.ocr"})

A step keeps its value if it has one, does not lie downstream of `from_step`, of a step whose tool is set or of an input
that is given anew, and is none of these itself. Everything else runs anew, under the budget of the fork.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import networkx as nx

from catp.approvals import ApprovalPolicy
from catp.execution import Execution
from catp.planlang.compiled import CompiledPlan
from catp.planlang.errors import nearest
from catp.planlang.money import Money
from catp.planlang.nodes import Plan, Step, ToolName
from catp.planners.protocol import Objective
from catp.recorded import CannotResume, RecordedRun, read_run, requote
from catp.result import Quote, RunRefused, RunResult
from catp.runtime.events import RunEvent
from catp.runtime.repairs import Repairer
from catp.runtime.restore import Restored, RestoredStep, RestoredUnit
from catp.typed_inputs import check_inputs

__all__ = ["fork_run", "keepable", "swap_tools"]

_CUT_SHORT = (None, "lost", "cancelled")


async def fork_run(
    execution: Execution,
    run_id: str,
    *,
    from_step: str | None = None,
    set_: Mapping[str, str],
    inputs: Mapping[str, Any],
    budget: Money | None = None,
    deadline_s: float | None = None,
    approve: ApprovalPolicy | None = None,
    on_event: Callable[[RunEvent], None] | None = None,
    repairs: Callable[[str, Objective], Repairer | None] = lambda task, objective: None,
) -> RunResult:
    """Run part of a saved run again as a new run; see `Agent.fork`."""
    run = await read_run(execution.store, run_id)
    objective = run.objective(budget, deadline_s)
    plan, changed = swap_tools(run.plan, set_)
    given = {**run.restored.inputs, **inputs}
    quote = replace(requote(run, plan, given, objective, execution.catalogue), planning=None)  # paid by the other run
    check_inputs(quote.compiled, given)
    anew = {*changed, *([from_step] if from_step is not None else ())}
    kept = keepable(run, quote.compiled, anew, inputs)
    left = _left(quote, kept)
    if objective.budget is not None and left is not None and left > objective.budget:
        raise RunRefused(quote)
    about = {"parent": run.run_id, "fork_step": from_step or next(iter(changed), None)}
    return await execution.run(
        quote, given, objective, approve=approve, on_event=on_event, repair=repairs(run.task, objective),
        restored=kept, about=about,
    )  # fmt: skip


def swap_tools(plan: Plan, set_: Mapping[str, str]) -> tuple[Plan, tuple[str, ...]]:
    """Put other tools into a plan: by step (its first alternative) or by tool (wherever it is used).

    Returns the plan and the names of the steps that changed. Raises `CannotResume` for a name that is neither.
    """
    steps, tools = {step.name for step in plan.steps}, {a.tool for step in plan.steps for a in step.attempts}
    for name in set_:
        if name not in steps and name not in tools:
            known = sorted({*map(str, steps), *map(str, tools)})
            hint = nearest(name, known) or f"the plan has {', '.join(known)}"
            raise CannotResume(f"cannot set {name!r}: it is neither a step nor a tool of the plan; {hint}")
    changed = {step.name: _swapped(step, set_) for step in plan.steps}
    names = tuple(str(step.name) for step in plan.steps if changed[step.name] != step)
    return replace(plan, steps=tuple(changed[step.name] for step in plan.steps)), names


def _swapped(step: Step, set_: Mapping[str, str]) -> Step:
    attempts = tuple(
        replace(attempt, tool=ToolName(set_[attempt.tool])) if attempt.tool in set_ else attempt
        for attempt in step.attempts
    )
    if step.name in set_:
        attempts = (replace(attempts[0], tool=ToolName(set_[step.name])), *attempts[1:])
    return replace(step, attempts=attempts)


def keepable(run: RecordedRun, compiled: CompiledPlan, anew: Iterable[str], inputs: Iterable[str]) -> Restored:
    """What a fork takes over: the ends and values of steps that need not run again."""
    graph, names = compiled.graph, {str(step.name) for step in compiled.plan.steps}
    roots = {*anew, *(f"in:{name}" for name in inputs)}
    for name in anew:
        if name not in names:
            hint = nearest(name, names) or f"it has {', '.join(sorted(names))}"
            raise CannotResume(f"the plan has no step {name!r}; {hint}")
    roots |= {name for name in names if not _has_end(run.restored.steps.get(name))}
    dirty = roots.union(*(nx.descendants(graph, root) for root in roots if root in graph))
    steps = {name: _kept(step) for name, step in run.restored.steps.items() if name in names and name not in dirty}
    asked = {*anew, *(f"in:{name}" for name in inputs)}
    asked |= {name for root in asked if root in graph for name in nx.descendants(graph, root)}
    _check_writes(run, compiled, names - steps.keys(), anew, asked)
    return Restored(steps, fork=True)


def _check_writes(
    run: RecordedRun, compiled: CompiledPlan, again: Iterable[str], anew: Iterable[str], asked: Iterable[str]
) -> None:
    """A write whose value is lost, or that may have acted although it did not end, must not be repeated in silence."""
    for name in again:
        step = run.restored.steps.get(name)
        if step is None or name in anew:
            continue
        tools = [compiled.registry.get(attempt.tool) for attempt in compiled.plan.step(name).attempts]
        if not any(tool is not None and tool.effects == "write" for tool in tools):
            continue
        if step.status == "ok" and not step.has_value:
            raise CannotResume(
                f"step {name!r} changed the world, and its value cannot be read back; to do it again, fork from it"
            )
        if name not in asked and any(_may_have_acted(unit) for unit in step.units.values()):
            raise CannotResume(
                f"step {name!r} was at work when the run stopped and may have changed the world; resume the run first "
                "and say what to do about it, or fork from that step to do it again"
            )


def _may_have_acted(unit: RestoredUnit) -> bool:
    last = unit.last
    return unit.status != "ok" and last is not None and last.key is None and last.outcome in _CUT_SHORT


def _has_end(step: RestoredStep | None) -> bool:
    if step is None or step.status not in ("ok", "skipped"):
        return False
    return step.has_value or step.status == "skipped"


def _kept(step: RestoredStep) -> RestoredStep:
    """The end of a step without the calls that led to it: those were paid for by the other run."""
    units = {
        element: RestoredUnit(unit.status, unit.has_value, unit.value, unit.attempt, reason=unit.reason, told=True)
        for element, unit in step.units.items()
    }
    return replace(step, calls=0, ready_ns=None, started_ns=None, ended_ns=None, units=units)


def _left(quote: Quote, kept: Restored) -> Money | None:
    """The expected price of what the fork has to do; None if nobody knows all of it."""
    prices = [step.price.expected for name, step in quote.compiled.estimate.steps.items() if name not in kept.steps]
    known = [price for price in prices if price is not None]
    return Money(sum(known)) if len(known) == len(prices) else None
