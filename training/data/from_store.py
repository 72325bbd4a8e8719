"""Runs of the run store as trajectories: what was asked, the plan, every call with what it cost, and what came out.

    store = RunStore("runs.db")
    export(store, Path("runs.jsonl.gz"), toolset=Toolset.of(catalogue, "shop"))

Only runs that have ended are exported, one after another, those of equal task and equal inputs together (they are one
candidate set). The score of a run is what somebody said of its result (`catp runs score`), if anybody did: what the
planner predicted is no measurement.

    price      every call is charged what its ledger rows say; the sum is that of the run's ledger without planning, to
               a nano-USD. If one amount is unknown, so is the sum.
    time       milliseconds the run had been driven by a process: between two lives of a resumed run no time passes.
    latency    how long at least one call was running: the critical path without planning, waiting and queueing.
    fork       a step whose result was taken over from another run is one `cached` event, free and at time 0.
    repair     a run whose plan was changed on the way has the steps of all its plans, and no text.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from catp.planlang.money import NANO_PER_USD, Money
from catp.planlang.nodes import Plan as LangPlan
from catp.planlang.parser import parse
from catp.planlang.registry_view import RegistryView
from catp.runtime.events import RunEvent
from catp.runtime.recorded_rows import rows_of
from catp.runtime.recording import Lives
from catp.training.data.files import write
from catp.training.data.from_store_request import candidate_set_of, request_of, short_digest
from catp.training.data.graph import plan_graph
from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import (
    Event,
    Objective,
    Outcome,
    Plan,
    Policy,
    Provenance,
    ToolsetRef,
    Trajectory,
)

if TYPE_CHECKING:
    from catp.store.records import RunSummary, StoredRun
    from catp.store.store import RunStore

__all__ = ["export", "trajectories"]

_ENDED: Final[dict[str, Literal["ok", "degraded", "failed", "cancelled"]]] = {
    "complete": "ok", "degraded": "degraded", "failed": "failed", "cancelled": "cancelled",
}  # fmt: skip
_PAGE: Final = 200
_UNKNOWN: Final = "unknown"


def export(
    store: "RunStore | Path | str",
    path: Path,
    *,
    toolset: Toolset | None = None,
    price_scale: Decimal | None = None,
    project: str | None = None,
) -> int:
    """Write the runs of a store, or of the store at a path or URL, to a file of trajectories; return how many.

    The rest is as for `trajectories`. The file is written whole or not at all.
    """
    from catp.store.store import RunStore

    if isinstance(store, RunStore):
        return write(path, trajectories(store, toolset=toolset, price_scale=price_scale, project=project))
    opened = RunStore(store)
    try:
        return write(path, trajectories(opened, toolset=toolset, price_scale=price_scale, project=project))
    finally:
        opened.close()


def trajectories(
    store: "RunStore", *, toolset: Toolset | None = None, price_scale: Decimal | None = None, project: str | None = None
) -> Iterator[Trajectory]:
    """Yield every run of a store that has ended, candidate set by candidate set, oldest first.

    Args:
        store: The run store; it is only read.
        toolset: The tools that were on offer. It gives the wanted types and names of arguments by position; without
            it the records name no toolset.
        price_scale: The price in USD that weighs as much as quality 1; the store does not keep it.
        project: Only the runs of this project.

    Raises:
        StoreError: The store cannot be read.
    """
    sets: dict[str, list[str]] = {}
    for summary in _ended(store, project):
        sets.setdefault(candidate_set_of(summary, store.values(summary.id)), []).append(summary.id)
    view = None if toolset is None else toolset.view()
    for candidate_set, ids in reversed(sets.items()):
        for run_id in reversed(ids):
            yield _record(store, store.get(run_id), candidate_set, toolset, view, price_scale)


def _ended(store: "RunStore", project: str | None) -> Iterator["RunSummary"]:
    """The rows of ended runs, newest first."""
    last: str | None = None
    while page := store.list(limit=_PAGE, before=last, project=project):
        yield from (summary for summary in page if summary.status in _ENDED)
        last = page[-1].id


def _record(
    store: "RunStore", run: "StoredRun", candidate_set: str, toolset: Toolset | None, view: RegistryView | None,
    price_scale: Decimal | None,
) -> Trajectory:  # fmt: skip
    summary = run.summary
    plans = [parse(run.plan_source), *(parse(e.data["source"]) for e in run.events if e.type == "run.replanned")]
    events = _events(run)
    told = run.events[0].data
    given = summary.policy == "given"
    return Trajectory(
        trajectory_id=summary.id,
        dataset=f"runs/{summary.project}",
        group=f"task-{short_digest(summary.task)}",
        candidate_set=candidate_set,
        request=request_of(None if given else summary.task, plans[-1], store.values(summary.id), view),
        toolset=ToolsetRef(id=_UNKNOWN) if toolset is None else ToolsetRef(id=toolset.id, sha256=toolset.sha256),
        objective=Objective(
            alpha=summary.alpha,
            budget_usd=_usd(summary.budget),
            deadline_ms=summary.deadline_ms,
            price_scale_usd=price_scale,
        ),
        policy=Policy(name=summary.policy or None),
        plan=_plan(plans, {event.node for event in events}, view),
        events=events,
        outcome=_outcome(summary, events),
        provenance=Provenance(
            source="run store",
            logged_at=datetime.fromtimestamp(summary.created_ns / 1e9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            notes=_notes(summary, run.events, told.get("fork_step")),
        ),
    )


# --- what was run ---------------------------------------------------------------------------------------------------


def _plan(plans: list[LangPlan], called: set[str], view: RegistryView | None) -> Plan:
    """The plan as a graph; of a run whose plan was changed, the last one and the steps of earlier ones that ran."""
    graphs = [plan_graph(plan, view) for plan in plans]
    last = graphs[-1]
    if len(graphs) == 1:
        return last
    nodes = {node.id: node for node in last.nodes}
    edges = list(last.edges)
    for graph in reversed(graphs[:-1]):
        retired = {node.id: node for node in graph.nodes if node.id in called and node.id not in nodes}
        nodes = {**retired, **nodes}
        edges += [
            edge for edge in graph.edges if edge[1] in retired and (edge[0] in nodes or _is_input(graph, edge[0]))
        ]
    return Plan(nodes=list(nodes.values()), edges=edges)


def _is_input(graph: Plan, name: str) -> bool:
    return all(node.id != name for node in graph.nodes)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call: when it started, in the run's clock, and what is said of it in the end."""

    started: RunEvent
    settled: RunEvent


def _events(run: "StoredRun") -> list[Event]:
    lives = Lives(run.events)
    kept = [
        Event(
            node=str(e.step), tool=e.data.get("tool"), status="cached", start_ms=0.0, end_ms=0.0, price_usd=Decimal(0)
        )
        for e in run.events
        if e.type == "node.finished" and e.element is None and e.data.get("kept")
    ]
    calls = [_event(call, lives) for call in _calls(run.events)]
    return kept + sorted(calls, key=lambda event: (event.start_ms, event.end_ms, event.node, event.element or 0))


def _calls(events: Iterable[RunEvent]) -> Iterator[_Call]:
    open_: dict[tuple[Any, ...], RunEvent] = {}
    for event in events:
        key = (event.step, event.element, event.attempt)
        if event.type == "node.started":
            open_[key] = event
        elif event.type == "node.settled":
            yield _Call(open_.pop(key, event), event)


def _event(call: _Call, lives: Lives) -> Event:
    began, ended = call.started, call.settled
    data = ended.data
    end_ns = lives.end_of_life(began.at_ns) if data["outcome"] == "lost" else ended.at_ns
    start_ms = lives.at(began.at_ns) / 1e6
    usage = data.get("usage", {})
    status = _status(data)
    amounts = [row.amount for row in rows_of(ended, data["tool"])]
    return Event(
        node=str(ended.step),
        element=ended.element,
        attempt=ended.attempt or 1,
        tool=data["tool"],
        status=status,
        start_ms=round(start_ms, 6),
        end_ms=round(max(start_ms, lives.at(end_ns) / 1e6), 6),
        cpu_ms=usage.get("cpu_ms"),
        cpu_mem_mb=usage.get("peak_mb"),
        gpu_mem_mb=usage.get("gpu_mb"),
        price_usd=None if None in amounts else _usd(Money(sum(amount for amount in amounts if amount is not None))),
        error=None if status in ("ok", "cached") else data.get("reason") or data["outcome"],
    )


def _status(data: Any) -> Literal["ok", "error", "timeout", "cancelled", "cached"]:
    if data.get("cached"):
        return "cached"
    outcome = data["outcome"]
    if outcome == "ok" or outcome == "timeout" or outcome == "cancelled":
        return outcome  # type: ignore[no-any-return]  # one of the three
    return "error"  # an error, a refusal of the provider, or a call that was lost with its process


# --- what came out --------------------------------------------------------------------------------------------------


def _outcome(summary: "RunSummary", events: list[Event]) -> Outcome:
    prices = [event.price_usd for event in events]
    known = [price for price in prices if price is not None]
    return Outcome(
        status=_ENDED[summary.status],
        score=summary.quality,
        metric=None if summary.quality is None else "judged",
        price_usd=sum(known, Decimal(0)) if len(known) == len(prices) else None,
        latency_ms=round(_covered(events), 6),
        serial_ms=round(sum(event.end_ms - event.start_ms for event in events), 6),
    )


def _covered(events: Iterable[Event]) -> float:
    """The time in which at least one call was running, in milliseconds."""
    total = until = 0.0
    for event in sorted(events, key=lambda event: event.start_ms):
        total += max(0.0, event.end_ms - max(until, event.start_ms))
        until = max(until, event.end_ms)
    return total


def _notes(summary: "RunSummary", events: Iterable[RunEvent], fork_step: Any) -> str | None:
    counts = dict.fromkeys(("run.resumed", "run.replanned"), 0)
    for event in events:
        if event.type in counts:
            counts[event.type] += 1
    said = []
    if summary.parent is not None:
        said.append(f"forked from {summary.parent}" + (f" at {fork_step}" if fork_step else ""))
    if counts["run.resumed"]:
        said.append(f"resumed {counts['run.resumed']} times")
    if counts["run.replanned"]:
        said.append(f"plan changed {counts['run.replanned']} times")
    return "; ".join(said) or None


def _usd(amount: Money | None) -> Decimal | None:
    return None if amount is None else Decimal(amount) / NANO_PER_USD
