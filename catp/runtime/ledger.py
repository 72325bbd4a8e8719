"""The money of a run: reserve an upper estimate, call, settle with what it really cost, release the rest.

    reserve ──> Reservation ──> settle   rows are written, the difference goes back
       │                   └──> release  nothing was used, everything goes back
       └─────> BudgetRefused             a cap would not hold; `wait` says whether the money may still come back

Checking and reserving is one step under a lock, so parallel calls cannot all pass the same check. Totals are sums of
rows and nothing else. Amounts are integer nano-USD. An actual price above the reservation is charged in full, marked
`overrun`, and counts against every later reservation.

Besides the run's own cap a reservation has to fit every limit of its agent and project in this process (`within`) and,
through `SharedLimits`, the budgets that several processes share.
"""

from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import Literal

from catp.planlang.money import Money
from catp.runtime.charged_rows import charged_rows, estimated_rows
from catp.runtime.ledger_rows import CallKey, LedgerRow, Reservation, RowSource, Settlement
from catp.runtime.limits import BudgetRefused, LevelReached, Limit, ReserveAt, unpriced, why_refused
from catp.runtime.losses import EAGER, Loss
from catp.runtime.planning import PLANNING, PLANNING_STEP, Planning
from catp.runtime.shared_limits import SharedLimits
from catp.tools.usage import Charge

__all__ = [
    "BudgetRefused", "CallKey", "Ledger", "LedgerRow", "Limit", "Reservation", "ReserveAt", "RowSource", "Settlement",
    "SharedLimits",
]  # fmt: skip

_LOCK = Lock()
"""One for all ledgers of the process: they share limits, and nobody holds it for longer than a microsecond."""


class Ledger:
    """The rows of one or several runs under one cap.

    Args:
        cap: The most that may be spent; None for no limit.
        within: Further limits that every call has to fit: of the agent, of the project, by the day.
        shared: Budgets shared with other processes.
        unpriced: What to do under a cap with a call whose price nobody can predict: `"refuse"` it, or assume this
            amount and reserve that. Without a cap there is nothing to protect and such calls simply run.
        reserve_at: Which price of a call is held while it runs.
        warn: Shares of the cap to be told of when they are reached, such as `(0.5, 0.8)`.
        before: Rows of an earlier life of the run: they count as spent, and further rows are numbered after them.

    Raises:
        ValueError: The cap is zero or negative, or a warn level is not a share.
    """

    def __init__(
        self,
        cap: Money | None = None,
        *,
        within: Sequence[Limit] = (),
        shared: SharedLimits | None = None,
        unpriced: Literal["refuse"] | Money = "refuse",
        reserve_at: ReserveAt = "p95",
        warn: Sequence[float] = (),
        before: Iterable[LedgerRow] = (),
    ) -> None:
        self._limit = Limit(cap, "the budget", warn=warn)
        self._limits = (self._limit, *within)
        self._shared = shared
        self.unpriced: Literal["refuse"] | Money = unpriced
        self.reserve_at: ReserveAt = reserve_at
        self._rows: list[LedgerRow] = list(before)
        self._seq = max((row.seq for row in self._rows), default=0)
        self._limit.pay(Money(sum(row.amount for row in self._rows if row.amount is not None)))
        self._limit.reached()  # told in the earlier life

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
    def shares(self) -> bool:
        """True if other ledgers may hold money of the same limits."""
        return len(self._limits) > 1

    @property
    def rows(self) -> tuple[LedgerRow, ...]:
        """Every row so far, in order."""
        return tuple(self._rows)

    @property
    def unpriced_rows(self) -> int:
        """How many rows have no amount because nobody knows it."""
        return sum(row.amount is None for row in self._rows)

    def lower(self, cap: Money) -> None:
        """Spend no more than `cap` from now on; a smaller cap stays."""
        with _LOCK:
            self._limit.cap = cap if self._limit.cap is None else min(cap, self._limit.cap)

    def watch(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever money held in one of the limits is given back, by whatever ledger and thread.

        Returns a function that ends the watch.
        """
        for limit in self._limits:
            limit.watchers.append(callback)

        def unwatch() -> None:
            for limit in self._limits:
                limit.watchers.remove(callback)

        return unwatch

    def reserve(
        self,
        key: CallKey,
        amount: Money | None,
        *,
        estimate: Money | None = None,
        within: Sequence[Limit] = (),
        kept: Money = Money(0),
    ) -> Reservation | BudgetRefused:
        """Hold `amount` (an upper estimate, None if unknown) for a call in every limit: the ledger's and `within`.

        `kept` must stay free beside it in all but the limits of single steps: money that others need more.
        """
        limits = (*self._limits, *within) if within else self._limits
        capped = [limit for limit in limits if limit.cap is not None]
        if amount is not None and (type(amount) is not int or amount < 0):
            amount = None  # not a number, or money that would come back: nobody knows what the call costs
        bounded = amount is not None
        if amount is None:
            if not capped and not (self._shared is not None and self._shared.capped):
                amount = Money(0)
            elif self.unpriced == "refuse":
                return unpriced(key.tool, capped)
            else:
                amount = self.unpriced
        with _LOCK:
            for limit in capped:
                limit.roll()
                assert limit.cap is not None
                if limit.spent + limit.reserved + amount + kept > limit.cap:
                    beside = Money(0) if limit.scope == "step" else kept
                    refused = why_refused(
                        key.tool, amount,
                        name=limit.name, cap=limit.cap, spent=limit.spent, reserved=limit.reserved, kept=beside,
                    )  # fmt: skip
                    if refused is not None:
                        return refused
            for limit in limits:
                limit.reserved = Money(limit.reserved + amount)
        if self._shared is not None:  # also if it should cost nothing: what was said to be free has cost money before
            refused = self._shared.reserve(key, amount, kept)
            if refused is not None:
                self._give_back(limits, amount)
                return refused
        return Reservation(key, amount, bounded, estimate, limits)

    def settle(
        self, reservation: Reservation, charges: Sequence[Charge] | None, *, note: str = "", estimated: bool = False
    ) -> Settlement:
        """Write the rows of a finished call and give back what it did not use; a second settlement changes nothing.

        `charges` None means the price could not be determined: the reserved amount is then charged as an estimated
        row with `note` as its reason, or, if nothing was reserved either, the row is left without an amount.
        `estimated` says that the charges themselves only stand in for an amount nobody knows.
        """
        with _LOCK:
            if not reservation.open:
                return Settlement((), None)
            reservation.open = False
            if charges is None:
                rows = estimated_rows(reservation, note, self._seq)
            else:
                rows = charged_rows(reservation, charges, note, estimated, self._seq)
            amounts = [row.amount for row in rows if row.amount is not None]
            total = Money(sum(amounts))
            reached = self._book(rows, total, reservation.limits, reservation.amount)
        if self._shared is not None:
            reached += self._shared.settle(reservation.key, total)
        _notify(reservation.limits)
        known = charges is not None or bool(amounts)
        over = max(0, total - reservation.amount) if reservation.bounded else 0
        return Settlement(rows, total if known else None, Money(over), reached)

    def release(self, reservation: Reservation) -> None:
        """Give everything back; nothing happens if the reservation is settled or released already."""
        with _LOCK:
            if not reservation.open:
                return
            reservation.open = False
        if self._shared is not None and reservation.amount > 0:
            self._shared.release(reservation.key)
        self._give_back(reservation.limits, reservation.amount)
        _notify(reservation.limits)

    def plan(self, run_id: str, planning: Planning, number: int = 1) -> Settlement:
        """Write the row of what making a plan cost, the `number`-th of the run. Nothing is refused: the money is gone.

        A price that nobody knows is taken, where there is a cap, to be what is assumed of unpriced calls.
        """
        amount = self._assumed(planning.price)
        known = planning.price is not None
        with _LOCK:
            row = LedgerRow(
                self._seq + 1, run_id, PLANNING_STEP, number, None, planning.planner, PLANNING, planning.ms / 1e3, "s",
                None, amount, "measured" if known else "estimated", known,
                note="" if known else "the planner did not say what it cost",
            )  # fmt: skip
            reached = self._book((row,), amount or Money(0), self._limits, Money(0))
        if self._shared is not None and amount:
            reached += self._shared.settle(CallKey(run_id, PLANNING_STEP, number, planning.planner), amount)
        _notify(self._limits)
        return Settlement((row,), amount, Money(0), reached)

    def lose(self, key: CallKey, loss: Loss) -> Settlement:
        """Write the row of a call that was started early and in vain. Nothing is refused: the money is gone."""
        amount = self._assumed(loss.amount)
        known = loss.amount is not None and not loss.estimated
        with _LOCK:
            row = LedgerRow(
                self._seq + 1, key.run_id, key.step, key.attempt, key.element, key.tool, EAGER, loss.ms / 1e3, "s",
                None, amount, "measured" if known else "estimated", known, note=f"{loss.step}: {loss.note}",
            )  # fmt: skip
            reached = self._book((row,), amount or Money(0), self._limits, Money(0))
        if self._shared is not None and amount:
            reached += self._shared.settle(key, amount)
        _notify(self._limits)
        return Settlement((row,), amount, Money(0), reached)

    def _assumed(self, price: Money | None) -> Money | None:
        if price is not None or self.unpriced == "refuse":
            return price
        shared = self._shared is not None and self._shared.capped
        return self.unpriced if shared or any(limit.cap is not None for limit in self._limits) else None

    def reuse(self, key: CallKey, saved: Money | None, *, estimate: Money | None = None) -> Settlement:
        """Write the row of a call whose result was there already: it costs nothing, even if nothing is left.

        `saved` is what the result cost when it was made, None if nobody knows.
        """
        with _LOCK:
            row = LedgerRow(
                self._seq + 1, key.run_id, key.step, key.attempt, key.element, key.tool, "cache", 1.0, "call", "0",
                Money(0), "measured", True, estimate, saved=saved,
            )  # fmt: skip
            reached = self._book((row,), Money(0), (), Money(0))
        _notify(self._limits)
        return Settlement((row,), Money(0), Money(0), reached)

    def orphan(self, key: CallKey, amount: Money | None, note: str) -> Settlement:
        """Charge a call that was under way when its process died: nobody knows what it cost, `amount` was held."""
        with _LOCK:
            for limit in self._limits:
                limit.reserved = Money(limit.reserved + (amount or 0))
        held = Reservation(key, amount or Money(0), amount is not None, None, self._limits)
        return self.settle(held, None, note=note)

    def _book(
        self, rows: tuple[LedgerRow, ...], total: Money, limits: Sequence[Limit], held: Money
    ) -> tuple[LevelReached, ...]:
        """Append rows, and count them in every limit."""
        self._rows.extend(rows)
        self._seq += len(rows)
        reached: list[LevelReached] = []
        for limit in limits:
            limit.roll()
            limit.reserved = Money(limit.reserved - held)
            limit.pay(total)
            if limit.warn:
                reached += limit.reached()
        return tuple(reached)

    def _give_back(self, limits: Sequence[Limit], amount: Money) -> None:
        with _LOCK:
            for limit in limits:
                limit.reserved = Money(limit.reserved - amount)


def _notify(limits: Sequence[Limit]) -> None:
    watchers = [watcher for limit in limits for watcher in limit.watchers]
    for watcher in dict.fromkeys(watchers) if len(watchers) > 1 else watchers:
        watcher()
