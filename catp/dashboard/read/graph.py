"""A stored plan as a graph of its steps, and its drawing; both follow from the digest, so both are kept."""

from functools import lru_cache
from typing import Any

from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.render.layout import Direction, layout
from catp.planlang.render.view import view

__all__ = ["parents", "plan_json", "plan_layout"]

_SIZE = {"step": (200.0, 72.0), "input": (120.0, 36.0), "output": (120.0, 36.0)}


def parents(plan: Plan) -> dict[str, list[str]]:
    """Return every step with the steps it waits for, in plan order, which is topological."""
    before: dict[str, list[str]] = {step.name: [] for step in plan.steps}
    for edge in view(plan).edges:
        if edge.target in before and edge.source in before:
            before[edge.target].append(edge.source)
    return before


@lru_cache(maxsize=64)
def plan_json(digest: str, source: str) -> dict[str, Any]:
    """Return `{"hash", "source", "nodes", "edges"}`; ids of inputs and outputs begin with `in:` and `out:`."""
    drawn = view(parse(source))
    return {
        "hash": digest, "title": drawn.title, "source": source,
        "nodes": [
            {"id": n.id, "kind": n.kind, "title": n.title, "lines": list(n.lines), "guard": n.guard, "notes": n.notes,
             "mapped": n.mapped, "optional": n.optional}
            for n in drawn.nodes
        ],
        "edges": [{"from": e.source, "to": e.target, "order": e.order} for e in drawn.edges],
    }  # fmt: skip


@lru_cache(maxsize=64)
def plan_layout(digest: str, source: str, direction: Direction) -> dict[str, Any]:
    """Return the drawing in pixels: `{"w", "h", "nodes": {id: [x, y, w, h]}, "edges": [{"from", "to", "points"}]}`."""
    drawn = view(parse(source))
    sizes = {node.id: _SIZE[node.kind] for node in drawn.nodes}
    placed = layout(drawn.graph(), sizes=sizes, direction=direction)
    return {
        "hash": digest, "dir": direction, "w": placed.width, "h": placed.height,
        "nodes": {name: [*box] for name, box in placed.nodes.items()},
        "edges": [{"from": e.source, "to": e.target, "points": [[*p] for p in e.points]} for e in placed.edges],
    }  # fmt: skip
