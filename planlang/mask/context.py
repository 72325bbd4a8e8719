"""What the mask is told about one request: the token context, what calls may cost, and how large a plan may get."""

from dataclasses import dataclass

from catp.planlang.money import Money, format_usd
from catp.planlang.token_ids import TokenContext

__all__ = ["Infeasible", "MaskContext"]


class Infeasible(ValueError):
    """No plan can produce the requested outputs within the budget and the number of steps; the message says why."""


@dataclass(frozen=True)
class MaskContext:
    """One request as the mask sees it.

    `prices` holds an upper estimate per call (such as the p95 price) for each tool, in nano-USD; None is a price nobody
    knows, and such a tool is not offered under a `budget`. Without a budget prices are ignored. A map (`each`) is
    priced for `width` elements. Every attempt of a step is priced, since all of them may have to be paid.
    """

    tokens: TokenContext
    prices: tuple[Money | None, ...] = ()
    budget: Money | None = None
    max_steps: int = 8
    max_attempts: int = 2
    width: int = 8

    def __post_init__(self) -> None:
        if self.budget is not None and len(self.prices) != len(self.tokens.registry):
            raise ValueError(f"{len(self.prices)} prices for {len(self.tokens.registry)} tools")
        if any(price is not None and price < 0 for price in self.prices):
            raise ValueError("prices must not be negative")
        if self.budget is not None and self.budget < 0:
            raise ValueError(f"the budget must not be negative, got ${format_usd(self.budget)}")
        steps = len(self.tokens.vocabulary.span("n"))
        for name, value, most in (
            ("max_steps", self.max_steps, steps),
            ("max_attempts", self.max_attempts, 64),
            ("width", self.width, 10**9),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name} must lie in 1..{most}, got {value!r}")
        if all(goal.optional for goal in self.tokens.goals):
            raise ValueError("at least one requested output must be required")

    def price(self, tool: int) -> Money | None:
        """What one call of the tool at this position may cost; None if it must not be offered."""
        return Money(0) if self.budget is None else self.prices[tool]
