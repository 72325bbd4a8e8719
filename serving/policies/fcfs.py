"""First come, first served; with priorities, first come within each."""

from collections.abc import Sequence

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Fcfs", "Priority"]


class Fcfs(QueuePolicy):
    """By arrival; the newest is preempted first (vLLM's default). Needs no prediction and is everybody's fallback."""

    name = "fcfs"
    fallback: str | None = None

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by arrival."""
        return [view.id for view in sorted(waiting, key=lambda view: (view.arrival, view.id))]


class Priority(QueuePolicy):
    """By priority, highest first, then by arrival."""

    name = "priority"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by priority and arrival."""
        return [view.id for view in sorted(waiting, key=lambda view: (-view.priority, view.arrival, view.id))]
