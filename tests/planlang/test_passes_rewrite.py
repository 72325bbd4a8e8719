"""The passes that rewrite a plan, each on small plans written out before and after."""

import pytest

from catp.planlang.check import check
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.passes.alternatives import drop_unreachable
from catp.planlang.passes.cse import merge_common
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.fuse_map import elementwise_edges
from catp.planlang.passes.normalise import normalise
from catp.planlang.printer import to_text
from catp.planlang.signatures import parse_registry
from catp.planlang.tokens import Header

REGISTRY = parse_registry("""
type Answer(text: text, confidence: number)
type Tags(items: list[text])
tags(q: text) -> Tags
ask(q: text, top: int = 5, style: text = ...) -> Answer
join(texts: list[text], data: json = ...) -> text
pages(q: text) -> list[text]
clean(text: text, lang: text = "en") -> text
read look(q: text) -> text
write send(to: text, body: text) -> text
""")


def plan(body: str) -> Plan:
    made = parse(f"in q: text\nin words: list[text]\n{body}\n")
    check(made, REGISTRY).raise_errors(body)
    return made


def same(left: Plan, right: Plan) -> None:
    assert left == right, f"{to_text(left)}\n--- instead of\n{to_text(right)}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = ask(q, 3)", "a = ask(q=q, top=3)"),
        ("a = ask(q)", "a = ask(q=q, top=5)"),
        ('a = ask(style="x", q=q)', 'a = ask(q=q, top=5, style="x")'),
        ('a = clean(t"ab")', 'a = clean(text="ab", lang="en")'),
        ('a = join([t"x{{y", t"{q}!"])', 'a = join(texts=["x{y", t"{q}!"])'),
        ('a = join(words, {k: [t"x"]})', 'a = join(texts=words, data={k: ["x"]})'),
        ("a = clean(each words, q)", "a = clean(text=each words, lang=q)"),
        ("a = clean(q) @timeout(d=3s) @retry(n=2)", 'a = clean(text=q, lang="en") @retry(2) @timeout(3s)'),
        ("a = clean(q) @retry(backoff=1s, n=2)", 'a = clean(text=q, lang="en") @retry(2, backoff=1s)'),
        ('a = clean(q) @retry(2, on="x")', 'a = clean(text=q, lang="en") @retry(2, on=["x"])'),
        ("a = clean(q) @cache(off)", 'a = clean(text=q, lang="en") @cache("off")'),
        ('a = send(q, q) @key(t"k")', 'a = send(to=q, body=q) @key("k")'),
    ],
)  # fmt: skip
def test_normal_form(before: str, after: str) -> None:
    done, _ = normalise(plan(f"{before}\nout a"), REGISTRY)
    same(done, plan(f"{after}\nout a"))
    again, rewrites = normalise(done, REGISTRY)
    same(again, done)
    assert rewrites == ()


def test_every_pass_keeps_the_head_of_the_plan() -> None:
    body = "in q: text\nlimit calls 9\na = clean(q) | clean(q)\nb = clean(q) | clean(q)\nc = clean(b)\nout a, b"
    current = parse(f'plan named "for a test" @approve\n{body}')
    head = Header.of(current)
    for rewrite in (normalise, drop_unreachable, merge_common, drop_dead):
        current, rewrites = rewrite(current, REGISTRY)
        assert rewrites, rewrite.__name__
        assert Header.of(current) == head, rewrite.__name__


def test_after_names_each_step_once() -> None:
    done, _ = normalise(plan("a = clean(q)\nb = clean(q) @after(a, a)\nout a, b"), REGISTRY)
    assert len(done.step("b").notes[0].args) == 1


def test_filled_defaults_are_explained() -> None:
    _, rewrites = normalise(plan("a = ask(q)\nout a"), REGISTRY)
    assert [(r.rule, r.step, r.reason) for r in rewrites] == [("normalise", "a", "filled in the default of top of ask")]


def test_equal_steps_become_one_and_references_follow_everywhere() -> None:
    before = plan("""
a = clean(q)
b = clean(q)
c = ask(b) when b != "x" and a != "y"
d = clean(t"{b} {q}") when q == "z" else b
e = clean(t"{a} {q}") when q == "z" else a
f = join([b, a?], {k: [b]}) @after(b)
g = send(q, b) @key(t"k-{b}")
out f, g, b, c?, d, e""")
    after = plan("""
a = clean(q)
c = ask(a) when a != "x" and a != "y"
d = clean(t"{a} {q}") when q == "z" else a
f = join([a, a?], {k: [a]}) @after(a)
g = send(q, a) @key(t"k-{a}")
out f, g, b = a, c?, d, e = d""")
    done, rewrites = merge_common(before, REGISTRY)
    same(done, after)
    assert [(r.step, r.reason) for r in rewrites] == [("b", "does the same as a"), ("e", "does the same as d")]


@pytest.mark.parametrize(
    "body",
    [
        "a = send(q, q)\nb = send(q, q)",
        "a = clean(q)\nb = clean(words[0])",
        "a = clean(q)\nb = clean(q) @retry(1)",
        'a = clean(q)\nb = clean(q) when q == "x"',
        'a = clean(q) | clean("x")\nb = clean(q)',
        "a = look(q)\nb = look(q) @cache(off)",
        "a = look(q) @cache(off)\nb = look(q) @cache(off)",
        "a = join(words, {k: 1})\nb = join(words, {k: 1.0})",
    ],
)
def test_steps_that_differ_or_write_stay_apart(body: str) -> None:
    before, _ = normalise(plan(f"{body}\nout a, b"), REGISTRY)
    assert merge_common(before, REGISTRY) == (before, ())


def test_reading_twice_sees_the_same_world() -> None:
    done, _ = merge_common(plan("a = look(q)\nb = look(q)\nout a, b"), REGISTRY)
    assert [step.name for step in done.steps] == ["a"]


def test_dead_steps_go_and_what_is_needed_in_any_way_stays() -> None:
    before = plan("""
arg = clean(q)
guard = clean("1")
fallback = clean("2")
key = clean("3")
order = clean("4")
unused = clean(arg)
alone = clean("5")
chain = clean(alone)
a = clean(arg) when guard == "x" else fallback
b = send(q, "hi") @key(t"{key}") @after(order)
out a""")
    done, rewrites = drop_dead(before, REGISTRY)
    assert [step.name for step in done.steps] == ["arg", "guard", "fallback", "key", "order", "a", "b"]
    assert [r.step for r in rewrites] == ["unused", "alone", "chain"]
    assert drop_dead(done, REGISTRY) == (done, ())


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ("ask(q) | ask(q)", "ask(q)"),
        ("ask(q) | ask(q, 3) | ask(q)", "ask(q) | ask(q, 3)"),
        ("ask(q) if .confidence > 0.5 | ask(q)", "ask(q) if .confidence > 0.5 | ask(q)"),
        ("ask(q) | ask(q) if .confidence > 0.5", "ask(q)"),
        ('ask(q) if .text == "x" | ask(q) if .text == "x" | ask("y")', 'ask(q) if .text == "x" | ask("y")'),
        ("look(q) | look(q)", "look(q) | look(q)"),
        ("send(q, q) | send(q, q)", "send(q, q) | send(q, q)"),
    ],
)  # fmt: skip
def test_alternatives_that_cannot_help_go(choice: str, left: str) -> None:
    done, rewrites = drop_unreachable(plan(f"a = {choice}\nout a"), REGISTRY)
    same(done, plan(f"a = {left}\nout a"))
    assert bool(rewrites) == (choice != left)


def test_a_hedge_without_alternatives_goes_with_them() -> None:
    done, _ = drop_unreachable(plan("a = ask(q) | ask(q) @hedge(1s) @retry(1)\nout a"), REGISTRY)
    same(done, plan("a = ask(q) @retry(1)\nout a"))


@pytest.mark.parametrize(
    ("consumer", "elementwise"),
    [
        ("clean(each a)", True),
        ("clean(each a, each words)", True),
        ("clean(each a) | clean(each a, q)", True),
        ("clean(each a) when q != \"x\"", True),
        ("join(a)", False),
        ("clean(each a, a[0])", False),
        ("clean(each a) @after(a)", False),
        ("clean(each [a[0], a[1]])", False),
    ],
)  # fmt: skip
def test_edges_on_which_elements_need_not_wait(consumer: str, elementwise: bool) -> None:
    made = plan(f"a = clean(each words)\nb = {consumer}\nout b")
    assert elementwise_edges(made) == ({("a", "b")} if elementwise else frozenset())


@pytest.mark.parametrize(
    ("consumer", "elementwise"),
    [
        ("clean(each a.text)", True),
        ("clean(each a.text, each a.text)", True),
        ("clean(each a.text) | clean(each a.text, lang=\"de\")", True),
        ("clean(each a.text, a[0].text)", False),
        ("clean(each a.text, a.text[0])", False),
        ("join(a.text)", False),
    ],
)  # fmt: skip
def test_fields_of_elements_need_not_wait_either(consumer: str, elementwise: bool) -> None:
    made = plan(f"a = ask(each words)\nb = {consumer}\nout b")
    assert elementwise_edges(made) == ({("a", "b")} if elementwise else frozenset())


def test_one_element_of_a_field_is_not_elementwise() -> None:
    assert not elementwise_edges(plan("a = tags(each words)\nb = clean(each a.items[0])\nout b"))


@pytest.mark.parametrize("producer", ["pages(q)", 'clean(each words) when q == "x"'])
def test_lists_that_come_whole_are_not_elementwise(producer: str) -> None:
    assert not elementwise_edges(plan(f"a = {producer}\nb = clean(each a)\nout b"))
