"""The plans that were considered when a run was planned, for its record: at most five, the one that runs among them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from catp.planlang.digest import digest
from catp.planlang.money import format_usd
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import PriceRange
from catp.result import Quote

__all__ = ["CONSIDERED", "Considered", "considered"]

CONSIDERED = 5
"""How many plans a planner is asked for when one is to be run, and how many the record tells of."""


class Considered(NamedTuple):
    """A plan in the planner's order (1 is the best) and what was expected of it; `chosen` is the one that runs."""

    rank: int
    plan: Plan
    digest: str
    price: PriceRange
    latency_ms: float
    quality: float | None
    utility: float | None
    chosen: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as the event `run.created` has it."""
        price = self.price
        prices = (("low", price.low), ("expected", price.expected), ("p95", price.p95))
        return {
            "rank": self.rank, "plan": self.digest, "latency_ms": self.latency_ms, "quality": self.quality,
            "utility": self.utility, "chosen": self.chosen,
            "price": {name: None if amount is None else format_usd(amount) for name, amount in prices},
        }  # fmt: skip


def considered(quote: Quote) -> Sequence[Considered]:
    """Return what the planner had to choose from; nothing for a plan that was given.

    The plan that runs is told as it is quoted now: it may ask for approval, or have lost optional outputs, since.
    """
    place, rivals = quote.place, quote.rivals
    first = range(min(len(rivals), CONSIDERED if place < CONSIDERED else CONSIDERED - 1))
    return [
        Considered(
            rank + 1, quote.compiled.source, quote.compiled.digest, quote.price, quote.latency.expected_ms,
            quote.quality, quote.utility, True,
        )
        if rank == place
        else Considered(
            rank + 1, rivals[rank].plan, digest(rivals[rank].plan), rivals[rank].price,
            rivals[rank].latency.expected_ms, rivals[rank].quality, rivals[rank].utility, False,
        )
        for rank in sorted({*first, *([place] if rivals else ())})
    ]  # fmt: skip
