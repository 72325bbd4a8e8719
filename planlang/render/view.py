"""What every picture shows, free of any format: one node per input, step and output, one edge per dependency."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias

import networkx as nx

from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Arg, Attempt, Plan, Step, step_refs
from catp.planlang.registry_view import Effect, RegistryView
from catp.planlang.render.labels import call_text, note_text, price_text, time_text, value_text, when_text

__all__ = ["EdgeView", "NodeKind", "NodeView", "PlanView", "view"]

NodeKind: TypeAlias = Literal["input", "step", "output"]


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node: `id` as in `CompiledPlan.graph`, `title` its name, `lines` what it does, prices and times as text."""

    id: str
    kind: NodeKind
    title: str
    lines: tuple[str, ...] = ()
    guard: str = ""
    notes: str = ""
    price: str = ""
    latency: str = ""
    slack: str = ""
    critical: bool = False
    optional: bool = False
    mapped: bool = False
    effects: Effect = "pure"
    tools: tuple[str, ...] = ()
    """The tools of a step in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class EdgeView:
    """One dependency; `critical` edges join consecutive steps of the critical path, `order` ones carry no data."""

    source: str
    target: str
    critical: bool = False
    order: bool = False


@dataclass(frozen=True)
class PlanView:
    """A plan ready to be drawn.

    `title` is its name, with `@approve` if the whole plan needs approval. `summary` is one line about price and time,
    empty if the plan was not compiled.
    """

    title: str
    nodes: tuple[NodeView, ...]
    edges: tuple[EdgeView, ...]
    summary: str = ""
    critical_path: tuple[str, ...] = ()
    key: str = "plan"
    """A short text that tells pictures apart where several share one document."""
    approve: bool = False

    def graph(self) -> "nx.DiGraph[str]":
        """Return the nodes and edges as a graph, in plan order."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(node.id for node in self.nodes)
        graph.add_edges_from((edge.source, edge.target) for edge in self.edges)
        return graph


def view(plan: CompiledPlan | Plan) -> PlanView:
    """Return what to draw: with prices, times and the critical path if the plan is compiled."""
    if isinstance(plan, Plan):
        plan = _without_doubles(plan)
        edges = tuple(EdgeView(source, target, order=order) for source, target, order in _dependencies(plan))
        return PlanView(_title(plan), tuple(_nodes(plan, None)), edges, approve=plan.approve)
    estimate = plan.estimate
    path = estimate.critical_path
    hot = set(pairwise(path))
    edges = tuple(
        EdgeView(source, target, (source, target) in hot, order=set(data.get("slots", ())) == {"@after"})
        for source, target, data in plan.graph.edges(data=True)
    )
    summary = f"{len(plan.plan.steps)} steps, {price_text(estimate.price)}"
    if estimate.unpriced:
        summary = f"{len(plan.plan.steps)} steps, {len(estimate.unpriced)} of them unpriced"
    if estimate.untimed:
        summary += f", {len(estimate.untimed)} of unknown time"
    if estimate.latency.expected_ms > 0:
        summary += f", {time_text(estimate.latency.expected_ms)} (one after the other {time_text(estimate.serial_ms)})"
    nodes = tuple(_nodes(plan.plan, plan))
    return PlanView(_title(plan.plan), nodes, edges, summary, tuple(path), plan.digest[:12], plan.plan.approve)


def _title(plan: Plan) -> str:
    return f"{plan.name or 'plan'}{' @approve' if plan.approve else ''}"


def _without_doubles(plan: Plan) -> Plan:
    """Drop second definitions: a plan that was not checked may have them, and they could close a cycle."""
    inputs = {given.name: given for given in reversed(plan.inputs)}
    steps = {step.name: step for step in reversed(plan.steps)}
    outputs = {output.name: output for output in reversed(plan.outputs)}
    return replace(
        plan,
        inputs=tuple(given for given in plan.inputs if inputs[given.name] is given),
        steps=tuple(step for step in plan.steps if steps[step.name] is step),
        outputs=tuple(output for output in plan.outputs if outputs[output.name] is output),
    )


def _nodes(plan: Plan, compiled: CompiledPlan | None) -> Iterator[NodeView]:
    for given in plan.inputs:
        default = f" = {value_text(given.default)}" if given.default is not None else ""
        yield NodeView(f"in:{given.name}", "input", given.name, (f"{given.type}{default}",))
    for step in plan.steps:
        yield _step(step, compiled)
    for output in plan.outputs:
        lines = () if str(output.ref) == output.name else (str(output.ref),)
        yield NodeView(f"out:{output.name}", "output", output.name, lines, optional=output.optional)


def _step(step: Step, compiled: CompiledPlan | None) -> NodeView:
    attempts = step.attempts if compiled is None else tuple(_as_written(a, compiled.registry) for a in step.attempts)
    calls = tuple(("| " if index else "") + call_text(attempt) for index, attempt in enumerate(attempts))
    found = compiled.estimate.steps.get(step.name) if compiled is not None else None
    price = latency = slack = ""
    if found is not None:
        price = price_text(found.price)
        timed = found.timed and found.latency.expected_ms > 0
        latency = time_text(found.latency.expected_ms) if timed else "" if found.timed else "time unknown"
        slack = time_text(found.slack_ms) if timed and found.slack_ms > 0 and not found.critical else ""
    return NodeView(
        step.name, "step", step.name, calls, when_text(step), note_text(step.notes), price, latency, slack,
        critical=found.critical if found is not None else False,
        mapped=step.mapped,
        effects=_effects(step, compiled),
        tools=tuple(str(attempt.tool) for attempt in step.attempts),
    )  # fmt: skip


def _as_written(attempt: Attempt, registry: RegistryView) -> Attempt:
    """Undo what normalisation spells out: leave out defaults, and the names of arguments in parameter order."""
    signature = registry.get(attempt.tool)
    if signature is None:
        return attempt
    args: list[Arg] = []
    for arg in attempt.args:
        param = signature.param(arg.name) if arg.name is not None else None
        if param is not None and not param.required and param.default == arg.value and not arg.each:
            continue
        position = len(args)
        in_order = position < len(signature.params) and signature.params[position].name == arg.name
        plain = in_order and all(earlier.name is None for earlier in args)
        args.append(replace(arg, name=None) if plain else arg)
    return replace(attempt, args=tuple(args))


def _effects(step: Step, compiled: CompiledPlan | None) -> Effect:
    if compiled is None:
        return "pure"
    signatures = [compiled.registry.get(attempt.tool) for attempt in step.attempts]
    found = {signature.effects for signature in signatures if signature is not None}
    return "write" if "write" in found else "read" if "read" in found else "pure"


def _dependencies(plan: Plan) -> Iterator[tuple[str, str, bool]]:
    """Yield (source, target, order only); references to anything but earlier values are left out, so no cycles."""
    known = {given.name: f"in:{given.name}" for given in plan.inputs}
    for step in plan.steps:
        slots: dict[str, set[str]] = {}
        for slot, ref in step_refs(step):
            if ref.root in known:
                slots.setdefault(known[ref.root], set()).add(slot)
        for source, names in slots.items():
            yield source, step.name, names == {"@after"}
        known[step.name] = step.name
    for output in plan.outputs:
        if output.ref.root in known:
            yield known[output.ref.root], f"out:{output.name}", False
