"""Layered drawing of a DAG (Sugiyama): where each node goes and along which points each edge runs.

    1. rank      longest path from the sources; sources then move next to their first consumer
    2. route     an edge over several ranks passes through one dummy per rank; edges of one source share dummies,
                 so a value that everybody reads is drawn as one line with branches, not as a bundle
    3. order     barycentre sweeps up and down, then swaps of neighbours, keeping the order with fewest crossings
    4. place     Brandes and Koepf (module `alignment`): long edges straight, nodes between their neighbours

The result depends only on the graph, its node order and the sizes, so a picture does not jump between two runs.
"""

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from catp.planlang.render.alignment import align

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["Box", "Direction", "EdgePath", "Layout", "Spacing", "layout", "ranks"]

Direction: TypeAlias = Literal["LR", "TB"]
"""Left to right or top to bottom: the way from producers to consumers."""

_SWEEPS = 12
_SMALL = 400  # nodes and dummies up to which neighbours are swapped one by one
_DUMMIES_PER_NODE = 4
_FREE_DUMMIES = 2000


class Box(NamedTuple):
    """A node's rectangle: top left corner and size."""

    x: float
    y: float
    w: float
    h: float


class EdgePath(NamedTuple):
    """An edge and its corner points, from the border of `source` to the border of `target`."""

    source: str
    target: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A finished drawing: its size, one box per node and one path per edge, in the unit of the node sizes."""

    width: float
    height: float
    nodes: Mapping[str, Box]
    edges: tuple[EdgePath, ...]


@dataclass(frozen=True, slots=True)
class Spacing:
    """Distances: between ranks, between neighbours in a rank, between parallel edges, and around the drawing."""

    rank: float = 56.0
    node: float = 22.0
    edge: float = 14.0
    margin: float = 16.0


@dataclass(slots=True)
class _Layers:
    """The proper layering: items are numbers; the first `real` of them are nodes, the rest dummies."""

    real: int
    rank: list[int]
    up: list[list[int]]
    down: list[list[int]]
    chains: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    def add_dummy(self, rank: int) -> int:
        self.rank.append(rank)
        self.up.append([])
        self.down.append([])
        return len(self.rank) - 1

    def link(self, above: int, below: int) -> None:
        self.down[above].append(below)
        self.up[below].append(above)


def layout(
    graph: "nx.DiGraph[str]",
    *,
    sizes: Mapping[str, tuple[float, float]] | None = None,
    direction: Direction = "LR",
    spacing: Spacing | None = None,
) -> Layout:
    """Lay out an acyclic graph; `sizes` gives (width, height) by node, 120 x 40 where absent.

    An edge never crosses a box, except that in graphs with very many long edges the longest are drawn as straight
    lines. Raises `ValueError` if the graph has a cycle.
    """
    gaps = spacing if spacing is not None else Spacing()
    names = [str(name) for name in graph.nodes]
    level = ranks(graph)
    layers = _route(names, [(str(a), str(b)) for a, b in graph.edges], level)
    order = _order(layers)
    extents = [(sizes or {}).get(name, (120.0, 40.0)) for name in names]
    if direction == "TB":
        extents = [(height, width) for width, height in extents]
    breadth = [height for _, height in extents] + [0.0] * (len(layers.rank) - layers.real)
    cross = align(order, layers.up, layers.down, layers.real, breadth, node_gap=gaps.node, edge_gap=gaps.edge)
    return _draw(names, layers, order, extents, cross, direction, gaps)


def ranks(graph: "nx.DiGraph[str]") -> dict[str, int]:
    """Return the rank of every node: every edge leads to a higher rank. Raises `ValueError` on a cycle."""
    waiting = {str(name): graph.in_degree(name) for name in graph.nodes}
    level = {name: 0 for name, count in waiting.items() if count == 0}
    ready = list(level)
    for name in ready:
        for successor in map(str, graph.successors(name)):
            level[successor] = max(level.get(successor, 0), level[name] + 1)
            waiting[successor] -= 1
            if waiting[successor] == 0:
                ready.append(successor)
    if len(ready) != len(waiting):
        stuck = next(name for name, count in waiting.items() if count > 0)
        raise ValueError(f"graph has a cycle through or before node {stuck!r}")
    for name in waiting:  # a source far from its only consumer would draw a long edge for nothing
        if graph.in_degree(name) == 0 and graph.out_degree(name) > 0:
            level[name] = min(level[str(successor)] for successor in graph.successors(name)) - 1
    return level


def _route(names: Sequence[str], edges: Sequence[tuple[str, str]], level: Mapping[str, int]) -> _Layers:
    number = {name: i for i, name in enumerate(names)}
    count = len(names)
    layers = _Layers(count, [level[n] for n in names], [[] for _ in names], [[] for _ in names])
    bus: dict[tuple[int, int], int] = {}
    budget = _FREE_DUMMIES + _DUMMIES_PER_NODE * count
    pairs = [(number[a], number[b]) for a, b in edges]
    for source, target in sorted(pairs, key=lambda pair: layers.rank[pair[1]] - layers.rank[pair[0]]):
        chain, last = [source], source
        for rank in range(layers.rank[source] + 1, layers.rank[target]):
            if (source, rank) not in bus:
                if len(layers.rank) - count >= budget:
                    break
                bus[source, rank] = layers.add_dummy(rank)
                layers.link(last, bus[source, rank])
            last = bus[source, rank]
            chain.append(last)
        else:
            layers.link(last, target)
            layers.chains[source, target] = [*chain, target]
            continue
        layers.chains[source, target] = [source, target]
    return layers


def _order(layers: _Layers) -> list[list[int]]:
    """Return the items of each rank in drawing order, with few crossings."""
    current = _first_order(layers)
    best, fewest = [list(row) for row in current], _crossings(layers, current)
    stale = 0
    for sweep in range(_SWEEPS):
        if fewest == 0 or stale >= 4:
            break
        downwards = sweep % 2 == 0
        neighbours = layers.up if downwards else layers.down
        for index in range(1, len(current)) if downwards else range(len(current) - 2, -1, -1):
            fixed = current[index - 1 if downwards else index + 1]
            current[index] = _by_barycentre(current[index], fixed, neighbours)
        crossings = _crossings(layers, current)
        stale = 0 if crossings < fewest else stale + 1
        if crossings < fewest:
            best, fewest = [list(row) for row in current], crossings
    if fewest and len(layers.rank) <= _SMALL:
        _swap_neighbours(layers, best)
    return best


def _first_order(layers: _Layers) -> list[list[int]]:
    """Depth first from the sources in node order, so that each branch starts out in one piece."""
    rows: list[list[int]] = [[] for _ in range(max(layers.rank, default=-1) + 1)]
    seen = [False] * len(layers.rank)
    for start in range(len(layers.rank)):
        stack = [] if layers.up[start] else [start]
        while stack:
            item = stack.pop()
            if not seen[item]:
                seen[item] = True
                rows[layers.rank[item]].append(item)
                stack.extend(reversed(layers.down[item]))
    for item, done in enumerate(seen):
        if not done:  # only reached by edges drawn without dummies
            rows[layers.rank[item]].append(item)
    return rows


def _by_barycentre(row: list[int], fixed: Iterable[int], neighbours: Sequence[Sequence[int]]) -> list[int]:
    place = {item: index for index, item in enumerate(fixed)}
    centre = {}
    for item in row:
        near = [place[other] for other in neighbours[item] if other in place]
        if near:
            centre[item] = sum(near) / len(near)
    moving = iter(sorted(centre, key=centre.__getitem__))  # stable: ties keep their order
    return [next(moving) if item in centre else item for item in row]


def _crossings(layers: _Layers, rows: Sequence[Sequence[int]]) -> int:
    total = 0
    for upper, lower in pairwise(rows):
        place = {item: index for index, item in enumerate(lower)}
        seen: list[int] = []
        for item in upper:
            ends = sorted(place[other] for other in layers.down[item])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _swap_neighbours(layers: _Layers, rows: list[list[int]]) -> None:
    """Swap adjacent items while that removes crossings; a few rounds reach a local optimum."""
    place = {item: index for row in rows for index, item in enumerate(row)}

    def crossed(left: int, right: int) -> int:
        return sum(place[a] > place[b] for links in (layers.up, layers.down) for a in links[left] for b in links[right])

    for _ in range(8):
        improved = False
        for row in rows:
            for index in range(len(row) - 1):
                left, right = row[index], row[index + 1]
                if crossed(right, left) < crossed(left, right):
                    row[index], row[index + 1] = right, left
                    place[left], place[right] = index + 1, index
                    improved = True
        if not improved:
            return


def _draw(
    names: Sequence[str],
    layers: _Layers,
    rows: Sequence[Sequence[int]],
    extents: Sequence[tuple[float, float]],
    cross: Sequence[float],
    direction: Direction,
    gaps: Spacing,
) -> Layout:
    starts, ends = [], []
    offset = gaps.margin
    for row in rows:
        depth = max((extents[item][0] for item in row if item < layers.real), default=0.0)
        starts.append(offset)
        ends.append(offset + depth)
        offset += depth + gaps.rank
    along = [(starts[rank] + ends[rank]) / 2 for rank in layers.rank]
    boxes: dict[str, Box] = {}
    for item, name in enumerate(names):
        depth, breadth = extents[item]
        boxes[name] = _box(along[item] - depth / 2, cross[item] + gaps.margin - breadth / 2, depth, breadth, direction)
    paths = []
    for (source, target), chain in layers.chains.items():
        points = [(along[source] + extents[source][0] / 2, cross[source]), (ends[layers.rank[source]], cross[source])]
        for dummy in chain[1:-1]:
            points += [(starts[layers.rank[dummy]], cross[dummy]), (ends[layers.rank[dummy]], cross[dummy])]
        points += [
            (starts[layers.rank[target]], cross[target]),
            (along[target] - extents[target][0] / 2, cross[target]),
        ]
        paths.append(EdgePath(names[source], names[target], _path(points, gaps.margin, direction)))
    number = {name: index for index, name in enumerate(names)}
    paths.sort(key=lambda path: (number[path.source], number[path.target]))
    length = offset - gaps.rank + gaps.margin if rows else 0.0
    tallest = [cross[i] + (extents[i][1] / 2 if i < layers.real else 0.0) for i in range(len(layers.rank))]
    breadth = max(tallest) + 2 * gaps.margin if tallest else 0.0
    size = (length, breadth) if direction == "LR" else (breadth, length)
    return Layout(round(size[0], 2), round(size[1], 2), boxes, tuple(paths))


def _box(x: float, y: float, w: float, h: float, direction: Direction) -> Box:
    return Box(*(round(v, 2) for v in ((x, y, w, h) if direction == "LR" else (y, x, h, w))))


def _path(
    points: Iterable[tuple[float, float]], margin: float, direction: Direction
) -> tuple[tuple[float, float], ...]:
    """Shift, drop points that repeat or lie on a straight run, and turn for the direction."""
    kept: list[tuple[float, float]] = []
    for along, across in points:
        point = (round(along, 2), round(across + margin, 2))
        if kept and kept[-1] == point:
            continue
        if len(kept) >= 2 and kept[-1][1] == kept[-2][1] == point[1]:
            kept.pop()
        kept.append(point)
    return tuple(kept if direction == "LR" else [(across, along) for along, across in kept])
