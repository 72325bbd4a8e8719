"""How a compiled plan's price and time are told, in words and in JSON: the same wherever a plan is shown."""

from typing import TYPE_CHECKING, Any

from catp.cli.output import dollars, milliseconds
from catp.planlang.money import Money, format_usd

if TYPE_CHECKING:
    from catp.planlang.compiled import CompiledPlan, PlanEstimate, StepEstimate
    from catp.planlang.passes.admit import Verdict
    from catp.planlang.registry_view import Latency, PriceRange
    from catp.runtime.planning import Planning

__all__ = ["estimate_json", "latency_text", "money_json", "planning_text", "price_text", "usd_json"]


def price_text(estimate: "PlanEstimate") -> str:
    """`$0.01 low, $0.02 expected, $0.03 p95`, or which steps are unpriced."""
    price = estimate.price
    if not price.priced:
        return f"unpriced: {', '.join(estimate.unpriced)}"
    return f"{dollars(price.low)} low, {dollars(price.expected)} expected, {dollars(price.p95)} p95"


def latency_text(estimate: "PlanEstimate") -> str:
    """`1.2 s expected, 2.0 s p95`, or for which steps it is unknown."""
    latency = estimate.latency
    known = f"{milliseconds(latency.expected_ms)} expected, {milliseconds(latency.p95_ms)} p95"
    if not estimate.untimed:
        return known
    unknown = f"unknown for {', '.join(estimate.untimed)}"
    return f"{unknown}; the rest {known}" if latency.p95_ms else unknown


def planning_text(planning: "Planning") -> str:
    """`search, 12 ms, $0.00000003`, or that the price is unpriced."""
    return f"{planning.planner}, {milliseconds(planning.ms)}, {dollars(planning.price)}"


def usd_json(amount: Money | None) -> str | None:
    """An amount as a decimal string, None for unpriced."""
    return None if amount is None else format_usd(amount)


def money_json(price: "PriceRange") -> dict[str, str | None]:
    """A price range as decimal strings, None for unpriced."""
    return {"low": usd_json(price.low), "expected": usd_json(price.expected), "p95": usd_json(price.p95)}


def estimate_json(compiled: "CompiledPlan", verdict: "Verdict") -> dict[str, Any]:
    """A compiled plan with everything predicted of it; times of steps never measured are None."""
    from catp.planlang.jsonform import to_json
    from catp.planlang.printer import to_text

    estimate = compiled.estimate
    return {
        "digest": compiled.digest,
        "text": to_text(compiled.plan),
        "plan": to_json(compiled.plan),
        "price_usd": money_json(estimate.price),
        "latency_ms": _latency_json(estimate.latency, known=not estimate.untimed),
        "serial_ms": None if estimate.untimed else estimate.serial_ms,
        "width": estimate.width,
        "calls": {"expected": estimate.calls, "most": estimate.max_calls},
        "critical_path": list(estimate.critical_path),
        "unpriced": list(estimate.unpriced),
        "untimed": list(estimate.untimed),
        "fit": verdict.fit,
        "limits": [diagnostic.to_json() for diagnostic in verdict.diagnostics],
        "steps": [_step_json(name, step) for name, step in estimate.steps.items()],
    }


def _step_json(name: str, step: "StepEstimate") -> dict[str, Any]:
    return {
        "step": name,
        "price_usd": money_json(step.price),
        "latency_ms": _latency_json(step.latency, known=step.timed),
        "slack_ms": step.slack_ms,
        "critical": step.critical,
    }


def _latency_json(latency: "Latency", *, known: bool) -> dict[str, float | None]:
    return {"expected": latency.expected_ms if known else None, "p95": latency.p95_ms if known else None}
