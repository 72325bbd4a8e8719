"""The shipped calibration: fitted to the zoo's shipped profiles, and to the measured track by `build`."""

import importlib.resources
from functools import cache
from pathlib import Path

from catp.planlang.money import Money
from catp.tools.catalogue import Catalogue
from catp.tools.charges import charges_of
from catp.tools.histogram import Histogram
from catp.tools.price import total
from catp.tools.profile import ProfileBook
from catp.tools.usage import Usage
from catp.training.sim.calibrate import Call, Calibration

__all__ = ["DATA", "default_calibration", "profile_calls"]

DATA = Path("datasets") / "catp-sim"
"""Where the simulator's files lie in the repository."""

_LEVELS = [(place + 0.5) / 20 for place in range(20)]


@cache
def default_calibration() -> Calibration:
    """Return the calibration that ships with the product; raise `FileNotFoundError` if it is missing."""
    file = importlib.resources.files("catp") / "datasets" / "catp-sim" / "calibration.json"
    with importlib.resources.as_file(file) as path:
        return Calibration.load(path)


def profile_calls(catalogue: Catalogue, book: ProfileBook) -> list[Call]:
    """Return the calls that profiles remember: 20 quantiles per tool and size, time and price taken to rise together.

    Scores are accuracies by condition, each less the mean of the tool's rivals under that condition.
    """
    means: dict[tuple[str, str], list[float]] = {}
    for spec in catalogue:
        profile = book.get(spec.name, spec.version)
        for condition, score in (profile.accuracy if profile else {}).items():
            means.setdefault((spec.capability, condition), []).append(score.mean)
    found: list[Call] = []
    for spec in catalogue:
        profile = book.get(spec.name, spec.version)
        if profile is None or not profile.calls:
            continue
        relative = [
            score.mean - sum(means[spec.capability, c]) / len(means[spec.capability, c])
            for c, score in sorted(profile.accuracy.items())
        ]
        scores = [score.mean for _, score in sorted(profile.accuracy.items())]
        lean = sum(relative) / len(relative) if relative else None
        for _, bucket in sorted(profile.buckets.items()):
            for place, level in enumerate(_LEVELS):
                usage = Usage(_at(bucket.wall_ms, level), _at(bucket.cpu_ms, level), peak_mb=bucket.peak_mb.mean)
                price: Money | None = total(charges_of(spec.price, usage))
                if price is not None:
                    score = scores[place % len(scores)] if scores else None
                    size = bucket.units_in.mean
                    found.append(Call(spec.name, spec.capability, float(price), usage.wall_ms, size, True, lean, score))
    return found


def _at(values: Histogram, level: float) -> float:
    return values.quantile(level) if values.count else 0.0
