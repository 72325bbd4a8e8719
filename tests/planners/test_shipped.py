"""The default planner: the policy is loaded late, once, in a thread, and search plans where it cannot be."""

import asyncio
import sys
import threading
from dataclasses import dataclass, field, replace
from types import ModuleType

import pytest

from catp.planners.policy import PolicyPlanner
from catp.planners.protocol import FrontPlanner, Objective
from catp.planners.repair import RepairingPlanner
from catp.planners.search import SearchPlanner
from catp.planners.shipped import DeferredPolicy, default_planner, load_policy
from catp.planners.testing import small_request
from catp.planners.writer import PlanWriter
from tests.planners.fake_writers import RandomWriter

WRITERS = "catp.training.policy.writer"
REQUEST = small_request(0, objective=Objective())


class Missing(ImportError):
    pass


@dataclass
class Loader:
    """A module of writers that counts what it is asked to load."""

    error: Exception | None = None
    rule: dict[str, float] = field(default_factory=dict)
    asked: list[tuple[str | None, str, int | None]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def load_writer(self, model: str | None = None, *, device: str = "cpu", threads: int | None = None) -> PlanWriter:
        self.asked.append((model, device, threads))
        self.threads.add(threading.get_ident())
        if self.error is not None:
            raise self.error
        writer = RandomWriter()
        for name, value in self.rule.items():
            setattr(writer, name, value)
        return writer


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    made = Loader()
    module = ModuleType(WRITERS)
    module.load_writer = made.load_writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, WRITERS, module)
    return made


def test_nothing_is_loaded_before_the_first_plan_and_then_once_in_a_thread(loader: Loader) -> None:
    planner = default_planner("my-policy")
    assert planner.name == "policy"
    assert loader.asked == []

    async def both() -> None:
        await asyncio.gather(planner.plan(REQUEST), planner.plan(REQUEST))

    asyncio.run(both())
    found = asyncio.run(planner.plan(REQUEST))
    assert loader.asked == [("my-policy", "cpu", 1)]
    assert threading.get_ident() not in loader.threads
    assert found.by == ""
    assert not any(note.startswith("policy: ") for note in found.notes)
    assert isinstance(planner, RepairingPlanner)


@pytest.mark.parametrize(
    "error",
    [
        Missing("torch is not installed: pip install 'catp[train]'"),
        FileNotFoundError("no model `nope` here: catp models list"),
        ValueError("models/x/catp.json: schema catp.policy/9 is not known"),
    ],
)
def test_search_plans_where_loading_fails_and_the_reason_is_said_every_time(loader: Loader, error: Exception) -> None:
    loader.error = error
    planner = DeferredPolicy()
    searched = SearchPlanner().search(REQUEST)
    for _ in range(2):
        found = asyncio.run(planner.plan(REQUEST))
        assert found.candidates == searched.candidates
        assert found.notes == (f"policy: {error}; planned by search instead", *searched.notes)
        assert found.by == "search"
    assert len(loader.asked) == 1


def test_a_defect_in_loading_is_not_hidden(loader: Loader) -> None:
    loader.error = AssertionError("shape")
    with pytest.raises(AssertionError, match="shape"):
        asyncio.run(DeferredPolicy().plan(REQUEST))


def test_load_policy_passes_on_where_it_shall_run(loader: Loader) -> None:
    assert load_policy("x", device="cuda", threads=1).name == "policy"
    assert loader.asked == [("x", "cuda", 1)]


def test_load_policy_takes_the_rule_that_the_policy_was_tuned_with(loader: Loader) -> None:
    plain = load_policy()
    assert isinstance(plain, PolicyPlanner)
    assert (plain.kappa, plain.margin) == (0.0, 0.0)
    loader.rule = {"kappa": 1.5, "margin": 0.02}
    tuned = load_policy()
    assert isinstance(tuned, PolicyPlanner)
    assert (tuned.kappa, tuned.margin) == (1.5, 0.02)


def test_load_policy_raises_what_loading_raises(loader: Loader) -> None:
    loader.error = Missing("no torch")
    with pytest.raises(ImportError, match="no torch"):
        load_policy()


def test_the_front_of_the_deferred_policy_is_that_of_the_planner_it_loads(loader: Loader) -> None:
    request = replace(REQUEST, candidates=20)
    loaded = load_policy("mine")
    deferred = DeferredPolicy("mine")
    assert isinstance(deferred, FrontPlanner)
    assert asyncio.run(deferred.front(request)).candidates == asyncio.run(loaded.front(request)).candidates
    loader.error = OSError("no such file")
    found = asyncio.run(DeferredPolicy("gone").front(request))
    assert found.candidates == asyncio.run(SearchPlanner().front(request)).candidates
    assert found.notes[0] == "policy: no such file; planned by search instead"
    assert found.by == "search"
