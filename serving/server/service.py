"""The server without HTTP's machinery: who asks, whether they may, what they get.

Every method that answers a request takes what it needs of it and returns JSON values or a stream, or raises
`HttpProblem`. `catp.serving.server.app` binds them to paths.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from catp.planners.protocol import PlanningFailed
from catp.planners.writer import Unwritable
from catp.serving.engine.errors import Refused
from catp.serving.metering.meter import Meter
from catp.serving.metering.metrics import Metrics
from catp.serving.server.backend import Backend, Finished, Spec
from catp.serving.server.catalogues import Catalogues
from catp.serving.server.exchange import Exchange, Load, Receive
from catp.serving.server.forms import ChatForm, CompletionForm, read_form
from catp.serving.server.options import ServerOptions
from catp.serving.server.plans import PlanAnswer, plan_spec
from catp.serving.server.problems import HttpProblem, of_end, of_refusal
from catp.serving.server.read import chat_spec, completion_specs
from catp.serving.server.sse import EventStream
from catp.serving.server.tenants import Tenant, Tenants
from catp.serving.server.text import ChatAnswer, CompletionAnswer, TextAnswer

__all__ = ["Answer", "Service"]

Answer = tuple[Mapping[str, Any], Mapping[str, str]] | EventStream
"""A JSON body and headers, or a stream."""


class Service:
    """What is behind the paths.

    Args:
        backend: does the work.
        tenants: who may ask.
        meter: keeps the books.
        options: limits.
        clock: seconds, never running backwards.
    """

    def __init__(
        self, backend: Backend, tenants: Tenants, meter: Meter, options: ServerOptions | None = None, *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.backend, self.tenants, self.meter, self.options = backend, tenants, meter, options or ServerOptions()
        self.catalogues = Catalogues(self.options.max_catalogues)
        self.load = Load(clock)
        self.draining = False
        self._clock = clock
        cards = backend.models()
        name = cards[0].id if cards else ""
        self.metrics = Metrics(meter, backend.snapshot, backend.health, name, lambda: self.load.open)

    def enter(self, authorization: str | None) -> Tenant:
        """Return who asks for an answer of the engine, before the body is read; raise `HttpProblem`."""
        tenant = ""
        try:
            found = self.tenants.known(authorization)
            tenant = found.name
            if self.draining:
                after = self.options.drain_seconds
                raise HttpProblem(503, "draining", "the server is shutting down; ask another one", retry_after=after)
            self.tenants.check(found)
        except HttpProblem as problem:
            self.meter.refusal(tenant, problem.code)
            raise
        return found

    async def chat(self, tenant: Tenant, data: object, receive: Receive) -> Answer:
        """Answer `POST /v1/chat/completions`."""
        with _Refusals(self.meter, tenant):
            form, ignored = read_form(ChatForm, data)
            spec = self._named(chat_spec(form, tenant, self.options))
            exchange = await self._submit(tenant, "chat", [spec], receive)
        return await self._text(ChatAnswer, form, form.logprobs is True, [spec], exchange, ignored)

    async def completions(self, tenant: Tenant, data: object, receive: Receive) -> Answer:
        """Answer `POST /v1/completions`."""
        with _Refusals(self.meter, tenant):
            form, ignored = read_form(CompletionForm, data)
            specs = [self._named(spec) for spec in completion_specs(form, tenant, self.options)]
            exchange = await self._submit(tenant, "completions", specs, receive)
        return await self._text(CompletionAnswer, form, form.logprobs is not None, specs, exchange, ignored)

    async def plans(self, tenant: Tenant, data: object, receive: Receive) -> Answer:
        """Answer `POST /v1/plans`."""
        with _Refusals(self.meter, tenant):
            spec = self._named(plan_spec(data, tenant, self.catalogues, self.options))
            exchange = await self._submit(tenant, "plans", [spec], receive)
        answer = PlanAnswer(exchange.tickets[0].id, spec.model, self.meter.price)
        return await self._give(answer, exchange, spec.stream, {"X-Request-Id": answer.id}, "error")

    def progress(self) -> tuple[bool, dict[str, Any]]:
        """Return whether the engine gets on, and its figures."""
        health, patience = self.backend.health(), self.options.stall_seconds
        busy = self._clock() - self.load.since if self.load.open else 0.0
        age = health.last_step_age
        stalled = self.load.open > 0 and min(busy, busy if age is None else age) > patience
        figures = {"steps": health.steps, "running": health.running, "waiting": health.waiting,
                   "last_step_age": age, "stalled": stalled}  # fmt: skip
        return not stalled, figures

    def requests(self, authorization: str | None, limit: int) -> list[dict[str, Any]]:
        """Return requests of late, an admin all and a tenant its own: see `catp.serving.metering.recent`."""
        tenant = self.tenants.known(authorization)
        rows = self.meter.recent.rows(None if tenant.admin else tenant.name, self.backend.requests())
        return list(islice(rows, limit))

    def ready(self) -> tuple[bool, str]:
        """Return whether requests are taken, and why not."""
        if self.draining:
            return False, "draining"
        health = self.backend.health()
        return health.ready, health.reason

    def _named(self, spec: Any) -> Any:
        """A request that names no model means the only one."""
        if spec.model:
            return spec
        cards = self.backend.models()
        if not cards:
            raise HttpProblem(503, "not_ready", "no model is loaded yet", retry_after=1.0)
        return replace(spec, model=cards[0].id)

    async def _submit(self, tenant: Tenant, endpoint: str, specs: Sequence[Spec], receive: Receive) -> Exchange:
        visit = self.tenants.admit(tenant)
        exchange = Exchange(self.backend, self.meter, self.options, visit, endpoint, receive, self.load)
        await exchange.submit(specs)
        return exchange

    async def _text(
        self, kind: type[TextAnswer], form: ChatForm | CompletionForm, logprobs: bool, specs: Sequence[Any],
        exchange: Exchange, ignored: Sequence[str],
    ) -> Answer:  # fmt: skip
        wants = form.stream_options
        answer = kind(
            exchange.tickets[0].id, specs[0].model, len(specs), len(specs[0].seeds), self.meter.price,
            logprobs=logprobs, include_usage=wants is not None and wants.include_usage,
            continuous=wants is not None and wants.continuous_usage_stats,
            prompts=[ticket.prompt_tokens for ticket in exchange.tickets],
        )  # fmt: skip
        headers = {"X-Request-Id": answer.id}
        if ignored:
            headers["X-CATP-Ignored"] = ", ".join(ignored)
        return await self._give(answer, exchange, bool(form.stream), headers, None)

    async def _give(
        self, answer: TextAnswer | PlanAnswer, exchange: Exchange, stream: bool, headers: dict[str, str],
        name: str | None,
    ) -> Answer:  # fmt: skip
        if stream:
            events = EventStream(exchange, answer.take, answer.closing, headers=headers,
                                 write_seconds=self.options.write_seconds, name=name)  # fmt: skip
            problem = await events.first()
            if problem is not None:
                raise problem
            return events
        try:
            while True:
                try:
                    item = await exchange.next()
                except StopAsyncIteration:
                    return answer.body(), headers
                assert item is not None  # it waits for ever
                if isinstance(item[1], Finished) and item[1].reason not in ("stop", "length"):
                    raise of_end(item[1])
                answer.take(*item)
        finally:
            await exchange.close()


class _Refusals:
    """Turns refusals into `HttpProblem` and counts them."""

    def __init__(self, meter: Meter, tenant: Tenant) -> None:
        self._meter, self._tenant = meter, tenant

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Refused | PlanningFailed | Unwritable):
            problem = of_refusal(error)
            self._meter.refusal(self._tenant.name, problem.code)
            raise problem from error
        if isinstance(error, HttpProblem):
            self._meter.refusal(self._tenant.name, error.code)
