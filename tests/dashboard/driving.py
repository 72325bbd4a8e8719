"""A process of its own that drives a run: `python -m tests.dashboard.driving STORE SECONDS`.

The run has a quick step and one that takes that long; it prints the run's id once that step is under way, and the
status of the run when it is over.
"""

import asyncio
import sys

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.tools import PerCall, tool

__all__ = ["SLOW", "linger", "quick"]

SLOW = parse("in t: text\nin s: number\na = quick(t)\nb = linger(a, s)\nout b\n")


@tool(price=PerCall("0.001"))
async def quick(text: str) -> str:
    """Done at once."""
    return text


@tool(price=PerCall("0.002"), timeout=600.0)
async def linger(text: str, seconds: float) -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return text


async def main(store: str, seconds: float) -> None:
    def told(event: RunEvent) -> None:
        if event.type == "node.started" and event.step == "b":
            print(event.run_id, flush=True)

    async with Agent([quick, linger], planner="search", store=store) as agent:
        result = await agent.run(SLOW, {"t": "hello", "s": seconds}, on_event=told)
    print(result.status, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
