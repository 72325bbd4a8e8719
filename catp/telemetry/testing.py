"""For tests: telemetry recorded in memory, with ids counted from 1, and fake tools on a virtual clock to record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import CallEstimate, Latency, Param, PriceRange, Size, ToolSig, ValueFacts
from catp.planlang.types import ANY
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run, RunOutcome
from catp.runtime.testing import FakeCatalogue, compiled
from catp.telemetry.telemetry import Telemetry
from catp.tools.price import PerToken
from catp.tools.spec import BackendResult, ToolSpec
from catp.tools.usage import Usage

__all__ = ["FakeModel", "Recorded", "World", "attributes"]


class _Numbered(IdGenerator):
    """Ids 1, 2, 3, ... in the order in which spans start."""

    def __init__(self) -> None:
        self._spans, self._traces = count(1), count(1)

    def generate_span_id(self) -> int:
        """The next number."""
        return next(self._spans)

    def generate_trace_id(self) -> int:
        """The next number."""
        return next(self._traces)


class Recorded:
    """Telemetry that ends in memory."""

    def __init__(self) -> None:
        self._spans, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(id_generator=_Numbered(), shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.telemetry = Telemetry(self.tracers, self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Finished spans in the order in which they started."""
        return sorted(self._spans.get_finished_spans(), key=lambda span: span.context.span_id if span.context else 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of this name."""
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only span of this name."""
        (span,) = self.named(name)
        return span

    def step(self, step: str) -> list[ReadableSpan]:
        """The spans of a step of the plan."""
        return [span for span in self.spans if attributes(span).get("catp.node.id") == step]

    def metrics(self) -> dict[str, dict[tuple[tuple[str, Any], ...], float]]:
        """By name and sorted labels: the value of a counter, the sum of a histogram."""
        data = self._reader.get_metrics_data()
        found: dict[str, dict[tuple[tuple[str, Any], ...], float]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in metric.data.data_points:
                    value = point.sum if hasattr(point, "sum") else getattr(point, "value", 0.0)
                    found.setdefault(metric.name, {})[tuple(sorted((point.attributes or {}).items()))] = float(value)
        return found


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """A span's attributes, never None."""
    return span.attributes or {}


@dataclass
class FakeModel:
    """A language model that answers at once: 120 tokens read, 30 written."""

    clock: VirtualClock
    endpoint: str = "https://api.mistral.ai/v1/chat/completions"
    request: Mapping[str, Any] = field(
        default_factory=lambda: {"model": "small-1", "max_tokens": 64, "temperature": 0.0}
    )

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Answer."""
        await self.clock.sleep(0.5)
        return BackendResult("an answer", Usage(wall_ms=500.0, units={"tokens_in": 120.0, "tokens_out": 30.0}))

    async def close(self) -> None:
        """Nothing to release."""


class World(Recorded):
    """Recorded telemetry, and fake tools to run plans over."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.tools = FakeCatalogue(self.clock)

    def add_model(self, name: str) -> None:
        """Add a tool that asks a language model; $0.001 and $0.002 per 1,000 tokens."""
        signature = ToolSig(ToolName(name), (Param("x", ANY, required=False),), ANY, "read")
        self.tools.tools[name] = ToolSpec(signature, FakeModel(self.clock), PerToken(input="0.001", output="0.002"))
        price = PriceRange(Money(100_000), Money(200_000), Money(300_000))
        self.tools.estimates[name] = CallEstimate(price, Latency(500.0, 600.0), ValueFacts(ANY, Size()))

    async def run(self, source: str, inputs: Mapping[str, Any] | None = None, **options: Any) -> RunOutcome:
        """Run a plan without an agent: the run gets its own span."""
        plan = compiled(source, self.tools)
        options.setdefault("ledger", Ledger())
        options.setdefault("run_id", "01RUN")
        observe = self.telemetry.observer(plan, self.tools)
        return await Run(plan, inputs or {}, self.tools, clock=self.clock, on_event=observe, **options).wait()
