"""What a run gives back, and the rules that turn step results into a verdict.

complete   every output has its value, or is optional and was skipped by the plan's own condition; no write step
           failed
failed     the plan has required outputs, and none of them has a value
degraded   anything in between: optional outputs alone never make a run fail
cancelled  somebody stopped it
waiting    a step, or the plan, needs an approval that did not come while the process lived; everything else is done
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Output
from catp.runtime.events import RunEvent, RunStatus, StepStatus
from catp.runtime.funding import Refusal
from catp.runtime.ledger import LedgerRow
from catp.runtime.state import RunState, StepRun
from catp.runtime.values import Missing, Values

__all__ = [
    "OutputResult",
    "OutputStatus",
    "RunOutcome",
    "StepResult",
    "collect_outputs",
    "finished_data",
    "step_result",
    "verdict",
]

OutputStatus: TypeAlias = Literal["ok", "failed", "skipped", "refused", "poisoned", "cancelled", "waiting"]


@dataclass(frozen=True, slots=True)
class OutputResult:
    """One output: its value if `status` is `ok`, else the reason why there is none."""

    value: Any
    status: OutputStatus
    reason: str = ""
    optional: bool = False

    @property
    def ok(self) -> bool:
        """True if the output has its value."""
        return self.status == "ok"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step after the run.

    `value` counts only if `has_value`; a skipped step with `else` has one. `tool` is the alternative that gave the
    value, or was tried last. `attempts` counts calls. `price` is the sum of the step's ledger rows (None if it made no
    call, or none of its calls has a known price), `estimate` the expected price of the calls it made. `times` are the
    run clock's nanoseconds, None if the step did not get that far.
    """

    name: str
    status: StepStatus
    value: Any
    has_value: bool
    reason: str
    tool: str | None
    attempts: int
    ready_ns: int | None
    started_ns: int | None
    ended_ns: int | None
    price: Money | None
    estimate: Money | None

    @property
    def ms(self) -> float | None:
        """Milliseconds from the start of the first call to the end of the step, or None if it made no call."""
        if self.started_ns is None or self.ended_ns is None:
            return None
        return (self.ended_ns - self.started_ns) / 1e6


@dataclass(frozen=True)
class RunOutcome:
    """Everything a finished run leaves behind.

    `compiled` is the plan as it was at the end, `steps` those of every plan the run had.
    `rows` are the ledger rows of this run and `spent` is their sum; `refusals` are the calls that were not made because
    the money was not there. `observer_error` is the first exception that the `on_event` callback raised; the events
    themselves are all here whatever the callback did.
    """

    run_id: str
    status: RunStatus
    outputs: Mapping[str, OutputResult]
    steps: Mapping[str, StepResult]
    events: Sequence[RunEvent]
    rows: Sequence[LedgerRow]
    spent: Money
    started_ns: int
    ended_ns: int
    observer_error: Exception | None = None
    compiled: CompiledPlan | None = None
    refusals: Sequence[Refusal] = ()

    @property
    def wall_ms(self) -> float:
        """Milliseconds from start to finish on the run's clock."""
        return (self.ended_ns - self.started_ns) / 1e6

    @property
    def savings(self) -> Money:
        """What results that were there already had cost when they were made; no part of `spent`."""
        return Money(sum(row.saved or 0 for row in self.rows))

    @property
    def ok(self) -> bool:
        """True if the run is complete."""
        return self.status == "complete"

    def __getitem__(self, name: str) -> Any:
        """The value of one output; raise `KeyError` with the reason if it has none."""
        result = self.outputs[name]
        if not result.ok:
            raise KeyError(f"output {name!r} has no value: {result.status}: {result.reason}")
        return result.value


def collect_outputs(state: RunState, values: Values) -> dict[str, OutputResult]:
    """Read every output, or say why it is missing."""
    return {output.name: _collect(state, values, output) for output in state.program.outputs}


def _collect(state: RunState, values: Values, output: Output) -> OutputResult:
    try:
        return OutputResult(values.read(output.ref), "ok", "", output.optional)
    except Missing as error:
        step = state.steps.get(output.ref.root)
        lost: OutputStatus = "failed"
        reason = str(error)
        if step is not None and not step.has_value:
            reason = step.reason
            if step.open:
                lost, reason = "waiting", _who_waits(state)
            elif step.status in ("skipped", "refused", "poisoned", "cancelled"):
                lost = step.status
        return OutputResult(None, lost, reason, output.optional)


def _who_waits(state: RunState) -> str:
    names = sorted(name for name in state.deferred if name is not None)
    return f"`{', '.join(names)}` waits for approval" if names else "the plan waits for approval"


def step_result(step: StepRun, values: Values, price: Money | None, estimate: Money | None) -> StepResult:
    """Sum up a step: what the reducer knows of it, its value, and what it cost."""
    info, name = step.info, step.info.name
    tool = None
    if step.units:
        chosen = next((unit for unit in step.units if unit.status == "ok"), step.units[0])
        tool = info.attempts[min(chosen.attempt, len(info.attempts) - 1)].tool
    return StepResult(
        name, step.status, values[name] if step.has_value else None, step.has_value, step.reason, tool,
        step.calls, step.ready_ns, step.started_ns, step.ended_ns, price, estimate,
    )  # fmt: skip


def finished_data(
    status: RunStatus, outputs: Mapping[str, OutputResult], spent: Money, ms: float, stopped: str
) -> dict[str, Any]:
    """What the last event of a run says; `stopped` is the reason if somebody stopped it."""
    data: dict[str, Any] = {
        "status": status,
        "spent": format_usd(spent),
        "ms": ms,
        "outputs": {
            name: {"status": o.status, "reason": o.reason} if o.reason else {"status": o.status}
            for name, o in outputs.items()
        },
    }
    return {**data, "reason": stopped} if stopped else data


def verdict(state: RunState, outputs: Mapping[str, OutputResult]) -> RunStatus:
    """The status of a finished run, by the rules at the top of this module."""
    if state.cancelled:
        return "cancelled"
    if any(step.open for step in state.steps.values()):
        return "waiting"
    required = [result for result in outputs.values() if not result.optional]
    if required and not any(result.ok for result in required):
        return "failed"
    whole = all(result.ok or (result.optional and result.status == "skipped") for result in outputs.values())
    writes_done = all(step.status in ("ok", "skipped") for step in state.steps.values() if step.info.writes)
    return "complete" if whole and writes_done else "degraded"
