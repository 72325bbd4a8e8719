"""The engine in this process as the server's backend: specs become programs, ends become `Finished`.

TextSpec ── tokenizer, grammar ── TextProgram ─┐
                                               ├── Engine ── Mailbox (the ticket)
PlanSpec ── the policy's speller ─ PlanProgram ┘
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from catp.planners.writer import Draft
from catp.planners.writer import Usage as WriterUsage
from catp.serving.engine.engine import Engine
from catp.serving.engine.errors import Refused
from catp.serving.engine.program import Program
from catp.serving.engine.request import Job, Request
from catp.serving.metering.prices import DevicePrice
from catp.serving.programs.grammar import GrammarCompiler, TextConstraint
from catp.serving.programs.grammar import Spec as GrammarSpec
from catp.serving.programs.plan import PlanProgram, width_of
from catp.serving.programs.spelling import Spelling
from catp.serving.programs.text import TextProgram
from catp.serving.server.adapters import Adapters
from catp.serving.server.backend import (
    AdapterCard,
    Constraint,
    EndCode,
    Event,
    Finished,
    Health,
    ModelCard,
    PlanSpec,
    Snapshot,
    Spec,
    TextSpec,
    Usage,
)
from catp.serving.server.gauges import Gauges
from catp.serving.server.mailbox import Mailbox
from catp.training.policy.session import Speller

__all__ = ["LocalBackend", "Served"]


@dataclass(frozen=True)
class Served:
    """What is served: its name, its tokenizer, sizes, and the speller if it is a policy.

    `temperature` is of sampled plans.
    """

    name: str
    spelling: Spelling
    vocabulary: int
    context: int
    speller: Speller | None = None
    device: str = "cpu"
    temperature: float = 1.0


class LocalBackend:
    """Implements `Backend` with an engine in this process.

    Args:
        served: the model.
        engine: runs it.
        gauges: of the engine; they keep its accounts.
        price: of a device second.
        adapters: those that are loaded; None: the model takes none.
        clock: the engine's.
    """

    def __init__(
        self, served: Served, engine: Engine, gauges: Gauges, price: DevicePrice, *,
        adapters: Adapters | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.served, self.engine, self.price = served, engine, price
        self._gauges = gauges
        self._adapters, self._clock = adapters, clock
        self._created = int(time.time())
        self._grammars: GrammarCompiler | None = None

    def submit(self, spec: Spec) -> Mailbox:
        """Accept a request; see `Backend.submit`. In the event loop that reads it."""
        adapter = self._adapter(spec.model)
        id_ = uuid.uuid4().hex
        request, program = self._text(spec, id_) if isinstance(spec, TextSpec) else self._plan(spec, id_)
        request = replace(
            request, arrival=self._clock(), adapter=adapter, tenant=spec.tenant, priority=spec.priority, slo=spec.slo,
            drop_late=spec.drop_late, kind=spec.kind,
        )  # fmt: skip
        ticket = Mailbox(id_, partial(self._cancel, id_), prompt_tokens=len(request.prompt))
        release = self._adapters.use(adapter) if self._adapters is not None and adapter is not None else _nothing
        try:
            self.engine.submit(request, program, _TicketSink(self, ticket, release))
        except BaseException:
            release()
            raise
        return ticket

    def models(self) -> tuple[ModelCard, ...]:
        """Return the model and its adapters."""
        served = self.served
        cards = () if self._adapters is None else self._adapters.cards()
        chat = bool(served.spelling.tokenizer.chat_template)
        card = ModelCard(served.name, self._created, served.context, cards, served.speller is not None, chat)
        if served.speller is None:
            return (card,)
        manifest = served.speller.policy.manifest
        return (replace(card, kappa=manifest.kappa, margin=manifest.margin),)

    async def load_adapter(self, name: str, path: str) -> AdapterCard:
        """Load an adapter, or the new content of one of the same name."""
        if name == self.served.name:
            raise Refused("bad_request", f"{name!r} is the model itself; give the adapter another name")
        return await asyncio.to_thread(self._need_adapters().load, name, path)

    async def unload_adapter(self, name: str) -> None:
        """Stop taking requests for an adapter."""
        self._need_adapters().unload(name)

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

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, let the others end, cancel the rest."""
        await asyncio.to_thread(self.engine.drain, seconds)

    async def close(self) -> None:
        """End everything."""
        await asyncio.to_thread(self.engine.close)
        if self._grammars is not None:
            self._grammars.close()

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
        )

    def _adapter(self, model: str) -> str | None:
        """The digest of the adapter a model's name means; None for the model itself."""
        if model == self.served.name:
            return None
        found = None if self._adapters is None else self._adapters.digest(model)
        if found is None:
            known = [
                self.served.name,
                *(card.name for card in (() if self._adapters is None else self._adapters.cards())),
            ]
            raise Refused("unknown_model", f"there is no model {model!r} here; there is: {', '.join(known)}")
        return found

    def _need_adapters(self) -> Adapters:
        if self._adapters is None:
            raise Refused("bad_request", f"{self.served.name} was served without room for adapters")
        return self._adapters

    def _cancel(self, id_: str, reason: str, code: EndCode) -> None:
        self.engine.cancel(id_, reason, code)

    def _text(self, spec: TextSpec, id_: str) -> tuple[Request, Program]:
        served = self.served
        prompt = self._prompt(spec)
        bad = next((token for token in prompt if not 0 <= token < served.vocabulary), None)
        if bad is not None:
            raise Refused(
                "bad_tokens", f"the prompt holds token {bad}; {served.name} has tokens 0 to {served.vocabulary - 1}"
            )
        if not prompt:
            raise Refused("bad_request", "the prompt is empty; give at least one token")
        room = served.context - len(prompt)
        bound = room if spec.max_tokens is None else spec.max_tokens
        if room < 1 or bound > room:
            raise Refused(
                "too_long",
                f"the prompt has {len(prompt)} tokens and {max(bound, 1)} more are asked for, but {served.name} reads "
                f"{served.context} in all; shorten the prompt or lower max_tokens",
            )
        program = TextProgram(
            served.spelling, prompt, spec.seeds, spec.sampling, bound, stop=spec.stop, ignore_eos=spec.ignore_eos,
            constraint=None if spec.constraint is None else self._constraint(spec.constraint), echo=spec.echo,
            stream=spec.stream,
        )  # fmt: skip
        return Request(id_, prompt, bound, len(spec.seeds)), program

    def _prompt(self, spec: TextSpec) -> tuple[int, ...]:
        if isinstance(spec.prompt, str):
            return self.served.spelling.encode(spec.prompt)
        if spec.prompt and not isinstance(spec.prompt[0], int):
            messages = [
                {"role": one.role, "content": one.content, **({"name": one.name} if one.name else {})}
                for one in cast(Any, spec.prompt)
            ]
            try:
                return self.served.spelling.chat(messages)
            except ValueError as error:
                raise Refused("bad_request", str(error)) from error
        return cast("tuple[int, ...]", spec.prompt)

    def _constraint(self, constraint: Constraint) -> Callable[[], TextConstraint]:
        if self._grammars is None:
            try:
                spelling = self.served.spelling
                self._grammars = GrammarCompiler(spelling.tokenizer, sorted(spelling.eos))
            except (ImportError, ValueError) as error:
                raise Refused("bad_grammar", str(error)) from error
        form = constraint.form or '{"type": "object"}'
        spec = GrammarSpec("regex" if constraint.kind == "regex" else "json_schema", form)
        return self._grammars.compile(spec).start

    def _plan(self, spec: PlanSpec, id_: str) -> tuple[Request, Program]:
        if self.served.speller is None:
            raise Refused(
                "bad_request",
                f"{self.served.name} is no policy: it writes text, not plans; serve one such as catp-tiny",
            )
        session = self.served.speller.session(
            spec.request, spec.shown, samples=spec.samples, beams=spec.beams, seed=spec.seed,
            temperature=self.served.temperature,
        )  # fmt: skip
        width = width_of(spec.samples, spec.beams, len(spec.shown))
        return Request(id_, tuple(session.prompt), session.room, width), PlanProgram(session, stream=spec.stream)


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
