"""Plans too large to be drawn whole: parts that belong together become one box each, which can be opened.

Two rules say what belongs together, applied in turn as long as there are too many boxes:

    parallel   steps (or chains) of the same tools with the same predecessors and the same successors
    chain      a run of steps, each the only successor of the one before, which is its only predecessor

       a ─┬─ b1 ─ c1 ─┐                  ┌ chain b1 c1 ┐
          ├─ b2 ─ c2 ─┤ d      =   a ─── ┤ chain b2 c2 ├ d   =   a ─── parallel of 3 ─── d
          └─ b3 ─ c3 ─┘                  └ chain b3 c3 ┘

What is left of a plan without such structure is cut into bands of consecutive ranks, and a band into its connected
components. Neither can close a cycle: members of a parallel group are exchangeable, a chain has one way in and one way
out, and edges between components lead to a later band. An open group is replaced by its parts, which only sees edges
that were acyclic before, so any set of open groups gives an acyclic drawing.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from catp.planlang.render.layout import ranks
from catp.planlang.render.view import NodeView, PlanView

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["LIMIT", "MOST", "Group", "GroupKind", "Grouped", "Tree"]

LIMIT = 300
"""Plans of up to this many nodes are drawn whole."""
MOST = 500
"""Boxes that are drawn at most, however many groups are open."""

_AIM = 150  # boxes of a plan that is not drawn whole, if its structure allows
_INNER = 100  # parts of an open group
_PORTS = ("input", "output")
_CHAIN = 12  # steps of a chain that become one box at once

T = TypeVar("T")
GroupKind: TypeAlias = Literal["parallel", "chain", "part"]


@dataclass(frozen=True, slots=True)
class Group:
    """Several nodes in one box. `title` says which they are, `what` their kind; `parent` is the group it is part of."""

    id: str
    kind: GroupKind
    title: str
    what: str
    members: tuple[str, ...]
    parent: str | None
    closed: bool


@dataclass(frozen=True)
class Grouped:
    """What to draw: a graph of nodes and closed groups (by id), and all groups, closed or open, outer ones first."""

    graph: "nx.DiGraph[str]"
    groups: tuple[Group, ...]
    capped: bool
    """True if the plan is too large to be drawn whole."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cell:
    """A node, or several cells as one; `members` in plan order."""

    kind: GroupKind | None
    members: tuple[int, ...]
    parts: tuple["_Cell", ...]
    sign: str
    """The same for cells of the same structure."""


class Tree:
    """The groups of a plan, found in a time of order size times log depth; `drawn` opens some of them."""

    def __init__(self, plan: PlanView) -> None:
        self._nodes = plan.nodes
        number = {node.id: i for i, node in enumerate(plan.nodes)}
        self._edges = [(number[edge.source], number[edge.target]) for edge in plan.edges]
        self._top = self._reduced([_Cell(None, (i,), (), _sign(node)) for i, node in enumerate(plan.nodes)])
        self._parts: dict[_Cell, tuple[_Cell, ...]] = {}

    def drawn(self, opened: Iterable[str] = ()) -> Grouped:
        """Return the drawing with these groups open; unknown ids are ignored. If that would be more than `MOST`
        boxes, those that come first in `opened` stay closed."""
        wanted = list(dict.fromkeys(opened))
        while True:
            groups: list[Group] = []
            boxes: list[_Cell] = []
            for cell in self._top:
                self._expand(cell, frozenset(wanted), None, boxes, groups)
            if len(boxes) <= MOST or not wanted:
                return Grouped(self._graph(boxes), tuple(groups), len(self._nodes) > LIMIT)
            wanted.pop(0)

    def _expand(
        self, cell: _Cell, opened: frozenset[str], parent: str | None, boxes: list[_Cell], groups: list[Group]
    ) -> None:
        if cell.kind is None:
            boxes.append(cell)
            return
        name = self._id(cell)
        members = tuple(self._nodes[i].id for i in cell.members)
        closed = name not in opened
        groups.append(Group(name, cell.kind, self._title(cell), self._what(cell), members, parent, closed))
        if closed:
            boxes.append(cell)
        else:
            for part in self._inside(cell):
                self._expand(part, opened, name, boxes, groups)

    def _inside(self, cell: _Cell) -> tuple[_Cell, ...]:
        """The parts of a group; very many are put together once more, so that opening it stays small."""
        if cell not in self._parts:
            few = cell.parts if len(cell.parts) <= _INNER else tuple(self._fewer(cell))
            self._parts[cell] = few
        return self._parts[cell]

    def _fewer(self, cell: _Cell) -> list[_Cell]:
        kind = cell.kind
        if kind is None or kind == "part":
            return _bands(cell.parts, self._between(cell.parts), _INNER)
        return [_joined(kind, part) for part in _slices(cell.parts, round(len(cell.parts) ** 0.5))]

    def _reduced(self, cells: Sequence[_Cell]) -> tuple[_Cell, ...]:
        if len(cells) <= LIMIT:
            return tuple(cells)
        rules: tuple[Callable[..., list[_Cell]], ...] = (_parallel, _chains)
        stale = 0
        for turn in range(len(cells)):
            if len(cells) <= _AIM or stale == len(rules):
                break
            fewer = rules[turn % len(rules)](cells, self._between(cells))
            stale = stale + 1 if len(fewer) == len(cells) else 0
            cells = fewer
        return tuple(cells if len(cells) <= LIMIT else _bands(cells, self._between(cells), _AIM))

    def _between(self, cells: Sequence[_Cell]) -> list[list[int]]:
        """The successors of each cell among the others."""
        holder = {member: i for i, cell in enumerate(cells) for member in cell.members}
        found: list[dict[int, None]] = [{} for _ in cells]
        for source, target in self._edges:
            a, b = holder.get(source), holder.get(target)
            if a is not None and b is not None and a != b:
                found[a][b] = None
        return [list(after) for after in found]

    def _graph(self, boxes: Sequence[_Cell]) -> "nx.DiGraph[str]":
        import networkx as nx

        order = sorted(boxes, key=lambda cell: cell.members[0])
        names = [self._id(cell) for cell in order]
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(names)
        graph.add_edges_from((names[a], names[b]) for a, after in enumerate(self._between(order)) for b in after)
        return graph

    def _id(self, cell: _Cell) -> str:
        """Groups with the same first member lie inside each other, so their sizes tell them apart."""
        first = self._nodes[cell.members[0]].id
        return first if cell.kind is None else f"{first}~{len(cell.members)}"

    def _title(self, cell: _Cell) -> str:
        return f"{self._nodes[cell.members[0]].title} … {self._nodes[cell.members[-1]].title}"

    def _what(self, cell: _Cell) -> str:
        if cell.kind == "parallel":
            return f"{self._what(cell.parts[0])} ×{len(cell.parts)}"
        words = list(dict.fromkeys(_word(self._nodes[i]) for i in cell.members))
        return f"{words[0]} → … → {words[-1]}" if len(words) > 3 else " → ".join(words)


def _sign(node: NodeView) -> str:
    return node.kind if node.kind != "step" else f"{'|'.join(node.tools)}{'*' if node.mapped else ''}"


def _word(node: NodeView) -> str:
    return node.tools[0] if node.tools else node.kind


def _joined(kind: GroupKind, cells: Sequence[_Cell]) -> _Cell:
    """Cells as one; parts of parts of the same kind become its own parts."""
    if len(cells) == 1:
        return cells[0]
    parts = tuple(part for cell in cells for part in (cell.parts if cell.kind == kind else (cell,)))
    sign = f"{parts[0].sign}+" if kind == "parallel" else "(" + ">".join(cell.sign for cell in cells) + ")"
    return _Cell(
        kind, tuple(sorted(m for part in parts for m in part.members)), parts, hashlib.sha256(sign.encode()).hexdigest()
    )


def _parallel(cells: Sequence[_Cell], after: Sequence[Sequence[int]]) -> list[_Cell]:
    before = _reversed(after)
    alike: dict[tuple[str, frozenset[int], frozenset[int]], list[_Cell]] = {}
    for i, cell in enumerate(cells):
        alike.setdefault((cell.sign, frozenset(before[i]), frozenset(after[i])), []).append(cell)
    return [_joined("parallel", group) for group in alike.values()]


def _chains(cells: Sequence[_Cell], after: Sequence[Sequence[int]]) -> list[_Cell]:
    before = _reversed(after)
    step = [cell.sign not in _PORTS for cell in cells]

    def follows(i: int) -> int | None:
        """The next link of the chain after cell i."""
        if not step[i] or len(after[i]) != 1 or len(before[after[i][0]]) != 1 or not step[after[i][0]]:
            return None
        return after[i][0]

    found: list[_Cell] = []
    for i, cell in enumerate(cells):
        if len(before[i]) == 1 and follows(before[i][0]) == i:
            continue  # inside a chain
        chain, link = [cell], follows(i)
        while link is not None:
            chain.append(cells[link])
            link = follows(link)
        found += [_joined("chain", part) for part in _slices(chain, _CHAIN)]
    return found


def _bands(cells: Sequence[_Cell], after: Sequence[Sequence[int]], limit: int) -> list[_Cell]:
    """Cut into at most `limit` cells by rank: whole components of thin bands, or pieces of them if that leaves more."""
    rest = [i for i, cell in enumerate(cells) if cell.sign not in _PORTS]
    if len(cells) - limit // 4 <= len(rest) < len(cells):  # a few inputs and outputs stay: nothing passes through them
        number = {i: new for new, i in enumerate(rest)}
        inner = [[number[j] for j in after[i] if j in number] for i in rest]
        ports = [cell for cell in cells if cell.sign in _PORTS]
        return ports + _bands([cells[i] for i in rest], inner, limit - len(ports))
    level = _levels(after)
    depth = max(level) + 1
    best: list[_Cell] = []
    thickness = 2
    while thickness < depth and not best:
        bands = _components(cells, after, level, thickness)
        if sum(map(len, bands)) <= limit:
            best = [_joined("part", component) for band in bands for component in band]
        thickness = max(thickness + 1, thickness * 3 // 2)
    bands = _components(cells, after, level, max(1, -(-2 * depth // limit)))
    size = 1
    while sum(-(-len(band) // size) for band in bands) > limit:
        size += 1
    pieces = [piece for band in bands for piece in _slices(band, size)]
    return max(best, [_joined("part", [cell for part in piece for cell in part]) for piece in pieces], key=len)


def _components(
    cells: Sequence[_Cell], after: Sequence[Sequence[int]], level: Sequence[int], thickness: int
) -> list[list[list[_Cell]]]:
    """Return by band of `thickness` ranks its weakly connected components, in plan order."""
    root = list(range(len(cells)))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for i, targets in enumerate(after):
        for j in targets:
            if level[i] // thickness == level[j] // thickness:
                a, b = sorted((find(i), find(j)))
                root[b] = a
    bands: dict[int, dict[int, list[_Cell]]] = {}
    for i, cell in enumerate(cells):
        bands.setdefault(level[i] // thickness, {}).setdefault(find(i), []).append(cell)
    return [list(bands[band].values()) for band in sorted(bands)]


def _levels(after: Sequence[Sequence[int]]) -> list[int]:
    """The rank of each cell, as it will be drawn."""
    import networkx as nx

    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(map(str, range(len(after))))
    graph.add_edges_from((str(i), str(j)) for i, targets in enumerate(after) for j in targets)
    level: Mapping[str, int] = ranks(graph)
    return [level[str(i)] for i in range(len(after))]


def _reversed(after: Sequence[Sequence[int]]) -> list[list[int]]:
    before: list[list[int]] = [[] for _ in after]
    for i, targets in enumerate(after):
        for j in targets:
            before[j].append(i)
    return before


def _slices(cells: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Consecutive pieces of nearly the same length, none longer than `size`."""
    count = -(-len(cells) // size)
    cuts = [round(i * len(cells) / count) for i in range(count + 1)]
    return (cells[a:b] for a, b in pairwise(cuts))
