"""What a plan would cost and take with another tool, or without an output; which tools fit a step. Nothing is called.

Before and after are estimates of the whole plan by the same rules, so their difference is that of the change alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor, log10
from typing import Any

import networkx as nx

from catp.dashboard.forms import usd
from catp.dashboard.problems import Problem
from catp.dashboard.read.planned import estimate_json, nodes_json, verdict_json
from catp.fork import swap_tools
from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan, StepEstimate
from catp.planlang.digest import digest
from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import Arg, Attempt, Plan
from catp.planlang.passes.admit import admit
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.estimate import DEFAULTS
from catp.planlang.passes.facts import unknown_facts
from catp.planlang.printer import to_text
from catp.planlang.registry_view import Estimator, Param, RegistryView, ToolSig, ValueFacts
from catp.planners.accuracy import AccuracyModel
from catp.planners.protocol import Objective, Wanted
from catp.planners.quality import quality_of
from catp.recorded import CannotResume

__all__ = ["Ground", "alternatives", "changed", "quoted", "wanted_of", "whatif"]


@dataclass(frozen=True)
class Ground:
    """What plans are priced and rated on: the tools, what is known of them and of the inputs."""

    registry: RegistryView
    estimator: Estimator
    facts: Mapping[str, ValueFacts]
    accuracy: AccuracyModel | None = None

    def compiled(self, plan: Plan) -> CompiledPlan:
        """Price a plan; raise `PlanError` if it is none for these tools."""
        return compile_plan(plan, self.registry, estimator=self.estimator, facts=self.facts)

    def quality(self, compiled: CompiledPlan, wanted: Sequence[Wanted]) -> float | None:
        """Return the quality in [0, 1] that the accuracies of the tools add up to; None if one is unknown."""
        given = {item.name: unknown_facts(item.type, DEFAULTS.list_count) for item in compiled.plan.inputs}
        found = quality_of(compiled, wanted, self.estimator, {**given, **self.facts}, accuracy=self.accuracy)
        return round(found.score, 6) if found.known else None


def wanted_of(compiled: CompiledPlan) -> tuple[Wanted, ...]:
    """Return what a plan makes, as if somebody had asked for it."""
    return tuple(Wanted(output.name, compiled.types[output.ref.root]) for output in compiled.plan.outputs)


def changed(plan: Plan, swap: Mapping[str, str], drop: Sequence[str], registry: RegistryView) -> Plan:
    """Put other tools into steps and leave optional outputs out; raise a 422 `Problem` for what is not there."""
    try:
        plan, _ = swap_tools(plan, swap)
    except CannotResume as error:
        raise Problem(422, "swap", f"swap: {str(error).removeprefix('cannot set ')}") from None
    optional = [output.name for output in plan.outputs if output.optional]
    for name in drop:
        if name not in optional:
            there = ", ".join(optional) or "it has none"
            raise Problem(422, "drop", f"drop: {name[:60]!r} is no optional output of the plan; {there}")
    if drop:
        plan = replace(plan, outputs=tuple(output for output in plan.outputs if output.name not in drop))
        plan, _ = drop_dead(plan, registry)
    return plan


def quoted(ground: Ground, plan: Plan, objective: Objective) -> dict[str, Any]:
    """Return the estimate of a whole plan, step by step, and whether it fits."""
    compiled = ground.compiled(plan)
    verdict = admit(compiled, budget=objective.budget, deadline_ms=objective.deadline_ms)
    return {
        **estimate_json(compiled), "quality": ground.quality(compiled, wanted_of(compiled)),
        "nodes": nodes_json(compiled), "verdict": verdict_json(verdict, admitted=verdict.expected_ok),
    }  # fmt: skip


def whatif(
    ground: Ground, plan: Plan, swap: Mapping[str, str], drop: Sequence[str], objective: Objective,
    kept: Iterable[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the plan before and after a change, with the difference of each step.

    `kept` are the steps whose values a replay would take over if it could; None where there is no run to replay.

    Raises:
        Problem: 422, there is no such step or output. PlanError: the tool does not fit.
    """
    before = ground.compiled(plan)
    new = changed(plan, swap, drop, ground.registry)
    after = ground.compiled(new)
    verdict = admit(after, budget=objective.budget, deadline_ms=objective.deadline_ms)
    wanted = wanted_of(before)
    qualities = ground.quality(before, wanted), ground.quality(after, wanted)
    return {
        "plan_hash": digest(new), "source": to_text(new), "swap": dict(swap), "drop": list(drop),
        "before": estimate_json(before) | {"quality": qualities[0]},
        "after": estimate_json(after) | {"quality": qualities[1]},
        "delta": _delta(before, after, qualities), "says": _both_in_words(before, after, qualities),
        "steps": _steps(before, after), "labels": _labels(before, after), "nodes": nodes_json(after),
        "verdict": verdict_json(verdict, admitted=verdict.expected_ok),
        "anew": None if kept is None else _anew(before, after, kept),
    }  # fmt: skip


def alternatives(ground: Ground, plan: Plan, steps: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return, for each step, the tools that the compiler accepts in place of its first one, and what would change.

    Tools for the same purpose come first, then by price. A tool that changes the world stands in only for another one.
    """
    before = ground.compiled(plan)
    wanted = wanted_of(before)
    quality = ground.quality(before, wanted)
    attempts = {str(step.name): step.attempts[0] for step in plan.steps}
    found: dict[str, list[dict[str, Any]]] = {}
    for name in steps:
        if name not in attempts:
            raise KeyError(f"the plan has no step {name[:60]!r}")
        now = ground.registry.get(attempts[name].tool)
        rows = []
        for tool in ground.registry:
            if now is None or tool is now or not _could(ground.registry, tool, now, attempts[name]):
                continue
            try:
                after = ground.compiled(swap_tools(plan, {name: tool.name})[0])
            except PlanError:
                continue
            rows.append(
                {
                    "tool": str(tool.name), "instead_of": str(now.name),
                    "same_purpose": bool(now.capability) and tool.capability == now.capability,
                }
                | _delta(before, after, (quality, ground.quality(after, wanted)))
            )  # fmt: skip
        found[name] = sorted(rows, key=lambda row: (not row["same_purpose"], float(row["cost"] or "inf"), row["tool"]))
    return found


def _delta(
    before: CompiledPlan, after: CompiledPlan, qualities: tuple[float | None, float | None]
) -> dict[str, Any]:  # fmt: skip
    """What changes: expected price, expected length of the critical path, quality; None if either side is unknown.

    `says` has it in words.
    """
    prices = before.estimate.price.expected, after.estimate.price.expected
    times = before.estimate.latency.expected_ms, after.estimate.latency.expected_ms
    cost = None if prices[0] is None or prices[1] is None else Money(prices[1] - prices[0])
    ms = None if before.estimate.untimed or after.estimate.untimed else round(times[1] - times[0], 3)
    quality = None if qualities[0] is None or qualities[1] is None else round(qualities[1] - qualities[0], 6)
    return {"cost": usd(cost), "ms": ms, "quality": quality, "says": _in_words(cost, ms, quality)}


def _in_words(cost: Money | None, ms: float | None, quality: float | None) -> str:
    """`+$0.03, +0.06 q, +1.2 s`; what does not change is left out."""
    said = [f"{_sign(cost)}${_three(abs(cost) / 1e9)}" if cost else "same price" if cost == 0 else "price unknown"]
    if quality is not None and abs(quality) >= 0.005:
        said.append(f"{_sign(quality)}{abs(quality):.2f} q")
    if ms is not None and abs(ms) >= 1:
        said.append(_sign(ms) + (f"{abs(ms):.0f} ms" if abs(ms) < 1000 else f"{_three(abs(ms) / 1000)} s"))
    return ", ".join(said)


def _both_in_words(before: CompiledPlan, after: CompiledPlan, qualities: tuple[float | None, float | None]) -> str:
    """`$0.02 → $0.03 (p95 $0.04), 1.2 s → 2.4 s, quality 0.80 → 0.86, critical path a, b`; the unknown is left out."""
    one, two = before.estimate, after.estimate
    said = []
    if one.price.expected is not None and two.price.expected is not None and two.price.p95 is not None:
        amounts = [f"${_three(amount / 1e9)}" for amount in (one.price.expected, two.price.expected, two.price.p95)]
        said.append(f"{amounts[0]} → {amounts[1]} (p95 {amounts[2]})")
    if not one.untimed and not two.untimed:
        said.append(" → ".join(f"{_three(each.latency.expected_ms / 1000)} s" for each in (one, two)))
    if qualities[0] is not None and qualities[1] is not None:
        said.append(f"quality {qualities[0]:.2f} → {qualities[1]:.2f}")
    return ", ".join([*said, f"critical path {', '.join(two.critical_path)}"])


def _sign(value: float) -> str:
    return "+" if value > 0 else "\N{MINUS SIGN}"


def _three(value: float) -> str:
    """Three digits that count, without an exponent."""
    text = f"{value:.{max(0, 2 - floor(log10(value)))}f}" if value else "0"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _steps(before: CompiledPlan, after: CompiledPlan) -> list[dict[str, Any]]:
    sides = [({str(step.name): step for step in one.plan.steps}, one.estimate.steps) for one in (before, after)]
    rows = []
    for name in dict.fromkeys([*sides[0][0], *sides[1][0]]):
        plans = [steps.get(name) for steps, _ in sides]
        costs = [_cost({str(key): value for key, value in found.items()}.get(name)) for _, found in sides]
        times = [_ms({str(key): value for key, value in found.items()}.get(name)) for _, found in sides]
        tools = [None if step is None else str(step.attempts[0].tool) for step in plans]
        rows.append(
            {
                "id": name, "tool": {"before": tools[0], "after": tools[1]},
                "change": _change(tools[0], tools[1], plans[0] == plans[1]),
                "cost": {"before": usd(costs[0]), "after": usd(costs[1]), "delta": _minus(costs)},
                "ms": {"before": times[0], "after": times[1]},
                "critical": {
                    "before": name in before.estimate.critical_path, "after": name in after.estimate.critical_path,
                },
            }
        )  # fmt: skip
    return rows


def _labels(before: CompiledPlan, after: CompiledPlan) -> dict[str, dict[str, str]]:
    """What the boxes of the plan before say of the change, as the drawing takes it."""
    new = {str(step.name): step for step in after.plan.steps}
    rows = [(str(step.name), new.get(str(step.name))) for step in before.plan.steps if step not in after.plan.steps]
    return {
        name: {"text": "dropped" if step is None else f"→ {step.attempts[0].tool}", "kind": "warn"}
        for name, step in rows
    }


def _change(before: str | None, after: str | None, same: bool) -> str:
    if before is None or after is None:
        return "added" if before is None else "removed"
    return "same" if same else "changed"


def _minus(costs: Sequence[int | None]) -> str | None:
    before, after = costs
    return None if before is None or after is None else usd(after - before)


def _cost(step: StepEstimate | None) -> int | None:
    return None if step is None else step.price.expected


def _ms(step: StepEstimate | None) -> float | None:
    return None if step is None or not step.timed else round(step.latency.expected_ms, 3)


def _anew(before: CompiledPlan, after: CompiledPlan, kept: Iterable[str]) -> dict[str, Any]:
    """What a replay would do again, and for how much: all that changed, is below that, or has no value."""
    old = {str(step.name): step for step in before.plan.steps}
    there = frozenset(kept)
    names = [str(step.name) for step in after.plan.steps]
    roots = {str(s.name) for s in after.plan.steps if old.get(str(s.name)) != s or str(s.name) not in there}
    below = roots.union(*(nx.descendants(after.graph, root) for root in roots))
    again = [name for name in names if name in below]
    prices = [step.price.expected for name, step in after.estimate.steps.items() if name in below]
    known = [price for price in prices if price is not None]
    return {"steps": again, "cost": usd(sum(known)) if len(known) == len(prices) else None}


def _could(view: RegistryView, tool: ToolSig, now: ToolSig, attempt: Attempt) -> bool:
    """A quick no for tools that the compiler would refuse anyway, or that act where the present one does not."""
    if (tool.effects == "write") != (now.effects == "write") or not view.types.accepts(now.returns, tool.returns):
        return False
    params = [_param(tool, arg, place) for place, arg in enumerate(attempt.args)]
    if any(param is None for param in params):
        return False
    named = {param.name for param in params if param is not None}
    return all(param.name in named for param in tool.params if param.required)


def _param(tool: ToolSig, arg: Arg, place: int) -> Param | None:
    if arg.name is not None:
        return tool.param(arg.name)
    return tool.params[place] if place < len(tool.params) else None
