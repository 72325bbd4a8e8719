"""Demo data: some sixty real runs of real agents over the last two weeks, and one run to watch.

    fill ── thread ── event loop of its own, on a virtual clock that starts two weeks ago ── agents ── store

Everything goes through `Agent`, so the store holds what it holds of any run; only tools, time and chance are played.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection

from catp.agent import Agent
from catp.cache.memory import MemoryCache
from catp.dashboard.demo_names import DEMO_PROJECTS, WATCHED
from catp.dashboard.demo_pictures import card
from catp.dashboard.demo_plans import LIVE, Chooser
from catp.dashboard.demo_runs import History
from catp.dashboard.demo_tools import Stage, Trick, demo_catalogue
from catp.result import RunResult
from catp.runtime.clock import Clock, VirtualClock, WallClock
from catp.runtime.events import RunEvent
from catp.store.budgets import remove_budget
from catp.store.retention import prune
from catp.store.statements import execute, query
from catp.store.store import RunStore

__all__ = ["clear", "demo_agent", "exists", "fill", "live"]

T = TypeVar("T")

_NAMES = tuple(sorted(DEMO_PROJECTS))
_MARKS = ", ".join("?" * len(_NAMES))
_DAY_NS = 86_400 * 10**9
_DAYS = 14
_BATCH = 50
_REHEARSALS = 6


async def fill(store: Path | str, *, runs: int = 60, seed: int = 0, now: int | None = None) -> list[str]:
    """Fill a store (a SQLite file or the URL of a database) with the runs of two weeks; return their ids in order.

    The same seed and `now` (Unix nanoseconds; by default the present) make the same runs, but for their ids. Works in a
    thread, so the caller's event loop stays free; a few seconds.
    """
    end_ns = time.time_ns() if now is None else now

    async def play() -> list[str]:
        start_ns = end_ns - _DAYS * _DAY_NS
        return await History(store, runs=runs, seed=seed, start_ns=start_ns, end_ns=end_ns).play()

    return await asyncio.to_thread(_on_own_loop, play)


def demo_agent(store: RunStore, *, clock: Clock | None = None) -> Agent:
    """Return an agent with the demo's tools: it can go on with, replay and end the demo's runs."""
    stage = Stage(clock or WallClock(), seed=3, chance=False)
    return Agent(
        demo_catalogue(stage), Chooser("balanced"), store=store, project=WATCHED, name="demo", alpha=0.8,
        cache=MemoryCache(now_ns=stage.clock.now_ns), approve="later", clock=clock,
    )  # fmt: skip


async def live(store: RunStore, *, on_event: Callable[[RunEvent], None] | None = None) -> RunResult:
    """Run a plan of twelve steps in real time, about twelve seconds, in the caller's event loop.

    One call fails and is made again; the last one is far dearer than usual and breaks the budget, which the forecast's
    p90 had said before. It needs a history for that: if there is none, rehearsals of the six days before are put
    into the store first.
    """
    if not await store.database.aread(lambda c: query(c, "SELECT 1 FROM runs WHERE project = ? LIMIT 1", WATCHED)):
        await asyncio.to_thread(_on_own_loop, partial(_rehearse, store))
    return await _watched(store, WallClock(), tricks=_TRICKS, on_event=on_event)


_TRICKS = {"caption_large": [Trick(error="503, too many requests")], "compose": [Trick(dearer=2.4, slower=2.0)]}


async def _rehearse(store: RunStore) -> None:
    clock = VirtualClock(time.time_ns() - _REHEARSALS * _DAY_NS)
    for number in range(_REHEARSALS):
        dearer = 2.0 if number % 2 else 1.0
        await _watched(store, clock, tricks={"compose": [Trick(dearer=dearer)]}, seed=number)
        await clock.sleep(86_000.0)


async def _watched(
    store: RunStore, clock: Clock, *, tricks: dict[str, list[Trick]], seed: int = 100,
    on_event: Callable[[RunEvent], None] | None = None,
) -> RunResult:  # fmt: skip
    played = {name: list(one) for name, one in tricks.items()}
    stage = Stage(clock, seed, played, chance=False, pace=1.45)
    agent = Agent(
        demo_catalogue(stage), "search", store=store, project=WATCHED, name="demo", cache=False, clock=clock,
        warn=(0.5, 0.8), reserve="expected",
    )  # fmt: skip
    inputs = {"photo": card(0, worn=0.16, colour=False), "scan": card(3, worn=0.10)}
    return await agent.run(LIVE, inputs, budget="0.085", on_event=on_event)


def exists(connection: Connection) -> bool:
    """True if there are runs of the demo."""
    return bool(query(connection, f"SELECT 1 FROM runs WHERE project IN ({_MARKS}) LIMIT 1", *_NAMES))


def clear(store: RunStore) -> int:
    """Remove the demo's runs that nobody drives, their budgets and their daily sums; return how many runs went."""
    found = store.database.read(
        lambda c: [row.id for row in query(c, f"SELECT id FROM runs WHERE project IN ({_MARKS}) ORDER BY id", *_NAMES)]
    )
    driven = {run.id for run in map(store.find, found) if run.status == "running"}
    gone = [run_id for run_id in found if run_id not in driven]
    for start in range(0, len(gone), _BATCH):
        batch = gone[start : start + _BATCH]
        pruned = store.database.write(lambda c, batch=batch: prune(c, batch))  # type: ignore[misc]
        store.artifacts.drop(pruned.files)
    store.database.write(_forget)
    return len(gone)


def _forget(connection: Connection) -> None:
    """Retention keeps the sums of what it removes; those of runs that never cost anybody anything must not stay."""
    for name in _NAMES:
        remove_budget(connection, "project", name, None)
    execute(connection, "DELETE FROM rollup_day WHERE pruned AND project = ?", [(name,) for name in _NAMES])


def _on_own_loop(play: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `play` on a loop whose threads do their work at once: a virtual clock does not wait for threads."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_default_executor(_AtOnce())
        return runner.run(play())


class _AtOnce(ThreadPoolExecutor):
    """Does what it is given before it returns; a loop takes no other kind of executor than one with threads."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done
