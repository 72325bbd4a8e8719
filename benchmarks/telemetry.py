"""What telemetry costs a run: time per call with it off, on, and on with arguments and results.

    .venv/bin/python benchmarks/telemetry.py [--quick]

A call that does nothing, in wide and deep plans. The peer in the same run is OpenTelemetry itself: one span and three
measurements of the same size, written by hand, which is what any instrumentation of a call must at least cost.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from catp.runtime.clock import WallClock
from catp.runtime.ledger import Ledger
from catp.runtime.run import execute
from catp.runtime.testing import FakeCatalogue, compiled
from catp.telemetry.telemetry import Telemetry
from catp.telemetry.testing import Recorded, attributes

RESULTS = Path(__file__).parent / "results" / "telemetry.json"


class Sink(SpanExporter):
    """Takes spans in the background and drops them."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def provider() -> TracerProvider:
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(Sink(), max_queue_size=1 << 20))
    return tracers


def plan(shape: str, calls: int) -> str:
    if shape == "wide":
        lines = [f"s{i} = t({i})" for i in range(calls)]
    else:
        lines = ["s0 = t(0)", *(f"s{i} = t(s{i - 1})" for i in range(1, calls))]
    return "\n".join([*lines, f"out last = s{calls - 1}"] if shape == "deep" else [*lines, _all(calls)])


def _all(calls: int) -> str:
    return "out " + ", ".join(f"o{i} = s{i}" for i in range(calls))


def run_us(shape: str, calls: int, telemetry: Telemetry | None) -> float:
    """Return CPU microseconds per call of one run."""
    tools = FakeCatalogue(WallClock())
    tools.add("t")
    made = compiled(plan(shape, calls), tools)
    catalogue: Any = tools if telemetry is None else telemetry.watched(tools)

    async def once() -> None:
        observe = None if telemetry is None else telemetry.observer(made, tools)
        await execute(made, {}, catalogue, ledger=Ledger(), on_event=observe)

    asyncio.run(once())  # warm
    began = time.process_time()
    asyncio.run(once())
    return (time.process_time() - began) / calls * 1e6


def by_hand_us(count: int) -> float:
    """Return CPU microseconds of one span and three measurements with the attributes that a call's have."""
    recorded = Recorded()
    tools = FakeCatalogue(WallClock())
    tools.add("t")
    made = compiled("a = t(1)\nb = t(a)\nout b", tools)
    observe = recorded.telemetry.observer(made, tools)
    asyncio.run(execute(made, {}, tools, ledger=Ledger(), on_event=observe))
    model = recorded.step("b")[0]
    first, tracer = dict(attributes(model)), provider().get_tracer("bench")
    meter = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("bench")
    seconds, calls, cost = meter.create_histogram("s"), meter.create_counter("calls"), meter.create_counter("cost")
    began = time.process_time()
    for _ in range(count):
        span = tracer.start_span("execute_tool t", attributes=first, links=model.links)
        span.end()
        seconds.record(0.001, {"gen_ai.tool.name": "t", "gen_ai.tool.type": "function"})
        calls.add(1, {"catp.tool.name": "t", "catp.node.outcome": "ok", "catp.cost.unpriced": False})
        cost.add(0.01, {"catp.tool.name": "t"})
    return (time.process_time() - began) / count * 1e6


def median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds; writes no results")
    quick = parser.parse_args().quick
    calls, rounds = (200, 3) if quick else (1000, 7)
    os.environ.pop("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", None)
    on = Telemetry(provider(), MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "true"
    content = Telemetry(provider(), MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    bare = median(lambda: by_hand_us(calls), rounds)
    rows: list[dict[str, Any]] = []
    print(f"{'plan':6}{'off us/call':>14}{'on':>8}{'content':>9}{'added':>8}{'by hand':>11}{'added/by hand':>15}")
    for shape in ("wide", "deep"):
        off_us = median(lambda: run_us(shape, calls, None), rounds)  # noqa: B023 - called at once
        on_us = median(lambda: run_us(shape, calls, on), rounds)  # noqa: B023
        content_us = median(lambda: run_us(shape, calls, content), rounds)  # noqa: B023
        added = on_us - off_us
        print(f"{shape:6}{off_us:14.1f}{on_us:8.1f}{content_us:9.1f}{added:8.1f}{bare:11.1f}{added / bare:15.2f}")
        rows.append({"plan": shape, "off_us": off_us, "on_us": on_us, "content_us": content_us, "added_us": added,
                     "by_hand_us": bare, "added_per_by_hand": added / bare})  # fmt: skip
    if not quick:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "load": os.getloadavg()}
        RESULTS.write_text(json.dumps({"calls": calls, "rounds": rounds, "rows": rows, "on": machine}, indent=1) + "\n")


if __name__ == "__main__":
    main()
