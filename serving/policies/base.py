"""What all queue policies share: a name, a limit on their time, a cheaper policy behind them, and their victims."""

from collections.abc import Sequence

from catp.serving.policies.protocol import Context, View

__all__ = ["QueuePolicy"]


class QueuePolicy:
    """Base of queue policies; `order` is what each of them is.

    `limit` is the CPU time in seconds that one decision on up to 256 waiting requests may take, and in proportion on
    more (measured and enforced by `catp.serving.policies.guard`), `fallback` the name of the policy that takes over
    where it is broken; None: it is the cheapest there is.
    """

    name: str
    limit: float = 1e-3
    fallback: str | None = "fcfs"

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids of all waiting requests, first to be served first."""
        raise NotImplementedError

    def victim(self, running: Sequence[View], context: Context) -> str | None:
        """Return whom to preempt: the last in the policy's own order that holds blocks; None if nobody does."""
        holding = [view for view in running if view.blocks]
        return self.order(holding, context)[-1] if holding else None

    def shed(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return whom to give up now with 429, because their SLO cannot be met; nobody unless the policy says so."""
        return []

    def served(self, tenant: str, prompt: int, output: int) -> None:
        """Count tokens computed for a tenant; only fair sharing does (`catp.serving.policies.fairness`)."""
