"""What the executors of `executor.py` run: a graph of nodes, and what each node does in the experiment in hand."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

NODES = 200

Graph = Mapping[str, tuple[str, ...]]
Work = Callable[[str], Awaitable[Any]]

SLEEPS: dict[str, float] = {}
FAILS: set[str] = set()
DONE: list[str] = []


def ends(graph: Graph) -> list[str]:
    used = {need for needs in graph.values() for need in needs}
    return [name for name in graph if name not in used]


async def work(name: str) -> str:
    """What every node does: sleep, fail or nothing, as the experiment in hand says."""
    seconds = SLEEPS.get(name)
    if seconds:
        await asyncio.sleep(seconds)
    if name in FAILS:
        raise RuntimeError(name)
    DONE.append(name)
    return name


def set_up(sleeps: Mapping[str, float], fails: set[str] = frozenset()) -> None:  # type: ignore[assignment]  # never changed
    SLEEPS.clear()
    SLEEPS.update(sleeps)
    FAILS.clear()
    FAILS.update(fails)
    DONE.clear()
