"""What a catalogue's tools cost, take and achieve at the size of the request's inputs, before there is a plan.

A tool's argument may not exist yet (the text of a page nobody has read). So values are followed from the inputs by
their types: each tool that can be called is predicted once, and its result stands for all values of its type. Restored
values are kept beside the plain ones, since accuracy differs: `0.60 (noisy), 0.95 (noisy/denoise_a)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catp.planlang.nodes import Ref
from catp.planlang.passes.estimate import DEFAULTS
from catp.planlang.passes.facts import element_of, facts_of
from catp.planlang.registry_view import UNPRICED, CallEstimate, Latency, Param, PriceRange, Size, ToolSig, ValueFacts
from catp.planlang.types import Type
from catp.planners.protocol import PlanRequest
from catp.planners.typegraph import carried

__all__ = ["Figures", "figures"]

_CONDITIONS = 5
"""Conditions of one type that are followed: the plain one and a few restored ones."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One call as predicted. `latency` is None if nothing is known of the time, `accuracy` is by condition."""

    price: PriceRange
    latency: Latency | None
    failure: float
    accuracy: tuple[tuple[str, float], ...]


def figures(request: PlanRequest, tools: Sequence[ToolSig]) -> Mapping[str, Figures]:
    """Return the figures of each tool by name; tools that no value can be found for are taken at the inputs' size."""
    known = _Known(request)
    waiting = list(tools)
    while True:
        ready = [sig for sig in waiting if known.can_call(sig)]
        if not ready:
            break
        waiting = [sig for sig in waiting if sig not in ready]
        for sig in ready:
            known.call(sig)
    return {str(sig.name): known.figures(sig) for sig in tools}


class _Known:
    """The values found so far, by type, those made first in front."""

    def __init__(self, request: PlanRequest) -> None:
        self.types, self.estimator = request.registry.types, request.estimator
        self.values: dict[Type, list[ValueFacts]] = {}
        units = [facts.size.units for facts in request.inputs.values()]
        self.size = Size(max(units, default=1))
        for facts in request.inputs.values():
            self.add(facts)

    def add(self, facts: ValueFacts) -> None:
        for path, type_ in carried(self.types, facts.type):
            found = facts_of(Ref("x", path), {"x": facts}, self.types, DEFAULTS.list_count)
            for one in (found, element_of(found, DEFAULTS.list_count)) if type_.item is not None else (found,):
                rivals = self.values.setdefault(one.type.required, [])
                if len(rivals) < _CONDITIONS and all(one.condition != rival.condition for rival in rivals):
                    rivals.append(one)

    def given(self, param: Param) -> list[ValueFacts]:
        """What is there for a parameter."""
        if param.type.name in ("any", "json"):
            return self.values.get(param.type.required, [])
        return [one for type_, found in self.values.items() if self.types.accepts(param.type, type_) for one in found]

    def can_call(self, sig: ToolSig) -> bool:
        return all(self.given(param) for param in sig.params if param.required)

    def call(self, sig: ToolSig) -> None:
        estimate = self.estimate(sig, 0)
        if estimate is not None:
            self.add(estimate.output)

    def estimate(self, sig: ToolSig, choice: int) -> CallEstimate | None:
        """Predict a call; its first required argument is the value number `choice` of those that fit."""
        args: dict[str, ValueFacts] = {}
        number = choice
        for param in sig.params:
            if param.required:
                found = self.given(param) or [ValueFacts(param.type, self.size)]
                args[param.name] = found[min(number, len(found) - 1)]
                number = 0
            elif param.default is not None:
                args[param.name] = facts_of(param.default, {}, self.types, DEFAULTS.list_count)
        try:
            return self.estimator.estimate(sig.name, args)
        except KeyError:  # the estimator has never heard of it
            return None

    def figures(self, sig: ToolSig) -> Figures:
        first = next((param for param in sig.params if param.required), None)
        count = max(1, min(_CONDITIONS, len(self.given(first)))) if first is not None else 1
        found = [estimate for choice in range(count) if (estimate := self.estimate(sig, choice)) is not None]
        if not found:
            return Figures(UNPRICED, None, 0.0, ())
        accuracy: dict[str, float] = {}
        for choice, estimate in enumerate(found):
            if estimate.accuracy is not None:
                given = self.given(first) if first is not None else []
                accuracy.setdefault(given[choice].condition if given else "", estimate.accuracy)
        plain = found[0]
        return Figures(plain.price, plain.latency if plain.timed else None, plain.failure, tuple(accuracy.items()))
