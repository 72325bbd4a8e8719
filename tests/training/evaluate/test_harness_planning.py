"""Planners that plan freely: coverage, validity, failures by name, budgets, prices; over a catalogue of four tools."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from catp.planlang.compile import compile_plan
from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.registry_view import CallEstimate, Latency, PriceRange, Size, ValueFacts
from catp.planlang.signatures import parse_registry
from catp.planlang.types import Type
from catp.planners.protocol import Candidate, NothingFits, Objective, PlanningFailed, PlanRequest, Proposal, Wanted
from catp.planners.search import SearchPlanner
from catp.training.evaluate.answers import plan_key
from catp.training.evaluate.candidates import CandidateSet, Option, StepUse
from catp.training.evaluate.planning import Case, evaluate_planner
from catp.training.evaluate.regret import regret

SCALE = Money(1_000_000)
VIEW = parse_registry("""
denoise(photo: image) -> image
ocr(photo: image) -> text
ocr_fine(photo: image) -> text
translate(text: text) -> text
""")
COST: Mapping[str, int] = {"denoise": 150_000, "ocr": 100_000, "ocr_fine": 300_000, "translate": 50_000}
GOOD: Mapping[str, float] = {"denoise": 0.95, "ocr": 0.6, "ocr_fine": 0.9, "translate": 0.9}


class Known:
    """The same price, time and accuracy for every call."""

    def estimate(self, tool: str, args: Mapping[str, ValueFacts]) -> CallEstimate:
        price = Money(COST[tool])
        facts = next(iter(args.values()))
        return CallEstimate(
            PriceRange(price, price, price), Latency(10, 12),
            ValueFacts(facts.type if tool == "denoise" else Type("text"), facts.size, facts.condition),
            GOOD[tool], 0.0, 9,
        )  # fmt: skip


def text(*tools: str) -> str:
    lines, last = ["in page: image"], "page"
    for number, tool in enumerate(tools):
        lines.append(f"s{number} = {tool}({last})")
        last = f"s{number}"
    return "\n".join([*lines, f"out text = {last}"])


PLANS = {name: text(*name.split("+")) for name in ("ocr", "ocr_fine", "denoise+ocr", "denoise+ocr_fine")}


def request(alpha: float) -> PlanRequest:
    facts = {"page": ValueFacts(Type("image"), Size(1000), "noisy")}
    wanted = (Wanted("text", Type("text"), capability=()),)
    return PlanRequest("read", facts, wanted, Objective(alpha, price_scale=SCALE), VIEW, Known())


def option(name: str, score: float, price: float | None = None) -> Option:
    tools = name.split("+")
    steps = tuple(StepUse(tool, (at - 1,) if at else (), COST[tool], 10.0) for at, tool in enumerate(tools))
    paid = sum(COST[tool] for tool in tools) if price is None else price
    return Option(
        name, plan_key(parse(PLANS[name]), request(0.5)), steps, score, paid, 10.0 * len(tools), 10.0 * len(tools)
    )


SCORES = {"ocr": 0.5, "ocr_fine": 0.7, "denoise+ocr": 0.8, "denoise+ocr_fine": 0.9}


def case(number: int, names: tuple[str, ...] = tuple(PLANS)) -> Case:
    options = tuple(option(name, SCORES[name] - 0.01 * number) for name in names)
    return Case(CandidateSet(f"s{number}", f"task{number % 3}", "made", options, SCALE), request)


CASES = [case(number) for number in range(6)]


def proposal(plan: Plan, asked: PlanRequest, quality: float | None = 0.75) -> Proposal:
    compiled = compile_plan(plan, VIEW, estimator=asked.estimator, facts=asked.inputs)
    candidate = Candidate(plan, compiled.estimate.price, compiled.estimate.latency, quality, 0.0)
    return Proposal((candidate,), False, price=Money(2_000))


@dataclass
class Scripted:
    """Answers by a function of the request."""

    answer: Callable[[PlanRequest], Proposal]
    name: str = "scripted"

    async def plan(self, request: PlanRequest) -> Proposal:
        return self.answer(request)


def always(name: str) -> Scripted:
    return Scripted(lambda asked: proposal(parse(PLANS[name]), asked))


def test_plans_are_found_however_they_are_written() -> None:
    other = "in scan: image\nx = ocr_fine(photo=scan)\nidle = ocr(scan)\nout text = x"
    assert plan_key(parse(other.replace("scan", "page")), request(0.5)) == option("ocr_fine", 1).plan
    with pytest.raises(PlanError):
        plan_key(parse("in page: image\nx = paint(page)\nout text = x"), request(0.5))
    with pytest.raises(ValueError, match="no output text"):
        plan_key(parse("in page: image\nx = ocr(page)\nout words = x"), request(0.5))


def test_figures_of_a_planner_that_always_says_the_same() -> None:
    found = evaluate_planner(always("denoise+ocr"), CASES, alphas=(0.5, 1.0))
    sets = [one.set for one in CASES]
    weights = [np.eye(4)[2]] * 6
    for alpha in (0.5, 1.0):
        row = found.at(alpha)
        assert row is not None
        assert row.regret == regret(sets, weights, alpha)
    assert (found.valid, found.coverage, found.failures) == (1.0, 1.0, {})
    assert found.planner_usd == 2_000
    assert found.decide_ms is not None
    assert found.decide_ms > 0
    assert found.calibration is not None
    assert found.calibration.n == 6  # each plan of an input once, though it was chosen at two alphas
    assert found.calibration.bias == pytest.approx(0.75 - np.mean([one.scores[2] for one in sets]))
    assert found.price_error is not None
    assert (found.price_error.n, found.price_error.ratio, found.price_error.covered) == (6, 1.0, 1.0)
    assert found.hv_ratio == pytest.approx(
        1
    )  # at 0.5 it is the best plan, and the best at 1 is as dear as the reference


def test_failures_are_counted_and_named() -> None:
    def answer(asked: PlanRequest) -> Proposal:
        match asked.objective.alpha:
            case 0.1:
                raise PlanningFailed("no idea")
            case 0.2:
                raise NothingFits("too dear", "deadline")
            case 0.3:
                return proposal(parse(PLANS["ocr"]), asked).__class__((), False)
            case 0.4:
                return replace_plan(
                    proposal(parse(PLANS["ocr"]), asked), parse("in page: image\nx = paint(page)\nout text = x")
                )
            case 0.6:
                return replace_plan(
                    proposal(parse(PLANS["ocr"]), asked), parse("in page: image\nx = ocr(page)\nout t = x")
                )
            case 0.7:
                raise KeyError("a bug of the planner")
            case 0.8:
                raise SystemExit(0)  # a planner may not end the evaluation, least of all with success
        return proposal(parse(PLANS["ocr"]), asked)

    alphas = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    found = evaluate_planner(Scripted(answer), CASES, alphas=alphas)
    assert found.failures == {
        "PlanningFailed": 6, "NothingFits (deadline)": 6, "no candidates": 6, "invalid plan": 6, "output missing": 6,
        "KeyError": 6, "PlannerExited": 6,
    }  # fmt: skip
    assert found.valid == pytest.approx(1 / 8)
    assert found.coverage == 1
    assert [row.alpha for row in found.rows] == [0.5]
    assert found.points == ()
    assert found.hv_ratio is None
    assert any("no input is covered" in note for note in found.notes)


def replace_plan(given: Proposal, plan: Plan) -> Proposal:
    return replace(given, candidates=(replace(given.candidates[0], plan=plan),))


def test_a_planner_that_hangs_is_cut_off() -> None:
    class Slow:
        name = "slow"

        async def plan(self, request: PlanRequest) -> Proposal:
            await asyncio.sleep(60)
            raise AssertionError

    found = evaluate_planner(Slow(), CASES[:1], alphas=(0.5,), timeout_s=0.01)
    assert found.failures == {"TimeoutError": 1}
    assert (found.valid, found.coverage, found.planner_usd) == (0.0, 0.0, None)


def test_what_was_not_measured_is_not_covered_unless_it_is_run() -> None:
    cases = [case(0), case(1, ("ocr", "ocr_fine")), case(2, ("ocr", "ocr_fine"))]
    planner = always("denoise+ocr_fine")
    found = evaluate_planner(planner, cases, alphas=(0.5, 0.9))
    assert found.coverage == pytest.approx(1 / 3)
    row = found.at(0.9)
    assert row is not None
    assert row.regret.inputs_all == 1
    assert any("1 inputs" in note for note in found.notes)
    ran: list[tuple[str, str]] = []

    async def measure(id: str, plan: Plan) -> Option | None:
        ran.append((id, plan.steps[-1].attempts[0].tool))
        return option("denoise+ocr_fine", 0.95, 123.0) if id == "s1" else None

    found = evaluate_planner(planner, cases, alphas=(0.5, 0.9), measure=measure)
    assert ran == [("s1", "ocr_fine"), ("s2", "ocr_fine")]  # once each, not once per alpha
    assert found.coverage == pytest.approx(2 / 3)
    row = found.at(0.9)
    assert row is not None
    assert row.regret.inputs_all == 2
    assert row.regret.score == pytest.approx((0.9 + 0.95) / 2)


def test_budgets_are_told_and_checked_against_what_was_paid() -> None:
    seen: list[int | None] = []

    def answer(asked: PlanRequest) -> Proposal:
        seen.append(asked.objective.budget)
        return proposal(parse(PLANS["ocr" if asked.objective.budget else "denoise+ocr_fine"]), asked)

    dear = [
        Case(replace(one.set, options=(replace(one.set.options[0], price=9e6), *one.set.options[1:])), one.make_request)
        for one in CASES[:2]
    ]
    found = evaluate_planner(Scripted(answer), [*dear, *CASES[2:]], alphas=(0.5,))
    assert [b for b in seen if b is not None] == [275_000] * 6  # the median of 100, 250, 300 and 450 thousand
    assert found.budget is not None
    assert found.budget.violations == pytest.approx(2 / 6)
    assert found.budget.refused == 0


def test_the_search_planner_is_the_oracle_where_its_profiles_are_true() -> None:
    true = {"ocr": 0.6, "ocr_fine": 0.9}
    cases = []
    for number in range(4):
        options = tuple(replace(option(name, 0.0), score=true[name]) for name in true)
        cases.append(Case(CandidateSet(f"s{number}", f"task{number}", "made", options, SCALE), request))
    paid: list[Money | None] = []

    class Search(SearchPlanner):
        async def plan(self, request: PlanRequest) -> Proposal:
            found = await super().plan(request)
            if request.objective.budget is None:
                paid.append(found.price)
            return found

    found = evaluate_planner(Search(), cases, alphas=(0.0, 0.5, 0.9))
    assert found.valid == 1
    covered = [row for row in found.rows if row.regret.inputs_all == 4]
    assert covered
    assert all(row.regret.regret == pytest.approx(0) for row in covered)
    assert len(paid) == 12
    assert found.planner_usd == pytest.approx(sum(price or 0 for price in paid) / 12)  # the CPU time of planning
    assert found.price_error is not None
    assert found.price_error.relative == pytest.approx(0)
    tight = evaluate_planner(SearchPlanner(), cases, alphas=(0.5,), budget_factor=0.01).budget
    assert tight is not None
    assert (tight.refused, tight.violations) == (4, None)


def test_nothing_to_ask() -> None:
    with pytest.raises(ValueError, match="no cases"):
        evaluate_planner(always("ocr"), [])
    with pytest.raises(ValueError, match="no alphas"):
        evaluate_planner(always("ocr"), CASES, alphas=())
