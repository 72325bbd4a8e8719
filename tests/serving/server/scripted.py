"""A small engine for tests of the server: a thread that writes a character a step for each request, and nothing else.

It keeps the promises of `Backend` honestly: it refuses, queues, cancels at the next step, drains, and posts one end.
Text is the alphabet over and over, begun at a place that the seed decides (greedy: at `a`). Plans are the cheapest ones
that search finds. A character is a token, and a token takes `step_seconds` of the device.
"""

import asyncio
import string
import threading
import time
from dataclasses import dataclass, field

from catp.planners.cheapest import cheapest_plans
from catp.planners.writer import Draft, Rating, Written
from catp.serving.engine.errors import FinishReason, Refused
from catp.serving.server.backend import (
    AdapterCard,
    EndCode,
    Finished,
    Health,
    Live,
    ModelCard,
    PlanSpec,
    Seconds,
    Snapshot,
    Spec,
    StepDecided,
    TextDelta,
    TextSpec,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from catp.serving.server.mailbox import Mailbox

MODEL = "scripted"
LETTERS = string.ascii_lowercase


@dataclass(eq=False)
class Work:
    spec: Spec
    ticket: Mailbox
    prompt: int
    arrival: float
    cached: int = 0
    started: float | None = None
    first: float | None = None
    written: int = 0
    done: set[int] = field(default_factory=set)
    texts: dict[int, str] = field(default_factory=dict)
    cancelled: tuple[str, EndCode] | None = None


class Scripted:
    """Implements `Backend`."""

    def __init__(
        self, *, step_seconds: float = 0.002, context: int = 4096, most_waiting: int = 64, most_running: int = 64,
        capacity: int = 1024,
    ) -> None:  # fmt: skip
        self.step_seconds, self.context = step_seconds, context
        self.most_waiting, self.most_running, self.capacity = most_waiting, most_running, capacity
        self.steps = self.rows = 0
        self.ended: list[Finished] = []
        self.cancel_steps: list[int] = []
        """Steps between a cancellation and its end."""
        self.stuck = threading.Event()
        self.broken: str = ""
        self._asked: dict[str, int] = {}
        self._adapters: dict[str, AdapterCard] = {}
        self._lock = threading.Condition()
        self._waiting: list[Work] = []
        self._running: list[Work] = []
        self._prompts: set[object] = set()
        self._draining = self._closed = False
        self._last = time.monotonic()
        self._count = 0
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    async def submit(self, spec: Spec) -> Mailbox:
        known = {MODEL, *self._adapters}
        if spec.model not in known:
            raise Refused("unknown_model", f"there is no model {spec.model!r} here")
        prompt = 8 if isinstance(spec, PlanSpec) else _length(spec)
        if isinstance(spec, TextSpec):
            if prompt + (spec.max_tokens or 1) > self.context:
                raise Refused("too_long", f"{prompt} and {spec.max_tokens} tokens do not fit {self.context}")
            if spec.constraint is not None and spec.constraint.form.startswith("("):
                raise Refused("bad_grammar", "the grammar has an open bracket")
        with self._lock:
            if self._draining:
                raise Refused("draining", "shutting down", retry_after=3.0)
            if self.broken:
                raise Refused("not_ready", self.broken, retry_after=1.0)
            if len(self._waiting) >= self.most_waiting:
                raise Refused("queue_full", f"{len(self._waiting)} requests wait already", retry_after=2.5)
            self._count += 1
            id_ = f"r{self._count}"
            ticket = Mailbox(id_, lambda why, code: self._cancel(id_, why, code), prompt_tokens=prompt,
                             capacity=self.capacity)  # fmt: skip
            work = Work(spec, ticket, prompt, time.monotonic())
            key = (spec.model, spec.prompt) if isinstance(spec, TextSpec) else (spec.model, spec.request.task)
            work.cached = prompt - 1 if key in self._prompts else 0
            self._prompts.add(key)
            self._waiting.append(work)
            self._lock.notify()
        return ticket

    def models(self) -> tuple[ModelCard, ...]:
        return (ModelCard(MODEL, 1_700_000_000, self.context, tuple(self._adapters.values()), plans=True),)

    async def load_adapter(self, name: str, path: str) -> AdapterCard:
        if path == "missing":
            raise Refused("bad_request", f"{path} is no adapter")
        self._adapters[name] = AdapterCard(name, f"digest-of-{path}", path)
        return self._adapters[name]

    async def unload_adapter(self, name: str) -> None:
        if self._adapters.pop(name, None) is None:
            raise Refused("unknown_adapter", f"there is no adapter {name!r}")

    def health(self) -> Health:
        return Health(True, not self.broken and not self._draining, self.broken, self.steps, len(self._running),
                      len(self._waiting), time.monotonic() - self._last)  # fmt: skip

    def snapshot(self) -> Snapshot:
        return Snapshot(len(self._running), len(self._waiting), steps=self.steps, busy_seconds=self.busy_seconds,
                        decision_p50=1e-5, decision_p99=1e-4, token_budget=64, extra={"threads": 1.0})  # fmt: skip

    def requests(self) -> dict[str, Live]:
        now = [(work, True) for work in list(self._waiting)] + [(work, False) for work in list(self._running)]
        return {work.ticket.id: Live(waiting, output_tokens=work.written) for work, waiting in now}

    @property
    def busy_seconds(self) -> float:
        return self.rows * self.step_seconds

    async def drain(self, seconds: float) -> None:
        await asyncio.to_thread(self._drain, seconds)

    def _drain(self, seconds: float) -> None:
        with self._lock:
            self._draining = True
        until = time.monotonic() + seconds
        while (self._running or self._waiting) and time.monotonic() < until:
            time.sleep(0.005)
        for work in [*self._waiting, *self._running]:
            self._cancel(work.ticket.id, "the server is shutting down", "shutdown")
        while self._running or self._waiting:
            time.sleep(0.005)

    async def close(self) -> None:
        with self._lock:
            self._closed = True
            self._lock.notify()
        self._thread.join(5)

    def _cancel(self, id_: str, why: str, code: EndCode) -> None:
        with self._lock:
            for work in [*self._waiting, *self._running]:
                if work.ticket.id == id_ and work.cancelled is None:
                    work.cancelled = (why, code)
                    self._asked[id_] = self.steps
            self._lock.notify()

    def _loop(self) -> None:
        while True:
            with self._lock:
                while not (self._running or self._waiting or self._closed):
                    self._lock.wait()
                if self._closed:
                    return
                while self._waiting and len(self._running) < self.most_running:
                    self._running.append(self._waiting.pop(0))
                for work in [work for work in self._waiting if work.cancelled]:
                    self._waiting.remove(work)
                    self._end(work, "cancelled")
            while self.stuck.is_set():
                time.sleep(0.005)
            time.sleep(self.step_seconds)
            self.steps, self._last = self.steps + 1, time.monotonic()
            self.rows += len(self._running)  # each row of a step takes as long
            for work in list(self._running):
                self._advance(work)

    def _advance(self, work: Work) -> None:
        work.started = work.started or time.monotonic()
        if work.cancelled is not None:
            self._end(work, "cancelled")
            return
        work.first = work.first or time.monotonic()
        if isinstance(work.spec, PlanSpec):
            try:
                self._plan(work, work.spec)
            except Exception as error:
                work.cancelled = (str(error), "planning_failed")
                self._end(work, "failed")
        else:
            self._write(work, work.spec)

    def _write(self, work: Work, spec: TextSpec) -> None:
        bound = min(spec.max_tokens or 10_000, self.context - work.prompt)
        for index, seed in enumerate(spec.seeds):
            if index in work.done:
                continue
            said = work.texts.get(index, "")
            letter = LETTERS[(len(said) + (seed % 26 if spec.sampling.temperature else 0)) % 26]
            text = said + letter
            work.texts[index], work.written = text, work.written + 1
            finish: FinishReason | None = "length" if len(text) >= bound else None
            if any(text.endswith(stop) for stop in spec.stop):
                finish, letter = "stop", ""
            top = tuple(TopLogprob(ord(c), c.encode(), -1.5) for c in LETTERS[: spec.sampling.logprobs or 0])
            logprobs = (
                () if spec.sampling.logprobs is None else (TokenLogprob(ord(text[-1]), text[-1].encode(), -0.5, top),)
            )
            echoed = spec.prompt if spec.echo and not said and isinstance(spec.prompt, str) else ""
            work.ticket.post(TextDelta(index, echoed + letter, (ord(text[-1]),), logprobs, finish))
            if finish:
                work.done.add(index)
        if len(work.done) == len(spec.seeds):
            self._end(work, "length")

    def _plan(self, work: Work, spec: PlanSpec) -> None:
        plans = [cheap.priced.plan for cheap in cheapest_plans(spec.request, spec.samples + 1)]
        for number, step in enumerate(plans[0].steps):
            work.ticket.post(StepDecided(0, number, step))
        work.written = sum(len(plan.steps) for plan in plans)
        ratings = tuple(Rating(0.5, 0.25) for _ in spec.shown)
        draft = Draft(
            tuple(Written(plan, -float(n), Rating(0.9 - n / 10, 0.125)) for n, plan in enumerate(plans)), ratings
        )
        self._end(work, "stop", draft)

    def _end(self, work: Work, reason: FinishReason, draft: Draft | None = None) -> None:
        with self._lock:
            if work in self._running:
                self._running.remove(work)
        now = time.monotonic()
        steps = 0 if work.started is None else max(1, work.written // max(1, len(getattr(work.spec, "seeds", (0,)))))
        usage = Usage(
            work.prompt, work.cached, work.written, 0, Seconds(output=steps * self.step_seconds),
            queued=None if work.started is None else work.started - work.arrival,
            ttft=None if work.first is None else work.first - work.arrival, e2e=now - work.arrival,
        )  # fmt: skip
        why, code = work.cancelled or ("", "")
        if work.cancelled:
            self.cancel_steps.append(self.steps - self._asked.get(work.ticket.id, self.steps))
        end = Finished(reason, usage, draft, code, why)
        self.ended.append(end)
        assert work.ticket.post(end)


def _length(spec: TextSpec) -> int:
    if isinstance(spec.prompt, str):
        return len(spec.prompt)
    return sum(len(one.content) if not isinstance(one, int) else 1 for one in spec.prompt)
