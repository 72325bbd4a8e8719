"""A plan too large to be drawn whole, with groups of steps in the place of their members."""

from dataclasses import replace

from catp.planlang.render.groups import Group, Tree
from catp.planlang.render.view import EdgeView, NodeView, PlanView

__all__ = ["collapsed"]


def collapsed(drawn: PlanView) -> PlanView:
    """Return a view of at most some 300 boxes: the same one if it is small, else one with closed groups.

    A group is critical if one of its members is; between boxes there is one edge, critical if one of those that it
    stands for is, and an order edge if all of them are.
    """
    grouped = Tree(drawn).drawn()
    if not grouped.capped:
        return drawn
    known = {node.id: node for node in drawn.nodes}
    groups = {group.id: group for group in grouped.groups if group.closed}
    box = {member: group.id for group in groups.values() for member in group.members}
    edges: dict[tuple[str, str], EdgeView] = {}
    for edge in drawn.edges:
        source, target = box.get(edge.source, edge.source), box.get(edge.target, edge.target)
        if source != target:
            one = edges.get((source, target), EdgeView(source, target, order=True))
            edges[source, target] = replace(one, critical=one.critical or edge.critical, order=one.order and edge.order)
    nodes = [known[name] if name in known else _box(groups[name], known) for name in grouped.graph]
    return replace(drawn, nodes=tuple(nodes), edges=tuple(edges.values()))


def _box(group: Group, known: dict[str, NodeView]) -> NodeView:
    return NodeView(
        group.id, "step", group.title, (f"{len(group.members)} steps: {group.what}",),
        critical=any(known[member].critical for member in group.members),
    )  # fmt: skip
