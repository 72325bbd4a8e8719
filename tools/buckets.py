"""Parts of a profile: calls of about one input size, and accuracy under one condition."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.tools.histogram import Histogram
from catp.tools.usage import Usage

__all__ = ["Bucket", "Score"]


@dataclass
class Bucket:
    """Calls whose input had between 2^k and 2^(k+1) units: what they used, and the latency of those that were warm."""

    units_in: Histogram = field(default_factory=Histogram)
    cpu_ms: Histogram = field(default_factory=Histogram)
    wall_ms: Histogram = field(default_factory=Histogram)
    peak_mb: Histogram = field(default_factory=Histogram)
    other: dict[str, Histogram] = field(default_factory=dict)
    """Further billed units by name (`tokens_in`), and `reported`: the provider's own price in nano-USD."""

    def add(self, size: int, usage: Usage) -> None:
        """Count one call."""
        self.units_in.add(size)
        self.cpu_ms.add(usage.cpu_ms)
        if not usage.cold_cpu_ms:
            self.wall_ms.add(usage.wall_ms)
        self.peak_mb.add(usage.peak_mb)
        reported = {} if usage.reported is None else {"reported": float(usage.reported)}
        for name, amount in {**usage.units, **reported}.items():
            self.other.setdefault(name, Histogram()).add(amount)

    def of(self, name: str) -> Histogram:
        """Return the values of a quantity by the names of `catp.tools.recent.used`; empty if it was never seen."""
        if name in ("cpu_ms", "wall_ms", "peak_mb"):
            found: Histogram = getattr(self, name)
            return found
        return self.other.get(name.removeprefix("unit:"), Histogram())

    @property
    def units(self) -> list[str]:
        """The names of the billed units."""
        return [name for name in self.other if name != "reported"]

    def merged(self, other: "Bucket") -> "Bucket":
        """Return the calls of both, those of `other` being the later ones."""
        names = self.other.keys() | other.other.keys()
        empty = Histogram()
        return Bucket(
            self.units_in.merged(other.units_in),
            self.cpu_ms.merged(other.cpu_ms),
            self.wall_ms.merged(other.wall_ms),
            self.peak_mb.merged(other.peak_mb),
            {name: self.other.get(name, empty).merged(other.other.get(name, empty)) for name in sorted(names)},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the bucket as JSON values."""
        return {
            "units_in": self.units_in.to_json(),
            "cpu_ms": self.cpu_ms.to_json(),
            "wall_ms": self.wall_ms.to_json(),
            "peak_mb": self.peak_mb.to_json(),
            "other": {name: histogram.to_json() for name, histogram in self.other.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Bucket":
        """Read what `to_json` wrote."""
        plain = {key: Histogram.from_json(data[key]) for key in ("units_in", "cpu_ms", "wall_ms", "peak_mb")}
        return cls(**plain, other={str(k): Histogram.from_json(v) for k, v in data["other"].items()})


@dataclass
class Score:
    """Accuracy measured on `count` examples: their mean."""

    mean: float = 0.0
    count: int = 0

    def merged(self, other: "Score") -> "Score":
        """Return the score over both sets of examples."""
        count = self.count + other.count
        return Score((self.mean * self.count + other.mean * other.count) / count, count) if count else Score()
