"""Whole runs through the scheduler and a fake runner: same tokens whatever happens, shared work done once, no leaks."""

import gc
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.core import Core
from catp.serving.engine.errors import Refused
from catp.serving.engine.program import Control, Result
from catp.serving.engine.request import Branch, Job, Read, Request, Slo
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.protocol import Context, Interval, View
from catp.serving.policies.registry import policy
from tests.serving.engine.fakes import FakeRunner, choice


class Writer:
    """Writes `length` tokens on each of `width` branches, forked once the prompt is computed; forces runs of three."""

    def __init__(self, length: int, width: int = 1, forced: bool = False) -> None:
        self.length, self.width, self.forced = length, width, forced
        self.texts: list[list[int]] = []

    def begin(self, root: Branch, control: Control) -> None:
        control.extend(root, (), [Read(len(root.tokens) - 1)])

    def advance(self, results: Any, control: Control) -> None:
        prompt = len(control.job.request.prompt)
        for result in results:
            if len(result.branch.tokens) == prompt and self.width > 1:
                for number in range(1, self.width):
                    self._write(control.fork(result.branch, prompt), result, number, prompt, control)
            self._write(result.branch, result, 0, prompt, control)
        if len(self.texts) == self.width:
            control.finish("stop", sorted(self.texts))

    def _write(self, branch: Branch, result: Result, number: int, prompt: int, control: Control) -> None:
        token: int = result.logits + number
        ids = [token, 7, 8] if self.forced and token % 3 == 0 else [token]
        ids = ids[: prompt + self.length - len(branch.tokens)]
        done = len(branch.tokens) + len(ids) == prompt + self.length
        control.extend(branch, ids, () if done else [Read(len(branch.tokens) + len(ids) - 1)])
        if done:
            self.texts.append(list(branch.tokens))
            if self.width > 1 and len(self.texts) < self.width:
                control.close(branch)

    def expected(self, prompt: tuple[int, ...]) -> list[list[int]]:
        texts = []
        for number in range(self.width):
            text = list(prompt)
            while len(text) < len(prompt) + self.length:
                token = choice(text) + (number if len(text) == len(prompt) else 0)
                text += [token, 7, 8] if self.forced and token % 3 == 0 else [token]
            texts.append(text[: len(prompt) + self.length])
        return sorted(texts)


class Ends:
    def __init__(self) -> None:
        self.found: dict[str, tuple[Job, Any]] = {}

    def emit(self, event: Any) -> None:
        raise AssertionError("nothing is emitted")

    def ended(self, job: Job, value: Any, why: str, *code: str) -> None:
        assert job.id not in self.found, "ended twice"
        self.found[job.id] = job, value


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Optimist:
    """Predicts two tokens, and remembers what it was told."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def predict(self, request: Request, generated: int = 0) -> Interval:
        return Interval(2, 1, 3)

    def observe(self, request: Request, actual: int) -> None:
        self.seen.append(actual)


def engine(
    blocks: int = 64, size: int = 4, name: str | QueuePolicy = "fcfs", lengths: Optimist | None = None, **limits: Any
) -> tuple[Core, FakeRunner, Ends]:
    pool = BlockPool(blocks, size)
    queue = policy(name) if isinstance(name, str) else name
    scheduler = Scheduler(pool, Limits(**limits), queue, CostModel(), lengths, timer=lambda: 0.0)
    runner = FakeRunner(pool)
    return Core(scheduler, runner, Clock()), runner, Ends()


def drain(core: Core, most: int = 20_000) -> None:
    for _ in range(most):
        if not len(core):
            return
        core.step()
    raise AssertionError(f"{len(core)} requests have not ended")


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10_000), blocks=st.sampled_from([16, 24, 60]), size=st.sampled_from([1, 3, 4, 16]),
    sequences=st.sampled_from([2, 5, 16]), budget=st.sampled_from([2, 7, 64]), overcommit=st.booleans(),
    name=st.sampled_from(["fcfs", "spf", "moore-hodgson"]),
)  # fmt: skip
def test_same_tokens_whatever_the_batch_the_cache_the_chunks_and_preemption(
    seed: int, blocks: int, size: int, sequences: int, budget: int, overcommit: bool, name: str
) -> None:
    rng = Random(seed)
    core, _, ends = engine(
        blocks, size, name, Optimist() if overcommit else None,
        max_sequences=sequences, token_budget=budget, overcommit=overcommit, max_skips=8,
    )  # fmt: skip
    catalogue = [rng.randrange(50) for _ in range(20)]
    writers: dict[str, tuple[Writer, tuple[int, ...]]] = {}
    refused: set[str] = set()
    for number in range(20):
        prompt = (*catalogue[: rng.randrange(1, 20)], *(rng.randrange(50) for _ in range(rng.randrange(4))))
        writer = Writer(rng.randrange(1, 12), rng.choice([1, 1, 2, 3]), rng.random() < 0.5)
        try:
            core.submit(Request(str(number), prompt, writer.length, writer.width), writer, ends)
        except Refused as refusal:
            refused.add(refusal.reason)
        else:
            writers[str(number)] = writer, prompt
        core.step()
    drain(core)
    assert refused <= {"too_large", "bad_request"}
    for id_, (writer, prompt) in writers.items():
        assert ends.found[id_][1] == writer.expected(prompt)
    core.scheduler.pool.check([])
    assert core.scheduler.pool.used == 0
    if not overcommit:
        assert core.scheduler.preempted == 0


def test_overcommit_preempts_and_goes_on_with_the_same_tokens() -> None:
    lengths = Optimist()
    core, _, ends = engine(12, 4, lengths=lengths, max_sequences=8, overcommit=True)
    writers = [Writer(30, forced=True) for _ in range(4)]
    for number, writer in enumerate(writers):
        core.submit(Request(str(number), (number,), 30), writer, ends)
    drain(core)
    assert core.scheduler.preempted > 0
    assert lengths.seen == [30] * 4
    for number, writer in enumerate(writers):
        assert ends.found[str(number)][1] == writer.expected((number,))


def test_sixteen_cold_requests_compute_their_catalogue_once() -> None:
    core, runner, ends = engine(200, 16, max_sequences=32, token_budget=64)
    catalogue = tuple(range(320))
    for number in range(16):
        core.submit(Request(str(number), (*catalogue, 1000 + number), 2), Writer(2), ends)
    drain(core)
    assert runner.computed == 320 + 16 * 2  # each: its own token and the first it wrote
    assert sorted(job.cached_tokens for job, _ in ends.found.values()) == [0] + [320] * 15


def test_followers_go_on_when_their_leader_is_cancelled() -> None:
    core, _, ends = engine(200, 16, token_budget=16)
    for number in range(3):
        core.submit(Request(str(number), (*range(320), number), 1), Writer(1), ends)
    core.step()
    core.step()
    core.cancel("0", "its caller went away")
    drain(core)
    assert {job.finish for job, _ in ends.found.values()} == {"cancelled", "stop"}


def test_a_large_job_is_not_overtaken_for_ever() -> None:
    core, _, ends = engine(16, 4, "spf", max_sequences=8, max_skips=5)
    core.submit(Request("small", (1,), 3), Writer(3), ends)
    core.step()
    core.submit(Request("large", tuple(range(60)), 4), Writer(4), ends)
    number = 0
    while "large" not in ends.found:
        for _ in range(2):
            core.submit(Request(f"more {number}", (2, number % 50), 3), Writer(3), ends)
            number += 1
        core.step()
        assert number < 200, "the large job starves"


def test_jobs_that_cannot_be_in_time_are_given_up_or_refused() -> None:
    core, _, ends = engine(16, 4, max_sequences=1)
    core.submit(Request("long", (1,), 30), Writer(30), ends)
    core.step()
    core.submit(Request("late", (2,), 2, arrival=0.0, slo=Slo(e2e=0.02), drop_late=True), Writer(2), ends)
    core.submit(Request("patient", (3,), 2, arrival=0.0, slo=Slo(e2e=0.02)), Writer(2), ends)
    with pytest.raises(Refused) as refused:
        core.submit(Request("hopeless", (2,), 2, slo=Slo(ttft=1e-9), drop_late=True), Writer(2), ends)
    assert (refused.value.reason, refused.value.status) == ("hopeless", 429)
    drain(core)
    assert {id_: job.finish for id_, (job, _) in ends.found.items()} == {
        "long": "stop", "late": "deadline", "patient": "stop",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request("r", tuple(range(100)), 10), "too_large"),
        (Request("r", (1,), 20, width=8), "too_large"),
        (Request("r", (1,), 5000), "too_long"),
        (Request("r", (1,), 5, width=99), "bad_request"),
        (Request("r", (), 5), "bad_request"),
        (Request("r", (1,), 0), "bad_request"),
    ],
)
def test_what_can_never_be_served_is_refused_at_once(request_: Request, reason: str) -> None:
    core, _, ends = engine(16, 4)
    with pytest.raises(Refused) as refused:
        core.submit(request_, Writer(1), ends)
    assert refused.value.reason == reason
    assert refused.value.retry_after is None
    assert len(core) == 0


def test_the_queue_is_bounded_in_requests_and_tokens() -> None:
    core, _, ends = engine(16, 4, max_sequences=1, max_waiting=3, max_waiting_tokens=60)
    for number in range(3):
        core.submit(Request(str(number), (1,), 5), Writer(5), ends)
    for request in (Request("a", (1,), 5), Request("b", tuple(range(20)), 40)):
        with pytest.raises(Refused) as refused:
            core.submit(request, Writer(5), ends)
        assert (refused.value.reason, refused.value.status) == ("queue_full", 503)
        assert refused.value.retry_after is not None
        assert refused.value.retry_after > 0
    core.scheduler.draining = True
    with pytest.raises(Refused, match="shutting down"):
        core.submit(Request("c", (1,), 5), Writer(5), ends)
    drain(core)
    assert len(ends.found) == 3


class Broken(QueuePolicy):
    name = "broken"

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def order(self, waiting: Any, context: Context) -> list[str]:
        views: list[View] = list(waiting)
        result: list[str] = self.answer([view.id for view in views])
        return result


@pytest.mark.parametrize(
    "answer",
    [lambda ids: ids[1:], lambda ids: [*ids, ids[0]], lambda ids: ["nobody" for _ in ids], lambda ids: 1 / 0],
)
def test_a_broken_policy_is_replaced_by_first_come_first_served(answer: Any) -> None:
    core, _, ends = engine(16, 4, Broken(answer), max_sequences=1)
    for number in range(4):
        core.submit(Request(str(number), (number,), 2), Writer(2), ends)
    drain(core)
    assert list(ends.found) == ["0", "1", "2", "3"]
    assert core.scheduler.guard.fallbacks > 0


def test_ten_thousand_requests_leave_nothing_behind() -> None:
    core, _, ends = engine(40, 4, max_sequences=16, token_budget=64)
    rng = Random(0)
    counts = []
    for number in range(10_000):
        prompt = (*range(8), rng.randrange(50))
        core.submit(Request(str(number), prompt, 2), Writer(2), ends)
        while len(core) >= 16:
            core.step()
        if number % 3000 == 2999:
            drain(core)
            ends.found.clear()
            gc.collect()
            counts.append(len(gc.get_objects()))
    drain(core)
    core.scheduler.pool.check([])
    assert core.scheduler.pool.used == 0
    assert counts[-1] - counts[0] < 300
