"""Looks at the engine that `catp serve` announced, once a second while anybody wants to know.

    absent        nobody announced one, or CATP_ENGINE=off
    starting      it answers, and takes no requests yet
    ready         it takes requests
    draining      it is shutting down
    unreachable   it does not answer in time, or what it answers cannot be read: `reason` says which

An engine is not trusted: answers are bounded in time and size, and a look that fails is a state and never an error.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

from catp.dashboard.engine.answers import Answers, Unreachable
from catp.dashboard.engine.figures import WINDOW_S, figures
from catp.dashboard.engine.rings import Expectations, Past
from catp.dashboard.engine.scrape import Scrape
from catp.planners.served import Running, known_engine

if TYPE_CHECKING:
    import httpx

__all__ = ["Follower", "Seen", "State"]

T = TypeVar("T")

State: TypeAlias = Literal["absent", "starting", "ready", "draining", "unreachable"]

_WATCHED_S = 60.0
"""How long after the last question the engine is still looked at."""

_log = logging.getLogger("catp.dashboard")


@dataclass(frozen=True)
class Seen:
    """What the last look found. `at` is seconds since 1970; `figures` are the columns of `figures.COLUMNS`.

    `problem` says what could not be had of an engine that answers, and what to do about it.
    """

    at: float
    state: State
    reason: str = ""
    problem: str = ""
    url: str | None = None
    device: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    policy: str | None = None
    stalled: bool = False
    figures: Mapping[str, float | None] = field(default_factory=dict)
    totals: Mapping[str, float] = field(default_factory=dict)
    restarts_seen: int = 0


class Follower:
    """Follows one engine.

    Args:
        find: the engine there is now.
        publish: told of every look while somebody listens.
        period: seconds between looks.
        patience: most seconds of a look.
        clock: seconds since 1970.
        transport: of httpx, for tests.
    """

    def __init__(
        self, find: Callable[[], Running | None] = known_engine, publish: Callable[[Seen], None] = lambda _: None, *,
        period: float = 1.0, patience: float = 1.5, clock: Callable[[], float] = time.time,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:  # fmt: skip
        self.past, self.expectations = Past(), Expectations()
        self.find, self._publish, self._period, self._clock = find, publish, period, clock
        self._answers = Answers(patience, transport)
        self._task: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._listeners = 0
        self._wanted = float("-inf")
        self._seen: Seen | None = None
        self._window: list[Scrape] = []
        self._card: tuple[str, Mapping[str, Any]] | None = None
        self._restarts = 0

    async def now(self) -> Seen:
        """Return what the engine is like; at most as old as two looks are apart."""
        self._want()
        if self._seen is None or self._clock() - self._seen.at > 2 * self._period:
            await self.look()
        assert self._seen is not None
        return self._seen

    async def requests(self, limit: int) -> tuple[float, list[Any]]:
        """Return the engine's clock and its requests of late, as it tells them.

        Raises:
            Unreachable: there is none, or it does not tell; the message says why.
        """
        self._want()
        engine = await asyncio.to_thread(self.find)
        if engine is None:
            raise Unreachable("there is no engine")
        return await self._answers.requests(engine.url, limit)

    async def heard(self, messages: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Yield the messages, and look at the engine as long as they are read."""
        self._listeners += 1
        self._want()
        try:
            async with aclosing(messages) as open_:
                async for message in open_:
                    yield message
        finally:
            self._listeners -= 1

    async def close(self) -> None:
        """Stop looking."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._answers.close()

    async def look(self) -> Seen:
        """Look once, and keep what is seen."""
        asked = self._clock()
        async with self._looking:
            if self._seen is None or self._seen.at < asked:  # else somebody looked while this waited
                self._seen = await self._see()
                self._publish(self._seen)
            return self._seen

    def _want(self) -> None:
        self._wanted = self._clock()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow(), name="catp-dashboard-engine")

    async def _follow(self) -> None:
        while self._listeners or self._clock() - self._wanted < _WATCHED_S:
            began = time.monotonic()
            try:
                await self.look()
            except Exception:
                _log.exception("the engine could not be looked at")
            await asyncio.sleep(max(0.05, self._period - (time.monotonic() - began)))

    async def _see(self) -> Seen:
        engine = await asyncio.to_thread(self.find)
        at = self._clock()
        if engine is None:
            self._forget()
            return Seen(
                at, "absent", "none was announced on this machine; CATP_ENGINE=http://host:8100 names one elsewhere"
            )
        device = engine.device if engine.model else None  # of an address that was given nobody knows
        known = partial(Seen, url=engine.url, device=device)
        try:
            ready, reason = await self._answers.ready(engine.url)
            card = await self._about(engine)
            stalled = await self._answers.stalled(engine.url)
        except Unreachable as error:
            self._forget()
            return known(at, "unreachable", f"{error}{_gone(engine)}", restarts_seen=self._restarts)
        state: State = "ready" if ready else "draining" if reason == "draining" else "starting"
        try:
            scrape = await self._answers.metrics(engine.url, at)
        except Unreachable as error:
            self._window.clear()
            return known(at, state, reason, str(error), card=card, stalled=stalled, restarts_seen=self._restarts)
        row = self._take(scrape)
        return known(
            at, state, reason, card=card, stalled=stalled, policy=scrape.policy, figures=row, totals=scrape.counters,
            restarts_seen=self._restarts,
        )  # fmt: skip

    def _take(self, scrape: Scrape) -> dict[str, float | None]:
        """Keep a look in the window and the past, and return its figures."""
        last = self._window[-1] if self._window else None
        if last is not None and not scrape.follows(last):
            self._restarts += 1
            self._window.clear()
            last = None
        if last is not None:
            grown = {key: n - last.slo.get(key, 0.0) for key, n in scrape.slo.items()}
            self.expectations.add(scrape.at, grown)
        while self._window and self._window[0].at < scrape.at - WINDOW_S:
            del self._window[0]
        start = self._window[0] if self._window else None
        row = figures(scrape, last if self._window else None, start)
        self._window.append(scrape)
        self.past.add(scrape.at, row)
        return row

    async def _about(self, engine: Running) -> Mapping[str, Any]:
        """The model's card, asked for once."""
        if self._card is None or self._card[0] != engine.url:
            self._card = engine.url, await self._answers.card(engine.url)
        return self._card[1]

    def _forget(self) -> None:
        """What comes after this is not compared to what was before."""
        self._window.clear()
        self._card = None


def _gone(engine: Running) -> str:
    """Say so if the process that announced itself on this machine is gone."""
    if not engine.pid or urlsplit(engine.url).hostname not in ("localhost", "127.0.0.1", "::1"):
        return ""
    try:
        os.kill(engine.pid, 0)
    except ProcessLookupError:
        return f"; its process {engine.pid} is gone: start `catp serve` again"
    except OSError:
        pass
    return ""
