"""The share of calls something holds for, old calls fading: how many fail, how many stay below their prediction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["HALF_LIFE", "Share", "faded"]

HALF_LIFE = 100
"""Further calls after which a call counts half."""
_MEMORY = HALF_LIFE / math.log(2)
"""What the weights of very many calls add up to; up to this every call counts in full."""
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Share:
    """`part` of `weight` calls."""

    weight: float = 0.0
    part: float = 0.0

    @classmethod
    def of(cls, calls: int, part: int) -> "Share":
        """Return the share of many calls whose order is not known."""
        weight = min(float(calls), _MEMORY)
        return cls(weight, part / calls * weight if calls else 0.0)

    def plus(self, holds: bool) -> "Share":
        """Return the share with one more call."""
        return self.merged(Share(1.0, float(holds)))

    def merged(self, newer: "Share") -> "Share":
        """Return the share over both, the calls of `newer` being the later ones."""
        room = max(0.0, _MEMORY - newer.weight)
        keep = min(1.0, room / self.weight) if self.weight else 0.0
        return Share(self.weight * keep + newer.weight, self.part * keep + newer.part)

    def with_prior(self, share: float, calls: float) -> "Share":
        """Return the share as if `calls` more calls had been seen, of which it holds for `share`."""
        return Share(self.weight + calls, self.part + share * calls)

    @property
    def value(self) -> float | None:
        """The share in [0, 1]; None without calls."""
        return self.part / self.weight if self.weight else None

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927), which is right for few calls and shares near 0 and 1."""
        if not self.weight:
            return 0.0, 1.0
        n, p, z2 = self.weight, self.part / self.weight, _Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 / (1 + z2 / n) * math.sqrt(max(0.0, p * (1 - p) / n) + z2 / (4 * n * n))
        return max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))

    def to_json(self) -> list[float]:
        """Return `[weight, part]`."""
        return [round(self.weight, 4), round(self.part, 4)]

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> "Share":
        """Read what `to_json` wrote; raise `ValueError` or `TypeError` if it is no share."""
        weight, part = (float(value) for value in data)
        if not (math.isfinite(weight) and 0.0 <= part <= weight * (1 + 1e-6)):
            raise ValueError(f"{part!r} of {weight!r} is no share")
        return cls(weight, min(part, weight))


def faded(calls: int) -> float:
    """Return the weight of what was known before the first of so many calls."""
    return math.exp2(-max(0.0, calls - _MEMORY) / HALF_LIFE)
