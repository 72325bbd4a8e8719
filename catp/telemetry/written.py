"""Spans that are kept as they are told, with ids that follow from the run: what a file of spans is made from.

A tracer without an SDK: nothing is sampled, limited or sent, and the same run always gives the same spans.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    get_current_span,
)

__all__ = ["WrittenSpan", "WrittenTrace"]


class WrittenSpan(Span):
    """One span; times are Unix nanoseconds, `end_ns` is None until it ended."""

    def __init__(
        self, name: str, context: SpanContext, parent: SpanContext | None, kind: SpanKind, links: Sequence[Link],
        start_ns: int,
    ) -> None:  # fmt: skip
        self.name, self.context, self.parent, self.kind = name, context, parent, kind
        self.links, self.start_ns = list(links), start_ns
        self.end_ns: int | None = None
        self.attributes: dict[str, Any] = {}
        self.events: list[tuple[str, int, Mapping[str, Any]]] = []
        self.status, self.reason = StatusCode.UNSET, ""

    def get_span_context(self) -> SpanContext:
        """Its ids."""
        return self.context

    def is_recording(self) -> bool:
        """True until it ended."""
        return self.end_ns is None

    def update_name(self, name: str) -> None:
        """Give it another name."""
        self.name = name

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute."""
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        self.attributes |= attributes

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event; without a time of its own it is as old as the span."""
        self.events.append((name, self.start_ns if timestamp is None else timestamp, dict(attributes or {})))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link to another span."""
        self.links.append(Link(context, attributes))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Say how it went."""
        code, text = (status.status_code, status.description) if isinstance(status, Status) else (status, description)
        self.status, self.reason = code, text or ""

    def record_exception(self, exception: BaseException, *_: Any, **__: Any) -> None:
        """A stored run holds no exceptions, only how calls ended."""

    def end(self, end_time: int | None = None) -> None:
        """End it; the first end counts."""
        if self.end_ns is None:
            self.end_ns = self.start_ns if end_time is None else end_time


class WrittenTrace(Tracer):
    """One trace; `spans` are in the order in which they started. Ids are digests of `name` and the span's number."""

    def __init__(self, name: str) -> None:
        self.spans: list[WrittenSpan] = []
        self._name = name

    def start_span(
        self, name: str, context: Context | None = None, kind: SpanKind = SpanKind.INTERNAL, attributes: Any = None,
        links: Sequence[Link] | None = None, start_time: int | None = None, record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> WrittenSpan:  # fmt: skip
        """Start a span, below the current one of `context` if that is of this trace."""
        above = get_current_span(context)
        trace = self._id("trace", 16)
        parent = above.context if isinstance(above, WrittenSpan) and above.context.trace_id == trace else None
        ids = SpanContext(trace, self._id(f"span {len(self.spans) + 1}", 8), False, TraceFlags(1))
        span = WrittenSpan(name, ids, parent, kind, links or (), start_time or 0)
        span.set_attributes(dict(attributes or {}))
        self.spans.append(span)
        return span

    def start_as_current_span(self, *_: Any, **__: Any) -> NoReturn:
        """Not here: a stored run has no code to run inside a span."""
        raise NotImplementedError("start_span")

    def _id(self, what: str, size: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{self._name} {what}".encode()).digest()[:size]) or 1
