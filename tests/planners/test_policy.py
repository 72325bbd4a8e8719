"""The policy planner over real catalogues, with writers that do well and writers that go wrong."""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catp.planlang.canonical import canonical_plan
from catp.planlang.check import check
from catp.planlang.compile import compile_plan
from catp.planlang.digest import digest
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.cheapest import cheapest_plans
from catp.planners.front import dominates
from catp.planners.metered import cpu_price
from catp.planners.policy import PolicyPlanner
from catp.planners.protocol import Candidate, NothingFits, Objective, PlanningFailed, PlanRequest, Proposal, Wanted
from catp.planners.repair import Failure, RepairingPlanner, RepairRequest
from catp.planners.search import SearchPlanner
from catp.planners.serves import serves
from catp.planners.testing import SeededEstimator, page_catalogue, small_request
from catp.planners.writer import Decided, Draft, PlanWriter, Rating, Unwritable, Usage, Written
from tests.planners.fake_writers import GivenWriter, RandomWriter, opinion, random_plans

READ = Wanted("text", Type("text"), capability=("ocr",))
SCALE = Money(1_000)


def page_request(*wanted: Wanted, objective: Objective | None = None, tools: int = 40) -> PlanRequest:
    registry, estimator = page_catalogue(tools)
    inputs = {"page": ValueFacts(Type("image"), Size(500_000), "noisy")}
    return PlanRequest("read it", inputs, wanted or (READ,), objective or Objective(), registry, estimator)


def plan(request: PlanRequest, writer: PlanWriter, **options: float) -> Proposal:
    return asyncio.run(PolicyPlanner(writer, None, **options).plan(request))  # type: ignore[arg-type]


def key(plan_: Plan, request: PlanRequest) -> str:
    return digest(canonical_plan(plan_, request.registry))


def keys(proposal: Proposal, request: PlanRequest) -> list[str]:
    return [key(candidate.plan, request) for candidate in proposal.candidates]


def expected(candidate: Candidate) -> int:
    assert candidate.price.expected is not None
    return candidate.price.expected


def searched(request: PlanRequest) -> list[Plan]:
    """Plans on the front, dearest first."""
    wide = replace(request, candidates=50, objective=Objective())
    found = SearchPlanner().search(wide).candidates
    return [candidate.plan for candidate in sorted(found, key=expected, reverse=True)]


# What is promised of every answer


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    alpha=st.sampled_from((0.0, 0.5, 0.8, 1.0)),
    budget=st.sampled_from((None, 4_000, 9_000)),
    deadline=st.sampled_from((None, 40.0)),
    rule=st.sampled_from(((0.0, 0.0), (1.0, 0.0), (0.5, 0.05))),
)
def test_answers_keep_every_limit_and_are_never_worse_than_the_cheapest(
    seed: int, alpha: float, budget: int | None, deadline: float | None, rule: tuple[float, float]
) -> None:
    objective = Objective(alpha, None if budget is None else Money(budget), deadline, SCALE)
    request = replace(small_request(seed, objective=objective), candidates=100)
    assume(any(not want.optional for want in request.wanted))  # the decode mask wants one required output
    try:
        found = plan(request, RandomWriter(), samples=6, kappa=rule[0], margin=rule[1], seed=seed)
    except PlanningFailed:
        assert cheapest_plans(request, 1) == ()
        return
    for candidate in found.candidates:
        assert serves(candidate.plan, request)
        compiled = compile_plan(
            candidate.plan, request.registry, estimator=request.estimator, facts=request.inputs
        ).estimate
        assert (compiled.price, compiled.latency) == (candidate.price, candidate.latency)
        assert budget is None or (candidate.price.p95 is not None and candidate.price.p95 <= budget)
        assert deadline is None or candidate.latency.expected_ms <= deadline
        quality = opinion(candidate.plan, request).quality
        assert candidate.quality == quality
        utility = alpha * quality - (1 - alpha) * expected(candidate) / SCALE
        assert candidate.utility == pytest.approx(utility)
    assert len(set(keys(found, request))) == len(found.candidates)
    cheapest = min(found.candidates, key=expected)
    assert found.best.utility >= cheapest.utility
    if rule == (0.0, 0.0):
        assert [c.utility for c in found.candidates] == sorted((c.utility for c in found.candidates), reverse=True)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_at_alpha_0_the_cheapest_plan_is_chosen_and_none_that_search_finds_is_cheaper(seed: int) -> None:
    request = small_request(seed, objective=Objective(alpha=0.0))
    assume(any(not want.optional for want in request.wanted) and cheapest_plans(request, 1))
    search = SearchPlanner().search(request).best
    found = plan(request, RandomWriter(), seed=seed)
    assert expected(found.best) <= expected(search)  # the decode mask allows more than the search looks at
    assert expected(found.best) == min(map(expected, found.candidates))
    assert plan(request, GivenWriter([search.plan])).best.price == search.price


def test_the_same_seed_gives_the_same_proposal_and_another_one_others() -> None:
    request = replace(page_request(tools=60), candidates=100)
    once, again = (replace(plan(request, RandomWriter(), seed=3), price=None) for _ in range(2))
    assert once == again
    drawn = {tuple(keys(plan(request, RandomWriter(), samples=2, seed=seed), request)) for seed in range(6)}
    assert len(drawn) > 1


# The writer's part


def test_the_writer_is_shown_the_cheapest_plans_and_its_ratings_decide() -> None:
    request = page_request(objective=Objective(alpha=0.9))
    dear = searched(request)[0]

    def likes_dear(plan_: Plan, asked: PlanRequest) -> Rating:
        return Rating(0.95 if key(plan_, asked) == key(dear, asked) else 0.2, 0.01)

    writer = RandomWriter()
    plan(request, writer)
    assert [key(shown, request) for shown in writer.shown] == [
        key(cheap.priced.plan, request) for cheap in cheapest_plans(request, 4)
    ]
    found = plan(request, GivenWriter([dear], likes_dear))
    assert key(found.best.plan, request) == key(dear, request)
    assert found.best.quality == 0.95
    assert not found.exact


def test_ratings_above_1_decide_and_nobody_is_told_of_a_quality_above_1() -> None:
    request = page_request(objective=Objective(alpha=1.0))
    dear = searched(request)[0]

    def likes_all(plan_: Plan, asked: PlanRequest) -> Rating:
        return Rating(1.08 if key(plan_, asked) == key(dear, asked) else 1.02, 0.01)

    for kappa in (0.0, 1.0):
        found = plan(request, GivenWriter([dear], likes_all), kappa=kappa)
        assert key(found.best.plan, request) == key(dear, request)
        assert {one.quality for one in found.candidates} == {1.0}
        assert found.best.utility == pytest.approx(1.08)


def test_plans_that_do_the_same_are_one_candidate_with_readable_names() -> None:
    request = replace(page_request(), candidates=50)
    written = next(p for p in random_plans(request, 200, 0) if serves(p, request))
    found = plan(request, GivenWriter([written, written]), cheapest=0)
    assert len(found.candidates) == 1
    names = [step.name for step in found.best.plan.steps]
    assert not {"n0", "n1"} & set(names)
    assert found.best.plan.doc == "read it"
    assert check(found.best.plan, request.registry).ok


def test_useless_plans_are_dropped_and_counted() -> None:
    request = page_request(tools=60)
    cheapest = cheapest_plans(request, 1)[0].priced
    good, budget = cheapest.plan, Money(cheapest.price.p95 or 0)
    request = replace(request, objective=Objective(budget=budget, price_scale=SCALE))
    over = next(p for p in searched(request) if not _fits(p, request))
    invalid = replace(good, steps=())
    beside = next(p for p in random_plans(request, 300, 0) if not serves(p, request))
    found = plan(request, GivenWriter([invalid, over, beside, good, good]))
    assert all(_fits(candidate.plan, request) for candidate in found.candidates)
    assert key(good, request) in keys(found, request)
    assert "3 plans of the policy were dropped: not what is wanted, or over a limit" in found.notes


def _fits(plan_: Plan, request: PlanRequest) -> bool:
    price = compile_plan(plan_, request.registry, estimator=request.estimator, facts=request.inputs).estimate.price
    return price.p95 is not None and request.objective.budget is not None and price.p95 <= request.objective.budget


def test_a_cheap_plan_that_the_policy_cannot_rate_is_rated_by_the_profiles() -> None:
    request = page_request(objective=Objective(alpha=0.5, price_scale=SCALE))
    dear = searched(request)[0]
    found = plan(replace(request, candidates=50), GivenWriter([dear], rate_shown=False), unsure=1.0)
    cheap = cheapest_plans(request, 4)
    by_key = dict(zip(keys(found, request), found.candidates, strict=True))
    for one in cheap:
        assert by_key[key(one.priced.plan, request)].quality == pytest.approx(one.quality)
    assert any(note.startswith("4 of the cheapest plans could not be rated") for note in found.notes)


# The decision


def split_opinion(request: PlanRequest, sd: float) -> tuple[Plan, RandomWriter | GivenWriter]:
    """A dear plan that is thought to be better than all others, and a writer of it."""
    dear = searched(request)[0]

    def rate(plan_: Plan, asked: PlanRequest) -> Rating:
        return Rating(0.9 if key(plan_, asked) == key(dear, asked) else 0.6, sd)

    return dear, GivenWriter([dear], rate)


@pytest.mark.parametrize(
    ("kappa", "margin", "sd", "held"),
    [(0, 0, 0.3, False), (1, 0, 0.1, False), (1, 0, 0.2, True), (0, 0.2, 0.0, False), (0, 0.31, 0.0, True)],
)
def test_the_switch_rule(kappa: float, margin: float, sd: float, held: bool) -> None:
    request = page_request(objective=Objective(alpha=1.0, price_scale=SCALE))
    dear, writer = split_opinion(request, sd)
    found = plan(request, writer, kappa=kappa, margin=margin)
    cheapest = cheapest_plans(request, 1)[0].priced.plan
    assert key(found.best.plan, request) == key(cheapest if held else dear, request)
    assert found.best.utility == pytest.approx(0.6 if held else 0.9)
    assert any(note.startswith("kept the cheapest plan: ") for note in found.notes) is held


def test_the_price_scale_is_that_of_the_cheapest_plan_about_as_good_as_the_best() -> None:
    request = replace(page_request(), candidates=50)

    def rate(plan_: Plan, asked: PlanRequest) -> Rating:
        return Rating(0.9 if len(plan_.steps) == 1 else 0.895, 0.0)

    found = plan(request, GivenWriter(searched(request), rate))
    cheapest = min(found.candidates, key=expected)
    assert cheapest.utility == pytest.approx(0.8 * (cheapest.quality or 0) - 0.2)
    assert any(note.startswith("price scale $") for note in found.notes)
    given = plan(replace(request, objective=Objective(price_scale=SCALE)), GivenWriter(searched(request), rate))
    assert not any(note.startswith("price scale") for note in given.notes)


def test_front_has_only_plans_that_no_other_beats_with_both_ends() -> None:
    request = replace(page_request(tools=60), candidates=100)
    writer = GivenWriter(random_plans(request, 300, 1))
    everything = plan(request, writer)

    def point(candidate: Candidate) -> tuple[float, float, float]:
        assert candidate.quality is not None
        return expected(candidate), -candidate.quality, candidate.latency.expected_ms

    best = {
        key(c.plan, request)
        for c in everything.candidates
        if not any(dominates(point(o), point(c)) and point(o) != point(c) for o in everything.candidates)
    }
    front = asyncio.run(PolicyPlanner(writer, None).front(request))
    assert set(keys(front, request)) == best
    assert len(best) > 3
    few = asyncio.run(PolicyPlanner(writer, None).front(replace(request, candidates=3)))
    ends = sorted(front.candidates, key=point)
    assert len(few.candidates) == 3
    assert {key(c.plan, request) for c in (ends[0], ends[-1])} <= set(keys(few, request))
    one = asyncio.run(PolicyPlanner(writer, None).front(replace(request, candidates=1)))
    assert keys(one, request) == keys(front, request)[:1]


def test_where_the_policy_cannot_the_front_is_that_of_the_fallback() -> None:
    request = replace(page_request(tools=40), candidates=50)
    found = asyncio.run(PolicyPlanner(GivenWriter(RuntimeError("broken"))).front(request))
    assert found.by == "search"
    assert keys(found, request) == keys(asyncio.run(SearchPlanner().front(request)), request)


# When the policy cannot be used


class Garbage:
    name, device = "garbage", "cpu"

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        return None  # type: ignore[return-value]


def nan(plan_: Plan, request: PlanRequest) -> Rating:
    return Rating(float("nan"), 0.1)


@pytest.mark.parametrize(
    ("writer", "reason"),
    [
        (GivenWriter(Unwritable("70 tools, this policy has places for 64")), "70 tools, this policy has places for 64"),
        (GivenWriter(RuntimeError("CUDA is out of memory")), "failed with RuntimeError: CUDA is out of memory"),
        (GivenWriter(ConnectionError("gone")), "failed with ConnectionError: gone"),
        (GivenWriter(TimeoutError("slow")), "failed with TimeoutError: slow"),
        (GivenWriter(PlanningFailed("no steps left")), "found no plan though there is one (no steps left)"),
        (GivenWriter(None), "no answer within 0.05 s"),
        (Garbage(), "answered with NoneType instead of a draft"),
        (GivenWriter([]), "none of the 0 plans it wrote does what is wanted within the limits"),
        (GivenWriter([Plan()]), "none of the 1 plans it wrote does what is wanted within the limits"),
        (RandomWriter(nan), "rated a plan with quality nan +- 0.1, which is no estimate of a number in [0, 1]"),
        (RandomWriter(lambda *_: Rating(85.0, 0.1)), "rated a plan with quality 85.0 +- 0.1, which is no estimate"),
        (RandomWriter(lambda *_: Rating(0.5, float("nan"))), "rated a plan with quality 0.5 +- nan, which is no"),
        (RandomWriter(lambda *_: Rating(0.5, 0.6)), "unsure (standard deviation of quality 0.60 on average"),
    ],
)  # fmt: skip
def test_search_plans_instead_and_says_why(writer: PlanWriter, reason: str) -> None:
    request = page_request()
    planner = PolicyPlanner(writer, patience_s=0.05 if reason.startswith("no answer") else 60)
    found = asyncio.run(planner.plan(request))
    searched_ = SearchPlanner().search(request)
    assert found.candidates == searched_.candidates
    assert found.notes[0].startswith(f"policy: {reason}")
    assert found.notes[0].endswith("; planned by search instead")
    assert found.notes[1:] == searched_.notes
    assert found.by == "search"
    assert found.price is not None
    assert found.price > 0


def test_waiting_in_vain_for_the_writer_is_no_cpu_time() -> None:
    request = page_request()
    found = asyncio.run(PolicyPlanner(GivenWriter(None), patience_s=1.0).plan(request))
    assert found.price is not None
    searching = asyncio.run(SearchPlanner().plan(request)).price
    assert searching is not None
    assert found.price - searching < cpu_price(500)


def test_search_that_finds_nothing_has_a_price_too() -> None:
    request = page_request(objective=Objective(budget=Money(1)))
    with pytest.raises(NothingFits) as failed:
        asyncio.run(SearchPlanner().plan(request))
    assert failed.value.price is not None
    assert failed.value.price > 0


def test_without_a_fallback_the_reason_is_the_error() -> None:
    with pytest.raises(PlanningFailed, match="policy: failed with RuntimeError: broken"):
        plan(page_request(), GivenWriter(RuntimeError("broken")))
    found = plan(page_request(), GivenWriter([]))  # the cheapest plans are still there
    assert found.notes[0] == "policy: none of the 0 plans it wrote does what is wanted within the limits"
    assert len(found.candidates) == 4


def test_stopping_the_caller_stops_the_planner() -> None:
    async def main() -> None:
        task = asyncio.create_task(PolicyPlanner(GivenWriter(None)).plan(page_request()))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_nothing_fits_is_said_with_what_would() -> None:
    request = page_request(objective=Objective(budget=Money(1)))
    with pytest.raises(NothingFits, match="the cheapest is expected to cost") as caught:
        asyncio.run(PolicyPlanner(RandomWriter()).plan(request))
    assert caught.value.limit == "budget"
    with pytest.raises(NothingFits, match="policy: none of the 5 plans it wrote") as caught:
        plan(request, RandomWriter())
    assert caught.value.limit == "budget"
    with pytest.raises(NothingFits) as caught:
        plan(page_request(objective=Objective(deadline_ms=0.001)), RandomWriter())
    assert caught.value.limit == "deadline"


def test_a_writer_that_knows_of_no_plan_is_believed_where_there_is_none() -> None:
    with pytest.raises(PlanningFailed, match="no steps left"):
        asyncio.run(
            PolicyPlanner(GivenWriter(PlanningFailed("no steps left"))).plan(
                page_request(Wanted("x", Type("text"), capability=("poetry",)))
            )
        )


def test_requests_that_make_no_sense_are_refused_before_the_writer_is_asked() -> None:
    writer = RandomWriter()
    with pytest.raises(PlanningFailed, match="no type `Nope`"):
        plan(page_request(Wanted("x", Type("Nope"))), writer)
    with pytest.raises(ValueError, match="kappa must be at least 0"):
        PolicyPlanner(writer, kappa=float("nan"))


# What planning costs, and going on after a failure


def test_planning_is_never_free() -> None:
    request = page_request()
    nothing = plan(request, replace(RandomWriter(), usage=Usage())).price
    second = plan(request, replace(RandomWriter(), usage=Usage(seconds=100.0))).price
    gpu = plan(request, replace(RandomWriter(), usage=Usage(seconds=100.0), device="cuda")).price
    charged = plan(request, replace(RandomWriter(), usage=Usage(seconds=100.0, price=Money(5_000_000)))).price
    assert nothing is not None
    assert second is not None
    assert gpu is not None
    assert charged is not None
    assert 0 < nothing < 100_000  # a fee of 200 and some milliseconds of this CPU
    assert second >= 100 * 2_100  # $0.0000000021 a millisecond
    assert gpu >= 100 * 700_000
    assert 5_000_000 < charged < 5_100_000


def test_it_repairs_like_the_search() -> None:
    request = page_request(tools=60)
    first = cheapest_plans(request, 1)[0].priced.plan
    failed = first.steps[0]
    asked = RepairRequest(
        request.task, first, request.inputs, {}, (Failure(failed.name, failed.attempts[0].tool, "boom", "error"),),
        request.wanted, request.objective, request.registry, request.estimator,
    )  # fmt: skip
    planner = PolicyPlanner(RandomWriter())
    assert isinstance(planner, RepairingPlanner)
    suffixes = asyncio.run(planner.repair(asked))
    assert suffixes
    assert all(step.attempts[0].tool != failed.attempts[0].tool for suffix in suffixes for step in suffix.steps)


def test_unknown_prices_come_last_and_are_said() -> None:
    request = replace(page_request(objective=Objective(alpha=1.0)), candidates=50)
    dear = searched(request)[0]
    unpriced = frozenset(str(step.attempts[0].tool) for step in dear.steps)
    request = replace(request, estimator=SeededEstimator(request.registry, 0, unpriced=unpriced))
    found = plan(request, GivenWriter([dear], lambda p, r: Rating(0.9 if key(p, r) == key(dear, r) else 0.5, 0.0)))
    known = [candidate.price.priced for candidate in found.candidates]
    assert known == sorted(known, reverse=True)
    assert not known[-1]
    assert any("unknown price" in note for note in found.notes)


@pytest.mark.parametrize(
    "draft",
    [
        Draft((Written(None, 0.0, Rating(0.5, 0.1)),)),  # type: ignore[arg-type]
        Draft((Written(Plan((), ()), 0.0, None),)),  # type: ignore[arg-type]
        Draft((None,)),  # type: ignore[arg-type]
        Draft((), usage=None),  # type: ignore[arg-type]
        Draft((), usage=Usage(seconds=math.nan)),
    ],
)
def test_a_draft_that_is_none_leaves_planning_to_search(draft: Draft) -> None:
    class Odd:
        name, device = "odd", "cpu"

        async def write(self, request: PlanRequest, **_: object) -> Draft:
            return draft

    found = asyncio.run(PolicyPlanner(Odd()).plan(page_request()))
    assert found.notes[0].startswith("policy: ")
    assert found.price is not None
    assert found.candidates
