"""What a ledger is made of: the rows that were charged, money held for a call, and the outcome of a call in money."""

from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.planlang.money import Money, format_usd
from catp.runtime.limits import LevelReached, Limit

__all__ = ["CallKey", "LedgerRow", "Reservation", "RowSource", "Settlement", "money_text"]

money_text = lru_cache(maxsize=4096)(format_usd)
"""`format_usd`, which says the same few amounts again and again."""

RowSource: TypeAlias = Literal["measured", "declared", "provider", "estimated"]


class CallKey(NamedTuple):
    """Which call an amount belongs to; `attempt` counts the calls of one step (or element) from 1."""

    run_id: str
    step: str
    attempt: int
    tool: str
    element: int | None = None


class LedgerRow(NamedTuple):
    """One charged line. `amount` is None if nobody knows it, never 0 for unknown.

    `source` says where the figure comes from; `estimated` rows stand in for a price that could not be determined, and
    `priced` is False for them.
    `estimate` is the expected price of the whole call and stands on its first row only, so that columns add up.
    `saved` is what a result from the cache would have cost; it is not part of any total of amounts.
    `kind` is that of a charge, `cache` (a result used again), `estimate` (nobody knows what was used), `planning`, or
    `eager` (a call that was started before the plan was finished and is not in it).
    """

    seq: int
    run_id: str
    step: str
    attempt: int
    element: int | None
    tool: str
    kind: str
    quantity: float
    unit: str
    unit_price_usd: str | None
    amount: Money | None
    source: RowSource
    priced: bool
    estimate: Money | None = None
    overrun: bool = False
    note: str = ""
    saved: Money | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values without the run and the call it belongs to, and without empty fields."""
        found: dict[str, Any] = {
            "seq": self.seq, "kind": self.kind, "quantity": self.quantity, "unit": self.unit, "source": self.source,
            "priced": self.priced,
        }  # fmt: skip
        if self.unit_price_usd is not None:
            found["unit_price"] = self.unit_price_usd
        for name, amount in (("amount", self.amount), ("estimate", self.estimate), ("saved", self.saved)):
            if amount is not None:
                found[name] = money_text(amount)
        if self.overrun:
            found["overrun"] = True
        if self.note:
            found["note"] = self.note
        return found


class Reservation:
    """Money held for one call until it is settled or released."""

    __slots__ = ("amount", "bounded", "estimate", "key", "limits", "open")

    def __init__(
        self, key: CallKey, amount: Money, bounded: bool, estimate: Money | None, limits: tuple[Limit, ...]
    ) -> None:
        self.key = key
        self.amount = amount
        self.bounded = bounded
        """False if nothing is known of the price, so that no amount can be called an overrun."""
        self.estimate = estimate
        self.limits = limits
        self.open = True


class Settlement(NamedTuple):
    """The outcome of a call in money: the rows written, their sum (None if no row is priced), by how much it exceeds
    the reservation, and the warn levels it made some limits reach."""

    rows: tuple[LedgerRow, ...]
    amount: Money | None
    overrun: Money = Money(0)
    reached: tuple[LevelReached, ...] = ()
