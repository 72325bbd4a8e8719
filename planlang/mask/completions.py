"""Completions: sequences of calls that reach a goal, in money and steps, and the few of them worth knowing.

One is worth knowing if no other is at most as dear with at most as many steps (a Pareto front).
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

__all__ = [
    "Calls",
    "Node",
    "ToolGroups",
    "best",
    "bounds_of",
    "improved",
    "merge",
    "money_of",
    "uses",
    "without",
]

Calls: TypeAlias = tuple[tuple[int, int], ...]
"""Calls in order: the value each gives and its price. No value twice."""

ToolGroups: TypeAlias = tuple[tuple[tuple[int | None, ...], int], ...]
"""Bitmasks of tools, grouped by what is needed after one of them has run."""


def bounds_of(ways: Iterable[Calls]) -> tuple[tuple[int, int], ...]:
    """Money and steps of each completion."""
    return tuple((money_of(calls), len(calls)) for calls in ways)


def money_of(calls: Calls) -> int:
    """The price of all calls."""
    return sum(price for _, price in calls)


def merge(first: Calls, second: Calls) -> Calls:
    """The calls of both, those of `first` before those that only `second` has."""
    have = {value for value, _ in first}
    return first + tuple(call for call in second if call[0] not in have)


def without(calls: Calls, value: int) -> Calls:
    """The calls that are left once `value` is there."""
    return tuple(call for call in calls if call[0] != value)


def uses(ways: tuple[Calls, ...], value: int) -> bool:
    """True if a call of any completion gives `value`."""
    return any(call[0] == value for calls in ways for call in calls)


def improved(ways: tuple[Calls, ...], through: Sequence[Calls], value: int) -> tuple[Calls, ...]:
    """The best ways to a goal once `value` is at hand; the same ones if it does not help."""
    if uses(ways, value):
        return best([*(without(calls, value) for calls in ways), *through])
    known = bounds_of(ways)
    news = [
        calls
        for calls in through
        if not any(money <= money_of(calls) and steps <= len(calls) for money, steps in known)
    ]
    return best([*ways, *news]) if news else ways


def best(found: Sequence[Calls]) -> tuple[Calls, ...]:
    """The completions that no other beats in both money and steps, by falling money."""
    kept: list[Calls] = []
    cheapest: int | None = None
    for _, _, calls in sorted((money_of(calls), len(calls), calls) for calls in found):
        if cheapest is None or len(calls) < cheapest:
            cheapest = len(calls)
            kept.append(calls)
    return tuple(kept)


class Node:
    """Known completions; nodes are interned, so equal ones are the same object.

    `need[k]` is the least money that is known to suffice with at most k steps, None if k steps are not known to.
    """

    __slots__ = ("after", "bounds", "goals", "need", "other", "tools", "total", "uses")

    def __init__(self, total: tuple[Calls, ...], goals: tuple[tuple[Calls, ...], ...], steps: int) -> None:
        self.total = total
        self.goals = goals
        self.need: tuple[int | None, ...] = tuple(
            min((money_of(calls) for calls in total if len(calls) <= k), default=None) for k in range(steps + 1)
        )
        self.uses = frozenset(value for ways in (total, *goals) for calls in ways for value, _ in calls)
        self.bounds = tuple(bounds_of(ways) for ways in goals)
        self.after: dict[int, Node] = {}
        self.tools: tuple[ToolGroups, ToolGroups] | None = None
        self.other: dict[int, ToolGroups] = {}
