"""Made-up traces: requests of a planner (shared catalogue, short task, short constrained plan), Poisson or bursty.

A request's prompt is one of a few catalogues and a task of its own; its output ends well below the bound that the
grammar of plans gives, as plans do.
"""

import numpy as np

from catp.serving.sim.traces import Arrival, Trace

__all__ = ["plans"]

_TASKS = 1 << 20
"""Token ids of tasks begin here, those of catalogues below."""


def plans(
    seed: int,
    requests: int,
    rate: float = 10.0,
    *,
    catalogues: int = 4,
    catalogue: int = 1000,
    task: int = 100,
    outputs: tuple[int, int] = (10, 80),
    burst: float = 1.0,
    phase: float = 10.0,
) -> Trace:
    """Draw a trace of requests for plans.

    Args:
        seed, requests: the same seed is the same trace.
        rate: requests per second in the mean.
        catalogues: how many there are; their popularity falls as 1 / rank.
        catalogue, task: tokens of a catalogue and of a task.
        outputs: fewest and most tokens of a plan; the most is the bound of them all.
        burst: how much faster requests come in busy phases than in quiet ones; 1: Poisson.
        phase: seconds of a phase in the mean; busy and quiet ones alternate (a Markov-modulated Poisson process).
    """
    rng = np.random.default_rng([seed, requests])
    times = _times(rng, requests, rate, burst, phase)
    weights = 1 / np.arange(1, catalogues + 1)
    chosen = rng.choice(catalogues, requests, p=weights / weights.sum())
    low, high = outputs
    lengths = low + np.rint((high - low) * rng.beta(1.5, 3.0, requests)).astype(int)
    arrivals = tuple(
        Arrival(float(at), ((int(which), catalogue), (_TASKS + number, task)), int(output), high, "plan")
        for number, (at, which, output) in enumerate(zip(times, chosen, lengths, strict=True))
    )
    return Trace("plans", arrivals)


def _times(rng: np.random.Generator, requests: int, rate: float, burst: float, phase: float) -> list[float]:
    """Times of arrival from 0: gaps of unit rate, walked through phases of 2 rate b / (1 + b) and 2 rate / (1 + b)."""
    rates = (2 * rate * burst / (1 + burst), 2 * rate / (1 + burst))
    now, busy, ends = 0.0, 0, float(rng.exponential(phase))
    times = [0.0]
    for gap in rng.exponential(1.0, requests - 1).tolist():
        left = gap
        while left > (ends - now) * rates[busy]:
            left -= (ends - now) * rates[busy]
            now, busy = ends, 1 - busy
            ends = now + float(rng.exponential(phase))
        now += left / rates[busy]
        times.append(now)
    return times
