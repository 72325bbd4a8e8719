"""Candidate sets made of numbers, for tests."""

from collections.abc import Sequence

import numpy as np

from catp.planlang.money import Money
from catp.training.evaluate.candidates import CandidateSet, Floats, Option, StepUse

SCALE = Money(1_000_000)


def made(scores: Sequence[float], prices: Sequence[float], id: str = "s", group: str = "g") -> CandidateSet:
    """One set; prices in nano-USD, of which a million weigh as much as quality 1 at alpha 0.5."""
    options = tuple(
        Option(f"{id}-{n}", f"plan-{n}", (StepUse("tool", ()),), score, price)
        for n, (score, price) in enumerate(zip(scores, prices, strict=True))
    )
    return CandidateSet(id, group, "made", options, SCALE)


def family(count: int, seed: int, *, groups: int = 10, most: int = 6) -> list[CandidateSet]:
    """Random sets of 1 to `most` options, some of them tied."""
    rng = np.random.default_rng([seed, count])
    sets = []
    for number in range(count):
        size = int(rng.integers(1, most + 1))
        scores = np.round(rng.random(size), 1)
        prices = np.round(rng.random(size), 1) * 1_000_000
        sets.append(made(scores.tolist(), prices.tolist(), f"s{number}", f"g{number % groups}"))
    return sets


def random_weights(sets: Sequence[CandidateSet], seed: int) -> list[Floats]:
    """Weights drawn from a Dirichlet distribution."""
    rng = np.random.default_rng([seed, len(sets)])
    return [rng.dirichlet(np.ones(len(one))) for one in sets]
