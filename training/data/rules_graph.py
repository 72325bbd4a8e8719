"""What must hold of a record's plan: a graph without cycles, edges whose types fit, and a text that says the same.

Where there is a text, the plan language's own checker judges the types, and the edges must be the text's references.
Where there is none, an edge fits if the tool's output, or a field of it, may be passed to a parameter of the next
tool (`[from, to, port]` names which). A single value fits a list, because plans can write one; a list fits a single
value where the events show a map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from catp.planlang.check import check
from catp.planlang.digest import digest
from catp.planlang.errors import PlanError, nearest
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.passes.alternatives import drop_unreachable
from catp.planlang.passes.cse import merge_common
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.normalise import normalise
from catp.planlang.registry_view import RegistryView, ToolSig
from catp.planlang.types import Type, TypeTable, list_of, parse_type
from catp.training.data.canonical import canonical_plan
from catp.training.data.graph import plan_graph
from catp.training.data.problems import Problem, shown
from catp.training.data.trajectory import Plan as Graph
from catp.training.data.trajectory import Trajectory

__all__ = ["Offer", "graph_problems", "order_of", "plan_text"]

_INPUT = "input"
_AGREE = "make the record and its text agree"
_DEPTH = 3


@dataclass(frozen=True, eq=False, slots=True)
class Offer:
    """The tools on offer. Compared by identity, so that what is found of a text is found once for each."""

    view: RegistryView


class _Text(NamedTuple):
    """A plan's text as read: its tree or the errors."""

    plan: Plan | None
    error: PlanError | None


def plan_text(record: Trajectory) -> Plan | None:
    """Return the plan as the language's tree, or None if there is no text or it cannot be read."""
    return _read(record).plan


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
    text = _read(record)
    if text.error is not None:
        first = text.error.diagnostics[0]
        yield Problem("text", "plan.text", first.render().splitlines()[0], "not a plan", first.help or "mend the text")
    elif text.plan is not None:
        yield from _same(record, text.plan, offer)
        yield from _hash(record, record.plan.text or "", offer)
        if offer is not None:
            yield from _checked(record, text.plan, offer)
    elif view is not None:
        yield from _types(record, view)


def _read(record: Trajectory) -> _Text:
    language = record.plan.language or "planlang"
    if record.plan.text is None or not language.startswith("planlang"):
        return _Text(None, None)
    return _parsed(record.plan.text)


@lru_cache(maxsize=4096)
def _parsed(text: str) -> _Text:
    try:
        return _Text(parse(text), None)
    except PlanError as error:
        return _Text(None, error)


def _tree(text: str) -> Plan:
    """The tree of a text that is known to be a plan."""
    plan = _parsed(text).plan
    assert plan is not None
    return plan


@lru_cache(maxsize=4096)
def _digest(text: str) -> str:
    return digest(_tree(text))


@lru_cache(maxsize=4096)
def _canonical_digest(text: str, offer: Offer) -> str | None:
    try:
        return digest(canonical_plan(_tree(text), offer.view))
    except PlanError:  # said by `_checked`
        return None


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
    sources = nodes | {_INPUT} | {item.name for item in record.request.inputs if item.name is not None}
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


@lru_cache(maxsize=4096)
def _graph(text: str, offer: Offer | None) -> Graph:
    return plan_graph(_tree(text), None if offer is None else offer.view)


@lru_cache(maxsize=4096)
def _simplified(text: str, offer: Offer) -> Graph:
    """The graph as it is run: equal calls merged, useless steps left out."""
    plan = _tree(text)
    try:
        check(plan, offer.view).raise_errors(text)
    except PlanError:  # said by `_checked`
        return _graph(text, offer)
    for rewrite in (normalise, drop_unreachable, merge_common, drop_dead):
        plan, _ = rewrite(plan, offer.view)
    return plan_graph(plan, offer.view)


def _same(record: Trajectory, plan: Plan, offer: Offer | None) -> Iterator[Problem]:
    """The graph is that of the text, as written or as run; a node may be of a later alternative of its step."""
    graph = _graph(record.plan.text or "", offer)
    if offer is not None and len(record.plan.nodes) < len(graph.nodes):
        graph = _simplified(record.plan.text or "", offer)
    steps = {node.id: node for node in graph.nodes}
    for number, node in enumerate(record.plan.nodes):
        at, step = f"plan.nodes[{number}]", steps.get(node.id)
        if step is None:
            yield Problem("text", f"{at}.id", shown(node.id), "plan.text has no such step", _AGREE)
            continue
        tools = [str(attempt.tool) for attempt in plan.step(node.id).attempts]
        if node.tool not in tools:
            yield Problem("text", f"{at}.tool", shown(node.tool), f"plan.text calls {' or '.join(tools)}", _AGREE)
        elif node.tool == tools[0] and (offer is not None or not any(name.isdigit() for name in step.args)):
            for name, value in node.args.items():
                if name not in step.args or value != step.args[name]:
                    why = f"plan.text has {shown(step.args[name])}" if name in step.args else "not in plan.text"
                    yield Problem("text", f"{at}.args.{name}", shown(value), why, _AGREE)
    missing = steps.keys() - {node.id for node in record.plan.nodes}
    if missing:
        why = f"plan.text has steps that are not here: {', '.join(sorted(missing))}"
        yield Problem("text", "plan.nodes", f"{len(record.plan.nodes)} nodes", why, _AGREE)
    yield from _same_edges(record, graph, {item.name for item in plan.inputs})


def _same_edges(record: Trajectory, graph: Graph, inputs: set[str]) -> Iterator[Problem]:
    """The same pairs, and the same ports where both name one; `input` stands for any of the inputs."""
    ports: dict[tuple[str, str], set[str | None]] = {}
    for edge in graph.edges:
        for source in (edge[0], *([_INPUT] if edge[0] in inputs else [])):
            ports.setdefault((source, edge[1]), set()).add(_port(edge))
    told = {(edge[0], edge[1]) for edge in record.plan.edges}
    for number, edge in enumerate(record.plan.edges):
        known, port = ports.get((edge[0], edge[1])), _port(edge)
        if known is None:
            why = f"in plan.text {edge[1]!r} does not use {edge[0]!r}"
            yield Problem("text", f"plan.edges[{number}]", shown(edge), why, _AGREE)
        elif port is not None and None not in known and port not in known:
            why = f"in plan.text {edge[1]!r} uses {edge[0]!r} as {' and '.join(sorted(filter(None, known)))}"
            yield Problem("text", f"plan.edges[{number}][2]", shown(port), why, _AGREE)
    for edge in graph.edges:
        pair = (edge[0], edge[1])
        given = pair in told or (edge[0] in inputs and (_INPUT, edge[1]) in told)
        if not given and not _orders(_port(edge)):
            why = f"in plan.text {edge[1]!r} uses {edge[0]!r}"
            yield Problem("text", "plan.edges", "no such edge", why, f"add {shown(edge)}")
            told.add(pair)


def _port(edge: list[str]) -> str | None:
    return edge[2] if len(edge) == 3 else None


def _orders(port: str | None) -> bool:
    """True if the edge carries no argument: a condition, another value, or an annotation."""
    return port is not None and (port in ("when", "else") or port.startswith("@"))


def _hash(record: Trajectory, text: str, offer: Offer | None) -> Iterator[Problem]:
    """The hash is the digest of the text, or that of its canonical form."""
    given = record.plan.canonical_hash
    if given in (None, _digest(text)) or (offer is not None and given == _canonical_digest(text, offer)):
        return
    why = f"the digest of plan.text is {_digest(text)}"
    yield Problem("hash", "plan.canonical_hash", shown(given), why, "write the digest of the text, or mend the text")


@lru_cache(maxsize=4096)
def _diagnosed(text: str, offer: Offer) -> tuple[tuple[str, str, str], ...]:
    errors = check(_tree(text), offer.view).errors
    return tuple((e.code, e.render().splitlines()[0], e.help or "mend the plan") for e in errors)


def _checked(record: Trajectory, plan: Plan, offer: Offer) -> Iterator[Problem]:
    for code, message, help in _diagnosed(record.plan.text or "", offer):
        if code != "E104":  # an unknown tool is said at its node
            yield Problem("types", "plan.text", message, "the plan does not fit the toolset", help)
    given = {item.name: item.type for item in record.request.inputs if item.name is not None}
    if len(given) < len(record.request.inputs):
        return
    for item in plan.inputs:
        if item.name not in given:
            if item.default is None:
                fix = f"inputs are {', '.join(given) or 'none'}"
                yield Problem("edges", "request.inputs", shown(item.name), "the plan's input is not given", fix)
        elif not _fits(offer.view.types, item.type, _type(given[item.name])):
            number = list(given).index(item.name)
            why = f"the plan takes {item.type} as {item.name!r}"
            yield Problem("types", f"request.inputs[{number}].type", shown(given[item.name]), why, "make them agree")


def _types(record: Trajectory, view: RegistryView) -> Iterator[Problem]:
    sigs = {node.id: view.get(node.tool) for node in record.plan.nodes}
    inputs = record.request.inputs
    mapped = {event.node for event in record.events if event.element is not None}
    for number, edge in enumerate(record.plan.edges):
        target, source = sigs.get(edge[1]), sigs.get(edge[0])
        if target is None or (edge[0] in sigs and source is None):
            continue
        given = [source.returns] if source else [_type(i.type) for i in inputs if edge[0] in (i.name, _INPUT)]
        port = _port(edge)
        if _orders(port):
            continue
        if port is not None and target.param(port) is None:
            fix = f"its parameters are {', '.join(p.name for p in target.params) or 'none'}"
            yield Problem("edges", f"plan.edges[{number}][2]", shown(port), f"{target.name} has no such parameter", fix)
        elif given and not any(_passes(view.types, type_, target, port, edge[1] in mapped) for type_ in given):
            taken = ", ".join(f"{p.name}: {p.type}" for p in target.params if port in (None, p.name)) or "nothing"
            why = f"{edge[0]!r} gives {given[0]}, {target.name} takes {taken}"
            yield Problem("types", f"plan.edges[{number}]", shown(edge), why, "connect steps whose types fit")


def _passes(table: TypeTable, given: Type, target: ToolSig, port: str | None, mapped: bool) -> bool:
    wanted = [param.type for param in target.params if port in (None, param.name)]
    return any(_fits(table, want, type_) for type_ in _carried(table, given, mapped, _DEPTH) for want in wanted)


def _carried(table: TypeTable, given: Type, mapped: bool, depth: int) -> Iterator[Type]:
    """The types an edge may carry: the value, its fields, and of a map the elements."""
    yield given.required
    if mapped and given.item is not None:
        yield from _carried(table, given.item, False, depth)
    if depth:
        for _, field in table.fields(given):
            yield from _carried(table, field, mapped, depth - 1)


def _fits(table: TypeTable, wanted: Type, given: Type) -> bool:
    want, have = wanted.required, given.required
    if want == have or table.accepts(want, have) or have.name == "any":
        return True
    return want.item is not None and table.accepts(want, list_of(have))


def _type(text: str) -> Type:
    try:
        return parse_type(text)
    except ValueError:
        return Type(text)
