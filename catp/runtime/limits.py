"""Caps and their refusals: what may still be spent, why a call may not have it, and when to warn.

A `Limit` belongs to a step, a run, an agent or a project, for all time or by the day, week or month (UTC). Any number
of ledgers may share one: an agent's limit is simply handed to the ledger of each of its runs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

from catp.planlang.money import Money, format_usd
from catp.planlang.registry_view import PriceRange
from catp.runtime.periods import Period, period_end_ns

__all__ = [
    "BudgetRefused",
    "Cause",
    "LevelReached",
    "Limit",
    "ReserveAt",
    "WhatStops",
    "crossed",
    "unpriced",
    "upper_price",
    "why_refused",
]

Cause: TypeAlias = Literal["spent", "held", "kept", "elsewhere", "unpriced", "unreachable"]
"""`spent`: what is left would not do even if nothing else ran. `held`: running calls of this process hold it. `kept`:
it is kept back for steps that required outputs need. `elsewhere`: calls of other processes hold it. `unpriced`: nobody
knows the price. `unreachable`: the store of shared budgets does not answer."""

ReserveAt: TypeAlias = Literal["expected", "p95", "p99"]
"""Which price of a call is held while it runs: the higher, the rarer an overrun and the fewer calls at once."""

WhatStops: TypeAlias = Literal["step", "run", "agent", "project"]

_P99_OVER_P95 = 1.4142
"""How far the 99th percentile of a normal distribution lies above the mean, in units of the 95th (2.326 / 1.645)."""

_WAITING: frozenset[Cause] = frozenset({"held", "kept", "elsewhere"})


class LevelReached(NamedTuple):
    """A warn level that was just reached: `level` is a share of the cap (0.8 for 80 %)."""

    scope: str
    level: float
    spent: Money
    cap: Money

    def to_json(self) -> dict[str, Any]:
        """As the data of a `run.budget_warning` event."""
        return {
            "scope": self.scope,
            "level": self.level,
            "spent": format_usd(self.spent),
            "cap": format_usd(self.cap),
        }

    def __str__(self) -> str:
        over = f", ${format_usd(Money(self.spent - self.cap))} too much" if self.spent > self.cap else ""
        return (
            f"{self.scope} has spent ${format_usd(self.spent)} of ${format_usd(self.cap)} ({self.level:.0%} reached)"
            f"{over}"
        )


@dataclass(frozen=True, slots=True)
class BudgetRefused:
    """Why a reservation was not made, and what it would take.

    `limit` names the cap in the way; `needed` is what was asked for and `available` what the cap had left (both None
    if unknown), `kept` what of that is kept back for required steps.
    """

    reason: str
    limit: str
    needed: Money | None
    available: Money | None
    cause: Cause = "spent"
    kept: Money = Money(0)

    @property
    def wait(self) -> bool:
        """True if the money may still come back: the call should wait for it."""
        return self.cause in _WAITING

    @property
    def short(self) -> Money | None:
        """By how much more the cap would have to be, or None if nobody knows."""
        if self.needed is None or self.available is None:
            return None
        return Money(max(0, self.needed + self.kept - self.available))

    def to_json(self) -> dict[str, Any]:
        """Amounts as decimal strings, without those nobody knows."""
        amounts = {"needed": self.needed, "available": self.available, "short": self.short, "kept": self.kept or None}
        found = {name: format_usd(amount) for name, amount in amounts.items() if amount is not None}
        return {"limit": self.limit, "cause": self.cause, **found}


class Limit:
    """A cap; `spent` are the amounts settled in the present period, `reserved` is what running calls hold.

    Args:
        cap: The most that may be spent in a period, nano-USD; None for no cap.
        name: What messages call it.
        scope: What it stops. Money is kept back for required steps in all of them but `step`.
        period: When `spent` starts again from zero. An amount counts in the period in which it is settled, a
            reservation in whatever period it is open, so that no period's rows exceed the cap.
        warn: Shares of the cap that are told once per period when reached, such as `(0.5, 0.8)`.
        now_ns: Time in Unix nanoseconds, for periods. Should it go back, the period stays the later one.

    Not thread-safe by itself: ledgers change limits under one lock for the whole process.

    Raises:
        ValueError: The cap is zero or negative, or a warn level is not between 0 and 1.
    """

    __slots__ = (
        "_ends_ns", "_levels", "_now_ns", "cap", "name", "period", "reserved", "scope", "spent", "warn", "watchers",
    )  # fmt: skip

    def __init__(
        self,
        cap: Money | None,
        name: str,
        *,
        scope: WhatStops = "run",
        period: Period = "total",
        warn: Sequence[float] = (),
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if cap is not None and cap <= 0:
            raise ValueError(
                f"{name} must be more than zero, not ${format_usd(cap)}; leave it out to run without a limit"
            )
        if not all(0 < level <= 1 for level in warn):
            raise ValueError(f"warn levels of {name} must be above 0 and at most 1 (100 %), not {tuple(warn)}")
        self.cap = cap
        self.name = name
        self.scope = scope
        self.period = period
        self.warn = tuple(sorted(warn))
        self.spent = Money(0)
        self.reserved = Money(0)
        self.watchers: list[Callable[[], None]] = []
        """Called when held money is given back, from whatever thread does it."""
        self._levels = self.warn
        self._now_ns = now_ns
        self._ends_ns = period_end_ns(period, now_ns())

    @property
    def available(self) -> Money | None:
        """What may still be reserved (negative after an overrun), or None without a cap."""
        return None if self.cap is None else Money(self.cap - self.spent - self.reserved)

    def roll(self) -> None:
        """Begin a new period if the present one is over."""
        if self._ends_ns is not None and (now := self._now_ns()) >= self._ends_ns:
            self.spent, self._levels = Money(0), self.warn
            self._ends_ns = period_end_ns(self.period, now)

    def pay(self, amount: Money) -> None:
        """Count what was settled."""
        self.spent = Money(self.spent + amount)

    def reached(self) -> list[LevelReached]:
        """Return the warn levels reached since the last time."""
        if self.cap is None or not self._levels:
            return []
        found = crossed(self._levels, self.spent, self.cap)
        self._levels = self._levels[len(found) :]
        return [LevelReached(self.name, level, self.spent, self.cap) for level in found]


def crossed(levels: Sequence[float], spent: int, cap: int) -> tuple[float, ...]:
    """Return those of the ascending `levels` that `spent` has reached; in whole nano-USD, so that 80 % is 80 %."""
    return tuple(level for level in levels if spent * 1_000_000 >= round(level * 1_000_000) * cap)


def why_refused(
    tool: str, amount: Money, *, name: str, cap: Money, spent: int, reserved: int, others: int = 0, kept: int = 0
) -> BudgetRefused | None:
    """Return None if `amount` fits under `cap` beside what is spent, held and kept back; else why it does not.

    `reserved` is what running calls hold, of which `others` belong to other processes.
    """
    if spent + reserved + amount + kept <= cap:
        return None
    available = Money(cap - spent - reserved)
    left = "nothing" if available <= 0 else f"${format_usd(available)}"
    cause: Cause
    if spent + amount > cap:
        cause = "spent"
    elif spent + reserved + amount <= cap:
        cause = "kept"
    else:
        cause = "held" if spent + others + amount <= cap and reserved > others else "elsewhere"
    reason = f"{tool} may cost ${format_usd(amount)}, but {name} has {left} left"
    if cause == "kept":
        reason += f", of which ${format_usd(Money(kept))} may be needed by steps that required outputs depend on"
    return BudgetRefused(reason, name, amount, available, cause, Money(kept))


def upper_price(price: PriceRange, at: ReserveAt) -> Money | None:
    """Return what to hold for a call with this price, or None if it is unknown.

    The 99th percentile is not measured: it is taken as far above the 95th as in a normal distribution.
    """
    if price.expected is None or price.p95 is None:
        return None
    if at == "p95":
        return price.p95
    if at == "expected":
        return price.expected
    return Money(price.expected + round(_P99_OVER_P95 * (price.p95 - price.expected)))


def unpriced(tool: str, capped: Sequence[Limit]) -> BudgetRefused:
    """Refuse a call whose price nobody knows; `capped` are the limits that this protects."""
    name, available = (capped[0].name, capped[0].available) if capped else ("the shared budget", None)
    return BudgetRefused(
        f"the price of {tool} is unknown; give it a price, measure it with `catp tools bench`, or say "
        "what to assume for unpriced tools",
        name, None, available, "unpriced",
    )  # fmt: skip
