"""Tools that count their calls on any clock, plans that use them, and a writer that takes its time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planners.policy import PolicyPlanner
from catp.planners.protocol import PlanRequest
from catp.planners.writer import Decided, Draft, Rating, Usage, Written
from catp.tools import Catalogue, PerCall, tool
from catp.tools.decorator import Tool

Sleep = Callable[[float], Awaitable[None]]

TEXT = {"text": "a good day"}
WANT = {"b": "text"}


@dataclass
class World:
    """What the tools did."""

    sleep: Sleep = asyncio.sleep
    seconds: float = 0.05
    calls: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    fail: set[str] = field(default_factory=set)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> int:
        return sum(self.calls.values()) - sum(self.ended.values())

    async def work(self, name: str, text: str) -> str:
        self.calls[name] += 1
        self.called.set()
        try:
            await self.sleep(self.seconds)
            if name in self.fail:
                raise RuntimeError(f"{name} is down")
            return f"{name}({text})"
        finally:
            self.ended[name] += 1


def tools(world: World, prices: dict[str, str] | None = None) -> list[Tool[Any, Any]]:
    """`a` and `b` and others read or compute, `post` writes; each costs a tenth of a cent unless `prices` say more."""
    found = []
    kinds: dict[str, Literal["pure", "read", "write"]] = {"a": "read", "b": "pure", "c": "read", "post": "write"}
    for name, effects in kinds.items():

        def make(name: str = name) -> Any:
            async def call(text: str) -> str:
                return await world.work(name, text)

            call.__name__, call.__doc__ = name, f"Do {name}."
            return call

        price = PerCall((prices or {}).get(name, "0.001"))
        found.append(tool(price=price, accuracy=0.9, effects=effects)(make()))
    return found


def catalogue(world: World, prices: dict[str, str] | None = None) -> Catalogue:
    return Catalogue(tools(world, prices))


AB = parse("in text: text\nx = a(text)\ny = b(x)\nout b = y")
A = parse("in text: text\nx = a(text)\nout b = x")
OTHER_NAMES = parse("in text: text\nfirst = a(text)\nsecond = b(first)\nout b = second")
CB = parse("in text: text\nx = c(text)\ny = b(x)\nout b = y")
POSTED = parse("in text: text\nx = a(text)\ny = post(x)\nout b = y")


@dataclass
class SlowWriter:
    """Decides on the steps of `greedy` one after the other, and in the end rates `chosen` best."""

    greedy: Plan
    chosen: Plan
    seconds: float = 0.05
    error: BaseException | None = None
    hang: bool = False
    name: str = "slow"
    device: str = "cpu"
    told: int = 0

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        for number, step in enumerate(self.greedy.steps):
            await asyncio.sleep(self.seconds)
            if decided is not None:
                decided(0, number, step)
                decided(1, number, CB.steps[0])  # of a sampled plan: nobody starts those
                self.told += 1
        await asyncio.sleep(self.seconds)
        if self.hang:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        plans = dict.fromkeys([self.greedy, self.chosen])
        written = tuple(Written(plan, -1.0, Rating(0.9 if plan == self.chosen else 0.2, 0.01)) for plan in plans)
        return Draft(written, tuple(Rating(0.1, 0.01) for _ in shown), Usage(price=Money(0)))


def planner(writer: SlowWriter, **options: Any) -> PolicyPlanner:
    return PolicyPlanner(writer, options.pop("fallback", None), cheapest=0, **options)
