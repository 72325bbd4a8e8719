"""Hand-made compiled plans for the drawing tests: no parser and no passes, so a picture fails for its own defects."""

from collections.abc import Mapping

import networkx as nx

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
    Test,
    ToolName,
    step_refs,
)
from catp.planlang.registry_view import UNPRICED, Latency, Param, PriceRange, RegistryView, ToolSig, ValueFacts
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


def step(name: str, *attempts: Attempt, when: tuple[Test, ...] = (), otherwise: Ref | None = None) -> Step:
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
                when=(Test(Ref("tongue", ("code",)), "!=", Literal("en")),),
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
