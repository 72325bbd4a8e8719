"""Predicting one call: usage from the tool's profile, priced by the tool's own price model.

What does not depend on use (a price per call) is exact. What does, and was never measured, is unpriced.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, PriceRange, Size, Startup, ValueFacts
from catp.planlang.types import Type
from catp.tools.curves import Curves, K
from catp.tools.errors import PriceModelError
from catp.tools.price import needs, total
from catp.tools.profile import Profile, ProfileBook
from catp.tools.sizes import input_units
from catp.tools.spec import StartingBackend, ToolSpec
from catp.tools.usage import Usage

__all__ = ["CatalogueEstimator", "main_argument"]

_log = logging.getLogger("catp.tools")

IMAGE = Type("image")


Uses: TypeAlias = tuple[Usage, Usage, Usage]
"""Usage at the low, expected and 95th-percentile end."""


class CatalogueEstimator:
    """Implements `catp.planlang.registry_view.Estimator` for the tools of one catalogue.

    Low and p95 are the 5th and 95th percentile of use at this input size, expected is the mean, with the mean cold
    start if no worker is warm; p95 includes the dearest cold start seen in any case, so that reserving it is safe.
    `catp.tools.curves` says how they follow from many calls and from few. Units a tool's author forecast count for as
    much as `curves.K` calls of about this size.

    The share of calls that fail is (failures + 0.1) / (calls + 10): ten more calls than were measured, of which 1 %
    fail, so that one failure is not taken for the end of a tool, nor one success for proof.
    """

    def __init__(self, specs: Mapping[str, ToolSpec], profiles: ProfileBook) -> None:
        self._specs, self._profiles = specs, profiles
        self._cold: dict[str, bool] = {}
        self._curves: dict[str, tuple[int, Curves]] = {}

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call of `tool`; raise `KeyError` if the catalogue does not have it."""
        spec = self._specs[tool]
        profile = self._profiles.get(spec.name, spec.version) or Profile()
        curves = self._fitted(spec.name, profile)
        size = input_units({name: facts.size for name, facts in args.items()})
        uses = _predict(spec, curves, size)
        cold = profile.cold_ms.count > 0 and self._starts_cold(spec)
        price, startup = _price(spec, uses, profile.cold_ms.mean if cold else 0.0)
        latency = Latency(uses[1].wall_ms, uses[2].wall_ms) if uses else Latency()
        started = profile.start_ms if profile.start_ms.count else profile.cold_ms
        first = Latency(started.mean, started.greatest) if cold else Latency()
        score = profile.accuracy_at(main_argument(args).condition if args else "")
        return CallEstimate(
            price=price,
            latency=Latency(latency.expected_ms + first.expected_ms, latency.p95_ms + first.p95_ms),
            output=ValueFacts(
                spec.signature.returns, _output_size(spec, profile, size, args), _condition_after(spec, args)
            ),
            accuracy=score.mean if score else spec.accuracy,
            failure=(profile.failures + 0.1) / (profile.calls + 10) if profile.calls else 0.0,
            count=profile.calls,
            startup=Startup(startup, first, _places(spec)) if cold else Startup(),
            timed=bool(curves) or latency.p95_ms > 0,
        )

    def _fitted(self, name: str, profile: Profile) -> Curves:
        """Fitting takes longer than a prediction, so it is done again only when the profile has grown."""
        known = self._curves.get(name)
        if known is None or known[0] != profile.calls:
            known = self._curves[name] = (profile.calls, Curves(profile))
        return known[1]

    def _starts_cold(self, spec: ToolSpec) -> bool:
        cold = self._cold.get(spec.name)
        if cold is None:
            cold = self._cold[spec.name] = isinstance(spec.backend, StartingBackend) and not spec.backend.warm()
        return cold


def main_argument(args: Mapping[str, ValueFacts]) -> ValueFacts:
    """Return the argument that makes a call easy or hard: the largest of those whose condition is known, if any."""
    return max(args.values(), key=lambda facts: (bool(facts.condition), facts.size.units * facts.size.count))


def _places(spec: ToolSpec) -> int:
    """How many calls of one step can each have to start a worker of their own."""
    if not isinstance(spec.backend, StartingBackend):
        return 1
    return min(spec.backend.places(), spec.limits.concurrency or spec.backend.places())


def _price(spec: ToolSpec, uses: Uses | None, cold_ms: float) -> tuple[PriceRange, Money]:
    """Return the price of a call, and how much of the expected price is its cold start."""
    if uses is None:
        if needs(spec.price) != frozenset():
            return UNPRICED, Money(0)
        uses = (Usage(), Usage(), Usage())
    low_use, warm_use, p95_use = uses
    start = replace(warm_use, cold_cpu_ms=cold_ms)
    try:
        prices = [total(spec.price.charge(usage)) for usage in (low_use, warm_use, start, p95_use)]
    except PriceModelError as error:  # one tool's broken price must not stop plans that do without it
        _log.warning("%s has no price: %s", spec.name, error)
        return UNPRICED, Money(0)
    known = [price for price in prices if price is not None]
    if len(known) < len(prices):
        return UNPRICED, Money(0)
    low, warm, expected, p95 = known
    return PriceRange(Money(min(low, warm)), expected, Money(max(p95, expected))), Money(max(0, expected - warm))


def _predict(spec: ToolSpec, curves: Curves, size: int) -> Uses | None:
    """Return the use of a call: measured, forecast, or both mixed; None if nothing is known."""
    declared = spec.forecast(size) if spec.forecast is not None else None
    if not curves:
        return declared
    measured = curves.at(size)
    if declared is None:
        return measured
    calls = curves.calls_near(size)
    weight = calls / (calls + K)
    low, expected, p95 = (_mixed(m, d, weight) for m, d in zip(measured, declared, strict=True))
    return low, expected, p95


def _mixed(measured: Usage, declared: Usage, weight: float) -> Usage:
    units = {
        name: weight * amount + (1.0 - weight) * declared.units.get(name, amount)
        for name, amount in measured.units.items()
    }
    return replace(measured, units=units)


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
