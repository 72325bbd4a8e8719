"""Fair sharing between tenants: the virtual token counter (VTC, Sheng et al., OSDI 2024, arXiv 2401.00588).

Every tenant has a counter of the tokens it was served, prompt tokens at price 1 and output tokens at price 2. Whoever
has the least goes first. A tenant that returns after a pause is lifted to the least counter of those that wait: it
saves up no credit. So of two tenants that both keep requests waiting, none gets ahead by more than twice the greatest
charge that one admission can bring, however many requests the other one sends.
"""

from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Fair"]


class Fair(QueuePolicy):
    """Tenants by counter; a tenant's own requests in the order of another policy.

    The counters are the policy's state: `served` charges what was computed, `order` lifts tenants that return. Within
    one order, and for prompts that were let in and are not computed yet, a tenant is charged ahead.
    """

    def __init__(self, inner: QueuePolicy, *, prompt: float = 1.0, output: float = 2.0) -> None:
        self.name, self.limit, self.fallback = f"{inner.name}+fair", inner.limit, inner.fallback
        self._inner, self._prompt, self._output = inner, prompt, output
        self._counters: dict[str, float] = {}
        self._waited: frozenset[str] = frozenset()

    @property
    def counters(self) -> dict[str, float]:
        """Priced tokens served to each tenant, lifts included."""
        return dict(self._counters)

    def served(self, tenant: str, prompt: int, output: int) -> None:
        """Charge a tenant for computed tokens."""
        charge = self._prompt * prompt + self._output * output
        self._counters[tenant] = self._counters.get(tenant, 0.0) + charge
        self._inner.served(tenant, prompt, output)

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids: again and again the next request of the tenant with the least counter."""
        if not waiting:
            return []
        queues: dict[str, list[View]] = {}
        views = {view.id: view for view in waiting}
        for name in reversed(self._inner.order(waiting, context)):
            queues.setdefault(views[name].tenant, []).append(views[name])
        self._lift(frozenset(queues))
        level = {tenant: self._counters[tenant] for tenant in queues}
        for view in context.running:
            if view.tenant in level:
                level[view.tenant] += self._prompt * view.prompt
        heap = [(counter, tenant) for tenant, counter in level.items()]
        heapify(heap)
        ids: list[str] = []
        while heap:
            counter, tenant = heap[0]
            view = queues[tenant].pop()
            ids.append(view.id)
            if queues[tenant]:
                heapreplace(heap, (counter + self._prompt * view.prompt + self._output, tenant))
            else:
                heappop(heap)
        return ids

    def victim(self, running: Sequence[View], context: Context) -> str | None:
        """Return the inner policy's victim among the requests of the tenant with the greatest counter."""
        holding = [view for view in running if view.blocks]
        if not holding:
            return None
        most = max({view.tenant for view in holding}, key=lambda tenant: (self._counters.get(tenant, 0.0), tenant))
        return self._inner.victim([view for view in holding if view.tenant == most], context)

    def shed(self, waiting: Sequence[View], context: Context) -> list[str]:  # noqa: D102
        return self._inner.shed(waiting, context)

    def _lift(self, waiting: frozenset[str]) -> None:
        """Raise those that begin to wait to the least of those that waited on, or that waited last."""
        stayed = waiting & self._waited
        floor = min((self._counters[tenant] for tenant in stayed or self._waited), default=0.0)
        for tenant in waiting - stayed:
            self._counters[tenant] = max(self._counters.get(tenant, 0.0), floor)
        self._waited = waiting
