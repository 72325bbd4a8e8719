"""A ticket whose events come from another thread: a bounded mailbox that its writer never waits for.

The writer appends; the reader is woken through the event loop only if it sleeps, so that an event costs the engine's
thread an append. A reader that falls `capacity` events behind is cut off: what it has not read yet is dropped, the
request is cancelled with the code `slow_reader`, and its terminal event still arrives.
"""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from catp.serving.server.events import EndCode, Event, Finished

__all__ = ["CAPACITY", "Mailbox"]

CAPACITY = 1024
"""Events: seconds of decoding, and less than a megabyte."""


class Mailbox:
    """Implements `Ticket`; make it in the event loop that reads it.

    Args:
        id: the request's.
        on_cancel: told once, with reason and code, that nobody wants the rest; called from any thread, must not block.
        prompt_tokens: tokens of its prompt.
        capacity: most events that wait to be read.
    """

    def __init__(
        self, id: str, on_cancel: Callable[[str, EndCode], None], *, prompt_tokens: int = 0, capacity: int = CAPACITY
    ) -> None:
        self._id, self._prompt_tokens, self._capacity, self._on_cancel = id, prompt_tokens, capacity, on_cancel
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._sleeps = False
        self._cancelled = self._ended = False
        self._cut: tuple[str, EndCode] | None = None

    @property
    def id(self) -> str:
        """The request's id."""
        return self._id

    @property
    def prompt_tokens(self) -> int:
        """Tokens of its prompt."""
        return self._prompt_tokens

    @property
    def ended(self) -> bool:
        """Whether the terminal event was posted."""
        return self._ended

    def post(self, event: Event) -> bool:
        """Add an event, from any thread; whatever comes after the terminal event is dropped, and False returned."""
        cut = False
        with self._lock:
            if self._ended:
                return False
            if isinstance(event, Finished):
                self._ended = True
                self._events.append(self._as_cut(event))
            elif self._cut is not None:
                return True
            elif len(self._events) >= self._capacity:
                self._events.clear()
                self._cut = f"the client did not read {self._capacity} events that were waiting for it", "slow_reader"
                cut = True
            else:
                self._events.append(event)
            wake, self._sleeps = self._sleeps, False
        if wake:
            self._post_wake()
        if cut and self._cut is not None:
            self.cancel(*self._cut)
        return True

    def cancel(self, reason: str, code: EndCode = "cancelled") -> None:
        """Say once that nobody wants the rest."""
        with self._lock:
            if self._cancelled or self._ended:
                return
            self._cancelled = True
        self._on_cancel(reason, code)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._read()

    async def _read(self) -> AsyncIterator[Event]:
        while True:
            with self._lock:
                event = self._events.popleft() if self._events else None
                if event is None:
                    self._sleeps = True
                    self._wake.clear()
            if event is None:
                await self._wake.wait()
                continue
            yield event
            if isinstance(event, Finished):
                return

    def _as_cut(self, event: Finished) -> Finished:
        """The end of a request that was cut off says so, whoever reported it and however it ended meanwhile."""
        if self._cut is None:
            return event
        message, code = self._cut
        return replace(event, reason="cancelled", value=None, code=code, message=message)

    def _post_wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the event loop was closed: nobody reads any more
            pass
