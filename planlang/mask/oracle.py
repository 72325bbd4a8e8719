"""An independent oracle for the mask: every valid plan of a small request, by trying everything and asking the checker.

It knows nothing of token automata, demands or reachability. It builds plans call by call from all constants and all
references of up to two fields, keeps what `check` accepts, prices them with four lines of its own, and asks `check`
again, through an invented tool that wants exactly the requested types, whether the outputs fit.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from catp.planlang.check import check
from catp.planlang.mask import MaskContext, PlanMask, State
from catp.planlang.nodes import OPERATORS, Arg, Attempt, Literal, Output, OwnTest, Plan, Ref, Step, StepName, ToolName
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.token_ids import constants
from catp.planlang.types import Type, TypeTable
from catp.planlang.vocabulary import LEVELS

__all__ = ["Auditor", "every_plan", "every_walk", "price_of"]


def price_of(plan: Plan, context: MaskContext) -> int:
    """What the plan may cost: every attempt of every step, maps for `width` elements."""
    total = 0
    for step in plan.steps:
        for attempt in step.attempts:
            price = context.price(context.tokens.registry.index(attempt.tool))
            assert price is not None, f"{attempt.tool} is unpriced but was offered"
            total += price * (context.width if any(arg.each for arg in attempt.args) else 1)
    return total


class Auditor:
    """Judges finished plans for one request."""

    def __init__(self, context: MaskContext) -> None:
        self.context = context
        goals, registry = context.tokens.goals, context.tokens.registry
        sink = ToolSig(ToolName("sink"), tuple(Param(g.name, g.type, not g.optional) for g in goals), Type("null"))
        self._registry = RegistryView((*registry.tools, sink), registry.types)

    def faults(self, plan: Plan) -> list[str]:
        """Everything wrong with a plan as an answer to the request: errors, outputs, price, size."""
        context = self.context
        args = tuple(Arg(output.ref, output.name) for output in plan.outputs)
        judged = _longer(plan, Step(StepName("sink"), (Attempt(ToolName("sink"), args),)))
        found = [d.render() for d in check(judged, self._registry).errors]
        if context.budget is not None and price_of(plan, context) > context.budget:
            found.append(f"over budget: costs {price_of(plan, context)} of {context.budget}")
        if len(plan.steps) > context.max_steps:
            found.append(f"{len(plan.steps)} steps")
        return found


def every_walk(mask: PlanMask) -> Iterator[tuple[int, ...]]:
    """Every token sequence the mask allows; a dead end is an assertion error."""
    stack: list[tuple[State, tuple[int, ...]]] = [(mask.start(), ())]
    while stack:
        state, ids = stack.pop()
        if mask.finished(state):
            yield ids
            continue
        allowed = mask.allowed(state)
        assert allowed, f"dead end after {ids}"
        for token in range(allowed.bit_length()):
            if allowed >> token & 1:
                following, forced = mask.advance(state, token)
                stack.append((following, (*ids, token, *forced)))


def every_plan(context: MaskContext) -> Iterator[Plan]:
    """Every valid plan for the request within the constructs the mask offers."""
    stack = [context.tokens.header.plan()]
    while stack:
        prefix = stack.pop()
        yield from _with_outputs(prefix, context)
        if len(prefix.steps) < context.max_steps:
            name = StepName(f"n{len(prefix.steps)}")
            for attempts in _choices(prefix, context):
                longer = _longer(prefix, Step(name, attempts))
                within = context.budget is None or price_of(longer, context) <= context.budget
                if within and _sound(longer, context):
                    stack.append(longer)


def _longer(plan: Plan, *steps: Step) -> Plan:
    return replace(plan, steps=(*plan.steps, *steps))


def _sound(prefix: Plan, context: MaskContext) -> bool:
    return all(d.code == "E113" for d in check(prefix, context.tokens.registry).errors)


def _choices(prefix: Plan, context: MaskContext) -> Iterator[tuple[Attempt, ...]]:
    calls = [call for tool in context.tokens.registry for call in _calls(prefix, tool, context)]
    plain = [call for call in calls if not any(arg.each for arg in call.args)]
    yield from ((call,) for call in calls)
    stack: list[tuple[Attempt, ...]] = [(call,) for call in plain]
    while stack:
        attempts = stack.pop()
        if len(attempts) > 1:
            yield attempts
        if len(attempts) < context.max_attempts:
            last = attempts[-1]
            for guarded in (last, *_guarded(last, prefix, context)):
                stack += [
                    (*attempts[:-1], guarded, call) for call in plain if call.tool not in {a.tool for a in attempts}
                ]


def _guarded(call: Attempt, prefix: Plan, context: MaskContext) -> Iterator[Attempt]:
    tool = context.tokens.registry.get(call.tool)
    assert tool is not None
    for path, type_ in _paths(tool.returns, context.tokens.registry.types):
        if type_.name in LEVELS and not type_.optional:
            found = constants(type_)
            assert found is not None
            for op, literal in product(OPERATORS, found[1]):
                yield Attempt(call.tool, call.args, (OwnTest(path, op, literal),))


def _calls(prefix: Plan, tool: ToolSig, context: MaskContext) -> Iterator[Attempt]:
    if context.price(context.tokens.registry.index(tool.name)) is None:
        return
    options: list[list[Arg | None]] = []
    for param in tool.params:
        mine: list[Arg | None] = [] if param.required else [None]
        for each in (False, True):
            for value in _values(prefix, param, context):
                if isinstance(value, Ref) and param.choices:
                    continue
                call = Attempt(ToolName("one"), (Arg(value, None, each),))
                if (isinstance(value, Ref) or not each) and _fits(call, prefix, param, context):
                    mine.append(Arg(value, None, each))
        options.append(mine)
    for chosen in product(*options):
        if sum(arg is not None and arg.each for arg in chosen) <= 1:
            args: list[Arg] = []
            gap = False
            for param, arg in zip(tool.params, chosen, strict=True):
                gap = gap or arg is None
                if arg is not None:
                    args.append(Arg(arg.value, param.name if gap else None, arg.each))
            yield Attempt(tool.name, tuple(args))


def _fits(call: Attempt, prefix: Plan, param: Param, context: MaskContext) -> bool:
    registry = RegistryView(
        (*context.tokens.registry.tools, ToolSig(ToolName("one"), (param,), Type("null"))),
        context.tokens.registry.types,
    )
    plan = _longer(prefix, Step(StepName("trial"), (call,)))
    return all(d.code == "E113" for d in check(plan, registry).errors)


def _values(prefix: Plan, param: Param, context: MaskContext) -> Iterator[Literal | Ref]:
    found = constants(param.type, param)
    own = found[1] if found is not None else ()
    yield from own
    yield from (literal for literal in context.tokens.literals if literal not in own)
    yield from _refs(prefix, context)


def _refs(prefix: Plan, context: MaskContext) -> Iterator[Ref]:
    for root, type_ in check(prefix, context.tokens.registry).types.items():
        for path, _ in _paths(type_, context.tokens.registry.types):
            yield Ref(root, path)


def _paths(type_: Type, table: TypeTable) -> Iterator[tuple[tuple[str, ...], Type]]:
    yield (), type_
    for name, field in table.fields(type_):
        yield (name,), field
        for below, deeper in table.fields(field):
            yield (name, below), deeper


def _with_outputs(prefix: Plan, context: MaskContext) -> Iterator[Plan]:
    options: list[list[Output | None]] = []
    for goal in context.tokens.goals:
        mine: list[Output | None] = [None] if goal.optional else []
        for ref in _refs(prefix, context):
            tool = ToolSig(ToolName("one"), (Param("it", goal.type),), Type("null"))
            if _fits(Attempt(tool.name, (Arg(ref),)), prefix, tool.params[0], context):
                mine.append(Output(goal.name, ref, goal.optional))
        options.append(mine)
    for chosen in product(*options):
        yield replace(prefix, outputs=tuple(output for output in chosen if output is not None))
