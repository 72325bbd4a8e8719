"""What a device second costs, and so what a request cost.

A CPU's seconds have the price that local tools and local planners have (`catp.planners.metered`), for each thread the
engine computes with; a GPU's the price that the policy planner puts on them.
"""

from dataclasses import dataclass
from fractions import Fraction

from catp.planlang.money import NANO_PER_USD, Money
from catp.planners.metered import cpu_price
from catp.planners.policy import GPU_SECOND_USD
from catp.serving.server.events import Seconds

__all__ = ["DevicePrice", "Spent"]

_LONG_MS = 1e9
"""The price of a long time, so that rounding up to a nano-USD does not show in the price of a second."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a request's device seconds cost, by what they went into; nano-USD, adding up to `total` exactly."""

    fresh: Money
    cached: Money
    output: Money

    @property
    def total(self) -> Money:
        """Their sum."""
        return Money(self.fresh + self.cached + self.output)


@dataclass(frozen=True, slots=True)
class DevicePrice:
    """Nano-USD of a device second, exactly; None: nobody knows, and nothing is priced."""

    nano_per_second: Fraction | None

    @classmethod
    def of(cls, device: str, threads: int = 1) -> "DevicePrice":
        """Return the price of a second of `cpu` with so many threads, or of `cuda`."""
        if device == "cpu":
            return cls(Fraction(cpu_price(_LONG_MS)) / Fraction(int(_LONG_MS) // 1000) * threads)
        return cls.parse(GPU_SECOND_USD)

    @classmethod
    def parse(cls, usd: str) -> "DevicePrice":
        """Read US dollars a second; raise `ValueError` if it is no amount of at least 0."""
        try:
            amount = Fraction(usd)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{usd!r} is not an amount in US dollars such as '0.0007'") from None
        if amount < 0:
            raise ValueError(f"the price of a device second must not be negative, got {usd!r}")
        return cls(amount * NANO_PER_USD)

    def spent(self, seconds: Seconds) -> Spent | None:
        """Return what the seconds cost, None if they have no price. The sum is rounded, `output` takes the rest."""
        if self.nano_per_second is None:
            return None
        whole = round(Fraction(seconds.total) * self.nano_per_second)
        fresh = min(whole, round(Fraction(seconds.fresh) * self.nano_per_second))
        cached = min(whole - fresh, round(Fraction(seconds.cached) * self.nano_per_second))
        return Spent(Money(fresh), Money(cached), Money(whole - fresh - cached))
