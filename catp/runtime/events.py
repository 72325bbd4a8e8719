"""The structured record of a run: one event per transition, enough to rebuild everything shown about the run."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = ["EventType", "RunEvent", "RunStatus", "StepStatus"]

EventType: TypeAlias = Literal[
    "run.created",
    "run.awaiting_approval",
    "run.started",
    "run.resumed",
    "run.replanned",
    "run.waiting",
    "run.budget_warning",
    "run.finished",
    "node.ready",
    "node.started",
    "node.settled",
    "node.retrying",
    "node.hedged",
    "node.fallback",
    "node.finished",
    "node.failed",
    "node.skipped",
    "node.refused",
    "node.poisoned",
    "node.cancelled",
    "node.awaiting_approval",
]

StepStatus: TypeAlias = Literal[
    "pending", "ready", "running", "waiting_approval", "ok", "failed", "skipped", "refused", "poisoned", "cancelled",
]  # fmt: skip

RunStatus: TypeAlias = Literal["running", "waiting", "complete", "degraded", "failed", "cancelled"]
"""`waiting` is the end of a process, not of the run: it goes on once somebody has decided."""


_NOTHING: Mapping[str, Any] = {}


class RunEvent(NamedTuple):
    """One transition. `seq` counts from 1 without gaps within a run; `at_ns` is the run clock (Unix nanoseconds).

    `step` is None for events of the run itself; `element` is the index inside a mapped step. `data` holds JSON values
    only: money as decimal strings, times in milliseconds, and never a tool's inputs or outputs. (A tuple, because a run
    makes four per step and a frozen dataclass costs four times as much to make.)
    """

    seq: int
    run_id: str
    at_ns: int
    type: EventType
    step: str | None = None
    attempt: int | None = None
    element: int | None = None
    data: Mapping[str, Any] = _NOTHING

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON values, without empty fields."""
        full = {
            "schema": "catp.event/1", "seq": self.seq, "run": self.run_id, "at_ns": self.at_ns, "type": self.type,
            "step": self.step, "attempt": self.attempt, "element": self.element, "data": dict(self.data),
        }  # fmt: skip
        return {key: value for key, value in full.items() if value is not None}
