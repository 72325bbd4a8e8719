"""Simulated plans as plans of the plan language, and back; all plans of a case, or a sample of them."""

import itertools
from collections.abc import Iterator

import numpy as np

from catp.planlang.nodes import Arg, Attempt, Input, Output, Plan, Ref, Step, StepName, ToolName
from catp.planners.protocol import Wanted
from catp.training.sim.space import Picks, Space, Value
from catp.training.sim.tools import READING, TEXT

__all__ = ["PlanNotReadable", "draw_plan", "enumerate_plans", "read_plan", "single_values", "to_plan"]

_REUSE = 0.6
_RESTORE = 0.35


class PlanNotReadable(ValueError):
    """A plan of the plan language that is no plan of this case; the message says which step and why."""


def to_plan(space: Space, picks: Picks) -> Plan:
    """Write a plan in the plan language; steps are named after their capability, in the order of their calls."""
    steps, names = [], {}
    for value in space.inputs:
        names[id(value)] = value.name
    taken = {name: 1 for name, _ in space.case.task.inputs}
    for value in space.calls(picks):
        assert value.tool is not None
        base = value.tool.capability.name
        taken[base] = taken.get(base, 0) + 1
        names[id(value)] = name = base if taken[base] == 1 else f"{base}_{taken[base]}"
        args = tuple(
            Arg(Ref(names[id(arg)], _path(arg, param)), None, arg.type.item is not None and param.item is None)
            for arg, (_, param) in zip(value.args, value.tool.capability.params, strict=True)
        )
        steps.append(Step(StepName(name), (Attempt(ToolName(value.tool.name), args),)))
    outputs = []
    for pick, want in zip(picks, space.case.task.wanted, strict=True):
        if pick is not None:
            outputs.append(Output(want.name, Ref(names[id(pick)], _path(pick, want.type)), want.optional))
    roots = frozenset[str]().union(*(value.sources for value in picks if value is not None))
    given = tuple(Input(name, type_) for name, type_ in space.case.task.inputs if name in roots)
    return Plan(tuple(steps), tuple(outputs), given)


def read_plan(space: Space, plan: Plan) -> Picks:
    """Return what a checked plan of single attempts without notes means in this case.

    Raises:
        PlanNotReadable: a step has alternatives, guards or notes, or an output is not one of those wanted.
    """
    made: dict[str, Value] = {value.name: value for value in space.inputs}
    for step in plan.steps:
        if len(step.attempts) != 1 or step.when or step.notes or step.attempts[0].accept:
            raise PlanNotReadable(
                f"step {step.name!r} has alternatives, guards or notes; the simulator runs plain steps"
            )
        attempt = step.attempts[0]
        tool = space.case.task.world.tool(attempt.tool)
        params = [name for name, _ in tool.capability.params]
        args: dict[str, Value] = {}
        for place, arg in enumerate(attempt.args):
            if not isinstance(arg.value, Ref) or arg.value.path not in ((), ("text",)):
                raise PlanNotReadable(f"step {step.name!r}: argument {place + 1} is no value of this simulator")
            args[arg.name or params[place]] = made[arg.value.root]
        made[step.name] = space.call(tool, tuple(args[name] for name in params))
    found = {output.name: made[output.ref.root] for output in plan.outputs}
    wanted = space.case.task.wanted
    if unknown := found.keys() - {want.name for want in wanted}:
        raise PlanNotReadable(f"output {min(unknown)!r} is not wanted; wanted are {', '.join(w.name for w in wanted)}")
    if missing := [w.name for w in wanted if w.name not in found and not w.optional]:
        raise PlanNotReadable(f"the plan makes no {missing[0]!r}")
    return tuple(found.get(want.name) for want in wanted)


def single_values(space: Space) -> list[Value]:
    """Every value of the case within the bounds that no join is part of."""
    found = list(space.inputs)
    for value in found:  # grows while it is walked
        found += space.children(value)
    return found


def enumerate_plans(space: Space, limit: int | None = None) -> Iterator[Picks]:
    """Yield every plan of the case, or the first `limit` of them, in a fixed order. There may be very many."""
    everything = single_values(space)
    for tool in space.joins:
        slots = [[v for v in everything if space.fits(tool, slot, v)] for slot in (0, 1)]
        everything += [space.call(tool, args) for args in itertools.product(*slots)]  # joins fit no slot of a join
    choices: list[list[Value | None]] = [
        [*(v for v in everything if space.serves(v, want)), *([None] if want.optional else [])]
        for want in space.case.task.wanted
    ]
    plans = (picks for picks in itertools.product(*choices) if any(pick is not None for pick in picks))
    yield from itertools.islice(plans, limit)


def draw_plan(space: Space, rng: np.random.Generator) -> Picks:
    """Draw a valid plan: every output by a random walk, mostly from what is there for the others already."""
    made: list[Value] = list(space.inputs)
    picks: list[Value | None] = []
    for want in space.case.task.wanted:
        if want.optional and rng.random() < 0.3 and any(picks):
            picks.append(None)
            continue
        picks.append(_walk(space, want, made, rng))
    return tuple(picks)


def _walk(space: Space, want: Wanted, made: list[Value], rng: np.random.Generator) -> Value:
    joins = [tool for tool in space.joins if tool.capability.returns == want.type]
    if joins:
        tool = joins[int(rng.integers(len(joins)))]
        args = tuple(_walk_to(space, Wanted("", type_), made, rng, given=True) for _, type_ in tool.capability.params)
        found = space.call(tool, args)
        made.append(found)
        return found
    return _walk_to(space, want, made, rng, given=False)


def _walk_to(space: Space, want: Wanted, made: list[Value], rng: np.random.Generator, *, given: bool) -> Value:
    """Walk until the wanted type is there; with `given` an input will do."""
    starts = [v for v in made if space.leads(v, want, given=given)]
    roots = [v for v in starts if v.tool is None]
    pool = starts if rng.random() < _REUSE or not roots else roots
    value = pool[int(rng.integers(len(pool)))]
    while not space.gives(value, want, given=given):
        value = _next(space, value, want, given, rng)
        made.append(value)
    while rng.random() < _RESTORE:
        more = [c for c in space.children(value) if c.chain and space.gives(c, want, given=given)]
        if not more:
            break
        value = more[int(rng.integers(len(more)))]
        made.append(value)
    return value


def _next(space: Space, value: Value, want: Wanted, given: bool, rng: np.random.Generator) -> Value:
    children = [c for c in space.children(value) if space.leads(c, want, given=given)]
    restoring = [c for c in children if c.chain]
    others = [c for c in children if not c.chain]
    pool = restoring if restoring and (not others or rng.random() < _RESTORE) else others
    return pool[int(rng.integers(len(pool)))]


def _path(value: Value, wanted: object) -> tuple[str, ...]:
    inner = getattr(wanted, "item", None) or wanted
    return ("text",) if value.element == READING and inner == TEXT else ()
