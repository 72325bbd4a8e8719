"""Is there a choice to make? How simple rules fare against the best plan of each input, as alpha goes from 0 to 1.

Rules know what no planner knows (measured prices and scores), so the figures describe the data: what a rule loses here
is there to be won by looking at the input.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from catp.training.evaluate.candidates import CandidateSet, Floats
from catp.training.evaluate.regret import best_of, regret, uniform

__all__ = ["ALPHAS", "RULES", "Point", "Rule", "TradeOff", "fixed_plans", "trade_off"]

ALPHAS = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)

Rule: TypeAlias = Literal["cheapest", "dearest", "most accurate", "best fixed plan", "random"]
RULES: tuple[Rule, ...] = ("cheapest", "dearest", "most accurate", "best fixed plan", "random")
"""What is chosen; ties are even choices.

cheapest, dearest   by measured price
most accurate       by measured score
best fixed plan     per task and alpha, the one plan for all inputs that would have been best in hindsight; inputs where
                    it was not measured take the next best such plan
random              an even choice
"""


@dataclass(frozen=True)
class Point:
    """One rule at one alpha: its normalised regret with a 95 % interval over tasks, and how often it is best."""

    regret: float
    low: float
    high: float
    best: float


@dataclass(frozen=True)
class TradeOff:
    """Rules by alpha, over inputs with two or more plans.

    `spread` is best minus worst utility of an input, mean by alpha. What the best fixed plan per task leaves (its
    `regret`) is the gap that only looking at the input can close.
    """

    inputs: int
    tasks: int
    alphas: tuple[float, ...]
    rules: dict[Rule, tuple[Point, ...]]
    spread: tuple[float, ...]

    def at(self, rule: Rule, alpha: float) -> Point:
        """Return a rule's figures at one of `alphas`."""
        return self.rules[rule][self.alphas.index(alpha)]


def trade_off(sets: Sequence[CandidateSet], alphas: Sequence[float] = ALPHAS, *, draws: int = 1000) -> TradeOff | None:
    """Measure all rules at all alphas; None if no input has two plans."""
    open_ = [one for one in sets if len(one) > 1]
    if not open_:
        return None
    even = uniform(open_)
    still: Mapping[Rule, list[Floats]] = {
        "cheapest": [best_of(-one.prices) for one in open_],
        "dearest": [best_of(one.prices) for one in open_],
        "most accurate": [best_of(one.scores) for one in open_],
        "random": even,
    }
    rules: dict[Rule, list[Point]] = {rule: [] for rule in RULES}
    for alpha in alphas:
        weights = {**still, "best fixed plan": fixed_plans(open_, alpha)}
        for rule in RULES:
            found = regret(open_, weights[rule], alpha, draws=draws)
            rules[rule].append(Point(found.regret, found.low, found.high, found.hit))
    spread = tuple(float(np.mean([np.ptp(one.utility(alpha)) for one in open_])) for alpha in alphas)
    tasks = len({one.group for one in open_})
    return TradeOff(len(open_), tasks, tuple(alphas), {rule: tuple(found) for rule, found in rules.items()}, spread)


def fixed_plans(sets: Sequence[CandidateSet], alpha: float) -> list[Floats]:
    """Choose per task one plan for all inputs, in hindsight; return the weights.

    Where all plans are measured for all inputs, it is the plan with the highest mean utility. Else: the plan with the
    highest sum of advantages (utility minus the input's mean), then the same again for the inputs without it.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(sets):
        members[one.group].append(number)
    weights = [np.zeros(len(one)) for one in sets]
    for numbers in members.values():
        for number, place in _fixed([sets[number] for number in numbers], alpha).items():
            weights[numbers[number]][place] = 1.0
    return weights


def _fixed(sets: list[CandidateSet], alpha: float) -> dict[int, int]:
    """Return the chosen place per set of one task."""
    gains: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
    for number, one in enumerate(sets):
        utility = one.utility(alpha)
        for place, (option, gain) in enumerate(zip(one.options, utility - utility.mean(), strict=True)):
            gains[option.plan][number] = (float(gain), place)
    chosen: dict[int, int] = {}
    totals = {plan: sum(gain for gain, _ in found.values()) for plan, found in gains.items()}
    while len(chosen) < len(sets):
        plan = min(totals, key=lambda name: (-totals[name], name))
        for number, (_, place) in gains[plan].items():
            if number not in chosen:
                chosen[number] = place
                for option in sets[number].options:
                    totals[option.plan] -= gains[option.plan][number][0]
        del totals[plan]
    return chosen
