"""One HTTP request while it is served: its tickets, the client's patience, and the books.

    submit ── tickets ── pump: record, count tokens ── queue ── next() ── the answer
                cancelled if the client goes away, reads too slowly or takes too long; every ticket is read to its end

Whatever happens, each accepted ticket is cancelled at most once, read until its terminal event, and recorded once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from catp.serving.metering.meter import Meter
from catp.serving.metering.recent import Begun
from catp.serving.metering.record import RequestRecord
from catp.serving.server.backend import Backend, EndCode, Finished, PlanSpec, Spec, Ticket
from catp.serving.server.events import Event
from catp.serving.server.options import ServerOptions
from catp.serving.server.tenants import Visit

__all__ = ["Exchange", "Load", "Receive"]

_log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_QUEUE = 64
"""Events between tickets and the answer; what waits longer waits in the tickets, which are bounded, too."""


class Load:
    """Counts the requests that are being served; `since` is when the first of them began.

    Args:
        clock: seconds, never running backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.open = 0
        self.since = clock()

    def began(self) -> None:
        """One more."""
        if not self.open:
            self.since = self._clock()
        self.open += 1

    def ended(self) -> None:
        """One less."""
        self.open -= 1


class Exchange:
    """Serves one HTTP request. Used once: `submit`, `next` until all tickets have ended, `close`.

    Args:
        backend: does the work.
        meter: keeps the books.
        options: limits.
        visit: the tenant's.
        endpoint: `chat`, `completions` or `plans`.
        receive: of ASGI, after the body was read: it tells when the client goes away.
        load: counts requests being served.
    """

    def __init__(
        self, backend: Backend, meter: Meter, options: ServerOptions, visit: Visit, endpoint: str, receive: Receive,
        load: Load,
    ) -> None:  # fmt: skip
        self._backend, self._meter, self._options, self._visit = backend, meter, options, visit
        self._endpoint, self._receive, self._load = endpoint, receive, load
        self._queue: asyncio.Queue[tuple[int, Event]] = asyncio.Queue(_QUEUE)
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0
        self.tickets: list[Ticket] = []
        self.gone = False
        """Whether the client went away."""

    async def submit(self, specs: Sequence[Spec]) -> None:
        """Submit all, or none, one after another.

        Raises:
            Refused, NothingFits, PlanningFailed, Unwritable: as `Backend.submit`; earlier ones were cancelled.
        """
        self._visit.__enter__()
        self._load.began()
        try:
            for spec in specs:
                ticket = await self._backend.submit(spec)
                self._left += 1
                self.tickets.append(ticket)
                self._visit.pay(ticket.prompt_tokens)
                self._meter.began(self._begun(ticket, spec))
                self._tasks.append(asyncio.create_task(self._pump(len(self.tickets) - 1, ticket, spec)))
        except BaseException:
            self.cancel("another prompt of the same request was refused", "cancelled")
            self._tasks.append(asyncio.create_task(self._drain()))
            raise
        self._timer = asyncio.get_running_loop().call_later(self._options.request_seconds, self._late)
        self._watcher = asyncio.create_task(self._watch())

    def cancel(self, reason: str, code: EndCode) -> None:
        """Cancel what has not ended."""
        for ticket in self.tickets:
            ticket.cancel(reason, code)

    async def next(self, patience: float | None = None) -> tuple[int, Event] | None:
        """Return the next event and whose it is; None after `patience` seconds without one.

        Raises:
            StopAsyncIteration: all tickets have ended.
        """
        if not self._left:
            raise StopAsyncIteration
        try:
            number, event = await asyncio.wait_for(self._queue.get(), patience)
        except TimeoutError:
            return None
        self._left -= isinstance(event, Finished)
        return number, event

    def more(self) -> list[tuple[int, Event]]:
        """Return the events that are there already."""
        found = []
        while self._left and not self._queue.empty():
            found.append(self._queue.get_nowait())
            self._left -= isinstance(found[-1][1], Finished)
        return found

    async def close(self) -> None:
        """Cancel and read what is left, and give the tenant's place back."""
        if self._timer is not None:
            self._timer.cancel()
            self._watcher.cancel()
        if self._left:
            self.cancel("nobody waits for the answer any more", "cancelled")
        await self._drain()

    async def _drain(self) -> None:
        try:
            while self._left:
                await self.next()
        finally:
            self._visit.__exit__()
            self._load.ended()

    async def _pump(self, number: int, ticket: Ticket, spec: Spec) -> None:
        """Read a ticket to its end; if it breaks, that is an end, too."""
        end = Finished("failed", code="engine_failed", message="the engine gave the request up without saying why")
        try:
            async for event in ticket:
                if isinstance(event, Finished):
                    end = event
                    break
                await self._queue.put((number, event))
        except Exception:
            _log.exception("request %s: its events cannot be read", ticket.id)
        self._visit.pay(end.usage.output_tokens)
        self._meter.ended(self._record(ticket, spec, end), end.usage.chunks)
        await self._queue.put((number, end))

    async def _watch(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                self.cancel("the client went away", "disconnected")
                return

    def _late(self) -> None:
        limit = self._options.request_seconds
        self.cancel(f"the request took longer than this server's limit of {limit:g} s", "timeout")

    def _begun(self, ticket: Ticket, spec: Spec) -> Begun:
        model, adapter = _names(self._backend, spec.model)
        return Begun(
            ticket.id, spec.tenant, model, self._endpoint, self._meter.clock(), adapter, ticket.prompt_tokens, spec.slo
        )

    def _record(self, ticket: Ticket, spec: Spec, end: Finished) -> RequestRecord:
        usage = end.usage
        model, adapter = _names(self._backend, spec.model)
        return RequestRecord(
            ticket.id, spec.tenant, model, self._endpoint, self._meter.clock(), end.reason, end.code, adapter,
            usage.prompt_tokens, usage.cached_tokens, usage.output_tokens, usage.forced_tokens, usage.preemptions,
            usage.seconds, self._meter.price.spent(usage.seconds), usage.queued, usage.ttft, usage.tpot, usage.e2e,
            spec.slo, len(end.value.written) if isinstance(spec, PlanSpec) and end.value is not None else 0,
        )  # fmt: skip


def _names(backend: Backend, asked: str) -> tuple[str, str]:
    """The model's id, and the adapter's name if that was asked for."""
    cards = backend.models()
    for card in cards:
        if card.id == asked:
            return asked, ""
    for card in cards:
        if any(adapter.name == asked for adapter in card.adapters):
            return card.id, asked
    return cards[0].id if cards else "", asked
