"""Trajectories for tests: valid in every rule, small, and the same for the same seed."""

import json
import math
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.training.data.graph import plan_graph
from catp.training.data.toolset import ToolInfo, ToolInput, Toolset, TypeInfo
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Objective,
    Outcome,
    Plan,
    Policy,
    Provenance,
    Request,
    Split,
    ToolsetRef,
    Trajectory,
)

TOOLSET = Toolset(
    id="little",
    tools=[
        ToolInfo(name="ocr", inputs=[ToolInput(name="page", type="image")], output="Reading"),
        ToolInfo(name="denoise", inputs=[ToolInput(name="page", type="image"),
                                         ToolInput(name="strength", type="number", optional=True)], output="image"),
        ToolInfo(name="translate", inputs=[ToolInput(name="text", type="text"),
                                           ToolInput(name="to", type="text", optional=True)], output="text"),
        ToolInfo(name="summarise", inputs=[ToolInput(name="texts", type="list[text]")], output="text"),
        ToolInfo(name="compare", inputs=[ToolInput(name="a", type="text"), ToolInput(name="b", type="text")],
                 output="text"),
    ],
    types=[TypeInfo(name="Reading", fields={"text": "text", "score": "number"})],
)  # fmt: skip

_DIAMOND = """in page: image
read = ocr(page)
de = translate(read.text, to="de")
fr = translate(read.text, to="fr")
both = compare(de, fr)
out both
"""

CHAIN = to_text(parse("in page: image\nclean = denoise(page, strength=0.5)\nread = ocr(clean)\nout text = read.text"))
DIAMOND = to_text(parse(_DIAMOND))
MAP = to_text(parse("in page: list[image]\nreads = ocr(each page)\nall = summarise(reads.text)\nout all"))
VIEW = TOOLSET.view()


def trajectory(
    rng: np.random.Generator, text: str, name: str, *, group: str, set_: str, written: bool, side: str = "train"
) -> Trajectory:
    """One run of a plan. Steps start when what they use is there; some calls fail once and are made again."""
    graph = plan_graph(parse(text), VIEW)
    events = _events(rng, graph, 3 if "each" in text else None)
    price = sum((event.price_usd or Decimal(0) for event in events), Decimal(0))
    chance = float(rng.choice([0.125, 0.5, 1.0]))
    return Trajectory(
        trajectory_id=name, dataset="little/run", group=group, candidate_set=set_,
        split=Split.model_validate({"name": side, "inputs": "train", "phrasing": side}),
        request=Request(
            text=f"What does {set_} say?", lang="en", wanted=["text"], template=f"ask-{side}+please-{side}",
            inputs=[InputInfo(name="page", type="list[image]" if "each" in text else "image", size={"pixels": 640})],
        ),
        toolset=ToolsetRef(id="little", sha256=TOOLSET.sha256),
        objective=Objective(price_scale_usd=Decimal("0.001")),
        policy=Policy(name="mixture", propensity=chance, logprob=math.log(chance)),
        plan=graph if written else graph.model_copy(update={"text": None, "canonical_hash": None, "language": None}),
        events=events,
        outcome=Outcome(
            status="ok", score=round(float(rng.random()), 3), metric="cer", price_usd=price,
            latency_ms=max(event.end_ms for event in events),
            serial_ms=round(sum(event.end_ms - event.start_ms for event in events), 3),
        ),
        provenance=Provenance(source="made for tests", logged_at="2026-07-31T12:00:00+00:00"),
    )  # fmt: skip


def _events(rng: np.random.Generator, graph: Plan, elements: int | None) -> list[Event]:
    ends: dict[str, float] = {}
    found: list[Event] = []
    for node in graph.nodes:
        start = max((ends.get(edge[0], 0.0) for edge in graph.edges if edge[1] == node.id), default=0.0)
        mapped = elements is not None and node.tool == "ocr"
        for element in range(elements or 0) if mapped else [None]:
            at = start
            for attempt in range(1, 1 + int(rng.integers(1, 3))):
                end = round(at + float(rng.uniform(0.5, 400)), 3)
                price = Decimal(int(rng.integers(0, 40_000))) / 10**9
                found.append(Event(node=node.id, element=element, attempt=attempt, tool=node.tool, status="error",
                                   start_ms=at, end_ms=end, price_usd=price))  # fmt: skip
                at = end
            found[-1] = found[-1].model_copy(update={"status": "ok"})
            ends[node.id] = max(ends.get(node.id, 0.0), at)
    return found


def records(seed: int, *, sets: int = 4) -> list[Trajectory]:
    """A small data set: tasks of two inputs each, an image task and a list task in turn, three plans an input."""
    return list(_records(seed, sets))


@cache
def _records(seed: int, sets: int) -> tuple[Trajectory, ...]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(sets):
        group = number // 2
        texts = [MAP, MAP, MAP] if group % 2 else [CHAIN, DIAMOND, CHAIN]
        for place, text in enumerate(texts):
            found.append(trajectory(
                rng, text, f"r{number}-{place}", group=f"task-{group}", set_=f"input-{number}", written=place < 2,
                side="test" if group % 3 == 2 else "train",
            ))  # fmt: skip
    return tuple(found)


def dicts(found: list[Trajectory]) -> list[dict[str, Any]]:
    """Records as JSON objects that can be damaged."""
    return [json.loads(record.to_line()) for record in found]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
WORDS = st.none() | st.text(max_size=12)
COUNT = st.none() | st.integers(0, 2**62)
MONEY = st.none() | st.decimals(0, 10**6, places=9) | st.decimals(min_value=0, max_value=1, places=24)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    """Any record: the open fields drawn freely, the rest valid."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    text, written = draw(st.sampled_from([CHAIN, DIAMOND, MAP])), draw(st.booleans())
    one = trajectory(rng, text, draw(st.text(min_size=1, max_size=9)), group=draw(st.text(max_size=4)),
                     set_=draw(st.text(max_size=4)), written=written)  # fmt: skip
    nodes = [node.model_copy(update={"args": draw(st.dictionaries(st.text(max_size=5), JSON, max_size=3))})
             for node in one.plan.nodes]  # fmt: skip
    sizes = draw(st.none() | st.dictionaries(
        st.sampled_from(["pixels", "chars", "rows", "bytes", "items"]), st.integers(0, 2**62)))  # fmt: skip
    given_ = InputInfo(name=draw(WORDS), type="image", size=sizes, pixels=draw(COUNT), condition=draw(WORDS))  # type: ignore[arg-type]
    outcome = one.outcome.model_copy(update={
        "score": draw(st.none() | st.floats(0, 1)), "price_usd": draw(MONEY),
        "quality_parts": draw(st.none() | st.dictionaries(st.text(max_size=4), st.floats(0, 1), max_size=3)),
    })  # fmt: skip
    events = [event.model_copy(update={"error": draw(WORDS), "cpu_ms": draw(st.none() | st.floats(0, 1e9)),
                                       "shared": draw(st.sampled_from([None, True, False])), "price_usd": draw(MONEY)})
              for event in one.events]  # fmt: skip
    return one.model_copy(update={
        "plan": one.plan.model_copy(update={"nodes": nodes}),
        "request": one.request.model_copy(update={"text": draw(WORDS), "inputs": [given_] * draw(st.integers(0, 2))}),
        "toolset": draw(st.text(min_size=1, max_size=5)) if draw(st.booleans()) else one.toolset,
        "split": one.split if draw(st.booleans()) else None,
        "outcome": outcome, "events": events,
        "provenance": Provenance(seed=draw(st.none() | st.integers(-(2**63), 2**63 - 1)), notes=draw(WORDS)),
    })  # fmt: skip
