"""A plan and its request as numbers: what the learned baselines look at. Nothing here knows an outcome.

plan       how often each tool, which tool directly after which, steps, joins, forks, ends, depth,
           estimated price and latency (log10)
request    sizes per input type (log10), conditions, wanted types, language, number of inputs
both       each tool with each condition, and each tool times size (`crossed`: linear models need them, trees do not)
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from catp.training.baselines.prices import StepPrices, units_by_type
from catp.training.evaluate.candidates import CandidateSet, Floats, Option

__all__ = ["FeatureSpace"]

_MOST = 400
"""Columns: the features that most plans have; rarer ones say nothing that transfers."""

_LEAST = 3
"""Plans that must have a feature for it to be a column."""


class FeatureSpace:
    """Chooses columns on training sets and lays any set out in them."""

    def __init__(self, estimates: StepPrices, *, crossed: bool = False) -> None:
        self.estimates = estimates
        self.crossed = crossed
        self.names: tuple[str, ...] = ()

    def fit(self, sets: Sequence[CandidateSet]) -> Floats:
        """Choose the columns and return the matrix [options of all sets, columns]."""
        rows = [row for one in sets for row in self._rows(one)]
        seen = Counter(name for row in rows for name, value in row.items() if value)
        ranked = sorted((name for name, n in seen.items() if n >= _LEAST), key=lambda name: (-seen[name], name))
        self.names = tuple(ranked[:_MOST])
        return self._matrix(rows)

    def matrix(self, set: CandidateSet) -> Floats:
        """Return [options, columns] of one set."""
        return self._matrix(self._rows(set))

    def _matrix(self, rows: Sequence[Mapping[str, float]]) -> Floats:
        place = {name: number for number, name in enumerate(self.names)}
        found = np.zeros((len(rows), len(self.names)))
        for number, row in enumerate(rows):
            for name, value in row.items():
                column = place.get(name)
                if column is not None:
                    found[number, column] = value
        return found

    def _rows(self, one: CandidateSet) -> list[dict[str, float]]:
        request = _request(one)
        prices, times = self.estimates.price(one), self.estimates.latency(one)
        rows = []
        for option, price, ms in zip(one.options, prices, times, strict=True):
            row = {
                **request,
                **_plan(option),
                "price": math.log10(max(price, 1.0)),
                "latency": math.log10(max(ms, 0.01)),
            }
            rows.append({**row, **_crossed(one, option)} if self.crossed else row)
        return rows


def _request(one: CandidateSet) -> dict[str, float]:
    row: Counter[str] = Counter()
    for prefix, values in (("input", one.input_types), ("condition", one.conditions), ("wanted", one.wanted)):
        row.update(f"{prefix} {value}" for value in values if value)
    if one.lang:
        row[f"language {one.lang}"] += 1
    sizes = {f"size {kind}": math.log10(max(units, 1.0)) for kind, units in units_by_type(one).items()}
    return {**dict(row), **sizes}


def _plan(option: Option) -> dict[str, float]:
    children = Counter(parent for step in option.steps for parent in step.parents)
    row: Counter[str] = Counter(f"tool {step.tool}" for step in option.steps)
    depth: list[int] = []
    for step in option.steps:
        row.update(f"{option.steps[parent].tool} -> {step.tool}" for parent in step.parents)
        depth.append(1 + max((depth[parent] for parent in step.parents), default=0))
    for place, step in enumerate(option.steps):
        if not children[place]:
            row[f"end {step.tool}"] += 1
    row["steps"] = len(option.steps)
    row["depth"] = max(depth, default=0)
    row["joins"] = sum(len(set(step.parents)) > 1 for step in option.steps)
    row["forks"] = sum(count > 1 for count in children.values())
    return dict(row)


def _crossed(one: CandidateSet, option: Option) -> dict[str, float]:
    row: Counter[str] = Counter()
    for tool in option.tools:
        row.update(f"{tool} on {condition}" for condition in one.conditions if condition)
    tools = Counter(option.tools)
    sizes = {
        f"{tool} x size {kind}": count * math.log10(max(units, 1.0))
        for kind, units in units_by_type(one).items()
        for tool, count in tools.items()
    }
    return {**dict(row), **sizes}
