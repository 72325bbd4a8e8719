"""The plans of several runs as one graph: steps of the same name are the same step.

    A: ocr -> translate -> mail        ocr  in A and B, same
    B: ocr -> summarise -> mail        translate only A, summarise only B, mail changed (it reads something else)

Two plans may run the same steps in opposite orders; merged by name they would make a cycle. A step of such a cycle is
then split into one per run, `NAME@A`, `NAME@B`, until there is none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import networkx as nx

from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.render.layout import layout
from catp.planlang.render.view import NodeView, view

__all__ = ["LETTERS", "Merged", "MergedNode", "merge", "place"]

LETTERS = "ABCDE"

Change: TypeAlias = Literal["same", "tool", "args", "only"]

_SIZE = {"step": (200.0, 72.0), "input": (120.0, 36.0), "output": (120.0, 36.0)}


@dataclass(frozen=True, slots=True)
class MergedNode:
    """A step, input or output of some of the runs; `of` are their places, `text` what the step does in each."""

    id: str
    name: str
    kind: str
    of: tuple[int, ...]
    change: Change
    text: Mapping[int, str]


@dataclass(frozen=True)
class Merged:
    """The merged graph; `edges` maps (source, target) to the places of the runs that have it."""

    nodes: tuple[MergedNode, ...]
    edges: Mapping[tuple[str, str], tuple[int, ...]]


def merge(sources: Sequence[str], tools: Sequence[Mapping[str, str | None]]) -> Merged:
    """Merge plans given as text; `tools` says which tool each step really used, and names steps of replaced plans."""
    drawn = [view(plan) for plan in _plans(sources)]
    found: dict[tuple[str, int], NodeView] = {}  # by id and place
    for place_, one in enumerate(drawn):
        found |= {(node.id, place_): node for node in one.nodes}
        for name in tools[place_]:  # the step of a plan that a repair replaced has no edges any more
            found.setdefault((name, place_), NodeView(name, "step", name, ("of a plan that was replaced",)))
    pairs = [(edge.source, edge.target, place_) for place_, one in enumerate(drawn) for edge in one.edges]
    split = _to_split(found, pairs)

    def key(id_: str, place_: int) -> str:
        return f"{id_}@{LETTERS[place_]}" if id_ in split else id_

    members: dict[str, dict[int, NodeView]] = {}
    for (id_, place_), node in found.items():
        members.setdefault(key(id_, place_), {})[place_] = node
    edges: dict[tuple[str, str], list[int]] = {}
    for source, target, place_ in pairs:
        edges.setdefault((key(source, place_), key(target, place_)), []).append(place_)
    nodes = [_node(id_, of, len(sources), tools) for id_, of in members.items()]
    order = {id_: rank for rank, id_ in enumerate(nx.topological_sort(_graph(members, edges)))}
    nodes.sort(key=lambda node: order[node.id])
    return Merged(tuple(nodes), {pair: tuple(of) for pair, of in edges.items()})


def place(merged: Merged) -> dict[str, Any]:
    """Return the drawing in pixels, in the form of `/plans/{digest}/layout`."""
    graph = _graph({node.id: None for node in merged.nodes}, merged.edges)
    placed = layout(graph, sizes={node.id: _SIZE[node.kind] for node in merged.nodes})
    return {
        "dir": "LR", "w": placed.width, "h": placed.height,
        "nodes": {name: [*box] for name, box in placed.nodes.items()},
        "edges": [{"from": e.source, "to": e.target, "points": [[*p] for p in e.points]} for e in placed.edges],
    }  # fmt: skip


def _plans(sources: Sequence[str]) -> list[Plan]:
    return [parse(source) for source in sources]


def _graph(nodes: Mapping[str, Any], edges: Mapping[tuple[str, str], Any]) -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from(edges)
    return graph


def _to_split(found: Mapping[tuple[str, int], NodeView], pairs: Sequence[tuple[str, str, int]]) -> set[str]:
    """The ids to split so that no cycle is left: of each cycle the shared step with the most ways through it."""
    shared = {id_ for id_, place_ in found if any((id_, other) in found for other in range(place_))}
    split: set[str] = set()
    while True:
        graph: nx.DiGraph[tuple[str, int]] = nx.DiGraph()
        for source, target, place_ in pairs:
            ends = ((id_, place_ if id_ in split else -1) for id_ in (source, target))
            graph.add_edge(*ends)
        knots = [knot for knot in nx.strongly_connected_components(graph) if len(knot) > 1]
        if not knots:
            return split
        for knot in knots:
            tangled = graph.subgraph(knot)
            ways = {
                id_: tangled.in_degree((id_, place_)) * tangled.out_degree((id_, place_))
                for id_, place_ in knot
                if place_ < 0 and id_ in shared
            }
            ranked = sorted(ways, key=lambda id_: (-ways[id_], id_))
            split.update(ranked[: max(1, len(ranked) // 8)])  # several of a large one, or it takes a round for each


def _node(id_: str, of: Mapping[int, NodeView], runs: int, tools: Sequence[Mapping[str, str | None]]) -> MergedNode:
    first = next(iter(of.values()))
    text = {at: " ".join(part for part in (*node.lines, node.guard, node.notes) if part) for at, node in of.items()}
    change: Change = "same"
    if len(of) < runs:
        change = "only"
    elif first.kind == "step" and len({tools[at].get(node.id) for at, node in of.items()}) > 1:
        change = "tool"
    elif len(set(text.values())) > 1:
        change = "args"
    return MergedNode(id_, first.title, first.kind, tuple(sorted(of)), change, text)
