"""The predicted quality of any plan, composed over its calls by the same accuracy model as in the search.

What a value is expected to be worth depends on how it was made. A step with alternatives is worth the mean over which
of them is the first to work. Where nobody measured what a guard does to quality (`when`, `accept`, `@quorum`), the
figure is a guess and says so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Attempt, Step, refs_in
from catp.planlang.notes import step_policy
from catp.planlang.passes.estimate import DEFAULTS
from catp.planlang.passes.facts import element_of, facts_of
from catp.planlang.registry_view import Estimator, ValueFacts
from catp.planners.accuracy import GIVEN, AccuracyModel, ConditionModel, ValueQuality
from catp.planners.protocol import Wanted

__all__ = ["PlanQuality", "quality_of"]


@dataclass(frozen=True, slots=True)
class PlanQuality:
    """The predicted quality in [0, 1]; `known` is False if anything was assumed."""

    score: float
    known: bool


def quality_of(
    compiled: CompiledPlan,
    wanted: Sequence[Wanted],
    estimator: Estimator,
    facts: Mapping[str, ValueFacts],
    *,
    accuracy: AccuracyModel | None = None,
) -> PlanQuality:
    """Predict the quality of a compiled plan from single calls; a wanted output that it leaves out counts 0.

    `estimator` and `facts` (what is known of the inputs) are those the plan was compiled with.
    """
    walk = _Walk(compiled, estimator, facts, accuracy if accuracy is not None else ConditionModel())
    for step in compiled.plan.steps:
        walk.step(step)
    given = {output.name: walk.worth[output.ref.root] for output in compiled.plan.outputs}
    picked = [given.get(want.name, ValueQuality(0.0, 0.0)) for want in wanted]
    score = walk.accuracy.plan([one.score for one in picked])
    return PlanQuality(score, all(one.known for one in picked))


class _Walk:
    """One pass over the steps, arguments before calls."""

    def __init__(
        self, compiled: CompiledPlan, estimator: Estimator, facts: Mapping[str, ValueFacts], accuracy: AccuracyModel
    ) -> None:
        self.estimator, self.accuracy = estimator, accuracy
        self.types = compiled.registry.types
        self.facts = {item.name: facts[item.name] for item in compiled.plan.inputs}
        self.facts |= {str(name): step.result for name, step in compiled.estimate.steps.items()}
        self.worth: dict[str, ValueQuality] = dict.fromkeys(self.facts, GIVEN)

    def step(self, step: Step) -> None:
        policy = step_policy(step)
        score = carried = 0.0
        reached, known = 1.0, not step.when and policy.quorum is None
        for attempt in step.attempts:
            worth, failure = self._call(attempt, policy.retries)
            score += reached * worth.score
            carried += reached * worth.carried
            known = known and worth.known and not attempt.accept
            reached *= failure
        self.worth[step.name] = ValueQuality(score, carried, known)

    def _call(self, attempt: Attempt, retries: int) -> tuple[ValueQuality, float]:
        """The quality of a call's result, and the share of calls that give none."""
        args: dict[str, ValueFacts] = {}
        made: dict[str, tuple[ValueFacts, ValueQuality]] = {}
        for arg in attempt.args:
            facts = facts_of(arg.value, self.facts, self.types, DEFAULTS.list_count)
            facts = element_of(facts, DEFAULTS.list_count) if arg.each else facts
            args[str(arg.name)] = facts
            parts = [self.worth[ref.root] for ref in refs_in(arg.value)]
            if parts:
                made[str(arg.name)] = facts, _together(parts)
        try:
            estimate = self.estimator.estimate(attempt.tool, args)
        except KeyError:  # the estimator has never heard of the tool
            return ValueQuality(0.0, 0.0, known=False), 0.0
        failure = min(max(estimate.failure, 0.0), 1.0) ** (retries + 1)
        return self.accuracy.call(replace(estimate, failure=failure), made), failure


def _together(parts: Sequence[ValueQuality]) -> ValueQuality:
    if len(parts) == 1:
        return parts[0]
    score, carried = math.prod(one.score for one in parts), math.prod(one.carried for one in parts)
    return ValueQuality(score, carried, all(one.known for one in parts))
