"""The engine in this process as the server's backend: specs become programs, ends become `Finished`.

spec ── Requests: spelled out in threads ── Request, Program ── Engine ── Mailbox (the ticket)
"""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import cast

from catp.planners.writer import Draft
from catp.planners.writer import Usage as WriterUsage
from catp.serving.engine.engine import Engine
from catp.serving.engine.errors import Refused
from catp.serving.engine.request import Job, Phase
from catp.serving.metering.prices import DevicePrice
from catp.serving.server.adapters import Adapters
from catp.serving.server.backend import (
    AdapterCard,
    EndCode,
    Event,
    Finished,
    Health,
    Live,
    ModelCard,
    Snapshot,
    Spec,
    Usage,
)
from catp.serving.server.gauges import Gauges
from catp.serving.server.mailbox import Mailbox
from catp.serving.server.requests import Requests, Served

__all__ = ["LocalBackend", "Served"]


class LocalBackend:
    """Implements `Backend` with an engine in this process.

    Args:
        served: the model.
        engine: runs it.
        gauges: of the engine; they keep its accounts.
        price: of a device second.
        adapters: those that are loaded.
        clock: the engine's.
    """

    def __init__(
        self, served: Served, engine: Engine, gauges: Gauges, price: DevicePrice, *,
        adapters: Adapters, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.served, self.engine, self.price = served, engine, price
        self._gauges = gauges
        self._adapters, self._clock = adapters, clock
        self._created = int(time.time())
        self._requests = Requests(served)

    async def submit(self, spec: Spec) -> Mailbox:
        """Accept a request; see `Backend.submit`. In the event loop that reads it."""
        arrival, id_ = self._clock(), uuid.uuid4().hex
        self._adapter(spec.model)
        most = self.engine.core.scheduler.limits.max_waiting
        if self._requests.open >= most:
            raise Refused("queue_full", f"{most} requests are being spelled out; try again", retry_after=1.0)
        request, program = await self._requests.make(spec, id_)
        adapter = self._adapter(spec.model)  # what its name means may have changed
        request = replace(
            request, arrival=arrival, adapter=adapter, tenant=spec.tenant, priority=spec.priority, slo=spec.slo,
            drop_late=spec.drop_late, kind=spec.kind,
        )  # fmt: skip
        ticket = Mailbox(id_, partial(self._cancel, id_), prompt_tokens=len(request.prompt))
        release = _nothing if adapter is None else self._adapters.use(adapter)
        try:
            self.engine.submit(request, program, _TicketSink(self, ticket, release))
        except BaseException:
            release()
            raise
        return ticket

    def models(self) -> tuple[ModelCard, ...]:
        """Return the model and its adapters."""
        served = self.served
        chat = bool(served.spelling.tokenizer.chat_template)
        card = ModelCard(
            served.name, self._created, served.context, self._adapters.cards(), served.speller is not None, chat
        )
        if served.speller is None:
            return (card,)
        manifest = served.speller.policy.manifest
        return (replace(card, kappa=manifest.kappa, margin=manifest.margin),)

    async def load_adapter(self, name: str, path: str) -> AdapterCard:
        """Load an adapter, or the new content of one of the same name."""
        if name == self.served.name:
            raise Refused("bad_request", f"{name!r} is the model itself; give the adapter another name")
        return await asyncio.to_thread(self._adapters.load, name, path)

    async def unload_adapter(self, name: str) -> None:
        """Stop taking requests for an adapter."""
        self._adapters.unload(name)

    def health(self) -> Health:
        """Return how the engine is."""
        state, scheduler = self.engine.state(), self.engine.core.scheduler
        return Health(
            True, state.ready, state.reason, state.steps, len(scheduler.running), len(scheduler.waiting),
            state.last_step_age,
        )  # fmt: skip

    def snapshot(self) -> Snapshot:
        """Return gauges and counters."""
        return self._gauges.snapshot()

    def requests(self) -> Mapping[str, Live]:
        """Return how far the requests are that have not ended."""
        scheduler = self.engine.core.scheduler
        return {job.id: self._live(job) for job in (*scheduler.running, *scheduler.waiting)}

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, let the others end, cancel the rest."""
        await asyncio.to_thread(self.engine.drain, seconds)

    async def close(self) -> None:
        """End everything."""
        await asyncio.to_thread(self.engine.close)
        self._requests.close()

    def usage(self, job: Job) -> Usage:
        """Return what a job that ended took."""
        arrival, seconds = job.request.arrival, self._gauges.account.of(job)
        spent = self.price.spent(seconds)
        return Usage(
            prompt_tokens=len(job.request.prompt),
            cached_tokens=job.cached_tokens,
            output_tokens=job.output_tokens,
            forced_tokens=job.forced_tokens,
            seconds=seconds,
            price=None if spent is None else spent.total,
            queued=None if job.started is None else job.started - arrival,
            ttft=None if job.first_token is None else job.first_token - arrival,
            e2e=0.0 if job.ended is None else job.ended - arrival,
            preemptions=job.preemptions,
            adapter=job.request.adapter,
            chunks=self._gauges.timeline.of(job),
        )

    def _live(self, job: Job) -> Live:
        took = self.usage(job)
        return Live(
            job.phase is Phase.WAITING, took.queued, took.ttft, took.cached_tokens, took.output_tokens,
            took.preemptions, took.seconds.total, took.chunks,
        )  # fmt: skip

    def _adapter(self, model: str) -> str | None:
        """The digest of the adapter a model's name means; None for the model itself."""
        if model == self.served.name:
            return None
        found = self._adapters.digest(model)
        if found is None:
            known = [self.served.name, *(card.name for card in self._adapters.cards())]
            raise Refused("unknown_model", f"there is no model {model!r} here; there is: {', '.join(known)}")
        return found

    def _cancel(self, id_: str, reason: str, code: EndCode) -> None:
        self.engine.cancel(id_, reason, code)


class _TicketSink:
    """Posts what a request's program emits, and its end, to its ticket."""

    def __init__(self, backend: LocalBackend, ticket: Mailbox, release: Callable[[], None]) -> None:
        self._backend, self._ticket, self._release = backend, ticket, release

    def emit(self, event: Event) -> None:
        """Post an event."""
        self._ticket.post(event)

    def ended(self, job: Job, value: Draft | None, why: str, code: str) -> None:
        """Post the end."""
        assert job.finish is not None
        self._release()
        usage = self._backend.usage(job)
        if value is not None:
            work = WriterUsage(usage.prompt_tokens, usage.output_tokens, usage.seconds.total, usage.price)
            value = replace(value, usage=work)
        self._ticket.post(Finished(job.finish, usage, value, cast(EndCode, code), why))


def _nothing() -> None:
    """What is released if no adapter is used."""
