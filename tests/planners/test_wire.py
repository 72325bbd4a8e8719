"""Requests, catalogues and estimates over the wire: what comes out plans as what went in."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.money import Money
from catp.planlang.nodes import Literal, ToolName
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Latency,
    Param,
    PriceRange,
    RegistryView,
    Size,
    Startup,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import Type, TypeDef, TypeTable
from catp.planners.cheapest import cheapest_plans
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.planners.testing import page_catalogue, small_request
from catp.planners.wire import RequestForm, request_form
from catp.planners.wire_estimates import MOST, EstimateForm, TableEstimator, estimates_form
from catp.planners.wire_tools import CatalogueForm, catalogue_form

TEXT, IMAGE = Type("text"), Type("image")


def over(request: PlanRequest) -> PlanRequest:
    form = RequestForm.model_validate(json.loads(json.dumps(request_form(request))))
    assert isinstance(form.catalogue, CatalogueForm)
    return form.read(form.catalogue.view())


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.booleans())
def test_requests_plan_the_same(seed: int, failing: bool) -> None:
    request = small_request(seed, failing=failing)
    there = over(request)
    assert there.registry == request.registry
    assert there.registry.digest == request.registry.digest
    assert (there.task, there.inputs, there.wanted, there.objective) == (
        request.task, request.inputs, request.wanted, request.objective,
    )  # fmt: skip
    mine, theirs = (cheapest_plans(one, 3) for one in (request, there))
    assert [cheap.priced.expected for cheap in theirs] == [cheap.priced.expected for cheap in mine]
    assert [cheap.priced for cheap in theirs[:1]] == [cheap.priced for cheap in mine[:1]]


def test_everything_of_a_request_is_kept() -> None:
    types = TypeTable().with_type(TypeDef("Reading", (("text", TEXT),), description="read"))
    types = types.with_type(TypeDef("Page", (("n", Type("int")),), "Reading"))
    tool = ToolSig(
        ToolName("translate"),
        (
            Param("text", TEXT, description="what"),
            Param("to", TEXT, required=False, default=Literal("es"), choices=("de", "es")),
            Param("nothing", TEXT, required=False, default=Literal(None)),
            Param("levels", Type("number"), choices=(1, 2.5)),
        ),
        Type("Page", optional=True), "read", "translates", "translation",
    )  # fmt: skip
    wanted = Wanted("out", Type("Page"), True, ("translation",), "page", (("to", "es"), ("k", 2)), (("a", "b"), ("c",)))
    objective = Objective(0.25, Money(1), 3.5, Money(10**12))
    request = PlanRequest("do", {}, (wanted,), objective, RegistryView((tool,), types), TableEstimator([]))
    there = over(request)
    assert there.registry == request.registry
    assert (there.wanted, there.objective) == (request.wanted, objective)


def row(units: int, condition: str, price: int | None) -> tuple[ToolName, dict[str, ValueFacts], CallEstimate]:
    asked = PriceRange(Money(price), Money(price), Money(price)) if price is not None else UNPRICED
    out = CallEstimate(
        asked, Latency(1.0, 2.0), ValueFacts(TEXT), None, 0.25, 7, Startup(Money(3), Latency(1, 2), 4), False
    )
    return ToolName("ocr"), {"page": ValueFacts(IMAGE, Size(units), condition)}, out


def test_estimates_are_kept_and_the_nearest_one_stands_in() -> None:
    registry = RegistryView((ToolSig(ToolName("ocr"), (Param("page", IMAGE),), TEXT),))
    rows = [row(100, "clean", 1), row(10_000, "clean", 2), row(100, "noisy", None)]
    table = TableEstimator(rows)
    for _, args, estimate in rows:
        request = PlanRequest("", {"page": args["page"]}, (), Objective(), registry, table)
        (form,) = estimates_form(request)
        assert EstimateForm.model_validate(json.loads(json.dumps(form))).read() == ("ocr", args, estimate)
    near = table.estimate(ToolName("ocr"), {"page": ValueFacts(IMAGE, Size(9_000), "clean")})
    assert near.price.expected == Money(2)
    assert table.estimate(ToolName("ocr"), {"page": ValueFacts(IMAGE, Size(9_000), "noisy/fixed")}).price == UNPRICED
    with pytest.raises(KeyError):
        table.estimate(ToolName("other"), {})
    layered = TableEstimator([row(100, "clean", 5)], table)
    assert layered.estimate(ToolName("ocr"), rows[0][1]).price.expected == Money(5)


def test_a_large_catalogue_stays_within_bounds() -> None:
    registry, estimator = page_catalogue(200)
    page = {"page": ValueFacts(IMAGE, Size(10**6), "noisy")}
    forms = estimates_form(PlanRequest("", page, (Wanted("w", TEXT),), Objective(), registry, estimator))
    assert len(forms) == MOST
    assert len({form["tool"] for form in forms}) > 150  # the others take what nothing makes
    assert catalogue_form(registry)["tools"][3]["name"] == registry.tools[3].name
