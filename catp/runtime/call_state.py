"""What is known of one call while it is on its way, and what its events say of it.

`catp.runtime.calls` moves it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from catp.planlang.money import Money
from catp.planlang.registry_view import CallEstimate, Size
from catp.runtime.call_host import CallHost
from catp.runtime.clock import TimerHandle
from catp.runtime.codec import digest_arguments
from catp.runtime.commands import Call, CallEnded, CallResult
from catp.runtime.early_call import EarlyCall
from catp.runtime.flights import Flight
from catp.runtime.ledger import CallKey, Limit, Reservation, Settlement
from catp.runtime.ledger_rows import money_text
from catp.runtime.program import StepInfo
from catp.runtime.slots import Job
from catp.tools.spec import ToolBackend, ToolSpec
from catp.tools.usage import Usage, usage_json

__all__ = ["CallState"]


@dataclass(slots=True, eq=False)
class CallState:
    """One call: what it is given, and what has come of it so far. Times are nanoseconds of the host's clock."""

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

    def _ms(self) -> float:
        return (self.host.clock.now_ns() - self.started_ns) / 1e6

    def _held(self) -> Money:
        return self.reservation.amount if self.reservation else Money(0)

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

    def _overrun_data(self, settlement: Settlement) -> dict[str, Any]:
        cap, spent = self.host.ledger.cap, self.host.ledger.spent
        return {
            "tool": self.spec.name, "reserved": money_text(self._held()),
            "amount": money_text(settlement.amount or Money(0)),
            "overrun": money_text(settlement.overrun), "over_cap": cap is not None and spent > cap,
        }  # fmt: skip
