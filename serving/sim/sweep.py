"""Many simulations of one trace: policies, loads, prediction errors and seeds, and the means over the seeds."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any

from catp.serving.sim.replay import Replica, simulate
from catp.serving.sim.report import Report, report
from catp.serving.sim.traces import Trace
from catp.serving.sim.workload import tasks

__all__ = ["Cell", "Sweep", "grid", "mean", "saturated"]


_BACKLOG = 32
"""Requests that wait in a closed loop: more than start in a step, and few enough to be ordered in no time."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulation.

    Args:
        policy: as `catp.serving.policies.registry.policy` takes it.
        load: arrivals per second as a share of the capacity.
        error: mean relative error of predicted lengths.
        seed: of classes and predictions.
        predictor: name in `catp.serving.sim.workload.PREDICTORS`.
        budget: token budget of a step; None: the controller's.
        shed: end requests that cannot meet their SLO any more.
    """

    policy: str
    load: float
    error: float = 0.0
    seed: int = 0
    predictor: str = "true"
    budget: int | None = 512
    shed: bool = False


@dataclass(frozen=True)
class Sweep:
    """A trace on a replica; `capacity` is the rate in requests per second that load 1 stands for."""

    trace: Trace
    replica: Replica
    capacity: float

    def run(self, cell: Cell) -> Report:
        """Simulate one cell."""
        work = tasks(
            self.trace.at_rate(cell.load * self.capacity), cell.seed, error=cell.error, predictor=cell.predictor
        )
        return report(simulate(work, replace(self.replica, budget=cell.budget), cell.policy, shed=cell.shed))

    def run_all(
        self, cells: Sequence[Cell], jobs: int = 1, done: Callable[[Cell, Report], Any] | None = None
    ) -> dict[Cell, Report]:
        """Simulate cells, in so many processes; the result is in the order of `cells`. `done` hears of each at once."""
        found: dict[Cell, Report] = {}
        for cell, result in self._each(cells, jobs):
            found[cell] = result
            if done is not None:
                done(cell, result)
        return {cell: found[cell] for cell in cells}

    def _each(self, cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Cell, Report]]:
        if jobs == 1:
            for cell in cells:
                yield cell, self.run(cell)
            return
        with ProcessPoolExecutor(jobs) as pool:
            running = {pool.submit(self.run, cell): cell for cell in cells}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            finally:
                for future in running:
                    future.cancel()


def grid(
    policies: Sequence[str], loads: Sequence[float], errors: Sequence[float], seeds: int, **more: Any
) -> list[Cell]:
    """Return the cells of all combinations; `more` are other fields of all of them."""
    return [
        Cell(policy, load, error, seed, **more)
        for policy, load, error, seed in product(policies, loads, errors, range(seeds))
    ]


def saturated(trace: Trace, replica: Replica) -> float:
    """Return the requests per second that a replica serves if some always wait, first come first served."""
    return report(simulate(tasks(trace, 0), replica, "fcfs", backlog=_BACKLOG)).throughput


def mean(reports: Sequence[Report]) -> dict[str, Any]:
    """Return the means of seeds' figures, and the spread of attainment between them (largest less smallest)."""
    documents = [one.document() for one in reports]
    told = {name: _mean([one[name] for one in documents]) for name in documents[0]}
    attained = [one.attainment for one in reports]
    return {**told, "attainment_spread": max(attained) - min(attained)}


def _mean(values: Sequence[Any]) -> Any:
    first = values[0]
    if isinstance(first, list):
        return [fmean(column) for column in zip(*values, strict=True)]
    if isinstance(first, dict):
        return {name: fmean(one[name] for one in values if name in one) for name in first}
    return fmean(values)
