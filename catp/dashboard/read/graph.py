"""A stored plan as a graph of its steps, and its drawing; both follow from the digest, so both are kept."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.render.groups import Tree
from catp.planlang.render.layout import Direction, layout
from catp.planlang.render.view import PlanView, view

__all__ = ["drawing", "graph_json", "parents", "plan_json", "plan_layout"]

_SIZE = {"step": (224.0, 72.0), "input": (120.0, 36.0), "output": (120.0, 36.0)}


def parents(plan: Plan) -> dict[str, list[str]]:
    """Return every step with the steps it waits for, in plan order, which is topological."""
    before: dict[str, list[str]] = {step.name: [] for step in plan.steps}
    for edge in view(plan).edges:
        if edge.target in before and edge.source in before:
            before[edge.target].append(edge.source)
    return before


@lru_cache(maxsize=16)
def plan_json(digest: str, source: str) -> dict[str, Any]:
    """Return `{"hash", "title", "source", "nodes", "edges"}`; ids of inputs and outputs begin with `in:` and `out:`."""
    return {"hash": digest, "source": source, **graph_json(_view(source))}


def graph_json(drawn: PlanView) -> dict[str, Any]:
    """Return `{"title", "nodes", "edges"}` of what is to be drawn."""
    return {
        "title": drawn.title,
        "nodes": [
            {"id": n.id, "kind": n.kind, "title": n.title, "tools": list(n.tools), "lines": list(n.lines),
             "guard": n.guard, "notes": n.notes, "mapped": n.mapped, "optional": n.optional}
            for n in drawn.nodes
        ],
        "edges": [{"from": e.source, "to": e.target, "order": e.order} for e in drawn.edges],
    }  # fmt: skip


@lru_cache(maxsize=16)
def plan_layout(digest: str, source: str, direction: Direction, opened: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the drawing of a stored plan, as `drawing` does, with its `hash`."""
    return {"hash": digest, **drawing(_tree(source), _kinds(source), direction, opened)}


def drawing(groups: Tree, kinds: dict[str, str], direction: Direction, opened: Sequence[str] = ()) -> dict[str, Any]:
    """Return a drawing in pixels.

    `{"dir", "w", "h", "nodes": {id: [x, y, w, h]}, "edges": [{"from", "to", "points"}], "groups": [{"id", "kind",
    "title", "what", "members", "steps", "parent", "closed", "box"}], "capped"}`. An edge ends at a node or a closed
    group; only closed groups have a box, `[x, y, w, h]`; `steps` are the nodes in it.
    """
    drawn = groups.drawn(opened)
    sizes = {str(name): _SIZE[kinds.get(str(name), "step")] for name in drawn.graph}
    placed = layout(drawn.graph, sizes=sizes, direction=direction)
    return {
        "dir": direction, "w": placed.width, "h": placed.height,
        "nodes": {name: [*box] for name, box in placed.nodes.items() if name in kinds},
        "edges": [{"from": e.source, "to": e.target, "points": [[*p] for p in e.points]} for e in placed.edges],
        "groups": [
            {"id": g.id, "kind": g.kind, "title": g.title, "what": g.what, "members": len(g.members),
             "steps": list(g.members), "parent": g.parent, "closed": g.closed,
             "box": [*placed.nodes[g.id]] if g.closed else None}
            for g in drawn.groups
        ],
        "capped": drawn.capped,
    }  # fmt: skip


@lru_cache(maxsize=16)
def _view(source: str) -> PlanView:
    return view(parse(source))


@lru_cache(maxsize=16)
def _tree(source: str) -> Tree:
    return Tree(_view(source))


def _kinds(source: str) -> dict[str, str]:
    return {node.id: node.kind for node in _view(source).nodes}
