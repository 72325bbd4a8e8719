"""Reading and rating the plans of a chat model: against the search planner, and by hand where that has no such plan."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.compile import compile_plan
from catp.planlang.jsonform import to_json
from catp.planlang.money import Money
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.parser import parse
from catp.planlang.passes.normalise import normalise
from catp.planlang.registry_view import (
    CallEstimate,
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
from catp.planners.chat_figures import figures
from catp.planners.chat_read import Unusable, read_answer
from catp.planners.chat_schema import plan_schema
from catp.planners.delivery import undelivered
from catp.planners.protocol import Objective, PlanningFailed, PlanRequest, Wanted
from catp.planners.quality import PlanQuality, quality_of
from catp.planners.search import SearchPlanner
from catp.planners.testing import SeededEstimator, small_request

IMAGE, TEXT, READING = Type("image"), Type("text"), Type("Reading")
TYPES = TypeTable().with_type(TypeDef("Reading", (("text", TEXT), ("confidence", Type("number")))))
PRICE = PriceRange(Money(50), Money(100), Money(200))
ACCURACY = {
    ("clean", "noisy"): 0.9, ("ocr_a", "noisy"): 0.6, ("ocr_a", "noisy/clean"): 0.95, ("ocr_b", "noisy"): 0.8,
    ("ocr_b", "noisy/clean"): 0.7, ("translate", ""): 0.5, ("join", ""): 1.0,
}  # fmt: skip
FAILURE = {"ocr_a": 0.2, "ocr_b": 0.1}


def tool(name: str, returns: Type, *params: Param, capability: str = "") -> ToolSig:
    return ToolSig(ToolName(name), params, returns, capability=capability or name.partition("_")[0])


REGISTRY = RegistryView(
    (
        tool("clean", IMAGE, Param("image", IMAGE)),
        tool("ocr_a", READING, Param("image", IMAGE)),
        tool("ocr_b", READING, Param("image", IMAGE)),
        tool("translate", TEXT, Param("text", TEXT), Param("to", TEXT)),
        tool("join", TEXT, Param("a", TEXT), Param("b", TEXT)),
    ),
    TYPES,
)


class Table:
    def estimate(self, name: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = REGISTRY.get(name)
        assert sig is not None
        first = next(iter(args.values()))
        condition = f"{first.condition}/{name}" if sig.returns == first.type else ""
        accuracy = ACCURACY.get((name, first.condition))
        output = ValueFacts(sig.returns, first.size, condition if sig.returns == IMAGE else "")
        return CallEstimate(PRICE, Latency(1.0, 2.0), output, accuracy, FAILURE.get(name, 0.0), 5)


def request(*wanted: Wanted, **inputs: ValueFacts) -> PlanRequest:
    given_ = inputs or {"page": ValueFacts(IMAGE, Size(1000), "noisy")}
    return PlanRequest("do it", given_, wanted, Objective(), REGISTRY, Table())


def rated(text: str, asked: PlanRequest) -> PlanQuality:
    compiled = compile_plan(parse(text), asked.registry, estimator=asked.estimator, facts=asked.inputs)
    return quality_of(compiled, asked.wanted, asked.estimator, asked.inputs)


# Quality


@pytest.mark.parametrize(
    ("text", "score", "known"),
    [
        ("r = ocr_a(page)", 0.8 * 0.6, True),
        ("c = clean(page)\nr = ocr_a(c)", 0.8 * 0.95, True),
        ("r = ocr_a(page) | ocr_b(page)", 0.8 * 0.6 + 0.2 * 0.9 * 0.8, True),
        ("r = ocr_a(page) @retry(1)", (1 - 0.2**2) * 0.6, True),
        ("r = ocr_a(page) | ocr_b(page) @retry(1)", (1 - 0.2**2) * 0.6 + 0.2**2 * (1 - 0.1**2) * 0.8, True),
        ("r = ocr_a(page) if .confidence > 0.5 | ocr_b(page)", 0.8 * 0.6 + 0.2 * 0.9 * 0.8, False),
    ],
)
def test_the_quality_of_one_call_and_its_alternatives(text: str, score: float, known: bool) -> None:
    found = rated(f"in page: image\n{text}\nout text = r.text\n", request(Wanted("text", TEXT)))
    assert found.score == pytest.approx(score)
    assert found.known is known


def test_quality_multiplies_along_a_chain_and_averages_over_what_is_wanted() -> None:
    asked = request(Wanted("text", TEXT), Wanted("es", TEXT), Wanted("clean", IMAGE, optional=True))
    text = 'in page: image\nr = ocr_b(page)\ne = translate(r.text, to="es")\nout text = r.text\nout es = e\n'
    found = rated(text, asked)
    assert found.score == pytest.approx((0.72 + 0.72 * 0.5 + 0.0) / 3)
    assert found.known
    joined = rated(
        'in page: image\nr = ocr_b(page)\nj = join(t"{r.text} and {r.text}", r.text)\nout text = j\n',
        request(Wanted("text", TEXT)),
    )
    assert joined.score == pytest.approx(0.72**3), "errors of arguments are taken to be independent"


def test_a_tool_that_nobody_knows_makes_the_quality_unknown() -> None:
    asked = request(Wanted("text", TEXT), memo=ValueFacts(TEXT, Size(10), "odd"))
    found = rated('in memo: text\nt = translate(memo, to="es")\nout text = t\n', asked)
    assert not found.known
    assert found.score == ConditionModel().unknown

    class Nobody:
        def estimate(self, name: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
            raise KeyError(name)

    found = rated('in memo: text\nt = translate(memo, to="es")\nout text = t\n', replace(asked, estimator=Nobody()))
    assert found == PlanQuality(0.0, known=False)


def as_a_model_writes(plan: Plan, asked: PlanRequest) -> dict[str, Any]:
    """The JSON form that the schema asks for: arguments by name, `each` always there, nothing declared."""
    form = to_json(replace(normalise(plan, asked.registry)[0], name=None, doc=None, inputs=()))
    for step in form["steps"]:
        for attempt in step["try"]:
            attempt["args"] = [{"each": False, **arg} for arg in attempt["args"]]
    for output in form["outputs"]:
        output.pop("optional", None)
    return form


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), failing=st.booleans())
def test_plans_of_the_search_are_read_priced_and_rated_as_the_search_does(seed: int, failing: bool) -> None:
    asked = small_request(seed, failing=failing)
    try:
        found = SearchPlanner(max_steps=5).search(asked).candidates
    except PlanningFailed:
        return
    schema = jsonschema.Draft202012Validator(plan_schema(asked, asked.registry.tools))
    for one in found[:5]:
        form = as_a_model_writes(one.plan, asked)
        schema.validate(form)
        option = read_answer(json.dumps(form), asked, ConditionModel())
        assert (option.priced.price, option.priced.latency) == (one.price, one.latency)
        assert option.priced.plan.outputs == one.plan.outputs
        assert option.known
        assert option.rating.quality == pytest.approx(one.quality)


# What is wanted


@pytest.mark.parametrize(
    ("wanted", "text", "told"),
    [
        (Wanted("text", TEXT), "r = ocr_a(page)\nout other = r.text", "output `text` (text) is missing"),
        (Wanted("text", TEXT), "r = ocr_a(page)\nout text = r.text\nout more = r", "`more` is not wanted: leave it"),
        (Wanted("text", TEXT), "r = ocr_a(page)\nout text = r.confidence", "`r.confidence` is number, wanted is text"),
        (Wanted("n", Type("number")), "r = ocr_a(page)\nout n = r.confidence", "not what Reading stands for"),
        (Wanted("copy", IMAGE), "out copy = page", "`page` is an input"),
        (Wanted("text", TEXT, capability=("caption", "vqa")), "r = ocr_a(page)\nout text = r.text",
         "step `r` calls `ocr_a`: take a tool for caption or vqa instead"),
        (Wanted("text", TEXT, source="other"), "r = ocr_a(page)\nout text = r.text",
         "`r` does not derive from the input `other`"),
        (Wanted("text", TEXT, through=(("clean",),)), "r = ocr_a(page)\nout text = r.text",
         "before `r`, a tool for clean must have been applied"),
        (Wanted("es", TEXT, arguments=(("to", "es"),)), 'r = ocr_a(page)\ne = translate(r.text, to="fr")\nout es = e',
         "step `e` must call `translate` with to = 'es'"),
    ],
)  # fmt: skip
def test_what_is_not_delivered_is_said_with_place_and_fix(wanted: Wanted, text: str, told: str) -> None:
    page = ValueFacts(IMAGE, Size(1000), "noisy")
    asked = request(wanted, page=page, other=page)
    compiled = compile_plan(parse(f"in page: image\n{text}\n"), REGISTRY)
    assert told in undelivered(compiled, asked)[0]


def test_what_is_delivered() -> None:
    asked = request(
        Wanted("es", TEXT, source="page", arguments=(("to", "es"),), through=(("clean",), ("ocr",))),
        Wanted("text", TEXT, optional=True),
    )
    text = 'in page: image\nc = clean(page)\nr = ocr_a(c) | ocr_b(c)\ne = translate(r.text, to="es")\nout es = e\n'
    assert undelivered(compile_plan(parse(text), REGISTRY), asked) == ()


def test_many_problems_are_cut_short() -> None:
    form = {"planlang": 1, "steps": [{"name": f"s{i}", "try": [{"tool": f"t{i}", "args": []}]} for i in range(30)]}
    form["outputs"] = [{"name": "text", "ref": "s0"}]
    with pytest.raises(Unusable, match=r"\.\.\. and 18 more problems"):
        read_answer(json.dumps(form), request(Wanted("text", TEXT)), ConditionModel())


# What the model is told of tools


def test_figures_follow_values_from_the_inputs() -> None:
    found = figures(request(Wanted("text", TEXT)), REGISTRY.tools)
    assert found["ocr_a"].accuracy == (("noisy", 0.6), ("noisy/clean", 0.95))
    assert found["translate"].accuracy == (("", 0.5),)
    assert found["ocr_a"].price == PRICE
    assert found["ocr_a"].failure == 0.2


def test_figures_of_lists_are_those_of_one_element() -> None:
    pages = ValueFacts(list_of(IMAGE), Size(1000, 7), "noisy")
    assert figures(request(Wanted("text", TEXT), pages=pages), REGISTRY.tools)["ocr_b"].accuracy[0] == ("noisy", 0.8)


def test_figures_of_tools_out_of_reach_are_at_the_size_of_the_inputs() -> None:
    sizes: dict[str, int] = {}

    class Noting(SeededEstimator):
        def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
            sizes[tool] = next(iter(args.values())).size.units
            return super().estimate(tool, args)

    asked = replace(request(memo=ValueFacts(TEXT, Size(700))), estimator=Noting(REGISTRY))
    assert figures(asked, REGISTRY.tools)["ocr_a"].price.priced
    assert sizes["ocr_a"] == 700
