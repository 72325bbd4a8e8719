"""The metrics of runs: durations by the GenAI conventions, and counters of calls, money, failures and refusals.

Amounts are floats here, because counters are: exact sums are in the ledger.
"""

from collections.abc import Mapping
from typing import Any

from opentelemetry.metrics import Meter

from catp.telemetry.costs import CallCost, dollars
from catp.telemetry.models import CalledTool
from catp.telemetry.names import Catp, Conventions, GenAI, Metric

__all__ = ["Metrics"]

_CALL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_RUN_SECONDS = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_TOKENS = tuple(4**power for power in range(14))
"""Bucket boundaries that the conventions recommend."""


class Metrics:
    """The instruments, made once per meter."""

    def __init__(self, meter: Meter, conventions: Conventions) -> None:
        def seconds(name: str, buckets: tuple[float, ...], what: str) -> Any:
            return meter.create_histogram(name, "s", what, explicit_bucket_boundaries_advisory=buckets)

        self._run = seconds(Metric.RUN_TIME, _RUN_SECONDS, "Duration of a run, planning included")
        self._tool = seconds(Metric.TOOL_TIME, _CALL_SECONDS, "Duration of a tool call")
        self._chat = seconds(Metric.CHAT_TIME, _CALL_SECONDS, "Duration of a model call")
        self._tokens = self._chat_cost = None
        if conventions is Conventions.DEFAULT:
            self._tokens = meter.create_histogram(
                Metric.TOKENS, "{token}", "Tokens read and written", explicit_bucket_boundaries_advisory=_TOKENS
            )
        else:
            self._chat_cost = meter.create_histogram(Metric.CHAT_COST, "USD", "Price of a model call")
        self._cost = meter.create_counter(Metric.COST, "USD", "Money spent on calls and planning")
        self._saved = meter.create_counter(Metric.SAVED, "USD", "Money that cached results saved")
        self._calls = meter.create_counter(Metric.CALLS, "{call}", "Calls that ended, by outcome")
        self._failures = meter.create_counter(Metric.FAILURES, "{call}", "Calls that failed, by kind of error")
        self._refusals = meter.create_counter(Metric.REFUSALS, "{refusal}", "Calls, steps and runs that were refused")

    def run(self, seconds: float, name: str | None, error: str | None) -> None:
        """A run has ended; `name` is its workflow's, `error` the kind of failure."""
        labels = {GenAI.WORKFLOW: name, GenAI.ERROR: error}
        self._run.record(seconds, {key: value for key, value in labels.items() if value is not None})

    def call(
        self, tool: CalledTool, seconds: float | None, outcome: str, error: str | None, cost: CallCost,
        units: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """A call has been settled; `seconds` None means that it was not made here and now."""
        labels: dict[str, Any] = tool.labels if error is None else {**tool.labels, GenAI.ERROR: error}
        if seconds is not None:
            (self._tool if tool.model is None else self._chat).record(seconds, labels)
        by_tool = {Catp.TOOL: tool.attributes[Catp.TOOL]}
        self._calls.add(1, {**by_tool, Catp.OUTCOME: outcome, Catp.UNPRICED: cost.amount is None})
        if error is not None:
            self._failures.add(1, {**by_tool, GenAI.ERROR: error})
        if cost.amount:
            self._cost.add(dollars(cost.amount), by_tool)
        if cost.saved:
            self._saved.add(dollars(cost.saved), by_tool)
        if tool.model is None:
            return
        if self._chat_cost is not None and cost.amount is not None:
            self._chat_cost.record(dollars(cost.amount), {**tool.labels, GenAI.COST_CURRENCY: "USD"})
        if self._tokens is not None:
            for direction, unit in (("input", "tokens_in"), ("output", "tokens_out")):
                if unit in units:
                    self._tokens.record(int(units[unit]), {**tool.labels, GenAI.TOKEN_TYPE: direction})

    def planned(self, policy: str, cost: CallCost) -> None:
        """A planner has answered."""
        if cost.amount:
            self._cost.add(dollars(cost.amount), {Catp.POLICY: policy})

    def refused(self, kind: str) -> None:
        """Something was refused for want of money or of approval."""
        self._refusals.add(1, {Catp.REFUSAL: kind})
