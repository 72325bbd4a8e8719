"""What must hold of a record's plan: a graph without cycles, edges whose types fit, and a text that says the same.

Where there is a text, its rules (`rules_text`) judge the types. Where there is none, an edge fits if the tool's output,
or a field of it, may be passed to a parameter of the next tool (`[from, to, port]` names which).
"""

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from catp.planlang.errors import nearest
from catp.planlang.registry_view import RegistryView
from catp.training.data.edges import INPUT, is_order, may_pass, port_of, type_of
from catp.training.data.problems import Problem, shown
from catp.training.data.rules_text import Offer, has_text, text_problems
from catp.training.data.trajectory import Trajectory

__all__ = ["graph_problems", "order_of"]


def order_of(record: Trajectory) -> list[str] | None:
    """Return the nodes parents first, or None if the graph has a cycle."""
    try:
        return list(_sorter(record).static_order())
    except CycleError:
        return None


def graph_problems(record: Trajectory, offer: Offer | None) -> Iterator[Problem]:
    """Yield what is wrong with the plan; tools and types are checked if the tools on offer are known."""
    view = None if offer is None else offer.view
    yield from _nodes(record, view)
    yield from _edges(record)
    yield from _cycle(record)
    if has_text(record):
        yield from text_problems(record, offer)
    elif view is not None:
        yield from _types(record, view)


def _nodes(record: Trajectory, view: RegistryView | None) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, node in enumerate(record.plan.nodes):
        if node.id in seen:
            fix = "give each node its own id"
            yield Problem("nodes", f"plan.nodes[{number}].id", shown(node.id), "two nodes have this id", fix)
        seen.add(node.id)
        if view is not None and view.get(node.tool) is None:
            yield _unknown(f"plan.nodes[{number}].tool", node.tool, view)
    for number, event in enumerate(record.events):
        if view is not None and event.tool is not None and view.get(event.tool) is None:
            yield _unknown(f"events[{number}].tool", event.tool, view)


def _unknown(field: str, tool: str, view: RegistryView) -> Problem:
    help = nearest(tool, (sig.name for sig in view)) or "add it to the toolset file, or name another toolset"
    return Problem("tool", field, shown(tool), "the toolset has no such tool", help)


def _edges(record: Trajectory) -> Iterator[Problem]:
    nodes = {node.id for node in record.plan.nodes}
    sources = nodes | {INPUT} | {item.name for item in record.request.inputs if item.name is not None}
    for number, edge in enumerate(record.plan.edges):
        if edge[0] not in sources:
            fix = f"name a node or an input: {', '.join(sorted(sources))}"
            yield Problem("edges", f"plan.edges[{number}][0]", shown(edge[0]), "no such node or input", fix)
        if edge[1] not in nodes:
            fix = f"name a node: {', '.join(sorted(nodes)) or 'there is none'}"
            yield Problem("edges", f"plan.edges[{number}][1]", shown(edge[1]), "no such node", fix)


def _sorter(record: Trajectory) -> TopologicalSorter[str]:
    nodes = {node.id for node in record.plan.nodes}
    sorter: TopologicalSorter[str] = TopologicalSorter({node.id: () for node in record.plan.nodes})
    for edge in record.plan.edges:
        if edge[0] in nodes and edge[1] in nodes:
            sorter.add(edge[1], edge[0])
    return sorter


def _cycle(record: Trajectory) -> Iterator[Problem]:
    try:
        _sorter(record).prepare()
    except CycleError as error:
        way = " -> ".join(error.args[1])
        yield Problem("cycle", "plan.edges", way, "the graph has a cycle", "a step may use only what is done before")


def _types(record: Trajectory, view: RegistryView) -> Iterator[Problem]:
    sigs = {node.id: view.get(node.tool) for node in record.plan.nodes}
    inputs = record.request.inputs
    mapped = {event.node for event in record.events if event.element is not None}
    for number, edge in enumerate(record.plan.edges):
        target, source = sigs.get(edge[1]), sigs.get(edge[0])
        if target is None or (edge[0] in sigs and source is None):
            continue
        given = [source.returns] if source else [type_of(i.type) for i in inputs if edge[0] in (i.name, INPUT)]
        port = port_of(edge)
        if is_order(port):
            continue
        if port is not None and target.param(port) is None:
            fix = f"its parameters are {', '.join(p.name for p in target.params) or 'none'}"
            yield Problem("edges", f"plan.edges[{number}][2]", shown(port), f"{target.name} has no such parameter", fix)
        elif given and not any(may_pass(view.types, type_, target, port, edge[1] in mapped) for type_ in given):
            taken = ", ".join(f"{p.name}: {p.type}" for p in target.params if port in (None, p.name)) or "nothing"
            why = f"{edge[0]!r} gives {given[0]}, {target.name} takes {taken}"
            yield Problem("types", f"plan.edges[{number}]", shown(edge), why, "connect steps whose types fit")
