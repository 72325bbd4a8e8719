"""What would this run have cost and taken with another tool, other limits, more calls at once? Nothing is called.

replay = await agent.replay(run_id)                                   # ends as it did
replay = await agent.replay(run_id, set={"ocr": "other.ocr"})         # the same, with another tool for one step
replay.then.cost, replay.now.cost
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catp.execution import Execution
from catp.fork import swap_tools
from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.recorded import CannotResume, RecordedRun, read_run, requote
from catp.runtime.clock import VirtualClock
from catp.runtime.early import EarlyCalls
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.planning import Planning
from catp.runtime.recording import Lives, Recording
from catp.runtime.repairs import Broken, Repaired
from catp.runtime.replay import rebuild
from catp.runtime.run import Run, RunOutcome
from catp.runtime.slots import Slots

__all__ = ["Replay", "ReplayedStep", "Side", "replay_run"]


@dataclass(frozen=True, slots=True)
class Side:
    """A run in short: its status, the sum of its priced ledger rows, and how long it was driven."""

    status: str
    cost: Money
    ms: float


@dataclass(frozen=True, slots=True)
class ReplayedStep:
    """One step then and now. Costs are sums of ledger rows, None without a priced one; times from first call to end.

    `estimated` is True if not every call of the replay was in the record.
    """

    name: str
    status_then: str
    status_now: str
    tool_then: str | None
    tool_now: str | None
    cost_then: Money | None
    cost_now: Money | None
    ms_then: float | None
    ms_now: float | None
    estimated: bool


@dataclass(frozen=True)
class Replay:
    """A recorded run beside the same run played again; `outcome` is everything about the latter.

    `planning` is part of both, in the order of time: plans are not made again.
    """

    run_id: str
    then: Side
    now: Side
    steps: tuple[ReplayedStep, ...]
    outcome: RunOutcome
    planning: tuple[Planning, ...] = ()

    @property
    def exact(self) -> bool:
        """True if every call was in the record, so that nothing is estimated."""
        return not any(step.estimated for step in self.steps)


async def replay_run(
    execution: Execution,
    run_id: str,
    *,
    set_: Mapping[str, str],
    workers: int | None = None,
    budget: Money | None = None,
    deadline_s: float | None = None,
) -> Replay:
    """Play a saved run again on a virtual clock; see `Agent.replay`."""
    run = await read_run(execution.store, run_id)
    for what, why in run.unreadable.items():
        raise CannotResume(f"run {run.run_id} cannot be replayed: the value of {what} cannot be read back ({why})")
    objective = run.objective(budget, deadline_s)
    inputs = run.restored.inputs

    def compiled(plan: Plan) -> CompiledPlan:
        return requote(run, plan, inputs, objective, execution.catalogue).compiled

    plans = [run.first_plan, *(parse(event.data["source"]) for event in run.restored.events if _is_new_plan(event))]
    known = {name for plan in plans for step in plan.steps for name in (step.name, *(a.tool for a in step.attempts))}
    here = [compiled(swap_tools(plan, {k: v for k, v in set_.items() if k in known})[0]) for plan in plans]
    if set_.keys() - known:
        swap_tools(run.plan, set_)  # says which name is neither a step nor a tool
    # A loop of its own: the virtual clock moves on whenever its loop is idle, and this one may wait for real things.
    args = (execution, run, here, inputs, objective.budget, objective.deadline_ms, workers)
    outcome, estimated = await asyncio.to_thread(lambda: asyncio.run(_play(*args)))
    return _beside(run, outcome, estimated)


def _is_new_plan(event: RunEvent) -> bool:
    return event.type == "run.replanned"


async def _play(
    execution: Execution, recorded: RecordedRun, plans: list[CompiledPlan], inputs: Mapping[str, Any],
    budget: Money | None, deadline_ms: float | None, workers: int | None,
) -> tuple[RunOutcome, frozenset[str]]:  # fmt: skip
    clock = VirtualClock()
    recording = Recording(recorded.restored.events, recorded.values, clock)
    events = recorded.restored.events
    first, *planned = [Planning.recorded(event.data) for event in events if _is_plan(event)]
    further = iter(zip(plans[1:], planned, strict=True))
    in_vain = (planning for event in events if not _is_plan(event) and (planning := Planning.recorded(event.data)))

    async def repair(broken: Broken) -> Repaired | None:
        compiled, planning = next(further, (None, None))
        planning = next(in_vain, None) if compiled is None else planning
        broken.planning.extend([] if planning is None else [planning])
        return None if compiled is None else Repaired(compiled, "as recorded")

    run = Run(
        plans[0],
        inputs,
        execution.catalogue,
        ledger=Ledger(budget, unpriced=execution.spending.assume_price or "refuse"),
        deadline_s=None if deadline_ms is None else deadline_ms / 1e3,
        slots=Slots(workers or execution.workers or 64),
        clock=clock,
        approve=recording.approve,
        repair=repair,
        understudy=recording,
        planning=first,
        early=EarlyCalls.recorded(events),
    )
    run.start()
    stopped = _stopped_at(recorded, recording.lives)
    if stopped is not None:
        clock.call_later(stopped / 1e9, lambda: run.cancel(recorded.restored.stopped))
    outcome = await run.wait()
    return outcome, frozenset(recording.estimated)


def _is_plan(event: RunEvent) -> bool:
    return event.type == "run.created" or _is_new_plan(event)


def _stopped_at(run: RecordedRun, lives: Lives) -> int | None:
    """When somebody stopped the run, in nanoseconds of its time; None if nobody did."""
    if run.restored.status != "cancelled":
        return None
    stopped = [event.at_ns for event in run.restored.events if event.type == "node.cancelled"]
    return lives.at(stopped[-1]) if stopped else None


def _beside(run: RecordedRun, outcome: RunOutcome, estimated: frozenset[str]) -> Replay:
    past = run.restored
    lives, ends = Lives(past.events), rebuild(past.events).steps
    costs: dict[str, int] = {}
    for row in past.rows:
        if row.amount is not None:
            costs[row.step] = costs.get(row.step, 0) + row.amount
    last = next((event for event in reversed(past.events) if event.type in ("run.finished", "run.waiting")), None)
    status: str = past.status or "interrupted"
    ms = last.data["ms"] if last is not None and past.status is not None else past.elapsed_ns / 1e6
    steps = []
    for name, step in outcome.steps.items():
        then = past.steps.get(name)
        began, ended = (then.started_ns, then.ended_ns) if then is not None else (None, None)
        took = None if began is None or ended is None else (lives.at(ended) - lives.at(began)) / 1e6
        tool = then.tool if then is not None else None
        if then is not None and tool is None:
            tool = next((unit.last.tool for unit in then.units.values() if unit.last is not None), None)
        steps.append(
            ReplayedStep(
                name, ends.get(name, "pending"), step.status, tool, step.tool,
                Money(costs[name]) if name in costs else None, step.price, took, step.ms, name in estimated,
            )
        )  # fmt: skip
    return Replay(
        run.run_id, Side(status, Money(sum(costs.values())), ms),
        Side(outcome.status, outcome.spent, outcome.wall_ms), tuple(steps), outcome,
        tuple(planning for event in past.events if (planning := Planning.recorded(event.data)) is not None),
    )  # fmt: skip
