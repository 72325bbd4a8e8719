"""Predicting one call: usage from the tool's profile, priced by the tool's own price model.

What does not depend on use (a price per call) is exact. What does, and was never measured, is unpriced.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, PriceRange, Size, Startup, ValueFacts
from catp.planlang.types import Type
from catp.tools.errors import PriceModelError
from catp.tools.histogram import Histogram
from catp.tools.price import needs, total
from catp.tools.profile import Bucket, Profile, ProfileBook
from catp.tools.sizes import input_units
from catp.tools.spec import StartingBackend, ToolSpec
from catp.tools.usage import Usage

__all__ = ["CatalogueEstimator", "main_argument"]

_log = logging.getLogger("catp.tools")

IMAGE = Type("image")


@dataclass(frozen=True, slots=True)
class _Predicted:
    """Usage at the low, expected and 95th-percentile end."""

    low: Usage
    expected: Usage
    p95: Usage


class CatalogueEstimator:
    """Implements `catp.planlang.registry_view.Estimator` for the tools of one catalogue.

    Low and p95 are the 5th and 95th percentile of measured use at this input size; expected is the mean, with the mean
    cold start if no worker is warm; p95 includes the dearest cold start seen in any case, so that reserving it is safe.
    Beyond the largest measured input, use grows in proportion.
    """

    def __init__(self, specs: Mapping[str, ToolSpec], profiles: ProfileBook) -> None:
        self._specs, self._profiles = specs, profiles
        self._cold: dict[str, bool] = {}

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call of `tool`; raise `KeyError` if the catalogue does not have it."""
        spec = self._specs[tool]
        profile = self._profiles.get(spec.name, spec.version) or Profile()
        size = input_units({name: facts.size for name, facts in args.items()})
        near = profile.near(size)
        latency = _latency(*near) if near else Latency()
        cold = self._starts_cold(spec)
        started = Latency(profile.cold_ms.mean, profile.cold_ms.greatest) if cold and near else Latency()
        condition = main_argument(args).condition if args else ""
        score = profile.accuracy_at(condition)
        price, startup = _price(spec, profile, size, cold=cold)
        return CallEstimate(
            price=price,
            latency=Latency(latency.expected_ms + started.expected_ms, latency.p95_ms + started.p95_ms),
            output=ValueFacts(
                spec.signature.returns, _output_size(spec, profile, size, args), _condition_after(spec, args)
            ),
            accuracy=score.mean if score else spec.accuracy,
            failure=profile.failures / profile.calls if profile.calls else 0.0,
            count=profile.calls,
            startup=Startup(startup, started),
        )

    def _starts_cold(self, spec: ToolSpec) -> bool:
        cold = self._cold.get(spec.name)
        if cold is None:
            cold = self._cold[spec.name] = isinstance(spec.backend, StartingBackend) and not spec.backend.warm()
        return cold


def main_argument(args: Mapping[str, ValueFacts]) -> ValueFacts:
    """Return the argument that makes a call easy or hard: the largest of those whose condition is known, if any."""
    return max(args.values(), key=lambda facts: (bool(facts.condition), facts.size.units * facts.size.count))


def _latency(bucket: Bucket, factor: float) -> Latency:
    expected = bucket.wall_ms.mean
    return Latency(expected * factor, max(expected, bucket.wall_ms.quantile(0.95)) * factor)


def _price(spec: ToolSpec, profile: Profile, size: int, *, cold: bool) -> tuple[PriceRange, Money]:
    """Return the price of a call, and how much of the expected price is its cold start."""
    predicted = _predict(spec, profile, size)
    if predicted is None:
        return UNPRICED, Money(0)
    start = replace(predicted.expected, cold_cpu_ms=profile.cold_ms.mean if cold else 0.0)
    usages = (predicted.low, predicted.expected, start, predicted.p95)
    try:
        prices = [total(spec.price.charge(usage)) for usage in usages]
    except PriceModelError as error:  # one tool's broken price must not stop plans that do without it
        _log.warning("%s has no price: %s", spec.name, error)
        return UNPRICED, Money(0)
    known = [price for price in prices if price is not None]
    if len(known) < len(usages):
        return UNPRICED, Money(0)
    low, warm, expected, p95 = known
    return PriceRange(Money(min(low, warm)), expected, Money(max(p95, expected))), Money(max(0, expected - warm))


def _predict(spec: ToolSpec, profile: Profile, size: int) -> _Predicted | None:
    if needs(spec.price) == frozenset():
        return _Predicted(Usage(), Usage(), Usage())
    near = profile.near(size)
    if near is not None:
        return _measured(profile, *near)
    return _Predicted(*spec.forecast(size)) if spec.forecast is not None else None


def _measured(profile: Profile, bucket: Bucket, factor: float) -> _Predicted:
    def usage(pick: Callable[[Histogram], float], cold_ms: float) -> Usage:
        units = {name: pick(h) * factor for name, h in bucket.other.items() if name != "reported"}
        reported = bucket.other.get("reported")
        return Usage(
            wall_ms=pick(bucket.wall_ms) * factor,
            cpu_ms=pick(bucket.cpu_ms) * factor,
            cold_cpu_ms=cold_ms,
            peak_mb=pick(bucket.peak_mb),
            units=units,
            reported=Money(round(pick(reported) * factor)) if reported else None,
        )

    return _Predicted(
        usage(lambda h: h.quantile(0.05), 0.0),
        usage(lambda h: h.mean, 0.0),
        usage(lambda h: max(h.quantile(0.95), h.mean), profile.cold_ms.greatest),
    )


def _output_size(spec: ToolSpec, profile: Profile, size: int, args: Mapping[str, ValueFacts]) -> Size:
    measured = profile.output_size(size)
    if measured is not None:
        return measured
    same = [facts.size for facts in args.values() if facts.type.required == spec.signature.returns.required]
    return max(same, key=lambda s: s.units * s.count) if same else Size()


def _condition_after(spec: ToolSpec, args: Mapping[str, ValueFacts]) -> str:
    """A tool from image to image changes the condition of its input; what others return has none."""
    if spec.signature.returns != IMAGE:
        return ""
    images = [facts for facts in args.values() if facts.type.required == IMAGE and facts.condition]
    return f"{images[0].condition}/{spec.name}" if images else ""
