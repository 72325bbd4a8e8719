"""What an engine accepts: limits, and the reasons why a request is refused before it is queued."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from catp.serving.engine.errors import Refused
from catp.serving.engine.request import Request
from catp.serving.engine.tables import Tables
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.protocol import Context

if TYPE_CHECKING:
    from catp.serving.engine.entry import Entry
    from catp.serving.engine.queue import Queue

__all__ = ["Limits", "check_deadline", "check_queue", "check_shape"]

_SAMPLE = 16
"""Waiting requests whose mean work stands for all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an engine.

    Args:
        max_sequences: branches that run at once; a job counts with its width.
        token_budget: tokens of a step at most.
        max_context: positions of a branch.
        max_waiting, max_waiting_tokens: requests that wait, and their prompts and bounds.
        watermark: blocks that admission leaves free.
        max_skips: rounds in which others may overtake a waiting job before it goes first.
        overcommit: let requests in by expected instead of greatest lengths; preempts when that was too few blocks.
    """

    max_sequences: int = 64
    token_budget: int = 512
    max_context: int = 4096
    max_waiting: int = 1024
    max_waiting_tokens: int = 4_000_000
    watermark: int = 0
    max_skips: int = 256
    overcommit: bool = False

    def __post_init__(self) -> None:
        for name in ("max_sequences", "token_budget", "max_context", "max_waiting", "max_waiting_tokens", "max_skips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.watermark < 0:
            raise ValueError(f"watermark must be at least 0, not {self.watermark}")


def check_shape(request: Request, limits: Limits, *, most: int, blocks: int) -> None:
    """Check what does not depend on who else is there.

    Args:
        request: to be checked.
        limits: of the engine.
        most: blocks that the request takes at worst.
        blocks: of the pool.

    Raises:
        Refused: `bad_request`, `too_long` or `too_large`.
    """
    prompt, bound, width = len(request.prompt), request.bound, request.width
    if not prompt:
        raise Refused("bad_request", f"request {request.id!r} has an empty prompt; send at least one token")
    if bound < 1:
        raise Refused("bad_request", f"request {request.id!r} asks for {bound} tokens; ask for at least one")
    if not 1 <= width <= limits.max_sequences:
        raise Refused(
            "bad_request",
            f"request {request.id!r} asks for {width} branches; this engine runs 1 to {limits.max_sequences}",
        )
    if prompt + bound > limits.max_context:
        raise Refused(
            "too_long",
            f"request {request.id!r} has {prompt} prompt tokens and may add {bound}, {prompt + bound} in all; the "
            f"context is {limits.max_context}: shorten the prompt or ask for at most "
            f"{max(limits.max_context - prompt, 0)} tokens",
        )
    if most > blocks - limits.watermark:
        raise Refused(
            "too_large",
            f"request {request.id!r} may take {most} blocks of the cache and there are {blocks - limits.watermark}: "
            f"shorten it, ask for fewer branches than {width}, or give the engine more memory for its cache",
        )


def check_queue(entry: "Entry", limits: Limits, queue: "Queue", tables: Tables, look: Callable[[], Context]) -> None:
    """Check that there is room to wait; only if there is none, it takes a look at what runs.

    Raises:
        Refused: `queue_full`; after `retry_after` enough of those that wait will have been served.
    """
    tokens = queue.tokens + entry.tokens
    if len(queue) < limits.max_waiting and tokens <= limits.max_waiting_tokens:
        return
    sample = [one for one, _ in zip(queue.entries.values(), range(_SAMPLE), strict=False)]
    context = look()
    outlook = context.costs.outlook(context)
    work = sum(outlook.work(one.seen or one.view(tables)) for one in sample) / max(len(sample), 1)
    share = max(tokens - limits.max_waiting_tokens, 0) / max(queue.tokens, 1)
    raise Refused(
        "queue_full",
        f"{len(queue)} requests with {queue.tokens} tokens are waiting, and at most {limits.max_waiting} with "
        f"{limits.max_waiting_tokens} may; try again later, or raise max_waiting or max_waiting_tokens",
        retry_after=outlook.backlog + work * max(ceil(share * len(queue)), 1),
    )


def check_deadline(entry: "Entry", tables: Tables, costs: CostModel, budget: int, now: float) -> None:
    """Check that a request that would be dropped if late can be in time, alone and as short as it may be.

    Raises:
        Refused: `hopeless`.
    """
    if not entry.job.request.drop_late:
        return
    entry.refresh(tables, costs, budget)
    if entry.latest < now:
        raise Refused(
            "hopeless",
            f"request {entry.job.id!r} would have had to start {now - entry.latest:.3f} s ago to meet its deadline; "
            "give it more time, or send it without drop_late",
        )
