"""By due time. Both are good until the first request is late, and then it takes the others with it.

`catp.serving.policies.feasible` and `catp.serving.policies.moore_hodgson` keep it from that.
"""

from collections.abc import Sequence

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Edf", "Slack"]


class Edf(QueuePolicy):
    """Earliest due first: the time by which the device must be through with a request's work (latest start + work).

    On one machine with jobs that are all there it meets all due times if any order does (Jackson 1955).
    """

    name = "edf"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by due time; those without one last, by arrival."""
        outlook = context.costs.outlook(context, waiting)
        due = (due for due, _ in outlook.jobs(waiting))
        keys = sorted((by, view.arrival, view.id) for by, view in zip(due, waiting, strict=True))
        return [key[2] for key in keys]


class Slack(QueuePolicy):
    """Least slack first: by latest start, the due time less all of the predicted service."""

    name = "slack"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by latest start; those without one last, by arrival."""
        outlook = context.costs.outlook(context, waiting)
        keys = sorted((outlook.latest(view), view.arrival, view.id) for view in waiting)
        return [key[2] for key in keys]
