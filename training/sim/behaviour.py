"""Behaviour policies with exact propensities: a policy is a distribution over a case's pool of plans.

pool            greedy and habitual plans, and distinct random ones; it depends on the case alone
random          every plan of the pool alike
cheap-greedy    the cheapest tool at every step, no restoring; 10 % random
accurate-greedy the tool of highest declared accuracy at every step, restoring what the label names; 10 % random
template        the same favourite tools whatever the size, restoring what the label names; 10 % random
noisy-oracle    softmax of true expected utility / 0.05
mixture         one of these at random; `propensity` is the plan's probability under the whole mixture
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from catp.planlang.money import Money
from catp.planners.protocol import Wanted
from catp.training.evaluate.candidates import Floats
from catp.training.sim.damage import CLEAN
from catp.training.sim.plans import draw_plan
from catp.training.sim.space import Picks, Space, Value
from catp.training.sim.task import Case, Task

__all__ = ["MIXTURE", "Choice", "Pool", "greedy_plan", "price_scale"]

Habit: TypeAlias = Literal["cheap", "accurate", "template"]

MIXTURE: Mapping[str, float] = {
    "random": 0.25, "cheap-greedy": 0.2, "accurate-greedy": 0.2, "template": 0.15, "noisy-oracle": 0.2,
}  # fmt: skip
"""The parts of the mixture and their weights."""

_STRAY = 0.1
_TEMPERATURE = 0.05
_TRIES = 6
_PARTS: Mapping[str, Habit] = {"cheap-greedy": "cheap", "accurate-greedy": "accurate", "template": "template"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One drawn plan: its place in the pool, the part of the mixture that drew it, its propensity under the mixture."""

    index: int
    part: str
    propensity: float


class Pool:
    """The plans a behaviour policy chooses among in one case: at most `size`, all different."""

    def __init__(self, case: Case, size: int = 24) -> None:
        self.case = case
        self.space = Space(case)
        self.scale = price_scale(case.task)
        found: dict[tuple[int, ...], Picks] = {}
        self.habits: dict[str, int] = {}
        for part, habit in _PARTS.items():
            picks = greedy_plan(self.space, habit)
            key = _key(picks)
            found.setdefault(key, picks)
            self.habits[part] = list(found).index(key)
        rng = case.rng(1)
        for _ in range(size * _TRIES):
            if len(found) >= size:
                break
            picks = draw_plan(self.space, rng)
            found.setdefault(_key(picks), picks)
        self.plans = tuple(found.values())

    @cached_property
    def utilities(self) -> Floats:
        """The true expected utility of every plan."""
        return np.array([self.space.utility(picks, self.case.alpha, float(self.scale)) for picks in self.plans])

    def distribution(self, part: str) -> Floats:
        """The probability of every plan under one part of the mixture."""
        count = len(self.plans)
        uniform = np.full(count, 1.0 / count)
        if part == "random":
            return uniform
        if part == "noisy-oracle":
            weights = np.exp((self.utilities - self.utilities.max()) / _TEMPERATURE)
            found: Floats = weights / weights.sum()
            return found
        habit = np.zeros(count)
        habit[self.habits[part]] = 1.0
        return (1.0 - _STRAY) * habit + _STRAY * uniform

    @cached_property
    def mixture(self) -> Floats:
        """The probability of every plan under the mixture."""
        return sum((weight * self.distribution(part) for part, weight in MIXTURE.items()), np.zeros(len(self.plans)))

    def draw(self, rng: np.random.Generator) -> Choice:
        """Draw a plan as the mixture does: first the part, then the plan."""
        part = list(MIXTURE)[int(rng.choice(len(MIXTURE), p=list(MIXTURE.values())))]
        index = int(rng.choice(len(self.plans), p=self.distribution(part)))
        return Choice(index, part, float(min(self.mixture[index], 1.0)))


def price_scale(task: Task) -> Money:
    """The price that weighs as much as quality 1 at alpha 0.5: that of the accurate-greedy plan on a typical case.

    It depends on the task alone, so utilities of one task's cases can be compared.
    """
    known = _SCALES.get(task)
    if known is None:
        space = Space(task.typical())
        known = _SCALES[task] = Money(max(1, round(space.price(greedy_plan(space, "accurate")))))
    return known


def greedy_plan(space: Space, habit: Habit) -> Picks:
    """Return the plan that takes the best tool by `habit` at every step, by the shortest way."""
    better = _preference(space, habit)
    return tuple(_make(space, want, better, restore=habit != "cheap") for want in space.case.task.wanted)


def _preference(space: Space, habit: Habit) -> Callable[[Value], float]:
    world = space.case.task.world
    if habit == "cheap":
        return lambda value: -value.price
    if habit == "accurate":
        return lambda value: world.declared[value.name]
    return lambda value: world.favourites[value.name]


def _make(space: Space, want: Wanted, better: Callable[[Value], float], *, restore: bool) -> Value:
    join = [tool for tool in space.joins if tool.capability.returns == want.type]
    if join:
        params = [type_ for _, type_ in join[0].capability.params]
        args = tuple(_straight(space, Wanted("", type_), better, restore=restore, given=True) for type_ in params)
        return max((space.call(tool, args) for tool in join), key=better)
    return _straight(space, want, better, restore=restore, given=False)


def _straight(space: Space, want: Wanted, better: Callable[[Value], float], *, restore: bool, given: bool) -> Value:
    value = next(v for v in space.inputs if space.leads(v, want, given=given))
    if restore:
        value = _restored(space, value, want, better, given=given)
    while not space.gives(value, want, given=given):
        ways = [c for c in space.children(value) if space.leads(c, want, given=given)]
        direct = [c for c in ways if space.gives(c, want, given=given)]
        value = max(direct or [c for c in ways if not c.chain], key=better)
    return value


def _restored(space: Space, value: Value, want: Wanted, better: Callable[[Value], float], *, given: bool) -> Value:
    """Take out what the label names, if a tool can."""
    place = [name for name, _ in space.case.task.inputs].index(value.name)
    label, model = space.case.labels[place], space.case.task.models[place]
    if label in ("", CLEAN):
        return value
    fixing = [
        c for c in space.children(value)
        if c.chain and c.tool is not None and c.tool.capability.damage == model.kinds.index(label)
        and space.leads(c, want, given=given)
    ]  # fmt: skip
    return max(fixing, key=better) if fixing else value


def _key(picks: Picks) -> tuple[int, ...]:
    return tuple(-1 if value is None else value.number for value in picks)


_SCALES: WeakKeyDictionary[Task, Money] = WeakKeyDictionary()
