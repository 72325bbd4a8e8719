"""Coordinates across a layered drawing: Brandes and Koepf, "Fast and Simple Horizontal Coordinate Assignment" (2001).

Four times (from above or below, packed left or right) each item is aligned with its median neighbour into blocks that
share one coordinate, and the blocks are packed as tightly as the separations allow. The mean of the two middle
results is taken for each item. Every one of the four keeps all separations, hence so does their mean, and edges
between dummies are never bent by edges between nodes.

Blocks are packed by longest path over the block graph, which avoids the known errors of the paper's class shifting.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

__all__ = ["align"]


def align(
    rows: Sequence[Sequence[int]],
    up: Sequence[Sequence[int]],
    down: Sequence[Sequence[int]],
    real: int,
    breadth: Sequence[float],
    *,
    node_gap: float,
    edge_gap: float,
) -> list[float]:
    """Return the centre of every item; the first border lies at 0.

    `rows` are the items of each rank in order, `up` and `down` their neighbours in the adjacent ranks, items from
    `real` on are dummies, `breadth` the items' sizes across.
    """
    if not breadth:
        return []
    conflicts = _conflicts(rows, up, real)

    def separation(left: int, right: int) -> float:
        gap = node_gap if left < real and right < real else edge_gap
        return (breadth[left] + breadth[right]) / 2 + gap

    results: list[list[float]] = []
    for links, upward in ((up, False), (down, True)):
        sweep = list(reversed(rows)) if upward else list(rows)
        for mirrored in (False, True):
            lines = [list(reversed(row)) if mirrored else list(row) for row in sweep]
            root = _blocks(lines, links, conflicts)
            packed = _pack(lines, root, separation)
            results.append([-value for value in packed] if mirrored else packed)
    return _balance(results, breadth)


def _conflicts(rows: Sequence[Sequence[int]], up: Sequence[Sequence[int]], real: int) -> set[tuple[int, int]]:
    """Return the edges (lower, upper) that cross an edge between two dummies: they must not be made straight."""
    found: set[tuple[int, int]] = set()
    for upper, lower in pairwise(rows):
        place = {item: index for index, item in enumerate(upper)}
        start, low = 0, 0
        for index, item in enumerate(lower):
            inner = next((above for above in up[item] if above >= real), None) if item >= real else None
            if inner is None and index < len(lower) - 1:
                continue
            high = place[inner] if inner is not None else len(upper)
            for scanned in lower[start : index + 1]:
                for above in up[scanned]:
                    if not low <= place[above] <= high and not (above >= real and scanned >= real):
                        found.add((scanned, above))
            start, low = index + 1, high
    return found


def _blocks(
    lines: Sequence[Sequence[int]], links: Sequence[Sequence[int]], conflicts: set[tuple[int, int]]
) -> list[int]:
    """Return the root of each item's block, aligning items with a median neighbour in the previous line."""
    root = list(range(len(links)))
    previous: Sequence[int] = ()
    for line in lines:
        place = {item: index for index, item in enumerate(previous)}
        last = -1
        for item in line:
            near = sorted(place[other] for other in links[item])
            for middle in sorted({(len(near) - 1) // 2, len(near) // 2}) if near else ():
                other = previous[near[middle]]
                if near[middle] > last and (item, other) not in conflicts and (other, item) not in conflicts:
                    root[item] = root[other]
                    last = near[middle]
                    break
        previous = line
    return root


def _pack(lines: Sequence[Sequence[int]], root: Sequence[int], separation: Callable[[int, int], float]) -> list[float]:
    """Place blocks as far towards 0 as separations allow, then back towards the blocks they could stay close to."""
    after: dict[int, dict[int, float]] = {block: {} for block in dict.fromkeys(root)}
    waiting = dict.fromkeys(after, 0)
    for line in lines:
        for left, right in pairwise(line):
            a, b = root[left], root[right]
            if b not in after[a]:
                waiting[b] += 1
            after[a][b] = max(after[a].get(b, 0.0), separation(left, right))
    place = {block: 0.0 for block, count in waiting.items() if count == 0}
    order = list(place)
    for block in order:
        for other, gap in after[block].items():
            place[other] = max(place.get(other, 0.0), place[block] + gap)
            waiting[other] -= 1
            if waiting[other] == 0:
                order.append(other)
    for block in reversed(order):
        if after[block]:
            place[block] = max(place[block], min(place[other] - gap for other, gap in after[block].items()))
    return [place[block] for block in root]


def _balance(results: Sequence[list[float]], breadth: Sequence[float]) -> list[float]:
    """Move the four results onto the narrowest one and take the mean of the two middle values of each item."""
    spans = [_span(result, breadth) for result in results]
    low, high = min(spans, key=lambda span: span[1] - span[0])
    shifted = []
    for index, (result, span) in enumerate(zip(results, spans, strict=True)):
        shift = high - span[1] if index % 2 else low - span[0]  # odd results are packed against the far side
        shifted.append([value + shift for value in result])
    middle = [sum(sorted(values)[1:3]) / 2 for values in zip(*shifted, strict=True)]
    start = _span(middle, breadth)[0]
    return [value - start for value in middle]


def _span(centres: Sequence[float], breadth: Sequence[float]) -> tuple[float, float]:
    low = min(centre - size / 2 for centre, size in zip(centres, breadth, strict=True))
    high = max(centre + size / 2 for centre, size in zip(centres, breadth, strict=True))
    return low, high
