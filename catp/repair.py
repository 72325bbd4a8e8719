"""Repair: when steps have failed, ask the planner for the rest of the plan, within limits on rounds and money.

agent = Agent(repair=2)                                    # at most two rounds
agent = Agent(repair=Repair(rounds=3, budget="0.02"))      # and at most two cents in all of them together
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import Plan, Ref, StepName, ToolName
from catp.planlang.registry_view import Estimator, RegistryView
from catp.planlang.types import ANY, Type
from catp.planners.protocol import Objective, Planner, Wanted
from catp.planners.repair import Failure, RepairingPlanner, RepairRequest, merge_suffix
from catp.quoting import money_of
from catp.runtime.planning import Planning
from catp.runtime.repairs import Broken, FailedCall, Repaired
from catp.tools.builtin.facts import describe

__all__ = ["Repair", "Repairs"]


@dataclass(frozen=True, slots=True)
class Repair:
    """How far a broken run may be repaired: so many rounds, and so much money over all rounds (None: the run's cap)."""

    rounds: int = 2
    budget: str | Money | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.rounds <= 100:
            raise ValueError(f"repair rounds must lie between 0 and 100, got {self.rounds!r}")
        object.__setattr__(self, "budget", money_of("the repair budget", self.budget))


class Repairs:
    """The repairs of one run: a `Repairer` that asks the planner and checks what it proposes.

    A proposal is taken if it compiles, was not tried before, and the p95 price of what is left to do fits into the
    money left. The first that does is taken.
    """

    def __init__(
        self, repair: Repair, planner: Planner, task: str, objective: Objective, registry: RegistryView,
        estimator: Estimator,
    ) -> None:  # fmt: skip
        self._repair = repair
        self._planner = planner
        self._task = task
        self._objective = objective
        self._registry = registry
        self._estimator = estimator
        self._round = 0
        self._started: Money | None = None
        self._tried: set[str] = set()

    async def __call__(self, broken: Broken) -> Repaired | None:
        """Return the plan to go on with, or None."""
        if self._round >= self._repair.rounds or not isinstance(self._planner, RepairingPlanner):
            return None
        self._round += 1
        self._tried.add(broken.compiled.digest)
        if self._started is None:
            self._started = broken.spent
        left = self._money_left(broken)
        if left is not None and left <= 0:
            return None
        request = await asyncio.to_thread(self._request, broken, left)
        suffixes, price = await self._asked(broken, request)
        if left is not None and price is not None:
            left = Money(left - price)
        for suffix in suffixes:
            compiled = self._compiled(request, suffix)
            if compiled is not None and _fits(compiled, request, left):
                return Repaired(compiled, self._reason(request, compiled))
        return None

    async def _asked(self, broken: Broken, request: RepairRequest) -> tuple[tuple[Plan, ...], Money | None]:
        """The planner's proposals and their price, which is booked whatever comes of them."""
        assert isinstance(self._planner, RepairingPlanner)
        began, price = time.perf_counter(), None
        try:
            suffixes = await self._planner.repair(request)
            price = None if None in request.paid else _sum(request.paid)
        finally:  # nobody says what a planner that failed, or had no more time, has cost: the price stays unknown
            ms = (time.perf_counter() - began) * 1e3
            broken.planning.append(Planning(self._planner.name, ms, price))
        return suffixes, price

    def _money_left(self, broken: Broken) -> Money | None:
        own = self._repair.budget
        assert not isinstance(own, str)
        mine = None if own is None else Money(own - (broken.spent - (self._started or 0)))
        return min((amount for amount in (mine, broken.left) if amount is not None), default=None)

    def _request(self, broken: Broken, left: Money | None) -> RepairRequest:
        plan, types = broken.compiled.plan, broken.compiled.types
        facts = {
            name: replace(describe(value), type=types[name]) for name, value in broken.values.items() if name in types
        }
        inputs = {item.name: facts[item.name] for item in plan.inputs if item.name in facts}
        finished = {step.name: facts[step.name] for step in plan.steps if step.name in broken.finished}
        left_ms = None if broken.left_s is None else max(1.0, broken.left_s * 1e3)
        objective = replace(self._objective, budget=left, deadline_ms=left_ms)
        return RepairRequest(
            self._task, plan, inputs, finished, _counted(broken.failures), _wanted(broken), objective, self._registry,
            self._estimator,
        )  # fmt: skip

    def _compiled(self, request: RepairRequest, suffix: Plan) -> CompiledPlan | None:
        plan = merge_suffix(request.plan, request.finished.keys(), suffix)
        try:
            compiled = compile_plan(plan, self._registry, estimator=self._estimator, facts=request.inputs)
        except PlanError:  # a planner may be wrong; what it proposes next may not be
            return None
        return None if compiled.digest in self._tried else compiled

    def _reason(self, request: RepairRequest, compiled: CompiledPlan) -> str:
        old = {step.name: step for step in request.plan.steps}
        new = [step for step in compiled.plan.steps if old.get(step.name) != step]
        failed = ", ".join(f"`{failure.step}` ({failure.tool}: {failure.error})" for failure in request.failures)
        instead = ", ".join(f"`{s.name}` = {' | '.join(a.tool for a in s.attempts)}" for s in new)
        return f"repair {self._round} of {self._repair.rounds}: {failed} failed; now {instead}"


def _sum(amounts: Iterable[Money | None]) -> Money:
    return Money(sum(amount or 0 for amount in amounts))


def _counted(calls: tuple[FailedCall, ...]) -> tuple[Failure, ...]:
    """One entry for each step and way of failing, with how often any step failed in this way."""
    times = Counter((call.tool, call.arguments, call.error) for call in calls)
    last = {(call.step, call.tool, call.arguments, call.error): call for call in calls}
    return tuple(
        Failure(
            StepName(call.step), ToolName(call.tool), call.error, call.reason, call.arguments,
            times[call.tool, call.arguments, call.error],
        )
        for call in last.values()
    )  # fmt: skip


def _wanted(broken: Broken) -> tuple[Wanted, ...]:
    """The missing outputs, each by its type and by what the tools that should have made it are for."""
    compiled, registry = broken.compiled, broken.compiled.registry
    found = []
    for output in compiled.plan.outputs:
        if output.name in broken.missing and output.ref.root not in {item.name for item in compiled.plan.inputs}:
            step = compiled.plan.step(output.ref.root)
            sigs = [registry.get(attempt.tool) for attempt in step.attempts]
            purposes = tuple(dict.fromkeys(sig.capability for sig in sigs if sig is not None and sig.capability))
            type_ = _type_at(registry, compiled.types[step.name], output.ref)
            found.append(Wanted(output.name, type_, output.optional, purposes))
    return tuple(found)


def _type_at(registry: RegistryView, type_: Type, ref: Ref) -> Type:
    for part in ref.path:
        inner = registry.types.field(type_, part) if isinstance(part, str) else type_.item
        type_ = inner if inner is not None else ANY
    return type_.required


def _fits(compiled: CompiledPlan, request: RepairRequest, left: Money | None) -> bool:
    """True if the p95 price of the steps still to be made is known and within the money left."""
    if left is None:
        return True
    over = {step.name: step for step in request.plan.steps if step.name in {*request.finished, *request.failed_steps}}
    open_ = [step.name for step in compiled.plan.steps if over.get(step.name) != step]
    prices = [compiled.estimate.steps[name].price.p95 for name in open_]
    return all(price is not None for price in prices) and sum(price or 0 for price in prices) <= left
