"""The shipped calibration: fitted to the zoo's shipped profiles, and to the measured track by `build`."""

import importlib.resources
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from catp.planlang.money import Money
from catp.tools.catalogue import Catalogue
from catp.tools.charges import charges_of
from catp.tools.histogram import Histogram
from catp.tools.price import total
from catp.tools.profile import ProfileBook
from catp.tools.usage import Usage
from catp.training.sim.calibrate import Calibration
from catp.training.sim.calls import Call, kind_of
from catp.training.sim.tools import charged, measured_kind, noise

if TYPE_CHECKING:
    from catp.training.sim.world import World

__all__ = ["default_calibration", "profile_calls", "tool_calls"]

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
                    near = scores[place % len(scores)] if scores else None
                    kind = kind_of([str(p.type) for p in spec.signature.params], str(spec.signature.returns))
                    at = (spec.name, spec.capability, kind)
                    found.append(Call(*at, float(price), usage.wall_ms, bucket.units_in.mean, True, lean, near))
    return found


def tool_calls(world: "World", rng: np.random.Generator) -> list[Call]:
    """Call every tool of a world 20 times, on inputs of various sizes: what `profile_calls` are compared with."""
    found: list[Call] = []
    for tool in world.tools:
        group = [world.declared[other.name] for other in world.tools if other.capability is tool.capability]
        declared = world.declared[tool.name]
        relative = declared - sum(group) / len(group)
        for _ in _LEVELS:
            size = tool.usual * 2.0 ** float(rng.normal())
            price = charged(tool, tool.load(size) * noise(tool.price_noise, rng), 1.0)
            ms = tool.ms(size) * noise(tool.time_noise, rng)
            ok = bool(rng.random() >= tool.failure)
            at = (f"{world.id}/{tool.name}", f"{world.id}/{tool.capability.name}", measured_kind(tool.capability))
            found.append(Call(*at, float(price), ms, size, ok, relative, declared))
    return found


def _at(values: Histogram, level: float) -> float:
    return values.quantile(level) if values.count else 0.0
