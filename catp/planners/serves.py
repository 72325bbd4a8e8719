"""Whether a plan, from whatever source, is an answer to a request: valid, and made the way that was asked for.

The checker knows types only. `Wanted` asks for more: a result of `ocr`, derived from `page`, through `denoise`, with
`to="es"`. The search planner builds nothing else (`TypeGraph.could_be`, `TermSpace`); a policy may write anything that
its decode mask allows, so its plans are looked at here, by the same rules.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import TypeVar

from catp.planlang.check import check
from catp.planlang.nodes import Arg, Attempt, Literal, Plan, Ref, Step, StepName, ToolName, refs_in
from catp.planlang.passes.normalise import normalise
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.types import Type
from catp.planners.protocol import PlanRequest, Wanted
from catp.planners.typegraph import carried

__all__ = ["serves"]

T = TypeVar("T")

_SINK = ToolName("?wanted")
"""An invented tool that takes exactly what is wanted: the checker then says whether the outputs fit. No real tool can
have this name."""


def serves(plan: Plan, request: PlanRequest) -> bool:
    """True if `plan` passes the checker, reads only the request's inputs, delivers what is wanted, and writes nothing.

    Every wanted output that is not optional must be there, and nothing else. Whoever makes an output (each attempt of
    its step) must be for what it is wanted for, be called with the fixed arguments, and derive from `source` and from
    calls for the steps of `through` in order. Of a record only what it carries counts as its text
    (`catp.planners.typegraph.carried`). Price and time are not looked at.
    """
    types = _delivered(plan, request)
    if types is None or not _reads(plan, request):
        return False
    plan, _ = normalise(plan, request.registry)  # arguments named, defaults written out
    steps = {str(step.name): step for step in plan.steps}
    outputs = {output.name: output.ref for output in plan.outputs}
    sources, passed = _derived(plan, request)
    for index, want in enumerate(request.wanted):
        ref = outputs.get(want.name)
        if ref is None:
            continue
        if all(path != ref.path for path, _ in carried(request.registry.types, types[ref.root])):
            return False
        for root in _makers(ref, steps):
            if (
                root not in steps  # an input is never handed back
                or not all(_made_as_wanted(attempt, want, request.registry) for attempt in steps[root].attempts)
                or (want.source and want.source not in sources[root])
                or (want.through and (index, len(want.through) - 1) not in passed[root][0])
            ):
                return False
    return True


def _makers(ref: Ref, steps: Mapping[str, Step]) -> Iterator[str]:
    """The step or input a value comes from, and where a guarded step takes it from otherwise."""
    yield ref.root
    step = steps.get(ref.root)
    if step is not None and step.otherwise is not None:
        yield from _makers(step.otherwise, steps)


def _delivered(plan: Plan, request: PlanRequest) -> Mapping[str, Type] | None:
    """The types of all values if the plan is valid, its outputs are the wanted ones and fit; else None."""
    wanted = {want.name for want in request.wanted}
    if not plan.steps or any(output.name not in wanted for output in plan.outputs):
        return None
    params = tuple(Param(want.name, want.type, not want.optional) for want in request.wanted)
    registry = RegistryView((*request.registry.tools, ToolSig(_SINK, params, Type("null"))), request.registry.types)
    args = tuple(Arg(output.ref, output.name) for output in plan.outputs)
    judged = replace(plan, steps=(*plan.steps, Step(StepName("_wanted"), (Attempt(_SINK, args),))))
    checked = check(judged, registry)
    return checked.types if checked.ok else None


def _reads(plan: Plan, request: PlanRequest) -> bool:
    """True if the plan's inputs are among the request's, with types that fit, and no tool of it writes."""
    types = request.registry.types
    given = all(
        item.name in request.inputs and types.accepts(item.type, request.inputs[item.name].type) for item in plan.inputs
    )
    tools = {attempt.tool for step in plan.steps for attempt in step.attempts}
    return given and all(sig.effects != "write" for sig in request.registry if sig.name in tools)


def _made_as_wanted(attempt: Attempt, want: Wanted, registry: RegistryView) -> bool:
    sig = registry.get(attempt.tool)
    fixed = {(arg.name, arg.value) for arg in attempt.args if isinstance(arg.value, Literal)}
    return (
        sig is not None
        and (not want.capability or sig.capability in want.capability)
        and {(name, Literal(value)) for name, value in want.arguments} <= fixed
    )


_Steps = frozenset[tuple[int, int]]
"""Steps of `Wanted.through`: index of the wanted output, number of the step."""


def _derived(plan: Plan, request: PlanRequest) -> tuple[dict[str, frozenset[str]], dict[str, tuple[_Steps, _Steps]]]:
    """For every value the inputs it surely derives from, and the steps passed before its call and including it.

    A step with alternatives is sure only of what all its attempts have in common.
    """
    sources = {item.name: frozenset({item.name}) for item in plan.inputs}
    passed: dict[str, tuple[_Steps, _Steps]] = {item.name: (frozenset(), frozenset()) for item in plan.inputs}
    for step in plan.steps:
        roots = [[ref.root for arg in attempt.args for ref in refs_in(arg.value)] for attempt in step.attempts]
        sources[step.name] = _common([_any(sources[root] for root in found) for found in roots])
        before = [_any(passed[root][1] for root in found) for found in roots]
        after = [_passing(attempt, steps, request) for attempt, steps in zip(step.attempts, before, strict=True)]
        passed[step.name] = _common(before), _common(after)
    return sources, passed


def _passing(attempt: Attempt, before: _Steps, request: PlanRequest) -> _Steps:
    sig = request.registry.get(attempt.tool)
    return before | {
        (index, number)
        for index, want in enumerate(request.wanted)
        for number, capabilities in enumerate(want.through)
        if sig is not None and sig.capability in capabilities and (number == 0 or (index, number - 1) in before)
    }


def _any(sets: Iterable[frozenset[T]]) -> frozenset[T]:
    return frozenset[T]().union(*sets)


def _common(sets: Sequence[frozenset[T]]) -> frozenset[T]:
    return reduce(lambda left, right: left & right, sets)
