"""A small toolset with joins, maps and records, and measured plans over it."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from catp.planlang.parser import parse
from catp.training.data.graph import plan_graph
from catp.training.data.toolset import ToolInfo, ToolInput, Toolset, TypeInfo
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Objective,
    Outcome,
    Policy,
    Request,
    ToolsetRef,
    Trajectory,
)


def tool(name: str, output: str, accuracy: float | None = None, **inputs: str) -> ToolInfo:
    given = [ToolInput(name=key, type=kind) for key, kind in inputs.items()]
    return ToolInfo(name=name, inputs=given, output=output, accuracy_prior=accuracy)


TOOLS = Toolset(
    id="small",
    tools=[
        tool("denoise", "image", image="image"),
        tool("ocr", "Reading", 0.8, image="image"),
        tool("mood", "Mood", text="text"),
        tool("vote", "text", first="text", second="text"),
        tool("tally", "json", labels="list[text]"),
        tool("clock", "number"),
    ],
    types=[
        TypeInfo(name="Mood", fields={"label": "text", "score": "number"}),
        TypeInfo(name="Reading", fields={"text": "text", "score": "number"}),
    ],
)

JOIN = """
in page: image
clean = denoise(page)
one = ocr(clean)
two = ocr(page)
both = vote(one.text, two.text)
feel = mood(both)
out both, feel
"""
MAP = """
in pages: list[image]
clean = denoise(each pages)
read = ocr(each clean)
moods = mood(each read.text)
all = tally(moods.label)
out all
"""
SHORT = "in page: image\none = ocr(page)\nfeel = mood(one.text)\nout both = one.text, feel"


def record(
    text: str, id: str = "r-0", *, wanted: list[str] | None = None, prices: Mapping[str, str] | None = None,
    score: float | None = 0.75, price: str | None = None, candidate_set: str = "set-0", **outcome: Any,
) -> Trajectory:  # fmt: skip
    """A measured plan: each step costs what `prices` says, or a cent; times are as they may be."""
    plan = parse(text)
    graph = plan_graph(plan, TOOLS.view())
    events = [
        Event(node=node.id, tool=node.tool, status="ok", start_ms=i, end_ms=i + 1,
              price_usd=Decimal((prices or {}).get(node.id, "0.01")))
        for i, node in enumerate(graph.nodes)
    ]  # fmt: skip
    total = sum((event.price_usd or Decimal(0) for event in events), Decimal(0))
    sizes: dict[Any, int] = {"pixels": 1000}
    return Trajectory(
        trajectory_id=id,
        dataset="small",
        group="task",
        candidate_set=candidate_set,
        request=Request(
            text="Do.",
            inputs=[InputInfo(name=one.name, type=str(one.type), size=sizes, condition="noisy") for one in plan.inputs],
            wanted=["text", "Mood"] if wanted is None else wanted,
        ),
        toolset=ToolsetRef(id="small", sha256=TOOLS.sha256),
        objective=Objective(price_scale_usd=Decimal("0.2")),
        policy=Policy(name="mixture", propensity=0.5),
        plan=graph,
        events=events,
        outcome=Outcome(
            **{
                "status": "ok",
                "score": score,
                "price_usd": Decimal(price) if price else total,
                "latency_ms": 1.0,
                **outcome,
            }
        ),
    )
