"""Why a request is refused or ends: typed, with a machine-readable reason and what to do."""

from typing import Literal, TypeAlias

__all__ = ["Cancelled", "EngineError", "EngineFailed", "FinishReason", "NoBlocks", "OutOfMemory", "Reason", "Refused"]

Reason: TypeAlias = Literal[
    "too_long",  # prompt and bound do not fit the context
    "too_large",  # they do not fit the pool, even alone
    "bad_tokens",  # ids outside the vocabulary
    "bad_request",  # n, sampling or shape make no sense
    "bad_grammar",  # a constraint that does not compile
    "unknown_model",
    "unknown_adapter",
    "rate_limited",  # a tenant's limit
    "hopeless",  # its deadline cannot be met any more
    "queue_full",
    "draining",
    "not_ready",
]
"""Why a request is not accepted. 400: the request is wrong; 404: no such thing; 429: this tenant, or this deadline;
503: this server, now."""

FinishReason: TypeAlias = Literal["stop", "length", "cancelled", "deadline", "failed"]
"""How an accepted request ends, exactly once."""

_STATUS: dict[Reason, int] = {
    "too_long": 400, "too_large": 400, "bad_tokens": 400, "bad_request": 400, "bad_grammar": 400,
    "unknown_model": 404, "unknown_adapter": 404, "rate_limited": 429, "hopeless": 429,
    "queue_full": 503, "draining": 503, "not_ready": 503,
}  # fmt: skip


class EngineError(Exception):
    """Base of everything the engine raises on purpose."""


class Refused(EngineError):
    """A request was not accepted.

    Args:
        reason: machine-readable.
        message: names the thing, the place and the fix.
        retry_after: seconds after which it may be accepted; None if never as it is.
    """

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS[self.reason]


class Cancelled(EngineError):
    """The request was cancelled: by its caller, by a disconnect, or by a shutdown; the message says which."""


class EngineFailed(EngineError):
    """The request failed after it was accepted; the message says why, and whether to try again."""


class NoBlocks(EngineError):
    """The pool has not as many free blocks as are needed now."""


class OutOfMemory(EngineError):
    """The device ran out of memory in a step; the step computed nothing."""
