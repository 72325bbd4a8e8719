"""The plan's side of a span: where in the plan it stands, and which earlier spans gave it its inputs.

An edge of the plan becomes span links, from the consumer's span to those of the calls whose results it reads: one for a
plain step, one per element for a map (the same element only, where the edge is element by element). A parent that gave
no value is linked by its last span, whatever became of it. OpenTelemetry has no convention for edges: the attributes of
the links are ours.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import networkx as nx
from opentelemetry.trace import Link, SpanContext

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan, StepEstimate
from catp.planlang.nodes import StepName
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.telemetry.names import Catp

__all__ = ["PlanEdges"]

_MOST_LINKS = 128
"""Links of one span; what the SDK keeps by default. Only wide maps have more."""


class PlanEdges:
    """Which spans the steps of one run have had so far, and how the plan connects them."""

    def __init__(self, compiled: CompiledPlan) -> None:
        self._graph, self._registry = compiled.graph, compiled.registry
        self._estimates: Mapping[StepName, StepEstimate] = compiled.estimate.steps
        self._inputs: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        self._won: dict[str, dict[int | None, SpanContext]] = {}
        self._last: dict[str, SpanContext] = {}

    def replan(self, source: str) -> None:
        """The run goes on with another plan: its edges are known from its text, its estimates are not."""
        self._graph, self._estimates = self._compiled(source), {}
        self._inputs.clear()

    def _compiled(self, source: str) -> "nx.DiGraph[str]":
        return compile_plan(parse(source), self._registry).graph

    def showed(self, step: str, span: SpanContext) -> None:
        """A step has a new span."""
        self._last[step] = span

    def won(self, step: str, element: int | None, span: SpanContext) -> None:
        """A call gave the step, or one element of it, its value; of several the first counts."""
        self._won.setdefault(step, {}).setdefault(element, span)

    def seen(self, step: str) -> bool:
        """True if the step has a span."""
        return step in self._last

    def place(self, event: RunEvent) -> dict[str, Any]:
        """Return the attributes that say where in the plan an event belongs."""
        step = str(event.step)
        found: dict[str, Any] = {Catp.NODE: step, Catp.PARENTS: [parent for parent, _ in self._parents(step)]}
        optional = {Catp.ATTEMPT: event.attempt, Catp.ELEMENT: event.element}
        found |= {key: value for key, value in optional.items() if value is not None}
        estimate = self._estimates.get(StepName(step))
        if estimate is not None:
            found |= {Catp.SLACK: estimate.slack_ms, Catp.CRITICAL: estimate.critical}
        return found

    def links(self, step: str, element: int | None) -> list[Link]:
        """Return a link for every value that the step, or one element of it, takes from another step."""
        links: list[Link] = []
        for parent, edge in self._parents(step):
            for index, span in islice(self._sources(parent, edge, element).items(), _MOST_LINKS - len(links)):
                attributes: dict[str, Any] = {Catp.EDGE_NODE: parent, Catp.EDGE_PORT: ",".join(edge["slots"])}
                if index is not None:
                    attributes[Catp.EDGE_ELEMENT] = index
                links.append(Link(span, attributes))
        return links

    def _sources(self, parent: str, edge: Mapping[str, Any], element: int | None) -> Mapping[int | None, SpanContext]:
        won = self._won.get(parent)
        if won:
            return {element: won[element]} if edge["elementwise"] and element in won else won
        # a parent without any span ended in an earlier process
        return {None: self._last[parent]} if parent in self._last else {}

    def _parents(self, step: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The steps that a step reads, with the attributes of the edges."""
        known = self._inputs.get(step)
        if known is None:
            edges = self._graph.in_edges(step, data=True) if step in self._graph else ()
            nodes = self._graph.nodes
            known = [(parent, edge) for parent, _, edge in edges if nodes[parent]["kind"] == "step"]
            self._inputs[step] = known
        return known
