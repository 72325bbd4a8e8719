"""How a call ends: what it used is settled, its guards are asked, and one `CallEnded` says what came of it."""

from collections.abc import Mapping
from typing import Any, cast

from catp.runtime.bills import Bill
from catp.runtime.call_state import CallState
from catp.runtime.commands import CallEnded, CallResult, Warned
from catp.runtime.flights import Member
from catp.runtime.ledger import Settlement
from catp.runtime.values import accepts
from catp.tools.call_fact import CallFact
from catp.tools.sizes import input_units, size_of
from catp.tools.usage import Usage

__all__ = ["EndingCall"]

_REASON_CHARACTERS = 2000
"""What is kept of a longer message: it goes into every event, row and report that mentions the call."""


class EndingCall(CallState):
    """A call, as far as its end is concerned; `ToolCall`, which is what flights know, is the only one there is."""

    __slots__ = ()

    def finish(self) -> None:
        """Report the end, once."""
        if self.ended is not None:
            ended, self.ended = self.ended, None
            self.host.post(ended)

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
            self.host.post(Warned(now, self.call.step, self.call.element, self._overrun_data(settlement)))
        for level in settlement.reached:
            self.host.post(Warned(now, self.call.step, self.call.element, level.to_json()))
        self.over = True
        if self.flight is not None:
            self.flight.leave(cast(Member, self), failed=result in ("error", "timeout"))
        if result != "ok":
            self.host.forget(self)
        self.ended = CallEnded(now, self.call.id, result, reason, error_type, amount, data, permanent)

    def _end(
        self, result: CallResult, reason: str, error_type: str = "", refusal: Mapping[str, Any] | None = None
    ) -> None:
        self.over = True
        self._forget_timer()
        if self.flight is not None:
            self.flight.leave(cast(Member, self))
        self.host.forget(self)
        now = self.host.clock.now_ns()
        self.host.post(CallEnded(now, self.call.id, result, reason, error_type, refusal=refusal))

    def _forget_timer(self) -> None:
        if self.backstop is not None:
            self.backstop.cancel()
            self.backstop = None
