"""Canonical text: exact round trips, stable wrapping, and trees that have no spelling."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import (
    Arg,
    Attempt,
    Duration,
    Input,
    Limits,
    ListValue,
    Literal,
    Note,
    ObjectValue,
    Output,
    Plan,
    Ref,
    Scalar,
    Step,
    StepName,
    Template,
    ToolName,
    Usd,
    Value,
)
from catp.planlang.parser import parse
from catp.planlang.printer import WIDTH, to_text, value_text
from catp.planlang.testing import random_plan
from catp.planlang.types import Type

PLANS = Path(__file__).parent / "plans"


def calling(value: Value) -> Plan:
    return Plan((Step(StepName("a"), (Attempt(ToolName("f"), (Arg(value),)),)),))


def test_random_plans_round_trip() -> None:
    for seed in range(1_500):
        plan = random_plan(Random(seed))
        text = to_text(plan)
        again = parse(text)
        assert again == plan, text
        assert to_text(again) == text


@settings(deadline=None, max_examples=300)
@given(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers(0, 10**24).map(lambda n: Usd(Money(n))),
        st.integers(0, 10**24).map(Duration),
    )
)
def test_every_constant_round_trips(value: Scalar) -> None:
    plan = calling(Literal(value))
    text = to_text(plan)
    assert parse(text) == plan
    assert text.isascii() or text.replace("\n", "").isprintable()


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_every_template_and_key_round_trips(before: str, after: str) -> None:
    parts = tuple(part for part in (before, Ref("x", ("in", 0)), after) if part)
    plan = calling(ObjectValue(((before, Template(parts)), (before + "'", Literal(after)))))
    assert parse(to_text(plan)) == plan


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.plan")), ids=lambda p: p.stem)
def test_worked_examples_round_trip(path: Path) -> None:
    plan = parse(path.read_text(encoding="utf-8"))
    assert parse(to_text(plan)) == plan


def test_canonical_text() -> None:
    messy = 'in   x :text="a"\nlimit latency 60s,cost $2\na=f( x ,k = {"in":1, "b c":2} )@approve()\nout   r=a . text?'
    assert to_text(parse(messy)) == (
        'in x: text = "a"\nlimit cost $2.00, latency 1m\na = f(x, k={in: 1, "b c": 2}) @approve\nout r = a.text?\n'
    )


def test_default_output_names_are_not_written() -> None:
    assert to_text(parse("out a = a, text = a.text, t = a.text, in = a.in")) == "out a, a.text, t = a.text, a.in\n"


def test_long_steps_are_wrapped() -> None:
    text = to_text(parse((PLANS / "answer_cheaply.plan").read_text(encoding="utf-8")))
    assert (
        text.splitlines()[3:-1]
        == [
            "ans = small(q) if .confidence >= 0.85",
            "    | medium(q) if .confidence >= 0.7",
            "    | large(q)",
            "    @hedge(2.5s)",
        ]
        or max(map(len, text.splitlines())) <= WIDTH
    )
    wide = to_text(parse(f"a = {' | '.join(f'tool_number_{k}(argument)' for k in range(9))} @retry(2) @approve"))
    assert wide.splitlines()[1] == "    | tool_number_1(argument)"
    assert wide.splitlines()[-1] == "    @retry(2) @approve"


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0s"), (1, "0.000001ms"), (300_000_000, "300ms"), (2_500_000_000, "2.5s"), (1_000_000_001, "1.000000001s"),
        (60 * 10**9, "1m"), (90 * 10**9, "90s"), (5_400 * 10**9, "90m"), (7_200 * 10**9, "2h"),
    ],
)  # fmt: skip
def test_durations_are_written_in_one_way(ns: int, text: str) -> None:
    assert value_text(Literal(Duration(ns))) == text


def test_invisible_characters_are_written_so_that_they_can_be_seen() -> None:
    assert value_text(Literal("a\u202eb\u200b\x00\u2028\U000e0041")) == r'"a\u202eb\u200b\u0000\u2028\udb40\udc41"'


UNSPEAKABLE: list[Plan] = [
    calling(Literal(float("nan"))),
    calling(Literal(float("inf"))),
    calling(Literal(10**4_001)),
    calling(Literal(10**100_000)),
    calling(Literal(Usd(Money(-1)))),
    calling(Literal(Usd(Money(10**40)))),
    calling(Literal(Duration(-1))),
    calling(Literal("\ud800")),
    calling(Ref("A b")),
    calling(Ref("in")),
    calling(Ref("a", ("b c",))),
    calling(Ref("a", (-1,))),
    calling(Template(("a", "b"))),
    calling(Template(("",))),
    calling(Template((Ref("a", (), True),))),
    calling(ObjectValue((("\ud800", Literal(1)),))),
    Plan((Step(StepName("a"), ()),)),
    Plan((Step(StepName("in"), (Attempt(ToolName("f")),)),)),
    Plan((Step(StepName("a"), (Attempt(ToolName("if.x")),)),)),
    Plan((Step(StepName("a"), (Attempt(ToolName("f.")),)),)),
    Plan((Step(StepName("a"), (Attempt(ToolName("f")),), otherwise=Ref("b")),)),
    Plan((Step(StepName("a"), (Attempt(ToolName("f")),), notes=(Note("if"),)),)),
    Plan(doc="no name"),
    Plan(doc="no name", approve=True),
    Plan(name="two words"),
    Plan(inputs=(Input("x", Type("two words")),)),
    Plan(outputs=(Output("two words", Ref("a")),)),
    Plan(limits=Limits(cost=Usd(Money(-5)))),
]


@pytest.mark.parametrize("plan", UNSPEAKABLE, ids=range(len(UNSPEAKABLE)))
def test_what_has_no_spelling_is_refused(plan: Plan) -> None:
    with pytest.raises(PlanError):
        to_text(plan)


def test_nesting_is_refused_exactly_where_the_parser_refuses_it() -> None:
    value: Value = Literal(1)
    for _ in range(63):
        value = ListValue((value,))
    assert parse(to_text(calling(value))) == calling(value)
    with pytest.raises(PlanError, match="E006"):
        to_text(calling(ListValue((value,))))
