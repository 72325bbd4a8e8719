"""The small protocol behind which a learned policy lives: it writes plans and rates plans, and knows no prices.

The policy planner (`catp.planners.policy`) asks a `PlanWriter` for plans, adds the cheapest ones, prices them all with
the compiler and decides. Writers run in process (`catp.training.policy.writer`) or are served by an engine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from catp.planlang.money import Money
from catp.planlang.nodes import Plan, Step
from catp.planners.protocol import PlanRequest

__all__ = ["Decided", "Draft", "PlanWriter", "Rating", "Unwritable", "Usage", "Written"]

Decided: TypeAlias = Callable[[int, int, Step], None]
"""Told of a step that will not change any more: number of the plan (0 the greedy one), number of the step, the step."""


class Unwritable(ValueError):
    """This policy cannot write plans for the request (too many tools, no room in its context); the message says why."""


@dataclass(frozen=True, slots=True)
class Rating:
    """Predicted quality of a plan, and the standard deviation of that opinion.

    `quality` estimates a number in [0, 1] but may overshoot it, by 1 at most: beyond the ends it still orders plans.
    """

    quality: float
    sd: float

    @property
    def possible(self) -> float:
        """The quality in [0, 1] that is nearest to the estimate: what people are told."""
        return min(1.0, max(0.0, self.quality))


@dataclass(frozen=True, slots=True)
class Usage:
    """The work of one answer: tokens read, tokens computed for plans (forced ones included), and seconds of CPU or GPU.

    `price` is what a provider charges for it, None if the caller has to price the seconds.
    """

    prompt_tokens: int = 0
    plan_tokens: int = 0
    seconds: float = 0.0
    price: Money | None = None

    def __add__(self, other: "Usage") -> "Usage":
        price = None if self.price is None or other.price is None else Money(self.price + other.price)
        return Usage(
            self.prompt_tokens + other.prompt_tokens, self.plan_tokens + other.plan_tokens,
            self.seconds + other.seconds, price,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """One plan with its log-probability under the policy (natural log, forced tokens count 0) and its rating."""

    plan: Plan
    logprob: float
    rating: Rating


@dataclass(frozen=True, slots=True)
class Draft:
    """What a writer returns: distinct valid plans, the greedy one first, ratings of plans it was shown, its work."""

    written: tuple[Written, ...]
    rated: tuple[Rating | None, ...] = ()
    usage: Usage = Usage()


class PlanWriter(Protocol):
    """A policy that writes plans under the decode mask and rates plans.

    `name` goes into the record of a run; `device` is `cpu` or `cuda`, for pricing its seconds.
    """

    name: str
    device: str

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        """Write the greedy plan, `samples` sampled ones and `beams` by beam search; rate them and the plans `shown`.

        A plan shown that the policy's tokens cannot spell is rated None. The same request and seed give the same draft.
        `decided` is called in the thread of the event loop as steps of the greedy and sampled plans are decided, those
        of each plan in order, before the draft is returned; a writer may also never call it. It must not block.

        Raises:
            Unwritable: the request does not fit this policy.
            NothingFits, PlanningFailed: no valid plan exists within the budget (from the decode mask).
        """
        ...
