"""What becomes of requests that cannot meet their SLO any more: they go behind those that can, or are given up, or age.

This, and not a clever order, is the greatest gain on overloaded minutes: a request that is late in any case costs as
much device time as one that could still be in time. Its price is the tail, as the late ones wait; so shed them or let
them age.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Feasible", "Late"]

Late: TypeAlias = Literal["demote", "shed", "age"]


class Feasible(QueuePolicy):
    """Another policy's order, with the hopeless behind (in its order too).

    Args:
        inner: orders both parts.
        late: `demote` leaves them there; `shed` names them in `shed`, for 429 with Retry-After; `age` lets those that
        have
            waited for `patience` seconds to the front, oldest first, as long as few of their kind run.
        patience: seconds.
        lanes: share of running sequences that aged requests may take; one may always run.
    """

    def __init__(
        self, inner: QueuePolicy, late: Late = "demote", *, patience: float = 60.0, lanes: float = 0.1
    ) -> None:
        self.name, self.limit, self.fallback = f"{inner.name}+{late}", inner.limit, inner.fallback
        self._inner, self._late, self._patience, self._lanes = inner, late, patience, lanes

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids of those in time, then of the hopeless; aged ones that have a lane before both."""
        hopeless = self._hopeless(waiting, context)
        aged = self._aged(hopeless, context) if self._late == "age" else []
        behind = {view.id for view in hopeless}
        ahead = {view.id for view in aged}
        ids = self._inner.order(waiting, context)
        return [
            *(view.id for view in aged),
            *(name for name in ids if name not in behind),
            *(name for name in ids if name in behind and name not in ahead),
        ]

    def shed(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the hopeless, if that is what becomes of them; never somebody who has begun to get output."""
        if self._late != "shed":
            return []
        return [view.id for view in self._hopeless(waiting, context) if not view.generated]

    def served(self, tenant: str, prompt: int, output: int) -> None:  # noqa: D102
        self._inner.served(tenant, prompt, output)

    def _hopeless(self, views: Sequence[View], context: Context) -> list[View]:
        jobs = context.costs.outlook(context, views).jobs(views)
        return [view for view, (due, work) in zip(views, jobs, strict=True) if due - work < context.now]

    def _aged(self, hopeless: Sequence[View], context: Context) -> list[View]:
        oldest = context.now - self._patience
        waiting = sorted((v for v in hopeless if v.arrival < oldest), key=lambda view: (view.arrival, view.id))
        running = sum(view.arrival < oldest for view in self._hopeless(context.running, context))
        return waiting[: max(int(self._lanes * len(context.running)), 1) - running] if waiting else []
