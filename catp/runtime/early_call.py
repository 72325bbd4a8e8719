"""One call that is started before its plan is finished; later it is the backend of the call that adopts it, or a loss.

`catp.runtime.early` keeps those of one plan.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.planlang.money import Money
from catp.runtime.bills import Bill, bill_elapsed, bill_failed, bill_usage
from catp.runtime.clock import Clock
from catp.runtime.ledger import Ledger, Reservation
from catp.runtime.losses import Loss
from catp.tools.errors import ToolError
from catp.tools.spec import BackendResult, QueueingBackend, ToolSpec
from catp.tools.usage import Usage, carrying

__all__ = ["EarlyCall"]


@dataclass(eq=False, slots=True)
class EarlyCall:
    """One call; it is the backend of the call that adopts it.

    `held` is None once its money is held by somebody else. `result` or `error` say how it ended, `taken` that a step
    will adopt it, `adopted` that it has.
    """

    key: str
    step: str
    spec: ToolSpec
    args: Mapping[str, Any]
    timeout_s: float
    clock: Clock
    ledger: Ledger
    held: Reservation | None
    reserved: Money
    began_ns: int | None = None
    ended_ns: int | None = None
    result: BackendResult | None = None
    error: BaseException | None = None
    taken: bool = False
    adopted: bool = False
    task: "asyncio.Task[None]" = field(init=False)

    @property
    def ms(self) -> float:
        """How long the tool has been at work."""
        if self.began_ns is None:
            return 0.0
        ended = self.clock.now_ns() if self.ended_ns is None else self.ended_ns
        return (ended - self.began_ns) / 1e6

    def let_go(self) -> None:
        """Hold no money any more: a run does now, or the call is over and lost."""
        if self.held is not None:
            self.ledger.release(self.held)
            self.held = None

    async def work(self) -> None:
        """Make the call. Never raises."""
        try:
            result = await self._call()
            if not isinstance(result, BackendResult):
                raise TypeError(f"its backend returned {type(result).__name__} instead of a BackendResult")
            self.result = result
        except BaseException as error:  # a tool may raise SystemExit or worse; cancellation is one way to end
            self.error = error
        finally:
            self.ended_ns = self.clock.now_ns()

    async def _call(self) -> BackendResult:
        backend = self.spec.backend
        if isinstance(backend, QueueingBackend):
            return await backend.call_when_free(self.args, timeout=self.timeout_s, began=self._begin)
        await self._begin()
        return await backend.call(self.args, timeout=self.timeout_s)

    async def _begin(self) -> None:
        self.began_ns = self.clock.now_ns()

    def bill(self) -> Bill:
        """What it cost, as far as is known now."""
        if self.began_ns is None:
            return Bill(())
        if self.result is not None:
            return bill_usage(self.spec, self.result.usage)
        if self.ended_ns is None:
            return Bill(None, "the tool ignored its cancellation")
        error = self.error
        if isinstance(error, ToolError):
            return bill_failed(self.spec, error.usage, error.billing, error.error_type, self.ms, self.reserved)
        usage = getattr(error, "usage", None)
        if isinstance(usage, Usage):
            return bill_usage(self.spec, usage)
        return bill_elapsed(self.spec, self.ms, self.reserved)

    def loss(self, why: str) -> Loss:
        """What is booked of it."""
        charges, note, estimated = self.bill()
        if charges is not None:
            amount: Money | None = Money(sum(charge.amount for charge in charges))
        else:
            amount, estimated = self.reserved if self.reserved > 0 else None, True
        return Loss(self.spec.name, self.step, self.ms, amount, f"{why}; {note}" if note else why, estimated)

    # --- as the backend of a call of the run ------------------------------------------------------------------------

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Wait for the call that is under way; stopping this stops that."""
        self.adopted = True
        try:
            await asyncio.shield(self.task)
        except asyncio.CancelledError as stopped:
            self.task.cancel()
            await asyncio.wait([self.task])
            if self.result is None:
                usage = getattr(self.error, "usage", None)
                raise (carrying(stopped, usage) if isinstance(usage, Usage) else stopped) from None
        if self.result is not None:
            return self.result
        if isinstance(self.error, Exception):
            raise self.error
        raise RuntimeError(f"the call was started early and ended with {type(self.error).__name__}: {self.error}")

    async def close(self) -> None:
        """Nothing is held here that the tool's own backend does not hold."""
