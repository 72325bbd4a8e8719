"""The span of one run: everything the caller waited for, from the request over planning to the last settled call."""

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, Status, StatusCode, Tracer

from catp.telemetry.metrics import Metrics
from catp.telemetry.names import GenAI, Kind, Operation, Reader

__all__ = ["Workflow"]


class Workflow:
    """An `invoke_workflow` span that learns its name and its end from the run. Times are Unix nanoseconds."""

    def __init__(self, tracer: Tracer, metrics: Metrics, start_ns: int | None = None) -> None:
        self.start_ns = time.time_ns() if start_ns is None else start_ns
        self.end_ns: int | None = None
        self.claimed = False
        self._name: str | None = None
        self._error: str | None = None
        self._metrics = metrics
        attributes = {GenAI.OPERATION: Operation.RUN, Reader.SPAN_KIND: Kind.RUN}
        self.span: Span = tracer.start_span(Operation.RUN, start_time=self.start_ns, attributes=attributes)

    def named(self, name: str | None) -> None:
        """The name of the workflow, which must be one of few; a run without one leaves the span without."""
        if name is not None:
            self._name = name
            self.span.update_name(f"{Operation.RUN} {name}")
            self.span.set_attribute(GenAI.WORKFLOW, name)

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes; None means that there is nothing to say."""
        self.span.set_attributes({key: value for key, value in attributes.items() if value is not None})

    def fail(self, error: str, reason: str) -> None:
        """The run came to nothing; the first reason stays."""
        if self._error is None:
            self._error = error
            self.span.set_attribute(GenAI.ERROR, error)
            self.span.set_status(Status(StatusCode.ERROR, reason))

    def end(self, at_ns: int | None = None) -> None:
        """End the span: when the run said it ended, else at the given time, else now."""
        end = self.end_ns or at_ns or time.time_ns()
        self.span.end(end)
        self._metrics.run((end - self.start_ns) / 1e9, self._name, self._error)
