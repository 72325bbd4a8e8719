"""Step prices and times estimated from measured plans: what "cheapest" means before anything has run.

step      per tool and kind of request, least squares on the sizes of the request's inputs (one coefficient per
          input type), times a factor for what the step directly follows (after an upscaler images are larger)
option    price: the sum over steps; latency: the longest path
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from catp.training.baselines.chooser import LISTED, Prices
from catp.training.evaluate.candidates import CandidateSet, Floats, Option, StepUse

__all__ = ["CrossFittedPrices", "StepPrices", "units_by_type"]

_FEW = 5
"""Steps below which a mean says more than a line; also how much evidence a factor must outweigh."""


def units_by_type(set: CandidateSet) -> dict[str, float]:
    """Return the summed sizes of the inputs by their types, without types of which a size is unknown."""
    found: dict[str, float] = defaultdict(float)
    pairs = list(zip(set.input_types, set.sizes, strict=False))
    unknown = {kind for kind, size in pairs if size is None}
    for kind, size in pairs:
        if size is not None and kind not in unknown:
            found[kind] += size
    return dict(found)


@dataclass(frozen=True, slots=True)
class _Use:
    """A step, the tools it directly follows, and the sizes of the request it was part of."""

    tool: str
    after: tuple[str, ...]
    units: Mapping[str, float]
    step: StepUse

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self.units))


@dataclass(frozen=True, slots=True)
class _Line:
    """An estimate. Predictions stay within what was seen, with room to half and double."""

    mean: float
    low: float
    high: float
    intercept: float
    slopes: Mapping[str, float]

    def at(self, units: Mapping[str, float]) -> float:
        value = self.intercept + sum(slope * units[kind] for kind, slope in self.slopes.items())
        return min(max(value, self.low / 2), self.high * 2)


class _Quantity:
    """Estimates one figure of steps (price or time)."""

    def __init__(self, uses: Sequence[_Use], of: Callable[[StepUse], float], sized: bool) -> None:
        known = [(use, value) for use in uses if np.isfinite(value := of(use.step))]
        by_tool: dict[str, list[tuple[_Use, float]]] = defaultdict(list)
        by_kinds: dict[tuple[str, tuple[str, ...]], list[tuple[_Use, float]]] = defaultdict(list)
        for use, value in known:
            by_tool[use.tool].append((use, value))
            by_kinds[use.tool, use.kinds].append((use, value))
        self._tools = {tool: _line(rows, ()) for tool, rows in by_tool.items()}
        self._lines = {k: _line(rows, k[1]) for k, rows in by_kinds.items() if sized and len(rows) >= _FEW}
        self._factors = self._follow(known) if sized else {}
        self._typical = float(np.median([line.mean for line in self._tools.values()])) if self._tools else 0.0

    def estimate(self, use: _Use, listed: Mapping[str, float]) -> float:
        """Return the figure; of a tool never seen, what its profile lists, else what is typical of tools."""
        line = self._line(use)
        if line is None:
            return listed.get(use.tool, self._typical)
        return line.at(use.units) * self._factors.get((use.tool, use.after), 1.0)

    def knows(self, use: _Use) -> bool:
        """Whether the tool was measured."""
        return self._line(use) is not None

    def _line(self, use: _Use) -> _Line | None:
        return self._lines.get((use.tool, use.kinds)) or self._tools.get(use.tool)

    def _follow(self, known: Iterable[tuple[_Use, float]]) -> dict[tuple[str, tuple[str, ...]], float]:
        """Actual over estimated by what a step follows, drawn towards 1 while there are few."""
        sums: dict[tuple[str, tuple[str, ...]], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        for use, value in known:
            line = self._line(use)
            assert line is not None
            for place, amount in enumerate((1.0, value, line.at(use.units))):
                sums[use.tool, use.after][place] += amount
        return {
            key: 1 + count / (count + _FEW) * (actual / fitted - 1) if fitted > 0 else 1.0
            for key, (count, actual, fitted) in sums.items()
        }


class StepPrices:
    """Fitted prices and times of steps; `by="mean"` takes a plain mean per tool, whatever the sizes."""

    def __init__(self, by: Literal["size", "mean"] = "size") -> None:
        self.by = by
        self.fit([])

    def fit(self, sets: Sequence[CandidateSet]) -> "StepPrices":
        """Learn from measured steps and return itself; a step without a price or time teaches only the other."""
        uses = [use for one in sets for option in one.options for use in _uses(units_by_type(one), option)]
        sized = self.by == "size"
        self._price = _Quantity(uses, lambda step: step.price, sized)
        self._ms = _Quantity(uses, lambda step: step.ms, sized)
        return self

    def price(self, set: CandidateSet, prices: Prices = LISTED) -> Floats:
        """Return the estimated price of each option, nano-USD."""
        units = units_by_type(set)
        return np.array([
            sum(self._price.estimate(use, prices.listed) * prices.factor(use.tool) for use in _uses(units, option))
            for option in set.options
        ])  # fmt: skip

    def latency(self, set: CandidateSet, prices: Prices = LISTED) -> Floats:
        """Return the estimated length of each option's critical path, ms."""
        units = units_by_type(set)
        return np.array([self._path(list(_uses(units, option)), prices) for option in set.options])

    def step(self, tool: str, after: Sequence[str], units: Mapping[str, float]) -> tuple[float, float] | None:
        """Return price (nano-USD) and time (ms) of a step, None for a tool that was never measured.

        Args:
            tool: what is called.
            after: the tools it directly follows.
            units: sizes of the request's inputs by type, as `units_by_type` gives them.
        """
        use = _Use(tool, tuple(sorted(after)), units, StepUse(tool, ()))
        if not self._price.knows(use):
            return None
        return self._price.estimate(use, {}), self._ms.estimate(use, {})

    def _path(self, uses: Sequence[_Use], prices: Prices) -> float:
        ends: list[float] = []
        for use in uses:
            begin = max((ends[parent] for parent in use.step.parents), default=0.0)
            ends.append(begin + self._ms.estimate(use, prices.listed_ms))
        return max(ends, default=0.0)


class CrossFittedPrices:
    """`StepPrices` that never price a set from its own measurements: fitted without each tenth of the sets in turn."""

    _PARTS = 10

    def __init__(self) -> None:
        self._all = StepPrices()
        self._without: dict[str, StepPrices] = {}

    def fit(self, sets: Sequence[CandidateSet]) -> "CrossFittedPrices":
        """Fit once on all sets, for new ones, and once without each part; return itself."""
        self._all = StepPrices().fit(sets)
        self._without = {}
        for part in range(min(self._PARTS, len(sets))):
            estimates = StepPrices().fit([one for place, one in enumerate(sets) if place % self._PARTS != part])
            self._without.update({one.id: estimates for one in sets[part :: self._PARTS]})
        return self

    def price(self, set: CandidateSet, prices: Prices = LISTED) -> Floats:
        """Return the estimated price of each option, nano-USD."""
        return self._without.get(set.id, self._all).price(set, prices)


def _uses(units: Mapping[str, float], option: Option) -> Iterator[_Use]:
    for step in option.steps:
        yield _Use(step.tool, tuple(sorted(option.steps[parent].tool for parent in step.parents)), units, step)


def _line(rows: Sequence[tuple[_Use, float]], kinds: Sequence[str]) -> _Line:
    """Least squares on the sizes that vary, with slopes drawn a little towards 0."""
    values = np.array([value for _, value in rows])
    mean, low, high = float(values.mean()), float(values.min()), float(values.max())
    moving = [kind for kind in kinds if len({use.units[kind] for use, _ in rows}) > 1]
    if not moving:
        return _Line(mean, low, high, mean, {})
    x = np.array([[use.units[kind] for kind in moving] for use, _ in rows])
    centre, spread = x.mean(axis=0), x.std(axis=0)
    z = (x - centre) / spread
    slopes = np.linalg.solve(z.T @ z + np.eye(len(moving)), z.T @ (values - mean)) / spread
    return _Line(mean, low, high, float(mean - slopes @ centre), dict(zip(moving, slopes.tolist(), strict=True)))
