"""The hand-written parser against the lark grammar: the same texts are plans for both.

`disagreement` is also what `benchmarks/planlang.py` runs on 100,000 texts.
"""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest
from lark import Lark
from lark.exceptions import UnexpectedInput

from catp.planlang.errors import PlanError
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.testing import mutate, random_plan

PLANS = Path(__file__).parent / "plans"

# The grammar's header says why it cannot refuse these.
NOT_IN_GRAMMAR = {"E003", "E006", "E007", "E103"}


class _NewlinesInBrackets:
    """What the grammar's header asks for: newlines inside brackets are no tokens."""

    always_accept = ("_NL",)

    def process(self, stream: Iterator[Any]) -> Iterator[Any]:
        depth = 0
        for token in stream:
            if token.type == "_NL" and depth:
                continue
            depth += (token.value in ("(", "[", "{")) - (token.value in (")", "]", "}"))
            yield token


@cache
def oracle() -> Any:
    text = files("catp.planlang").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", lexer="contextual", postlex=_NewlinesInBrackets())


def disagreement(text: str) -> str | None:
    """None if both say the same or the grammar cannot say it; else what the two said."""
    codes: set[str] = set()
    try:
        parse(text)
    except PlanError as error:
        codes = {problem.code for problem in error.diagnostics}
    try:
        oracle().parse(text.removeprefix("\ufeff"))
    except UnexpectedInput as error:
        return None if codes else f"only the hand parser accepts: {error}"
    return None if codes <= NOT_IN_GRAMMAR else f"only the grammar accepts; the hand parser reports {sorted(codes)}"


def mutations(seed: int, count: int) -> Iterator[str]:
    """Broken and sound plans: small changes to worked examples and random plans."""
    rng = Random(seed)
    examples = [path.read_text(encoding="utf-8") for path in sorted(PLANS.glob("*.plan"))]
    base = other = ""
    for position in range(count):
        if position % 10 == 0:
            base = to_text(random_plan(rng, max_steps=3)) if rng.random() < 0.5 else rng.choice(examples)
            other = rng.choice(examples)
        yield mutate(base, rng, other)


def test_seeded_mutations_agree() -> None:
    found = [(text, said) for text in mutations(1, 1_500) if (said := disagreement(text))]
    assert found == []


def test_mutations_reach_both_verdicts() -> None:
    verdicts = {True: 0, False: 0}
    for text in mutations(2, 300):
        try:
            parse(text)
            verdicts[True] += 1
        except PlanError:
            verdicts[False] += 1
    assert min(verdicts.values()) > 30


def test_random_plans_are_plans_for_the_grammar() -> None:
    for seed in range(300):
        oracle().parse(to_text(random_plan(Random(seed))))


CORNERS = [
    "limit cost$0.05",
    "limit costx $1",
    "limit latency3s",
    "a = f()if .x>1when y==1",
    'plan t"x"',
    'plan x t"y"',
    "t = t()",
    'a = f(t "x")',
    "a = f(a.true, true.a)",
    "a = f(true=true)",
    "a = f(each=each x)",
    "a = f(each each x)",
    "a = f(x,)",
    "a = f(,)",
    "a = f([,])",
    "a = f(x?.y)",
    "a = f(x[0]?)",
    "a = f(x[00])",
    "a = f(x[-1])",
    "a = f(x[1234567890])",
    "in a: null",
    "in a: true",
    "in a: list[list[text?]?]?",
    "in a: x[y]",
    "in a: text = b",
    'in a: text = [1, {b: "c"}]',
    'in a: text = t"x"',
    "out in = x",
    "out x,",
    "out x, y?",
    "out x?, y",
    "a = f() if . > 1",
    "a = f() if .. > 1",
    "a = f() if .a.b > [1]",
    "a = f() when b == 1 else",
    "a = f() @x @y()",
    "a = f() @if",
    "@x",
    "| f()",
    "a = \nf()",
    "a = f(\n)\n| g(\n\n)",
    "a = f()\n\n# c\n | g()",
    "a = f()\n# c\n\n@x",
    "a = f() # c",
    "# \u202e",
    '"',
    'a = f("\\\n")',
    "a = f(1.)",
    "a = f(1.5.x)",
    "a = f(1e5)",
    "a = f(1e+)",
    "a = f(1_000)",
    "a = f(--1)",
    "a = f(-0)",
    "a = f(0x1)",
    "a = f($1.)",
    "a = f($)",
    "a = f($1.1234567891)",
    "a = f(1.5ms)",
    "a = f(1.1234567ms)",
    "a = f(1us)",
    "a = f(-1s)",
    't = f(t"{a}{{}}{b.c[0]}")',
    'a = f(t"{{a}")',
    'a = f(t"\\{a}")',
    'a = f(t"\\\\{a}")',
    'a = f(t"{ a\t}")',
    'a = f(t"{in}")',
    'a = f("\\ud83d\\ude00")',
    'a = f("\\ude00")',
    'a = f("\\ud83d")',
    'a = f("\\ud83dx")',
    'a = f("\ud83d")',
    'a = f("\x7f")',
    'a = f("\x00")',
    "plan a\n\nplan b",
    "\nplan a",
    "in x: text\nplan a",
    "a = f(\u00a0x)",
    "a = f(x)\r",
    "a = f(x)\r\n",
    "\r\n\r\n",
    "a = F.b()",
    "A = f()",
    "a = true()",
    "a = f.true()",
    "a = f(B)",
    "a = f(b=B)",
    "{",
    "}",
    'a = f({A: 1, in: 2, "b c": 3,})',
]


@pytest.mark.parametrize("text", CORNERS)
def test_corners_agree(text: str) -> None:
    assert disagreement(text) is None


def test_grammar_has_no_conflicts_and_no_dead_rules() -> None:
    grammar = oracle()
    assert grammar.options.parser == "lalr"  # lark raises on any conflict
    used = {symbol.name for rule in grammar.rules for symbol in rule.expansion}
    assert {rule.origin.name for rule in grammar.rules} - used == {"start"}
