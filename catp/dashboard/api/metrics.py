"""For whoever watches servers: `/readyz`, and `/metrics` as Prometheus reads them.

Figures of runs and tools are those of the store, whoever made the runs: they are read when they are asked for, so two
servers on one store tell the same. The inference engine has metrics of its own.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from catp.dashboard.context import Context
from catp.dashboard.problems import Problem
from catp.planlang.money import NANO_PER_USD
from catp.store.statements import query

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prometheus_client import Metric

__all__ = ["add"]

_RUNS = "SELECT status, COUNT(*) AS n FROM runs GROUP BY status ORDER BY status"
_TOOLS = """
SELECT name, SUM(n) AS n, SUM(n - ok) AS failed, SUM(cached) AS cached, SUM(unpriced) AS unpriced,
    SUM(cost_nano) AS cost
FROM rollup_day WHERE kind = 'tool' GROUP BY name ORDER BY name
"""
_OF_TOOLS = {
    "n": ("catp_tool_calls", "Calls of a tool that have ended."),
    "failed": ("catp_tool_calls_failed", "Calls of a tool that did not end well."),
    "cached": ("catp_tool_calls_cached", "Calls of a tool that the cache answered."),
    "unpriced": ("catp_tool_rows_unpriced", "Ledger rows of a tool without a known price; the cost lacks them."),
    "cost": ("catp_tool_cost_usd", "What calls of a tool cost, in US dollars."),
}


def add(app: "FastAPI", context: Context) -> None:
    """Add the paths to the application."""
    from starlette.responses import Response

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        """200 if requests are answered, 503 if the store does not answer or the server is about to stop."""
        if context.feed.stopping:
            raise Problem(503, "stopping", "the dashboard is being stopped")
        context.missing()
        context.read(lambda connection: query(connection, "SELECT 1"))
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Runs by status, tools, listeners and this process, in the text format of Prometheus."""
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
        except ModuleNotFoundError as error:
            raise Problem(
                501, "extra-missing", "metrics need prometheus-client: pip install 'catp[dashboard]'"
            ) from error
        context.missing()
        found = context.read(_of_store)

        class Told:
            def collect(self) -> "Iterator[Metric]":
                yield from found
                yield from _of_server(context)

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(Told())
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _of_store(connection: Connection) -> "list[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    runs = GaugeMetricFamily("catp_runs", "Runs that are kept, by status.", labels=["status"])
    for row in query(connection, _RUNS):
        runs.add_metric([row.status], row.n)
    rows = query(connection, _TOOLS)
    told: list[Metric] = [runs]
    for column, (name, says) in _OF_TOOLS.items():
        family = CounterMetricFamily(name, says, labels=["tool"])
        for row in rows:
            value: Any = getattr(row, column)
            family.add_metric([row.name], int(value) / NANO_PER_USD if column == "cost" else int(value))
        told.append(family)
    return told


def _of_server(context: Context) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    yield GaugeMetricFamily("catp_dashboard_listeners", "Streams of events that are open.", context.feed.listeners)
    yield CounterMetricFamily("catp_dashboard_reads", "Reads of new events, one for all listeners.", context.feed.reads)
