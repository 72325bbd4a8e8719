"""What happens to a request, told while it happens; the last event says what it took."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from catp.planlang.money import Money
from catp.planlang.nodes import Step
from catp.planners.writer import Draft
from catp.serving.engine.errors import FinishReason

__all__ = [
    "Chunk",
    "EndCode",
    "Event",
    "Finished",
    "Seconds",
    "StepDecided",
    "TextDelta",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
]


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One of the likeliest tokens at a place. `raw` are its bytes, which need not be valid UTF-8."""

    token: int
    raw: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token written, its natural log-probability before temperature and truncation, and the likeliest ones."""

    token: int
    raw: bytes
    logprob: float
    top: tuple[TopLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of choice `index`. Text may lag behind tokens (half a character, what may become a stop text).

    `finish` is set in the last delta of the choice: `stop` or `length`.
    """

    index: int
    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    finish: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class StepDecided:
    """Step `number` (from 0) of plan `index` (0: the greedy one) is decided and will not change."""

    index: int
    number: int
    step: Step


@dataclass(frozen=True, slots=True)
class Seconds:
    """Device seconds of a request, by what they went into (`catp.serving.metering.attribution`).

    `fresh` computing prompt tokens; `cached` attending, while doing so, to prompt tokens found in the prefix cache;
    `output` computing and reading what was written.
    """

    fresh: float = 0.0
    cached: float = 0.0
    output: float = 0.0

    @property
    def total(self) -> float:
        """Their sum."""
        return self.fresh + self.cached + self.output

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.fresh + other.fresh, self.cached + other.cached, self.output + other.output)


class Chunk(NamedTuple):
    """Prompt tokens that one step computed: seconds from arrival to its begin, its seconds, how many."""

    begin: float
    seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The work of one request.

    Args:
        prompt_tokens: tokens of the prompt; `cached_tokens` of them came from the prefix cache.
        output_tokens: tokens written, of which `forced_tokens` were no decision.
        seconds: device seconds attributed to it.
        price: of those seconds, None if a second has no price.
        queued: seconds from arrival to the first step; None if there was none.
        ttft: seconds from arrival to the first token; None if there was none.
        e2e: seconds from arrival to the end.
        preemptions: how often it lost its blocks.
        adapter: content digest of its adapter, None for the base model.
        chunks: when its prompt was computed, again after a preemption (`catp.serving.metering.timeline`).
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    forced_tokens: int = 0
    seconds: Seconds = Seconds()
    price: Money | None = None
    queued: float | None = None
    ttft: float | None = None
    e2e: float = 0.0
    preemptions: int = 0
    adapter: str | None = None
    chunks: tuple[Chunk, ...] = ()

    @property
    def tpot(self) -> float | None:
        """Mean seconds between tokens after the first; None if there was one at most."""
        if self.ttft is None or self.output_tokens < 2:
            return None
        return (self.e2e - self.ttft) / (self.output_tokens - 1)


EndCode: TypeAlias = Literal[
    "",  # ended as it should
    "disconnected",  # the client went away
    "slow_reader",  # it did not read what was written
    "timeout",  # the server's limit on a request's time
    "shutdown",  # the server drained and time was up
    "cancelled",  # for another reason
    "deadline",  # its own deadline
    "engine_failed",  # the engine died or its step failed twice
    "request_failed",  # its own program raised
    "nothing_fits",  # no plan within budget or deadline
    "planning_failed",  # no plan at all
    "unwritable",  # this policy cannot spell it
]
"""Why a request did not end as it should, for machines."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The one terminal event. `value` is the `Draft` of a `PlanSpec` that was finished; `message` is for people."""

    reason: FinishReason
    usage: Usage = Usage()
    value: Draft | None = None
    code: EndCode = ""
    message: str = ""


Event: TypeAlias = TextDelta | StepDecided | Finished
