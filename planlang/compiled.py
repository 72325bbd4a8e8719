"""The compiled plan: what the passes produce, and what the runtime, the quote and every renderer read."""

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx

from catp.planlang.errors import Diagnostic
from catp.planlang.nodes import Plan, StepName
from catp.planlang.registry_view import Latency, PriceRange, RegistryView, ValueFacts
from catp.planlang.types import Type

__all__ = ["CompiledPlan", "PlanEstimate", "Rewrite", "StepEstimate"]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One change a pass made: which pass, at which step, and why, in words."""

    rule: str
    step: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepEstimate:
    """The prediction for one step over all its attempts, elements and retries.

    `slack_ms` is how much later the step could finish without delaying the plan (0 on the critical path). `timed` is
    False if nothing is known of the time of one of its attempts: `latency` is then the time of the others.
    """

    price: PriceRange
    latency: Latency
    calls: float
    max_calls: int
    result: ValueFacts
    slack_ms: float = 0.0
    critical: bool = False
    timed: bool = True


@dataclass(frozen=True, slots=True)
class PlanEstimate:
    """The prediction for a plan. `price.p95` is the sum of the steps' p95 prices (an upper bound on the plan's p95).

    `latency` is the length of the critical path, `serial_ms` the expected sum of all steps, `width` the largest number
    of steps that can run at once, `unpriced` the steps whose price is unknown, `untimed` those whose time is (it counts
    as 0).
    """

    price: PriceRange
    latency: Latency
    steps: Mapping[StepName, StepEstimate]
    critical_path: tuple[StepName, ...]
    serial_ms: float
    width: int
    calls: float
    max_calls: int
    unpriced: tuple[StepName, ...] = ()
    untimed: tuple[StepName, ...] = ()


@dataclass(frozen=True)
class CompiledPlan:
    """A checked, normalised plan with its graph.

    `graph` nodes are `in:NAME`, step names and `out:NAME`; node attributes: `kind` (`input`, `step`, `output`), `step`
    (the `Step`), `tools`, `effects`, `price`, `latency`, `slack`, `optional`. Edges run from producer to consumer and
    carry `slots` (tuple of slot names, see `step_refs`) and `elementwise` (True where element i needs only element i).
    `source` is the plan before normalisation; `types` gives the type of every input and step result; `warnings` are
    the checker's.
    """

    plan: Plan
    source: Plan
    registry: RegistryView
    types: Mapping[str, Type]
    graph: "nx.DiGraph[str]"
    estimate: PlanEstimate
    digest: str
    rewrites: tuple[Rewrite, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()
