"""What is known of a plan before it runs, as JSON: its price and time, step by step, and whether it fits."""

from typing import Any

from catp.dashboard.forms import usd
from catp.dashboard.read.plan_diff import plan_diff
from catp.planlang.compiled import CompiledPlan
from catp.planlang.parser import parse
from catp.planlang.passes.admit import Verdict
from catp.planlang.printer import to_text
from catp.planlang.registry_view import Latency, PriceRange
from catp.result import Planned, Quote

__all__ = ["estimate_json", "nodes_json", "preview_json", "quote_json", "verdict_json"]


def preview_json(planned: Planned, before: tuple[str, str, str] | None) -> dict[str, Any]:
    """Return the candidates, best first, and how each differs from the plan `before` (run, digest, text)."""
    planning = planned.planning
    old = None if before is None else parse(before[2])
    made = None
    if planning is not None:
        made = {"planner": planning.planner, "cost": usd(planning.price), "ms": round(planning.ms, 3)}
    return {
        "task": planned.task,
        "candidates": [
            quote_json(quote, rank) | {"diff": None if old is None else plan_diff(quote.compiled.source, old)}
            for rank, quote in enumerate(planned.candidates, 1)
        ],
        "exact": planned.exact, "notes": list(planned.notes), "planning": made, "says": _in_words(planned),
        "previous": None if before is None else {"run": before[0], "plan_hash": before[1]},
    }  # fmt: skip


def _in_words(planned: Planned) -> str:
    planning = planned.planning
    if planning is None:
        return "This plan was given."
    cost = "an unknown amount" if planning.price is None else f"${usd(planning.price)}"
    by = f"{planning.planner} took {planning.ms:.0f} ms and cost {cost}, which the first run pays"
    return " ".join(f"{one[:1].upper()}{one[1:].rstrip('.')}." for one in (by, *planned.notes))


def quote_json(quote: Quote, rank: int) -> dict[str, Any]:
    """Return a candidate: the plan as it would run, with what a quote of it says."""
    compiled = quote.compiled
    return {
        "rank": rank, "plan_hash": compiled.digest, "planner": quote.planner, "source": to_text(compiled.source),
        **estimate_json(compiled), "quality": quote.quality, "utility": quote.utility, "alpha": quote.alpha,
        "verdict": verdict_json(quote.verdict, admitted=quote.admitted), "nodes": nodes_json(compiled),
        "optional": [output.name for output in compiled.plan.outputs if output.optional],
        "given_up": {one.output: one.reason for one in quote.given_up}, "notes": list(quote.notes),
    }  # fmt: skip


def estimate_json(compiled: CompiledPlan) -> dict[str, Any]:
    """Return price, time and shape of a plan; `est_ms` counts steps of unknown time (`untimed`) as 0."""
    estimate = compiled.estimate
    return {
        "est": _price(estimate.price), "est_ms": _time(estimate.latency, known=not estimate.untimed),
        "critical_path": list(estimate.critical_path), "serial_ms": round(estimate.serial_ms, 3),
        "width": estimate.width, "calls": {"p50": round(estimate.calls, 3), "most": estimate.max_calls},
        "unpriced": list(estimate.unpriced), "untimed": list(estimate.untimed),
    }  # fmt: skip


def nodes_json(compiled: CompiledPlan) -> list[dict[str, Any]]:
    """Return the steps that would run, in plan order, in the form that a run has them."""
    steps = {str(step.name): step for step in compiled.plan.steps}
    timed = compiled.estimate.latency != Latency()
    nodes = []
    for name, found in compiled.estimate.steps.items():
        tool, *fallbacks = (str(attempt.tool) for attempt in steps[name].attempts)
        cost, ms = _price(found.price), _time(found.latency, known=found.timed)
        nodes.append(
            {
                "id": str(name),
                "tool": tool,
                "fallbacks": fallbacks,
                "mapped": steps[name].mapped,
                "calls": round(found.calls, 3),
                "slack_ms": round(found.slack_ms, 3) if timed else None,
                "critical": found.critical,
                "est": {"source": "plan", "n": None, "cost": cost, "ms": ms},
            }
        )
    return nodes


def verdict_json(verdict: Verdict, *, admitted: bool) -> dict[str, Any]:
    """Return whether a plan may run under its limits, and every reason against it."""
    return {
        "fits": admitted, "fit": verdict.fit, "budget": usd(verdict.budget), "deadline_ms": verdict.deadline_ms,
        "reasons": [
            {"severity": one.severity, "text": one.message, "help": one.help} for one in verdict.diagnostics
        ],
    }  # fmt: skip


def _price(price: PriceRange) -> dict[str, str | None]:
    return {"low": usd(price.low), "p50": usd(price.expected), "p90": usd(price.p95), "p95": usd(price.p95)}


def _time(latency: Latency, *, known: bool) -> dict[str, float | None]:
    """Times in ms; what counts as 0 only because nobody knows any of it is None."""
    if not known and latency == Latency():
        return {"p50": None, "p90": None, "p95": None}
    p95 = round(latency.p95_ms, 3)
    return {"p50": round(latency.expected_ms, 3), "p90": p95, "p95": p95}
