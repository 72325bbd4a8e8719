"""A task that is planned while its first steps run already, and the record of what they cost if no run comes of it.

begin ──> Ahead: planning + Prefix ──> quote ──> the run adopts and books ──> done
                    └── no plan, refused, not run, cancelled ──> a run that only books what was started
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from catp.planlang.money import Money
from catp.planners.protocol import Objective, PlanningFailed
from catp.prefix import Prefix
from catp.result import Quote, RunCancelled, RunRefused, RunResult
from catp.runtime.planning import Planning

__all__ = ["WITHOUT_BUDGET", "Ahead", "Prefix", "share_of"]

WITHOUT_BUDGET = Money(1_000_000)
"""Most that early calls of a run without a budget may cost: a tenth of a cent."""

_SHARE = 20
"""They may cost a twentieth of a budget."""


def share_of(budget: Money | None) -> Money:
    """Return the most that early calls may cost by default, nano-USD."""
    return WITHOUT_BUDGET if budget is None else Money(max(1, budget // _SHARE))


@dataclass
class Ahead:
    """One task under way; `quote` is set once it is planned."""

    prefix: Prefix
    task: str
    inputs: Mapping[str, Any]
    objective: Objective
    planner: str
    quote: Quote | None = None
    _began: float = field(default_factory=time.perf_counter)

    @asynccontextmanager
    async def booking(self, book: "Book") -> AsyncIterator[None]:
        """Make sure that what was started is stopped and booked, whatever happens in the block."""
        try:
            yield
        except BaseException as error:
            booked = await self._end(_why(error), error, book)
            if booked is None:
                raise
            if isinstance(error, PlanningFailed | RunRefused):
                error.booked = booked
            elif isinstance(error, asyncio.CancelledError):
                raise RunCancelled(booked) from error
            raise
        await self._end("the plan was not run", None, book)

    async def _end(self, why: str, error: BaseException | None, book: "Book") -> RunResult | None:
        calls = self.prefix.calls
        if not calls.due:  # a run has taken over
            return None
        await self.prefix.drop(why)
        if all(loss.amount == 0 for loss in calls.losses):
            return None
        price = error.price if isinstance(error, PlanningFailed) else None
        return await book(self, Planning(self.planner, (time.perf_counter() - self._began) * 1e3, price), why)


Book: TypeAlias = Callable[[Ahead, Planning, str], Awaitable[RunResult]]
"""Makes a run that books what was started, and why that was in vain; the planning is booked unless the quote knows
better."""


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "interrupted while it was planned"
    kind = (
        "refused" if isinstance(error, RunRefused) else "not planned" if isinstance(error, PlanningFailed) else "failed"
    )
    return f"{kind}: {error}"
