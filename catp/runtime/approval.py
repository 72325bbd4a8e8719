"""What somebody is asked to agree to: one step that is ready, or the whole plan before its first call."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money
from catp.planlang.registry_view import CallEstimate
from catp.runtime.program import StepInfo

__all__ = ["ApprovalRequest", "Approver", "plan_request", "step_request"]


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What would be called, with what, at which price: a step with `@approve`, or the whole plan if `step` is None.

    `tools` are a step's alternatives, or all tools of the plan. `arguments` are the values the step would be called
    with (none for a map: each of its `width` elements has its own), or the inputs of the plan. `estimate` and `p95` are
    the expected and the p95 price, None if unknown. `cap` is the most that may be spent if it is granted, None without
    a limit. Whoever remembers an answer must bind it to `digest` (of the plan) and `cap`.
    """

    run_id: str
    step: str | None
    tools: tuple[str, ...]
    arguments: Mapping[str, Any]
    estimate: Money | None
    p95: Money | None = None
    cap: Money | None = None
    digest: str = ""
    width: int | None = None


Approver: TypeAlias = Callable[[ApprovalRequest], Awaitable[bool | None]]
"""Decides about a step or a plan with `@approve`; may wait for a person as long as it likes.

The run's deadline holds while a step is waited for; it starts only after the plan is approved. None puts the decision
off: whatever does not depend on it still runs, then the run ends as `waiting`.
"""


def plan_request(run_id: str, compiled: CompiledPlan, inputs: Mapping[str, Any], cap: Money | None) -> ApprovalRequest:
    """Return the question about a whole plan that may spend up to `cap`."""
    tools = dict.fromkeys(str(attempt.tool) for step in compiled.plan.steps for attempt in step.attempts)
    limit = compiled.plan.limits.cost
    price = compiled.estimate.price
    return ApprovalRequest(
        run_id, None, tuple(tools), inputs, price.expected, price.p95,
        _least(cap, limit.nano if limit is not None else None), compiled.digest,
    )  # fmt: skip


def step_request(
    run_id: str,
    compiled: CompiledPlan,
    info: StepInfo,
    arguments: Mapping[str, Any],
    estimate: CallEstimate | None,
    cap: Money | None,
    width: int | None,
) -> ApprovalRequest:
    """Return the question about a step; `estimate` is of one call of its first possible alternative."""
    limit = compiled.plan.limits.cost
    times = 1 if width is None else width
    price = estimate.price if estimate is not None else None
    return ApprovalRequest(
        run_id, info.name, tuple(attempt.tool for attempt in info.attempts), arguments,
        _times(price.expected if price else None, times), _times(price.p95 if price else None, times),
        _least(cap, limit.nano if limit is not None else None, info.budget), compiled.digest, width,
    )  # fmt: skip


def _times(amount: Money | None, times: int) -> Money | None:
    return None if amount is None else Money(amount * times)


def _least(*caps: Money | None) -> Money | None:
    return min((cap for cap in caps if cap is not None), default=None)
