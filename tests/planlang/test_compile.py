"""The whole compiler: the worked examples of the language, and properties over random plans and registries."""

import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

from catp.planlang.check import check
from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.digest import digest
from catp.planlang.errors import PlanError
from catp.planlang.money import Money
from catp.planlang.nodes import OPERATORS, Literal, Plan, ToolName, step_refs
from catp.planlang.parser import parse
from catp.planlang.passes.admit import admit
from catp.planlang.passes.alternatives import drop_unreachable
from catp.planlang.passes.cse import merge_common
from catp.planlang.passes.dead import drop_dead
from catp.planlang.passes.normalise import normalise
from catp.planlang.printer import to_text
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
from catp.planlang.signatures import parse_registry
from catp.planlang.testing import random_plan
from catp.planlang.types import Type

PLANS = Path(__file__).parent / "plans"

REGISTRY = parse_registry("""
type Found(text: text, hits: list[text])
type Answer(text: text, confidence: number)
type Seen(boxes: list[json])
type Caption(text: text)
type Language(code: text, confidence: number)
type Offer(id: text, price: number)
type Ticket(code: text)
denoise(photo: image) -> image
deblur(photo: image) -> image
colorize(photo: image) -> image
read search(query: text) -> Found
ask(question: text, context: list[text] = ...) -> text
read load(uri: text) -> list[text]
summarise(text: text) -> text
translate(text: text, to: text) -> text
combine(texts: list[text], style: "bullets" | "prose" = "prose") -> text
small(q: text) -> Answer
medium(q: text) -> Answer
large(q: text) -> Answer
detect(photo: image) -> Seen
caption(photo: image) -> Caption
caption_small(photo: image) -> Caption
vqa(photo: image, question: text) -> Answer
detect_lang(text: text) -> Language
upscale(photo: image, factor: int = 2) -> image
read search_flights(origin: text, target: text, day: text) -> list[Offer]
read search_flights_backup(origin: text, target: text, day: text) -> list[Offer]
pick(offers: list[Offer], rule: text) -> Offer
write book(id: text, who: text) -> Ticket
write email(to: text, body: text) -> bool
""")


class Priced:
    """Prices and times by the length of a tool's name, so that no two steps look alike by accident."""

    def __init__(self, registry: RegistryView) -> None:
        self.registry = registry

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        sig = self.registry.get(tool)
        assert sig is not None
        price = PriceRange(Money(100), Money(1000 * len(tool)), Money(5000 * len(tool)))
        output = ValueFacts(sig.returns, Size(100, 5 if sig.returns.name == "list" else 1))
        return CallEstimate(price, Latency(100.0 * len(tool), 250.0 * len(tool)), output, failure=0.02)


def compiled(name: str) -> CompiledPlan:
    source = (PLANS / f"{name}.plan").read_text()
    return compile_plan(parse(source), REGISTRY, estimator=Priced(REGISTRY), source=source)


def edges(plan: CompiledPlan) -> set[tuple[str, str]]:
    return set(plan.graph.edges)


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.plan")), ids=lambda path: path.stem)
def test_worked_examples_compile_and_their_graphs_are_sound(path: Path) -> None:
    plan = compiled(path.stem)
    graph, estimate = plan.graph, plan.estimate
    assert nx.is_directed_acyclic_graph(graph)
    nodes: dict[str, list[str]] = {
        "input": [f"in:{input_.name}" for input_ in plan.plan.inputs],
        "step": [step.name for step in plan.plan.steps],
        "output": [f"out:{output.name}" for output in plan.plan.outputs],
    }
    assert [*graph] == [node for names in nodes.values() for node in names]
    assert all(graph.nodes[node]["kind"] == kind for kind, names in nodes.items() for node in names)
    for step in plan.plan.steps:
        node = graph.nodes[step.name]
        assert node["step"] == step
        assert node["tools"] == tuple(attempt.tool for attempt in step.attempts)
        assert node["slack"] == estimate.steps[step.name].slack_ms >= 0
        assert node["slack"] == 0 or step.name not in estimate.critical_path
        inside = {slot for before in graph.predecessors(step.name) for slot in graph.edges[before, step.name]["slots"]}
        assert inside == {slot for slot, _ in step_refs(step)}
    path_ms = sum(estimate.steps[name].latency.expected_ms for name in estimate.critical_path)
    assert path_ms == pytest.approx(estimate.latency.expected_ms)
    assert nx.is_simple_path(graph, estimate.critical_path)
    assert estimate.price.expected == sum(step.price.expected or 0 for step in estimate.steps.values())
    assert plan.digest == digest(plan.source)
    assert plan.types.keys() == {s.name for s in plan.plan.steps} | {i.name for i in plan.plan.inputs}


def test_restore_photo_is_a_chain() -> None:
    plan = compiled("restore_photo")
    assert plan.estimate.critical_path == ("a", "b", "c")
    assert edges(plan) == {("in:photo", "a"), ("a", "b"), ("b", "c"), ("c", "out:c")}
    assert admit(plan, budget=Money(30_000)).fit == "expected_fits"


def test_compare_cities_searches_twice_at_once() -> None:
    plan = compiled("compare_cities")
    assert plan.estimate.width == 2
    assert plan.graph.edges["a", "answer"]["slots"] == ("arg:context",)
    assert plan.graph.edges["in:city_a", "answer"]["slots"] == ("arg:question",)
    assert plan.estimate.max_calls == 3 + 3 + 1


def test_digest_docs_fuses_its_maps() -> None:
    plan = compiled("digest_docs")
    elementwise = {edge for edge in plan.graph.edges if plan.graph.edges[edge]["elementwise"]}
    assert elementwise == {("short", "local")}
    assert plan.types["local"] == Type("list", Type("text"))
    assert plan.estimate.max_calls == 1 + 5 * 2 + 5 + 1
    style = plan.plan.step("report").attempts[0].args[1]
    assert (style.name, style.value) == ("style", Literal("bullets"))


def test_answer_cheaply_pays_for_the_large_model_only_sometimes() -> None:
    plan = compiled("answer_cheaply")
    step = plan.estimate.steps[plan.plan.steps[0].name]
    assert 1 < step.calls < 3 == step.max_calls
    assert plan.graph.nodes["ans"]["tools"] == ("small", "medium", "large")
    assert plan.graph.nodes["out:confidence"]["optional"]


def test_inspect_photo_loses_its_dead_step_and_knows_what_can_be_shed() -> None:
    plan = compiled("inspect_photo")
    assert [r.step for r in plan.rewrites if r.rule == "dead"] == ["big"]
    assert [w.code for w in plan.warnings] == ["W301"]
    optional = {n for n, data in plan.graph.nodes(data=True) if data["optional"] and data["kind"] == "step"}
    assert optional == {"seen", "said", "check"}
    assert plan.types["local"] == Type("text")


def test_book_trip_keeps_its_writes_in_order() -> None:
    plan = compiled("book_trip")
    assert plan.graph.nodes["ticket"]["effects"] == "write"
    assert plan.graph.nodes["found"]["effects"] == "read"
    assert plan.graph.edges["ticket", "note"]["slots"] == ("@after",)
    assert plan.graph.edges["in:day", "ticket"]["slots"] == ("@key",)
    assert plan.types["ticket"] == Type("Ticket", None, True)
    assert plan.estimate.critical_path == ("found", "best", "ticket", "note")


def test_errors_carry_the_source_and_warnings_alone_are_none() -> None:
    source = "a = summarise(5)\nout b\n"
    with pytest.raises(PlanError) as caught:
        compile_plan(parse(source), REGISTRY, source=source)
    assert [d.code for d in caught.value.diagnostics] == ["E115", "E102"]
    assert "    a = summarise(5)" in str(caught.value)


def test_a_plan_that_only_passes_inputs_on_compiles() -> None:
    plan = compile_plan(parse("in q: text\nout q\n"), REGISTRY)
    assert edges(plan) == {("in:q", "out:q")}
    assert plan.estimate.price == PriceRange(Money(0), Money(0), Money(0))
    assert plan.estimate.critical_path == ()


TYPES = ("text", "image", "int", "number", "bool", "json", "any", "Answer", "list[text]", "list[Answer]", "list[image]")


def random_registry(rng: random.Random) -> RegistryView:
    lines = ["type Answer(text: text, score: number, parts: list[text], next: json)"]
    for k in range(rng.randrange(3, 12)):
        params = [
            f"p{j}: {rng.choice(TYPES)}{rng.choice(('', '', '?'))}{' = ...' if j and rng.random() < 0.4 else ''}"
            for j in range(rng.randrange(4))
        ]
        if rng.random() < 0.4:
            params.append('last: text = "d"')
        effect = rng.choice(("", "", "read ", "write "))
        lines.append(f"{effect}t{k}({', '.join(params)}) -> {rng.choice(TYPES)}{rng.choice(('', '', '', '?'))}")
    return parse_registry("\n".join(lines))


def random_call(rng: random.Random, sig: ToolSig, names: list[str]) -> str:
    args = []
    for param in sig.params:
        if not param.required and rng.random() < 0.5:
            continue
        args.append(f"{param.name}={random_argument(rng, param, names)}")
    return f"{sig.name}({', '.join(args)})"


def random_argument(rng: random.Random, param: Param, names: list[str]) -> str:
    literal = {
        "text": '"x"', "int": "1", "number": "0.5", "bool": "true", "json": "{a: [1, null]}", "any": "1",
        "list": '["x"]',
    }.get(param.type.name)  # fmt: skip
    ref = rng.choice(names) + rng.choice(("", "", ".text", ".score", ".parts", "[0]", ".next.a"))
    optional = rng.choice(("", "", "?"))
    choice = rng.random()
    if literal is not None and choice < 0.5:
        return literal
    if choice < 0.6:
        return f't"{{{ref}}} and"'
    return f"each {ref}" if choice < 0.75 else f"{ref}{optional}"


def random_source(rng: random.Random, registry: RegistryView) -> str:
    names = ["q", "photo", "words"]
    lines = ["in q: text", "in photo: image", "in words: list[text]"]
    for k in range(rng.randrange(1, 7)):
        calls = [random_call(rng, rng.choice(registry.tools), names) for _ in range(rng.choice((1, 1, 1, 2)))]
        when = rng.choice(
            ("", "", f" when {rng.choice(names)} {rng.choice(OPERATORS)} {rng.choice(('1', chr(34) * 2))}")
        )
        other = f" else {rng.choice(names)}" if when and rng.random() < 0.5 else ""
        notes = rng.choice(
            ("", "", " @retry(1)", " @cache(off)", f" @after({names[-1]})", ' @key("k")', " @quorum(0.5)")
        )
        body = f"{' | '.join(calls)}{when}{other}{notes}"
        if k and rng.random() < 0.2:  # the same once more
            body = rng.choice([line for line in lines if line.startswith("s")]).partition(" = ")[2]
        lines.append(f"s{k} = {body}")
        names.append(f"s{k}")
    lines.append("out " + ", ".join(f"o{k} = {rng.choice(names)}" for k in range(rng.randrange(1, 4))))
    return "\n".join(lines) + "\n"


@cache
def good_plans(count: int = 200) -> list[tuple[Plan, RegistryView]]:
    """Random plans that the checker accepts, with their registries."""
    found: list[tuple[Plan, RegistryView]] = []
    seed = 0
    while len(found) < count:
        rng = random.Random(seed)
        registry = random_registry(rng)
        plan = parse(random_source(rng, registry))
        if check(plan, registry).ok:
            found.append((plan, registry))
        seed += 1
    return found


@pytest.mark.parametrize("rewrite", [normalise, drop_unreachable, merge_common, drop_dead])
def test_passes_are_idempotent_and_keep_plans_right(rewrite: object) -> None:
    assert callable(rewrite)
    changed = 0
    for plan, registry in good_plans():
        normal, _ = normalise(plan, registry)
        done, rewrites = rewrite(plan if rewrite is normalise else normal, registry)
        assert check(done, registry).errors == (), to_text(plan)
        assert rewrite(done, registry) == (done, ()), to_text(plan)
        changed += bool(rewrites)
    assert changed > 0


def test_compiling_twice_changes_nothing_more() -> None:
    for plan, registry in good_plans():
        once = compile_plan(plan, registry, estimator=Priced(registry))
        twice = compile_plan(once.plan, registry, estimator=Priced(registry))
        assert twice.plan == once.plan
        assert twice.rewrites == ()
        assert twice.estimate == once.estimate


def test_no_path_is_longer_than_all_steps_together() -> None:
    for plan, registry in good_plans():
        found = compile_plan(plan, registry, estimator=Priced(registry)).estimate
        assert found.latency.expected_ms <= found.serial_ms + 1e-6
        assert max((step.slack_ms for step in found.steps.values()), default=0.0) <= found.latency.expected_ms


def test_outputs_survive_every_rewrite() -> None:
    for plan, registry in good_plans():
        found = compile_plan(plan, registry)
        assert [(o.name, o.optional) for o in found.plan.outputs] == [(o.name, o.optional) for o in plan.outputs]
        writes = [s.name for s in plan.steps if any(registry.get(a.tool).effects == "write" for a in s.attempts)]  # type: ignore[union-attr]
        assert set(writes) <= {s.name for s in found.plan.steps}


@pytest.mark.parametrize("block", range(4))
def test_whatever_a_plan_says_only_plan_errors_come_out(block: int) -> None:
    codes: set[str] = set()
    for seed in range(150 * block, 150 * (block + 1)):
        rng = random.Random(seed)
        registry = random_registry(rng)
        for plan in (random_plan(rng), parse(random_source(rng, registry))):
            try:
                compile_plan(plan, registry, estimator=Priced(registry))
            except PlanError as error:
                codes.update(d.code for d in error.diagnostics if d.render())
    assert len(codes) > 8
