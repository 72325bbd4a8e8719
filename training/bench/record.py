"""From a run to a trajectory: calls with their measured use, placed in time by the plan's graph.

Plans share calls, so the time at which the runtime made one says nothing. The times in a record are those of a run with
as many workers as needed: a step starts when all it uses is there, its calls (one per element of a map) run at once,
and each takes the wall time its real call took.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from catp.planlang.compiled import CompiledPlan
from catp.planlang.nodes import Literal, Step
from catp.planlang.printer import to_text
from catp.runtime.events import RunEvent
from catp.runtime.outcome import RunOutcome
from catp.tools.bench.report import machine
from catp.training.bench.grading import score_of
from catp.training.bench.menus import Drawn
from catp.training.bench.tasks import Task
from catp.training.data.trajectory import (
    Event,
    InputInfo,
    Outcome,
    Plan,
    PlanNode,
    Policy,
    Provenance,
    Request,
    Split,
    ToolsetRef,
    Trajectory,
)

__all__ = ["DATASET", "TOOLSET", "Ran", "record"]

DATASET = "catp-bench/measured"
TOOLSET = "catp-bench"
_STATUS = {"complete": "ok", "degraded": "degraded", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True)
class Ran:
    """A plan that was run: the compiled plan, what came of it, its events, the scores, and how it was drawn."""

    compiled: CompiledPlan
    outcome: RunOutcome
    events: Sequence[RunEvent]
    parts: Mapping[str, float]
    drawn: Drawn | None
    offered: int


def record(task: Task, number: int, ran: Ran) -> Trajectory:
    """Return the trajectory of one run; `objective.price_scale_usd` is filled in when all are collected."""
    events = _timed(ran)
    prices = [event.price_usd for event in events if event.price_usd is not None]
    serial = sum(event.end_ms - event.start_ms for event in events)
    kinds = {want.kind.metric for want in task.wants}
    return Trajectory(
        trajectory_id=f"{task.id}-{number:02d}",
        dataset=DATASET,
        group=task.family,
        candidate_set=task.id,
        split=Split(**task.split),
        request=_request(task),
        toolset=ToolsetRef(id=TOOLSET),
        policy=_policy(ran.drawn, ran.offered),
        plan=_plan(ran.compiled),
        events=events,
        outcome=Outcome(
            status=_STATUS[ran.outcome.status],  # type: ignore[arg-type]  # a run that has ended
            score=score_of(task, ran.parts),
            metric=kinds.pop() if len(kinds) == 1 else "mean",
            price_usd=sum(prices, Decimal(0)) if len(prices) == len(events) else None,
            latency_ms=round(max((event.end_ms for event in events), default=0.0), 3),
            serial_ms=round(serial, 3),
            quality_parts=dict(ran.parts),
        ),
        provenance=Provenance(source="measured: CATP-Bench", license="Apache-2.0", hardware=_hardware()),
    )


def _request(task: Task) -> Request:
    inputs = [
        InputInfo(
            name=given.name,
            type=given.type,
            size={"pixels" if "image" in given.type else "chars": given.units,
                  **({"items": given.count} if given.type.startswith("list") else {})},
            sha256=given.sha256,
            condition=given.condition or None,
        )
        for given in task.inputs
    ]  # fmt: skip
    return Request(
        text=task.text, lang=task.lang, inputs=inputs, wanted=[str(want.type) for want in task.wants],
        outputs=[want.name for want in task.wants], template=task.template,
    )  # fmt: skip


def _policy(drawn: Drawn | None, offered: int) -> Policy:
    if drawn is None:
        return Policy(name="search", version="1", candidates_offered=max(1, offered))
    return Policy(
        name="mixture", version="1", decoding=drawn.policy, propensity=drawn.propensity, candidates_offered=offered
    )


def _plan(compiled: CompiledPlan) -> Plan:
    nodes = [PlanNode(id=str(step.name), tool=str(step.attempts[0].tool), args=_constants(step))
             for step in compiled.plan.steps]  # fmt: skip
    edges: list[list[str]] = []
    for source, target, data in sorted(compiled.graph.edges(data=True), key=lambda edge: edge[:2]):
        if not target.startswith("out:"):
            edges += [[source.removeprefix("in:"), target, slot.removeprefix("arg:")] for slot in sorted(data["slots"])]
    return Plan(
        language="planlang/1", text=to_text(compiled.source), nodes=nodes, edges=edges, canonical_hash=compiled.digest
    )


def _constants(step: Step) -> dict[str, Any]:
    return {
        str(arg.name): arg.value.value
        for arg in step.attempts[0].args
        if isinstance(arg.value, Literal) and arg.value.value is not None
    }


def _timed(ran: Ran) -> list[Event]:
    ends: dict[str, float] = {}
    calls: dict[str, list[RunEvent]] = {}
    for event in ran.events:
        if event.type == "node.settled" and event.step is not None:
            calls.setdefault(event.step, []).append(event)
    found: list[Event] = []
    for step in ran.compiled.plan.steps:
        parents = ran.compiled.graph.predecessors(step.name)
        start = max((ends.get(parent, 0.0) for parent in parents), default=0.0)
        made = sorted(calls.get(str(step.name), []), key=lambda event: (event.element or 0, event.attempt or 1))
        done = [_event(event, start) for event in made]
        ends[step.name] = max((event.end_ms for event in done), default=start)
        found += done
    return found


def _event(event: RunEvent, start: float) -> Event:
    data = event.data
    used = data.get("usage", {})
    return Event(
        node=str(event.step),
        element=event.element,
        attempt=event.attempt or 1,
        tool=data["tool"],
        status="ok" if data["outcome"] == "ok" else "timeout" if data["outcome"] == "timeout" else "error",
        start_ms=round(start, 3),
        end_ms=round(start + used.get("wall_ms", 0.0), 3),
        cpu_ms=round(used.get("cpu_ms", 0.0), 3),
        cpu_mem_mb=round(used.get("peak_mb", 0.0), 1),
        price_usd=None if data["amount"] is None else Decimal(data["amount"]),
    )


@cache
def _hardware() -> str:
    about = machine()
    return f"{about['cpu']}, {about['cores']} cores, Python {platform.python_version()}"
