"""What the bench found: one row per tool, the price/accuracy front of every capability, and the machine."""

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from catp.planlang.money import Money, format_usd
from catp.planlang.registry_view import PriceRange, Size, ValueFacts
from catp.planlang.types import Type
from catp.tools.bench.chart import Dot, fronts_svg
from catp.tools.catalogue import Catalogue
from catp.tools.curves import Curves
from catp.tools.profile import ProfileBook
from catp.tools.spec import ToolSpec

__all__ = ["BenchReport", "ToolRow", "machine", "typical_facts"]

TYPICAL: Mapping[str, Size] = {"image": Size(512 * 512), "text": Size(600), "file": Size(100_000)}
"""The input sizes that listings quote prices for: 512 x 512 pixels, a paragraph, 100 kB."""


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool's figures. `price` is at `TYPICAL` size; `accuracy` the mean over the conditions without restoration."""

    capability: str
    tool: str
    calls: int
    failures: int
    price: PriceRange
    cpu_ms: float
    latency_ms: float
    cold_ms: float
    peak_mb: float
    accuracy: float | None
    by_condition: Mapping[str, float]
    on_front: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values, money as decimal strings."""
        data = asdict(self)
        data["price"] = {k: None if v is None else format_usd(Money(v)) for k, v in data["price"].items()}
        return data


def typical_facts(spec: ToolSpec, size: int | None = None) -> dict[str, ValueFacts]:
    """Return facts for the arguments a call must have, at `size` units of the first or at its typical size."""
    facts: dict[str, ValueFacts] = {}
    for param in spec.signature.params:
        if param.required:
            units = Size(size) if size is not None and not facts else TYPICAL.get(param.type.name, Size())
            facts[param.name] = ValueFacts(Type(param.type.name, param.type.item), units)
    return facts


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text(errors="replace").splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


@dataclass(frozen=True)
class BenchReport:
    """The measured catalogue, and how long measuring took."""

    catalogue: Catalogue
    tools: tuple[str, ...]
    seconds: float
    quick: bool

    @property
    def profiles(self) -> ProfileBook:
        """The measured profiles, ready to save or merge."""
        return self.catalogue.profiles

    @cached_property
    def rows(self) -> tuple[ToolRow, ...]:
        """One row per measured tool, by capability and rising price."""
        found = [row for name in self.tools if (row := self._row(self.catalogue.get(name))) is not None]
        marked = [_with_front(row, [other for other in found if other.capability == row.capability]) for row in found]
        return tuple(sorted(marked, key=lambda row: (row.capability, row.price.expected or 0, row.tool)))

    def svg(self) -> str:
        """Draw price against accuracy, one panel per capability with more than one tool."""
        panels: dict[str, list[Dot]] = {}
        for row in self.rows:
            if row.accuracy is not None and row.price.expected is not None:
                dot = Dot(row.tool, row.price.expected / 1e9, row.accuracy, row.on_front)
                panels.setdefault(row.capability, []).append(dot)
        return fronts_svg({name: dots for name, dots in panels.items() if len(dots) > 1})

    def table(self) -> str:
        """Return the rows as a Markdown table."""
        lines = [
            "| capability | tool | price | CPU ms | latency ms | cold ms | MB | accuracy | front |",
            "|" + "---|" * 9,
        ]
        for row in self.rows:
            price = "unpriced" if row.price.expected is None else f"${format_usd(row.price.expected)}"
            accuracy = "" if row.accuracy is None else f"{row.accuracy:.3f}"
            lines.append(
                f"| {row.capability} | {row.tool} | {price} | {row.cpu_ms:.2f} | {row.latency_ms:.2f} "
                f"| {row.cold_ms:.0f} | {row.peak_mb:.0f} | {accuracy} | {'yes' if row.on_front else ''} |"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "machine": machine(),
            "seconds": round(self.seconds, 1),
            "quick": self.quick,
            "tools": [row.to_json() for row in self.rows],
        }

    def _row(self, spec: ToolSpec) -> ToolRow | None:
        profile = self.profiles.get(spec.name, spec.version)
        if profile is None:
            return None
        estimate = self.catalogue.estimator().estimate(spec.name, typical_facts(spec))
        used = Curves(profile).expected(sum(facts.size.units for facts in typical_facts(spec).values()))
        plain = {label: score for label, score in profile.accuracy.items() if "/" not in label and label}
        return ToolRow(
            capability=spec.capability,
            tool=spec.name,
            calls=profile.calls,
            failures=profile.failures,
            price=estimate.price,
            cpu_ms=used.cpu_ms,
            latency_ms=estimate.latency.expected_ms,
            cold_ms=profile.cold_ms.greatest if profile.cold_ms.count else 0.0,
            peak_mb=used.peak_mb,
            accuracy=sum(score.mean for score in plain.values()) / len(plain) if plain else None,
            by_condition={label: round(score.mean, 4) for label, score in sorted(profile.accuracy.items())},
        )


def _with_front(row: ToolRow, rivals: list[ToolRow]) -> ToolRow:
    """A tool is off the front if a rival is no dearer and at least as accurate in every condition, better in one."""
    conditions = [label for label in row.by_condition if "/" not in label]

    def beats(other: ToolRow) -> bool:
        if other is row or not conditions or (other.price.expected or 0) > (row.price.expected or 0):
            return False
        gaps = [other.by_condition.get(label, 0.0) - row.by_condition[label] for label in conditions]
        cheaper = (other.price.expected or 0) < (row.price.expected or 0)
        return min(gaps) >= 0 and (max(gaps) > 0 or cheaper)

    return replace(row, on_front=not any(beats(other) for other in rivals))
