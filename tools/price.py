"""Price models: usage in, charges out, in integer nano-USD.

Unit prices are exact fractions, so a price of $0.0000000021 per millisecond is not rounded before it is multiplied;
each charge is rounded up once. The same model prices a measured call and a predicted one. A price that is not known
is None (`Unpriced`), which is visible everywhere; only `Free` is 0.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeAlias

from catp.planlang.money import NANO_PER_USD, Money
from catp.tools.errors import PriceModelError
from catp.tools.usage import Charge, ChargeKind, PriceModel, Usage

__all__ = [
    "DEFAULT_FEE_USD",
    "DEFAULT_TIERS",
    "ComputePrice",
    "CustomPrice",
    "DatedPrice",
    "Free",
    "PerCall",
    "PerToken",
    "PerUnit",
    "PriceTable",
    "Reported",
    "Unpriced",
    "Usd",
    "needs",
    "total",
]

Usd: TypeAlias = str | int | float | Decimal
"""An amount of US dollars as people write it; strings and Decimals are kept exactly."""

DEFAULT_FEE_USD = "0.0000002"
"""What a serverless platform asks per request (AWS Lambda, x86)."""

DEFAULT_TIERS: tuple[tuple[int, str], ...] = (
    (128, "0.0000000021"), (512, "0.0000000083"), (1024, "0.0000000167"), (1536, "0.0000000250"),
    (2048, "0.0000000333"), (3072, "0.0000000500"), (4096, "0.0000000667"), (5120, "0.0000000833"),
    (6144, "0.0000001000"), (7168, "0.0000001167"), (8192, "0.0000001333"), (9216, "0.0000001500"),
    (10240, "0.0000001667"),
)  # fmt: skip
"""Memory tier in MB and its price per millisecond (AWS Lambda's table): the tier's size is already in its price."""


def total(charges: Sequence[Charge] | None) -> Money | None:
    """Return the sum of the charges, or None if the price is unknown."""
    return None if charges is None else Money(sum(charge.amount for charge in charges))


def needs(price: PriceModel) -> frozenset[str] | None:
    """Return which quantities of `Usage` a model's price depends on (`cpu_ms`, `unit:pages`); None if it cannot say."""
    found = getattr(price, "needs", None)
    return found if isinstance(found, frozenset) else None


def _price(amount: Usd, what: str) -> Fraction:
    try:
        value = Fraction(Decimal(str(amount)))
    except (InvalidOperation, ValueError, OverflowError):
        raise PriceModelError(f"{what} must be an amount in US dollars such as '0.01', got {amount!r}") from None
    if value < 0:
        raise PriceModelError(f"{what} must not be negative, got {amount!r}")
    return value


def _quantity(amount: float, what: str) -> float:
    try:
        possible = math.isfinite(amount) and amount >= 0
    except TypeError:
        possible = False
    if not possible:
        raise PriceModelError(f"{what} must be a finite number of at least 0, got {amount!r}")
    return amount if isinstance(amount, int) else float(amount)


def _words(price: Fraction) -> str:
    digits = format(Decimal(price.numerator) / Decimal(price.denominator), "f")
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


class _Rate:
    """A unit price in plain integers, quick to multiply: a planner prices thousands of predicted calls a second."""

    def __init__(self, kind: ChargeKind, unit: str, price: Fraction) -> None:
        self.kind, self.unit, self.words = kind, unit, _words(price)
        self._nano, self._per = (price * NANO_PER_USD).as_integer_ratio()

    def charge(self, quantity: float) -> Charge:
        """Return the price of so many units, rounded up to whole nano-USD."""
        count, parts = _quantity(quantity, self.unit).as_integer_ratio()
        amount = -(-count * self._nano // (parts * self._per))
        return Charge(self.kind, float(quantity), self.unit, self.words, Money(amount))


class Free:
    """Really costs nothing, and says so."""

    needs = frozenset[str]()

    def charge(self, usage: Usage) -> tuple[Charge, ...]:
        """Return no charges: a price of 0."""
        return ()

    def describe(self) -> str:
        """Return the rule in words."""
        return "free"


class Unpriced:
    """Costs something nobody stated. Plans with such a step have no price, and runs with a budget refuse it."""

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return None: unknown."""
        return None

    def describe(self) -> str:
        """Return the rule in words."""
        return "unpriced"


class PerCall:
    """The same price for every call: `PerCall("0.01")`."""

    needs = frozenset[str]()

    def __init__(self, usd: Usd) -> None:
        self._charge = _Rate("call", "call", _price(usd, "price per call")).charge(1)

    def charge(self, usage: Usage) -> tuple[Charge, ...]:
        """Return one charge."""
        return (self._charge,)

    def describe(self) -> str:
        """Return the rule in words."""
        return f"${self._charge.unit_price_usd} a call"


class PerUnit:
    """A price for each unit the tool reports in `Usage.units`: `PerUnit("pages", "0.0015")`."""

    def __init__(self, unit: str, usd: Usd) -> None:
        self.unit, self._rate = unit, _Rate("unit", unit, _price(usd, f"price per {unit}"))
        self.needs = frozenset({f"unit:{unit}"})

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return one charge, or None if the call did not report the unit."""
        if self.unit not in usage.units:
            return None
        return (self._rate.charge(usage.units[self.unit]),)

    def describe(self) -> str:
        """Return the rule in words."""
        return f"${self._rate.words} per {self.unit}"


class PerToken:
    """Prices per 1,000 tokens read and written: `PerToken(input="0.00015", output="0.0006")`."""

    needs = frozenset({"unit:tokens_in", "unit:tokens_out"})

    def __init__(self, *, input: Usd, output: Usd) -> None:
        self._input = _price(input, "price per 1,000 input tokens")
        self._output = _price(output, "price per 1,000 output tokens")
        self._rates = _Rate("unit", "tokens_in", self._input / 1000), _Rate("unit", "tokens_out", self._output / 1000)

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return one charge per direction, or None if the call did not report its tokens."""
        if any(rate.unit not in usage.units for rate in self._rates):
            return None
        return tuple(rate.charge(usage.units[rate.unit]) for rate in self._rates)

    def describe(self) -> str:
        """Return the rule in words."""
        return f"${_words(self._input)} per 1k tokens in + ${_words(self._output)} per 1k tokens out"


class Reported:
    """The price the provider states with each answer (`Usage.reported`); unknown where it states none."""

    needs = frozenset({"reported"})

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return the provider's own amount as one charge."""
        if usage.reported is None:
            return None
        amount = _checked_amount(usage.reported, "the provider's reported price")
        return (Charge("provider", 1.0, "call", _words(Fraction(amount, NANO_PER_USD)), amount),)

    def describe(self) -> str:
        """Return the rule in words."""
        return "as reported by the provider"


class ComputePrice:
    """A fee per call plus CPU milliseconds times the price of the memory tier the call's peak falls into.

    CPU time is billed, never wall time: a busy machine doubles wall time and leaves CPU time nearly alone. The load a
    call triggered (imports, models) is a charge of its own, `cold_start`. Beyond the largest tier the price grows in
    proportion to memory.
    """

    needs = frozenset({"cpu_ms", "peak_mb"})

    def __init__(self, fee_usd: Usd = DEFAULT_FEE_USD, tiers: Sequence[tuple[float, Usd]] = DEFAULT_TIERS) -> None:
        self._fee = _Rate("call", "call", _price(fee_usd, "fee per call")).charge(1)
        self._tiers = sorted((_quantity(mb, "memory tier"), _price(p, f"price of tier {mb}")) for mb, p in tiers)
        if not self._tiers or self._tiers[0][0] == 0:
            raise PriceModelError("a compute price needs at least one memory tier, each above 0 MB")
        self._sizes = [size for size, _ in self._tiers]
        self._rates = [_compute_rates(_words(Fraction(size)), price) for size, price in self._tiers]

    def charge(self, usage: Usage) -> tuple[Charge, ...]:
        """Return the fee, the compute charge, and the cold start if there was one."""
        compute, cold_start = self._rates_at(_quantity(usage.peak_mb, "peak_mb"))
        charges = self._fee, compute.charge(usage.cpu_ms)
        return (*charges, cold_start.charge(usage.cold_cpu_ms)) if usage.cold_cpu_ms else charges

    def describe(self) -> str:
        """Return the rule in words."""
        tiers = ", ".join(f"{_words(Fraction(mb))} MB ${_words(price)}" for mb, price in self._tiers)
        return f"${self._fee.unit_price_usd} a call + CPU ms x memory tier ({tiers})"

    def _rates_at(self, peak: float) -> tuple[_Rate, _Rate]:
        tier = bisect_left(self._sizes, peak)
        if tier < len(self._sizes):
            return self._rates[tier]
        size, price = self._tiers[-1]
        return _compute_rates(f"{peak:.0f}", price * Fraction(peak) / Fraction(size))


def _compute_rates(tier: str, price: Fraction) -> tuple[_Rate, _Rate]:
    unit = f"ms at {tier} MB"
    return _Rate("compute", unit, price), _Rate("cold_start", unit, price)


@dataclass(frozen=True, slots=True)
class DatedPrice:
    """A price valid from `start` (inclusive) to `end` (exclusive); None means open on that side. Times carry a zone."""

    price: PriceModel
    start: datetime | None = None
    end: datetime | None = None


_ALWAYS = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


class PriceTable:
    """Prices with validity dates: the one valid at the time of the call applies, and none means unpriced."""

    def __init__(self, rows: Sequence[DatedPrice], *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._rows = tuple(sorted(rows, key=lambda row: _period(row)[0]))
        self._now = now
        for earlier, later in zip(self._rows, self._rows[1:], strict=False):
            if _period(later)[0] < _period(earlier)[1]:
                raise PriceModelError(f"two prices are valid at once from {_period(later)[0].isoformat()}")

    @property
    def needs(self) -> frozenset[str] | None:
        """What the price valid now depends on."""
        row = self._valid()
        return needs(row.price) if row else frozenset()

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return the charges of the price valid now."""
        row = self._valid()
        return row.price.charge(usage) if row else None

    def describe(self) -> str:
        """Return the rule in words."""
        return "; ".join(
            f"{row.start.isoformat() if row.start else '...'} to {row.end.isoformat() if row.end else '...'}: "
            f"{row.price.describe()}"
            for row in self._rows
        )

    def _valid(self) -> DatedPrice | None:
        now = self._now()
        return next((row for row in self._rows if _period(row)[0] <= now < _period(row)[1]), None)


def _period(row: DatedPrice) -> tuple[datetime, datetime]:
    start, end = row.start or _ALWAYS[0], row.end or _ALWAYS[1]
    if start.tzinfo is None or end.tzinfo is None:
        raise PriceModelError("dates of a price table must carry a time zone, such as datetime(2026, 1, 1, tzinfo=UTC)")
    if start >= end:
        raise PriceModelError(f"a price ends at {end.isoformat()}, before it starts at {start.isoformat()}")
    return start, end


class CustomPrice:
    """Any rule: `rule(usage)` returns an integer of nano-USD, charges, or None for unknown.

    A rule that raises or returns anything else raises `PriceModelError`: a broken price is never a price of 0.
    """

    def __init__(self, rule: Callable[[Usage], Any], description: str = "") -> None:
        self._rule = rule
        self._description = description or f"custom rule {getattr(rule, '__name__', 'rule')}"

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return what the rule returns, checked."""
        try:
            answer = self._rule(usage)
        except Exception as error:
            raise PriceModelError(f"{self._description} raised {type(error).__name__}: {error}") from error
        if answer is None:
            return None
        if isinstance(answer, tuple) and all(isinstance(charge, Charge) for charge in answer):
            for charge in answer:
                _checked_amount(charge.amount, self._description)
            return answer
        amount = _checked_amount(answer, self._description)
        return (Charge("custom", 1.0, "call", _words(Fraction(amount, NANO_PER_USD)), amount),)

    def describe(self) -> str:
        """Return the rule in words."""
        return self._description


def _checked_amount(amount: Any, what: str) -> Money:
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
        raise PriceModelError(f"{what} must give an integer of nano-USD of at least 0, got {amount!r}")
    return Money(amount)
