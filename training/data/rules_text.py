"""What must hold of a record's plan where there is a text: it is a plan, and it says the same as the record.

The plan language's own checker judges the types, the edges must be the text's references, and the hash the text's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from catp.planlang.check import check
from catp.planlang.digest import digest
from catp.planlang.errors import PlanError
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.passes.alternatives import drop_unreachable
from catp.planlang.passes.cse import merge_common
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.normalise import normalise
from catp.planlang.registry_view import RegistryView
from catp.training.data.canonical import canonical_plan
from catp.training.data.edges import INPUT, fits, is_order, port_of, type_of
from catp.training.data.graph import plan_graph
from catp.training.data.problems import Problem, shown
from catp.training.data.trajectory import Plan as Graph
from catp.training.data.trajectory import Trajectory

__all__ = ["Offer", "has_text", "plan_text", "text_problems"]

_AGREE = "make the record and its text agree"


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


def text_problems(record: Trajectory, offer: Offer | None) -> Iterator[Problem]:
    """Yield what is wrong with the text, and where the record differs from it."""
    text = _read(record)
    if text.error is not None:
        first = text.error.diagnostics[0]
        yield Problem("text", "plan.text", first.render().splitlines()[0], "not a plan", first.help or "mend the text")
    elif text.plan is not None:
        yield from _same(record, text.plan, offer)
        yield from _hash(record, record.plan.text or "", offer)
        if offer is not None:
            yield from _checked(record, text.plan, offer)


def has_text(record: Trajectory) -> bool:
    """Tell whether the record has its plan as a text of the plan language."""
    return record.plan.text is not None and (record.plan.language or "planlang").startswith("planlang")


def _read(record: Trajectory) -> _Text:
    return _parsed(record.plan.text or "") if has_text(record) else _Text(None, None)


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
        for source in (edge[0], *([INPUT] if edge[0] in inputs else [])):
            ports.setdefault((source, edge[1]), set()).add(port_of(edge))
    told = {(edge[0], edge[1]) for edge in record.plan.edges}
    for number, edge in enumerate(record.plan.edges):
        known, port = ports.get((edge[0], edge[1])), port_of(edge)
        if known is None:
            why = f"in plan.text {edge[1]!r} does not use {edge[0]!r}"
            yield Problem("text", f"plan.edges[{number}]", shown(edge), why, _AGREE)
        elif port is not None and None not in known and port not in known:
            why = f"in plan.text {edge[1]!r} uses {edge[0]!r} as {' and '.join(sorted(filter(None, known)))}"
            yield Problem("text", f"plan.edges[{number}][2]", shown(port), why, _AGREE)
    for edge in graph.edges:
        pair = (edge[0], edge[1])
        given = pair in told or (edge[0] in inputs and (INPUT, edge[1]) in told)
        if not given and not is_order(port_of(edge)):
            why = f"in plan.text {edge[1]!r} uses {edge[0]!r}"
            yield Problem("text", "plan.edges", "no such edge", why, f"add {shown(edge)}")
            told.add(pair)


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


def _hash(record: Trajectory, text: str, offer: Offer | None) -> Iterator[Problem]:
    """The hash is the digest of the text, or that of its canonical form."""
    given = record.plan.canonical_hash
    if given in (None, _digest(text)) or (offer is not None and given == _canonical_digest(text, offer)):
        return
    why = f"the digest of plan.text is {_digest(text)}"
    yield Problem("hash", "plan.canonical_hash", shown(given), why, "write the digest of the text, or mend the text")


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
        elif not fits(offer.view.types, item.type, type_of(given[item.name])):
            number = list(given).index(item.name)
            why = f"the plan takes {item.type} as {item.name!r}"
            yield Problem("types", f"request.inputs[{number}].type", shown(given[item.name]), why, "make them agree")


@lru_cache(maxsize=4096)
def _diagnosed(text: str, offer: Offer) -> tuple[tuple[str, str, str], ...]:
    errors = check(_tree(text), offer.view).errors
    return tuple((e.code, e.render().splitlines()[0], e.help or "mend the plan") for e in errors)
