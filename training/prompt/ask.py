"""One planning request made ready for the policy: what its tokens mean, what is known, what may be written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from catp.planlang.mask.automaton import PlanMask
from catp.planlang.mask.context import MaskContext
from catp.planlang.money import Money
from catp.planlang.nodes import Attempt, Input, Plan
from catp.planlang.token_ids import Goal, TokenContext, encode_ids
from catp.planlang.tokens import Header
from catp.planlang.vocabulary import Vocabulary
from catp.planners.protocol import PlanRequest
from catp.training.prompt.known import Composer, KnownOutput, KnownStep
from catp.training.prompt.view import RequestView, view_of

__all__ = ["MAX_STEPS", "OPTIONAL_WEIGHT", "Ask", "Told", "goal_weights"]

MAX_STEPS = 12
"""Most steps of a plan the policy writes."""

OPTIONAL_WEIGHT = 0.5
"""An optional output counts half as much as a required one (as in CATP-Bench)."""


@dataclass(frozen=True)
class Told:
    """A plan in plan-token ids (tools by position), with what is known of its steps and outputs.

    `outputs` are in plan order.
    """

    ids: tuple[int, ...]
    steps: tuple[KnownStep, ...]
    outputs: tuple[KnownOutput, ...]


@dataclass(frozen=True)
class Ask:
    """A request, the meaning of ids for it, and what is composed and shown of it."""

    request: PlanRequest
    context: TokenContext
    composer: Composer
    view: RequestView

    @classmethod
    def of(cls, request: PlanRequest, vocabulary: Vocabulary) -> "Ask":
        """Prepare a request.

        Raises:
            ValueError: more tools, inputs or outputs than the vocabulary has places for.
        """
        header = Header(tuple(Input(name, facts.type) for name, facts in request.inputs.items()))
        goals = tuple(Goal(want.name, want.type, want.optional) for want in request.wanted)
        context = TokenContext(request.registry, header, goals, vocabulary=vocabulary)
        composer = Composer(request.registry, request.estimator, request.inputs)
        return cls(request, context, composer, view_of(request, composer))

    def mask(self) -> PlanMask:
        """Return the decode mask: single attempts (no log has alternatives), within the budget if there is one.

        Raises:
            Infeasible: no plan is known that does it.
        """
        budget = self.request.objective.budget
        prices = tuple(None if t.price is None else Money(round(t.price)) for t in self.view.tools)
        return PlanMask(
            MaskContext(self.context, prices if budget is not None else (), budget, MAX_STEPS, max_attempts=1)
        )

    def tell(self, plan: Plan) -> Told:
        """Return a plan in ids, with what is known of it.

        Raises:
            PlanError: the plan holds something that has no token id here.
        """
        goals = {goal.name: place for place, goal in enumerate(self.context.goals)}
        plan = self._as_written(plan, goals)
        ids = tuple(encode_ids(plan, self.context))
        return Told(ids, self.composer.steps(plan), self.composer.outputs(plan, goals))

    def _as_written(self, plan: Plan, goals: Mapping[str, int]) -> Plan:
        """The plan as the mask writes it: inputs and outputs in the request's order, defaults left out."""
        steps = tuple(
            replace(step, attempts=tuple(self._without_defaults(attempt) for attempt in step.attempts))
            for step in plan.steps
        )
        outputs = tuple(sorted(plan.outputs, key=lambda out: goals.get(out.name, len(goals))))
        known = {given.name for given in self.context.header.inputs}
        inputs = self.context.header.inputs if {given.name for given in plan.inputs} <= known else plan.inputs
        return replace(plan, steps=steps, outputs=outputs, inputs=inputs)

    def _without_defaults(self, attempt: Attempt) -> Attempt:
        sig = self.request.registry.get(attempt.tool)
        defaults = {param.name: param.default for param in sig.params if not param.required} if sig else {}
        args = tuple(arg for arg in attempt.args if not (arg.name in defaults and arg.value == defaults[arg.name]))
        return replace(attempt, args=args)


def goal_weights(optional: Sequence[bool]) -> tuple[float, ...]:
    """Return the share of each wanted output in the score, by whether it is optional."""
    raw = [OPTIONAL_WEIGHT if left_out else 1.0 for left_out in optional]
    return tuple(weight / sum(raw) for weight in raw)
