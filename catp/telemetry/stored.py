"""A saved run as the spans it had while it ran: its stored events, told once more to what makes live telemetry.

Names, attributes, costs, times and span links are those of `catp.telemetry.spans`; what differs:

* ids follow from the run, all in one trace; each process that drove the run has an `invoke_workflow` span;
* slack and critical path are those of the run as it went, which live telemetry can only estimate;
* a tool that asks a language model is known as such only if `tools` has it; links name ports by their parameters only
  if `tools` has all tools of the plan;
* a call that nobody settled (the run is going on, or its process died) is left out.
"""

from collections.abc import Iterable, Sequence
from contextvars import Context
from typing import Any

import networkx as nx
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import set_span_in_context

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan, PlanEstimate, StepEstimate
from catp.planlang.critical import schedule
from catp.planlang.errors import PlanError
from catp.planlang.nodes import Plan, step_refs
from catp.planlang.parser import parse
from catp.planlang.passes.fuse_map import elementwise_edges
from catp.planlang.registry_view import Latency, PriceRange, RegistryView, Size, ValueFacts
from catp.planlang.types import ANY
from catp.runtime.events import RunEvent
from catp.runtime.planning import Planning
from catp.store.records import StoredRun
from catp.telemetry.costs import CallCost
from catp.telemetry.edges import PlanEdges
from catp.telemetry.metrics import Metrics
from catp.telemetry.names import Catp, Conventions, GenAI, Kind, Operation, Reader
from catp.telemetry.spans import RunSpans
from catp.telemetry.workflow import Workflow
from catp.telemetry.written import WrittenSpan, WrittenTrace
from catp.tools.catalogue import Catalogue

__all__ = ["stored_spans"]

_NO_PRICE, _NO_TIME = PriceRange(None, None, None), Latency()


def stored_spans(run: StoredRun, tools: Catalogue, conventions: Conventions) -> list[WrittenSpan]:
    """Return the spans of a saved run; `tools` may lack those it ran with."""
    teller = _Teller(run, tools, conventions)
    for life in _lives(run.events):
        # in a context of its own: what makes spans also makes them current, and not every call has an end
        Context().run(teller.tell, life)
    return [span for span in teller.trace.spans if span.end_ns is not None]


def _lives(events: Iterable[RunEvent]) -> list[list[RunEvent]]:
    """The events by the process that drove the run."""
    lives: list[list[RunEvent]] = []
    for event in events:
        if not lives or event.type == "run.resumed":
            lives.append([])
        lives[-1].append(event)
    return lives


class _Teller:
    """Tells the events of one run again; `trace` is what came of it."""

    def __init__(self, run: StoredRun, tools: Catalogue, conventions: Conventions) -> None:
        self.trace = WrittenTrace(f"catp {run.summary.id}")
        self._run, self._tools, self._conventions = run, tools, conventions
        self._metrics = Metrics(NoOpMeterProvider().get_meter("catp"), conventions)
        self._plan = _compiled(run, tools)
        self._edges = _StoredEdges(self._plan, tools)

    def tell(self, life: Sequence[RunEvent]) -> None:
        """Tell what happened while one process drove the run."""
        first, planning = life[0], Planning.recorded(life[0].data)
        began = first.at_ns - (0 if planning is None else round(planning.ms * 1e6))
        workflow = Workflow(self.trace, self._metrics, began)
        if planning is not None:
            self._planned(workflow, planning, first.at_ns)
        spans = RunSpans(
            self.trace, self._metrics, self._plan, self._tools,
            conventions=self._conventions, workflow=workflow, edges=self._edges,
        )  # fmt: skip
        for event in life:
            spans(event)
        workflow.end(life[-1].at_ns)

    def _planned(self, workflow: Workflow, planning: Planning, end_ns: int) -> None:
        attributes: dict[str, Any] = {
            GenAI.OPERATION: Operation.PLAN, Catp.POLICY: planning.planner, Reader.SPAN_KIND: Kind.PLAN,
            Catp.PLAN_HASH: self._plan.digest, Catp.PLAN_NODES: len(self._plan.plan.steps),
            **CallCost.of_planning(planning.price).attributes(self._conventions, model_call=False),
        }  # fmt: skip
        if self._run.summary.predicted_quality is not None:
            attributes[Catp.QUALITY] = self._run.summary.predicted_quality
        above = set_span_in_context(workflow.span)
        name = f"{Operation.PLAN} {planning.planner}"
        self.trace.start_span(name, above, attributes=attributes, start_time=workflow.start_ns).end(end_ns)


def _compiled(run: StoredRun, tools: Catalogue) -> CompiledPlan:
    """What live telemetry looks at of a compiled plan, with the times that the steps took."""
    plan = parse(run.plan_source)
    graph = _graph(plan, tools)
    before = {str(step.name): _steps_before(graph, step.name) for step in plan.steps}
    took = {s.step: (s.ended_ns - s.started_ns) / 1e6 for s in run.steps if s.started_ns and s.ended_ns}
    times = schedule(before, {name: max(0.0, took.get(name, 0.0)) for name in before})
    steps = {
        step.name: StepEstimate(
            _NO_PRICE, _NO_TIME, 0.0, 0, ValueFacts(ANY, Size()), round(times.slack[step.name], 3),
            step.name in times.path,
        )
        for step in plan.steps
    }  # fmt: skip
    expected = run.summary.estimate
    estimate = PlanEstimate(expected, _NO_TIME, steps, (), times.length, times.width, 0.0, 0)
    digest = next((str(e.data["plan"]) for e in run.events if "plan" in e.data), run.summary.plan_hash)
    return CompiledPlan(plan, plan, RegistryView(()), {}, graph, estimate, digest)


def _steps_before(graph: "nx.DiGraph[str]", step: str) -> list[str]:
    return [name for name in graph.predecessors(step) if graph.nodes[name]["kind"] == "step"]


class _StoredEdges(PlanEdges):
    """Edges of a plan whose tools may be gone."""

    def __init__(self, compiled: CompiledPlan, tools: Catalogue) -> None:
        super().__init__(compiled)
        self._tools = tools

    def _compiled(self, source: str) -> "nx.DiGraph[str]":
        return _graph(parse(source), self._tools)


def _graph(plan: Plan, tools: Catalogue) -> "nx.DiGraph[str]":
    """The graph as the compiler makes it, or what can be said of it without the tools."""
    try:
        return compile_plan(plan, tools.view()).graph
    except PlanError:
        return _bare_graph(plan)


def _bare_graph(plan: Plan) -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from((given.name, {"kind": "input"}) for given in plan.inputs)
    graph.add_nodes_from((str(step.name), {"kind": "step"}) for step in plan.steps)
    element = elementwise_edges(plan)
    for step in plan.steps:
        slots: dict[str, dict[str, None]] = {}
        for slot, ref in step_refs(step):
            slots.setdefault(ref.root, {})[slot] = None
        for root, names in slots.items():
            pair = (root, step.name)
            graph.add_edge(root, str(step.name), slots=tuple(names), elementwise=pair in element)
    return graph
