"""The desk of one project and agent: reserves in every budget of theirs, atomically, against all other processes.

Checking all budgets and holding the money is one transaction. What a call held is given back, and what it cost counted,
by the transaction that stores its ledger rows (`catp.store.budget_spend`); in between the held amount stands for it. A
call that cost more than it held, or money that others wait for, is corrected here at once.

A reservation expires unless its run renews it, so that money held by a process that was killed comes back. A process
that lives but had no time to renew, on a machine that is overloaded, keeps its money. If the store does not answer,
nothing is granted.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from catp.budgets.reservation_rows import ADJUST, DROP, EXPIRED, FORGET, HOLD, NOT_SO_LATE, RENEW, place_of
from catp.budgets.transactions import Execute, StoreBusy, Transactions
from catp.budgets.warn_levels import WarnLevels
from catp.planlang.money import Money
from catp.planlang.passes.admit import Room
from catp.runtime.ledger import CallKey
from catp.runtime.limits import BudgetRefused, LevelReached, why_refused
from catp.runtime.planning import PLANNING_STEP
from catp.store.budgets import STANDINGS, Standing, as_standing, moment
from catp.store.errors import StoreError
from catp.store.ownership import alive

__all__ = ["BudgetDesk"]

_TTL_S = 60.0
_BUSY_FOR_GOOD_S = 10.0
_STAYS_FULL_NS = 50_000_000
"""For how long a budget that had no room is taken to have none, unless this process gives some back: a thousand runs
that wait for the same money must not all ask the store for it."""
_SHARED = "the shared budgets"

_LOCK_BUDGETS = """
SELECT id FROM budgets WHERE (scope = 'project' AND name = :project) OR (scope = 'agent' AND name = :agent)
ORDER BY id FOR UPDATE
"""


class BudgetDesk:
    """Shared limits (`catp.runtime.ledger.SharedLimits`) of one project and agent, for all runs of this process.

    Args:
        transactions: The store.
        project: Whose budgets hold.
        agent: A name, or "" for none.
        ttl_s: For how long a reservation counts unless it is renewed.
        now_ns: The time of day that all processes share, Unix nanoseconds.
        strict: Refuse everything priced as long as it is not known whether there are budgets. By default they hold from
            the moment they are first seen.
    """

    def __init__(
        self,
        transactions: Transactions,
        project: str = "default",
        agent: str = "",
        *,
        ttl_s: float = _TTL_S,
        now_ns: Callable[[], int] = time.time_ns,
        strict: bool = False,
    ) -> None:
        self._transactions = transactions
        self._scopes = {"project": project, "agent": agent}
        self._ttl_ns = round(ttl_s * 1e9)
        self._now_ns = now_ns
        self._capped = strict
        self._held: dict[CallKey, Money] = {}
        self._late: list[CallKey] = []
        self._warn = WarnLevels()
        self._runs: Counter[str] = Counter()
        self._full: tuple[Standing, int] | None = None
        self._tight = False
        self._lied, self._free_ns = False, 0
        self._busy_since: float | None = None

    @property
    def capped(self) -> bool:
        """True if there was a budget when the store was last asked, or nobody knows and the desk is strict."""
        return self._capped

    def rooms(self) -> list[Room]:
        """Return what every budget has left, for admission; raise `StoreError` if nobody knows."""
        found = self._transactions.look(self._standings)
        self._capped = bool(found)
        return [Room(s.budget.title, Money(s.budget.cap - s.spent), s.available) for s in found]

    # --- the ledger's side ------------------------------------------------------------------------------------------

    def reserve(self, key: CallKey, amount: Money, kept: Money) -> BudgetRefused | None:
        """See `SharedLimits.reserve`."""
        if amount == 0:
            return self._free(key)
        refused = self._known_to_be_full(key, amount, kept)
        if refused is not None:
            return refused
        try:
            if not self._capped and not self._transactions.look(self._standings):
                return None
            refused = self._transactions.run(lambda execute: self._hold(execute, key, amount, kept))
        except StoreBusy as error:
            return self._busy(amount, error)
        except StoreError as error:
            return _unreachable(amount, error) if self._capped else None
        self._busy_since = None
        self._tight = refused is not None
        if refused is None and self._capped:
            self._held[key] = amount
        return refused

    def _free(self, key: CallKey) -> BudgetRefused | None:
        """A call that should cost nothing is refused only once more is spent than may be: others said so before it.

        As long as no such call of this process cost anything, the store is asked now and then.
        """
        now = self._now_ns()
        if not self._capped or (not self._lied and 0 <= now - self._free_ns < _STAYS_FULL_NS):
            return None
        ask = self._transactions.run if self._lied else self._transactions.look
        try:
            found = ask(self._standings)
        except StoreBusy as error:
            return self._busy(Money(0), error)
        except StoreError as error:
            return _unreachable(Money(0), error)
        self._busy_since, self._free_ns = None, now
        full = next((standing for standing in found if standing.spent + standing.reserved > standing.budget.cap), None)
        return _refusal(full, key, Money(0), Money(0)) if full is not None else None

    def settle(self, key: CallKey, amount: Money) -> tuple[LevelReached, ...]:
        """See `SharedLimits.settle`."""
        held = self._held.pop(key, None)
        if not self._capped:
            return ()
        if held is None and amount > 0:  # nothing was held: until its rows are stored nobody else would know of it
            self._lied = self._lied or key.step != PLANNING_STEP
            self._try(lambda execute: self._note(execute, key, amount))
        if held is not None and (amount > held or (self._tight and amount < held)):
            self._full = None
            self._try(lambda execute: execute(ADJUST, {**place_of(key), "amount": amount}))
        if self._warn.ahead and self._warn.settled(key, amount, held=held is not None):
            return self.reached()
        return ()

    def release(self, key: CallKey) -> None:
        """See `SharedLimits.release`."""
        self._full = None
        if self._held.pop(key, None) is not None and not self._try(lambda execute: execute(DROP, place_of(key))):
            self._late.append(key)

    def reached(self) -> tuple[LevelReached, ...]:
        """Return the warn levels that were reached since the last time and that no process has told yet."""
        if not self._capped:
            return ()
        try:
            return self._transactions.run(self._fire)
        except StoreError:  # told by whoever settles next
            self._warn.tell_again()
            return ()

    # --- the life of a run ------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def alive(self, run_id: str) -> AsyncIterator[None]:
        """Renew what a run holds for as long as the block lasts."""
        self._runs[run_id] += 1
        renewing = asyncio.ensure_future(self._keep_renewing())
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            self._runs[run_id] -= 1
            if not self._runs[run_id]:
                del self._runs[run_id]

    async def _keep_renewing(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_ns / 4e9)
            self.renew()

    def renew(self) -> None:
        """Put off the expiry of what the runs of this process hold; drop what expired long ago."""
        if not self._capped:
            return
        now = self._now_ns()
        times = {"expires": now + self._ttl_ns, "long_ago": now - 10 * self._ttl_ns, "too_late": now + 2 * self._ttl_ns}

        def work(execute: Execute) -> None:
            for run_id in self._runs:
                execute(RENEW, {"run": run_id, "expires": times["expires"]})
            for key in self._late:
                execute(DROP, place_of(key))
            execute(FORGET, {"long_ago": times["long_ago"]})
            # written before the clock went back: nobody may hold money for longer than others do
            execute(NOT_SO_LATE, {"expires": times["expires"], "too_late": times["too_late"]})

        if self._try(work):
            self._late.clear()

    def close(self) -> None:
        """Release the connection."""
        self._transactions.close()

    # --- inside a transaction ---------------------------------------------------------------------------------------

    def _standings(self, execute: Execute) -> list[Standing]:
        return [as_standing(row) for row in execute(STANDINGS, {**moment(self._now_ns()), **self._scopes})]

    def _hold(self, execute: Execute, key: CallKey, amount: Money, kept: Money) -> BudgetRefused | None:
        if not self._transactions.serial:
            execute(_LOCK_BUDGETS, self._scopes)
        self._renew_of_the_living(execute)
        found = self._standings(execute)
        self._capped = bool(found)
        self._warn.watch(found)
        now = self._now_ns()
        for standing in found:
            refused = _refusal(standing, key, amount, kept)
            if refused is not None:
                self._full = standing, now
                return refused
        self._put_down(execute, found, key, amount)
        return None

    def _renew_of_the_living(self, execute: Execute) -> None:
        now = self._now_ns()
        for run_id, owner, heartbeat_ns in execute(EXPIRED, {"now": now}):
            if alive(owner, heartbeat_ns, now_ns=now):
                execute(RENEW, {"run": run_id, "expires": now + self._ttl_ns})

    def _note(self, execute: Execute, key: CallKey, amount: Money) -> None:
        self._put_down(execute, self._standings(execute), key, amount)

    def _put_down(self, execute: Execute, found: list[Standing], key: CallKey, amount: Money) -> None:
        expires = self._now_ns() + self._ttl_ns
        for standing in found:
            held = {"budget": standing.budget.id, "start": standing.start, "amount": amount, "expires": expires}
            execute(HOLD, {**place_of(key), **held})

    def _known_to_be_full(self, key: CallKey, amount: Money, kept: Money) -> BudgetRefused | None:
        if self._full is None:
            return None
        standing, at_ns = self._full
        if not 0 <= self._now_ns() - at_ns < _STAYS_FULL_NS:
            self._full = None
            return None
        return _refusal(standing, key, amount, kept)

    def _fire(self, execute: Execute) -> tuple[LevelReached, ...]:
        self._warn.drop_stored(execute)
        return self._warn.fire(execute, self._standings(execute), self._now_ns(), next(iter(self._runs), None))

    # --- when the store does not answer -----------------------------------------------------------------------------

    def _try(self, work: Callable[[Execute], Any]) -> bool:
        """Do what may also be done later, or by the store's writer."""
        try:
            self._transactions.run(work)
        except StoreError:
            return False
        return True

    def _busy(self, amount: Money, error: StoreError) -> BudgetRefused:
        now = time.monotonic()
        self._busy_since = self._busy_since or now
        if now - self._busy_since > _BUSY_FOR_GOOD_S:
            return _unreachable(amount, error)
        return BudgetRefused(str(error), _SHARED, amount, None, "elsewhere")


def _refusal(standing: Standing, key: CallKey, amount: Money, kept: Money) -> BudgetRefused | None:
    return why_refused(
        key.tool, amount, name=standing.budget.title, cap=standing.budget.cap, spent=standing.spent,
        reserved=standing.reserved, others=standing.reserved, kept=kept,
    )  # fmt: skip


def _unreachable(amount: Money, error: StoreError) -> BudgetRefused:
    reason = f"nothing may be spent while nobody knows what {_SHARED} have left: {error}"
    return BudgetRefused(reason, _SHARED, amount, None, "unreachable")
