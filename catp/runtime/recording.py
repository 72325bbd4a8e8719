"""A run played again from its record: recorded results, prices and durations on a virtual clock; no tool is called.

Every call of the replay asks the `Recording` who stands in for its tool. If the same alternative of the same step was
called then, it is what happened then: the same end after the same time for the same price. If not (another tool was
put in, or the run took another way), the call is estimated: it takes as long and costs as much as the estimator
expects, and gives the value that the step had then.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn, get_args

from catp.planlang.money import Money, parse_usd
from catp.planlang.registry_view import CallEstimate, PriceRange
from catp.runtime.approval import ApprovalRequest
from catp.runtime.clock import Clock
from catp.runtime.commands import Call
from catp.runtime.events import RunEvent
from catp.runtime.hooks import StandIn, ValueKey
from catp.runtime.ledger import LedgerRow
from catp.runtime.recorded_rows import rows_of
from catp.tools.backends import nobody_asked
from catp.tools.errors import ToolFailed, ToolTimeout, ToolUnavailable
from catp.tools.spec import BackendResult, QueueingBackend, StartingBackend, ToolSpec
from catp.tools.usage import Charge, ChargeKind, Usage, carrying

__all__ = ["Lives", "Recording"]

_USED = Usage(units={"recorded": 1.0})
"""Says nothing; the recorded price model does not look at it."""

_KINDS: dict[str, ChargeKind] = {kind: kind for kind in get_args(ChargeKind)}


class Lives:
    """The time in which a process drove the run: `at` counts it in nanoseconds from its start."""

    def __init__(self, events: Iterable[RunEvent]) -> None:
        self._spans: list[list[int]] = []
        for event in events:
            if not self._spans or event.type == "run.resumed":
                self._spans.append([event.at_ns, event.at_ns])
            self._spans[-1][1] = max(self._spans[-1][1], event.at_ns)

    def at(self, at_ns: int) -> int:
        """How long the run had been driven at this time."""
        return sum(max(0, min(at_ns, end) - start) for start, end in self._spans)

    def end_of_life(self, at_ns: int) -> int:
        """When the process that lived then was last heard of."""
        return next(end for start, end in reversed(self._spans) if start <= at_ns)


@dataclass(frozen=True, slots=True)
class _Past:
    """One recorded call; `rows` and `ns` include those of calls before it that a dying process cut short."""

    tool: str
    outcome: str
    ns: int
    rows: tuple[LedgerRow, ...]
    reserved: Money | None
    expected: Money | None
    reason: str
    error: str


class Recording:
    """What happened in a run, as stand-ins for its tools.

    Args:
        events: The journal of the run.
        values: Its values; those of steps that ended well must be there.
        clock: The virtual clock of the replay.
    """

    def __init__(self, events: Iterable[RunEvent], values: Mapping[ValueKey, Any], clock: Clock) -> None:
        events = list(events)
        self.lives = Lives(events)
        self.estimated: set[str] = set()
        self._values = values
        self._clock = clock
        self._calls = _calls(events, self.lives, values)
        self._answers = _answers(events, self.lives)
        self._places: dict[int, asyncio.Semaphore] = {}

    def stand_in(self, call: Call, spec: ToolSpec, estimate: CallEstimate | None) -> StandIn:
        """Return what answers this call in place of its tool."""
        key: ValueKey = ("step", call.step, call.element)
        past = self._calls.get((call.step, call.element, call.attempt))
        places = self._places_of(spec)
        if past and past[0].tool == spec.name:
            one = past.popleft()
            play = _Played(self._clock, spec.name, one, self._values.get(key), places)
            return StandIn(replace(spec, price=_RecordedPrice(one.rows)), play, _as_then(one, estimate))
        self.estimated.add(call.step)
        price = estimate.price.expected if estimate is not None else None
        seconds = estimate.latency.expected_ms / 1e3 if estimate is not None else 0.0
        guess = _Guessed(self._clock, spec.name, seconds, key in self._values, self._values.get(key), places)
        return StandIn(replace(spec, price=_GuessedPrice(price)), guess, estimate)

    async def approve(self, request: ApprovalRequest) -> bool | None:
        """Answer as it was answered then, after as long; what was not asked then is granted at once."""
        granted, ns = self._answers.get(request.step, (True, 0))
        await self._clock.sleep(ns / 1e9)
        return granted

    def _places_of(self, spec: ToolSpec) -> asyncio.Semaphore | None:
        """Worker processes are few: calls of tools that wait for one do so here as well."""
        backend = spec.backend
        if not isinstance(backend, QueueingBackend) or not isinstance(backend, StartingBackend):
            return None
        return self._places.setdefault(backend.places(), asyncio.Semaphore(backend.places()))


class _Backend:
    """Answers after a time, in one of the places if there are few."""

    def __init__(self, clock: Clock, places: asyncio.Semaphore | None) -> None:
        self._clock, self._places = clock, places

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Answer one call."""
        return await self.call_when_free(args, timeout=timeout, began=nobody_asked)

    async def call_when_free(
        self, args: Mapping[str, Any], *, timeout: float, began: Callable[[], Awaitable[None]]
    ) -> BackendResult:
        """Answer one call once there is a place for it."""
        if self._places is None:
            await began()
            return await self._answer(timeout)
        async with self._places:
            await began()
            return await self._answer(timeout)

    async def close(self) -> None:
        """Nothing to release."""

    async def _sleep(self, seconds: float) -> None:
        try:
            await self._clock.sleep(seconds)
        except asyncio.CancelledError as stopped:
            raise carrying(stopped, _USED) from None

    async def _answer(self, timeout: float) -> BackendResult:
        raise NotImplementedError


class _Played(_Backend):
    """What a recorded call did."""

    def __init__(self, clock: Clock, tool: str, past: _Past, value: Any, places: asyncio.Semaphore | None) -> None:
        super().__init__(clock, places)
        self._tool, self._past, self._value = tool, past, value

    async def _answer(self, timeout: float) -> BackendResult:
        past, seconds = self._past, self._past.ns / 1e9
        if past.outcome == "cancelled":
            await self._sleep(seconds + 1.0)  # somebody stopped it then, and does so again
            self._fail("it was stopped at this point then, and nobody knows how it would have ended")
        if past.outcome != "timeout" and seconds > timeout:
            await self._sleep(timeout)
            raise ToolTimeout(self._tool, f"took longer than {timeout:g} s", usage=_USED)
        await self._sleep(seconds)
        if past.outcome == "ok":
            return BackendResult(self._value, _USED)
        reason = past.reason.removeprefix(f"{self._tool}: ")
        if past.outcome == "timeout":
            raise ToolTimeout(self._tool, reason, usage=_USED)
        if past.outcome == "rejected" or past.error == "ToolUnavailable":
            raise ToolUnavailable(self._tool, reason, usage=_USED)
        raise ToolFailed(self._tool, reason, usage=_USED, error_type=past.error or "ToolFailed")

    def _fail(self, reason: str) -> NoReturn:
        raise ToolFailed(self._tool, reason, usage=_USED)


class _Guessed(_Backend):
    """What a call might have done that was not made."""

    def __init__(
        self, clock: Clock, tool: str, seconds: float, known: bool, value: Any, places: asyncio.Semaphore | None
    ) -> None:
        super().__init__(clock, places)
        self._tool, self._seconds, self._known, self._value = tool, seconds, known, value

    async def _answer(self, timeout: float) -> BackendResult:
        await self._sleep(min(self._seconds, timeout))
        if self._seconds > timeout:
            raise ToolTimeout(self._tool, f"is expected to take longer than {timeout:g} s", usage=_USED)
        if not self._known:
            raise ToolFailed(self._tool, "the recorded run has no value that could stand for its result", usage=_USED)
        return BackendResult(self._value, _USED)


@dataclass(frozen=True, slots=True)
class _RecordedPrice:
    """Charges what was charged then."""

    rows: tuple[LedgerRow, ...]

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return the recorded charges; None if not all of them had an amount."""
        amounts = [row.amount for row in self.rows]
        if None in amounts:
            return None
        return tuple(
            Charge(_KINDS.get(row.kind, "custom"), row.quantity, row.unit, row.unit_price_usd or "?", amount)
            for row, amount in zip(self.rows, amounts, strict=True)
            if amount is not None
        )

    def describe(self) -> str:
        """Say so."""
        return "as recorded"


@dataclass(frozen=True, slots=True)
class _GuessedPrice:
    """Charges what the estimator expects."""

    amount: Money | None

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return one estimated charge, None if nobody knows the price."""
        return None if self.amount is None else (Charge("custom", 1.0, "call", "?", self.amount),)

    def describe(self) -> str:
        """Say so."""
        return "as estimated"


def _as_then(past: _Past, now: CallEstimate | None) -> CallEstimate | None:
    """The estimate with the prices of then, so that the same amount is held."""
    if now is None or past.reserved is None:
        return now
    expected = past.expected if past.expected is not None else past.reserved
    return replace(now, price=PriceRange(min(expected, past.reserved), expected, max(expected, past.reserved)))


def _calls(
    events: list[RunEvent], lives: Lives, values: Mapping[ValueKey, Any]
) -> dict[tuple[str, int | None, int], deque[_Past]]:
    """Every call that settled, by step, element and alternative, in order."""
    found: dict[tuple[str, int | None, int], deque[_Past]] = defaultdict(deque)
    open_: dict[tuple[str, int | None, int | None], RunEvent] = {}
    cut: dict[tuple[str, int | None], tuple[int, tuple[LedgerRow, ...]]] = {}
    last = {(e.step, e.element): e.attempt for e in events if e.type == "node.started"}
    for event in events:
        if event.step is None or event.attempt is None:
            continue
        key = (event.step, event.element, event.attempt)
        if event.type == "node.started":
            open_[key] = event
        elif event.type == "node.settled" and key in open_:
            began, data, unit = open_.pop(key), event.data, (event.step, event.element)
            rows = tuple(rows_of(event, data["tool"]))
            end = lives.end_of_life(began.at_ns) if data["outcome"] == "lost" else event.at_ns
            ns, before = cut.pop(unit, (0, ()))
            ns += lives.at(end) - lives.at(began.at_ns)
            outcome = data["outcome"]
            if outcome == "lost":
                if ("step", *unit) not in values or last.get(unit) != event.attempt:
                    cut[unit] = (ns, (*before, *rows))
                    continue
                outcome = "ok"  # somebody said that it was done
            found[event.step, event.element, began.data.get("alternative", 0)].append(
                _Past(
                    data["tool"], outcome, ns, (*before, *rows), _money(began.data.get("reserved")),
                    _money(began.data.get("est")), data.get("reason", ""), data.get("error", ""),
                )
            )  # fmt: skip
    return found


def _answers(events: list[RunEvent], lives: Lives) -> dict[str | None, tuple[bool | None, int]]:
    """Every approval: what was decided and after how many nanoseconds; by step, None for the plan."""
    asked: dict[str | None, int] = {}
    found: dict[str | None, tuple[bool | None, int]] = {}
    for event in events:
        if event.attempt is not None or event.element is not None:
            continue
        if event.type in ("node.awaiting_approval", "run.awaiting_approval"):
            asked[event.step] = lives.at(event.at_ns)
            found[event.step] = (None, 0)
        elif event.step in asked and event.type in ("node.ready", "run.started", "node.refused"):
            waited = lives.at(event.at_ns) - asked.pop(event.step)
            found[event.step] = (event.type != "node.refused", waited)
        elif None in asked and event.type == "node.refused":  # all of them, since the plan was not approved
            found[None] = (False, lives.at(event.at_ns) - asked.pop(None))
    return found


def _money(text: str | None) -> Money | None:
    return None if text is None else parse_usd(text)
