"""Where spans and metrics go: the application's own OpenTelemetry set-up, or ours from the standard `OTEL_*` variables.

Ours is made once per process and never installed as the global one: a library must not take that place. Export happens
in background threads from bounded queues, so a collector that is down, slow or broken costs telemetry and nothing else.
`flush` and the end of the process wait a bounded time for what is left.
"""

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Mapping
from queue import SimpleQueue

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from catp.telemetry.hooks import TelemetryError

__all__ = ["FLUSH_S", "OwnExport", "application_configured", "check_environment", "own_export"]

_log = logging.getLogger("catp.telemetry")

FLUSH_S = 3.0
"""How long the end of an agent or of the process may wait for the collector."""

_QUEUE = 16_384
"""Spans that may wait for export if `OTEL_BSP_MAX_QUEUE_SIZE` does not say: a wide plan ends thousands at once."""


def check_environment(environ: Mapping[str, str] = os.environ) -> None:
    """Raise `TelemetryError` if the standard variables ask for an export that this installation does not have."""
    for signal in ("TRACES", "METRICS"):
        exporter = environ.get(f"OTEL_{signal}_EXPORTER", "otlp")
        if exporter not in ("otlp", "none"):
            raise TelemetryError(
                f"OTEL_{signal}_EXPORTER={exporter}: catp exports by otlp or not at all (none); for anything else set "
                "up OpenTelemetry in the application, and catp uses that"
            )
        for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
            protocol = environ.get(name, "http/protobuf")
            if protocol != "http/protobuf":
                raise TelemetryError(
                    f"{name}={protocol}: catp speaks http/protobuf; leave the variable out, or set up OpenTelemetry in "
                    "the application, and catp uses that"
                )


def application_configured() -> bool:
    """True if the application has set up OpenTelemetry for the process."""
    tracing = not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    # the proxy of meters has no public name; it is the only provider from the API's own private module
    return tracing or type(metrics.get_meter_provider()).__module__ != "opentelemetry.metrics._internal"


class OwnExport:
    """Providers that export over OTLP/HTTP, and a thread that flushes them without making anybody wait for long."""

    def __init__(self) -> None:
        named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if named else {"service.name": "catp"})
        self.tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        if os.environ.get("OTEL_TRACES_EXPORTER") != "none":
            size = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else _QUEUE
            self.tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=size))
        exporting = os.environ.get("OTEL_METRICS_EXPORTER") != "none"
        readers = [PeriodicExportingMetricReader(OTLPMetricExporter())] if exporting else []
        self.meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._unsent = False
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # a thread of its own, made now: at the end of the process no new one may be started
        threading.Thread(target=self._serve, name="catp-telemetry", daemon=True).start()
        atexit.register(self._at_exit)

    @property
    def endpoint(self) -> str:
        """Where traces go, as far as the variables say."""
        name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
        return os.environ.get(name) or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or "http://localhost:4318"

    def touched(self) -> None:
        """There is something to send."""
        self._unsent = True

    async def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Send what is left, waiting at most `timeout_s`; return whether everything was handed to the exporter."""
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(lambda: None if sent.done() else sent.set_result(None))
            except RuntimeError:  # the event loop is gone: nobody is waiting any more
                pass

        self._unsent = False
        self._requests.put(tell)
        try:
            await asyncio.wait_for(sent, timeout_s)
        except TimeoutError:
            return False
        return True

    def _at_exit(self) -> None:
        if self._unsent:
            done = threading.Event()
            self._requests.put(done.set)
            done.wait(FLUSH_S)

    def _serve(self) -> None:
        while True:
            tell = self._requests.get()
            try:
                self.tracers.force_flush()
                self.meters.force_flush()
            except Exception as error:  # of an exporter; whoever waits must be told in any case
                _log.warning("what was left could not be exported: %r", error)
            tell()


_lock = threading.Lock()
_own: OwnExport | None = None


def own_export() -> OwnExport:
    """Return the process's own export; made when it is first needed, after `check_environment`."""
    global _own
    with _lock:
        if _own is None:
            _own = OwnExport()
        return _own
