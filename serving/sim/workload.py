"""What an engine is asked to do: a trace's requests with service classes, due times and predicted lengths.

Classes and prediction errors are drawn by seed, independently of each other and of the policy, so every policy meets
the same requests. A request's due time may rest on its predicted length, never on the true one, which only the
simulated program and the judge (`Job.on_time`) know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, exp, sqrt

import numpy as np

from catp.serving.engine.request import Request, Slo
from catp.serving.policies.protocol import Interval
from catp.serving.sim.traces import Arrival, Trace

__all__ = ["CLASSES", "PREDICTORS", "SloClass", "Task", "error_sigma", "tasks"]


@dataclass(frozen=True, slots=True)
class SloClass:
    """What a class of callers expects; seconds from arrival, None: nothing of that kind.

    Args:
        name: what it is called; also the tenant of its requests.
        share: of all requests.
        ttft, tpot: most to the first token, and between tokens in the mean.
        e2e, per_token: most to the end: `e2e` and so much more per output token.
        priority: of its requests.
    """

    name: str
    share: float
    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None
    per_token: float = 0.0
    priority: int = 0

    def slo(self, length: float) -> Slo:
        """Return what it expects of a request with so many output tokens."""
        e2e = None if self.e2e is None else self.e2e + self.per_token * length
        return Slo(ttft=self.ttft, tpot=self.tpot, e2e=e2e)

    def met(self, ttft: float, e2e: float, output: int) -> bool:
        """Return whether a finished request is as expected."""
        slo = self.slo(output)
        tpot = (e2e - ttft) / max(output - 1, 1)
        return not (
            (slo.ttft is not None and ttft > slo.ttft)
            or (slo.tpot is not None and tpot > slo.tpot)
            or (slo.e2e is not None and e2e > slo.e2e)
        )


CLASSES = (
    SloClass("premium", 0.3, ttft=0.5, tpot=0.1, priority=1),
    SloClass("standard", 0.7, e2e=10.0, per_token=0.06),
)
"""Chat as most people know it: 30 % want an answer to begin at once, 70 % want it within 10 s and 60 ms a token."""


@dataclass(frozen=True, slots=True)
class Task:
    """One request to come: what arrived, its class, and the length that a predictor sees for it."""

    number: int
    arrival: Arrival
    slo: SloClass
    length: float

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.number)

    def request(self, at: float, drop_late: bool) -> Request:
        """Return the request as a server submits it at that time."""
        return Request(
            self.id, self.arrival.prompt(), self.arrival.bound, arrival=at, tenant=self.slo.name,
            priority=self.slo.priority, slo=self.slo.slo(self.length), drop_late=drop_late, kind=self.arrival.kind,
        )  # fmt: skip

    def interval(self) -> Interval:
        """Return the predicted length; of a predictor that does not know how far it errs."""
        return Interval(self.length, self.length, self.length)


def _shuffled(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(lengths)


def _inverted(lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = np.argsort(lengths, kind="stable")
    turned = np.empty_like(lengths)
    turned[order] = lengths[order[::-1]]
    return turned


PREDICTORS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "true": lambda lengths, rng: lengths,
    "shuffled": _shuffled,
    "inverted": _inverted,
    "constant": lambda lengths, rng: np.full_like(lengths, lengths.mean()),
    "low": lambda lengths, rng: np.maximum(lengths / 4, 1.0),
}
"""Predictors of output lengths: right, and broken in four ways; each gets the true lengths and a generator."""


def error_sigma(error: float) -> float:
    """Return the sigma of a log-normal factor of median 1 whose mean distance from 1 is `error`.

    E|X - 1| = exp(s^2 / 2) * erf(s / sqrt 2) for X = exp(s Z); solved by bisection.
    """
    low, high = 0.0, 4.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if exp(middle**2 / 2) * erf(middle / sqrt(2)) < error else (low, middle)
    return (low + high) / 2


def tasks(
    trace: Trace, seed: int, *, error: float = 0.0, predictor: str = "true", classes: tuple[SloClass, ...] = CLASSES
) -> list[Task]:
    """Draw classes and predictions for a trace.

    Args:
        trace: requests.
        seed: of both draws.
        error: mean relative error of the predicted lengths.
        predictor: name in `PREDICTORS`.
        classes: with shares that sum to 1.
    """
    count = len(trace.arrivals)
    shares = [one.share for one in classes]
    chosen = np.random.default_rng([seed, 1]).choice(len(classes), count, p=shares)
    truth = np.array([one.output for one in trace.arrivals], float)
    seen = PREDICTORS[predictor](truth, np.random.default_rng([seed, 2]))
    if error:
        noise = np.random.default_rng([seed, 3]).standard_normal(count)
        seen = np.maximum(seen * np.exp(error_sigma(error) * noise), 1.0)
    return [
        Task(number, arrival, classes[which], length)
        for number, (arrival, which, length) in enumerate(
            zip(trace.arrivals, chosen.tolist(), seen.tolist(), strict=True)
        )
    ]
