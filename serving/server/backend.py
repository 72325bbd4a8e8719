"""Where the server meets the engine: requests as asked, events as they happen, what the engine says of itself.

    await submit(TextSpec | PlanSpec) -> Ticket ── TextDelta*, StepDecided* ── exactly one Finished
                raises Refused (never queued)          cancel(reason) at any time, from any thread

A ticket's events are read in the event loop; the engine posts them from its own thread and never waits for a reader
(`catp.serving.server.mailbox.Mailbox` is such a ticket). Times are seconds, money is nano-USD.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from catp.serving.server.events import (
    Chunk,
    EndCode,
    Event,
    Finished,
    Seconds,
    StepDecided,
    TextDelta,
    TokenLogprob,
    TopLogprob,
    Usage,
)
from catp.serving.server.spec import Constraint, Message, PlanSpec, Spec, TextSpec

__all__ = [
    "AdapterCard",
    "Backend",
    "Chunk",
    "Constraint",
    "EndCode",
    "Event",
    "Finished",
    "Health",
    "Live",
    "Message",
    "ModelCard",
    "PlanSpec",
    "Seconds",
    "Snapshot",
    "Spec",
    "StepDecided",
    "TextDelta",
    "TextSpec",
    "Ticket",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
]


class Ticket(Protocol):
    """An accepted request. Its events are read once, in the event loop; the last one is `Finished`."""

    @property
    def id(self) -> str:
        """The request's id, unique in this server."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Tokens of its prompt."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Iterate over the events."""
        ...

    def cancel(self, reason: str, code: EndCode = "cancelled") -> None:
        """End it within one step; from any thread, any number of times, also when it has ended already."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """A loaded adapter: the name clients ask for, digest of its content, where it came from, requests using it."""

    name: str
    digest: str
    path: str = ""
    running: int = 0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A served model: tokens of its context, seconds since 1970 it was loaded at, whether it writes plans and chats.

    `kappa` and `margin` are the rule of decision that a policy was tuned with (`catp.planners.decide`).
    """

    id: str
    created: int
    context: int
    adapters: tuple[AdapterCard, ...] = ()
    plans: bool = False
    chat: bool = True
    kappa: float = 0.0
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Health:
    """Three answers: is the process alive, may it take requests (`reason` says why not), does it get on.

    `last_step_age` is seconds since the last step ended, None before the first one.
    """

    live: bool
    ready: bool
    reason: str = ""
    steps: int = 0
    running: int = 0
    waiting: int = 0
    last_step_age: float | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """How far a request is that has not ended; `waiting` also if it lost its blocks. Otherwise as in `Usage`."""

    waiting: bool
    queued: float | None = None
    ttft: float | None = None
    cached_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    seconds: float = 0.0
    chunks: tuple[Chunk, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The engine's own gauges (now) and counters (since it was built); the server counts requests and their tokens.

    Args:
        running, waiting: requests. `waiting_tokens`: their prompt tokens.
        sequences: branches that run.
        kv_use: share of blocks in use, 0 to 1.
        preemptions, steps, step_failures, restarts: counts.
        busy_seconds: device seconds of all steps.
        prefill_tokens, decode_tokens: computed in all steps, of prompts and behind them.
        step_tokens: computed in the last step.
        decision_p50, decision_p99: seconds of `schedule()`, of late.
        policy, policy_fallbacks: which policy orders, and how often first-come-first-served stood in for it.
        token_budget: tokens of a step in force.
        drift: whether predicted lengths have drifted away from what is seen.
        device: `cpu` or `cuda`.
        extra: further gauges by name.
    """

    running: int = 0
    waiting: int = 0
    waiting_tokens: int = 0
    sequences: int = 0
    kv_use: float = 0.0
    preemptions: int = 0
    steps: int = 0
    step_failures: int = 0
    restarts: int = 0
    busy_seconds: float = 0.0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    step_tokens: int = 0
    decision_p50: float | None = None
    decision_p99: float | None = None
    policy: str = "fcfs"
    policy_fallbacks: int = 0
    token_budget: int = 0
    drift: bool = False
    device: str = "cpu"
    extra: Mapping[str, float] = field(default_factory=dict)


class Backend(Protocol):
    """An engine, or what stands in for one."""

    async def submit(self, spec: Spec) -> Ticket:
        """Accept a request, or refuse it; what takes long of that (a grammar to compile) does not block the event loop.

        Raises:
            Refused: with a reason and, if waiting helps, when to try again.
            NothingFits, PlanningFailed, Unwritable: of a `PlanSpec`, if that is known at once.
        """
        ...

    def models(self) -> tuple[ModelCard, ...]:
        """Return what is served."""
        ...

    async def load_adapter(self, name: str, path: str) -> AdapterCard:
        """Load an adapter, or the new content of one of the same name; requests that run keep the old one.

        Raises:
            Refused: it is no adapter, or one of another base.
        """
        ...

    async def unload_adapter(self, name: str) -> None:
        """Stop taking requests for an adapter; it goes when the last one that uses it ends.

        Raises:
            Refused: there is none of that name.
        """
        ...

    def health(self) -> Health:
        """Return how it is; must answer at once, also when the engine's thread hangs."""
        ...

    def snapshot(self) -> Snapshot:
        """Return gauges and counters; must answer at once."""
        ...

    def requests(self) -> Mapping[str, Live]:
        """Return how far the requests are that have not ended, by id; must answer at once."""
        ...

    async def drain(self, seconds: float) -> None:
        """Refuse new requests (`draining`), let the others end, and after `seconds` cancel the rest (`shutdown`)."""
        ...

    async def close(self) -> None:
        """End the engine's thread; every request that is left gets its terminal event first."""
        ...
