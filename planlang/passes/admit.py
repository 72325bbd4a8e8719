"""Admission: does a plan fit the budget, the deadline and its own limits?

A plan's `limit` can only tighten what the caller allows: of two limits the smaller one counts. What is expected to
exceed a limit does not fit; what only may (its p95 does) is left to the caller's policy, strict or not. A plan with an
unknown price never fits a budget. Steps whose time is unknown only may exceed a deadline: it is watched while they run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from catp.planlang.compiled import CompiledPlan
from catp.planlang.errors import Diagnostic, Span
from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import StepName

__all__ = ["Fit", "Room", "Verdict", "admit"]

Fit = Literal["fits", "expected_fits", "does_not_fit", "unpriced"]


class Room(NamedTuple):
    """What a budget shared with other runs has left: `left` of its cap is not spent, `free` not even reserved."""

    name: str
    left: Money
    free: Money


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer. `budget` (nano-USD), `deadline_ms` and `calls` are the limits that counted, None for no limit.

    `fit` is `fits` (p95 and all), `expected_fits` (the p95 price or latency, or the largest number of calls, does not,
    or there is a deadline and the time of a step is unknown), `does_not_fit`, or `unpriced` (there is a budget and the
    price is unknown). `diagnostics` give the figures; they are warnings in the second case.
    """

    fit: Fit
    budget: Money | None
    deadline_ms: float | None
    calls: int | None
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        """True if even the p95 fits: what a strict caller asks for."""
        return self.fit == "fits"

    @property
    def expected_ok(self) -> bool:
        """True if the expected price, latency and calls fit."""
        return self.fit in ("fits", "expected_fits")


def admit(
    compiled: CompiledPlan,
    *,
    budget: Money | None = None,
    deadline_ms: float | None = None,
    rooms: Sequence[Room] = (),
    spent: Money | None = Money(0),
) -> Verdict:
    """Compare the estimate of a plan with the caller's limits, the plan's own, and the `rooms` of shared budgets.

    An expected price that exceeds what a shared budget has left does not fit; a p95 that exceeds what is free in it now
    only may not: running calls may give money back.

    `spent` is what the run has cost before its first call (planning), None if nobody knows: it counts against `budget`
    and `rooms`, not against the plan's own limit.

    Raises:
        ValueError: if `budget` or `deadline_ms` is not above zero.
    """
    for name, value in (("budget", budget), ("deadline_ms", deadline_ms)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be above zero, got {value!r}")
    limits, estimate = compiled.plan.limits, compiled.estimate
    own_cost = limits.cost.nano if limits.cost is not None else None
    own_ms = limits.latency.ns / 1e6 if limits.latency is not None else None
    gone = spent or 0
    left = None if budget is None else budget - gone
    cost, cost_span = _tighter(left, own_cost, limits.span)
    after = f" that planning for {_dollars(gone)} left" if gone and cost is not None and cost == left else ""
    time, time_span = _tighter(deadline_ms, own_ms, limits.span)
    found: list[Diagnostic | None] = []
    if spent is None and (budget is not None or rooms):
        found.append(_problem("E205", "the price of planning is unknown, so no budget can be promised", None))
    if estimate.unpriced and (cost is not None or rooms):
        names = ", ".join(f"`{name}`" for name in estimate.unpriced)
        found.append(_problem("E205", f"the price of {names} is unknown, so no budget can be promised", cost_span))
    else:
        price = (float(estimate.price.expected or 0), float(estimate.price.p95 or 0))
        if cost is not None:
            found.append(_compare("E202", "price", price, cost, _dollars, cost_span, after))
        found.extend(_in_room(price, Room(name, Money(left - gone), Money(free - gone))) for name, left, free in rooms)
    if time is not None:
        latency = estimate.latency
        found.append(_compare("E203", "latency", (latency.expected_ms, latency.p95_ms), time, _seconds, time_span))
        found.append(_untimed(estimate.untimed, time, time_span))
    if limits.calls is not None:
        calls = (estimate.calls, estimate.max_calls)
        found.append(_compare("E204", "number of calls", calls, limits.calls, _number, limits.span))
    problems = tuple(problem for problem in found if problem is not None)
    counted = _tighter(budget, own_cost, None)[0]
    return Verdict(_fit(problems), Money(int(counted)) if counted is not None else None, time, limits.calls, problems)


def _fit(problems: tuple[Diagnostic, ...]) -> Fit:
    errors = {problem.code for problem in problems if problem.severity == "error"}
    if errors - {"E205"}:
        return "does_not_fit"
    if errors:
        return "unpriced"
    return "expected_fits" if problems else "fits"


def _tighter(given: float | None, own: float | None, span: Span | None) -> tuple[float | None, Span | None]:
    """Return the smaller limit, and where it is written if it is the plan's own."""
    if own is None or (given is not None and given <= own):
        return given, None
    return own, span


def _compare(
    code: str,
    what: str,
    values: tuple[float, float],
    limit: float,
    show: Callable[[float], str],
    span: Span | None,
    after: str = "",
) -> Diagnostic | None:
    expected, highest = values
    if expected > limit:
        message = f"expected {what} {show(expected)} exceeds the limit of {show(limit)}{after}"
        return _problem(code, message, span)
    if highest > limit:
        label = "largest" if code == "E204" else "p95"
        told = f"{label} {show(highest)} exceeds the limit of {show(limit)}{after}"
        message = f"expected {what} {show(expected)} fits, {told}"
        return Diagnostic(code, message, span, severity="warning", path=None if span else "limits")
    return None


def _in_room(price: tuple[float, float], room: Room) -> Diagnostic | None:
    expected, p95 = price
    what = f"expected price {_dollars(expected)}"
    if expected > max(0, room.left):
        return _problem("E202", f"{what} exceeds the {_left(room.left)} that {room.name} has left", None)
    if p95 > max(0, room.free):
        message = f"{what} fits, p95 {_dollars(p95)} exceeds the {_left(room.free)} that {room.name} has free now"
        return Diagnostic("E202", message, None, severity="warning", path="limits")
    return None


def _left(amount: Money) -> str:
    return _dollars(max(0, amount))


def _untimed(steps: Sequence[StepName], limit: float, span: Span | None) -> Diagnostic | None:
    if not steps:
        return None
    names = ", ".join(f"`{name}`" for name in steps)
    message = f"the time of {names} was never measured and counts as 0, so the limit of {_seconds(limit)} may not hold"
    return Diagnostic("W206", message, span, severity="warning", path=None if span else "limits")


def _problem(code: str, message: str, span: Span | None) -> Diagnostic:
    return Diagnostic(code, message, span, path=None if span else "limits")


def _dollars(amount: float) -> str:
    return f"${format_usd(Money(int(amount)))}"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.3g} s" if ms >= 1000 else f"{ms:.3g} ms"


def _number(value: float) -> str:
    return f"{value:.4g}"
