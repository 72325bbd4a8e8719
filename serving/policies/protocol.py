"""What a queue policy sees and says. Policies are pure: frozen views in, an order out; the clock is in the view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from catp.serving.policies.costmodel import CostModel

__all__ = ["Context", "Interval", "Policy", "View"]


@dataclass(frozen=True, slots=True)
class Interval:
    """A predicted number of output tokens: expected, and where it lies with probability 0.8 (`low`, `high`).

    `tail` is the mean of the longest tenth (CVaR at 0.9); None: unknown, `high` stands in for it.
    """

    expected: float
    low: float
    high: float
    tail: float | None = None


@dataclass(frozen=True, slots=True)
class View:
    """A request as policies see it; times in seconds on the engine's clock.

    Args:
        id, tenant, priority, arrival, kind: the request's.
        prompt: prompt tokens that are still to compute (not in the prefix cache).
        context: prompt tokens in all.
        bound: most output tokens there can be.
        length: predicted output tokens.
        generated: output tokens so far.
        ttft_due, e2e_due: when the first token and the end are due; None: no expectation. Plan slack is in them.
        tpot: seconds between tokens expected in the mean; None: no expectation.
        blocks: KV blocks it holds.
    """

    id: str
    arrival: float
    prompt: int
    context: int
    bound: int
    length: Interval
    generated: int = 0
    tenant: str = "default"
    priority: int = 0
    kind: str = "text"
    ttft_due: float | None = None
    e2e_due: float | None = None
    tpot: float | None = None
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Context:
    """What else an order may depend on: now, step times, what runs, the token budget of a step."""

    now: float
    costs: CostModel
    running: tuple[View, ...] = ()
    budget: int = 512


class Policy(Protocol):
    """An order of service. Neither method may change anything but the policy's own state."""

    name: str

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids of all waiting requests, first to be served first."""
        ...

    def victim(self, running: Sequence[View], context: Context) -> str | None:
        """Return whom to preempt if blocks run out, None for nobody."""
        ...

    def shed(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return whom to give up now (429), because their SLO cannot be met any more; most policies never do."""
        ...

    def served(self, tenant: str, prompt: int, output: int) -> None:
        """Hear how many tokens of a tenant were computed in a step; policies that share by tenant count them."""
        ...
