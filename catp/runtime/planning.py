"""What making a plan took: who planned, for how long, for how much. It is the first ledger row of the run it was for.

    plan   ──> Planning ──> Quote ──> Run: one row of kind `planning`, in the event that creates the run
    repair ──> Planning ──> one more, in the event that gives the run another plan, or ends it if none was found

Whoever planned has been paid by the time a run starts, so nothing is reserved: the run's room is its cap less this. A
plan may be run several times, or never; the first run of any of its candidates books the planning, and no other does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.planlang.money import Money, format_usd, parse_usd
from catp.tools.charges import MOST_PER_CALL

__all__ = ["PLANNING", "PLANNING_STEP", "Planning"]

PLANNING = "planning"
"""The kind of ledger row."""

PLANNING_STEP = "plan"
"""Its step: a word of the plan language, so no step of a plan has this name."""


@dataclass(frozen=True, eq=False)
class Planning:
    """One answer of a planner: its name, how long it took (wall-clock milliseconds), what it cost (None: unknown).

    A price that is no whole amount of nano-USD, or negative, or absurd, is unknown.
    """

    planner: str
    ms: float
    price: Money | None
    _unbooked: list[None] = field(default_factory=lambda: [None], repr=False)

    def __post_init__(self) -> None:
        price: Any = self.price
        if type(price) is not int or not 0 <= price <= MOST_PER_CALL:
            object.__setattr__(self, "price", None)

    @property
    def due(self) -> bool:
        """True until a run has booked it."""
        return bool(self._unbooked)

    def claim(self) -> bool:
        """True the first time: the caller books it. Safe between threads."""
        try:
            self._unbooked.pop()
        except IndexError:
            return False
        return True

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values; `price_usd` is a decimal string, None for unpriced."""
        price = None if self.price is None else format_usd(self.price)
        return {"planner": self.planner, "ms": self.ms, "price_usd": price}

    @classmethod
    def recorded(cls, told: Mapping[str, Any]) -> "Planning | None":
        """Read it back from the data of an event of the run, due again; None if nothing was booked."""
        data = told.get("planning")
        if data is None:
            return None
        amounts = [parse_usd(row["amount"]) for row in data["rows"] if "amount" in row]
        price = Money(sum(amounts)) if len(amounts) == len(data["rows"]) else None
        return cls(str(data["planner"]), float(data["ms"]), price)
