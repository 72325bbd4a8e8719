"""One call of one tool: reserve, call under a time limit, price what was used, settle, report.

Whatever the tool does (returns, raises anything at all, hangs, ignores its cancellation, costs more than it said, has
a price model that raises), exactly one `CallEnded` reaches the reducer and the reservation is settled exactly once.
"""

import asyncio
from functools import lru_cache
from typing import Any

from catp.planlang.money import Money
from catp.runtime.bills import NO_USAGE, Bill, bill_elapsed, bill_failed, bill_usage
from catp.runtime.call_ending import EndingCall
from catp.runtime.call_host import KeyedBackend
from catp.runtime.codec import Encoded
from catp.runtime.commands import CallResult, CallStarted
from catp.runtime.hooks import CacheEntry, JournalUnavailable
from catp.runtime.ledger import BudgetRefused, Settlement
from catp.runtime.ledger_rows import money_text
from catp.runtime.limits import upper_price
from catp.runtime.reuse import read_result
from catp.tools.errors import Billing, ToolError, ToolFailed, ToolTimeout, ToolUnavailable
from catp.tools.spec import BackendResult, QueueingBackend
from catp.tools.usage import Usage

__all__ = ["ToolCall"]

_NOT_YET = Encoded(None, "", b"")
_LATE_GRACE_S = 0.5


@lru_cache(maxsize=256)
def _queues(kind: type) -> bool:
    """True for backends that queue calls themselves; looking a protocol up on every call is an eighth of its cost."""
    return issubclass(kind, QueueingBackend)


class ToolCall(EndingCall):
    """One call on its way: queued, parked for want of money, running, over."""

    __slots__ = ()

    def admit(self) -> bool:
        """Reserve the money; a call that does not fit waits if running calls may free some, else it is refused.

        A call that has become identical to a running one neither reserves nor runs, but waits for its result.
        """
        if self.flight is not None and not self.flight.may_lead(self):
            self.job = None
            return False
        price = self.estimate.price if self.estimate else None
        key = self._call_key()
        ledger = self.host.ledger
        upper, expected = (upper_price(price, ledger.reserve_at), price.expected) if price else (None, None)
        kept = self.host.kept_back(self)
        if self.early is not None:  # from here on the run holds its money
            self.early.let_go()
        held = ledger.reserve(key, upper, estimate=expected, within=self.limits, kept=kept)
        if isinstance(held, BudgetRefused):
            if held.wait:
                self.host.park(self, held)
            else:
                self.refuse(held)
            return False
        self.reservation = held
        self.host.reserved(self, held.amount)
        if self.flight is not None:
            self.flight.lead(self)
        return True

    def refuse(self, refusal: BudgetRefused) -> None:
        """End without calling: the money is not there."""
        self.host.refused(self, refusal)
        self._end("refused", refusal.reason, "BudgetRefused", refusal.to_json())

    def cancel_queued(self, reason: str) -> None:
        """End a call that never started."""
        if self.reservation is not None:
            self.host.ledger.release(self.reservation)
        self._end("cancelled", reason)

    # --- as a member of a flight ------------------------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Calls of a step that hedges do not wait for identical ones: they are there to be faster than them."""
        return self.info.hedge_s is not None

    def compete(self) -> None:
        """Queue for a slot and money."""
        self._forget_timer()
        self.host.submit(self)

    def wait(self, leader: "ToolCall") -> None:
        """Wait for an identical call, but no longer than this one would have been given."""
        if self.backstop is None and self.timeout_s < leader.timeout_s:
            self.backstop = self.host.clock.call_later(self.timeout_s, lambda: self._waited(leader))

    def _waited(self, leader: "ToolCall") -> None:
        self.backstop = None
        if self.over or self.flight is None:
            return
        began = leader.started_ns if leader.began else self.host.clock.now_ns()
        left = self.timeout_s - (self.host.clock.now_ns() - began) / 1e9
        if left > 1e-6:
            self.backstop = self.host.clock.call_later(left, lambda: self._waited(leader))
        else:
            self._end("timeout", f"{self.spec.name} takes longer than {self.timeout_s:g} s in another step or run",
                      "ToolTimeout")  # fmt: skip

    def read(self, encoded: Encoded) -> Any:
        """Return a kept result; raise `DecodeError` if it cannot be used."""
        return read_result(self.spec, encoded)

    def reuse(self, value: Any, price: Money | None) -> None:
        """End with a result that is there already: it costs nothing and takes no slot. The guards still decide."""
        expected = self.estimate.price.expected if self.estimate else None
        settlement = self.host.ledger.reuse(self._call_key(), price, estimate=expected)
        if self.job is not None:
            self.host.slots.withdraw(self.job)
        self._forget_timer()
        self.began = self.reused = True
        self.started_ns = self.host.clock.now_ns()
        self.host.settled(self, settlement)
        data = {**self._started_data(), "cached": True, "saved": None if price is None else money_text(price)}
        self.host.post(CallStarted(self.started_ns, self.call.id, data))
        self._accept(value, settlement)
        self.finish()

    def _land(self, result: BackendResult, settlement: Settlement) -> None:
        """Share a result with identical calls, and keep it."""
        if self.flight is not None:
            ms = (self.host.clock.now_ns() - self.started_ns) / 1e6
            made = CacheEntry(self.spec.name, self.spec.version, _NOT_YET, settlement.amount, ms)
            self.flight.landed(self, result.value, made, max(self.life_s, self.spec.cache_ttl_s or 0.0))

    # --- running ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make the call. Never raises: everything a tool can do ends in one event."""
        if self.over:
            return
        try:
            result = await self._call()
            if not isinstance(result, BackendResult):
                raise TypeError(f"its backend returned {type(result).__name__} instead of a BackendResult")
        except asyncio.CancelledError as error:
            self._stopped(getattr(error, "usage", None))
        except ToolError as error:
            kind: CallResult = "timeout" if isinstance(error, ToolTimeout) else "error"
            permanent = isinstance(error, ToolUnavailable)
            self._fail(kind, error.message, error.error_type, error.usage, permanent, error.billing)
        except BaseException as error:  # a tool may raise SystemExit or worse; it must not take the run with it
            self._fail("error", f"{type(error).__name__}: {error}", type(error).__name__, None, False)
        else:
            self._succeed(result)
        finally:
            if self.backstop is not None:
                self.backstop.cancel()

    async def _call(self) -> BackendResult:
        backend = self.backend
        if self.key is not None and isinstance(backend, KeyedBackend):
            await self._begin_durably()
            return await backend.call_with_key(self.args, timeout=self.timeout_s, key=self.key)
        if _queues(type(backend)):
            assert isinstance(backend, QueueingBackend)
            return await backend.call_when_free(self.args, timeout=self.timeout_s, began=self._begin_durably)
        await self._begin_durably()
        return await backend.call(self.args, timeout=self.timeout_s)

    async def _begin_durably(self) -> None:
        """Act on the world only once the intention is on disk: whoever resumes the run must know that it may have."""
        self._begin()
        if not self.info.writes or self.host.journal is None:
            return
        try:
            await self.host.journal.durable()
        except JournalUnavailable as error:
            raise ToolFailed(
                self.spec.name,
                f"not called: {error}, so a crash could make it act twice", error_type="JournalUnavailable",
                billing="nothing",
            ) from error  # fmt: skip

    def _begin(self) -> None:
        """The tool is at work from here on: this is what is timed, limited and paid for."""
        if self.began or self.over:
            return
        self.began = True
        self.started_ns = self.host.clock.now_ns()
        self.backstop = self.host.clock.call_later(self.timeout_s + _LATE_GRACE_S, self._overdue)
        self.host.post(CallStarted(self.started_ns, self.call.id, self._started_data()))
        if self.early is not None:  # what it takes and costs is counted from when the tool began
            self.started_ns -= round(self.early.ms * 1e6)

    def abandon(self) -> None:
        """The tool ignored its cancellation: settle with the estimate and go on without it."""
        if self.over:
            return
        if not self.began:
            self.cancel_queued("stopped before it began")
            return
        settlement = self._settle(Bill(None, "abandoned: the tool ignored its cancellation"))
        kind: CallResult = "timeout" if self.late else "cancelled"
        self._report(kind, f"{self.spec.name} did not stop when told to; abandoned", "Abandoned", settlement)
        self.finish()

    def _overdue(self) -> None:
        self.late = True
        self.host.stop(self)

    def _succeed(self, result: BackendResult) -> None:
        if self.over:
            return
        self.usage = result.usage
        settlement = self._settle(bill_usage(self.spec, result.usage))
        self._land(result, settlement)
        self._accept(result.value, settlement, result.usage)

    def _fail(
        self, kind: CallResult, message: str, error_type: str, usage: Usage | None, permanent: bool,
        billing: Billing = "used",
    ) -> None:  # fmt: skip
        if self.over:
            return
        self._begin()
        self.usage = usage
        settlement = self._settle(bill_failed(self.spec, usage, billing, error_type, self._ms(), self._held()))
        if usage is not None and usage != NO_USAGE:
            self._teach(usage, settlement, failed=True)
        self._report(kind, f"{self.spec.name}: {message}", error_type, settlement, permanent)

    def _stopped(self, usage: Usage | None) -> None:
        if self.over:
            return
        if not self.began:
            self.cancel_queued("stopped before it began")
            return
        self.usage = usage if isinstance(usage, Usage) else None
        if self.usage is None:
            settlement = self._settle(bill_elapsed(self.spec, self._ms(), self._held()))
        else:
            settlement = self._settle(bill_usage(self.spec, self.usage))
        if self.late:
            self._report(
                "timeout", f"{self.spec.name} took longer than {self.timeout_s:g} s", "ToolTimeout", settlement
            )
        else:
            self._report("cancelled", "stopped", "Cancelled", settlement)
