"""What came out of a simulation: who was served in time, how long it took, and what it took to decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catp.serving.engine.errors import FinishReason
from catp.serving.sim.workload import SloClass

__all__ = ["Outcome", "Outcomes", "Report", "report"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended. Times in seconds on the simulated clock; `finish` None: it was refused at once."""

    number: int
    slo: SloClass
    arrival: float
    first: float | None
    ended: float
    output: int
    finish: FinishReason | None
    cached: int = 0
    preemptions: int = 0

    @property
    def served(self) -> bool:
        """Whether it got all its tokens."""
        return self.finish in ("stop", "length")

    @property
    def ttft(self) -> float:
        """Seconds to the first token; of a served request."""
        assert self.first is not None
        return self.first - self.arrival

    @property
    def tpot(self) -> float:
        """Seconds between tokens in the mean; of a served request."""
        return (self.e2e - self.ttft) / max(self.output - 1, 1)

    @property
    def e2e(self) -> float:
        """Seconds to the end."""
        return self.ended - self.arrival

    @property
    def met(self) -> bool:
        """Whether it was served as its class expects."""
        return self.served and self.slo.met(self.ttft, self.e2e, self.output)


@dataclass(frozen=True)
class Outcomes:
    """A whole simulation.

    Args:
        requests: by number.
        steps: of the engine, those in jumps counted one by one.
        busy, span: seconds in steps, and from the first arrival to the last end.
        kv_mean, kv_peak: share of blocks in use, over time and at most.
        decisions: wall-clock seconds of each `schedule()`; a jump is one.
    """

    requests: tuple[Outcome, ...]
    steps: int
    busy: float
    span: float
    kv_mean: float
    kv_peak: float
    decisions: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """Figures of a simulation; times in seconds, shares between 0 and 1. Quantiles are (p50, p90, p99) of those served.

    Args:
        requests, served, refused: how many; `refused` counts those given up as hopeless, too.
        attainment, by_class: share of all requests served within their SLO.
        goodput, throughput: requests per second, within SLO and at all.
        late: share of the served ones that missed their SLO.
        e2e_met_p99: of those within SLO; the tail that demotion makes is in `e2e` only.
    """

    requests: int
    served: int
    refused: int
    attainment: float
    by_class: Mapping[str, float]
    goodput: float
    throughput: float
    late: float
    ttft: tuple[float, float, float]
    tpot: tuple[float, float, float]
    e2e: tuple[float, float, float]
    e2e_met_p99: float
    cached: int
    preemptions: int
    steps: int
    busy: float
    kv_mean: float
    kv_peak: float
    decision_p50: float
    decision_p99: float

    def document(self) -> dict[str, Any]:
        """Return it for JSON, rounded to what is meant; without wall-clock times it is the same in every run."""
        return {name: _rounded(value) for name, value in vars(self).items()}


def report(outcomes: Outcomes) -> Report:
    """Summarise a simulation."""
    every = outcomes.requests
    served = [one for one in every if one.served]
    met = [one for one in every if one.met]
    classes = sorted({one.slo.name for one in every})
    return Report(
        requests=len(every),
        served=len(served),
        refused=len(every) - len(served),
        attainment=len(met) / len(every),
        by_class={name: _share([one for one in every if one.slo.name == name]) for name in classes},
        goodput=len(met) / outcomes.span,
        throughput=len(served) / outcomes.span,
        late=1 - len(met) / len(served) if served else 0.0,
        ttft=_quantiles([one.ttft for one in served]),
        tpot=_quantiles([one.tpot for one in served]),
        e2e=_quantiles([one.e2e for one in served]),
        e2e_met_p99=_quantiles([one.e2e for one in met])[2],
        cached=sum(one.cached for one in every),
        preemptions=sum(one.preemptions for one in every),
        steps=outcomes.steps,
        busy=outcomes.busy,
        kv_mean=outcomes.kv_mean,
        kv_peak=outcomes.kv_peak,
        decision_p50=_quantiles(outcomes.decisions)[0],
        decision_p99=_quantiles(outcomes.decisions)[2],
    )


def _share(group: Sequence[Outcome]) -> float:
    return sum(one.met for one in group) / len(group)


def _quantiles(values: Sequence[float]) -> tuple[float, float, float]:
    if not values:
        return (0.0, 0.0, 0.0)
    p50, p90, p99 = np.quantile(values, (0.5, 0.9, 0.99)).tolist()
    return (p50, p90, p99)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, tuple):
        return [_rounded(one) for one in value]
    return {name: _rounded(one) for name, one in value.items()} if isinstance(value, Mapping) else value
