"""Real OTLP over HTTP: a collector on loopback decodes what a process with an agent sends, or misbehaves.

The collector is a small server and not `otelcol`, whose binary no Debian, PyPI or npm package of the project ships; the
messages are decoded with the official protobuf definitions.
"""

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from catp.planlang.money import parse_usd
from catp.telemetry.providers import FLUSH_S

ANSWER = {"choices": [{"message": {"content": "fine"}}], "usage": {"prompt_tokens": 200, "completion_tokens": 10}}


class Handler(BaseHTTPRequestHandler):
    server: "Collector"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        status, answer, kind = self.server.take(
            self.path, self.headers.get("content-type", ""), dict(self.headers), body
        )
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


class Collector(ThreadingHTTPServer):
    """Decodes traces and metrics; `mode` says how it treats them. Also answers as a language model."""

    daemon_threads = True

    def __init__(self, mode: str = "ok") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode = mode
        self.released = threading.Event()
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, path: str, kind: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, str]:
        if path == "/v1/chat/completions":
            return 200, json.dumps(ANSWER).encode(), "application/json"
        self.headers.append(headers)
        if self.mode == "hang":
            self.released.wait(60)
        if self.mode in ("500", "hang"):
            return 500, b"", "text/plain"
        assert kind == "application/x-protobuf"
        if path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(body))
            return 200, ExportTraceServiceResponse().SerializeToString(), kind
        assert path == "/v1/metrics"
        self.metrics.append(ExportMetricsServiceRequest.FromString(body))
        return 200, ExportMetricsServiceResponse().SerializeToString(), kind

    @property
    def spans(self) -> list[Span]:
        return [s for t in self.traces for r in t.resource_spans for scope in r.scope_spans for s in scope.spans]


@pytest.fixture
def collector() -> Iterator[Collector]:
    yield from serve(Collector())


def serve(server: Collector) -> Iterator[Collector]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


def values(item: Any) -> dict[str, Any]:
    """The attributes of a span, link, resource or data point."""
    found: dict[str, Any] = {}
    for pair in item.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


SHOP = '''
import os
from catp import Catalogue, tool
from catp.tools import PerCall, PerToken, llm_tool

@tool(price=PerCall("0.001"))
async def fetch(url: str) -> str:
    """Fetch a page."""
    return "page of " + url

@tool(price=PerCall("0.002"))
async def count(text: str) -> int:
    """Count characters."""
    return len(text)

@tool(price=PerCall("0.004"))
async def join(said: str, size: int) -> str:
    """Put both together."""
    return f"{said} ({size})"

ask = llm_tool("ask", model="small-1", prompt="How is {text}?", params={"text": str},
               base_url=os.environ.get("MODEL_URL", "http://127.0.0.1:9") + "/v1", api_key_env=None,
               price=PerToken(input="0.001", output="0.002"))
TOOLS = Catalogue([fetch, count, join, ask])
'''

PLAN = """plan shop
in url: text
page = fetch(url)
said = ask(page)
size = count(page)
both = join(said, size)
out both
"""

RUN = """
import asyncio, json, sys, time
from shop import TOOLS
from catp import Agent
async def main():
    agent = Agent(TOOLS, telemetry=True)
    began = time.perf_counter()
    result = await agent.run(open("shop.plan").read(), {"url": "x"})
    ran = time.perf_counter()
    await agent.close()
    print(json.dumps({"status": result.status, "run_id": result.run_id, "spent": result.spent,
                      "run_s": ran - began, "close_s": time.perf_counter() - ran, "warnings": result.warnings}))
asyncio.run(main())
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "shop.plan").write_text(PLAN)
    return tmp_path


def start(shop: Path, *command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    known = {
        key: value
        for key, value in os.environ.items()
        if key == "CATP_PLANNER" or not key.startswith(("OTEL_", "CATP_"))
    }
    home = {"HOME": str(shop), "XDG_DATA_HOME": str(shop), "XDG_CONFIG_HOME": str(shop), "PYTHONPATH": str(shop)}
    return subprocess.run(
        [sys.executable, *command], cwd=shop, env={**known, **home, **environment}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip


def test_a_collector_gets_spans_links_and_metrics(shop: Path, collector: Collector) -> None:
    done = start(
        shop, "-c", RUN, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, MODEL_URL=collector.url,
        OTEL_EXPORTER_OTLP_HEADERS="x-mlflow-experiment-id=7", OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    spans = {span.name: span for span in collector.spans}
    assert sorted(spans) == [
        "chat small-1", "execute_tool count", "execute_tool fetch", "execute_tool join", "invoke_workflow shop",
    ]  # fmt: skip
    run = spans.pop("invoke_workflow shop")
    assert values(run)["catp.run.id"] == told["run_id"]
    assert {span.trace_id for span in spans.values()} == {run.trace_id}
    assert {span.parent_span_id for span in spans.values()} == {run.span_id}
    assert sum(parse_usd(values(span)["catp.cost.amount"]) for span in spans.values()) == told["spent"]
    assert parse_usd(values(run)["catp.cost.amount"]) == told["spent"] == 1_000_000 + 220_000 + 2_000_000 + 4_000_000

    by_id = {span.span_id: name for name, span in spans.items()}
    edges = {
        (by_id[link.span_id], name): values(link)["catp.edge.port"]
        for name, span in spans.items()
        for link in span.links
    }
    assert edges == {
        ("execute_tool fetch", "chat small-1"): "arg:text",
        ("execute_tool fetch", "execute_tool count"): "arg:text",
        ("chat small-1", "execute_tool join"): "arg:said",
        ("execute_tool count", "execute_tool join"): "arg:size",
    }
    chat = spans["chat small-1"]
    assert chat.kind == Span.SPAN_KIND_CLIENT
    assert (values(chat)["gen_ai.usage.input_tokens"], values(chat)["gen_ai.usage.output_tokens"]) == (200, 10)
    assert (values(chat)["gen_ai.request.model"], values(chat)["server.address"]) == ("small-1", "127.0.0.1")
    assert "gen_ai.tool.call.arguments" not in values(chat)

    (resource,) = {json.dumps(values(r.resource)) for t in collector.traces for r in t.resource_spans}
    assert json.loads(resource)["service.name"] == "catp"
    assert {headers.get("x-mlflow-experiment-id") for headers in collector.headers} == {"7"}

    latest = {
        metric.name: metric
        for request in collector.metrics
        for resource_metrics in request.resource_metrics
        for scope in resource_metrics.scope_metrics
        for metric in scope.metrics
    }
    (duration,) = latest["gen_ai.workflow.duration"].histogram.data_points
    assert (duration.count, values(duration)) == (1, {"gen_ai.workflow.name": "shop"})
    assert duration.sum == pytest.approx((run.end_time_unix_nano - run.start_time_unix_nano) / 1e9)
    assert {values(p)["gen_ai.tool.name"] for p in latest["gen_ai.execute_tool.duration"].histogram.data_points} == {
        "fetch", "count", "join",
    }  # fmt: skip
    assert sum(point.as_double for point in latest["catp.cost"].sum.data_points) == pytest.approx(told["spent"] / 1e9)
    assert latest["catp.cost"].unit == "USD"


def test_the_command_line_exports_too(shop: Path, collector: Collector) -> None:
    done = start(
        shop, "-m", "catp.cli", "run", "shop.plan", "-i", "url=x", "--tools", "shop:TOOLS", "--json",
        CATP_TELEMETRY="1", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, MODEL_URL=collector.url,
        OTEL_SERVICE_NAME="nightly",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "complete"
    assert "invoke_workflow shop" in {span.name for span in collector.spans}
    assert {values(r.resource)["service.name"] for t in collector.traces for r in t.resource_spans} == {"nightly"}


@pytest.mark.parametrize("mode", ["refuses", "hangs", "500"])
def test_a_bad_collector_costs_only_its_telemetry(shop: Path, collector: Collector, mode: str) -> None:
    collector.mode, url = {"hangs": "hang"}.get(mode, mode), collector.url
    with socket.socket() as taken:
        if mode == "refuses":  # bound and not listening
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        began = time.perf_counter()
        done = start(shop, "-c", RUN, OTEL_EXPORTER_OTLP_ENDPOINT=url, MODEL_URL=collector.url)
    took = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["warnings"]) == ("complete", [])
    # four calls that do nothing: had anything waited for the collector, this would be its timeout of 10 s
    assert told["run_s"] < 8.0
    assert told["close_s"] < FLUSH_S + 5.0
    assert (url in done.stderr) or mode == "500"
    assert took < 60.0, "the end of the process waits for a collector that does not answer"
    assert collector.traces == []


GLOBAL = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from shop import TOOLS
from catp import Agent
agent = Agent(TOOLS, telemetry=True)     # before the application has set up anything
spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
agent.run_sync(open("shop.plan").read(), {"url": "x"})
print(sorted(span.name for span in spans.get_finished_spans()))
"""


def test_what_the_application_configured_is_used_instead(shop: Path, collector: Collector) -> None:
    done = start(shop, "-c", GLOBAL, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, MODEL_URL=collector.url)
    assert "'invoke_workflow shop'" in done.stdout, done.stderr
    assert (collector.traces, collector.metrics) == ([], [])


def test_an_agent_that_is_never_closed_still_sends(shop: Path, collector: Collector) -> None:
    script = RUN.replace("await agent.close()", "pass")
    done = start(shop, "-c", script, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, MODEL_URL=collector.url)
    assert done.returncode == 0, done.stderr
    assert len(collector.spans) == 5


def test_signals_can_be_switched_off(shop: Path, collector: Collector) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "MODEL_URL": collector.url}
    assert start(shop, "-c", RUN, OTEL_METRICS_EXPORTER="none", **environment).returncode == 0
    assert (len(collector.spans), collector.metrics) == (5, [])
    assert start(shop, "-c", RUN, OTEL_SDK_DISABLED="true", **environment).returncode == 0
    assert (len(collector.spans), collector.metrics) == (5, [])
