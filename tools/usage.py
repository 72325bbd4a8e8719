"""What a call used, and what that costs: the units between metering and price models."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from catp.planlang.money import Money

__all__ = ["Charge", "ChargeKind", "PriceModel", "Usage", "carrying", "usage_from_json", "usage_json"]


E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True, slots=True)
class Usage:
    """Metered use of one call.

    `cpu_ms` is CPU time of the call (user + system, children included), the billed quantity for local tools;
    `wall_ms` only feeds latency. `cold_cpu_ms` is the one-off load this call happened to trigger. `peak_mb` is the
    high-water resident memory during the call (whole worker process). `units` counts whatever else a price model
    bills: `tokens_in`, `tokens_out`, `pages`. `reported` is a price the provider itself stated.
    """

    wall_ms: float = 0.0
    cpu_ms: float = 0.0
    cold_cpu_ms: float = 0.0
    peak_mb: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    units: Mapping[str, float] = field(default_factory=dict)
    reported: Money | None = None


def carrying(error: E, usage: Usage) -> E:
    """Attach what a stopped call had used to the cancellation that stopped it: stopped work is paid for, too."""
    error.usage = usage  # type: ignore[attr-defined]  # a class of asyncio's; readers use getattr
    return error


def usage_json(usage: Usage) -> dict[str, Any]:
    """Return usage as JSON values, without what is zero; `reported` in nano-USD."""
    found: dict[str, Any] = {}
    for name in ("wall_ms", "cpu_ms", "cold_cpu_ms", "peak_mb", "bytes_in", "bytes_out"):
        amount = getattr(usage, name)
        if amount:
            found[name] = amount
    if usage.units:
        found["units"] = dict(usage.units)
    if usage.reported is not None:
        found["reported"] = usage.reported
    return found


def usage_from_json(data: Mapping[str, Any]) -> Usage:
    """Read what `usage_json` wrote; raise `TypeError` for an unknown field."""
    return Usage(**data)


ChargeKind: TypeAlias = Literal["call", "compute", "cold_start", "unit", "table", "custom", "provider"]


@dataclass(frozen=True, slots=True)
class Charge:
    """One priced line of a call: `quantity` x unit price = `amount`. A call's price is the sum of its charges."""

    kind: ChargeKind
    quantity: float
    unit: str
    unit_price_usd: str
    amount: Money


class PriceModel(Protocol):
    """Turns usage into charges. The same function prices a measured call and a predicted one."""

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return the charges of a call with this usage, or None if the price is unknown."""
        ...

    def describe(self) -> str:
        """Return the rule in words, such as `$0.0000002 a call + CPU time x memory tier`."""
        ...
