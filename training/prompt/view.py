"""A request as the prompt shows it: tools, inputs, wanted outputs and the objective, in plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from catp.planlang.registry_view import Param, RegistryView, Size, ToolSig, ValueFacts
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.training.prompt.known import Composer

__all__ = ["GoalRow", "InputRow", "Objectives", "RequestView", "ToolRow", "view_of"]


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool on offer. `price` (nano-USD), `ms` and `accuracy` are those of a call on this request's inputs."""

    name: str
    params: tuple[str, ...]
    returns: str
    description: str
    price: float | None
    ms: float | None
    accuracy: float | None
    failure: float


@dataclass(frozen=True, slots=True)
class InputRow:
    """One input: its type, the size of an element, how many there are, and what a look at it says."""

    type: str
    units: int
    count: int
    condition: str


@dataclass(frozen=True, slots=True)
class GoalRow:
    """One wanted output: its type, what must make it (`capability` in words), and from which input (None: any)."""

    type: str
    purpose: str
    source: int | None
    optional: bool


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request without its objective."""

    tools: tuple[ToolRow, ...]
    inputs: tuple[InputRow, ...]
    goals: tuple[GoalRow, ...]
    text: str

    @property
    def reference(self) -> float:
        """The price others are told relative to: the median of the tools' known prices, nano-USD."""
        known = [tool.price for tool in self.tools if tool.price]
        return float(median(known)) if known else 1.0


@dataclass(frozen=True, slots=True)
class Objectives:
    """The objective in the prompt's terms: `scale` and `budget` in nano-USD, `target` a utility; None is not told."""

    alpha: float
    scale: float
    budget: float | None = None
    deadline_ms: float | None = None
    target: float | None = None

    @classmethod
    def of(cls, objective: Objective, scale: float) -> "Objectives":
        """Return those of a request, with the price scale it names or else `scale`."""
        named = objective.price_scale
        return cls(
            objective.alpha,
            float(named) if named is not None else scale,
            None if objective.budget is None else float(objective.budget),
            objective.deadline_ms,
        )


def view_of(request: PlanRequest, composer: Composer) -> RequestView:
    """Return what the prompt tells of a request; `composer` must be of the same request."""
    registry = request.registry
    names = list(request.inputs)
    return RequestView(
        tuple(_tool(sig, registry, request.inputs, composer) for sig in registry),
        tuple(InputRow(str(f.type), f.size.units, f.size.count, f.condition) for f in request.inputs.values()),
        tuple(_goal(want, names) for want in request.wanted),
        request.task,
    )


def _tool(sig: ToolSig, registry: RegistryView, inputs: Mapping[str, ValueFacts], composer: Composer) -> ToolRow:
    required = [param for param in sig.params if param.required]
    args = {param.name: _likely(param, registry, inputs) for param in required}
    described = sig.description or sig.capability
    params = tuple(f"{param.name} {param.type}" if len(required) > 1 else str(param.type) for param in required)
    try:
        call = composer.call(sig.name, args)
    except KeyError:  # the estimator has never heard of the tool
        return ToolRow(sig.name, params, str(sig.returns), described, None, None, None, 0.0)
    price = call.price.expected
    return ToolRow(
        sig.name, params, str(sig.returns), described, None if price is None else float(price),
        call.latency.expected_ms if call.timed else None, call.accuracy, call.failure,
    )  # fmt: skip


def _likely(param: Param, registry: RegistryView, inputs: Mapping[str, ValueFacts]) -> ValueFacts:
    """Facts of what the tool would be called with: an input that fits, an element of one, or a value of like size."""
    for facts in inputs.values():
        if registry.types.accepts(param.type, facts.type):
            return facts
        item = facts.type.item
        if item is not None and registry.types.accepts(param.type, item):
            return ValueFacts(item, Size(facts.size.units, 1), facts.condition)
    units = max((facts.size.units for facts in inputs.values()), default=1)
    sized = param.type.name in ("image", "text", "list")
    # what is read off a picture is about as long as the picture's side
    return ValueFacts(param.type, Size(max(1, math.isqrt(units) if sized and units > 4000 else units), 1))


def _goal(want: Wanted, inputs: list[str]) -> GoalRow:
    through = " ".join(" ".join(step) for step in want.through)
    purpose = " ".join((through, " ".join(want.capability))).strip()
    source = inputs.index(want.source) if want.source in inputs else None
    return GoalRow(str(want.type), purpose, source, want.optional)
