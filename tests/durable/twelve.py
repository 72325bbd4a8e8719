"""A plan of twelve steps with everything that can go wrong, over fake tools that act on a world outside the run.

The world outlives the processes: it knows what was really done, which a resumed run must not do again.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from catp.planlang.money import usd
from catp.planlang.types import parse_type
from catp.runtime.clock import VirtualClock
from catp.runtime.doubts import Decision, Doubt, settle_doubts
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.program import build_program
from catp.runtime.restore import Restored
from catp.runtime.run import Run, RunOutcome
from catp.runtime.testing import FakeBackend, FakeCatalogue, MemoryJournal, compiled
from catp.tools.errors import ToolFailed
from catp.tools.spec import BackendResult

PLAN = """
in page: text
raw = fetch(page)
parts = split(raw)
tags = tag(each parts) @quorum(0.5)
sums = summarise(each parts) @retry(2, backoff=10ms)
fact = flaky(raw) @retry(2, backoff=20ms)
best = broken(raw) | spare(raw)
gate = score(best)
extra = enrich(best, fact) when gate > 0.5
plain = enrich(best) when gate > 2 else best
order = book(best) @key(t"order-{page}")
mail = send(order)
posts = post(each parts) @key(t"post-{page}")
report = join([tags, sums, extra, plain, mail, posts])
out report, mail, posts
"""

INPUTS = {"page": "p1"}


class World:
    """What is outside the process: effects that happened, and every call that was made."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.calls: list[tuple[str, str]] = []
        self.seen: Counter[str] = Counter()

    def act(self, key: str) -> None:
        """Change something that cannot be changed back."""
        self.effects[key] += 1


class Keyed(FakeBackend):
    """A service that acts once per idempotency key, however often it is asked."""

    world: World
    journal: MemoryJournal

    async def call_with_key(self, args: Mapping[str, Any], *, timeout: float, key: str) -> BackendResult:
        result = await self.call(args, timeout=timeout)
        if not self.journal.dead and not self.world.effects[key]:
            self.world.act(key)
        return result


class Life:
    """One process: a clock, the tools, the journal; ends when the journal dies."""

    def __init__(self, world: World, journal: MemoryJournal, *, cap: str | None = "1") -> None:
        self.world, self.journal = world, journal
        self.clock = VirtualClock()
        self.tools = tools(self.clock, world, journal)
        self.plan = compiled(PLAN, self.tools)
        self.cap = cap
        self.run: Run

    async def live(self, restored: Restored | None = None) -> RunOutcome | None:
        """Run to the end, or until the journal dies (None)."""
        rows = restored.rows if restored is not None else ()
        cap = usd(self.cap) if self.cap is not None else None
        self.run = Run(
            self.plan, INPUTS, self.tools, ledger=Ledger(cap, before=rows), clock=self.clock, journal=self.journal,
            run_id="R", restored=restored,
        )  # fmt: skip
        waiting = asyncio.ensure_future(self.run.wait())
        dying = asyncio.ensure_future(self.journal.died.wait())
        await asyncio.wait([waiting, dying], return_when=asyncio.FIRST_COMPLETED)
        if self.journal.dead:
            waiting.cancel()
            await asyncio.wait([waiting])
            return None
        dying.cancel()
        return await waiting

    async def again(self, restored: Restored) -> RunOutcome | None:
        """Resume: what is in doubt is looked up in the world, as a person would."""

        def look(doubt: Doubt) -> Decision:
            happened = self.world.effects[f"send {doubt.step}"]
            return Decision("done", "sent(order)") if happened else Decision("again")

        program = build_program(self.plan)
        settled = await settle_doubts("R", restored, program, takes_key=lambda t: t in ("book", "post"), decide=look)
        return await self.live(settled)


def tools(clock: VirtualClock, world: World, journal: MemoryJournal) -> FakeCatalogue:  # noqa: C901 - one tool a line
    catalogue = FakeCatalogue(clock)

    def tool(
        name: str, work: Any, *, takes_s: float = 0.1, effects: Any = "read", params: Any = ("x",), **more: Any
    ) -> None:
        def logged(**args: Any) -> Any:
            if journal.dead:
                raise ToolFailed(name, "the process is dead")
            world.calls.append((name, str(args)))
            return work(**args)

        catalogue.add(name, logged, takes_s=takes_s, effects=effects, params=params, **more)

    def flaky(x: str) -> str:
        world.seen["flaky"] += 1
        if world.seen["flaky"] <= 2:
            raise ValueError("not now")
        return f"fact({x})"

    def summarise(x: str) -> str:
        world.seen[x] += 1
        if x == "b" and world.seen[x] == 1:
            raise ValueError("busy")
        return f"sum({x})"

    def tag(x: str) -> str:
        if x == "c":
            raise ValueError("no tag for c")
        return f"tag({x})"

    def broken(x: str) -> str:
        raise ValueError("always")

    def send(x: str) -> str:
        world.act("send mail")
        return "sent(order)"

    tool("fetch", lambda x: f"raw({x})")
    tool("split", lambda x: ["a", "b", "c"], returns=parse_type("list[text]"))
    tool("tag", tag, takes_s=0.15)
    tool("summarise", summarise, takes_s=0.25)
    tool("flaky", flaky)
    tool("broken", broken)
    tool("spare", lambda x: f"best({x})")
    tool("score", lambda x: 0.9)
    tool("enrich", lambda **args: f"enriched({len(args)})", params=("x", "y"))
    tool("book", lambda x: "order", effects="write")
    tool("send", send, effects="write")
    tool("post", lambda x: f"posted({x})", effects="write", takes_s=0.2)
    tool("join", lambda x: "|".join(str(part) for part in x))
    for name in ("book", "post"):
        plain = catalogue.backends[name]
        keyed = Keyed(plain.clock, plain.name, plain.work, plain.takes_s)
        keyed.world, keyed.journal = world, journal
        catalogue.tools[name] = replace(catalogue.tools[name], backend=keyed)
    return catalogue


def finished(events: list[RunEvent]) -> set[tuple[str, int | None]]:
    """Steps and elements that have ended well in a journal."""
    return {(e.step, e.element) for e in events if e.type == "node.finished" and e.step is not None}


def started(events: list[RunEvent]) -> list[tuple[str, int | None]]:
    """Calls that were made according to a journal."""
    return [(e.step, e.element) for e in events if e.type == "node.started" and e.step is not None]
