r"""Slack, critical path and width of a plan's graph.

Every step takes a known time and may start when all its predecessors are done:

        fetch 2 ─┬─ parse 5 ──┐
                 │            ├─ report 1
        stamp 3 ─┴─ count 1 ──┘

One pass in topological order gives each step's earliest start, the latest finish of its predecessors:

        fetch 0   stamp 0   parse 3   count 3   report 8

so the length is 9, and the critical path is stamp > parse > report. One pass backwards gives the latest finish that
still ends the plan in time, the earliest of the successors' latest starts:

        report 9   parse 8   count 8   stamp 3   fetch 3

and slack = latest finish - earliest finish: fetch 1, count 4, everything on the critical path 0.

Both passes must follow a topological order. Walking breadth-first and skipping nodes already seen (as OpenCATP does)
gives a step the time of the first predecessor that reaches it, not of the last one: on the graph above `parse` would
start at 2. Plans are written in topological order, since steps refer only to steps above them, so no sorting is needed.

Width is the largest number of steps at work at once if each starts as early as it can: what an executor with enough
slots would see. It never exceeds the largest antichain, which costs O(n^2.5) to find and which no schedule may reach.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Schedule", "longest", "schedule"]

_MIN_MS = 1e-3
"""What a step of no or unknown duration counts for in the width, so that it is at work at some time at all."""


class Schedule(NamedTuple):
    """Times in milliseconds by step: earliest start, and slack (0 on the critical path); the rest is of the plan."""

    start: Mapping[str, float]
    slack: Mapping[str, float]
    length: float
    path: tuple[str, ...]
    width: int


def schedule(predecessors: Mapping[str, Iterable[str]], ms: Mapping[str, float]) -> Schedule:
    """Compute the schedule of a graph given as `{step: its predecessors}` in topological order.

    Args:
        predecessors: every step, after all its predecessors.
        ms: duration of every step, >= 0.

    Raises:
        ValueError: if a step comes before one of its predecessors, or lacks one.
    """
    start, last = _earliest(predecessors, ms)
    finish = {step: start[step] + ms[step] for step in start}
    length = max(finish.values(), default=0.0)
    latest = dict.fromkeys(start, length)
    for step in reversed(list(start)):
        begin = latest[step] - ms[step]
        for before in predecessors[step]:
            if begin < latest[before]:
                latest[before] = begin
    # rounding may leave a hair of slack either way; below a nanosecond it is none
    slack = {step: left if (left := latest[step] - finish[step]) > 1e-6 else 0.0 for step in start}
    return Schedule(start, slack, length, _path(finish, last), _width(predecessors, ms))


def longest(predecessors: Mapping[str, Iterable[str]], ms: Mapping[str, float]) -> float:
    """Return only the length of the critical path; arguments and errors as for `schedule`."""
    start, _ = _earliest(predecessors, ms)
    return max((begin + ms[step] for step, begin in start.items()), default=0.0)


def _earliest(
    predecessors: Mapping[str, Iterable[str]], ms: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, str | None]]:
    """Return each step's earliest start, and the predecessor that determines it."""
    start: dict[str, float] = {}
    last: dict[str, str | None] = {}
    for step, befores in predecessors.items():
        begin, cause = 0.0, None
        for before in befores:
            if before not in start:
                raise ValueError(f"{before!r} must come before {step!r}, which needs it")
            ready = start[before] + ms[before]
            if cause is None or ready > begin:
                begin, cause = ready, before
        start[step], last[step] = begin, cause
    return start, last


def _path(finish: Mapping[str, float], last: Mapping[str, str | None]) -> tuple[str, ...]:
    step = max(finish, key=finish.__getitem__, default=None)
    path: list[str] = []
    while step is not None:
        path.append(step)
        step = last[step]
    return tuple(reversed(path))


def _width(predecessors: Mapping[str, Iterable[str]], ms: Mapping[str, float]) -> int:
    if not predecessors:
        return 0
    clamped = {step: max(ms[step], _MIN_MS) for step in predecessors}
    start, _ = _earliest(predecessors, clamped)
    # ends sort before starts at the same time: a step that waits for another never runs beside it
    changes = sorted([(begin, 1) for begin in start.values()] + [(start[s] + clamped[s], -1) for s in start])
    running = widest = 0
    for _, change in changes:
        running += change
        widest = max(widest, running)
    return widest
