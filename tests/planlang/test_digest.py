"""The digest: blind to names, sensitive to everything a plan does."""

import re
from random import Random

import pytest

from catp.planlang.digest import canonical, digest
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.testing import random_plan

BASE = """\
in q: text
a = f(q, t"{q}", each=[q]) if .x > 1 | g(q)
b = h(a.y) when a.z == 1 else q @after(a)
out b, r = a.k?
"""


def test_digest_ignores_names_layout_and_docs() -> None:
    renamed = re.sub(r"\bq\b", "question", re.sub(r"\ba\b(?!f)", "first", BASE)).replace("b = h", "second = h")
    renamed = 'plan named "with a doc"\n' + renamed.replace("out b", "out b = second")
    assert digest(parse(renamed)) == digest(parse(BASE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("q: text", "q: text?"), ("f(q", "ff(q"), (", each=[q]", ""),
        ("> 1", "> 1.0"), ("> 1", ">= 1"), ("| g(q)", ""),
        ("a.y", "a.z"), ("== 1", "!= 1"), (" else q", ""), ("@after(a)", ""), ("@after(a)", "@key(a)"),
        ("r = ", "s = "),
        ("a.k?", "a.k"), ("[q]", "[q, q]"), ("[q]", "[q?]"), ('t"{q}"', 't"{q} "'),
        ("in q: text\n", "in q: text\nlimit calls 3\n"),
        ("in q: text\n", "plan @approve\nin q: text\n"),
    ],
)  # fmt: skip
def test_digest_sees_every_change_of_meaning(old: str, new: str) -> None:
    assert old in BASE
    assert digest(parse(BASE.replace(old, new, 1))) != digest(parse(BASE))


def test_canonical_form_is_a_fixed_point_and_keeps_output_names() -> None:
    plan = canonical(parse(BASE))
    assert canonical(plan) == plan
    assert to_text(plan) == (
        'in i0: text\nn0 = f(i0, t"{i0}", each=[i0]) if .x > 1 | g(i0)\n'
        "n1 = h(n0.y) when n0.z == 1 else i0 @after(n0)\nout b = n1, r = n0.k?\n"
    )


def test_the_canonical_form_of_a_plan_that_needs_approval_needs_it_without_a_name() -> None:
    plan = canonical(parse(f'plan named "with a doc" @approve\n{BASE}'))
    assert to_text(plan) == f"plan @approve\n{to_text(canonical(parse(BASE)))}"
    assert canonical(plan) == plan == parse(to_text(plan))


def test_undefined_names_are_not_taken_for_positional_ones() -> None:
    assert digest(parse("a = f(n0)\nb = g(n0)\nout b")) != digest(parse("a = f(a)\nb = g(a)\nout b"))


def test_digest_is_stable_across_forms_and_versions() -> None:
    for seed in range(300):
        plan = random_plan(Random(seed))
        assert digest(parse(to_text(plan))) == digest(plan)
    # A stored digest must still be found by a later version: change this only with the form's version number.
    assert digest(parse("in x: text\na = f(x)\nout a")) == (
        "31c59d19bc1a7d47fa83068013c94a66b23dc8157fd1f32fa29071350762209a"
    )
