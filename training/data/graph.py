"""A plan of the plan language as the graph that records hold, and what shape such a graph has."""

from collections.abc import Iterable
from typing import Any, Final, Literal

from catp.planlang.digest import digest
from catp.planlang.jsonwrite import Writer
from catp.planlang.nodes import ListValue, ObjectValue, Value, refs_in, step_refs
from catp.planlang.nodes import Plan as LangPlan
from catp.planlang.printer import to_text
from catp.planlang.registry_view import RegistryView
from catp.training.data.trajectory import Plan, PlanNode

__all__ = ["LANGUAGE", "Shape", "plan_graph", "shape_of"]

LANGUAGE: Final = "planlang/1"

Shape = Literal["chain", "fork", "join", "parallel"]


def plan_graph(plan: LangPlan, registry: RegistryView | None = None) -> Plan:
    """Return a plan as nodes and edges, with its text and hash.

    A step with alternatives is the node of its first call; edges come from all of them. The port of an edge is the
    parameter, or what else of the step depends on the value: `when`, `else`, `@after`. Arguments by position get
    their names from `registry`; without one such edges have no port. Constant arguments become `args`.
    """
    nodes: list[PlanNode] = []
    edges: dict[tuple[str, ...], None] = {}
    for step in plan.steps:
        first = step.attempts[0]
        params = _params(registry, str(first.tool))
        args: dict[str, Any] = {}
        for position, arg in enumerate(first.args):
            if next(refs_in(arg.value), None) is None:
                args[arg.name or params.get(position, str(position))] = _constant(arg.value)
        nodes.append(PlanNode(id=step.name, tool=str(first.tool), args=args))
        for slot, ref in step_refs(step):
            name = slot.removeprefix("arg:")
            port = params.get(int(name)) if name.isdigit() else name
            edges[(ref.root, step.name) if port is None else (ref.root, step.name, port)] = None
    return Plan(
        language=LANGUAGE, text=to_text(plan), nodes=nodes, edges=[list(edge) for edge in edges],
        canonical_hash=digest(plan),
    )  # fmt: skip


def _constant(value: Value) -> Any:
    """A constant as plain JSON; money and durations as the plan language's JSON form writes them."""
    match value:
        case ListValue():
            return [_constant(item) for item in value.items]
        case ObjectValue():
            return {key: _constant(item) for key, item in value.pairs}
    return Writer().value(value)


def _params(registry: RegistryView | None, tool: str) -> dict[int, str]:
    signature = registry.get(tool) if registry is not None else None
    return {} if signature is None else {place: param.name for place, param in enumerate(signature.params)}


def shape_of(plan: Plan) -> frozenset[Shape]:
    """Say what a plan's graph has: a `fork` (one step feeds two), a `join` (one step is fed by two), `parallel` parts
    that share nothing but inputs; `chain` if it has none of them.
    """
    ids = {node.id for node in plan.nodes}
    links = {(edge[0], edge[1]) for edge in plan.edges if edge[0] in ids and edge[1] in ids}
    found: set[Shape] = set()
    if _repeats(source for source, _ in links):
        found.add("fork")
    if _repeats(target for _, target in links):
        found.add("join")
    if _components(ids, links) > 1:
        found.add("parallel")
    return frozenset(found or {"chain"})


def _repeats(names: Iterable[str]) -> bool:
    listed = list(names)
    return len(set(listed)) < len(listed)


def _components(ids: set[str], links: set[tuple[str, str]]) -> int:
    """Count weakly connected parts."""
    leader = {name: name for name in ids}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    for source, target in links:
        leader[find(source)] = find(target)
    return sum(find(name) == name for name in ids)
