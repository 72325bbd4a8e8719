"""One call of one tool: reserve, call under a time limit, price what was used, settle, report.

Whatever the tool does (returns, raises anything at all, hangs, ignores its cancellation, costs more than it said, has
a price model that raises), exactly one `CallEnded` reaches the reducer and the reservation is settled exactly once.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from catp.planlang.money import Money
from catp.planlang.registry_view import CallEstimate, Size
from catp.runtime.bills import NO_USAGE, Bill, bill_elapsed, bill_failed, bill_usage
from catp.runtime.call_host import CallHost, KeyedBackend
from catp.runtime.clock import TimerHandle
from catp.runtime.codec import Encoded, digest_arguments
from catp.runtime.commands import Call, CallEnded, CallResult, CallStarted, Warned
from catp.runtime.early_call import EarlyCall
from catp.runtime.flights import Flight
from catp.runtime.hooks import CacheEntry, JournalUnavailable
from catp.runtime.ledger import BudgetRefused, CallKey, Limit, Reservation, Settlement, upper_price
from catp.runtime.ledger_rows import money_text
from catp.runtime.program import StepInfo
from catp.runtime.reuse import read_result
from catp.runtime.slots import Job
from catp.runtime.values import accepts
from catp.tools.call_fact import CallFact
from catp.tools.errors import Billing, ToolError, ToolFailed, ToolTimeout, ToolUnavailable
from catp.tools.sizes import input_units, size_of
from catp.tools.spec import BackendResult, QueueingBackend, ToolBackend, ToolSpec
from catp.tools.usage import Usage, usage_json

__all__ = ["ToolCall"]

_NOT_YET = Encoded(None, "", b"")
_LATE_GRACE_S = 0.5
_REASON_CHARACTERS = 2000
"""What is kept of a longer message: it goes into every event, row and report that mentions the call."""


@lru_cache(maxsize=256)
def _queues(kind: type) -> bool:
    """True for backends that queue calls themselves; looking a protocol up on every call is an eighth of its cost."""
    return issubclass(kind, QueueingBackend)


@dataclass(slots=True, eq=False)
class ToolCall:
    """One call on its way: queued, parked for want of money, running, over."""

    host: CallHost
    call: Call
    info: StepInfo
    spec: ToolSpec
    backend: ToolBackend
    args: Mapping[str, Any]
    estimate: CallEstimate | None
    limits: tuple[Limit, ...]
    timeout_s: float
    key: str | None
    job: Job | None = None
    reservation: Reservation | None = None
    began: bool = False
    started_ns: int = 0
    backstop: TimerHandle | None = None
    late: bool = False
    over: bool = False
    ended: CallEnded | None = None
    value: Any = None
    usage: Usage | None = None
    size: int | None = None
    output: Size | None = None
    life_s: float = 0.0
    flight: Flight | None = None
    reused: bool = False
    early: EarlyCall | None = None

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

    def _forget_timer(self) -> None:
        if self.backstop is not None:
            self.backstop.cancel()
            self.backstop = None

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

    def finish(self) -> None:
        """Report the end, once."""
        if self.ended is not None:
            ended, self.ended = self.ended, None
            self.host.post(ended)

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

    def _accept(self, value: Any, settlement: Settlement, usage: Usage | None = None) -> None:
        """Ask the guards; `usage` is what there is to learn from the call."""
        try:
            if usage is not None:
                self._teach(usage, settlement, failed=False, value=value)
            why_not = accepts(value, self.info.attempts[self.call.attempt].accept)
        except Exception as error:  # a list that contains itself, an object whose comparison raises
            why_not = f"its result cannot be used: {type(error).__name__}: {error}"
        if why_not is None:
            self.value = value
            self._report("ok", "", "", settlement)
        else:
            self._report("rejected", f"{self.spec.name}: {why_not}", "Rejected", settlement)

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

    def _teach(self, usage: Usage, settlement: Settlement, *, failed: bool, value: Any = None) -> None:
        """Tell what this call says about its tool; one that was stopped or did not say what it used says nothing."""
        observer = self.host.on_call
        if observer is None and self.host.journal is None:
            return
        self.size = input_units({name: size_of(arg) for name, arg in self.args.items()})
        self.output = None if failed else size_of(value)
        if observer is not None:
            guess = self.estimate
            observer(
                CallFact(
                    self.spec.name, self.spec.version, self.host.clock.now_ns(), self.size, self.output, usage,
                    settlement.amount, guess.price if guess is not None and guess.price.priced else None,
                    guess.latency if guess is not None and guess.timed else None, failed,
                )
            )  # fmt: skip

    def _stopped(self, usage: Usage | None) -> None:
        if self.over:
            return
        if not self.began:
            self.cancel_queued("stopped before it began")
            return
        self.usage = usage if isinstance(usage, Usage) else None
        settlement = self._settle(self._bill_elapsed() if self.usage is None else bill_usage(self.spec, self.usage))
        if self.late:
            self._report(
                "timeout", f"{self.spec.name} took longer than {self.timeout_s:g} s", "ToolTimeout", settlement
            )
        else:
            self._report("cancelled", "stopped", "Cancelled", settlement)

    def _bill_elapsed(self) -> Bill:
        return bill_elapsed(self.spec, self._ms(), self._held())

    def _ms(self) -> float:
        return (self.host.clock.now_ns() - self.started_ns) / 1e6

    def _held(self) -> Money:
        return self.reservation.amount if self.reservation else Money(0)

    def _settle(self, bill: Bill) -> Settlement:
        assert self.reservation is not None
        charges, note, estimated = bill
        settlement = self.host.ledger.settle(self.reservation, charges, note=note, estimated=estimated)
        self.host.settled(self, settlement)
        return settlement

    def _report(
        self, result: CallResult, reason: str, error_type: str, settlement: Settlement, permanent: bool = False
    ) -> None:
        now = self.host.clock.now_ns()
        amount = settlement.amount
        if len(reason) > _REASON_CHARACTERS:
            reason = f"{reason[:_REASON_CHARACTERS]}… ({len(reason):,} characters)"
        data = self._settled_data(result, settlement, now)
        if reason:
            data["reason"], data["error"] = reason, error_type
        if settlement.overrun:
            self._warn(settlement, now)
        for level in settlement.reached:
            self.host.post(Warned(now, self.call.step, self.call.element, level.to_json()))
        self.over = True
        if self.flight is not None:
            self.flight.leave(self, failed=result in ("error", "timeout"))
        if result != "ok":
            self.host.forget(self)
        self.ended = CallEnded(now, self.call.id, result, reason, error_type, amount, data, permanent)

    def _settled_data(self, result: CallResult, settlement: Settlement, now: int) -> dict[str, Any]:
        amount = settlement.amount
        data: dict[str, Any] = {
            "tool": self.spec.name,
            "outcome": result,
            "amount": None if amount is None else money_text(amount),
            "ms": (now - self.started_ns) / 1e6,
            "rows": [row.to_json() for row in settlement.rows],
        }
        if result in ("error", "timeout", "rejected"):
            data["arguments"] = digest_arguments(self.spec.name, self.spec.version, self.args)
        if self.reused:
            saved = settlement.rows[0].saved
            data["cached"], data["saved"] = True, None if saved is None else money_text(saved)
        if self.usage is not None and (used := usage_json(self.usage)):
            data["usage"] = used
        if self.size is not None:
            data["size"] = self.size
        if self.output is not None:
            data["output"] = [self.output.units, self.output.count]
        notes = [row.note for row in settlement.rows if row.note]
        if notes:
            data["note"] = notes[0]
        return data

    def _warn(self, settlement: Settlement, now: int) -> None:
        reserved = self.reservation.amount if self.reservation else Money(0)
        cap, spent = self.host.ledger.cap, self.host.ledger.spent
        data = {
            "tool": self.spec.name, "reserved": money_text(reserved),
            "amount": money_text(settlement.amount or Money(0)),
            "overrun": money_text(settlement.overrun), "over_cap": cap is not None and spent > cap,
        }  # fmt: skip
        self.host.post(Warned(now, self.call.step, self.call.element, data))

    def _end(
        self, result: CallResult, reason: str, error_type: str = "", refusal: Mapping[str, Any] | None = None
    ) -> None:
        self.over = True
        self._forget_timer()
        if self.flight is not None:
            self.flight.leave(self)
        self.host.forget(self)
        now = self.host.clock.now_ns()
        self.host.post(CallEnded(now, self.call.id, result, reason, error_type, refusal=refusal))

    def _call_key(self) -> CallKey:
        call = self.call
        return CallKey(self.host.run_id, call.step, call.number, self.spec.name, call.element)

    def _started_data(self) -> dict[str, Any]:
        price = self.estimate.price.expected if self.estimate else None
        reserved = self.reservation.amount if self.reservation else Money(0)
        data: dict[str, Any] = {
            "tool": self.spec.name,
            "version": self.spec.version,
            "alternative": self.call.attempt,
            "reserved": money_text(reserved),
            "est": None if price is None else money_text(price),
            "est_ms": self.estimate.latency.expected_ms if self.estimate else None,
            "p95_ms": self.estimate.latency.p95_ms if self.estimate else None,
            "timeout_ms": self.timeout_s * 1e3,
        }
        if self.key is not None:
            data["key"] = self.key
        if self.early is not None and not self.reused:
            data["early"], data["early_ms"] = self.early.key, self.early.ms
        if self.info.writes:  # whoever resumes the run must know, even if the tool says otherwise by then
            data["writes"] = True
        return data
