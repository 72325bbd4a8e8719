"""A small world of pages: which plan is right depends on the page, prices are exactly linear in its size."""

import itertools
from dataclasses import replace

import numpy as np

from catp.planlang.money import Money
from catp.training.evaluate.candidates import CandidateSet, Option, StepUse

SCALE = Money(1_000_000)
RATE = {"ocr": 100.0, "ocr_fine": 300.0, "denoise": 150.0, "language": 20.0}
"""Price per pixel, nano-USD; time in ms is a thousandth of it, plus 1."""
CHAINS = (("ocr",), ("ocr_fine",), ("denoise", "ocr"), ("denoise", "ocr_fine"))
CONDITIONS = ("clean", "noisy")
SPLITS = ("train", "train", "train", "val", "test")


def score(plan: tuple[str, ...], condition: str) -> float:
    """A noisy page needs cleaning, which does a clean one no good; the fine reader is a little better."""
    good = 0.9 if condition == "clean" else 0.85 if "denoise" in plan else 0.4
    return good + 0.05 * ("ocr_fine" in plan) - 0.02 * ("denoise" in plan and condition == "clean")


def option(name: str, plan: tuple[str, ...], size: int, condition: str, noise: float) -> Option:
    """A chain and, beside it, a step that only looks at the page: a fork with a join is not needed here."""
    steps = [StepUse(tool, (at - 1,) if at else (), RATE[tool] * size, 1 + RATE[tool] * size / 1000)
             for at, tool in enumerate(plan)]  # fmt: skip
    steps.append(StepUse("language", (), RATE["language"] * size, 1 + RATE["language"] * size / 1000))
    chain = sum(step.ms for step in steps[:-1])
    return Option(
        name, "-".join(plan), tuple(steps), float(np.clip(score(plan, condition) + noise, 0, 1)),
        sum(step.price for step in steps), max(chain, steps[-1].ms), chain + steps[-1].ms,
    )  # fmt: skip


def pages(
    count: int = 200, seed: int = 0, *, tasks: int = 10, noise: float = 0.02, least: int = 2
) -> list[CandidateSet]:
    """Candidate sets of `least` to 4 plans each; every task has clean and noisy pages."""
    rng = np.random.default_rng([seed, count, tasks])
    found = []
    for number in range(count):
        size, condition = int(rng.integers(100, 2000)), CONDITIONS[int(rng.integers(2))]
        offered = rng.permutation(len(CHAINS))[: int(rng.integers(least, len(CHAINS) + 1))]
        options = tuple(
            option(f"p{number}-{place}", CHAINS[place], size, condition, noise * rng.normal())
            for place in sorted(offered)
        )
        task = number % tasks
        split = {"name": "test" if task % 5 == 4 else "train", "inputs": SPLITS[int(rng.integers(5))],
                 "phrasing": "test" if rng.random() < 0.3 else "train"}  # fmt: skip
        found.append(CandidateSet(
            f"p{number}", f"task{task}", "pages", options, SCALE, "read this", "en", ("text",), ("image",), (size,),
            (condition,), split,
        ))  # fmt: skip
    return found


def scrambled(sets: list[CandidateSet], seed: int = 1) -> list[CandidateSet]:
    """The same inputs and plans with outcomes that have nothing to do with them."""
    rng = np.random.default_rng(seed)
    return [
        replace(one, options=tuple(
            replace(
                plan, score=float(rng.random()), price=float(rng.integers(1, 10**6)), latency_ms=float(rng.random()),
                serial_ms=float(rng.random()), ok=bool(rng.integers(2)),
                steps=tuple(replace(s, price=float(rng.integers(1, 10**6)), ms=rng.random()) for s in plan.steps),
            )
            for plan in one.options
        ))
        for one in sets
    ]  # fmt: skip


def every_plan(sets: list[CandidateSet]) -> list[str]:
    """The plans that any set offers."""
    return sorted(set(itertools.chain.from_iterable((o.plan for o in one.options) for one in sets)))
