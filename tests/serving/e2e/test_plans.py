"""Plans through the engine are those of the policy in process, whatever else runs."""

import asyncio
from typing import Any

import pytest

from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.cheapest import cheapest_plans
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.planners.testing import page_catalogue
from catp.planners.writer import Draft
from catp.serving.server.backend import PlanSpec, StepDecided, TextSpec
from catp.serving.server.build import EngineOptions, build_backend
from catp.training.policy.writer import load_writer
from tests.serving.e2e.engines import collect

PAGE = {"page": ValueFacts(Type("image"), Size(500_000), "noisy")}
WANTED = (Wanted("text", Type("text"), capability=("ocr",)), Wanted("language", Type("Language")))


def request(tools: int = 12, alpha: float = 0.8) -> PlanRequest:
    registry, estimator = page_catalogue(tools)
    return PlanRequest("Read this scan and tell me its language.", PAGE, WANTED, Objective(alpha), registry, estimator)


def spec(asked: PlanRequest, **more: Any) -> PlanSpec:
    shown = tuple(cheap.priced.plan for cheap in cheapest_plans(asked, 3))
    return PlanSpec("catp-tiny", asked, shown=shown, **more)


@pytest.fixture(scope="module")
def backend() -> Any:
    made = build_backend(EngineOptions(threads=1))
    yield made
    made.engine.close()


async def in_process(one: PlanSpec) -> Draft:
    writer = load_writer()
    return await writer.write(one.request, samples=one.samples, beams=one.beams, shown=one.shown, seed=one.seed)


def alike(found: Draft, expected: Draft) -> None:
    assert [one.plan for one in found.written] == [one.plan for one in expected.written]
    for mine, theirs in zip(found.written, expected.written, strict=True):
        assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-3)
        assert mine.rating.quality == pytest.approx(theirs.rating.quality, abs=1e-4)
    for ours, other in zip(found.rated, expected.rated, strict=True):
        assert (ours is None) == (other is None)
        if ours is not None and other is not None:
            assert ours.quality == pytest.approx(other.quality, abs=1e-4)


@pytest.mark.parametrize(("samples", "beams"), [(0, 0), (6, 0), (0, 4), (4, 3)])
async def test_a_draft_is_the_one_that_is_written_in_process(backend: Any, samples: int, beams: int) -> None:
    asked = spec(request(), samples=samples, beams=beams, seed=7)
    _, end = await collect(backend, asked)
    assert end.reason == "stop"
    assert end.value is not None
    alike(end.value, await in_process(asked))
    assert end.value.usage.plan_tokens > 0
    assert end.usage.price is not None


async def test_many_at_once_are_as_good_as_alone_and_share_their_catalogue(backend: Any) -> None:
    specs = [spec(request(alpha=alpha), samples=3, seed=seed) for seed, alpha in enumerate((0.2, 0.5, 0.8, 0.95))]
    text = TextSpec("catp-tiny", "read this", max_tokens=40)
    every: list[PlanSpec | TextSpec] = [*specs, text]
    ends = await asyncio.gather(*(collect(backend, one) for one in every))
    for asked, (_, end) in zip(specs, ends, strict=False):
        assert end.value is not None
        alike(end.value, await in_process(asked))
    assert sum(end.usage.cached_tokens for _, end in ends) > 2 * ends[0][1].usage.prompt_tokens


async def test_steps_are_told_as_soon_as_they_are_decided(backend: Any) -> None:
    events, end = await collect(backend, spec(request(), samples=2))
    assert end.value is not None
    greedy = [event.step for event in events if isinstance(event, StepDecided) and event.index == 0]
    assert tuple(greedy) == end.value.written[0].plan.steps
    assert backend.engine.core.scheduler.pool.used == 0
