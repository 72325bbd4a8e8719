"""What is known of a plan before it runs: the price of each call and the accuracy it composes to, from profiles.

Only quality is learned; these figures are composed and told to the policy after every step, so that what it learns is
the difference between what profiles promise and what comes out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from catp.planlang.nodes import Attempt, Plan, Ref, Step, Value
from catp.planlang.passes.facts import element_of, facts_of
from catp.planlang.registry_view import CallEstimate, Estimator, RegistryView, Size, ValueFacts
from catp.planners.accuracy import GIVEN, ConditionModel, ValueQuality

__all__ = ["Composer", "KnownOutput", "KnownStep"]

_LIST = 10
"""Elements of a list of unknown length, as the compiler assumes."""


@dataclass(frozen=True, slots=True)
class KnownStep:
    """One step as predicted: the tool's position, expected price (nano-USD, None unknown), time, composed score."""

    tool: int
    price: float | None
    ms: float
    score: float


@dataclass(frozen=True, slots=True)
class KnownOutput:
    """One output as predicted: its position among the wanted ones, composed score, and what it is made by.

    `chain` are the positions of the tools above it in plan order, `conditions` what looks at its inputs say.
    """

    goal: int
    score: float
    chain: tuple[int, ...] = ()
    conditions: tuple[str, ...] = ()


@dataclass
class _Walk:
    facts: dict[str, ValueFacts]
    quality: dict[str, ValueQuality]
    above: dict[str, frozenset[str | int]]
    """Inputs (by name) and steps (by number) that a value is made from."""
    steps: list[KnownStep] = field(default_factory=list)


class Composer:
    """Composes the plans of one request; estimates of equal calls are made once.

    Args:
        registry: the tools; steps name them by their position.
        estimator: predicts single calls.
        inputs: what is known of the inputs.
    """

    def __init__(self, registry: RegistryView, estimator: Estimator, inputs: Mapping[str, ValueFacts]) -> None:
        self._registry, self._estimator, self._inputs = registry, estimator, inputs
        self._model = ConditionModel()
        self._calls: dict[tuple[object, ...], CallEstimate] = {}

    def steps(self, plan: Plan) -> tuple[KnownStep, ...]:
        """Return the figures of every step of a checked plan (first attempts only)."""
        return tuple(self._walk(plan).steps)

    def outputs(self, plan: Plan, goals: Mapping[str, int]) -> tuple[KnownOutput, ...]:
        """Return the figures of every output of the plan, in its order; `goals` are positions by name."""
        walk = self._walk(plan)
        found = []
        for output in plan.outputs:
            above = walk.above.get(output.ref.root, frozenset())
            chain = tuple(step.tool for number, step in enumerate(walk.steps) if number in above)
            looks = [facts.condition for name, facts in self._inputs.items() if name in above]
            conditions = tuple(dict.fromkeys(look for look in looks if look))
            score = walk.quality.get(output.ref.root, GIVEN).score
            found.append(KnownOutput(goals[output.name], score, chain, conditions))
        return tuple(found)

    def call(self, tool: str, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Return the estimate of one call of a running tool."""
        key = (tool, *sorted((name, str(f.type), f.size, f.condition) for name, f in args.items()))
        found = self._calls.get(key)
        if found is None:
            sig = self._registry.tools[self._registry.index(tool)]
            found = self._calls[key] = self._estimator.estimate(sig.name, args).without_startup()
        return found

    def _walk(self, plan: Plan) -> _Walk:
        above: dict[str, frozenset[str | int]] = {name: frozenset({name}) for name in self._inputs}
        walk = _Walk(dict(self._inputs), dict.fromkeys(self._inputs, GIVEN), above)
        for step in plan.steps:
            self._step(step, walk)
        return walk

    def _step(self, step: Step, walk: _Walk) -> None:
        attempt = step.attempts[0]
        args, qualities, count = self._args(attempt, walk)
        call = self.call(attempt.tool, args)
        quality = self._model.call(call, {name: (args[name], qualities[name]) for name in args})
        price = None if call.price.expected is None else float(call.price.expected * count)
        tool = self._registry.index(attempt.tool)
        walk.steps.append(KnownStep(tool, price, call.latency.expected_ms, quality.score))
        output = call.output
        if step.mapped:
            output = ValueFacts(output.type, Size(output.size.units, count), output.condition)
        walk.facts[step.name], walk.quality[step.name] = output, quality
        roots = [arg.value.root for arg in attempt.args if isinstance(arg.value, Ref)]
        walk.above[step.name] = frozenset({len(walk.steps) - 1}).union(
            *(walk.above.get(root, frozenset()) for root in roots)
        )

    def _args(self, attempt: Attempt, walk: _Walk) -> tuple[dict[str, ValueFacts], dict[str, ValueQuality], int]:
        sig = self._registry.tools[self._registry.index(attempt.tool)]
        args: dict[str, ValueFacts] = {}
        qualities: dict[str, ValueQuality] = {}
        counts: list[int] = []
        for place, arg in enumerate(attempt.args):
            name = arg.name or sig.params[min(place, len(sig.params) - 1)].name
            given = facts_of(arg.value, walk.facts, self._registry.types, _LIST)
            if arg.each:
                counts.append(given.size.count)
                given = element_of(given, _LIST)
            args[name], qualities[name] = given, _quality(arg.value, walk.quality)
        return args, qualities, min(counts, default=1)


def _quality(value: Value, known: Mapping[str, ValueQuality]) -> ValueQuality:
    return known.get(value.root, GIVEN) if isinstance(value, Ref) else GIVEN
