"""What the text form means: every construct against the tree it stands for."""

from dataclasses import replace
from pathlib import Path

import pytest

from catp.planlang.lexer import KEYWORDS
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
    NoteArg,
    ObjectValue,
    Output,
    OwnTest,
    Plan,
    Ref,
    Step,
    StepName,
    Template,
    ToolName,
    Usd,
    Value,
)
from catp.planlang.nodes import Test as RunTest
from catp.planlang.parser import parse
from catp.planlang.types import Type, list_of

PLANS = Path(__file__).parent / "plans"


def value_of(text: str) -> Value:
    return parse(f"a = f({text})").steps[0].attempts[0].args[0].value


def test_empty_plan() -> None:
    for text in ("", "\n\n", "# nothing\n", "   ", "\ufeff", b"", b"\xef\xbb\xbf\r\n"):
        assert parse(text) == Plan()


def test_header_inputs_limits_outputs() -> None:
    plan = parse(
        'plan demo "Shows it"\n'
        "in photo: image\n"
        'in langs: list[text?]? = ["de", "en"]\n'
        "limit cost $0.20, calls 12\n"
        "limit latency 2.5s\n"
        "out photo, first = photo.lines[0].text?\n"
    )
    assert plan == Plan(
        name="demo",
        doc="Shows it",
        inputs=(
            Input("photo", Type("image")),
            Input(
                "langs",
                Type("list", Type("text", None, True), True),
                ListValue((Literal("de"), Literal("en"))),
            ),
        ),
        limits=Limits(Usd(Money(200_000_000)), Duration(2_500_000_000), 12),
        outputs=(
            Output("photo", Ref("photo")),
            Output("first", Ref("photo", ("lines", 0, "text")), optional=True),
        ),
    )


def test_the_whole_plan_may_need_approval() -> None:
    named = Plan(name="p", approve=True)
    for text in ("plan p @approve", "plan p@approve()", "plan p\n  # why\n  @approve\n"):
        assert parse(text) == named
    assert parse("plan @approve") == Plan(approve=True)
    assert parse('plan p "d" @approve') == replace(named, doc="d")
    (step,) = parse("plan p\na = f()\n@approve").steps
    assert step.notes == (Note("approve"),)


def test_output_is_named_after_its_last_field() -> None:
    outputs = parse("out a, b.text, c.lines[2], d.lines[0].URL, in = e, Total = f").outputs
    assert [o.name for o in outputs] == ["a", "text", "lines", "URL", "in", "Total"]


def test_step_with_everything() -> None:
    (step,) = parse(
        "a = ns.small(q, each pages, to=each langs) if .ok == true and .score.value >= 0.5\n"
        "  # a comment between\n"
        '  | large(q?) if . != null when q.lang != "en" and q > 3 else q.text\n'
        "  @retry(2, backoff=500ms)\n"
        "  @approve\n"
    ).steps
    assert step == Step(
        name=StepName("a"),
        attempts=(
            Attempt(
                ToolName("ns.small"),
                (Arg(Ref("q")), Arg(Ref("pages"), each=True), Arg(Ref("langs"), "to", True)),
                (OwnTest(("ok",), "==", Literal(True)), OwnTest(("score", "value"), ">=", Literal(0.5))),
            ),
            Attempt(ToolName("large"), (Arg(Ref("q", (), True)),), (OwnTest((), "!=", Literal(None)),)),
        ),
        when=(RunTest(Ref("q", ("lang",)), "!=", Literal("en")), RunTest(Ref("q"), ">", Literal(3))),
        otherwise=Ref("q", ("text",)),
        notes=(
            Note("retry", (NoteArg(Literal(2)), NoteArg(Literal(Duration(500_000_000)), "backoff"))),
            Note("approve"),
        ),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("1.0", 1.0),
        ("1e3", 1000.0),
        ("-2.5E-3", -0.0025),
        ("true", True),
        ("false", False),
        ("null", None),
        ("$2", Usd(Money(2_000_000_000))),
        ("$0.000000001", Usd(Money(1))),
        ("300ms", Duration(300_000_000)),
        ("0.000001ms", Duration(1)),
        ("1.5m", Duration(90_000_000_000)),
        ("1h", Duration(3_600_000_000_000)),
        ('""', ""),
        (r'"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00"', '"\\/\b\f\n\r\tä😀'),
        ('"\u2028 \u202e \u200b tab\t"', "\u2028 \u202e \u200b tab\t"),
        ('"# {x} $1"', "# {x} $1"),
    ],
)
def test_constants(text: str, value: object) -> None:
    constant = value_of(text)
    assert isinstance(constant, Literal)
    assert (type(constant.value), constant.value) == (type(value), value)


def test_minus_zero_is_zero() -> None:
    assert str(value_of("-0.0").value) == "0.0"  # type: ignore[union-attr]  # a Literal


def test_collections_and_templates() -> None:
    assert value_of('[a.b?, [], {in: 1, "two words": t"{x} {{y}} \\n"},]') == ListValue(
        (
            Ref("a", ("b",), True),
            ListValue(()),
            ObjectValue((("in", Literal(1)), ("two words", Template((Ref("x"), " {y} \n"))))),
        )
    )
    assert value_of('t""') == Template(())
    assert value_of('t"{a[0].b}{ c }"') == Template((Ref("a", (0, "b")), Ref("c")))


@pytest.mark.parametrize("word", sorted(KEYWORDS))
def test_keywords_are_words_where_nothing_else_can_stand(word: str) -> None:
    step = parse(f"a = tool.{word}({word}=x.{word}, k={{{word}: 1}}) if .{word} == 1 @key({word}=x)").steps[0]
    assert step.attempts[0].tool == f"tool.{word}"
    assert step.attempts[0].args[0] == Arg(Ref("x", (word,)), word)
    assert step.attempts[0].args[1].value == ObjectValue(((word, Literal(1)),))
    assert step.attempts[0].accept[0].path == (word,)
    assert step.notes[0].args[0].key == word


def test_names_that_only_look_like_keywords_or_templates() -> None:
    assert [s.name for s in parse("inn = f()\niffy = f()\nt = f()\ncost = f()\nplan_ = f()").steps] == [
        "inn", "iffy", "t", "cost", "plan_",
    ]  # fmt: skip


def test_newlines_inside_brackets_and_crlf() -> None:
    wide = "a = f(\r\n  x,  # first\r\n  [\r\n 1,\r\n 2 ],\r\n  y =\r\n z)\r\n\r\n| g(x)\r\nb = h(a)\r\n"
    assert parse(wide) == parse("a = f(x, [1, 2], y=z) | g(x)\nb = h(a)")
    assert parse(wide.encode()) == parse(wide)


def test_whitespace_is_free_between_tokens() -> None:
    assert parse("limit cost$0.05,calls 3") == parse("limit  cost $0.05 , calls 3")
    assert parse('a=f(x,"y")if .k>=1|g()when x==1@approve') == parse(
        'a = f(x, "y") if .k >= 1 | g() when x == 1 @approve'
    )


def test_statements_may_come_in_any_order() -> None:
    assert parse("out a\na = f(x)\nin x: text") == parse("in x: text\na = f(x)\nout a")


def test_spans_point_at_what_they_name() -> None:
    plan = parse('plan p\nin photo: list[image]\nab = f(photo,\n  "x", t"{photo.w}")\n   | g(y) @retry(2)\nout ab.c?')
    step = plan.steps[0]
    assert step.span is not None
    assert (step.span.line, step.span.column, step.span.end_line, step.span.end_column) == (3, 1, 5, 20)
    spans = [arg.value.span for arg in step.attempts[0].args]
    assert [(s.line, s.column, s.end_column) for s in spans if s] == [(3, 8, 13), (4, 3, 6), (4, 8, 20)]
    template = step.attempts[0].args[2].value
    assert isinstance(template, Template)
    inner = template.parts[0]
    assert isinstance(inner, Ref)
    assert inner.span is not None
    assert (inner.span.line, inner.span.column, inner.span.end_column) == (4, 11, 18)
    assert plan.outputs[0].span is not None
    assert plan.outputs[0].span.end_column == 10


@pytest.mark.parametrize("name", sorted(p.stem for p in PLANS.glob("*.plan")))
def test_worked_examples_parse(name: str) -> None:
    plan = parse((PLANS / f"{name}.plan").read_bytes())
    assert plan.name == name
    assert plan.steps
    assert plan.outputs


def test_worked_example_in_full() -> None:
    plan = parse((PLANS / "digest_docs.plan").read_text(encoding="utf-8"))
    assert plan.step("local") == Step(
        StepName("local"),
        (Attempt(ToolName("translate"), (Arg(Ref("short"), each=True), Arg(Ref("lang"), "to"))),),
    )
    assert plan.inputs[1] == Input("lang", Type("text"), Literal("de"))
    assert plan.step("short").mapped
    assert list_of(Type("text")) == parse("in a: list[text]").inputs[0].type
