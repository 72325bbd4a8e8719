"""One run as spans: built from its events and its plan, so times are the run clock's and a replay gives the same spans.

    invoke_workflow            the run
     ├── plan POLICY           planning, if the run did it (catp.telemetry.telemetry)
     ├── execute_tool TOOL     one call: a first attempt, a retry, a hedge, an element of a map
     ├── chat MODEL            the same, of a tool that asks a language model
     └── step STATUS           a step, or a call, that ended without having been started: no duration

Calls are siblings, whatever waited for whom: the edges of the plan are span links (see `catp.telemetry.edges`).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money, format_usd
from catp.runtime.binding import ToolSource
from catp.runtime.events import RunEvent
from catp.telemetry.costs import CallCost
from catp.telemetry.current import Current, Entered
from catp.telemetry.edges import PlanEdges
from catp.telemetry.metrics import Metrics
from catp.telemetry.models import CalledTool, called_tool
from catp.telemetry.names import END_FIELDS, EVENT_FIELDS, SCOPE, STEP, Catp, Conventions, GenAI, Kind, Reader
from catp.telemetry.workflow import Workflow

__all__ = ["RunSpans"]

_log = logging.getLogger("catp.telemetry")

_ENDS = {
    "node.finished": "ok", "node.failed": "failed", "node.skipped": "skipped", "node.refused": "refused",
    "node.poisoned": "poisoned", "node.cancelled": "cancelled",
}  # fmt: skip

_NO_ERROR = ("ok", "cancelled")
"""Outcomes of a call that are no failure of its tool; a hedge that lost is cancelled."""


@dataclass(slots=True)
class _OpenCall:
    """A call under way."""

    span: Span
    tool: CalledTool
    start_ns: int
    entered: Entered | None = None


class RunSpans:
    """Observes the events of one run; `workflow` is its span if the agent has begun one, else the run gets its own.
    `edges` are given where a run is told in several parts.

    Never raises: what goes wrong in here is logged once and costs the rest of the spans.
    """

    def __init__(
        self,
        tracer: Tracer,
        metrics: Metrics,
        compiled: CompiledPlan,
        tools: ToolSource,
        *,
        conventions: Conventions,
        workflow: Workflow | None = None,
        edges: PlanEdges | None = None,
    ) -> None:
        self._tracer, self._metrics, self._tools, self._conventions = tracer, metrics, tools, conventions
        self._compiled, self._edges = compiled, edges or PlanEdges(compiled)
        self._workflow, self._owns = workflow, workflow is None
        self._base = otel_context.get_current()
        self._known: dict[str, CalledTool] = {}
        self._open: dict[tuple[str, int | None, int | None], _OpenCall] = {}
        self._causes: dict[tuple[str, int | None, str], str] = {}
        self._current = Current()
        self._refused: set[str] = set()
        self._saved = Money(0)
        self._unpriced = False
        self._broken = False

    def __call__(self, event: RunEvent) -> None:
        """Take one event; an unknown one is left alone."""
        if self._broken:
            return
        try:
            if self._workflow is None:
                self._workflow = Workflow(self._tracer, self._metrics, event.at_ns)
            handler = _HANDLERS.get(event.type)
            if handler is not None:
                handler(self, self._workflow, event)
        except Exception:
            self._broken = True
            _log.warning("telemetry of run %s stops: it cannot tell of %s", event.run_id, event.type, exc_info=True)

    # --- the run ----------------------------------------------------------------------------------------------------

    def _begun(self, workflow: Workflow, event: RunEvent) -> None:
        estimate, data = self._compiled.estimate.price.expected, event.data
        self._unpriced |= _unpriced_planning(event)
        # a planner names plans after the task: many values, and the user's words
        policy, plan_name, resumed = data.get("policy"), self._compiled.plan.name, event.type == "run.resumed"
        given = policy == "given" or (policy is None and not resumed)
        workflow.named(plan_name if given else data.get("agent") or None)
        workflow.describe(
            {
                Catp.RUN_ID: event.run_id,
                Catp.RUN_RESUMED: resumed or None,
                Catp.PLAN_HASH: self._compiled.digest,
                Catp.PLAN_NODES: len(self._compiled.plan.steps),
                Catp.GIVEN_UP: sorted(data.get("given_up") or ()) or None,
                Catp.POLICY: policy,
                Catp.AGENT: data.get("agent") or None,
                Catp.PROJECT: data.get("project"),
                Catp.BUDGET: data.get("budget"),
                Catp.QUALITY: data.get("quality"),
                Catp.ESTIMATED: None if estimate is None else format_usd(estimate),
            }
        )

    def _ended(self, workflow: Workflow, event: RunEvent) -> None:
        for call in self._open.values():  # a complete record leaves none
            call.span.set_status(Status(StatusCode.ERROR, "the run ended before the call was settled"))
            call.span.end(event.at_ns)
        self._open.clear()
        self._unpriced |= _unpriced_planning(event)
        status, spent = str(event.data.get("status", "unknown")), event.data.get("spent")
        workflow.describe(
            {
                Catp.RUN_STATUS: status,
                Catp.COST: spent,
                Catp.CURRENCY: None if spent is None else "USD",
                Catp.UNPRICED: self._unpriced or None,
                Catp.SAVED: format_usd(self._saved) if self._saved else None,
            }
        )
        if status in ("failed", "cancelled"):
            workflow.fail(status, event.data.get("reason", "") or f"the run ended as {status}")
        workflow.end_ns = event.at_ns
        if self._owns:
            workflow.end()

    def _noted(self, workflow: Workflow, event: RunEvent) -> None:
        """Something about the run or a step that has no duration of its own: an event on the run's span."""
        data = {**event.data, "step": event.step}
        attributes = {name: data[key] for key, name in EVENT_FIELDS.items() if data.get(key) is not None}
        workflow.span.add_event(f"{SCOPE}.{event.type}", attributes, timestamp=event.at_ns)

    def _replanned(self, workflow: Workflow, event: RunEvent) -> None:
        """The run goes on with another plan, of which the event holds the text."""
        self._noted(workflow, event)
        self._unpriced |= _unpriced_planning(event)
        source = event.data.get("source")
        if source is not None:
            self._edges.replan(source)

    # --- calls ------------------------------------------------------------------------------------------------------

    def _caused(self, workflow: Workflow, event: RunEvent) -> None:
        """The next call of this unit to this tool is not its first: remember why."""
        tool = event.data.get("to") or event.data.get("tool") or ""
        cause = event.type.removeprefix("node.")
        self._causes[str(event.step), event.element, tool] = {"retrying": "retry", "hedged": "hedge"}.get(cause, cause)

    def _started(self, workflow: Workflow, event: RunEvent) -> None:
        call = self._start(workflow, event, event.at_ns)
        if not event.data.get("cached"):  # a result that is there already needs no tool
            call.entered = self._current.enter(call.span)

    def _start(self, workflow: Workflow, event: RunEvent, at_ns: int) -> _OpenCall:
        step, data, name = str(event.step), event.data, str(event.data.get("tool", "?"))
        tool = self._tool(name)
        attributes = {
            **tool.attributes,
            **self._edges.place(event),
            Catp.CAUSE: self._causes.pop((step, event.element, name), "first"),
            GenAI.CALL_ID: f"{event.run_id}:{_unit(event)}#{event.attempt}",
        }
        optional = {Catp.ESTIMATED: data.get("est"), Catp.TOOL_VERSION: data.get("version")}
        attributes |= {key: value for key, value in optional.items() if value is not None}
        span = self._tracer.start_span(
            tool.span_name,
            set_span_in_context(workflow.span, self._base),
            SpanKind.INTERNAL if tool.model is None else SpanKind.CLIENT,
            attributes,
            self._edges.links(step, event.element),
            at_ns,
        )
        self._edges.showed(step, span.get_span_context())
        call = self._open[step, event.element, event.attempt] = _OpenCall(span, tool, at_ns)
        return call

    def _settled(self, workflow: Workflow, event: RunEvent) -> None:
        key, data = (str(event.step), event.element, event.attempt), event.data
        called = key in self._open
        if not called:  # a lost call was made by an earlier process
            self._start(workflow, event, event.at_ns - round((data.get("ms") or 0.0) * 1e6))
        call = self._open.pop(key)
        outcome, cost = str(data.get("outcome", "ok")), CallCost.of(data)
        error = None if outcome in _NO_ERROR else _error_type(outcome, data)
        units = (data.get("usage") or {}).get("units") or {}
        call.span.set_attributes(
            {
                Catp.OUTCOME: outcome,
                **cost.attributes(self._conventions, model_call=call.tool.model is not None),
                **({Catp.CACHED: True} if data.get("cached") else {}),
                **(_tokens(units) if call.tool.model is not None else {}),
            }
        )
        if error is not None:
            call.span.set_attribute(GenAI.ERROR, error)
            call.span.set_status(Status(StatusCode.ERROR, str(data.get("reason", ""))))
        if outcome == "ok":
            self._edges.won(key[0], event.element, call.span.get_span_context())
        self._saved = Money(self._saved + cost.saved)
        self._unpriced |= cost.amount is None
        self._current.leave(call.entered)
        call.span.end(event.at_ns)
        made_here = called and not data.get("cached")
        seconds = (event.at_ns - call.start_ns) / 1e9 if made_here else None
        self._metrics.call(call.tool, seconds, outcome, error, cost, units)

    def _unstarted(self, workflow: Workflow, event: RunEvent) -> None:
        """A step, or one call of it, that came to nothing without having been started still has its place."""
        step, status = str(event.step), _ENDS[event.type]
        if event.type == "node.refused" and (event.attempt is not None or step not in self._refused):
            self._refused.add(step)
            self._metrics.refused("approval" if event.attempt is None else "budget")
        if event.attempt is None and (self._edges.seen(step) or event.element is not None):
            return
        attributes = {**self._edges.place(event), Catp.OUTCOME: status, Reader.SPAN_KIND: Kind.STEP}
        attributes |= {name: event.data[key] for key, name in END_FIELDS.items() if event.data.get(key)}
        parent, links = set_span_in_context(workflow.span, self._base), self._edges.links(step, event.element)
        name = f"{STEP} {status}"
        span = self._tracer.start_span(name, parent, SpanKind.INTERNAL, attributes, links, event.at_ns)
        if status in ("failed", "refused", "poisoned"):
            span.set_attribute(GenAI.ERROR, status)
            span.set_status(Status(StatusCode.ERROR, str(event.data.get("reason", ""))))
        span.end(event.at_ns)
        self._edges.showed(step, span.get_span_context())

    def _tool(self, name: str) -> CalledTool:
        if name not in self._known:
            self._known[name] = called_tool(name, self._tools)
        return self._known[name]


def _unpriced_planning(event: RunEvent) -> bool:
    return any("amount" not in row for row in event.data.get("planning", {}).get("rows", ()))


def _unit(event: RunEvent) -> str:
    return str(event.step) if event.element is None else f"{event.step}[{event.element}]"


def _error_type(outcome: str, data: Mapping[str, Any]) -> str:
    """A kind of error with few values: the class of what the tool raised, or how the call ended."""
    return outcome if outcome != "error" else str(data.get("error") or "_OTHER")


def _tokens(units: Mapping[str, Any]) -> dict[str, int]:
    names = (("tokens_in", GenAI.INPUT_TOKENS), ("tokens_out", GenAI.OUTPUT_TOKENS))
    return {name: int(units[unit]) for unit, name in names if unit in units}


_HANDLERS: Mapping[str, Callable[[RunSpans, Workflow, RunEvent], None]] = {
    "run.created": RunSpans._begun,
    "run.resumed": RunSpans._begun,
    "run.awaiting_approval": RunSpans._noted,
    "run.budget_warning": RunSpans._noted,
    "run.replanned": RunSpans._replanned,
    "run.waiting": RunSpans._ended,
    "run.finished": RunSpans._ended,
    "node.awaiting_approval": RunSpans._noted,
    "node.retrying": RunSpans._caused,
    "node.hedged": RunSpans._caused,
    "node.fallback": RunSpans._caused,
    "node.started": RunSpans._started,
    "node.settled": RunSpans._settled,
    **dict.fromkeys(_ENDS, RunSpans._unstarted),
}
