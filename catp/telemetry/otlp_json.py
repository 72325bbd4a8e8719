"""Spans as OTLP in JSON: the body of a POST to `/v1/traces`, also what the file exporter of collectors reads.

As opentelemetry.io/docs/specs/otlp has it: lower camel case, ids in hex, 64-bit integers as decimal strings, enums as
numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.trace import SpanKind, StatusCode

import catp
from catp.telemetry.names import SCOPE
from catp.telemetry.written import WrittenSpan

__all__ = ["otlp_json"]

_KINDS = {SpanKind.INTERNAL: 1, SpanKind.SERVER: 2, SpanKind.CLIENT: 3, SpanKind.PRODUCER: 4, SpanKind.CONSUMER: 5}
_STATUS = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}


def otlp_json(spans: Iterable[WrittenSpan]) -> dict[str, Any]:
    """Return the document."""
    scope = {"name": SCOPE, "version": catp.__version__}
    resource = {"attributes": _attributes({"service.name": "catp"})}
    of_scope = {"scope": scope, "spans": [_span(span) for span in spans]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [of_scope]}]}


def _span(span: WrittenSpan) -> dict[str, Any]:
    status: dict[str, Any] = {"code": _STATUS[span.status]}
    if span.reason:
        status["message"] = span.reason
    found = {
        "traceId": f"{span.context.trace_id:032x}", "spanId": f"{span.context.span_id:016x}",
        "name": span.name, "kind": _KINDS[span.kind],
        "startTimeUnixNano": str(span.start_ns), "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
        "events": [
            {"timeUnixNano": str(at_ns), "name": name, "attributes": _attributes(attributes)}
            for name, at_ns, attributes in span.events
        ],
        "links": [
            {
                "traceId": f"{link.context.trace_id:032x}", "spanId": f"{link.context.span_id:016x}",
                "attributes": _attributes(link.attributes or {}),
            }
            for link in span.links
        ],
        "status": status,
    }  # fmt: skip
    return found if span.parent is None else {**found, "parentSpanId": f"{span.parent.span_id:016x}"}


def _attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(values[key])} for key in sorted(values)]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": str(value)}
