"""A request as the scheduler sees it: what it needs, when it is due, and how far it is.

    Request   frozen: prompt, bounds, adapter, tenant, deadlines
    Job       one request in the engine: its branches, times and counters
    Branch    one sequence of tokens with its block table; branches of a job share blocks

There are no prefill and decode phases: a branch has tokens and `computed` of them; each step computes some more. Chunks
of a prompt, a prefix found in the cache, forced tokens and recomputation are all the same thing (vLLM v1's accounting).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from catp.serving.engine.errors import FinishReason
from catp.serving.engine.holdings import Holding

if TYPE_CHECKING:
    from catp.serving.engine.program import Program

__all__ = ["Branch", "Job", "Phase", "Read", "Request", "Slo"]


@dataclass(frozen=True, slots=True)
class Slo:
    """What a caller expects, in seconds from arrival; None: no expectation.

    `ttft` to the first token, `tpot` between tokens in the mean, `e2e` to the end. `slack` is the float of the call on
    the critical path of the plan it belongs to: how much later than its estimate it may end.
    """

    ttft: float | None = None
    tpot: float | None = None
    e2e: float | None = None
    slack: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Args:
        id: unique among running requests.
        prompt: token ids.
        bound: most tokens that any branch adds to the prompt, forced ones included (from the grammar, or max_tokens).
        width: most branches at once.
        arrival: seconds on the engine's clock.
        adapter: content digest of the adapter, None for the base model. Part of the prefix cache's key.
        tenant, priority: who asks; a higher priority goes first where a policy looks at it.
        slo: when it is due.
        drop_late: end it (`deadline`) once it cannot be met; otherwise it goes behind those that can.
        kind: what length and cost predictions are kept by, such as the endpoint or the task type.
    """

    id: str
    prompt: tuple[int, ...]
    bound: int
    width: int = 1
    arrival: float = 0.0
    adapter: str | None = None
    tenant: str = "default"
    priority: int = 0
    slo: Slo = Slo()
    drop_late: bool = False
    kind: str = "text"


class Phase(Enum):
    """Where a job is; `DONE` is for ever."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Read:
    """Logits wanted after the token at `at` (a position in the branch).

    `draws` are samplings to make of them on the device (`catp.serving.engine.sampling.Draw`); without any the logits of
    the model's plan rows come back.
    """

    at: int
    draws: tuple[Any, ...] = ()


@dataclass(eq=False)
class Branch:
    """One sequence: `tokens` so far, of which the first `computed` have keys and values in `blocks`.

    Block i of the table holds positions [i * size, (i + 1) * size). `reads` are wanted at positions >= `computed`, in
    ascending order. `shared` is the number of leading tokens that came from the prefix cache or the branch it was
    forked from. `number` is unique in the engine.
    """

    job: "Job"
    number: int
    tokens: list[int]
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    shared: int = 0
    closed: bool = False
    keys: list[bytes] = field(default_factory=list)
    """Keys of its leading full blocks in the prefix cache, as far as anybody asked."""

    @property
    def pending(self) -> int:
        """Tokens still to compute."""
        return len(self.tokens) - self.computed

    def extend(self, ids: Sequence[int], reads: Sequence[Read] = ()) -> None:
        """Add tokens and the places after which logits are wanted."""
        self.tokens.extend(ids)
        self.reads.extend(reads)


@dataclass(eq=False)
class Job:
    """One request in the engine. Times are on the engine's clock; the scheduler keeps phase, branches and counters."""

    request: Request
    program: "Program"
    phase: Phase = Phase.WAITING
    branches: list[Branch] = field(default_factory=list)
    started: float | None = None
    first_token: float | None = None
    ended: float | None = None
    finish: FinishReason | None = None
    cached_tokens: int = 0
    """Prompt tokens that came from the prefix cache."""
    computed_tokens: int = 0
    """Tokens computed for it, recomputed ones included."""
    output_tokens: int = 0
    """Tokens its branches added to the prompt, forced ones included; a token that branches share counts once."""
    forced_tokens: int = 0
    preemptions: int = 0
    seconds: float = 0.0
    """Device seconds attributed to it."""
    skipped: int = 0
    """Admission rounds in which somebody behind it was let in."""
    holding: Holding = field(default_factory=Holding, repr=False)
    """The blocks of its branches; kept by `catp.serving.engine.tables`."""

    @property
    def id(self) -> str:
        """The request's id."""
        return self.request.id

    @property
    def pending(self) -> int:
        """Tokens still to compute, over its branches."""
        return sum(branch.pending for branch in self.branches)
