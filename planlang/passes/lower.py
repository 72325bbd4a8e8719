"""Lowering: the plan as a `networkx.DiGraph`, in the form `catp.planlang.compiled.CompiledPlan` documents.

Every node has every attribute, so readers need no special cases: inputs and outputs have no step and no tools, cost and
take nothing. An output has the slack of the step it comes from. A step is optional if only optional outputs need it.
"""

from collections.abc import Set
from typing import Any

import networkx as nx

from catp.planlang.compiled import PlanEstimate
from catp.planlang.money import Money
from catp.planlang.nodes import Plan, Step, StepName
from catp.planlang.passes.estimate import StepRefs
from catp.planlang.registry_view import Effect, Latency, PriceRange, RegistryView

__all__ = ["lower"]

_FREE = PriceRange(Money(0), Money(0), Money(0))
_NO_TIME = Latency()
_EFFECTS: tuple[Effect, ...] = ("pure", "read", "write")


def lower(
    plan: Plan,
    registry: RegistryView,
    refs: StepRefs,
    estimate: PlanEstimate,
    elementwise: Set[tuple[str, str]],
) -> "nx.DiGraph[str]":
    """Build the graph of a checked, normalised and estimated plan."""
    inputs = {input_.name: f"in:{input_.name}" for input_ in plan.inputs}
    edges: dict[tuple[str, str], dict[str, None]] = {}
    for step in plan.steps:
        for slot, ref in refs[step.name]:
            edges.setdefault((inputs.get(ref.root, ref.root), step.name), {})[slot] = None
    for output in plan.outputs:
        root = output.ref.root
        edges.setdefault((inputs.get(root, root), f"out:{output.name}"), {})["out"] = None
    required = _required(plan, registry, refs)
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from((node, _outside("input")) for node in inputs.values())
    graph.add_nodes_from((s.name, _step(s, registry, estimate, s.name not in required)) for s in plan.steps)
    for output in plan.outputs:
        source = estimate.steps.get(StepName(output.ref.root))
        slack = source.slack_ms if source is not None else 0.0
        graph.add_node(f"out:{output.name}", **_outside("output", slack, output.optional))
    graph.add_edges_from(
        (before, after, {"slots": tuple(slots), "elementwise": (before, after) in elementwise})
        for (before, after), slots in edges.items()
    )
    return graph


def _outside(kind: str, slack: float = 0.0, optional: bool = False) -> dict[str, Any]:
    return {
        "kind": kind,
        "step": None,
        "tools": (),
        "effects": "pure",
        "price": _FREE,
        "latency": _NO_TIME,
        "slack": slack,
        "optional": optional,
    }


def _step(step: Step, registry: RegistryView, estimate: PlanEstimate, optional: bool) -> dict[str, Any]:
    found = estimate.steps[step.name]
    return {
        "kind": "step",
        "step": step,
        "tools": tuple(attempt.tool for attempt in step.attempts),
        "effects": _effects(step, registry),
        "price": found.price,
        "latency": found.latency,
        "slack": found.slack_ms,
        "optional": optional,
    }


def _effects(step: Step, registry: RegistryView) -> Effect:
    """The strongest effect of any attempt."""
    strongest = 0
    for attempt in step.attempts:
        sig = registry.get(attempt.tool)
        if sig is not None and sig.effects != "pure":
            strongest = max(strongest, _EFFECTS.index(sig.effects))
    return _EFFECTS[strongest]


def _required(plan: Plan, registry: RegistryView, refs: StepRefs) -> Set[str]:
    """Steps that a required output or a write needs."""
    required = {output.ref.root for output in plan.outputs if not output.optional}
    for step in reversed(plan.steps):
        if step.name in required or _effects(step, registry) == "write":
            required.add(step.name)
            required.update([ref.root for _, ref in refs[step.name]])
    return required
