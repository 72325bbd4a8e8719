"""What is in a set of trajectories: counts, shares and quantiles."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catp.training.data.graph import shape_of
from catp.training.data.trajectory import Trajectory
from catp.training.evaluate.candidates import CandidateSet, candidate_sets

__all__ = ["ALPHAS", "QUANTILES", "DataStats", "data_stats"]

ALPHAS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
"""The weights of quality that the benchmark sweeps."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(slots=True)
class DataStats:
    """Counts over records, inputs (candidate sets) and plans.

    `shapes` counts records by what their graph has: `fork`, `join`, `parallel` or else `chain`, as `shape_of` says;
    besides, `map` (a tool called per element); `empty` alone. `quantiles` maps `score`, `price_usd` and `latency_ms`
    to their values at `QUANTILES`. `cheapest_best` maps alpha to the share of inputs, with at least two plans and a
    price scale, in which the cheapest plan has the highest utility; `inputs_compared` counts those inputs.
    """

    records: int = 0
    tasks: int = 0
    inputs: int = 0
    distinct_plans: int = 0
    plans_per_input: dict[str, float] = field(default_factory=dict)
    tools: Counter[str] = field(default_factory=Counter)
    shapes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    datasets: Counter[str] = field(default_factory=Counter)
    policies: Counter[str] = field(default_factory=Counter)
    splits: dict[str, Counter[str]] = field(default_factory=dict)
    missing_scores: int = 0
    suspect_scores: int = 0
    unpriced: int = 0
    simulated: int = 0
    quantiles: dict[str, list[float]] = field(default_factory=dict)
    cheapest_best: dict[float, float] = field(default_factory=dict)
    inputs_compared: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        names = (name for name in self.__slots__ if name not in ("cheapest_best", "quantiles"))
        return {name: getattr(self, name) for name in names} | {
            "quantiles": {"at": list(QUANTILES), **self.quantiles},
            "cheapest_best": [{"alpha": alpha, "share": share} for alpha, share in self.cheapest_best.items()],
        }


def data_stats(records: Iterable[Trajectory]) -> DataStats:
    """Count records, which must come candidate set by candidate set.

    Raises:
        ValueError: the records of a candidate set are not together.
    """
    counting = _Counting()
    best = np.zeros(len(ALPHAS))
    for found in candidate_sets(counting.watch(records)):
        if len(found) >= 2:
            counting.stats.inputs_compared += 1
            best += [_cheapest_is_best(found, alpha) for alpha in ALPHAS]
    stats = counting.finish()
    if stats.inputs_compared:
        stats.cheapest_best = dict(zip(ALPHAS, (best / stats.inputs_compared).tolist(), strict=True))
    return stats


def _cheapest_is_best(found: CandidateSet, alpha: float) -> bool:
    utility = found.utility(alpha)
    return bool(utility[np.flatnonzero(found.prices == found.prices.min())].max() >= utility.max() - 1e-12)


class _Counting:
    """Counts the records that pass through."""

    def __init__(self) -> None:
        self.stats = DataStats()
        self._groups: set[str] = set()
        self._plans: set[str] = set()
        self._sizes: Counter[str] = Counter()
        self._values: dict[str, list[float]] = {"score": [], "price_usd": [], "latency_ms": []}

    def watch(self, records: Iterable[Trajectory]) -> Iterator[Trajectory]:
        """Count each record; hand on those that can be compared by price and score."""
        for record in records:
            self._count(record)
            if record.objective.price_scale_usd is not None:
                yield record

    def finish(self) -> DataStats:
        stats, sizes = self.stats, list(self._sizes.values())
        stats.tasks, stats.inputs, stats.distinct_plans = len(self._groups), len(sizes), len(self._plans)
        if sizes:
            stats.plans_per_input = {"min": min(sizes), "mean": float(np.mean(sizes)), "max": max(sizes)}
        stats.quantiles = {k: np.quantile(v, QUANTILES).tolist() for k, v in self._values.items() if v}
        return stats

    def _count(self, record: Trajectory) -> None:
        stats, outcome = self.stats, record.outcome
        stats.records += 1
        self._groups.add(record.group)
        self._plans.add(record.plan.canonical_hash or _graph_key(record))
        self._sizes[record.candidate_set] += 1
        stats.tools.update(node.tool for node in record.plan.nodes)
        stats.shapes.update(_shapes(record))
        stats.statuses[outcome.status] += 1
        stats.languages[record.request.lang or "unknown"] += 1
        stats.datasets[record.dataset] += 1
        stats.policies[record.policy.name or "unknown"] += 1
        for protocol, side in (record.split.model_dump() if record.split is not None else {}).items():
            if side is not None:
                stats.splits.setdefault(protocol, Counter())[side] += 1
        stats.missing_scores += outcome.score is None
        stats.suspect_scores += outcome.score_suspect
        stats.unpriced += outcome.price_usd is None
        stats.simulated += (record.provenance.source or "").startswith("simulated")
        for name, values in self._values.items():
            value = getattr(outcome, name)
            if value is not None:
                values.append(float(value))


def _shapes(record: Trajectory) -> set[str]:
    mapped = {"map"} if any(event.element is not None for event in record.events) else set()
    return {*shape_of(record.plan), *mapped} if record.plan.nodes else {"empty"}


def _graph_key(record: Trajectory) -> str:
    place = {node.id: str(number) for number, node in enumerate(record.plan.nodes)}
    edges = sorted([place.get(end, end) for end in edge[:2]] for edge in record.plan.edges)
    return repr(([node.tool for node in record.plan.nodes], edges))
