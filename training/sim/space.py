"""Values that can be made in a case, with exact expectations over its hidden states and over failures.

A `Value` is an input or a call on values. Plans are `Picks`: for every wanted output the value that serves it, or None
where it is left out; calls that several picks need are made and paid once.

    E[score of an output] = product over its calls of (1 - failure)^elements
                            x sum over hidden states of P(state | labels) x worth
    E[price] = sum over distinct calls of their expected price x probability that the calls before them succeed,
               at the price table in force when the plan starts
    E[utility] = alpha x mean over outputs of E[score] - (1 - alpha) x E[price] / price_scale
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from catp.planlang.types import Type, list_of
from catp.planners.protocol import Wanted
from catp.training.sim.effects import State, apply, worth
from catp.training.sim.task import Case
from catp.training.sim.tools import READING, TEXT, SimTool

__all__ = ["MAX_RESTORING", "Picks", "Space", "Value"]

MAX_RESTORING = 2
"""Restoring calls in a row, each by a different tool, as in `catp.planners.terms.Bounds`; and only for kinds of damage
that the value may have."""


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """An input (no tool) or the result of a call, element by element for lists.

    `number` counts the steps of the case, `before` are those it needs, itself included. `units` is the size of the
    input of each of its `calls`. `price` is expected, of all calls, times the probability that they are made; `works`
    is the probability that the value is there.
    """

    name: str
    tool: SimTool | None
    args: tuple["Value", ...]
    type: Type
    count: int
    state: State
    chain: tuple[str, ...]
    number: int
    before: frozenset[int]
    units: float
    calls: int
    price: float
    works: float
    sources: frozenset[str]

    @property
    def element(self) -> Type:
        """The type of one element."""
        return self.type.item if self.type.item is not None else self.type


Picks: TypeAlias = tuple[Value | None, ...]


class Space:
    """The values of one case; equal calls are one value."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self._values: list[Value] = []
        self._known: dict[tuple[object, ...], Value] = {}
        self._children: dict[int, tuple[Value, ...]] = {}
        self._reach: dict[tuple[Type, int, bool, Type], bool] = {}
        self.inputs = tuple(self._input(place) for place in range(len(case.task.inputs)))

    @cached_property
    def unary(self) -> tuple[SimTool, ...]:
        """The useful tools of one argument."""
        return tuple(tool for tool in self.case.task.tools if tool.capability.role != "join")

    @cached_property
    def joins(self) -> tuple[SimTool, ...]:
        """The useful tools of two arguments."""
        return tuple(tool for tool in self.case.task.tools if tool.capability.role == "join")

    def children(self, value: Value) -> tuple[Value, ...]:
        """Every useful call on one value."""
        key = id(value)
        if key not in self._children:
            self._children[key] = tuple(self.call(tool, (value,)) for tool in self.unary if self.fits(tool, 0, value))
        return self._children[key]

    def fits(self, tool: SimTool, slot: int, value: Value) -> bool:
        """True if `value` may be passed for a parameter, element by element if it is a list."""
        wanted = tool.capability.params[slot][1]
        if wanted.item is not None:
            return value.type.item is not None and value.element == wanted.item
        if not (value.element == wanted or (wanted == TEXT and value.element == READING)):
            return False
        if tool.capability.role == "join":
            return value.type.item is None
        return tool.capability.role != "restore" or self._restores(tool, value)

    def _restores(self, tool: SimTool, value: Value) -> bool:
        """True if restoring is within the bounds: no tool twice in a row, and only damage that may be there."""
        if tool.name in value.chain or len(value.chain) >= MAX_RESTORING or tool.capability.damage is None:
            return False
        return bool(np.any(value.state.severity[tool.capability.damage] > 0))

    def call(self, tool: SimTool, args: tuple[Value, ...]) -> Value:
        """Return the value that a call makes."""
        key = (tool.name, *(id(arg) for arg in args))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._call(tool, args)
        return known

    def serves(self, value: Value, want: Wanted) -> bool:
        """True if `value` is what is wanted; inputs are never handed back."""
        if value.tool is None or (value.type.item is None) != (want.type.item is None):
            return False
        goal = want.type.item if want.type.item is not None else want.type
        fits = value.element == goal or (goal == TEXT and value.element == READING)
        return fits and (not want.source or want.source in value.sources)

    def gives(self, value: Value, want: Wanted, *, given: bool) -> bool:
        """`serves`; with `given`, for arguments, inputs do as well."""
        return value.type == want.type if given and value.tool is None else self.serves(value, want)

    def leads(self, value: Value, want: Wanted, *, given: bool) -> bool:
        """True if `value` is what is wanted, or what is wanted can be made from it."""
        if want.source and want.source not in value.sources:
            return False
        return self.gives(value, want, given=given) or self.reaches(value, want)

    def reaches(self, value: Value, want: Wanted) -> bool:
        """True if some calls on `value` alone make what is wanted."""
        key = (value.type, len(value.chain), bool(np.any(value.state.severity > 0)), want.type)
        if key not in self._reach:
            self._reach[key] = False  # a way back to the same question makes nothing new
            plain = Wanted("", want.type)
            self._reach[key] = any(self.serves(c, plain) or self.reaches(c, plain) for c in self._one_each(value))
        return self._reach[key]

    def score(self, value: Value | None) -> float:
        """The expected score of an output; 0 if it is left out."""
        if value is None:
            return 0.0
        return value.works * float((self.case.weights * worth(value.state)).sum())

    def price(self, picks: Picks) -> float:
        """The expected price in nano-USD of all distinct calls, before any price change."""
        return sum(value.price for value in self.calls(picks))

    def quality(self, picks: Picks) -> float:
        """The expected score of a plan: the mean over all wanted outputs."""
        return sum(self.score(value) for value in picks) / len(picks)

    def utility(self, picks: Picks, alpha: float, scale: float) -> float:
        """The expected utility."""
        return alpha * self.quality(picks) - (1.0 - alpha) * self.price(picks) / scale

    def calls(self, picks: Sequence[Value | None]) -> Iterator[Value]:
        """The distinct calls of a plan, arguments first."""
        yield from self._members(frozenset[int]().union(*(value.before for value in picks if value is not None)))

    def true_score(self, value: Value) -> float:
        """The score of an output in the hidden state that is really there, if no call fails."""
        full = np.broadcast_to(worth(value.state), self.case.weights.shape)
        return float(full[self.case.hidden])

    def _one_each(self, value: Value) -> list[Value]:
        """One call on `value` by each capability: enough to tell types."""
        tools = {tool.capability.name: tool for tool in self.unary if self.fits(tool, 0, value)}
        return [self.call(tool, (value,)) for tool in tools.values()]

    def _input(self, place: int) -> Value:
        (name, type_), size = self.case.task.inputs[place], self.case.sizes[place]
        severity = self.case.task.models[place].states
        axes = [1] * len(self.case.task.inputs)
        axes[place] = severity.shape[1]
        state = State(float(size.units), severity.reshape(len(severity), *axes), np.ones(axes))
        return Value(
            name, None, (), type_, size.count, state, (), -1, frozenset(), float(size.units), 0, 0.0, 1.0,
            frozenset({name}),
        )  # fmt: skip

    def _call(self, tool: SimTool, args: tuple[Value, ...]) -> Value:
        summed = tool.capability.role == "reduce"
        units = sum(arg.state.units for arg in args) * (args[0].count if summed else 1)
        count = 1 if summed else args[0].count
        mapped = args[0].type.item is not None and not summed
        returns = tool.capability.returns
        number = len(self._values)
        before = frozenset[int]().union(*(arg.before for arg in args))
        reached = math.prod(_own_works(value) for value in self._members(before))
        value = Value(
            tool.name, tool, args, list_of(returns) if mapped else returns, count,
            apply(tool, [arg.state for arg in args], units),
            (*args[0].chain, tool.name) if tool.capability.role == "restore" else (),
            number, before | {number}, units, count,
            tool.price(units) * self.case.factors[tool.name] * count * reached,
            reached * (1.0 - tool.failure) ** count,
            frozenset[str]().union(*(arg.sources for arg in args)),
        )  # fmt: skip
        self._values.append(value)
        return value

    def _members(self, numbers: frozenset[int]) -> Iterator[Value]:
        return (self._values[number] for number in sorted(numbers))


def _own_works(value: Value) -> float:
    assert value.tool is not None
    return float((1.0 - value.tool.failure) ** value.calls)
