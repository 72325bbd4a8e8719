"""From what a model wrote to a plan that can be used and its price, or to the reasons why not.

    text ── JSON in it ── plan ── inputs, order of outputs ── checker ── compiler ── what is wanted ── limits

Whatever the text is, the only thing raised is `Unusable`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from catp.planlang.canonical import canonical_plan
from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.digest import digest
from catp.planlang.errors import PlanError
from catp.planlang.jsonform import from_json
from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Input, Limits, Plan, step_refs
from catp.planners.accuracy import AccuracyModel
from catp.planners.build import plan_name
from catp.planners.decide import Option
from catp.planners.delivery import undelivered
from catp.planners.pricing import Priced
from catp.planners.protocol import PlanRequest
from catp.planners.quality import quality_of
from catp.planners.serves import serves
from catp.planners.writer import Rating

__all__ = ["Unusable", "read_answer"]

_MAX_CHARS = 200_000
_MAX_STEPS = 64
"""A plan of more steps is a model that does not stop."""
_SHOWN = 12
"""Problems told at once; a model that made more starts over anyway."""
_STARTS = 30
"""Places in a text at which a JSON object is looked for."""


class Unusable(Exception):
    """A plan that cannot be used. `limit` says which hard constraint it breaks, if it is otherwise good."""

    def __init__(self, problems: Iterable[str], limit: Literal["budget", "deadline"] | None = None) -> None:
        found = list(problems)
        more = [f"... and {len(found) - _SHOWN} more problems"] if len(found) > _SHOWN else []
        super().__init__("\n".join([*found[:_SHOWN], *more]))
        self.limit: Literal["budget", "deadline"] | None = limit


def read_answer(text: str, request: PlanRequest, accuracy: AccuracyModel) -> Option:
    """Read, check, compile, price and rate the plan in a model's answer.

    Raises:
        Unusable: there is none, or it is invalid, does not deliver what is wanted, or breaks a hard constraint.
    """
    if len(text) > _MAX_CHARS:
        raise Unusable([f"the answer has {len(text):,} characters; a plan needs no more than {_MAX_CHARS:,}"])
    try:
        plan = from_json(_json_in(text))
        problems = list(_not_ours(plan, request))
        if problems:
            raise Unusable(problems)
        plan = _completed(plan, request)
        compiled = compile_plan(plan, request.registry, estimator=request.estimator, facts=request.inputs)
    except PlanError as error:
        raise Unusable(one.render() for one in error.diagnostics if one.severity == "error") from None
    problems = list(undelivered(compiled, request))
    if not problems and not serves(plan, request):
        problems = ["the plan is not what is wanted: compare each output with the list of wanted results"]
    if problems:
        raise Unusable(problems)
    _affordable(compiled, request)
    quality = quality_of(compiled, request.wanted, request.estimator, request.inputs, accuracy=accuracy)
    fitting = Priced(plan, compiled.estimate.price, compiled.estimate.latency)
    key = digest(canonical_plan(plan, request.registry))
    return Option(key, fitting, Rating(quality.score, 0.0), quality.known, rated=False)


def _json_in(text: str) -> str:
    """The plan in a text that a model may have wrapped in thoughts, prose or a code fence: the last object with steps.

    If there is none, the first object, or what looks like the beginning of one: the reader says what is wrong with it.
    """
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.DOTALL).strip()
    first = place = text.find("{")
    if first < 0:
        raise Unusable(["the answer holds no JSON object: answer with the plan in JSON, and nothing else"])
    found: str | None = None
    guess = text[first:]
    decoder = json.JSONDecoder()
    for _ in range(_STARTS):
        if place < 0:
            break
        try:
            form, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            if "steps" in form:
                found = text[place:end]
            elif place == first:
                guess = text[place:end]
        place = text.find("{", end)
    return found if found is not None else guess


def _not_ours(plan: Plan, request: PlanRequest) -> Iterator[str]:
    """What the language allows, but a model must not decide here."""
    if len(plan.steps) > _MAX_STEPS:
        yield f"/steps: {len(plan.steps)} steps; at most {_MAX_STEPS} are accepted"
    if plan.limits != Limits():
        yield "/limits: leave it out; the caller sets the limits"
    for number, item in enumerate(plan.inputs):
        if item.name not in request.inputs:
            known = ", ".join(request.inputs) or "none"
            yield f"/inputs/{number}: there is no input `{item.name}`; the inputs are: {known}"
    for step in plan.steps:
        if any(note.name != "retry" for note in step.notes):
            yield f"step `{step.name}`: leave out its notes; only `retry` may be there"
        for attempt in step.attempts:
            sig = request.registry.get(attempt.tool)
            if sig is not None and sig.effects == "write":
                yield f"step `{step.name}`: `{attempt.tool}` changes the world; use only the tools that are listed"


def _completed(plan: Plan, request: PlanRequest) -> Plan:
    """Declare the inputs that are read, put the outputs in the order of the request, and name the plan."""
    read = {ref.root for step in plan.steps for _, ref in step_refs(step)} | {o.ref.root for o in plan.outputs}
    inputs = tuple(Input(name, facts.type) for name, facts in request.inputs.items() if name in read)
    order = {want.name: number for number, want in enumerate(request.wanted)}
    optional = {want.name for want in request.wanted if want.optional}
    outputs = sorted(plan.outputs, key=lambda output: order.get(output.name, len(order)))
    name = plan_name(request.task)
    return replace(
        plan, inputs=inputs, outputs=tuple(replace(one, optional=one.name in optional) for one in outputs),
        name=name, doc=(" ".join(request.task.split()) or None) if name is not None else None,
    )  # fmt: skip


def _affordable(compiled: CompiledPlan, request: PlanRequest) -> None:
    estimate, goal = compiled.estimate, request.objective
    p95, ms = estimate.price.p95, estimate.latency.expected_ms
    if goal.budget is not None:
        if p95 is None:
            names = ", ".join(f"`{name}`" for name in estimate.unpriced)
            problem = f"nobody knows the price of {names}, and there is a budget: use tools with a price"
            raise Unusable([problem], "budget")
        if p95 > goal.budget:
            allowed = f"more than the budget of ${format_usd(goal.budget)}"
            problem = f"the plan costs up to ${format_usd(p95)} (95th percentile), {allowed}: use cheaper tools than in"
            raise Unusable([f"{problem} {_dearest(compiled)}"], "budget")
    if goal.deadline_ms is not None and ms > goal.deadline_ms:
        path = ", ".join(f"`{name}`" for name in estimate.critical_path)
        problem = (
            f"the plan takes {ms:.0f} ms, more than the {goal.deadline_ms:g} ms allowed: use faster tools in {path}"
        )
        raise Unusable([problem], "deadline")


def _dearest(compiled: CompiledPlan) -> str:
    """The steps that make up most of the price, dearest first."""
    prices = {name: step.price.p95 or Money(0) for name, step in compiled.estimate.steps.items()}
    names = sorted(prices, key=lambda name: -prices[name])[:3]
    return ", ".join(f"`{name}` (${format_usd(prices[name])})" for name in names)
