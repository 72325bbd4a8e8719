"""Which planner an agent gets: given, by name, by the environment, or the policy with search behind it."""

from typing import Any

import pytest

from catp.agent import Agent
from catp.planners import shipped
from catp.planners.chosen import planner_for
from catp.planners.protocol import Planner, PlanRequest, Proposal
from catp.planners.search import SearchPlanner
from catp.tools import PerCall, tool

TEXT = {"text": "a good day"}


@tool(price=PerCall("0.01"), accuracy=0.6)
async def plain(text: str) -> str:
    """Say it plainly."""
    return text.lower()


class Mine:
    """A planner of one's own."""

    name = "mine"

    async def plan(self, request: PlanRequest) -> Proposal:
        return SearchPlanner().search(request)


def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Have models loaded from nowhere; returns which ones were asked for."""
    models: list[str | None] = []

    def load(model: str | None = None, **_options: Any) -> Planner:
        models.append(model)
        if model == "broken":
            raise OSError("broken: config.json is missing; train it again")
        return Mine()

    monkeypatch.setattr(shipped, "load_policy", load)
    return models


async def planned(planner: Planner | str | None) -> Any:
    async with Agent([plain], planner) as one:
        return await one.run("say it", TEXT, wanted={"said": "text"})


async def test_the_default_is_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATP_PLANNER")
    models = asked(monkeypatch)
    assert planner_for(None).name == "policy"
    assert models == []  # nothing is loaded before the first plan
    result = await planned(None)
    assert models == [None]
    assert (result.ledger[0].tool, result.ledger[0].kind) == ("policy", "planning")


@pytest.mark.parametrize(("name", "model"), [("policy", None), ("./my/model", "./my/model"), ("tiny", "tiny")])
async def test_policies_by_name(monkeypatch: pytest.MonkeyPatch, name: str, model: str | None) -> None:
    models = asked(monkeypatch)
    assert (await planned(name)).status == "complete"
    assert models == [model]


async def test_a_policy_that_cannot_be_loaded_leaves_planning_to_search_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked(monkeypatch)
    result = await planned("broken")
    assert (result.quote.planner, result.ledger[0].tool) == ("search", "search")  # who really planned
    assert any("config.json is missing" in note and "search" in note for note in result.quote.notes)


def test_the_environment_decides_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(planner_for(None), SearchPlanner)  # tests/conftest.py
    monkeypatch.setenv("CATP_PLANNER", "some/model")
    assert getattr(planner_for(None), "model", "") == "some/model"
    assert isinstance(planner_for("search"), SearchPlanner)
    mine = Mine()
    assert planner_for(mine) is mine
    with pytest.raises(ValueError, match="the planner has no name"):
        planner_for(" ")


async def test_a_model_may_be_named_as_bench_eval_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    models = asked(monkeypatch)
    await planned("policy:runs/mine")
    assert models == ["runs/mine"]
