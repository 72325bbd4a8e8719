"""`serves`: which plans are an answer to a request, case by case, and against two others who know the rules."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.compile import compile_plan
from catp.planlang.nodes import ToolName
from catp.planlang.parser import parse
from catp.planlang.registry_view import Param, RegistryView, Size, ToolSig, ValueFacts
from catp.planlang.types import Type, TypeDef, TypeTable, list_of
from catp.planners.delivery import undelivered
from catp.planners.protocol import Objective, PlanningFailed, PlanRequest, Wanted
from catp.planners.search import SearchPlanner
from catp.planners.serves import serves
from catp.planners.testing import SeededEstimator, small_request
from catp.planners.writer import Unwritable
from tests.planners.fake_writers import random_plans

TEXT, IMAGE, READING, LANGUAGE = Type("text"), Type("image"), Type("Reading"), Type("Language")
TYPES = (
    TypeTable()
    .with_type(TypeDef("Reading", (("text", TEXT), ("confidence", Type("number")))))
    .with_type(TypeDef("Language", (("code", TEXT),)))
)
TOOLS = (
    ToolSig(ToolName("denoise"), (Param("image", IMAGE),), IMAGE, capability="denoise"),
    ToolSig(ToolName("enlarge"), (Param("image", IMAGE),), IMAGE, capability="upscale"),
    ToolSig(ToolName("ocr_a"), (Param("image", IMAGE),), READING, capability="ocr"),
    ToolSig(ToolName("ocr_b"), (Param("image", IMAGE),), READING, capability="ocr"),
    ToolSig(ToolName("guess"), (Param("image", IMAGE),), READING, capability="caption"),
    ToolSig(ToolName("language"), (Param("text", TEXT),), LANGUAGE, capability="language"),
    ToolSig(
        ToolName("translate"), (Param("text", TEXT), Param("to", TEXT, required=False, default=None)), TEXT,
        capability="translate",
    ),
    ToolSig(ToolName("store"), (Param("text", TEXT),), READING, effects="write", capability="ocr"),
)  # fmt: skip
REGISTRY = RegistryView(TOOLS, TYPES)


def request(*wanted: Wanted, **inputs: Type) -> PlanRequest:
    facts = {name: ValueFacts(type_, Size(1000)) for name, type_ in (inputs or {"page": IMAGE}).items()}
    return PlanRequest("do it", facts, wanted, Objective(), REGISTRY, SeededEstimator(REGISTRY))


READ = Wanted("text", TEXT, capability=("ocr",))
FIRST, SECOND = "in page: image\n", "in page: image\nin other: image\n"


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [
        (READ, FIRST + "a = ocr_a(page)\nout text = a.text\n", True),
        (READ, FIRST + "a = ocr_a(page) | ocr_b(page)\nout text = a.text\n", True),
        pytest.param(READ, FIRST + "a = guess(page)\nout text = a.text\n", False, id="capability"),
        pytest.param(READ, FIRST + "a = ocr_a(page) | guess(page)\nout text = a.text\n", False, id="alternative"),
        pytest.param(READ, FIRST + "a = ocr_a(page)\nout words = a.text\n", False, id="another name"),
        pytest.param(READ, FIRST + "a = ocr_a(page)\nout text = a\n", False, id="type"),
        pytest.param(READ, FIRST + "a = ocr_c(page)\nout text = a.text\n", False, id="unknown tool"),
        pytest.param(READ, "in scan: image\na = ocr_a(scan)\nout text = a.text\n", False, id="unknown input"),
        pytest.param(READ, "in page: text\na = store(page)\nout text = a.text\n", False, id="input of another type"),
        pytest.param(
            READ, FIRST + "a = ocr_a(page)\nb = store(a.text)\nout text = b.text\n", False, id="writes"
        ),
        pytest.param(
            READ, FIRST + "a = ocr_a(page)\nl = language(a.text)\nout text = a.text\nout more = l\n", False,
            id="an output nobody wants",
        ),
        pytest.param(
            Wanted("text", TEXT), FIRST + "a = ocr_a(page)\nl = language(a.text)\nout text = l.code\n", False,
            id="a field that is not the record's text",
        ),
        pytest.param(Wanted("text", TEXT), FIRST + "a = guess(page)\nout text = a.text\n", True, id="any capability"),
        pytest.param(Wanted("copy", IMAGE), FIRST + "out copy = page\n", False, id="an input handed back"),
        pytest.param(
            replace(READ, source="page"), SECOND + "a = ocr_a(other)\nout text = a.text\n", False, id="source"
        ),
        pytest.param(
            replace(READ, source="page"), SECOND + "d = denoise(page)\na = ocr_a(d)\nout text = a.text\n", True,
            id="source, indirectly",
        ),
        pytest.param(
            replace(READ, source="page"), SECOND + "a = ocr_a(page) | ocr_b(other)\nout text = a.text\n", False,
            id="source of every alternative",
        ),
        pytest.param(
            replace(READ, through=(("denoise",),)), FIRST + "a = ocr_a(page)\nout text = a.text\n", False,
            id="through",
        ),
        pytest.param(
            replace(READ, through=(("denoise",), ("upscale",))),
            FIRST + "d = denoise(page)\ne = enlarge(d)\na = ocr_a(e)\nout text = a.text\n", True,
            id="through, in order",
        ),
        pytest.param(
            replace(READ, through=(("denoise",), ("upscale",))),
            FIRST + "e = enlarge(page)\nd = denoise(e)\na = ocr_a(d)\nout text = a.text\n", False,
            id="through, in the wrong order",
        ),
        pytest.param(
            replace(READ, through=(("denoise",),)),
            FIRST + "d = denoise(page) | enlarge(page)\na = ocr_a(d)\nout text = a.text\n", False,
            id="through an alternative only",
        ),
        pytest.param(
            Wanted("es", TEXT, arguments=(("to", "es"),)),
            FIRST + 'a = ocr_a(page)\nes = translate(a.text, to="es")\nout es\n', True, id="argument",
        ),
        pytest.param(
            Wanted("es", TEXT, arguments=(("to", "es"),)),
            FIRST + 'a = ocr_a(page)\nes = translate(a.text, to="fr")\nout es\n', False, id="another argument",
        ),
        pytest.param(
            Wanted("es", TEXT, arguments=(("to", "es"),)),
            FIRST + "a = ocr_a(page)\nes = translate(a.text)\nout es\n", False, id="no argument",
        ),
    ],
)  # fmt: skip
def test_serves(wanted: Wanted, text: str, expected: bool) -> None:
    inputs = {"page": IMAGE, "other": IMAGE}
    assert serves(parse(text), request(wanted, **inputs)) is expected


def test_optional_outputs_may_be_missing_and_required_ones_not() -> None:
    plan = parse(FIRST + "a = ocr_a(page)\nout text = a.text\n")
    assert serves(plan, request(READ, Wanted("language", LANGUAGE, optional=True)))
    assert not serves(plan, request(READ, Wanted("language", LANGUAGE)))


def test_an_else_is_judged_like_the_step() -> None:
    text = (
        FIRST + "a = ocr_a(page)\nb = {tool}(page)\nc = ocr_b(page) when b.confidence > 0.5 else a\nout text = c.text\n"
    )
    wanted = replace(READ, through=(("denoise",),))
    assert serves(parse(text.format(tool="guess")), request(READ))
    assert not serves(parse(text.format(tool="guess").replace("a = ocr_a", "a = guess")), request(READ))
    assert not serves(parse(text.format(tool="guess")), request(wanted))


def test_lists_are_taken_element_by_element() -> None:
    plan = parse("in pages: list[image]\na = ocr_a(each pages)\nout readings = a\n")
    assert serves(plan, request(Wanted("readings", list_of(READING), capability=("ocr",)), pages=list_of(IMAGE)))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), through=st.booleans())
def test_agrees_with_the_search_and_with_the_words_of_delivery(seed: int, through: bool) -> None:
    asked = small_request(seed)
    if through:
        asked = replace(asked, wanted=tuple(replace(want, through=(("fix",),)) for want in asked.wanted))
    try:
        found = SearchPlanner(max_steps=5).search(asked).candidates
    except PlanningFailed:
        found = ()
    assert all(serves(candidate.plan, asked) for candidate in found)
    try:
        plans = random_plans(asked, 10, seed)
    except Unwritable:
        return
    for plan in plans:
        compiled = compile_plan(plan, asked.registry)
        assert serves(plan, asked) == (undelivered(compiled, asked) == ())
