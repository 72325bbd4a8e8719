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


TOOLS = ("cheap", "good", "best", "filter")
_QUALITY = {"cheap": 0.3, "good": 0.5, "best": 0.6, "filter": 0.15}
_PRICE = {"cheap": 50_000, "good": 200_000, "best": 450_000, "filter": 80_000}


def pool(count: int, seed: int, *, groups: int = 30) -> list[CandidateSet]:
    """Sets of 3 to 6 chains of tools, whose quality and price depend on the tools, the size and noise."""
    rng = np.random.default_rng([seed, count, groups])
    sets = []
    for number in range(count):
        size = int(rng.integers(10, 1000))
        drawn = [rng.permutation(len(TOOLS))[: rng.integers(1, 4)] for _ in range(9)]
        plans = {tuple(sorted(TOOLS[place] for place in places)) for places in drawn}
        options = []
        for place, plan in enumerate(sorted(plans)[:6]):
            quality = sum(_QUALITY[tool] for tool in plan) * (1.1 - size / 2000) + 0.03 * rng.normal()
            price = sum(_PRICE[tool] for tool in plan) * (0.5 + size / 1000) * (1 + 0.05 * rng.normal())
            steps = tuple(StepUse(tool, (at - 1,) if at else ()) for at, tool in enumerate(plan))
            score = float(np.clip(quality, 0, 1))
            options.append(Option(f"s{number}-{place}", "-".join(plan), steps, score, round(price)))
        sets.append(CandidateSet(f"s{number}", f"g{number % groups}", "made", tuple(options), SCALE, sizes=(size,)))
    return sets


def leaning(sets: Sequence[CandidateSet], strength: float = 1.0, explore: float = 0.1) -> list[Floats]:
    """A behaviour policy that prefers long plans, and sometimes (`explore`) chooses evenly."""
    found = []
    for one in sets:
        pull = np.exp(strength * np.array([len(option.steps) for option in one.options]))
        found.append((1 - explore) * pull / pull.sum() + explore / len(one))
    return found
