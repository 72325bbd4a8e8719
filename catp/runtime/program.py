"""What the reducer needs to know of a plan, worked out once: who waits for whom, which notes hold, which order.

A `Program` is a compiled plan seen by the scheduler. It holds no values and no tools, only names, needs and rules.
"""

import math
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.planlang.nodes import Attempt, Output, OwnTest, Ref, Step, Test, Value, refs_in
from catp.planlang.notes import step_policy
from catp.planlang.passes.fuse_map import elements_of

__all__ = ["AttemptInfo", "BoundArg", "Need", "Program", "StepInfo", "build_program"]


@dataclass(frozen=True, slots=True)
class Need:
    """A step whose result is wanted; `element` means only the element of the same index."""

    root: str
    required: bool = True
    element: bool = False


@dataclass(frozen=True, slots=True)
class BoundArg:
    """One argument with the name of its parameter; `over` is what it maps over if element by element of its root."""

    name: str
    value: Value
    each: bool
    over: Ref | None = None


@dataclass(frozen=True, slots=True)
class AttemptInfo:
    """One alternative of a step."""

    tool: str
    args: tuple[BoundArg, ...]
    needs: tuple[Need, ...]
    accept: tuple[OwnTest, ...]
    mapped: bool


@dataclass(frozen=True, slots=True)
class StepInfo:
    """One step as the scheduler sees it.

    `order` sorts ready calls: the higher `@priority` first, then the smaller slack, then the lower price (so that more
    steps finish while money is short), then plan order. `retries` is 0 for a write step without `@key`, whatever its
    `@retry` says: the failed call may have acted. `cache_ttl_s` is what `@cache` says (0 for off, None if
    nothing) and `pin` the pool that `@pin` names.
    """

    name: str
    order: tuple[float, float, float, int]
    attempts: tuple[AttemptInfo, ...]
    mapped: bool
    guard: tuple[Test, ...]
    guard_needs: tuple[Need, ...]
    otherwise: Ref | None
    else_needs: tuple[Need, ...]
    retries: int
    backoff_s: float
    retry_on: frozenset[str]
    timeout_s: float | None
    budget: Money | None
    hedge_s: float | None
    quorum: float
    approve: bool
    key: Value | None
    writes: bool
    cache_ttl_s: float | None
    pin: str | None


@dataclass(frozen=True)
class Program:
    """A plan ready to schedule; with `approve` nothing is called before somebody agreed to all of it."""

    steps: Mapping[str, StepInfo]
    outputs: tuple[Output, ...]
    max_calls: int | None
    max_cost: Money | None
    max_latency_s: float | None
    approve: bool


_PROGRAMS: dict[int, Program] = {}
"""By identity: compiled plans hold mappings and cannot be hashed."""


def build_program(compiled: CompiledPlan) -> Program:
    """Work out the schedule-relevant facts of a compiled plan; done once, however often the plan is run."""
    known = _PROGRAMS.get(id(compiled))
    if known is None:
        known = _PROGRAMS[id(compiled)] = _build(compiled)
        weakref.finalize(compiled, _PROGRAMS.pop, id(compiled), None).atexit = False
    return known


def _build(compiled: CompiledPlan) -> Program:
    limits = compiled.plan.limits
    steps: dict[str, Step] = {step.name: step for step in compiled.plan.steps}
    return Program(
        {step.name: _step_info(compiled, steps, step, place) for place, step in enumerate(compiled.plan.steps)},
        compiled.plan.outputs,
        limits.calls,
        limits.cost.nano if limits.cost else None,
        limits.latency.seconds if limits.latency else None,
        compiled.plan.approve,
    )


def _step_info(compiled: CompiledPlan, steps: Mapping[str, Step], step: Step, place: int) -> StepInfo:
    policy = step_policy(step)
    writes = any(_writes(compiled, attempt.tool) for attempt in step.attempts)
    repeatable = policy.key is not None or not writes
    guard_needs = [_need(test.ref) for test in step.when] + [Need(name, required=False) for name in policy.after]
    key_needs = [_need(ref) for ref in refs_in(policy.key)] if policy.key is not None else []
    return StepInfo(
        name=step.name,
        order=_order(compiled, step, policy.priority, place),
        attempts=tuple(_attempt_info(compiled, steps, step, attempt, key_needs) for attempt in step.attempts),
        mapped=step.mapped,
        guard=step.when,
        guard_needs=_only_steps(steps, guard_needs),
        otherwise=step.otherwise,
        else_needs=_only_steps(steps, [_need(step.otherwise)] if step.otherwise else []),
        retries=policy.retries if repeatable else 0,
        backoff_s=policy.backoff_ms / 1e3,
        retry_on=frozenset(name.lower() for name in policy.retry_on),
        timeout_s=policy.timeout_s,
        budget=policy.budget,
        hedge_s=policy.hedge_s if len(step.attempts) > 1 and not writes else None,
        quorum=1.0 if policy.quorum is None else policy.quorum,
        approve=policy.approve,
        key=policy.key,
        writes=writes,
        cache_ttl_s=policy.cache_ttl,
        pin=policy.pin,
    )


def _writes(compiled: CompiledPlan, tool: str) -> bool:
    signature = compiled.registry.get(tool)
    return signature is not None and signature.effects == "write"


def _order(compiled: CompiledPlan, step: Step, priority: int, place: int) -> tuple[float, float, float, int]:
    estimate = compiled.estimate.steps.get(step.name)
    price = estimate.price.p95 if estimate else None
    return -priority, estimate.slack_ms if estimate else 0.0, math.inf if price is None else price, place


def _attempt_info(
    compiled: CompiledPlan, steps: Mapping[str, Step], step: Step, attempt: Attempt, extra: list[Need]
) -> AttemptInfo:
    signature = compiled.registry.get(attempt.tool)
    names = [param.name for param in signature.params] if signature else []
    args: list[BoundArg] = []
    needs = list(extra)
    for place, arg in enumerate(attempt.args):
        name = arg.name or (names[place] if place < len(names) else str(place))
        over = elements_of(arg)
        args.append(BoundArg(name, arg.value, arg.each, over))
        for ref in refs_in(arg.value):
            by_index = over is not None and ref.root in steps and steps[ref.root].mapped
            if by_index:
                needs.append(Need(ref.root, element=True))
            if not by_index or not _elementwise(compiled, ref.root, step.name):
                needs.append(_need(ref))
    return AttemptInfo(
        attempt.tool, tuple(args), _only_steps(steps, needs), attempt.accept, any(arg.each for arg in args)
    )


def _elementwise(compiled: CompiledPlan, producer: str, consumer: str) -> bool:
    edge = compiled.graph.get_edge_data(producer, consumer)
    return bool(edge and edge.get("elementwise"))


def _need(ref: Ref) -> Need:
    return Need(ref.root, not ref.optional)


def _only_steps(steps: Mapping[str, Step], needs: list[Need]) -> tuple[Need, ...]:
    """Drop plan inputs, which are there from the start, and merge what is needed twice (required wins)."""
    merged: dict[tuple[str, bool], Need] = {}
    for need in needs:
        if need.root in steps:
            known = merged.get((need.root, need.element))
            merged[need.root, need.element] = Need(
                need.root, need.required or (known is not None and known.required), need.element
            )
    return tuple(merged.values())
