"""Shortest predicted first, by three readings of "predicted": the expectation, that and its tail, the least."""

from collections.abc import Sequence

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["LowerBound", "ShortestFirst", "Uncertainty"]


class ShortestFirst(QueuePolicy):
    """Least predicted work first: the device seconds of its uncached prompt and its expected output."""

    name = "spf"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by work."""
        outlook = context.costs.outlook(context)
        keys = sorted((outlook.work(view), view.arrival, view.id) for view in waiting)
        return [key[2] for key in keys]


class Uncertainty(QueuePolicy):
    """Least tail-inflated work first: the output counts as E[L] + tail * CVaR_0.9[L] tokens (TIE, arXiv 2604.00499).

    Among requests of one expectation the surer goes first. No length is taken to be above the request's bound, so a
    grammar with a short bound takes the risk out of its requests.
    """

    name = "uncertainty"

    def __init__(self, tail: float = 0.5) -> None:
        if tail < 0:
            raise ValueError(f"uncertainty: tail is the weight of the longest tenth, at least 0, not {tail}")
        self._tail = tail

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by inflated work."""
        outlook = context.costs.outlook(context)
        keys = sorted((outlook.work(view, self._left(view)), view.arrival, view.id) for view in waiting)
        return [key[2] for key in keys]

    def _left(self, view: View) -> float:
        length = view.length
        worst = length.high if length.tail is None else length.tail
        inflated = min(length.expected, view.bound) + self._tail * min(worst, view.bound)
        return max(inflated - view.generated, 1.0)


class LowerBound(QueuePolicy):
    """Least possible work first: an output counts as the low end of its interval, which rises as it is passed.

    A_min of arXiv 2508.14544: robust to wide intervals, as it never counts on tokens that may not come. What was
    generated before a preemption is known and counts; the victim is whoever has shown the least so far.
    """

    name = "lower-bound"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by the work of their lower bounds."""
        outlook = context.costs.outlook(context)
        keys = sorted((outlook.work(view, _least(view) - view.generated), view.arrival, view.id) for view in waiting)
        return [key[2] for key in keys]

    def victim(self, running: Sequence[View], context: Context) -> str | None:  # noqa: D102
        holding = [view for view in running if view.blocks]
        return min(holding, key=lambda view: (_least(view), -view.arrival, view.id)).id if holding else None


def _least(view: View) -> float:
    return max(min(view.length.low, view.bound), view.generated + 1.0)
