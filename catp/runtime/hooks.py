"""What a run may be given from outside: a journal to survive in, a cache to save money with, pools to run on.

The runtime knows these only as protocols; `catp.store` keeps journals and caches on disk, `catp.tools.pools` runs calls
elsewhere.
"""

from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from catp.planlang.money import Money
from catp.planlang.registry_view import CallEstimate
from catp.runtime.codec import Encoded
from catp.runtime.commands import Call
from catp.runtime.events import RunEvent
from catp.tools.spec import ToolBackend, ToolSpec

__all__ = [
    "CacheEntry",
    "CallCache",
    "Found",
    "Journal",
    "JournalUnavailable",
    "StandIn",
    "Understudy",
    "ValueKey",
    "ValueKind",
]

ValueKind: TypeAlias = Literal["input", "step", "output"]
ValueKey: TypeAlias = tuple[ValueKind, str, int | None]
"""Kind, name and element (None unless mapped) of a value in a journal."""


class JournalUnavailable(RuntimeError):
    """The journal cannot be written; the message names the store and the reason."""


class Journal(Protocol):
    """Keeps the events and values of one run so that it can be resumed. Both methods return at once and never raise.

    Events and values reach the disk in the order in which they are given: a value is there whenever the event that
    announces it (`node.finished`) is.
    """

    def event(self, event: RunEvent) -> None:
        """Keep one event."""
        ...

    def value(self, kind: ValueKind, name: str, element: int | None, value: Any) -> None:
        """Keep the value of an input, a step (or one element of a mapped step) or an output."""
        ...

    async def durable(self) -> None:
        """Wait until everything given so far is on disk; raise `JournalUnavailable` if it cannot be."""
        ...


class CacheEntry(NamedTuple):
    """The result of a call: of which version of which tool, the value, what it cost (None if unpriced), how long."""

    tool: str
    version: str
    encoded: Encoded
    price: Money | None
    ms: float


class Found(NamedTuple):
    """A kept result and its age in seconds."""

    entry: CacheEntry
    age_s: float


class CallCache(Protocol):
    """Keeps results of calls by their key (`catp.runtime.codec.digest_arguments`), for any number of runs.

    A cache that fails is a cache that holds nothing: no method raises, `problem` says what was wrong.
    """

    problem: str | None

    async def get(self, key: str) -> Found | None:
        """Return what is kept, however old; None if there is nothing."""
        ...

    async def put(self, key: str, entry: CacheEntry, life_s: float) -> None:
        """Keep a result, which nobody will ask for after `life_s` seconds (infinity: for ever)."""
        ...

    async def drop(self, key: str) -> None:
        """Forget a result that cannot be used."""
        ...

    def used(self, key: str, times: int) -> None:
        """A kept result has spared so many calls."""
        ...


class StandIn(NamedTuple):
    """What answers a call in place of its tool: with which limits and price, and what is expected of it."""

    spec: ToolSpec
    backend: ToolBackend
    estimate: CallEstimate | None


class Understudy(Protocol):
    """Plays all tools of a run, as a replay does; the tools themselves are then not even asked whether they could."""

    def stand_in(self, call: Call, spec: ToolSpec, estimate: CallEstimate | None) -> StandIn:
        """Return who answers one call."""
        ...
