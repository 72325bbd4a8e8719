"""What rows of a step have in common: runs of blocks that lead several block tables, found without looking at tokens.

row 0   c c c c t t | a            run 1: c c c c, rows 0-3 (a catalogue)
row 1   c c c c t t | b            run 2: t t, rows 0-1 (two branches of a job)
row 2   c c c c u                  the rest of each row is its own
row 3   c c c c v
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Run", "extents", "shared_runs"]


@dataclass(frozen=True, slots=True)
class Run:
    """Blocks that rows [first, last) of the order see, all of every block, next to each other in their tables."""

    first: int
    last: int
    blocks: tuple[int, ...]


def shared_runs(tables: Sequence[tuple[int, ...]], gain: int) -> tuple[list[int], list[Run], list[int]]:
    """Find what tables have in common from their beginnings on.

    Args:
        tables: the blocks of each row that are full and computed.
        gain: blocks that a run must save, those of all its rows but one; a shorter one is left to its rows.

    Returns:
        The order of rows in which those of a run stand together; the runs;
        and of each row (as given) the number of leading blocks that runs cover.
    """
    order = sorted(range(len(tables)), key=tables.__getitem__)
    runs: list[Run] = []
    covered = [0] * len(tables)
    open_groups = [(0, len(order), 0, 0)] if len(order) > 1 else []
    while open_groups:
        first, last, start, depth = open_groups.pop()
        head = tables[order[first]]
        common = _common(head, tables[order[last - 1]], depth)  # sorted, so it is that of all between
        if (last - first - 1) * (common - start) >= gain:
            runs.append(Run(first, last, head[start:common]))
            for row in order[first:last]:
                covered[row] = common
            start = common
        open_groups += [(*group, start, common) for group in _groups(tables, order, first, last, common)]
    return order, runs, covered


def _common(one: tuple[int, ...], other: tuple[int, ...], start: int) -> int:
    """The number of leading blocks that are the same, of which `start` are known to be."""
    end = min(len(one), len(other))
    return next((at for at in range(start, end) if one[at] != other[at]), end)


def _groups(
    tables: Sequence[tuple[int, ...]], order: Sequence[int], first: int, last: int, depth: int
) -> list[tuple[int, int]]:
    """Rows among [first, last) that go on with the same block, where two or more do."""
    found, begin = [], first
    for row in range(first, last + 1):
        if row == last or tables[order[row]][depth : depth + 1] != tables[order[begin]][depth : depth + 1]:
            if row - begin > 1 and len(tables[order[begin]]) > depth:
                found.append((begin, row))
            begin = row
    return found


def extents(table: Sequence[int], begin: int, end: int, block_size: int) -> list[tuple[int, int]]:
    """Return the slots of positions [begin, end) as few ranges; blocks with successive ids make one."""
    found: list[tuple[int, int]] = []
    for at in range(begin // block_size, -(-end // block_size) if begin < end else 0):
        first = table[at] * block_size + max(begin - at * block_size, 0)
        last = table[at] * block_size + min(end - at * block_size, block_size)
        if found and found[-1][1] == first:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found
