"""Tree, Mermaid and SVG: what a known plan looks like, and that no name or text can break out of a picture."""

import random
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace

import networkx as nx
import pytest

from catp.planlang.compiled import CompiledPlan, PlanEstimate, StepEstimate
from catp.planlang.money import Money
from catp.planlang.nodes import (
    Arg,
    Attempt,
    Input,
    Literal,
    Note,
    NoteArg,
    Output,
    Plan,
    Ref,
    Step,
    StepName,
    Template,
    ToolName,
    step_refs,
)
from catp.planlang.nodes import Test as Guard
from catp.planlang.parser import parse
from catp.planlang.registry_view import UNPRICED, Latency, Param, PriceRange, RegistryView, ToolSig, ValueFacts
from catp.planlang.render.labels import clip, price_text, time_text, visible, width
from catp.planlang.render.mermaid import to_mermaid
from catp.planlang.render.svg import to_svg
from catp.planlang.render.tree import to_tree
from catp.planlang.render.view import view
from catp.planlang.testing import random_plan
from catp.planlang.types import Type

Figures = Mapping[str, tuple[int | None, float, float]]
"""Step name -> (expected price in nano-USD or None, expected ms, slack ms)."""


def call(tool: str, *args: object, **named: object) -> Attempt:
    """Return an attempt; texts are references, anything else is a literal."""

    def value(given: object) -> Ref | Literal:
        if isinstance(given, str):
            root, *path = given.removesuffix("?").split(".")
            return Ref(root, tuple(path), given.endswith("?"))
        assert isinstance(given, Literal)
        return given

    return Attempt(
        ToolName(tool),
        (*(Arg(value(given)) for given in args), *(Arg(value(given), name) for name, given in named.items())),
    )


def step(name: str, *attempts: Attempt, when: tuple[Guard, ...] = (), otherwise: Ref | None = None) -> Step:
    return Step(StepName(name), attempts, when, otherwise)


def inspect_photo() -> CompiledPlan:
    """Worked example 5 of the language: fork, join, fallback, guard, optional outputs."""
    text, image = Type("text"), Type("image")
    plan = Plan(
        name="inspect_photo",
        inputs=(Input("photo", image), Input("question", text), Input("lang", text, Literal("en"))),
        steps=(
            step("clean", call("denoise", "photo")),
            step("seen", call("detect", "clean")),
            step("said", call("caption", "clean"), call("caption_small", "clean")),
            step("reply", call("vqa", "clean", "question")),
            step("check", call("vqa", "photo", "question")),
            step("tongue", call("detect_lang", "question")),
            step(
                "local",
                call("translate", "reply.text", to="tongue.code"),
                when=(Guard(Ref("tongue", ("code",)), "!=", Literal("en")),),
                otherwise=Ref("reply", ("text",)),
            ),
            Step(
                StepName("saved"),
                (call("store", "local"),),
                notes=(Note("approve"), Note("key", (NoteArg(Literal("photo-1")),))),
            ),
        ),
        outputs=(
            Output("reply", Ref("local")),
            Output("caption", Ref("said", ("text",)), True),
            Output("boxes", Ref("seen", ("boxes",)), True),
            Output("raw", Ref("check", ("text",)), True),
        ),
    )
    figures: Figures = {
        "clean": (1_200_000, 200.0, 0.0),
        "seen": (300_000, 85.0, 815.0),
        "said": (4_310_000, 350.0, 550.0),
        "reply": (4_000_000, 620.0, 0.0),
        "check": (4_000_000, 620.0, 480.0),
        "tongue": (8_400, 1.3, 818.7),
        "local": (12_000, 280.0, 0.0),
        "saved": (None, 0.4, 0.0),
    }
    return compiled(plan, figures, ("clean", "reply", "local", "saved"), writes=("store",))


def compiled(plan: Plan, figures: Figures, critical: tuple[str, ...], *, writes: tuple[str, ...] = ()) -> CompiledPlan:
    """Return a compiled plan with these figures; nothing is checked or computed."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    known = {given.name: f"in:{given.name}" for given in plan.inputs}
    graph.add_nodes_from(known.values())
    for item in plan.steps:
        graph.add_node(item.name)
        for slot, ref in step_refs(item):
            source = known[ref.root]
            slots = graph.edges[source, item.name]["slots"] if graph.has_edge(source, item.name) else ()
            graph.add_edge(source, item.name, slots=(*slots, slot))
        known[item.name] = item.name
    for output in plan.outputs:
        graph.add_edge(known[output.ref.root], f"out:{output.name}", slots=("out",))
    steps = {
        StepName(name): StepEstimate(
            UNPRICED if price is None else PriceRange(Money(price // 2), Money(price), Money(price * 3)),
            Latency(ms, ms * 2), 1.0, 1, ValueFacts(Type("any")), slack, name in critical,
        )
        for name, (price, ms, slack) in figures.items()
    }  # fmt: skip
    unpriced = tuple(StepName(name) for name, figure in figures.items() if figure[0] is None)
    total = sum(figure[0] or 0 for figure in figures.values())
    tools = {attempt.tool: attempt for item in plan.steps for attempt in item.attempts}
    signatures = tuple(
        ToolSig(name, (Param("x", Type("any")),), Type("any"), "write" if name in writes else "pure") for name in tools
    )
    estimate = PlanEstimate(
        UNPRICED if unpriced else PriceRange(Money(total // 2), Money(total), Money(total * 3)),
        Latency(sum(figures[name][1] for name in critical), 0.0),
        steps, tuple(map(StepName, critical)), sum(figure[1] for figure in figures.values()), 3, 1.0, 1, unpriced,
    )  # fmt: skip
    return CompiledPlan(plan, plan, RegistryView(signatures), {}, graph, estimate, "c0ffee" * 10)


SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '</text><script>alert(1)</script>"]\n  n9[x]\x00\x1b[31m\u202e\ufffe\ud800 %%{init: {}}%% `a` &amp; #35; $$x$$'
)


@pytest.fixture
def photo() -> CompiledPlan:
    return inspect_photo()


def hostile_plan() -> Plan:
    """A tree no parser would make: every name and text tries to break out."""
    first = Step(StepName(HOSTILE), (Attempt(ToolName(HOSTILE), (Arg(Ref(HOSTILE + "in"), HOSTILE),)),))
    text = Template((HOSTILE, Ref(HOSTILE)))
    second = Step(StepName("b"), (Attempt(ToolName("t"), (Arg(Literal(HOSTILE)), Arg(text))),))
    return Plan(
        (first, second),
        (Output(HOSTILE, Ref("b"), True),),
        (Input(HOSTILE + "in", Type("text"), Literal(HOSTILE)),),
        name=HOSTILE,
        doc=HOSTILE,
    )


def test_tree_of_a_known_plan(photo: CompiledPlan) -> None:
    assert to_tree(photo).splitlines() == [
        "inspect_photo: 8 steps, 1 of them unpriced, 1.10 s (one after the other 2.16 s)",
        "photo: image",
        "├─● clean = denoise(photo)                                 $0.0012, p95 $0.0036  200 ms",
        "│ ├─○ seen = detect(clean)                                 $0.0003, p95 $0.0009   85 ms  slack 815 ms",
        "│ │ ⇒ boxes = seen.boxes?",
        "│ ├─○ said = caption(clean)                               $0.00431, p95 $0.0129  350 ms  slack 550 ms",
        "│ │     | caption_small(clean)",
        "│ │ ⇒ caption = said.text?",
        "│ └─● reply = vqa(clean, question)                           $0.004, p95 $0.012  620 ms",
        "│   ● local = translate(reply.text, to=tongue.code)    $0.000012, p95 $0.000036  280 ms",
        '│       when tongue.code != "en" else reply.text',
        "│   ├─⇒ reply = local",
        "│   └─● saved = store(local)                                           unpriced  0.4 ms",
        '│         @approve @key("photo-1")',
        "└─○ check = vqa(photo, question)                             $0.004, p95 $0.012  620 ms  slack 480 ms",
        "  ⇒ raw = check.text?",
        "question: text",
        "├─↪ reply",
        "├─↪ check",
        "└─○ tongue = detect_lang(question)                   $0.0000084, p95 $0.0000252  1.3 ms  slack 819 ms",
        "  ↪ local",
        'lang: text = "en"',
        "● critical path: clean > reply > local > saved",
    ]


def test_tree_in_ascii_has_the_same_lines(photo: CompiledPlan) -> None:
    drawn = to_tree(photo, ascii_only=True)
    assert drawn.isascii()
    assert len(drawn.splitlines()) == len(to_tree(photo).splitlines())
    assert "|-* clean = denoise(photo)" in drawn


def test_ascii_tree_escapes_texts() -> None:
    plan = Plan((step("a", call("say", Literal("Grüße 日本"))),))
    drawn = to_tree(plan, ascii_only=True)
    assert drawn.isascii()
    assert r"Gr\xfc\xdfe \u65e5" in drawn


def test_tree_prints_every_step_once_and_refers_to_it_elsewhere(photo: CompiledPlan) -> None:
    drawn = to_tree(photo)
    for name in (s.name for s in photo.plan.steps):
        assert len(re.findall(rf"[●○] {name} = ", drawn)) == 1, name
    assert drawn.count("↪ reply") == 1


def test_tree_of_a_very_long_chain_does_not_exhaust_the_stack() -> None:
    steps = [step("s0", call("t", Literal(1))), *(step(f"s{i}", call("t", f"s{i - 1}")) for i in range(1, 3000))]
    lines = to_tree(Plan(tuple(steps))).splitlines()
    assert len(lines) == 3001
    assert max(map(len, lines)) < 40, "a chain does not indent"


def test_tree_cuts_long_calls_but_not_figures() -> None:
    plan = Plan((step("a", call("say", *[Literal("x" * 60)] * 5)),))
    line = to_tree(compiled(plan, {"a": (10**9, 5.0, 0.0)}, ("a",)), columns=60).splitlines()[1]
    assert "…" in line
    assert line.endswith("$1.00, p95 $3.00  5.0 ms")


def test_mermaid_of_a_known_plan() -> None:
    plan = Plan(
        name="p",
        inputs=(Input("q", Type("text")),),
        steps=(step("a", call("small", "q"), call("large", "q")), step("b", call("book", "a.text", to=Literal("x")))),
        outputs=(Output("b", Ref("b")),),
    )
    drawn = compiled(plan, {"a": (4_300_000, 120.0, 0.0), "b": (20_000_000, 40.0, 0.0)}, ("a", "b"), writes=("book",))
    assert to_mermaid(drawn) == (
        "---\n"
        'title: "p: 2 steps, $0.0243, p95 $0.0729, 160 ms (one after the other 160 ms)"\n'
        "---\n"
        "flowchart LR\n"
        '    n0(["q: text"])\n'
        '    n1["a<br/>small(q)<br/>| large(q)<br/>$0.0043, p95 $0.0129, 120 ms"]\n'
        '    n2["b<br/>book(a.text, to=#34;x#34;)<br/>$0.02, p95 $0.06, 40 ms"]\n'
        '    n3[["b"]]\n'
        "    n0 --> n1\n"
        "    n1 --> n2\n"
        "    n2 --> n3\n"
        "    classDef critical stroke:#c2410c,stroke-width:3px\n"
        "    class n1,n2 critical\n"
        "    classDef write stroke-dasharray:5 3\n"
        "    class n2 write\n"
        "    linkStyle 1 stroke:#c2410c,stroke-width:3px\n"
    )


def test_mermaid_labels_cannot_leave_their_quotes() -> None:
    line = re.compile(
        r"flowchart LR|    n\d+(\(\[|\[\[|\[)\"[^\"`<>%&\\\n]*(<br/>[^\"`<>%&\\\n]*)*\"(\]\)|\]\]|\])"
        r"|    n\d+ (-->|-\.->) n\d+|    (classDef|class|linkStyle) [\w#:,. -]+"
        r"|---|title: \"[^\"`<>%&#\\\n]+ @approve\""
    )
    hostile = replace(hostile_plan(), name=HOSTILE[:40], approve=True)
    for plan in [hostile_plan(), hostile, *(random_plan(random.Random(seed)) for seed in range(200))]:
        for text in to_mermaid(plan).splitlines():
            assert line.fullmatch(text.replace("\\u", "")), text


def test_svg_of_a_known_plan(photo: CompiledPlan) -> None:
    root = ET.fromstring(to_svg(photo))
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert title.text == "inspect_photo"
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert "Critical path: clean, then reply, then local, then saved." in (description.text or "")
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for expected in ("clean", "denoise(photo)", "| caption_small(clean)", "saved (writes)", "boxes?", "critical path"):
        assert expected in texts
    wires = [element.get("class", "") for element in root.iter(f"{SVG}path")]
    assert wires.count("wire hot") == 3, "the three edges between the four critical steps"
    assert sum(kind.startswith("wire") for kind in wires) == photo.graph.number_of_edges()


def test_svg_is_self_contained_and_knows_dark_pages(photo: CompiledPlan) -> None:
    drawn = to_svg(photo)
    assert "prefers-color-scheme:dark" in drawn
    assert not re.search(r"(href|src|url\(|@import|<script|<image|<foreignObject|\son\w+=)", drawn)
    style = drawn[drawn.index("<style>") + 7 : drawn.index("</style>")]
    selectors = re.findall(r"([^{}]+)\{", style.replace("@media(prefers-color-scheme:dark){", ""))
    assert all(part.startswith(".catp-plan ") for selector in selectors for part in selector.split(","))


@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_svg_text_stays_in_its_box(photo: CompiledPlan, direction: str) -> None:
    root = ET.fromstring(to_svg(photo, direction="TB" if direction == "TB" else "LR"))
    for group in root.findall(f"{SVG}g/{SVG}g"):
        box = group.findall(f"{SVG}rect")[-1]
        left, top = float(box.get("x", "")), float(box.get("y", ""))
        right, bottom = left + float(box.get("width", "")), top + float(box.get("height", ""))
        for text in group.findall(f"{SVG}text"):
            x, y = float(text.get("x", "")), float(text.get("y", ""))
            advance = 7.9 if text.get("class") == "name" else 7.0
            assert left < x
            assert x + width(text.text or "") * advance <= right
            assert top < y < bottom


def test_svg_of_a_large_plan_shows_groups() -> None:
    pairs = "".join(f"a{i} = f(t)\nb{i} = g(a{i})\n" for i in range(300))
    picture = to_svg(parse(f"in t: text\n{pairs}out b0\nout b7\n"))
    root = ET.fromstring(picture)
    boxes = [one for one in root.iter(f"{SVG}rect") if str(one.get("class")).startswith("box")]
    assert 4 <= len(boxes) <= 300
    calls = [str(one.text) for one in root.iter(f"{SVG}text") if one.get("class") == "call"]
    grouped = [re.match(r"(\d+) steps: ", call) for call in calls]
    steps = sum(1 if found is None else int(found[1]) for found in grouped)
    assert steps == 600 + sum(call == "text" for call in calls)  # an input shows its type
    assert "once per element" not in picture


def test_svg_survives_hostile_plans() -> None:
    for plan in [hostile_plan(), *(random_plan(random.Random(seed)) for seed in range(200))]:
        drawn = to_svg(plan)
        root = ET.fromstring(drawn.encode("utf-8"))
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            "svg", "title", "desc", "style", "rect", "text", "g", "path",
        }  # fmt: skip


def test_tree_survives_hostile_plans() -> None:
    for plan in [hostile_plan(), *(random_plan(random.Random(seed)) for seed in range(200))]:
        drawn = to_tree(plan)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", drawn)
        steps = {s.name for s in plan.steps}
        assert sum(line.lstrip("│├└─ ").startswith("○") for line in drawn.splitlines()) == len(steps)


def test_pictures_of_plans_nobody_checked_leave_out_impossible_edges() -> None:
    a = step("a", call("t", "b"))
    b = step("b", call("t", "a", "ghost"))
    again = step("a", call("t", "b"))
    drawn = view(Plan((a, b, again), (Output("o", Ref("nowhere")),)))
    assert [node.id for node in drawn.nodes] == ["a", "b", "out:o"]
    assert [(edge.source, edge.target) for edge in drawn.edges] == [("a", "b")]
    assert to_svg(Plan((a, b, again)))


def test_pictures_say_that_the_whole_plan_needs_approval(photo: CompiledPlan) -> None:
    asking = replace(photo, plan=replace(photo.plan, approve=True))
    assert to_tree(asking).startswith("inspect_photo @approve: 8 steps, ")
    assert to_mermaid(asking).startswith('---\ntitle: "inspect_photo @approve: 8 steps, ')
    assert ET.fromstring(to_svg(asking)).findtext(f"{SVG}title") == "inspect_photo @approve"
    bare = Plan(approve=True)
    assert to_tree(bare) == "plan @approve"
    assert to_mermaid(bare).startswith('---\ntitle: "plan @approve"\n---\nflowchart')
    assert "title:" not in to_mermaid(Plan())


def test_order_only_edges_are_dashed(photo: CompiledPlan) -> None:
    plan = Plan(
        (step("a", call("t", Literal(1))), replace(step("b", call("t", Literal(2))), notes=_after("a"))),
    )
    assert "n0 -.-> n1" in to_mermaid(plan)
    assert 'class="wire order"' in to_svg(plan)


def test_normalised_calls_are_shown_as_people_write_them(photo: CompiledPlan) -> None:
    named = Step(StepName("clean"), (Attempt(ToolName("denoise"), (Arg(Ref("photo"), "x"),)),))
    plan = replace(photo.plan, steps=(named, *photo.plan.steps[1:]))
    shown = view(replace(photo, plan=plan)).nodes[3]
    assert shown.lines == ("denoise(photo)",)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.0, "0.0 ms"), (9.94, "9.9 ms"), (9.96, "10 ms"), (999.4, "999 ms"), (999.6, "1.00 s"), (99_990, "99.99 s"),
     (99_996, "1 min 40 s"), (185_000, "3 min 5 s")],
)  # fmt: skip
def test_times_read_well_at_the_borders(ms: float, text: str) -> None:
    assert time_text(ms) == text


def test_small_prices_keep_three_digits(photo: CompiledPlan) -> None:
    prices = {name: price_text(found.price) for name, found in photo.estimate.steps.items()}
    assert prices[StepName("tongue")] == "$0.0000084, p95 $0.0000252"
    assert prices[StepName("saved")] == "unpriced"


def test_clip_counts_wide_characters() -> None:
    assert width("日本語") == 6
    assert clip("日本語", 5) == "日本…"
    assert clip("e\u0301" * 4, 4) == "e\u0301" * 4
    assert visible("\x1b[31m\n\t") == "\\u001b[31m\n\t"


def _after(*names: str) -> tuple[Note, ...]:
    return (Note("after", tuple(NoteArg(Ref(name)) for name in names)),)
