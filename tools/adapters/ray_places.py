"""The places of one Ray pool: started while calls wait, kept warm for the next call, given back when idle.

    call waits ── a place is idle ───────────────────────────┐
        │                                                    v
        └──────── none: start an actor ── resources free ── it reports ── the call begins

A call takes whatever is free first: a place another call gave back or one that has just started. What a place does
before it reports (waiting for resources, starting, installing a runtime environment) is nobody's running time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from catp.tools.adapters.ray_cluster import PoolError, Resources, capacity, cause, connect, in_ray_thread, offers, soon
from catp.tools.adapters.ray_place import Place, create, environment, kill, report
from catp.tools.workers import WorkerLimits

__all__ = ["Places"]

_log = logging.getLogger("catp.tools")

_POLL_S = 1.0
_QUIET_S = 30.0
_STARTS = 3
"""Times a place whose node is lost while it starts is started elsewhere."""


class Places:
    """At most `most` places with the same resources; by default as many as the cluster's nodes can hold.

    Used by one event loop at a time.
    """

    def __init__(
        self, address: str | None, resources: Resources, *, most: int | None, idle_s: float, patience_s: float,
        runtime_env: Mapping[str, Any] | None,
    ) -> None:  # fmt: skip
        memory = {} if resources.memory_mb is None else {"memory_mb": resources.memory_mb}
        self._limits = WorkerLimits(threads=max(1, int(resources.cpus)), **memory)
        self._address, self._resources, self._most = address, resources, most
        self._idle_s, self._patience_s = idle_s, patience_s
        self._options = resources.options() | {"runtime_env": environment(runtime_env or {})}
        self._capacity: int | None = None
        self._all: set[Place] = set()
        self._idle: deque[Place] = deque()
        self._waiting: deque[asyncio.Future[Place]] = deque()
        self._starting: set[asyncio.Task[Place | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def take(self, family: str) -> Place:
        """Return a place for one call, at best one that has run this family; raises `PoolError`."""
        self._enter_loop()
        while True:
            place = self._pick(family) or await self._wait()
            try:
                if await place.answers():
                    return place
            except BaseException:
                self._end(place)
                raise
            self._end(place)

    def give_back(self, place: Place, family: str) -> None:
        """Let the next call have the place; one that was killed is replaced."""
        if place.dead:
            self._end(place)
            return
        if family in place.warm:
            place.warm.remove(family)
        place.warm.append(family)
        self._hand_on(place)

    def warm(self, family: str) -> bool:
        """True if an idle place keeps a worker process of this family."""
        return any(family in place.warm for place in self._idle)

    @property
    def most(self) -> int:
        """How many places there can be, as far as is known before the cluster was asked."""
        return self._most or self._capacity or 1

    async def close(self) -> None:
        """End every place and what runs there; wait until they are gone. Calls still waiting get a `PoolError`."""
        self._enter_loop()
        for task in list(self._starting):
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        self._refuse(PoolError("the pool was closed", permanent=False))
        places = list(self._all)
        for place in places:
            self._end(place)
        await asyncio.gather(*(place.gone() for place in places))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- waiting ----------------------------------------------------------------------------------------------------

    def _enter_loop(self) -> None:
        """Forget what an earlier, ended event loop was waiting for."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and self._loop.is_running():
            raise RuntimeError("a RayPool cannot be used by two event loops at once; give each its own")
        self._loop, self._timer = loop, None
        self._waiting.clear()
        self._starting.clear()
        for place in self._all - set(self._idle):
            self._end(place)

    def _pick(self, family: str) -> Place | None:
        if not self._idle:
            return None
        place = next((p for p in reversed(self._idle) if family in p.warm), self._idle[0])
        self._idle.remove(place)
        return place

    async def _wait(self) -> Place:
        turn: asyncio.Future[Place] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._grow()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._hand_on(turn.result())  # it got its place just before it was cancelled
            raise

    def _hand_on(self, place: Place) -> None:
        place.heard = asyncio.get_running_loop().time()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(place)
                return
        self._idle.append(place)
        self._wake_later()

    def _refuse(self, error: PoolError) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(PoolError(str(error), permanent=error.permanent))

    # --- starting ---------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Start places for the calls that wait, as far as there can be more."""
        while len(self._starting) < len(self._waiting) and len(self._all) + len(self._starting) < self.most:
            task = asyncio.ensure_future(self._start())
            self._starting.add(task)
            task.add_done_callback(self._started)

    def _started(self, task: "asyncio.Task[Place | None]") -> None:
        self._starting.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            reason = _told(error)
            if self._all:
                _log.warning("%s; calls wait for the %d place(s) there are", reason, len(self._all))
            else:
                self._refuse(reason)
        elif (place := task.result()) is not None:
            self._all.add(place)
            self._hand_on(place)
        else:
            self._grow()

    async def _start(self) -> Place | None:
        """Start a place and wait until it reports; None if nobody waits for it any more."""
        await connect(self._address)
        if self._most is None:
            self._capacity = max(1, await in_ray_thread(lambda: capacity(self._resources.wanted())))
            self._grow()
        for _ in range(_STARTS):
            try:
                return await self._started_once()
            except Exception as error:
                reason = _told(error)
                if reason.permanent:
                    break
        raise reason

    async def _started_once(self) -> Place | None:
        actor = await in_ray_thread(partial(create, self._options, self._limits))
        reporting = report(actor)
        place, polls = None, 0
        try:
            while not (await asyncio.wait({reporting}, timeout=_POLL_S))[0]:
                if len(self._starting) > len(self._waiting):
                    return None
                await self._check_possible(reporting)
                polls += 1
                if polls * _POLL_S == _QUIET_S:
                    _log.warning("calls have waited %g s for a place on Ray with %s", _QUIET_S, self._resources)
            place = Place(actor, reporting.result())
            return place
        finally:
            reporting.cancel()
            if place is None:
                soon(partial(kill, actor))

    async def _check_possible(self, reporting: "asyncio.Future[str]") -> None:
        """Raise `PoolError` if for a while there has been no node that a place could ever start on."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        while not reporting.done() and not await in_ray_thread(lambda: capacity(self._resources.wanted())):
            if loop.time() - since > self._patience_s:
                there = await in_ray_thread(lambda: offers(self._resources.wanted()))
                message = f"no node of the Ray cluster can offer {self._resources}; they have {there}"
                raise PoolError(message, permanent=True)
            await asyncio.wait({reporting}, timeout=_POLL_S)

    # --- ending -----------------------------------------------------------------------------------------------------

    def _end(self, place: Place) -> None:
        self._all.discard(place)
        if place in self._idle:
            self._idle.remove(place)
        place.kill()
        self._grow()

    def _wake_later(self) -> None:
        if self._timer is None:
            oldest = min(place.heard for place in self._idle)
            self._timer = asyncio.get_running_loop().call_at(oldest + self._idle_s, self._end_idle)

    def _end_idle(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for place in list(self._idle):
            if now - place.heard >= self._idle_s - 1e-3:
                self._end(place)
        if self._idle:
            self._wake_later()


def _node_lost(error: BaseException) -> bool:
    """True if the place died while it started, and not by its own fault."""
    from ray.exceptions import ActorDiedError, ActorUnavailableError

    return isinstance(error, ActorUnavailableError) or (
        isinstance(error, ActorDiedError) and not error.actor_init_failed
    )


def _told(error: BaseException) -> PoolError:
    """Return what an actor that could not be started means for the calls that wait for it."""
    if isinstance(error, PoolError):
        return error
    if _node_lost(error):
        return PoolError(f"places on Ray die while they start: {cause(error)}", permanent=False)
    return PoolError(f"a place on Ray cannot be started: {cause(error)}", permanent=True)
