"""What a run may be given from outside: a journal to survive in, a cache to save money with, pools to run on.

The runtime knows these only as protocols; `catp.store` keeps journals and caches on disk, `catp.tools.pools` runs calls
elsewhere.
"""

from typing import Any, Literal, Protocol, TypeAlias

from catp.runtime.events import RunEvent

__all__ = ["Journal", "JournalUnavailable", "ValueKind"]

ValueKind: TypeAlias = Literal["input", "step", "output"]


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
