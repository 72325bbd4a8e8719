"""As many requests in time as possible: Moore and Hodgson's rule for one machine (Moore 1968), the default.

Requests are taken by due time. Whenever the one just taken would be late, the one with the most work among those taken
so far goes behind all others. On one machine with jobs that are all there, no order has fewer late jobs. A replica with
continuous batching is not quite that machine: a job's length is the work it takes from all others, and its due time is
the moment by which that work must be through for its latest start to hold (`Outlook`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Machine", "MooreHodgson", "on_time"]


def on_time(jobs: Sequence[tuple[float, float]], start: float = 0.0) -> tuple[list[int], list[int]]:
    """Split jobs (due, work) into those that end in time, by due time, and the late ones, by work.

    All of them can begin at `start`. The first list is as long as it can be; O(n log n).
    """
    taken: list[tuple[float, int]] = []
    dropped: set[int] = set()
    by_due = sorted(range(len(jobs)), key=jobs.__getitem__)
    clock = start
    for number in by_due:
        due, work = jobs[number]
        clock += work
        heappush(taken, (-work, number))
        if clock > due:
            largest, out = heappop(taken)
            clock += largest
            dropped.add(out)
    late = sorted(dropped, key=lambda number: (jobs[number][1], number))
    return [number for number in by_due if number not in dropped], late


@dataclass(frozen=True, slots=True)
class Machine:
    """A queue as jobs of one machine that is free from `start` on: (due, work) of each view, views by arrival."""

    views: Sequence[View]
    jobs: Sequence[tuple[float, float]]
    start: float

    @classmethod
    def of(cls, waiting: Sequence[View], context: Context) -> "Machine":
        """Return the jobs that the waiting requests are, beside those that run."""
        views = sorted(waiting, key=lambda view: (view.arrival, view.id))
        outlook = context.costs.outlook(context, views)
        return cls(views, outlook.jobs(views), context.now + outlook.backlog)

    def order(self) -> list[int]:
        """Return the jobs in time, then the late ones."""
        punctual, late = on_time(self.jobs, self.start)
        return punctual + late

    def names(self, order: Sequence[int]) -> list[str]:
        """Return the ids of an order of jobs."""
        return [self.views[number].id for number in order]


class MooreHodgson(QueuePolicy):
    """Requests that can be in time, by due time; then the others, least work first. Without SLO nothing is late."""

    name = "moore-hodgson"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids in time and the late ones."""
        machine = Machine.of(waiting, context)
        return machine.names(machine.order())
