"""The object an agent reports to: it knows where spans and metrics go, and opens the spans that are no calls.

Nothing in here can fail a run. If OpenTelemetry, its set-up or a processor of the application raises, it is logged and
the run goes on without.
"""

import contextvars
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider
from opentelemetry.trace import (
    NoOpTracerProvider,
    Span,
    SpanContext,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
    set_span_in_context,
)

import catp
from catp.planlang.compiled import CompiledPlan
from catp.result import Planned, RunRefused
from catp.runtime.binding import ToolSource
from catp.runtime.events import RunEvent
from catp.telemetry.content import WatchedTools
from catp.telemetry.costs import CallCost
from catp.telemetry.metrics import Metrics
from catp.telemetry.names import SCOPE, Catp, Conventions, GenAI, Kind, Operation, Reader, captures_content
from catp.telemetry.providers import FLUSH_S, OwnExport, application_configured, check_environment, own_export
from catp.telemetry.spans import RunSpans
from catp.telemetry.workflow import Workflow
from catp.tools.spec import ToolSpec

__all__ = ["Telemetry"]

_log = logging.getLogger("catp.telemetry")

_WORKFLOW: contextvars.ContextVar[Workflow | None] = contextvars.ContextVar("catp_workflow", default=None)
"""The run that the current task is making."""


class Telemetry:
    """Spans and metrics of an agent's runs.

    Args:
        tracers: Where spans go. By default to what the application has configured when the first run begins; if it
            has configured nothing, to the process's own export (see `catp.telemetry.providers`).
        meters: Where metrics go; the same default.

    Raises:
        TelemetryError: if the own export would be needed and the `OTEL_*` variables ask for what it cannot do.
    """

    def __init__(self, tracers: TracerProvider | None = None, meters: MeterProvider | None = None) -> None:
        self._given = tracers, meters
        self._own: OwnExport | None = None
        self._signals: tuple[Tracer, Metrics] | None = None
        self._conventions = Conventions.chosen()
        self._content = captures_content()
        self._planned: dict[int, SpanContext] = {}
        self._watched: dict[int, tuple[ToolSpec, ToolSpec]] = {}
        if tracers is None and meters is None and not application_configured():
            check_environment()

    # --- what the agent calls -----------------------------------------------------------------------------------------

    @contextmanager
    def workflow(self) -> Iterator[None]:
        """Cover everything one run of the agent does; the span of the run is the current one inside.

        Inside another workflow whose run has not begun yet, this is the same one.
        """
        workflow = _WORKFLOW.get()
        if workflow is not None and not workflow.claimed:
            yield
            return
        workflow = None
        with _quietly("begin a run"):
            workflow = Workflow(*self._tools())
        if workflow is None:
            yield
            return
        span = otel_context.attach(set_span_in_context(workflow.span))
        mine = _WORKFLOW.set(workflow)
        try:
            yield
        except BaseException as error:
            with _quietly("tell of a failed run"):
                self._failed(workflow, error)
            raise
        finally:
            _WORKFLOW.reset(mine)
            otel_context.detach(span)
            with _quietly("end a run"):
                workflow.end()
                self._touched()

    @contextmanager
    def planning(self, policy: str) -> Iterator[Callable[[Planned], None]]:
        """Cover the making of plans; the caller reports what was found."""
        span: Span = trace.INVALID_SPAN
        with _quietly("begin planning"):
            attributes = {GenAI.OPERATION: Operation.PLAN, Catp.POLICY: policy, Reader.SPAN_KIND: Kind.PLAN}
            span = self._tools()[0].start_span(f"{Operation.PLAN} {policy}", attributes=attributes)
        token = otel_context.attach(set_span_in_context(span))
        try:
            yield lambda planned: self._found(span, planned)
        except BaseException as error:
            with _quietly("tell of failed planning"):
                span.set_attribute(GenAI.ERROR, type(error).__name__)
                span.set_status(Status(StatusCode.ERROR, str(error)))
            raise
        finally:
            otel_context.detach(token)
            with _quietly("end planning"):
                span.end()
                self._touched()

    def observer(self, compiled: CompiledPlan, tools: ToolSource) -> Callable[[RunEvent], None]:
        """Return what takes the events of one run of a plan; never raises."""
        workflow = _WORKFLOW.get()
        if workflow is not None and workflow.claimed:  # a second run within one request gets a span of its own
            workflow = None
        try:
            tracer, metrics = self._tools()
            if workflow is not None:
                workflow.claimed = True
                planned = self._planned.get(id(compiled))
                if planned is not None:
                    workflow.span.add_link(planned, {GenAI.OPERATION: Operation.PLAN})
            return RunSpans(tracer, metrics, compiled, tools, conventions=self._conventions, workflow=workflow)
        except Exception:
            _log.warning("telemetry cannot observe a run", exc_info=True)
            return _nobody

    def watched(self, tools: ToolSource) -> ToolSource:
        """Return the tools to run with: those given, or ones that also write arguments and results to their spans."""
        return WatchedTools(tools, self._watched) if self._content else tools

    async def close(self) -> None:
        """Send what is left, for at most `FLUSH_S` seconds; what the application configured is its own to flush."""
        if self._own is not None and not await self._own.flush():
            _log.warning(
                "telemetry was not sent within %g s: is the collector at %s reachable? (OTEL_EXPORTER_OTLP_ENDPOINT)",
                FLUSH_S, self._own.endpoint,
            )  # fmt: skip

    # --- inside -------------------------------------------------------------------------------------------------------

    def _tools(self) -> tuple[Tracer, Metrics]:
        if self._signals is None:
            tracers, meters = self._providers()
            meter = meters.get_meter(SCOPE, catp.__version__)
            self._signals = tracers.get_tracer(SCOPE, catp.__version__), Metrics(meter, self._conventions)
        return self._signals

    def _providers(self) -> tuple[TracerProvider, MeterProvider]:
        tracers, meters = self._given
        if tracers is not None or meters is not None:
            return tracers or NoOpTracerProvider(), meters or NoOpMeterProvider()
        if application_configured():
            return trace.get_tracer_provider(), metrics.get_meter_provider()
        try:
            self._own = own_export()
        except Exception:
            _log.warning("nothing is exported: the OTEL_* variables cannot be followed", exc_info=True)
            return NoOpTracerProvider(), NoOpMeterProvider()
        return self._own.tracers, self._own.meters

    def _failed(self, workflow: Workflow, error: BaseException) -> None:
        if isinstance(error, RunRefused):
            self._tools()[1].refused("admission")
        workflow.fail(type(error).__name__, str(error))

    def _found(self, span: Span, planned: Planned) -> None:
        with _quietly("tell of plans"):
            best = planned.best
            span.set_attributes(
                {
                    Catp.PLAN_NODES: len(best.compiled.plan.steps),
                    Catp.PLAN_CANDIDATES: len(planned.candidates),
                    Catp.PLAN_HASH: best.compiled.digest,
                }
            )
            if best.quality is not None:
                span.set_attribute(Catp.QUALITY, best.quality)
            if planned.planning is not None:
                cost = CallCost.of_planning(planned.planning.price)
                span.set_attributes(cost.attributes(self._conventions, model_call=False))
                self._tools()[1].planned(planned.planning.planner, cost)
            if _WORKFLOW.get() is None:  # planned now, run later: the run will link to this
                for quote in planned.candidates:
                    self._planned[id(quote.compiled)] = span.get_span_context()
                    weakref.finalize(quote.compiled, self._planned.pop, id(quote.compiled), None).atexit = False

    def _touched(self) -> None:
        if self._own is not None:
            self._own.touched()


def _nobody(event: RunEvent) -> None:
    """Takes events and does nothing with them."""


class _quietly:
    """Log what goes wrong inside, and let it cost no more than telemetry."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        _log.warning("telemetry could not %s", self._what, exc_info=error)
        return True
