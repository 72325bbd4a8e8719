"""A saved run as OTLP: the spans it had while it ran, valid for the official definitions, the same every time.

After a wanted change: `CATP_WRITE_GOLDEN=1 python -m pytest tests/telemetry/test_stored_spans.py`, then read the diff.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

import catp
from catp.agent import Agent
from catp.planlang.money import Money, parse_usd
from catp.planlang.parser import parse
from catp.runtime.clock import VirtualClock
from catp.runtime.ids import new_run_id
from catp.store.store import RunStore
from catp.telemetry.names import Conventions
from catp.telemetry.otlp_json import otlp_json
from catp.telemetry.stored import stored_spans
from catp.telemetry.testing import Recorded, attributes
from catp.telemetry.written import WrittenSpan
from catp.tools import Catalogue, PerCall, tool
from catp.tools.errors import ToolFailed
from tests.store.recording import CATALOGUE, NANO, call_events, created, drive, finished, new_run, plan_of

GOLDEN = Path(__file__).parent / "golden" / "stored.json"
_MEASURED = {"catp.node.slack_ms", "catp.node.critical"}  # as it went, not as it was estimated


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    found = RunStore(tmp_path / "runs.db")
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SEMCONV_STABILITY_OPT_IN", raising=False)
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)


async def kept(store: RunStore, clock: VirtualClock | None = None) -> str:
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    await drive(journal, run_id, clock=clock)
    assert await journal.close() is None
    return run_id


def spans_of(store: RunStore, run_id: str, tools: Catalogue = CATALOGUE) -> list[WrittenSpan]:
    return stored_spans(store.get(run_id), tools, Conventions.DEFAULT)


def plain(name: str, kind: str, ns: tuple[int, int], status: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "ns": ns, "status": status,
        "attributes": {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in found.items()
            if key not in _MEASURED
        },
    }  # fmt: skip


def live(span: ReadableSpan, names: Mapping[int, str]) -> dict[str, Any]:
    about = plain(
        span.name, span.kind.name, (span.start_time or 0, span.end_time or 0), span.status.status_code.name,
        attributes(span),
    )  # fmt: skip
    links = [(names[link.context.span_id], dict(link.attributes or {})) for link in span.links]
    return {**about, "links": links, "parent": names[span.parent.span_id] if span.parent else None}


def stored(span: WrittenSpan, names: Mapping[int, str]) -> dict[str, Any]:
    about = plain(span.name, span.kind.name, (span.start_ns, span.end_ns or 0), span.status.name, span.attributes)
    links = [(names[link.context.span_id], dict(link.attributes or {})) for link in span.links]
    return {**about, "links": links, "parent": names[span.parent.span_id] if span.parent else None}


@tool(price=PerCall("0.001"))
async def split(text: str) -> list[str]:
    return text.split()


@tool(price=PerCall("0.002"))
async def shout(text: str) -> str:
    if text == "b":
        raise ToolFailed("shout", "no b today")
    return text.upper()


@tool(price=PerCall("0.002"))
async def mild(text: str) -> str:
    return text


async def test_a_saved_run_has_the_spans_it_had_live(store: RunStore) -> None:
    world = Recorded()
    plan = parse(
        "plan loud\nin t: text\nwords = split(t)\nloud = shout(each words) | mild(each words)\n"
        'skipped = mild(t) when t == "never"\nout loud, words, skipped?\n'
    )
    async with Agent([split, shout, mild], store=store, budget="1", telemetry=world.telemetry, name="bot") as agent:
        result = await agent.run(plan, {"t": "a b c"})
        spans = spans_of(store, result.run_id, agent.catalogue)
    names = {
        span.context.span_id: f"{span.name} {attributes(span).get('gen_ai.tool.call.id')}"
        for span in world.spans if span.context
    }  # fmt: skip
    mine = {span.context.span_id: f"{span.name} {span.attributes.get('gen_ai.tool.call.id')}" for span in spans}
    told, again = [live(span, names) for span in world.spans], [stored(span, mine) for span in spans]
    run, run_again = told.pop(0), again.pop(0)
    assert len(told) == 6
    assert any(span["links"] for span in told)
    assert again == told
    assert run_again["attributes"] == run["attributes"]
    assert run_again["name"] == run["name"] == "invoke_workflow loud"
    assert run_again["ns"][1] == run["ns"][1]  # it began, for its caller, before its first event


async def test_without_the_tools_only_ports_lose_their_names(store: RunStore) -> None:
    run_id = await kept(store)
    known, bare = spans_of(store, run_id), spans_of(store, run_id, Catalogue([]))
    assert [span.name for span in bare] == [span.name for span in known]
    assert [span.attributes for span in bare] == [span.attributes for span in known]
    assert [[link.context for link in span.links] for span in bare] == [
        [link.context for link in span.links] for span in known
    ]


async def test_the_calls_of_a_saved_run_cost_what_its_ledger_says(store: RunStore) -> None:
    run_id = await kept(store)
    run, *calls = spans_of(store, run_id)
    amounts = [
        parse_usd(span.attributes["catp.cost.amount"]) for span in calls if "catp.cost.amount" in span.attributes
    ]
    spent = store.find(run_id).cost
    assert sum(amounts) == spent == parse_usd(run.attributes["catp.cost.amount"])
    assert [span.name for span in calls if span.attributes.get("catp.cost.unpriced")] == ["execute_tool unpriced"]
    for name in ("gen_ai.usage.cost", "llm.cost.total"):
        assert sum(span.attributes.get(name, 0.0) for span in calls) == pytest.approx(spent / 1e9)
        assert name not in run.attributes


async def test_the_file_is_valid_and_the_same_every_time(store: RunStore) -> None:
    run_id = await kept(store)
    document = otlp_json(spans_of(store, run_id))
    assert document == otlp_json(spans_of(store, run_id))
    text = json.dumps(document)
    assert json.loads(text) == document

    def as_protobuf(node: Any) -> Any:
        """Ids are hex in OTLP's JSON and base64 in that of protobuf."""
        if isinstance(node, list):
            return [as_protobuf(one) for one in node]
        if not isinstance(node, dict):
            return node
        ids = {"traceId", "spanId", "parentSpanId"}
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids else as_protobuf(value)
            for key, value in node.items()
        }

    request = ParseDict(as_protobuf(document), ExportTraceServiceRequest())
    (spans,) = (scope.spans for resource in request.resource_spans for scope in resource.scope_spans)
    roots = [span for span in spans if not span.parent_span_id]
    assert [root.name for root in roots] == ["invoke_workflow"]
    assert len({span.trace_id for span in spans}) == 1
    assert len({span.span_id for span in spans}) == len(spans)
    assert all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)
    assert all(span.parent_span_id == roots[0].span_id for span in spans if span is not roots[0])
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)


async def test_a_run_of_two_processes_has_two_roots_and_no_call_twice(store: RunStore) -> None:
    new = new_run("01ARZ3NDEKTSV4RRFFQ69G5FAV", "in t: text\na = t(t)\nb = t(a)\nout b\n")
    first = call_events(new.run_id, 2, [5])
    journal = store.begin(new)
    journal.event(created(new))
    for event in first:
        journal.event(event)
    started = call_events(new.run_id, 6, [7], step="b", at_ns=4 * NANO, first_row=2)
    for event in started[:2]:
        journal.event(event)
    assert await journal.close() is None  # the process is gone with a call under way
    spans = spans_of(store, new.run_id)
    assert [span.name for span in spans] == ["invoke_workflow", "execute_tool t"]
    journal = store.resume(new.run_id)
    journal.event(created(new)._replace(seq=8, type="run.resumed", at_ns=6 * NANO))
    lost = {"tool": "t", "outcome": "lost", "amount": "0.000000005", "ms": 100.0, "rows": []}
    journal.event(started[2]._replace(seq=9, at_ns=6 * NANO, data=lost))
    again = [event._replace(attempt=2) if event.attempt else event for event in started]
    for seq, event in enumerate(again[1:], start=10):
        journal.event(event._replace(seq=seq, at_ns=7 * NANO))
    journal.event(finished(new.run_id, 13))
    assert await journal.close() is None
    spans = spans_of(store, new.run_id)
    roots = [span for span in spans if span.parent is None]
    assert [bool(root.attributes.get("catp.run.resumed")) for root in roots] == [False, True]
    calls = [span.attributes["gen_ai.tool.call.id"].rpartition(":")[2] for span in spans if span.parent is not None]
    assert calls == ["a#1", "b#1", "b#2"]
    assert spans[-1].links[0].context == spans[1].context  # its parent ran in the process before


async def test_the_spans_of_a_saved_run_to_the_last_attribute(store: RunStore) -> None:
    new = new_run("01ARZ3NDEKTSV4RRFFQ69G5FAV", "plan two\nin t: text\na = t(t)\nb = t(a)\nout b\n")
    journal = store.begin(new)
    planning = {
        "planner": "search", "ms": 20.0, "number": 1,
        "rows": [
            {"seq": 1, "kind": "planning", "quantity": 1.0, "unit": "plan", "amount": "0.002", "source": "measured",
             "priced": True},
        ],
    }  # fmt: skip
    journal.event(created(new, budget="0.5", quality=0.75, planning=planning))
    for event in call_events(new.run_id, 2, [5_000_000, None], first_row=2):
        journal.event(event)
    for event in call_events(new.run_id, 6, [7_000_000], step="b", at_ns=3 * NANO, first_row=4):
        journal.event(event)
    journal.event(finished(new.run_id, 10))
    assert await journal.close() is None
    text = json.dumps(otlp_json(spans_of(store, new.run_id)), indent=1).replace(catp.__version__, "VERSION") + "\n"
    if os.environ.get("CATP_WRITE_GOLDEN"):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8"), "if wanted: CATP_WRITE_GOLDEN=1, read the diff"
    assert store.find(new.run_id).cost == Money(14_000_000)
