"""Predicting one call: usage from the tool's profile, priced by the tool's own price model.

What does not depend on use (a price per call) is exact. What does, and was never measured, is unpriced.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, PriceRange, Size, Startup, ValueFacts
from catp.planlang.types import Type
from catp.tools.calibration import TARGET, Calibration, calibrated
from catp.tools.charges import charges_of
from catp.tools.curves import Curves, K
from catp.tools.errors import PriceModelError
from catp.tools.price import needs, total
from catp.tools.profile import Profile, ProfileBook
from catp.tools.share import Share
from catp.tools.sizes import input_units
from catp.tools.spec import StartingBackend, ToolSpec
from catp.tools.usage import Usage

__all__ = ["LEVELS", "CatalogueEstimator", "Forecast", "main_argument"]

_log = logging.getLogger("catp.tools")

IMAGE = Type("image")

T = TypeVar("T", bound=float)

LEVELS = (0.5, 0.9, 0.95, 0.99)
"""The quantiles a forecast gives."""
_LOW = 0.05
_MOST_TOLD = 4096
_NEVER_MEASURED = Profile()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one call is predicted to cost and take at each of `LEVELS`, and how likely it fails.

    `price` is None if the price is unknown, `latency_ms` if the time is. `calls` were measured.
    """

    price: Mapping[float, Money] | None
    latency_ms: Mapping[float, float] | None
    failure: Share
    calls: int


class CatalogueEstimator:
    """Implements `catp.planlang.registry_view.Estimator` for the tools of one catalogue.

    Low is the 5th percentile of the price at this input size, expected follows the mean, p95 is the percentile whose
    level `catp.tools.calibration` corrects until it covers 95 % of the calls. `catp.tools.curves` says how they follow
    from many calls and from few. Units a tool's author forecast count for as much as `curves.K` calls of about this
    size.

    Where no warm worker waits, the expected figures include the mean cold start and the p95 that of 95 %. An estimator
    keeps what it found on the first look, so that the steps of a plan are weighed alike, and its p95 includes a cold
    start in any case: a quote may be run when the workers have gone. A `live` one, for reservations, looks each time.
    """

    def __init__(self, specs: Mapping[str, ToolSpec], profiles: ProfileBook, *, live: bool = False) -> None:
        self._specs, self._profiles, self._live = specs, profiles, live
        self._cold: dict[str, bool] = {}
        self._curves: dict[str, tuple[int, Curves]] = {}
        self._told: dict[tuple[object, ...], tuple[tuple[object, ...], CallEstimate]] = {}

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call of `tool`; raise `KeyError` if the catalogue does not have it.

        The calls of a map are much alike: what was predicted is said again while nothing was learned in between.
        """
        view = self._view(tool, args)
        state = (view.profile.calls, view.profile.calibration, view.overall, view.cold)
        asked = (tool, *args.items())
        known = self._told.get(asked)
        if known is not None and known[0] == state:
            return known[1]
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        estimate = self._estimate(view, args)
        self._told[asked] = (state, estimate)
        return estimate

    def _estimate(self, view: "_View", args: Mapping[str, ValueFacts]) -> CallEstimate:
        spec, profile = view.spec, view.profile
        expected, high = view.expected(), view.quantile(TARGET)
        price, startup = _price_range(view, view.quantile(_LOW), expected, high)
        latency = _latency(expected, high)
        # as long as only cold calls were timed, nobody knows which part of their time was the start
        untimed = profile.start_ms.count and not view.curves.timed_warm
        first = _first_latency(profile) if view.cold or untimed else Latency()
        score = profile.accuracy_at(main_argument(args).condition if args else "")
        return CallEstimate(
            price=price,
            latency=Latency(latency.expected_ms + first.expected_ms, latency.p95_ms + first.p95_ms),
            output=ValueFacts(
                spec.signature.returns, _output_size(spec, profile, view.size, args), _condition_after(spec, args)
            ),
            accuracy=score.mean if score else spec.accuracy,
            failure=(profile.failure.value or 0.0) if profile.calls else 0.0,
            count=profile.calls,
            startup=Startup(startup, first, _places(spec)) if view.cold else Startup(),
            timed=bool(view.curves) or latency.p95_ms > 0,
        )

    def forecast(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> Forecast:
        """Predict the quantiles of one call of `tool`; raise `KeyError` if the catalogue does not have it."""
        view = self._view(tool, args)
        prices, times = [], []
        started = view.profile.start_ms if view.profile.start_ms.count else view.profile.cold_ms
        for level in LEVELS:
            used, cold_ms, start_ms = view.quantile(level), 0.0, 0.0
            if view.cold_in(level):
                cold_ms = view.profile.cold_ms.quantile(level)
            if view.cold:
                start_ms = started.quantile(level)
            prices.append(_charge(view.spec, None if used is None else replace(used, cold_cpu_ms=cold_ms)))
            times.append(None if used is None else used.wall_ms + start_ms)
        known = [price for price in prices if price is not None]
        timed = [time for time in times if time is not None]
        return Forecast(
            dict(zip(LEVELS, _rising(known), strict=True)) if len(known) == len(prices) else None,
            dict(zip(LEVELS, _rising(timed), strict=True)) if view.curves or any(timed) else None,
            view.profile.failure,
            view.profile.calls,
        )

    def _view(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> "_View":
        spec = self._specs[tool]
        profile = self._profiles.get(spec.name, spec.version) or _NEVER_MEASURED
        size = input_units({name: facts.size for name, facts in args.items()})
        cold = profile.cold_ms.count > 0 and self._starts_cold(spec)
        return _View(
            spec, profile, self._profiles.calibration, self._fitted(spec.name, profile), size, cold, self._live
        )

    def _fitted(self, name: str, profile: Profile) -> Curves:
        """Fitting takes longer than a prediction, so it is done again only when the profile has grown."""
        known = self._curves.get(name)
        if known is None or known[0] != profile.calls:
            known = self._curves[name] = (profile.calls, Curves(profile))
        return known[1]

    def _starts_cold(self, spec: ToolSpec) -> bool:
        cold = None if self._live else self._cold.get(spec.name)
        if cold is None:
            cold = self._cold[spec.name] = isinstance(spec.backend, StartingBackend) and not spec.backend.warm()
        return cold


@dataclass(frozen=True, slots=True)
class _View:
    """What the prediction of one call is made from."""

    spec: ToolSpec
    profile: Profile
    overall: Calibration
    curves: Curves
    size: int
    cold: bool
    live: bool

    def cold_in(self, level: float) -> bool:
        """True if the price at this level includes a cold start."""
        return self.cold or (level >= TARGET and not self.live)

    def expected(self) -> Usage | None:
        """The mean use of a warm call: measured, forecast, or both mixed; None if nothing is known."""
        return self._with_declared(self.curves.expected(self.size) if self.curves else None, 1)

    def quantile(self, level: float) -> Usage | None:
        """The use a warm call stays below with probability `level`, corrected by what the p95 covered so far."""
        own, overall = self.profile.calibration, self.overall
        price, latency = calibrated(level, own.price, overall.price), calibrated(level, own.latency, overall.latency)
        measured = self.curves.quantile(self.size, price, latency) if self.curves else None
        return self._with_declared(measured, 0 if level < 0.5 else 1 if level == 0.5 else 2)

    def _with_declared(self, measured: Usage | None, end: int) -> Usage | None:
        if self.spec.forecast is None:
            return measured
        declared = self.spec.forecast(self.size)[end]
        if measured is None:
            return declared
        calls = self.curves.calls_near(self.size)
        return _mixed(measured, declared, calls / (calls + K))


def main_argument(args: Mapping[str, ValueFacts]) -> ValueFacts:
    """Return the argument that makes a call easy or hard: the largest of those whose condition is known, if any."""
    return max(args.values(), key=lambda facts: (bool(facts.condition), facts.size.units * facts.size.count))


def _places(spec: ToolSpec) -> int:
    """How many calls of one step can each have to start a worker of their own."""
    if not isinstance(spec.backend, StartingBackend):
        return 1
    return min(spec.backend.places(), spec.limits.concurrency or spec.backend.places())


def _rising(values: Sequence[T]) -> list[T]:
    """The calibrated p95 bounds the lower quantiles, and is bounded by the higher ones."""
    middle = LEVELS.index(TARGET)
    return [min(v, values[middle]) if place < middle else max(v, values[middle]) for place, v in enumerate(values)]


def _price_range(
    view: _View, low_use: Usage | None, warm_use: Usage | None, high_use: Usage | None
) -> tuple[PriceRange, Money]:
    """Return the price of a call, and how much of the expected price is its cold start."""
    cold_ms = view.profile.cold_ms
    if high_use is not None and view.cold_in(TARGET) and cold_ms.count:
        high_use = replace(high_use, cold_cpu_ms=cold_ms.quantile(TARGET))
    low, warm, p95 = (_charge(view.spec, use) for use in (low_use, warm_use, high_use))
    expected = _charge(view.spec, replace(warm_use, cold_cpu_ms=cold_ms.mean)) if view.cold and warm_use else warm
    if low is None or warm is None or p95 is None or expected is None:
        return UNPRICED, Money(0)
    return PriceRange(Money(min(low, warm)), expected, Money(max(p95, expected))), Money(max(0, expected - warm))


def _charge(spec: ToolSpec, usage: Usage | None) -> Money | None:
    """Return the price of some use; None if it, or the use that it depends on, is unknown."""
    if usage is None:
        if needs(spec.price) != frozenset():
            return None
        usage = Usage()
    try:
        return total(charges_of(spec.price, usage))
    except PriceModelError as error:  # one tool's broken price must not stop plans that do without it
        _log.warning("%s has no price: %s", spec.name, error)
        return None


def _latency(expected: Usage | None, high: Usage | None) -> Latency:
    """The time of a warm call; 0 if nothing is known of it."""
    if expected is None or high is None:
        return Latency()
    return Latency(expected.wall_ms, max(expected.wall_ms, high.wall_ms))


def _first_latency(profile: Profile) -> Latency:
    """What a cold start adds to the time."""
    started = profile.start_ms if profile.start_ms.count else profile.cold_ms
    return Latency(started.mean, started.quantile(TARGET))


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
