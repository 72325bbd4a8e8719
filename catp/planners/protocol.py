"""The planner protocol: a frozen request in, ranked candidate plans out.

Planners are pure: they never call a tool and never spend. The search planner and, later, the learned policy
implement the same protocol.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from catp.planlang.money import Money
from catp.planlang.nodes import Plan, Step
from catp.planlang.registry_view import Estimator, Latency, PriceRange, RegistryView, ValueFacts
from catp.planlang.types import Type

if TYPE_CHECKING:
    from catp.result import RunResult

__all__ = [
    "Candidate", "FrontPlanner", "NothingFits", "Objective", "PlanRequest", "Planner", "PlanningFailed", "Proposal",
    "TellingPlanner", "Wanted",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Objective:
    """What to optimise: `alpha * quality - (1 - alpha) * price / price_scale - lateness`, quality in [0, 1].

    `alpha` in [0, 1] weighs quality against price. `budget` caps the p95 price, `deadline_ms` the expected latency;
    each is a hard constraint here. `price_scale` (nano-USD) defaults to the price of the cheapest plan whose
    quality is within 0.01 of the best.
    """

    alpha: float = 0.8
    budget: Money | None = None
    deadline_ms: float | None = None
    price_scale: Money | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha must lie in [0, 1], got {self.alpha!r}")
        for name, value in (
            ("budget", self.budget),
            ("deadline_ms", self.deadline_ms),
            ("price_scale", self.price_scale),
        ):
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """One result the caller asks for: a name for it and the type it must have.

    A wanted value is always made by a tool: an input is never handed back as a result, even if its type fits.
    `capability` lists what the tool that makes it may be for (empty: anything), `source` names the input it must
    derive from (empty: any), `arguments` fixes parameters of that tool (`(("to", "es"),)`). `through` are steps that
    must come before that tool, in this order, each given by what it may be for: "sharpen and enlarge" is an image by
    `("upscale",)` through `(("deblur",),)`.
    """

    name: str
    type: Type
    optional: bool = False
    capability: tuple[str, ...] = ()
    source: str = ""
    arguments: tuple[tuple[str, str | int | float | bool], ...] = ()
    through: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Everything a planner may look at."""

    task: str
    inputs: Mapping[str, ValueFacts]
    wanted: tuple[Wanted, ...]
    objective: Objective
    registry: RegistryView
    estimator: Estimator
    candidates: int = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One valid plan with its predictions. `quality` is None if some tool's accuracy is unknown."""

    plan: Plan
    price: PriceRange
    latency: Latency
    quality: float | None
    utility: float


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a planner returns: candidates, best first (never empty), and how far to trust the order.

    Best is highest utility, unless the planner was not sure enough of it to prefer it to the cheapest plan.

    `exact` is True if no valid plan within the search bounds was left out; `notes` say what was assumed or cut.
    `price` is what planning itself cost, None if nobody knows. `by` names the planner that did it, if that is not the
    one that was asked.
    """

    candidates: tuple[Candidate, ...]
    exact: bool
    notes: tuple[str, ...] = ()
    price: Money | None = Money(0)
    by: str = ""

    @property
    def best(self) -> Candidate:
        """The first candidate."""
        return self.candidates[0]


class PlanningFailed(ValueError):
    """No valid plan exists or the request was not understood; the message says which, and what would help.

    `price` is what planning cost all the same, None if nobody knows.
    """

    price: Money | None = Money(0)
    booked: "RunResult | None" = None
    """The record of what was spent on calls that were started while it planned; see `catp.eager`."""


class NothingFits(PlanningFailed):
    """Plans exist, but none within the `limit` ("budget" or "deadline"); the message says what it would take."""

    def __init__(self, message: str, limit: Literal["budget", "deadline"]) -> None:
        super().__init__(message)
        self.limit: Literal["budget", "deadline"] = limit


class Planner(Protocol):
    """Anything that turns a request into candidate plans."""

    name: str

    async def plan(self, request: PlanRequest) -> Proposal:
        """Return ranked candidates or raise `PlanningFailed`."""
        ...


@runtime_checkable
class FrontPlanner(Protocol):
    """A planner that can show what there is to choose from, instead of what is best at one alpha."""

    async def front(self, request: PlanRequest) -> Proposal:
        """Return up to `request.candidates` plans none of which another beats on price, quality and expected latency.

        They come in the order of the objective, best first; see `Planner.plan` for the rest.
        """
        ...


@runtime_checkable
class TellingPlanner(Protocol):
    """A planner that tells steps of the plan it is likely to propose before it has finished."""

    async def plan_aloud(self, request: PlanRequest, decided: Callable[[int, int, Step], None]) -> Proposal:
        """As `Planner.plan`; `decided` is told of steps as `catp.planners.writer.PlanWriter.write` tells of them.

        The best candidate may be another plan.
        """
        ...
