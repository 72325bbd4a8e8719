"""What the store is given of a new run, and what it gives back of kept ones."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from catp.planlang.money import Money
from catp.planlang.registry_view import PriceRange
from catp.runtime.events import RunEvent
from catp.store.redaction import REDACTED

__all__ = ["NewPlan", "NewRun", "RunSummary", "StoredOutput", "StoredRun", "StoredStep", "StoredValue"]


@dataclass(frozen=True, slots=True)
class NewPlan:
    """A plan: its digest, text and JSON form, and how many steps it has."""

    plan_hash: str
    plan_source: str
    plan_json: Mapping[str, Any]
    n_nodes: int


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that is about to start and its plan; everything else about it is in its `run.created` event.

    `rivals` are the other plans that this event names.
    """

    run_id: str
    plan_hash: str
    plan_source: str
    plan_json: Mapping[str, Any]
    n_nodes: int
    rivals: tuple[NewPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One row of the run list.

    `status` is that of the run's last event, or `interrupted`: it never ended, and no living process drives it. `cost`
    is the sum of the ledger rows so far, without the `unpriced` ones; `saved` what the cache saved on top. `parent` is
    the run that this one was forked from, at step `fork_step`. `quality` is the score that somebody gave it.
    """

    id: str
    project: str
    agent: str
    task: str
    policy: str
    plan_hash: str
    status: str
    created_ns: int
    ended_ns: int | None
    estimate: PriceRange
    cost: Money
    saved: Money
    unpriced: int
    budget: Money | None
    deadline_ms: float | None
    est_latency_ms: float | None
    latency_ms: float | None
    alpha: float | None
    predicted_quality: float | None
    parent: str | None
    fork_step: str | None
    quality: float | None = None


@dataclass(frozen=True, slots=True)
class StoredOutput:
    """One output of a finished run: short texts are in `text`, everything else in artefact `sha256`."""

    name: str
    status: str
    reason: str | None
    mime: str | None = None
    text: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredValue:
    """A kept value. `kind` is `input`, `step` or `output`; `element` is None for a value that is not one of a list.

    `codec` is None if the value can only be shown, not read back.
    """

    kind: str
    name: str
    element: int | None
    codec: str | None
    mime: str
    sha256: str | None
    read: Callable[[], bytes]
    """Returns the bytes; raises `FileNotFoundError` if they are gone and `ValueError` if they were changed."""

    def value(self) -> Any:
        """Return the value itself.

        Raises:
            DecodeError: It has no exact form, or cannot be read any more; the message says why.
            FileNotFoundError, ValueError: Its bytes are gone or were changed.
        """
        from catp.runtime.codec import DecodeError, decode

        if self.codec == REDACTED:
            raise DecodeError(f"the {self.kind} `{self.name}` was redacted before it was stored")
        if self.codec is None:
            raise DecodeError(f"the {self.kind} `{self.name}` has no exact form; only a description of it was kept")
        return decode(self.codec, self.read())


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step of a run as far as it got. Times are Unix nanoseconds; `cost` is None if no call has a known price."""

    step: str
    status: str
    reason: str
    tool: str | None
    calls: int
    ready_ns: int | None
    started_ns: int | None
    ended_ns: int | None
    cost: Money | None
    saved: Money


@dataclass(frozen=True, slots=True)
class StoredRun:
    """Everything kept of one run but its values. `costs` are the ledger rows as mappings with the columns of `costs`.

    `plan_source` is the plan the run began with; a repaired run tells its later plans in `run.replanned` events.
    """

    summary: RunSummary
    plan_source: str
    outputs: tuple[StoredOutput, ...]
    steps: tuple[StoredStep, ...]
    costs: tuple[Mapping[str, Any], ...]
    events: tuple[RunEvent, ...]
