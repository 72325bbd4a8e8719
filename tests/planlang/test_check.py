"""One case per error code: the message, the caret and the fix, as a person sees them."""

from dataclasses import dataclass

import pytest

from catp.planlang.check import MAX_DEPTH, MAX_STEPS, check
from catp.planlang.errors import CODES, PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import (
    Arg,
    Attempt,
    Duration,
    Limits,
    ListValue,
    Literal,
    Note,
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
from catp.planlang.parser import parse
from catp.planlang.signatures import parse_registry

SIGNATURES = """
type Answer(text: text, confidence: number, found: bool)
type Short(Answer)(words: int)
type Long(Answer)(pages: int)
type Reading(text: text, confidence: number)
type Language(code: text, confidence: number)
type Scan(photo: image, note: text?)
denoise(photo: image, size: int = 3) -> image
upscale(photo: image, factor: int = 2, mode: "fast" | "fine" = "fast") -> image
ocr(page: image) -> Reading
split(photo: image) -> list[image]
scan(path: text) -> Scan
pages(uri: text) -> list[text]
summarise(text: text, style: text = "plain") -> text
translate(text: text, to: text) -> text
detect_lang(text: text) -> Language
count(text: text) -> int
ratio(a: number, b: number = ...) -> number
combine(texts: list[text], note: text = ...) -> text
short(q: text) -> Short
long(q: text) -> Long
find(q: text) -> text?
fetch(uri: text) -> json
store(data: json) -> bool
price(item: text) -> money
read look(q: text) -> text
write book(id: text, who: text) -> text
log(value: any) -> bool
"""
REGISTRY = parse_registry(SIGNATURES)


@dataclass
class Case:
    code: str
    source: str
    message: str
    caret: str | None
    """The text under the caret, or None if the place is not part of the promise."""
    help: str | None
    id: str = ""


HEAD = "in photo: image\nin q: text\nin words: list[text]\n"


CASES = [
    Case(
        "E101",
        "a = summarise(b)\nb = summarise(q)\nout a, b",
        "`b` is used before it is defined (line 5)",
        "b",
        "steps may only use values defined above them",
    ),
    Case("E101", "a = summarise(a)\nout a", "`a` is used in its own definition", "a", "defined above", "itself"),
    Case(
        "E101",
        "a = summarise(q) @after(b)\nb = summarise(q)\nout a, b",
        "`b` is used before it is defined (line 5)",
        "b",
        "defined above",
        "after",
    ),
    Case("E102", "a = summarise(wrods)\nout a", "nothing is called `wrods`", "wrods", "did you mean `words`?"),
    Case(
        "E102", 'a = count(t"x {zzzz}")\nout a', "nothing is called `zzzz`", None, "defined so far: `photo`", "template"
    ),
    Case("E102", 'a = count(q) when zz.b == "x"\nout a', "nothing is called `zz`", "zz.b", "defined so far", "guard"),
    Case("E102", 'a = count(q) when q == "x" else zz\nout a', "nothing is called `zz`", "zz", "defined so far", "else"),
    Case("E102", "a = book(q, q) @key(zz)\nout a", "nothing is called `zz`", "zz", "defined so far", "key"),
    Case("E102", "a = count(q)\nout b = zz", "nothing is called `zz`", "zz", "defined so far", "output"),
    Case("E103", "a = count(q)\na = count(q)\nout a", "`a` is defined twice (first: line 4)", None, "another name"),
    Case("E103", "q = count(q)\nout q", "`q` is defined twice (first: line 2)", None, "another name", "input"),
    Case(
        "E103",
        "a = ocr(photo)\nout a.text, text = q",
        "two outputs are called `text`",
        None,
        "out other_name = q",
        "out",
    ),
    Case("E104", "a = summarize(q)\nout a", "unknown tool `summarize`", None, "did you mean `summarise`?"),
    Case("E104", "a = zzzzzz(q)\nout a", "unknown tool `zzzzzz`", None, "the tools are: `denoise`", "far"),
    Case(
        "E105",
        'a = translate(q, into="de")\nout a',
        "`translate` has no parameter `into`",
        None,
        "did you mean `to`?",
    ),
    Case(
        "E105", "a = denoise(photo, zz=3)\nout a", "`denoise` has no parameter `zz`", None, "signature: denoise(", "far"
    ),
    Case("E106", "a = translate(q)\nout a", "`translate` needs `to` (text)", None, "signature: translate("),
    Case("E106", "a = translate()\nout a", "`translate` needs `text` (text) and `to` (text)", None, "signature", "two"),
    Case("E107", 'a = translate(q, text=q, to="de")\nout a', "`text` of `translate` is given twice", None, None),
    Case(
        "E107",
        'a = translate(text=q, "de")\nout a',
        "positional argument after a named one",
        '"de"',
        "its name",
        "order",
    ),
    Case("E108", "a = ocr(photo, 1, 2)\nout a", "`ocr` takes 1 argument, but 3 are given", "1", "signature: ocr("),
    Case("E109", "in x: imagge\na = ocr(photo)\nout a", "unknown type `imagge`", None, "did you mean `image`?"),
    Case("E110", "a = count(q) @rety(2)\nout a", "unknown annotation `@rety`", None, "did you mean `retry`?"),
    Case("E111", "a = count(q) @retry(1.5)\nout a", "`@retry` needs a whole number from 0 to 100", "1.5", None),
    Case(
        "E111", "a = count(q) @timeout()\nout a", "`@timeout` needs a duration above zero", None, "@timeout(d)", "none"
    ),
    Case("E111", "a = count(q) @timeout(0s)\nout a", "`@timeout` needs a duration above zero", "0s", None, "zero"),
    Case("E111", "a = count(q) @budget(0.5)\nout a", "`@budget` needs an amount above zero", "0.5", None, "budget"),
    Case("E111", "a = count(q) @retry(1, tries=2)\nout a", "`@retry` has no parameter `tries`", None, None, "unknown"),
    Case("E111", "a = count(q) @approve(1)\nout a", "`@approve` takes no arguments", None, None, "many"),
    Case("E111", "a = count(q) @after(q)\nout a", "`@after` waits for steps, and `q` is an input", "q", None, "input"),
    Case("E111", "a = count(each words) @quorum(1.5)\nout a", "`@quorum` needs a share above 0", "1.5", None, "share"),
    Case("E112", "a = count(q) @quorum(0.5)\nout a", "`@quorum` needs a step that uses `each`", None, None),
    Case(
        "E112",
        "a = count(q) @hedge(1s)\nout a",
        "`@hedge` needs an alternative",
        None,
        "another call after `|`",
        "hedge",
    ),
    Case("E112", "a = count(q) @retry(1) @retry(2)\nout a", "`@retry` is given twice", None, None, "twice"),
    Case(
        "E112",
        'a = book(q, q) | book(q, "me") @hedge(1s) @key("k")\nout a',
        "`@hedge` could run a tool that writes twice",
        None,
        "one after the other",
        "write",
    ),
    Case("E113", "a = count(q)", "the plan has no output", None, "add `out a`"),
    Case("E114", "a = summarise(each q)\nout a", "`each` needs a list, but `q` is text", "q", "leave it out"),
    Case(
        "E115",
        "s = summarise(words)\nout s",
        "`summarise` needs text for `text`, but `words` is list[text]",
        "words",
        "write `each words` to call `summarise` once per element",
    ),
    Case(
        "E115",
        'c = ocr(photo)\nt = translate(c, to="de")\nout t',
        "`translate` needs text for `text`, but `c` is Reading",
        "c",
        "use `c.text`",
        "record",
    ),
    Case(
        "E115",
        "a = combine(q)\nout a",
        "`combine` needs list[text] for `texts`, but `q` is text",
        "q",
        "write `[q]`",
        "wrap",
    ),
    Case(
        "E115",
        "n = count(q)\na = summarise(n)\nout a",
        "`summarise` needs text for `text`, but `n` is int",
        "n",
        'write `t"{n}"`',
        "render",
    ),
    Case(
        "E115",
        "a = ratio($2)\nout a",
        "`ratio` needs number for `a`, but the amount is money",
        "$2",
        "without its unit",
        "money",
    ),
    Case("E115", "a = ocr(5)\nout a", "`ocr` needs image for `page`, but `5` is int", "5", None, "literal"),
    Case(
        "E115",
        "a = combine([q, photo])\nout a",
        "`combine` needs text for `texts`, but `photo` is image",
        "photo",
        None,
        "item",
    ),
    Case(
        "E115",
        "p = split(photo)\na = summarise(each p)\nout a",
        "`summarise` needs text for `text`, but the elements of `p` are image",
        "p",
        None,
        "element",
    ),
    Case(
        "E115",
        "s = split(photo)\nr = ocr(each s)\na = count(each r)\nout a",
        "`count` needs text for `text`, but the elements of `r` are Reading",
        "r",
        "use `each r.text`",
        "record element",
    ),
    Case(
        "E115",
        "s = split(photo)\nr = ocr(each s)\na = count(r)\nout a",
        "`count` needs text for `text`, but `r` is list[Reading]",
        "r",
        "write `each r.text` to call `count` once per element",
        "list of records",
    ),
    Case(
        "E115",
        "s = split(photo)\nr = ocr(each s)\na = combine(r)\nout a",
        "`combine` needs list[text] for `texts`, but `r` is list[Reading]",
        "r",
        "use `r.text`",
        "field of a list",
    ),
    Case(
        "E115",
        's = split(photo)\nr = ocr(each s)\na = summarise(t"{r.text}")\nout a',
        "a template renders text, numbers and json, but `r.text` is list[text]",
        None,
        None,
        "projected template",
    ),
    Case(
        "E115",
        'a = count(t"see {photo}")\nout a',
        "a template renders text, numbers and json, but `photo` is image",
        None,
        None,
        "t",
    ),
    Case(
        "E115",
        "a = store({x: [photo]})\nout a",
        "`store` needs json for `data`, but `photo` is image",
        "photo",
        None,
        "json",
    ),
    Case(
        "E115", "a = book(q, q) @key(photo)\nout a", "`@key` needs text, but its value is image", "photo", None, "key"
    ),
    Case(
        "E116", "a = count(q.text)\nout a", "`q` holds text, which has no fields, so not `text` either", "q.text", None
    ),
    Case("E116", "a = count(q[0])\nout a", "`q` holds text, which has no element [0]", "q[0]", "only lists", "index"),
    Case(
        "E116",
        "a = count(words.text)\nout a",
        "`words` holds list[text], which has no fields",
        None,
        "that of its elements, and text has none",
        "list",
    ),
    Case(
        "E117",
        "a = short(q) if .confidance >= 0.8 | long(q)\nout a",
        "`short` result has no field `confidance`",
        ".confidance",
        "did you mean `confidence`?",
    ),
    Case(
        "E117",
        "a = detect_lang(q)\nout a.zzz",
        "`a` has no field `zzz`",
        None,
        "its fields are: `code`, `confidence`",
        "far",
    ),
    Case(
        "E117",
        "a = short(q) | long(q)\nout a.words",
        "`a` has no field `words`",
        None,
        "its fields are: `text`",
        "only the common",
    ),
    Case(
        "E117",
        "s = split(photo)\nr = ocr(each s)\nout r.txt",
        "`r` has no field `txt`",
        None,
        "did you mean `text`?",
        "of a list",
    ),
    Case(
        "E118",
        's = split(photo)\nr = ocr(each s)\na = count(q) when r.text == "x"\nout a',
        "`r.text` is list[text] and cannot be compared with text",
        None,
        None,
        "projected",
    ),
    Case(
        "E118",
        'l = detect_lang(q)\na = count(q) when l == "en"\nout a',
        "`l` is Language and cannot be compared with text",
        None,
        "compare one of its fields: `code`",
    ),
    Case(
        "E118",
        "n = count(q)\na = count(q) when n == $2\nout a",
        "`n` is int and cannot be compared with money",
        None,
        None,
        "unit",
    ),
    Case(
        "E118",
        "a = short(q) if .found > true | long(q)\nout a",
        "`>` needs a number, a text, an amount or a duration, not bool",
        None,
        None,
        "order",
    ),
    Case("E118", "a = count(q) when q == null\nout a", "`q` is text and never null", None, None, "null"),
    Case(
        "E119",
        'a = upscale(photo, mode="fin")\nout a',
        '`mode` of `upscale` cannot be `"fin"`',
        None,
        "did you mean `fine`?",
    ),
    Case(
        "E119",
        'a = upscale(photo, mode="z")\nout a',
        "`mode` of `upscale` cannot",
        None,
        'one of `"fast"`, `"fine"`',
        "far",
    ),
    Case(
        "E120",
        "a = ocr(photo) | count(q)\nout a",
        "`ocr` gives Reading, `count` gives int: nothing in common",
        None,
        "same type",
    ),
    Case(
        "E120",
        "r = ocr(photo)\na = count(q) when r.confidence > 0.5 else r\nout a",
        "`a` is int, but `r` after `else` is Reading: nothing in common",
        "r",
        None,
        "else",
    ),
    Case(
        "E120",
        "a = count(each words) | count(q)\nout a",
        "some alternatives of `a` use `each`",
        None,
        "in all of them",
        "each",
    ),
    Case("E121", "a = summarise(q?)\nout a", "`summarise` cannot do without `text`", None, "write `q`"),
    Case("E121", "a = count(each words?)\nout a", "`each words?` cannot be left out", None, "write `words`", "each"),
    Case(
        "E122", "in n: int = 0.5\na = count(q)\nout a", "the default of `n` needs int, but `0.5` is number", "0.5", None
    ),
    Case(
        "E123",
        'a = count(q) when q == "x" and q == "y"\nout a',
        "no value of `q` meets all 2 conditions",
        None,
        "at once",
    ),
    Case(
        "E123",
        "a = short(q) if .confidence > 0.8 and .confidence < 0.2 | long(q)\nout a",
        "no value of `.confidence` meets all 2 conditions",
        None,
        "at once",
        "accept",
    ),
    Case("E201", "limit cost $0\na = count(q)\nout a", "limit cost must be above zero", None, "leave `cost` out"),
    Case("W301", "a = count(q)\nb = ocr(photo)\nout a", "nobody uses the result of `b`", None, "will not run"),
    Case("W302", "a = book(q, q)\nout a", "`a` changes the world and has no `@key`", None, '@key(t"...")'),
    Case("W303", "a = ocr(photo) | ocr(photo)\nout a", "alternative 2 repeats alternative 1", None, "@retry(1)"),
]


def diagnose(source: str) -> tuple[str, list[str], list[tuple[str, str, str | None]]]:
    text = HEAD + source + "\n"
    try:
        found = check(parse(text), REGISTRY).diagnostics
    except PlanError as error:  # a check that the parser already makes is as good
        found = error.diagnostics
    return text, [d.code for d in found], [(d.render(text), d.message, d.help) for d in found]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.code} {case.id}".strip())
def test_each_problem_says_what_where_and_how_to_fix_it(case: Case) -> None:
    _, codes, found = diagnose(case.source)
    assert codes == [case.code]
    rendered, message, help_ = found[0]
    assert case.message in message
    if case.help is not None:
        assert case.help in (help_ or "")
    if case.caret is not None:
        excerpt, caret = rendered.splitlines()[1:3]
        start = caret.index("^")
        assert excerpt[start : start + caret.count("^")] == case.caret


def test_every_code_of_the_checker_has_a_case() -> None:
    elsewhere = {"E124", "E202", "E203", "E204", "E205", "W206"}
    assert {case.code for case in CASES} | elsewhere == {code for code in CODES if not code.startswith("E0")}


def test_all_problems_are_reported_in_source_order_and_only_once() -> None:
    source = "a = summarize(zz)\nb = translate(a)\nc = ocr(q)\nd = combine([a, c, photo])\nout d, e"
    _, codes, found = diagnose(source)
    # `a` has no type, which is not complained about again where it is used
    assert codes == ["E104", "E102", "E106", "E115", "E115", "E115", "E102"]
    lines = [int(rendered.split(":")[0]) for rendered, _, _ in found]
    assert lines == sorted(lines)


def plan_of(*attempts: Attempt, outputs: tuple[Output, ...] | None = None, **step: object) -> Plan:
    made = Step(StepName("a"), attempts, **step)  # type: ignore[arg-type]
    return Plan((made,), (Output("a", Ref("a")),) if outputs is None else outputs)


def codes_of(plan: Plan) -> list[str]:
    return [d.code for d in check(plan, REGISTRY).diagnostics]


def text_call(value: Value) -> Attempt:
    return Attempt(ToolName("count"), (Arg(value),))


@pytest.mark.parametrize(
    ("ref", "type_"),
    [
        ("r.text", "list[text]"),
        ("r.text[0]", "text"),
        ("r[0].text", "text"),
        ("n.note", "list[text?]"),
        ("f.confidence", "list[list[number]]"),
        ("f[1].confidence", "list[number]"),
        ("f.confidence[1][0]", "number"),
        ("m.text", "list[text]?"),
        ("j.a.b", "list[json]"),
    ],
)
def test_a_field_of_a_list_is_the_list_of_that_field(ref: str, type_: str) -> None:
    source = f"""{HEAD}in fs: list[list[image]]\nin j: list[json]
s = split(photo)
r = ocr(each s)
n = scan(each words)
f = ocr_all(each fs)
m = ocr(each s) when q != ""
x = wait({ref})
out r, n, f, m, x
"""
    signatures = f"{SIGNATURES}ocr_all(pages: list[image]) -> list[Reading]\nwait(time: duration) -> bool\n"
    (problem,) = check(parse(source), parse_registry(signatures)).diagnostics
    assert problem.message == f"`wait` needs duration for `time`, but `{ref}` is {type_}"


def test_fields_of_lists_fit_wherever_lists_fit() -> None:
    source = """s = split(photo)
r = ocr(each s)
a = summarise(each r.text, style=r.text[0])
b = combine(r.text)
c = combine([a[0], r[0].text, r.text[1]])
d = store({texts: r.text, each_one: [r.text]})
e = ratio(each r.confidence)
out a, b, c, d, e, r.text, all = r.confidence
"""
    assert diagnose(source)[1] == []


def test_plans_without_source_name_the_step_instead() -> None:
    found = check(plan_of(Attempt(ToolName("cout"), ())), REGISTRY).diagnostics
    assert [d.render() for d in found] == ["step `a`: error[E104]: unknown tool `cout`\n  help: did you mean `count`?"]


def test_what_only_a_hand_made_tree_can_say_is_reported_too() -> None:
    assert codes_of(plan_of()) == ["E120"]
    assert codes_of(plan_of(text_call(Literal("x")), notes=(Note("wait"),))) == ["E110"]
    assert codes_of(plan_of(text_call(Template((Ref("a", (), True),))))) == ["E101", "E121"]
    assert codes_of(plan_of(text_call(Literal("x")), outputs=(Output("a", Ref("a", (), True)),))) == ["E121"]
    assert codes_of(Plan(limits=Limits(Usd(Money(-1)), Duration(0), 0))) == ["E201", "E201", "E201", "E113"]


def test_values_nested_too_deep_and_plans_too_long_are_refused() -> None:
    value: Value = Literal("x")
    for _ in range(20_000):  # deeper than Python could recurse
        value = ListValue((value,))
    assert codes_of(plan_of(Attempt(ToolName("log"), (Arg(value),)))) == ["E124"]
    shallow: Value = Literal("x")
    for _ in range(MAX_DEPTH):
        shallow = ListValue((shallow,))
    assert codes_of(plan_of(Attempt(ToolName("log"), (Arg(shallow),)))) == []
    step = Step(StepName("a"), (text_call(Literal("x")),))
    assert codes_of(Plan((step,) * (MAX_STEPS + 1))) == ["E124"]


@pytest.mark.parametrize(
    "source",
    [
        "a = find(q)\nb = summarise(a)\nout b",
        "a = find(q)\nb = combine([a?, q], note=a?)\nout b",
        'a = count(q) when q == "x"\nb = ratio(a)\nout b',
        "a = find(q)\nb = count(q) when a == null\nout b",
        'd = fetch(q)\na = count(t"{d.title} {d.items[0].n}") when d.count > 3 and d.kind == "x"\nout a, d.any.thing',
        "a = ratio(1, b=0.5)\nb = ratio(a)\nout b",
        'a = store({x: [1, "a", null, {y: q}], z: words, w: $1})\nout a',
        "a = log(photo)\nb = log([photo, q])\nout a, b",
        "a = combine([])\nout a",
        'a = translate(each words, to=each ["de", "en"])\nb = combine(a)\nout b, a[0]',
        "a = short(q) | long(q)\nout a.text, a.confidence",
        'p = price(q)\na = count(t"{p}") when p <= $0.05\nout a',
        's = scan(q)\na = ocr(s.photo)\nb = combine([s.note?, "x"])\nout a, b',
        'l = detect_lang(q)\na = translate(q, to="en") when l.code != "en" and l.code != "de" else q\nout a',
        'a = count(q) @cache(off) @priority(-1) @pin("p")\nb = count(q) @cache(10m)\nc = count(q) @cache\nout a, b, c',
        'a = book(q, q) @key(t"k-{q}") @approve\nout a',
    ],
)
def test_these_are_right(source: str) -> None:
    _, codes, found = diagnose(source)
    assert codes == [], found


def test_types_of_everything_come_back() -> None:
    source = 'a = count(q) when q == "x"\nb = count(each words)\nc = short(q) | long(q)\nout a, b, c'
    types = check(parse(HEAD + source), REGISTRY).types
    assert {name: str(type_) for name, type_ in types.items()} == {
        "photo": "image", "q": "text", "words": "list[text]", "a": "int?", "b": "list[int]", "c": "Answer",
    }  # fmt: skip


def test_accept_guard_on_the_result_itself() -> None:
    good = Attempt(ToolName("count"), (Arg(Literal("x")),), (OwnTest((), ">", Literal(3)),))
    bad = Attempt(ToolName("count"), (Arg(Literal("x")),), (OwnTest((), "==", Literal("y")),))
    assert codes_of(plan_of(good, text_call(Literal("y")))) == []
    assert codes_of(plan_of(bad, text_call(Literal("y")))) == ["E118"]
