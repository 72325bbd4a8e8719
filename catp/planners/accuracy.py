"""How the accuracy of single calls adds up to the quality of a plan: one explicit model, open to replacement.

A value's quality has two sides. `score` is how good the value is as a result; `carried` is how much of that reaches
whatever is made from it. They differ for one kind of tool only: one that restores its input (noise removed, page
sharpened) yields a better value, and how much better shows in the accuracy of the *next* tool at the restored
condition (`"noisy/denoise_dct"`). Multiplying both would count the damage twice.

    page (noisy) ── denoise 0.9 ── ocr 0.97 at noisy/denoise ── language 0.95
    score      1          0.9             0.97                     0.9215
    carried    1          1.0             0.97                     0.9215
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from catp.planlang.registry_view import CallEstimate, ValueFacts

__all__ = ["GIVEN", "AccuracyModel", "ConditionModel", "ValueQuality", "restores"]


@dataclass(frozen=True, slots=True)
class ValueQuality:
    """How good a value is expected to be: as a result, and as an argument. `known` is False if anything was assumed."""

    score: float
    carried: float
    known: bool = True


GIVEN = ValueQuality(1.0, 1.0)
"""The quality of an input: whatever is wrong with it is its condition, and counted in the tools that read it."""


class AccuracyModel(Protocol):
    """Composes accuracies. The search is exact for every model that keeps two promises:

    - better arguments never make a worse result (monotone in `score` and `carried`);
    - `carried` of a result is at most the least `carried` of its arguments, and `score` is at most that too unless the
      call restores.
    """

    def call(self, estimate: CallEstimate, args: Mapping[str, tuple[ValueFacts, ValueQuality]]) -> ValueQuality:
        """The quality of a call's result, from the estimate at the arguments' conditions and the arguments' quality."""
        ...

    def plan(self, outputs: Sequence[float]) -> float:
        """The quality of a plan in [0, 1], from the scores of all wanted outputs (0 for one left out)."""
        ...


@dataclass(frozen=True, slots=True)
class ConditionModel:
    """The default: scores multiply along a chain, wanted outputs weigh the same.

    score(call) = accuracy at the arguments' conditions x (1 - failure) x product of the arguments' carried scores.
    A restoring call carries its argument's quality on (times 1 - failure); its own accuracy counts only where its
    result is itself wanted. Errors of two arguments are taken to be independent, so a join of two branches of one
    source is rated a little too low, never too high.

    `unknown` stands in for an accuracy that nobody measured or declared; plans that needed it say so.
    """

    unknown: float = 0.5

    def call(self, estimate: CallEstimate, args: Mapping[str, tuple[ValueFacts, ValueQuality]]) -> ValueQuality:
        """See the class."""
        works = 1.0 - min(max(estimate.failure, 0.0), 1.0)
        accuracy = self.unknown if estimate.accuracy is None else min(max(estimate.accuracy, 0.0), 1.0)
        known = estimate.accuracy is not None and all(quality.known for _, quality in args.values())
        if restores(estimate, [facts for facts, _ in args.values()]):
            carried = works * math.prod(quality.carried for _, quality in args.values())
            return ValueQuality(works * accuracy * math.prod(q.score for _, q in args.values()), carried, known)
        score = works * accuracy * math.prod(quality.carried for _, quality in args.values())
        return ValueQuality(score, score, known)

    def plan(self, outputs: Sequence[float]) -> float:
        """The mean over all wanted outputs."""
        return sum(outputs) / len(outputs) if outputs else 0.0


def restores(estimate: CallEstimate, args: Sequence[ValueFacts]) -> bool:
    """True if the call returns its argument's type with a longer condition label (what was done is part of it)."""
    return any(
        facts.type.required == estimate.output.type.required
        and estimate.output.condition.startswith(facts.condition + "/")
        for facts in args
    )
