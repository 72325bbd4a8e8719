"""Simulated annealing of the queue's order, within a time limit (after Huang et al. 2025, arXiv 2504.14966).

It starts from a heuristic order, changes it in a short span at a time, and gives the best order it has seen, so it is
never worse than its start by its own objective and can be stopped at any time. One machine serves the jobs in turn, as
in `catp.serving.policies.moore_hodgson`; a change inside a span moves nobody outside it, so a move costs as much as its
span.
"""

from collections.abc import Callable, Sequence
from math import exp
from random import Random
from time import perf_counter
from typing import Literal, TypeAlias

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.moore_hodgson import Machine
from catp.serving.policies.protocol import Context, View

__all__ = ["Annealing", "Goal", "anneal"]

Goal: TypeAlias = Literal["met", "G"]
Jobs: TypeAlias = Sequence[tuple[float, float]]

_SPAN = 8
_HOT, _COLD = 1.0, 0.05
_LOOK = 8
"""Moves between two looks at the clock."""
_TIE = 1e-3
"""Weight of the latency (1 is the start's) against one request in time, so that it only breaks ties."""


def anneal(
    jobs: Jobs, order: Sequence[int], start: float, arrivals: float, *,
    goal: Goal = "met", moves: int = 24, seed: int = 0,
    expired: Callable[[], bool] = lambda: False,
) -> list[int]:  # fmt: skip
    """Return the best order that was seen on the way from a given one; deterministic unless `expired` cuts in.

    Args:
        jobs: due time and work of each, in seconds.
        order: indices of all jobs.
        start: when the machine is free.
        arrivals: sum of the jobs' arrival times; latency is counted from them.
        goal: `met`: jobs in time, then least latency. `G`: jobs in time over the sum of latencies.
        moves: changes tried.
        seed: of the moves.
        expired: whether to stop; asked now and then.
    """
    current = list(order)
    begins, met, ends = _span(jobs, current, start)
    total = len(current)
    if total < 2 or (met == total and goal == "met"):
        return current
    scale = max(ends - arrivals, 1e-9)

    def value(met: int, ends: float) -> float:
        latency = max(ends - arrivals, 1e-9) / scale
        return met - _TIE * latency if goal == "met" else met / latency

    best, here = list(current), value(met, ends)
    top = here
    random = Random(seed).random
    heat, cooling = _HOT, (_COLD / _HOT) ** (1.0 / max(moves, 1))
    for move in range(moves):
        if move % _LOOK == 0 and expired():
            break
        low = int(random() * (total - 1))
        high = min(low + 2 + int(random() * _SPAN), total)
        old = current[low:high]
        new = _changed(old, random())
        before, after = _span(jobs, old, begins[low]), _span(jobs, new, begins[low])
        tried_met, tried_ends = met + after[1] - before[1], ends + after[2] - before[2]
        there = value(tried_met, tried_ends)
        if there >= here or random() < exp((there - here) / heat):
            current[low:high], begins[low:high] = new, after[0]
            met, ends, here = tried_met, tried_ends, there
            if here > top:
                best, top = list(current), here
        heat *= cooling
    return best


def _changed(span: list[int], which: float) -> list[int]:
    """Swap the ends, or let the last go first, or the first last."""
    if which < 1 / 3:
        return [span[-1], *span[1:-1], span[0]]
    return [span[-1], *span[:-1]] if which < 2 / 3 else [*span[1:], span[0]]


def _span(jobs: Jobs, order: Sequence[int], clock: float) -> tuple[list[float], int, float]:
    """Return when each begins, how many end in time, and the sum of their ends."""
    begins, met, ends = [], 0, 0.0
    for number in order:
        due, work = jobs[number]
        begins.append(clock)
        clock += work
        ends += clock
        met += clock <= due
    return begins, met, ends


class Annealing(QueuePolicy):
    """Most requests in time (`met`), or most of them per second of latency (`G`); Moore-Hodgson's order to begin with.

    Args:
        goal: the objective.
        moves: changes tried at most.
        seconds: limit of the whole decision, its start included.
        seed: of the moves; the same queue gives the same order unless the time limit cuts in.
        clock: seconds.
    """

    name = "annealing"
    fallback: str | None = "moore-hodgson"

    def __init__(
        self, goal: Goal = "met", *, moves: int = 24, seconds: float = 8e-4, seed: int = 0,
        clock: Callable[[], float] = perf_counter,
    ) -> None:  # fmt: skip
        if goal not in ("met", "G"):
            raise ValueError(f"annealing: goal is 'met' or 'G', not {goal!r}")
        self._goal, self._moves, self._seconds, self._seed, self._clock = goal, moves, seconds, seed, clock

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the best order found."""
        deadline = self._clock() + self._seconds
        machine = Machine.of(waiting, context)
        order = anneal(
            machine.jobs, machine.order(), machine.start, sum(view.arrival for view in waiting),
            goal=self._goal, moves=self._moves, seed=self._seed, expired=lambda: self._clock() >= deadline,
        )  # fmt: skip
        return machine.names(order)
