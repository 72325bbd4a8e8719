"""The search planner against brute force, and what its plans promise."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.compile import compile_plan
from catp.planlang.digest import digest
from catp.planlang.money import Money
from catp.planlang.nodes import Plan, Ref, ToolName
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Estimator,
    Latency,
    Param,
    PriceRange,
    RegistryView,
    Size,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import Type, TypeDef, TypeTable, list_of
from catp.planners.accuracy import ConditionModel
from catp.planners.front import dominates
from catp.planners.protocol import Candidate, Objective, PlanningFailed, PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.terms import Bounds
from catp.planners.testing import SeededEstimator, brute_front, page_catalogue, small_request

TEXT, IMAGE, READING, LANGUAGE = Type("text"), Type("image"), Type("Reading"), Type("Language")
PAGE = {"page": ValueFacts(IMAGE, Size(500_000), "noisy")}
MAIN_JOB = (
    Wanted("clean", IMAGE, capability=("denoise", "deblur")),
    Wanted("text", TEXT, capability=("ocr",)),
    Wanted("language", LANGUAGE),
    Wanted("key_phrases", Type("KeyPhrases")),
    Wanted("sentiment", Type("Sentiment")),
)
DEFAULT = Objective()


class Table:
    """An estimator from a table: tool -> (price, ms, accuracy by condition)."""

    def __init__(
        self, registry: RegistryView, rows: Mapping[str, tuple[int | None, float, Mapping[str, float | None]]]
    ):
        self.registry, self.rows = registry, rows

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = self.registry.get(tool)
        assert sig is not None
        price, ms, accuracy = self.rows[tool]
        first = next(iter(args.values()))
        condition = f"{first.condition}/{tool}" if sig.returns == IMAGE else ""
        money = UNPRICED if price is None else PriceRange(Money(price), Money(price), Money(price * 2))
        known = accuracy.get(first.condition, accuracy.get("*", 1.0))
        return CallEstimate(money, Latency(ms, ms), ValueFacts(sig.returns, first.size, condition), known, 0.0, 5)


def types() -> TypeTable:
    table = TypeTable().with_type(TypeDef("Reading", (("text", TEXT), ("confidence", Type("number")))))
    return table.with_type(TypeDef("Language", (("code", TEXT),))).with_type(TypeDef("Sentiment", (("label", TEXT),)))


def tool(name: str, given_: Type, returns: Type, *more: Param, capability: str = "") -> ToolSig:
    param = Param("image" if given_ == IMAGE else "text", given_)
    return ToolSig(ToolName(name), (param, *more), returns, capability=capability or name.partition("_")[0])


PAGE_TOOLS = (
    tool("denoise_a", IMAGE, IMAGE),
    tool("ocr_a", IMAGE, READING),
    tool("ocr_b", IMAGE, READING),
    tool("language_a", TEXT, LANGUAGE),
    tool("sentiment_a", TEXT, Type("Sentiment")),
)
PAGE_ROWS: dict[str, tuple[int | None, float, Mapping[str, float | None]]] = {
    "denoise_a": (100, 5.0, {"*": 0.9}),
    "ocr_a": (1000, 50.0, {"noisy": 0.6, "noisy/denoise_a": 0.95}),
    "ocr_b": (9000, 500.0, {"noisy": 0.97, "noisy/denoise_a": 0.8}),
    "language_a": (10, 1.0, {"*": 0.99}),
    "sentiment_a": (20, 1.0, {"*": 0.8}),
}


def request(
    wanted: tuple[Wanted, ...],
    *,
    tools: tuple[ToolSig, ...] = PAGE_TOOLS,
    rows: Mapping[str, tuple[int | None, float, Mapping[str, float | None]]] = PAGE_ROWS,
    inputs: Mapping[str, ValueFacts] = PAGE,
    objective: Objective = DEFAULT,
    candidates: int = 50,
    task: str = "read it",
) -> PlanRequest:
    registry = RegistryView(tools, types())
    return PlanRequest(task, inputs, wanted, objective, registry, Table(registry, rows), candidates)


def tools_of(plan: Plan) -> list[str]:
    return [str(step.attempts[0].tool) for step in plan.steps]


def point(candidate: Candidate, default: float = 0.0) -> tuple[float, float, float]:
    assert candidate.price.expected is not None
    quality = candidate.quality if candidate.quality is not None else default
    return float(candidate.price.expected), candidate.latency.expected_ms, -quality


# Exactness


def front_of(request_: PlanRequest, max_steps: int) -> list[tuple[float, float, float]] | None:
    """The front the planner returns, as points rounded like those of brute force; None if it finds no plan."""
    try:
        proposal = SearchPlanner(max_steps=max_steps).search(request_)
    except PlanningFailed:
        return None
    assert proposal.exact
    return sorted((float(c.price.expected or 0), round(c.latency.expected_ms, 6), round(c.quality or 0, 9))
                  for c in proposal.candidates)  # fmt: skip


def brute_of(request_: PlanRequest, max_steps: int) -> list[tuple[float, float, float]] | None:
    front = brute_front(request_, ConditionModel(), max_steps=max_steps)
    return sorted((float(p), round(ms, 6), round(q, 9)) for p, ms, q in front) or None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), budget=st.none() | st.integers(2, 120), deadline=st.none() | st.integers(5, 120))
def test_front_equals_brute_force_on_random_catalogues(seed: int, budget: int | None, deadline: int | None) -> None:
    objective = Objective(budget=Money(budget * 100) if budget else None, deadline_ms=deadline)
    case = small_request(seed, objective=objective, failing=False)
    assert front_of(case, 4) == brute_of(case, 4)


@pytest.mark.parametrize("seed", range(12))
def test_front_equals_brute_force_where_everything_is_shared(seed: int) -> None:
    """Three outputs that need the same page and text: many ways to share, few of them best."""
    registry, _ = page_catalogue(60, seed)
    names = ("denoise_0", "denoise_1", "deblur_0", "ocr_0", "ocr_1", "language_0", "language_1", "sentiment_0")
    kept = RegistryView(tuple(sig for sig in registry if sig.name in names), registry.types)
    wanted = tuple(random.Random(seed).sample((*MAIN_JOB[:3], MAIN_JOB[4]), 3))
    case = PlanRequest("x", PAGE, wanted, Objective(), kept, SeededEstimator(kept, seed), 100)
    found = front_of(case, 7)
    assert found == brute_of(case, 7)
    assert found


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_quality_counts_failures_like_brute_force(seed: int) -> None:
    case = small_request(seed, failing=True)
    brute = brute_front(case, ConditionModel(), max_steps=4)
    try:
        found = SearchPlanner(max_steps=4).search(case)
    except PlanningFailed:
        assert brute == []
        return
    best = max(q for _, _, q in brute)
    assert max(c.quality or 0 for c in found.candidates) == pytest.approx(best)


def test_no_candidate_dominates_another() -> None:
    registry, estimator = page_catalogue(40, 3)
    proposal = SearchPlanner().search(PlanRequest("x", PAGE, MAIN_JOB[:3], Objective(), registry, estimator, 200))
    points = [point(c) for c in proposal.candidates]
    assert len(points) > 3
    assert not [(a, b) for a in points for b in points if a is not b and dominates(a, b)]


# Sharing


def test_the_front_is_thinned_to_its_ends_and_the_best_of_each_kind() -> None:
    registry, estimator = page_catalogue(60)
    wanted = (Wanted("text", TEXT, capability=("ocr",)), Wanted("language", LANGUAGE))
    request = PlanRequest("x", PAGE, wanted, DEFAULT, registry, estimator, candidates=1000)
    planner = SearchPlanner()

    def point(one: Candidate) -> tuple[int, float, float]:
        return one.price.expected or 0, -(one.quality or 0), one.latency.expected_ms

    whole = asyncio.run(planner.front(request)).candidates
    assert len(whole) > 6
    assert not any(dominates(point(a), point(b)) for a in whole for b in whole if a is not b)
    assert [one.utility for one in whole] == sorted((one.utility for one in whole), reverse=True)
    few = asyncio.run(planner.front(replace(request, candidates=5))).candidates
    assert [one for one in whole if one in few] == list(few)
    assert len(few) == 5
    assert whole[0] in few
    for kind in range(3):
        assert min(point(one)[kind] for one in few) == min(point(one)[kind] for one in whole)
    assert max(point(one)[0] for one in few) == max(point(one)[0] for one in whole)
    assert asyncio.run(planner.front(replace(request, candidates=1))).candidates == whole[:1]


def test_shared_reading_is_paid_once() -> None:
    wanted = (Wanted("text", TEXT), Wanted("language", LANGUAGE), Wanted("sentiment", Type("Sentiment")))
    best = SearchPlanner().search(request(wanted, objective=Objective(alpha=0.2))).best
    assert tools_of(best.plan).count("ocr_a") == 1
    assert best.price.expected == sum(PAGE_ROWS[t][0] or 0 for t in tools_of(best.plan))


def test_cleaning_pays_where_it_makes_a_cheap_reader_good() -> None:
    """Reading the cleaned page costs 1100 at 0.95; the raw page 1000 at 0.6 or 9000 at 0.97."""
    found = SearchPlanner().search(request((Wanted("text", TEXT),), objective=Objective(alpha=0.8)))
    assert {tuple(tools_of(c.plan)) for c in found.candidates} == {("ocr_a",), ("denoise_a", "ocr_a"), ("ocr_b",)}
    assert tools_of(found.best.plan) == ["denoise_a", "ocr_a"]
    assert found.best.quality == pytest.approx(0.95)


def test_wanted_image_is_the_one_that_is_read_when_that_is_best() -> None:
    wanted = (Wanted("clean", IMAGE, capability=("denoise",)), Wanted("text", TEXT))
    best = SearchPlanner().search(request(wanted)).best
    assert tools_of(best.plan) == ["denoise_a", "ocr_a"]
    assert best.quality == pytest.approx((0.9 + 0.95) / 2)


def test_input_is_never_handed_back_as_a_result() -> None:
    best = SearchPlanner().search(request((Wanted("clean", IMAGE),), objective=Objective(alpha=0.0))).best
    assert tools_of(best.plan) == ["denoise_a"]


# Objectives and constraints


def test_alpha_moves_from_cheapest_to_best() -> None:
    wanted = (Wanted("text", TEXT),)
    cheap = SearchPlanner().search(request(wanted, objective=Objective(alpha=0.0))).best
    good = SearchPlanner().search(request(wanted, objective=Objective(alpha=1.0))).best
    assert (tools_of(cheap.plan), tools_of(good.plan)) == (["ocr_a"], ["ocr_b"])


def test_candidates_come_by_falling_utility_of_the_stated_formula() -> None:
    objective = Objective(alpha=0.6)
    found = SearchPlanner().search(request((Wanted("text", TEXT),), objective=objective))
    best = max(c.quality or 0 for c in found.candidates)
    scale = min(c.price.expected or 0 for c in found.candidates if (c.quality or 0) >= best - 0.01)
    for candidate in found.candidates:
        expected = 0.6 * (candidate.quality or 0) - 0.4 * (candidate.price.expected or 0) / scale
        assert candidate.utility == pytest.approx(expected)
    utilities = [c.utility for c in found.candidates]
    assert utilities == sorted(utilities, reverse=True)
    assert SearchPlanner().search(request((Wanted("text", TEXT),), candidates=1)).candidates == (
        SearchPlanner().search(request((Wanted("text", TEXT),))).best,
    )


@pytest.mark.parametrize(("budget", "expected"), [(2200, ["denoise_a", "ocr_a"]), (2199, ["ocr_a"])])
def test_budget_caps_the_p95_price(budget: int, expected: list[str]) -> None:
    objective = Objective(alpha=1.0, budget=Money(budget))
    best = SearchPlanner().search(request((Wanted("text", TEXT),), objective=objective)).best
    assert tools_of(best.plan) == expected
    assert best.price.p95 is not None
    assert best.price.p95 <= budget


@pytest.mark.parametrize(("deadline", "expected"), [(55.0, ["denoise_a", "ocr_a"]), (54.9, ["ocr_a"])])
def test_deadline_caps_the_expected_latency(deadline: float, expected: list[str]) -> None:
    objective = Objective(alpha=1.0, deadline_ms=deadline)
    assert tools_of(SearchPlanner().search(request((Wanted("text", TEXT),), objective=objective)).best.plan) == expected


def test_nothing_affordable_says_what_would_be_needed() -> None:
    objective = Objective(budget=Money(1500), deadline_ms=20)
    with pytest.raises(PlanningFailed) as caught:
        SearchPlanner().search(request((Wanted("text", TEXT),), objective=objective))
    assert str(caught.value) == (
        "no plan does this for 0.0000015 USD (95th percentile) and in 20 ms; the cheapest is expected to cost "
        "0.000001 USD (95th percentile 0.000002) and take 50 ms; the fastest takes 50 ms and costs 0.000001 USD"
    )


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ((Wanted("x", Type("audio")),), "`x`: no tool in the catalogue makes audio from `page`"),
        ((Wanted("x", IMAGE, capability=("upscale",)),), "`x`: no tool for upscale in the catalogue makes image"),
        ((Wanted("x", Type("Colour")),), "the catalogue has no type `Colour`"),
        ((Wanted("x", TEXT, source="memo"),), "is to come from `memo`, but the inputs are `page`"),
        ((Wanted("x", TEXT), Wanted("x", IMAGE)), "two wanted results are called `x`"),
        ((), "nothing is wanted"),
    ],
)
def test_impossible_requests_name_what_is_missing(wanted: tuple[Wanted, ...], message: str) -> None:
    with pytest.raises(PlanningFailed, match=message):
        SearchPlanner().search(request(wanted))


def test_too_few_steps_allowed() -> None:
    with pytest.raises(PlanningFailed, match="within 1 step"):
        SearchPlanner(max_steps=1).search(request((Wanted("language", LANGUAGE),)))
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        SearchPlanner(max_steps=0)


def test_unpriced_tools_come_last_and_never_under_a_budget() -> None:
    rows = {**PAGE_ROWS, "ocr_b": (None, 500.0, {"*": 0.99})}
    open_ = SearchPlanner().search(request((Wanted("text", TEXT),), rows=rows, objective=Objective(alpha=1.0)))
    assert tools_of(open_.candidates[-1].plan) == ["ocr_b"]
    assert open_.candidates[-1].price == UNPRICED
    assert open_.best.price.priced
    assert any("unknown price" in note for note in open_.notes)
    capped = SearchPlanner().search(
        request((Wanted("text", TEXT),), rows=rows, objective=Objective(alpha=1.0, budget=Money(10**6)))
    )
    assert all("ocr_b" not in tools_of(c.plan) for c in capped.candidates)
    assert any("ocr_b" in note for note in capped.notes)


def test_unknown_accuracy_is_said_not_hidden() -> None:
    rows = {**PAGE_ROWS, "ocr_b": (1, 500.0, {"*": None})}
    found = SearchPlanner().search(request((Wanted("text", TEXT),), rows=rows))
    unknown = [c for c in found.candidates if "ocr_b" in tools_of(c.plan)]
    assert unknown
    assert all(c.quality is None for c in unknown)
    assert any("no measured accuracy" in note for note in found.notes)


def test_optional_result_is_left_out_when_it_costs_too_much() -> None:
    wanted = (Wanted("text", TEXT), Wanted("clean", IMAGE, optional=True))
    both = SearchPlanner().search(request(wanted, objective=Objective(alpha=1.0))).best
    assert [(o.name, o.optional) for o in both.plan.outputs] == [("text", False), ("clean", True)]
    tight = SearchPlanner().search(request(wanted, objective=Objective(alpha=1.0, budget=Money(2000)))).best
    assert [o.name for o in tight.plan.outputs] == ["text"]


# What plans look like


def test_plan_reads_well_and_survives_its_text() -> None:
    registry, estimator = page_catalogue(40, 1)
    best = (
        SearchPlanner()
        .search(PlanRequest("Clean up this scan, please", PAGE, MAIN_JOB, Objective(), registry, estimator))
        .best
    )
    assert parse(to_text(best.plan)) == best.plan
    assert best.plan.name == "clean_up_this_scan"
    assert [o.name for o in best.plan.outputs] == [w.name for w in MAIN_JOB]
    names = [str(s.name) for s in best.plan.steps]
    assert {"clean", "reading", "language", "key_phrases", "sentiment"} <= set(names)


def test_names_never_collide_with_inputs_or_keywords() -> None:
    inputs = {"language": ValueFacts(TEXT, Size(100)), "clean": ValueFacts(IMAGE, Size(100), "noisy")}
    wanted = (Wanted("language", LANGUAGE), Wanted("out", IMAGE), Wanted("clean", READING))
    found = SearchPlanner().search(request(wanted, inputs=inputs))
    names = [str(s.name) for s in found.best.plan.steps]
    assert len({*names, *inputs}) == len(names) + len({i.name for i in found.best.plan.inputs})
    assert [o.name for o in found.best.plan.outputs] == ["language", "out", "clean"]


def check_candidates(request_: PlanRequest) -> None:
    for candidate in SearchPlanner().search(request_).candidates:
        compiled = compile_plan(candidate.plan, request_.registry, estimator=request_.estimator, facts=request_.inputs)
        assert compiled.estimate.price == candidate.price
        assert compiled.estimate.latency == candidate.latency
        assert len(compiled.plan.steps) == len(candidate.plan.steps), "the compiler found a step to be useless"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_every_candidate_compiles_to_its_own_estimate(seed: int) -> None:
    case = small_request(seed)
    try:
        check_candidates(case)
    except PlanningFailed:
        assert brute_front(case, ConditionModel(), max_steps=4) == []


def test_candidates_of_the_main_job_compile_to_their_own_estimate() -> None:
    registry, estimator = page_catalogue(60, 5)
    check_candidates(PlanRequest("x", PAGE, MAIN_JOB, Objective(), registry, estimator, 20))


async def test_async_protocol_gives_the_same() -> None:
    case = request((Wanted("text", TEXT),))
    planned = await SearchPlanner().plan(case)
    assert replace(planned, price=Money(0)) == SearchPlanner().search(case)
    assert planned.price is not None
    assert planned.price > 0  # of the CPU time that it took


# What may feed what


def test_only_carrier_fields_are_read() -> None:
    """`Language.code` is a text, but not one to take the sentiment of."""
    tools = (tool("guess", IMAGE, LANGUAGE), tool("sentiment_a", TEXT, Type("Sentiment")))
    with pytest.raises(PlanningFailed, match="no tool"):
        SearchPlanner().search(request((Wanted("s", Type("Sentiment")),), tools=tools))


def test_question_goes_to_the_parameter_of_its_name_only() -> None:
    answer = tool("answer", TEXT, Type("Sentiment"), Param("question", TEXT))
    rows = {**PAGE_ROWS, "answer": (5, 1.0, {"*": 0.9})}
    inputs = {**PAGE, "question": ValueFacts(TEXT, Size(30))}
    wanted = (Wanted("answer", Type("Sentiment"), capability=("answer",)), Wanted("language", LANGUAGE))
    plan = SearchPlanner().search(request(wanted, tools=(*PAGE_TOOLS, answer), rows=rows, inputs=inputs)).best.plan
    step = next(s for s in plan.steps if s.attempts[0].tool == "answer")
    assert [str(arg.value) for arg in step.attempts[0].args] == ["reading.text", "question"]
    language = next(s for s in plan.steps if s.attempts[0].tool == "language_a")
    assert language.attempts[0].args[0].value == Ref("reading", ("text",))


def test_arguments_and_sources_of_wanted_results() -> None:
    inputs = {"front": PAGE["page"], "back": PAGE["page"]}
    target = Param("target", TEXT, choices=("es", "ca"))
    tools = (*PAGE_TOOLS, tool("translate", TEXT, Type("Sentiment"), target))
    rows = {**PAGE_ROWS, "translate": (5, 1.0, {"*": 0.9})}
    wanted = (
        Wanted("a", Type("Sentiment"), capability=("translate",), source="front", arguments=(("target", "es"),)),
        Wanted("b", TEXT, source="back"),
    )
    plan = SearchPlanner().search(request(wanted, tools=tools, rows=rows, inputs=inputs)).best.plan
    text = to_text(plan)
    assert 'target="es"' in text
    assert {i.name for i in plan.inputs} == {"front", "back"}


def test_lists_are_worked_through_element_by_element() -> None:
    inputs = {"pages": ValueFacts(list_of(IMAGE), Size(1000, 4), "noisy")}
    found = SearchPlanner().search(request((Wanted("readings", list_of(READING)),), inputs=inputs))
    assert tools_of(found.best.plan) == ["denoise_a", "ocr_a"]
    assert all(step.mapped for step in found.best.plan.steps)
    assert found.best.price.expected == 4 * 1100


def test_fields_of_lists_are_worked_through_element_by_element_too() -> None:
    inputs = {"pages": ValueFacts(list_of(IMAGE), Size(1000, 4), "noisy")}
    wanted = (Wanted("texts", list_of(TEXT), capability=("ocr",)), Wanted("languages", list_of(LANGUAGE)))
    best = SearchPlanner().search(request(wanted, inputs=inputs)).best
    assert tools_of(best.plan) == ["denoise_a", "ocr_a", "language_a"]
    assert [str(output.ref) for output in best.plan.outputs] == ["reading.text", "languages"]
    assert "language_a(each reading.text)" in to_text(best.plan)
    assert best.price.expected == 4 * 1110


@pytest.mark.parametrize(
    ("given", "wanted"), [(IMAGE, Type("Sentiment")), (list_of(IMAGE), list_of(Type("Sentiment")))]
)
def test_what_was_made_from_a_text_does_not_replace_it_in_lists_either(given: Type, wanted: Type) -> None:
    tools = (*PAGE_TOOLS, tool("short", TEXT, READING))  # a record that carries a text, made from a text
    rows = {**PAGE_ROWS, "short": (1, 0.1, {"*": 1.0})}
    inputs = {"pages": ValueFacts(given, Size(1000, 4), "noisy")}

    def search(*through: tuple[str, ...]) -> None:
        SearchPlanner().search(request((Wanted("m", wanted, through=through),), tools=tools, rows=rows, inputs=inputs))

    search(("ocr",))
    with pytest.raises(PlanningFailed):
        search(("short",))


def test_tools_that_write_are_never_chosen() -> None:
    send = ToolSig(ToolName("send"), (Param("image", IMAGE),), READING, effects="write")
    with pytest.raises(PlanningFailed):
        SearchPlanner().search(request((Wanted("r", READING),), tools=(send,)))


# Size and bounds


@pytest.mark.parametrize("wanted", [MAIN_JOB[:2], MAIN_JOB[1:4]], ids=["image+text", "text+2"])
def test_500_tools_need_little_work(wanted: tuple[Wanted, ...]) -> None:
    registry, estimator = page_catalogue(500, 7)
    planner = SearchPlanner(max_steps=8)
    proposal = planner.search(PlanRequest("x", PAGE, wanted, Objective(), registry, estimator))
    assert proposal.candidates
    assert planner.stats.makers < 60, "tools that cannot matter must not be looked at"
    assert planner.stats.terms <= 2 * planner.bounds.max_terms
    assert planner.stats.nodes <= 3 * planner.bounds.max_nodes + 10_000


def test_cut_search_says_so_and_still_plans() -> None:
    registry, estimator = page_catalogue(100, 2)
    case = PlanRequest("x", PAGE, MAIN_JOB, Objective(), registry, estimator)
    cut = SearchPlanner(bounds=Bounds(max_terms=600, max_nodes=300)).search(case)
    assert not cut.exact
    assert any(note.startswith("not exact") for note in cut.notes)
    with pytest.raises(PlanningFailed, match=r"was cut at .* allow more"):
        SearchPlanner(bounds=Bounds(max_terms=3)).search(case)


def test_same_request_same_plans() -> None:
    registry, estimator = page_catalogue(80, 4)
    case = PlanRequest("x", PAGE, MAIN_JOB, Objective(), registry, estimator)
    first, second = SearchPlanner().search(case), SearchPlanner().search(case)
    assert [digest(c.plan) for c in first.candidates] == [digest(c.plan) for c in second.candidates]
    assert first == second


def test_estimator_is_the_only_oracle() -> None:
    """The planner asks the estimator with every parameter, defaults included, as the compiler does."""
    asked: list[tuple[str, tuple[str, ...]]] = []
    tools = (ToolSig(ToolName("ocr_a"), (Param("image", IMAGE), Param("size", Type("int"), False)), READING),)
    registry = RegistryView(tools, types())
    inner: Estimator = Table(registry, PAGE_ROWS)

    class Spy:
        def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
            asked.append((tool, tuple(args)))
            return inner.estimate(tool, args)

    SearchPlanner().search(PlanRequest("x", PAGE, (Wanted("r", READING),), Objective(), registry, Spy()))
    assert set(asked) == {("ocr_a", ("image",))}
