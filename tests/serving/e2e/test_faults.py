"""What breaks in or around a step ends the requests it must, once, and no others; the engine goes on if it can."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from catp.serving.engine.errors import EngineFailed, OutOfMemory, Refused
from catp.serving.engine.program import Result
from catp.serving.engine.sampling import Sampling
from catp.serving.engine.step import Step, StepResult
from catp.serving.server.backend import Constraint, Finished, TextSpec
from catp.serving.server.build import EngineOptions
from catp.serving.server.local import LocalBackend
from tests.serving.e2e.engines import collect, engine, hf_greedy, text_of, tiny_llama

GREEDY = Sampling(temperature=0.0)


def spec(first: int = 5, tokens: int = 8, **more: Any) -> TextSpec:
    return TextSpec(
        "tiny", tuple(range(first, first + 20)), sampling=GREEDY, max_tokens=tokens, ignore_eos=True, **more
    )


class Faulty:
    """A runner that does something else first, in some steps."""

    def __init__(self, runner: Any, before: Callable[[int, Step], Any]) -> None:
        self.runner, self.before, self.steps = runner, before, 0

    def execute(self, step: Step) -> StepResult:
        self.steps += 1
        found = self.before(self.steps, step)
        return found if isinstance(found, StepResult) else self.runner.execute(step)


def faulty(before: Callable[[int, Step], Any], **options: Any) -> Any:
    made = EngineOptions(threads=1, kv_memory=8 << 20, **options)
    return engine(made, wrap=lambda runner: Faulty(runner, before))


async def ends(backend: LocalBackend, *specs: TextSpec) -> list[Finished]:
    return [end for _, end in await asyncio.gather(*(collect(backend, one) for one in specs))]


async def test_a_crash_ends_what_ran_and_the_engine_starts_again() -> None:
    def before(step: int, _: Step) -> None:
        if step == 3:
            raise RuntimeError("a bit flipped")

    with faulty(before) as backend:
        found = await ends(backend, spec(5), spec(50))
        assert [(end.reason, end.code) for end in found] == [("failed", "engine_failed")] * 2
        assert "a bit flipped" in found[0].message
        assert "try again" in found[0].message
        events, end = await collect(backend, spec(5))
        assert text_of(events)[1] == hf_greedy(tiny_llama(), range(5, 25), 8)
        assert end.reason == "length"
        assert backend.health().ready
        assert backend.snapshot().restarts == 1


async def test_an_engine_that_crashes_again_and_again_stays_down_and_says_so() -> None:
    def before(step: int, _: Step) -> None:
        raise RuntimeError("broken for good")

    with faulty(before, restarts=2) as backend:
        found = [(await ends(backend, spec()))[0] for _ in range(3)]
        assert {end.code for end in found} == {"engine_failed"}
        for _ in range(100):
            if not backend.health().ready:
                break
            await asyncio.sleep(0.01)
        health = backend.health()
        assert not health.ready
        assert health.live
        assert "broken for good" in health.reason
        with pytest.raises(Refused) as refused:
            await backend.submit(spec())
        assert refused.value.reason == "not_ready"
        assert refused.value.status == 503


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_thread_leaves_nobody_waiting() -> None:
    def before(step: int, _: Step) -> None:
        if step == 2:
            raise SystemExit

    with faulty(before) as backend:
        found = await ends(backend, spec(5), spec(50))
        assert {end.reason for end in found} == {"failed"}
        assert not backend.health().ready
        with pytest.raises(Refused):
            await backend.submit(spec())


async def test_a_step_without_memory_is_tried_again_with_fewer_tokens() -> None:
    def before(_: int, step: Step) -> None:
        if len(step.rows) > 2:
            raise OutOfMemory("4 GiB were asked for")

    with faulty(before) as backend:
        found = await asyncio.gather(*(collect(backend, spec(first)) for first in (5, 45, 85, 125)))
    for first, (events, end) in zip((5, 45, 85, 125), found, strict=True):
        assert end.reason == "length"
        assert text_of(events)[1] == hf_greedy(tiny_llama(), range(first, first + 20), 8)


async def test_what_has_no_memory_even_alone_ends_alone() -> None:
    def before(_: int, step: Step) -> None:
        if any(row.branch.tokens[0] == 5 for row in step.rows):
            raise OutOfMemory("4 GiB were asked for")

    with faulty(before) as backend:
        first, second = await ends(backend, spec(5, stream=False), spec(45))
        assert (first.reason, first.code) == ("failed", "engine_failed")
        assert "memory" in first.message
        assert second.reason == "length"


async def test_logits_that_are_nan_end_their_own_request() -> None:
    def before(_: int, step: Step) -> Any:
        bad = [row for row in step.rows if row.branch.tokens[0] == 5]
        if bad and len(step.rows) == 1:
            (row,) = bad
            reads = tuple(Result(row.branch, read.at, error=EngineFailed("NaN logits")) for read in row.branch.reads)
            return StepResult(reads, 0.0)
        return None

    with faulty(before) as backend:
        (bad,) = await ends(backend, spec(5))
        assert (bad.reason, bad.code) == ("failed", "request_failed")
        assert "NaN" in bad.message
        assert (await ends(backend, spec(45)))[0].reason == "length"


async def test_an_exception_in_a_constraint_ends_its_own_request(monkeypatch: pytest.MonkeyPatch) -> None:
    from catp.serving.programs.grammar import TextConstraint

    def broken(self: TextConstraint, token: int) -> tuple[int, ...]:
        raise ZeroDivisionError("in the constraint")

    monkeypatch.setattr(TextConstraint, "advance", broken)
    with engine() as backend:
        constraint = Constraint("regex", "[ab]+")
        bad, good = await ends(backend, spec(5, constraint=constraint), spec(45))
        assert (bad.reason, bad.code) == ("failed", "request_failed")
        assert "ZeroDivisionError" in bad.message
        assert good.reason == "length"
        assert backend.engine.core.scheduler.pool.used == 0


async def test_a_drain_lets_requests_end_and_cancels_what_is_left() -> None:
    with engine() as backend:
        short = await backend.submit(spec(5, 4))
        await backend.drain(10)
        assert [event async for event in short][-1].reason == "length"  # type: ignore[union-attr]
        with pytest.raises(Refused) as refused:
            await backend.submit(spec(5))
        assert refused.value.reason == "draining"
    slow = lambda step, _: __import__("time").sleep(0.02)  # noqa: E731
    with faulty(slow) as backend:
        long = await backend.submit(spec(5, 400))
        await backend.drain(0.1)
        last = [event async for event in long][-1]
        assert isinstance(last, Finished)
        assert (last.reason, last.code) == ("cancelled", "shutdown")
        assert last.usage.output_tokens > 0


async def test_attributed_seconds_add_up_to_busy_time() -> None:
    with engine() as backend:
        found = await asyncio.gather(*(collect(backend, spec(5 * number, 10)) for number in range(6)))
        busy = backend.engine.busy
    assert sum(end.usage.seconds.total for _, end in found) == pytest.approx(busy, rel=0.01)
