"""The money of a run: reserve an upper estimate, call, settle with what it really cost, release the rest.

    reserve ──> Reservation ──> settle   rows are written, the difference goes back
       │                   └──> release  nothing was used, everything goes back
       └─────> BudgetRefused             the cap would not hold; `wait` says whether a running call may still free money

Checking and reserving is one step under a lock, so parallel calls cannot all pass the same check. Totals are sums of
rows and nothing else. Amounts are integer nano-USD. An actual price above the reservation is charged in full, marked
`overrun`, and counts against every later reservation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.planlang.money import Money, format_usd
from catp.tools.usage import Charge

__all__ = ["BudgetRefused", "CallKey", "Ledger", "LedgerRow", "Limit", "Reservation", "RowSource", "Settlement"]

RowSource: TypeAlias = Literal["measured", "declared", "provider", "estimated"]

_SOURCES: dict[str, RowSource] = {
    "compute": "measured", "cold_start": "measured", "unit": "measured", "provider": "provider",
}  # fmt: skip


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
        full = {
            "seq": self.seq, "kind": self.kind, "quantity": self.quantity, "unit": self.unit,
            "unit_price": self.unit_price_usd, "amount": None if self.amount is None else format_usd(self.amount),
            "source": self.source, "priced": self.priced,
            "estimate": None if self.estimate is None else format_usd(self.estimate), "overrun": self.overrun or None,
            "note": self.note or None, "saved": None if self.saved is None else format_usd(self.saved),
        }  # fmt: skip
        return {key: value for key, value in full.items() if value is not None}


class Limit:
    """A cap that several ledgers or steps may share: `committed` is what was spent plus what is reserved.

    A reservation has to fit every limit it is made within. Not thread-safe by itself; its ledger's lock guards it.
    """

    __slots__ = ("cap", "name", "reserved", "spent")

    def __init__(self, cap: Money | None, name: str) -> None:
        if cap is not None and cap <= 0:
            raise ValueError(
                f"{name} must be more than zero, not ${format_usd(cap)}; leave it out to run without a limit"
            )
        self.cap = cap
        self.name = name
        self.spent = Money(0)
        self.reserved = Money(0)

    @property
    def available(self) -> Money | None:
        """What may still be reserved (negative after an overrun), or None without a cap."""
        return None if self.cap is None else Money(self.cap - self.spent - self.reserved)


@dataclass(frozen=True, slots=True)
class BudgetRefused:
    """Why a reservation was not made. `wait` is True if money held by running calls could still make it fit."""

    reason: str
    limit: str
    needed: Money | None
    available: Money | None
    wait: bool = False


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
    """The outcome of a call in money: the rows written, their sum (None if no row is priced), and the overrun."""

    rows: tuple[LedgerRow, ...]
    amount: Money | None
    overrun: Money = Money(0)


class Ledger:
    """The rows of one or several runs under one cap.

    Args:
        cap: The most that may be spent; None for no limit.
        unpriced: What to do under a cap with a call whose price nobody can predict: `"refuse"` it, or assume this
            amount and reserve that. Without a cap there is nothing to protect and such calls simply run.

    Raises:
        ValueError: The cap is zero or negative.
    """

    def __init__(self, cap: Money | None = None, *, unpriced: Literal["refuse"] | Money = "refuse") -> None:
        self._limit = Limit(cap, "the budget")
        self.unpriced: Literal["refuse"] | Money = unpriced
        self._rows: list[LedgerRow] = []
        self._lock = Lock()
        self._watchers: list[Callable[[], None]] = []

    @property
    def cap(self) -> Money | None:
        """The most that may be spent, or None."""
        return self._limit.cap

    @property
    def spent(self) -> Money:
        """The sum of all priced rows."""
        return self._limit.spent

    @property
    def reserved(self) -> Money:
        """What running calls hold."""
        return self._limit.reserved

    @property
    def available(self) -> Money | None:
        """What may still be reserved, or None without a cap."""
        return self._limit.available

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        """Every row so far, in order."""
        return tuple(self._rows)

    @property
    def unpriced_rows(self) -> int:
        """How many rows have no amount because nobody knows it."""
        return sum(row.amount is None for row in self._rows)

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever held money is given back; returns a function that ends the watch."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def reserve(
        self, key: CallKey, amount: Money | None, *, estimate: Money | None = None, within: Sequence[Limit] = ()
    ) -> Reservation | BudgetRefused:
        """Hold `amount` (an upper estimate, None if unknown) for a call, in the cap and in every limit of `within`."""
        limits = (self._limit, *within) if within else (self._limit,)
        capped = [limit for limit in limits if limit.cap is not None]
        bounded = amount is not None
        if amount is None:
            if not capped:
                amount = Money(0)
            elif self.unpriced == "refuse":
                return BudgetRefused(
                    f"the price of {key.tool} is unknown; give it a price, measure it with `catp tools bench`, or say "
                    "what to assume for unpriced tools",
                    capped[0].name, None, capped[0].available,
                )  # fmt: skip
            else:
                amount = self.unpriced
        with self._lock:
            for limit in capped:
                if limit.cap is not None and limit.spent + limit.reserved + amount > limit.cap:
                    return _refusal(limit, amount, key)
            for limit in limits:
                limit.reserved = Money(limit.reserved + amount)
        return Reservation(key, amount, bounded, estimate, limits)

    def settle(
        self, reservation: Reservation, charges: Sequence[Charge] | None, *, note: str = "", estimated: bool = False
    ) -> Settlement:
        """Write the rows of a finished call and give back what it did not use; a second settlement changes nothing.

        `charges` None means the price could not be determined: the reserved amount is then charged as an estimated
        row with `note` as its reason, or, if nothing was reserved either, the row is left without an amount.
        `estimated` says that the charges themselves only stand in for an amount nobody knows.
        """
        with self._lock:
            if not reservation.open:
                return Settlement((), None)
            reservation.open = False
            if charges is None:
                rows = self._estimated(reservation, note)
            else:
                rows = self._charged(reservation, charges, note, estimated)
            self._rows.extend(rows)
            amounts = [row.amount for row in rows if row.amount is not None]
            total = Money(sum(amounts))
            for limit in reservation.limits:
                limit.reserved = Money(limit.reserved - reservation.amount)
                limit.spent = Money(limit.spent + total)
        self._notify()
        known = charges is not None or bool(amounts)
        over = max(0, total - reservation.amount) if reservation.bounded else 0
        return Settlement(rows, total if known else None, Money(over))

    def release(self, reservation: Reservation) -> None:
        """Give everything back; nothing happens if the reservation is settled or released already."""
        with self._lock:
            if not reservation.open:
                return
            reservation.open = False
            for limit in reservation.limits:
                limit.reserved = Money(limit.reserved - reservation.amount)
        self._notify()

    def _notify(self) -> None:
        for watcher in tuple(self._watchers):
            watcher()

    def _charged(
        self, reservation: Reservation, charges: Sequence[Charge], note: str, estimated: bool
    ) -> tuple[LedgerRow, ...]:
        key, seq = reservation.key, len(self._rows)
        over = reservation.bounded and sum(charge.amount for charge in charges) > reservation.amount
        return tuple(
            LedgerRow(
                seq + place, key.run_id, key.step, key.attempt, key.element, key.tool, charge.kind, charge.quantity,
                charge.unit, charge.unit_price_usd, charge.amount,
                "estimated" if estimated else _SOURCES.get(charge.kind, "declared"), not estimated,
                reservation.estimate if place == 1 else None, over, note,
            )
            for place, charge in enumerate(charges, 1)
        )  # fmt: skip

    def _estimated(self, reservation: Reservation, note: str) -> tuple[LedgerRow, ...]:
        key = reservation.key
        amount = reservation.amount if reservation.amount > 0 else None
        return (
            LedgerRow(
                len(self._rows) + 1, key.run_id, key.step, key.attempt, key.element, key.tool, "estimate", 1.0, "call",
                None, amount, "estimated", False, reservation.estimate, False, note,
            ),
        )  # fmt: skip


def _refusal(limit: Limit, amount: Money, key: CallKey) -> BudgetRefused:
    available = limit.available
    could_fit = limit.cap is not None and limit.spent + amount <= limit.cap
    left = "nothing" if available is None or available <= 0 else f"${format_usd(available)}"
    return BudgetRefused(
        f"{key.tool} may cost ${format_usd(amount)}, but {limit.name} has {left} left", limit.name, amount, available,
        wait=could_fit and limit.reserved > 0,
    )  # fmt: skip
