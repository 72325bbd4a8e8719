"""What is known of a tool, as JSON and as cells and lines of text: price, time, accuracy, what was measured."""

import math
from typing import TYPE_CHECKING, Any

from catp.cli.output import dollars, milliseconds
from catp.cli.quotes import money_json, usd_json
from catp.cli.report import columns
from catp.planlang.nodes import Duration
from catp.planlang.scalars import format_duration
from catp.tools.bench.report import typical_facts
from catp.tools.catalogue import Catalogue
from catp.tools.profile import Profile

if TYPE_CHECKING:
    from catp.planlang.registry_view import CallEstimate
    from catp.tools.estimator import Forecast
    from catp.tools.spec import ToolSpec

__all__ = [
    "details_json",
    "estimate_of",
    "latency_json",
    "life_shown",
    "measured_lines",
    "quantiles_json",
    "rival_cells",
    "summary_json",
    "times_shown",
]


def estimate_of(spec: "ToolSpec", catalogue: Catalogue, units: int | None = None) -> "CallEstimate":
    """Predict one call at a size, by default the typical one of its capability."""
    return catalogue.estimator().estimate(spec.name, typical_facts(spec, units))


def times_shown(estimate: "CallEstimate") -> tuple[str, str]:
    """Expected and p95 time in words."""
    if not estimate.timed:
        return "unknown", "unknown"
    return milliseconds(estimate.latency.expected_ms), milliseconds(estimate.latency.p95_ms)


def latency_json(estimate: "CallEstimate") -> dict[str, float | None]:
    """Expected and p95 time, milliseconds."""
    if not estimate.timed:
        return {"expected": None, "p95": None}
    return {"expected": estimate.latency.expected_ms, "p95": estimate.latency.p95_ms}


def quantiles_json(forecast: "Forecast") -> dict[str, Any]:
    """Price and latency by percentile, and the share of calls that fail, with its 95 % interval."""
    prices = {} if forecast.price is None else {f"p{q * 100:.0f}": usd_json(p) for q, p in forecast.price.items()}
    times = {} if forecast.latency_ms is None else {f"p{q * 100:.0f}": ms for q, ms in forecast.latency_ms.items()}
    failing = {"share": forecast.failure.value, "interval": list(forecast.failure.interval)}
    return {"price_usd": prices or None, "latency_ms": times or None, "failure": failing}


def summary_json(spec: "ToolSpec", catalogue: Catalogue) -> dict[str, Any]:
    """A tool in a list."""
    estimate = estimate_of(spec, catalogue)
    return {
        "name": spec.name,
        "capability": spec.capability,
        "signature": str(spec.signature),
        "description": spec.signature.description,
        "price_usd": money_json(estimate.price),
        "latency_ms": latency_json(estimate),
        "accuracy": estimate.accuracy,
        "count": estimate.count,
        "unavailable": spec.unavailable(),
    }


def life_shown(seconds: float | None) -> str:
    """How long results may be used again, as it is written in plans."""
    if seconds is None:
        return "not kept"
    return "for ever" if math.isinf(seconds) else format_duration(Duration(round(seconds * 1e9)))


def details_json(spec: "ToolSpec", catalogue: Catalogue) -> dict[str, Any]:
    """All that is known of a tool."""
    profile = catalogue.profiles.get(spec.name, spec.version)
    rivals = [rival.name for rival in catalogue if spec.capability == rival.capability and rival is not spec]
    return {
        **summary_json(spec, catalogue),
        "version": spec.version,
        "effects": spec.signature.effects,
        "price_rule": spec.price.describe(),
        "limits": spec.limits,
        "cache": None if spec.cache_ttl_s is None else life_shown(spec.cache_ttl_s),
        "params": [
            {"name": p.name, "type": str(p.type), "required": p.required, "note": p.description}
            for p in spec.signature.params
        ],
        "rivals": rivals if spec.capability else [],
        "profile": None if profile is None else profile.to_json(),
    }


def measured_lines(profile: Profile) -> list[str]:
    """What was measured, as lines of text."""
    low, high = profile.failure.interval
    rows = [
        ("calls", str(profile.calls)),
        ("failures", f"{profile.failures}; of the next calls {low:.1%} to {high:.1%} are expected to fail"),
    ]
    for what, tracker in (("price", profile.calibration.price), ("latency", profile.calibration.latency)):
        if (held := tracker.held.value) is not None:
            rows.append((f"{what} p95", f"covered {held:.0%} of the latest calls"))
    if profile.cold_ms.count:
        rows.append(("cold start", f"{milliseconds(profile.cold_ms.greatest)} of CPU time at most"))
    lines = columns(rows)
    if profile.buckets:
        table = [("input size", "calls", "CPU", "latency", "memory")]
        for exponent, bucket in sorted(profile.buckets.items()):
            span = f"{1 << exponent:,} to {(2 << exponent) - 1:,}"
            cpu, wall = (
                milliseconds(bucket.cpu_ms.mean),
                milliseconds(bucket.wall_ms.mean) if bucket.wall_ms.count else "-",
            )
            table.append((span, f"{bucket.cpu_ms.count:.0f}", cpu, wall, f"{bucket.peak_mb.mean:.0f} MB"))
        lines += ["", *columns(table, right=(1, 2, 3, 4))]
    if profile.accuracy:
        scores = [("condition", "accuracy", "examples")]
        scores += [(k or "(unknown)", f"{s.mean:.3f}", str(s.count)) for k, s in sorted(profile.accuracy.items())]
        lines += ["", *columns(scores, right=(1, 2))]
    return lines


def rival_cells(spec: "ToolSpec", catalogue: Catalogue) -> tuple[str, str, str]:
    """A tool that could do the same: its name, price and accuracy."""
    estimate = estimate_of(spec, catalogue)
    accuracy = "-" if estimate.accuracy is None else f"{estimate.accuracy:.2f}"
    return spec.name, dollars(estimate.price.expected), accuracy
