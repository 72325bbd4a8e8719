"""What a baseline is: something that picks among the measured plans of an input without seeing how they came out.

Chooser    fit on candidate sets with outcomes, then choose on sets without
Prices     the public price list at choosing time: what changed since, and what new tools cost
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from catp.training.evaluate.candidates import CandidateSet, Floats, Option, StepUse

__all__ = ["LISTED", "Chooser", "Prices"]


@dataclass(frozen=True)
class Prices:
    """What everybody may know of prices when the choice is made.

    `factors` multiply a tool's price since the measurements (1 if absent). `listed` (nano-USD per call) and
    `listed_ms` are what the profile of a tool says that no training plan used: its first calibration.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    listed: Mapping[str, float] = field(default_factory=dict)
    listed_ms: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = {tool: factor for tool, factor in self.factors.items() if not factor > 0}
        if wrong:
            raise ValueError(f"price factors must be above 0, got {wrong}")

    def factor(self, tool: str) -> float:
        """How much dearer the tool is than when it was measured."""
        return self.factors.get(tool, 1.0)

    def applied(self, set: CandidateSet) -> CandidateSet:
        """Return the set as it would have been measured under these prices; scores, times and scale stay."""
        return replace(set, options=tuple(self._option(option) for option in set.options)) if self.factors else set

    def _option(self, option: Option) -> Option:
        steps = tuple(replace(step, price=self._price(step)) for step in option.steps)
        more = sum(after.price - before.price for before, after in zip(option.steps, steps, strict=True))
        return replace(option, steps=steps, price=option.price + more)

    def _price(self, step: StepUse) -> float:
        return step.price * self.factor(step.tool)


LISTED = Prices()
"""Prices as they were measured."""


class Chooser(Protocol):
    """A policy over candidate sets.

    Two more attributes are read if they are there: `sees_outcomes = True` marks an oracle, which is shown the measured
    outcomes of the sets it chooses in, and fitted on them; `leaves_own_out = True` says that `choose` never uses what
    `fit` saw of the very set it chooses in, so that one fit serves to leave each input out in turn.
    """

    name: str

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Learn from measured sets; a second call starts afresh."""
        ...

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the probability of choosing each option; `set` has no outcomes (`CandidateSet.hidden`)."""
        ...

    def predict(self, set: CandidateSet) -> Floats | None:
        """Return the quality predicted for each option, nan where it cannot say; None if it predicts none."""
        ...
