"""The shipped policy, in this process: the steps it decides on start while it decides on the rest."""

import asyncio
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.nodes import Step
from catp.planners.search import SearchPlanner
from catp.planners.shipped import load_policy
from catp.runtime.replay import rebuild
from catp.training.policy.models import default_model
from tests.agent.shop import CATALOGUE

pytestmark = [
    pytest.mark.skipif(default_model() is None, reason="no policy is shipped with this checkout"),
    pytest.mark.xdist_group("eager-policy"),  # one load of the policy
]

TEXT = {"text": "a good day at the seaside, and nothing else to say about it"}
WANT = {"mood": "Mood", "gist": "Gist"}


@pytest.fixture(scope="module")
def policy() -> Any:
    import torch

    torch.set_num_threads(1)
    return load_policy()


def agent(policy: Any, **options: Any) -> Agent:
    return Agent(CATALOGUE, policy, alpha=0.8, budget="1", **options)


async def test_steps_are_told_in_the_thread_of_the_loop_and_are_those_of_the_greedy_plan(policy: Any) -> None:
    from catp.planners.protocol import PlanRequest

    told: list[tuple[int, int, Step]] = []
    threads: set[bool] = set()
    asked: list[PlanRequest] = []

    class Listening:
        name = "listening"

        async def plan(self, request: PlanRequest) -> Any:
            asked.append(request)
            return await SearchPlanner().plan(request)

    async with Agent(CATALOGUE, Listening()) as one:
        await one.plan("judge it", TEXT, wanted=WANT)
    loop = asyncio.get_running_loop()

    def decided(plan: int, number: int, step: Step) -> None:
        threads.add(asyncio.get_running_loop() is loop)
        told.append((plan, number, step))

    draft = await policy.writer.write(asked[0], samples=2, decided=decided)
    silent = await policy.writer.write(asked[0], samples=2)
    assert draft.written == silent.written
    greedy = [step for plan, _, step in told if plan == 0]
    assert tuple(greedy) == draft.written[0].plan.steps
    assert [number for plan, number, _ in told if plan == 0] == list(range(len(greedy)))
    assert {plan for plan, _, _ in told} == {0, 1, 2}
    assert threads == {True}


async def test_a_whole_run_with_the_policy_adopts_or_books_what_it_started(policy: Any) -> None:
    async with agent(policy, eager=True) as one:
        result = await one.run("judge it", TEXT, wanted=WANT)
    assert result.status == "complete"
    adopted = [event for event in result.trace if event.type == "node.started" and "early" in event.data]
    lost = [row for row in result.ledger if row.kind == "eager"]
    assert len(adopted) + len(lost) >= 1
    assert result.spent == sum(row.amount or 0 for row in result.ledger) == rebuild(result.trace).spent
    async with agent(policy) as plain:
        same = await plain.run("judge it", TEXT, wanted=WANT)
    assert same.outputs == result.outputs
    paid = [
        sum(row.amount or 0 for row in one.ledger if row.kind not in ("planning", "eager")) for one in (result, same)
    ]
    assert paid[0] == paid[1]
