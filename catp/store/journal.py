"""The journal of one run: the runtime's `Journal` protocol over the store's writer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from catp.runtime.events import RunEvent
from catp.runtime.hooks import JournalUnavailable, ValueKind
from catp.store.errors import RunOwned, StoreError, StoreUnavailable
from catp.store.plans import KeptPlans
from catp.store.redaction import Redaction
from catp.store.writer import Entry, JournalWriter, Track, Value

__all__ = ["RunJournal"]


class RunJournal:
    """Keeps the events and values of one run; made by `RunStore.begin` and `RunStore.resume`.

    Values are encoded in the background: they must not be changed after they were given. A run whose record cannot be
    kept goes on; `durable` and `close` say so.
    """

    def __init__(
        self, writer: JournalWriter, run_id: str, *, store: str, resumed: bool = False, plans: KeptPlans | None = None,
        redaction: Redaction | None = None,
    ) -> None:  # fmt: skip
        self.run_id = run_id
        self.plan = None if plans is None else plans.key
        """What the plan of a new run is kept under: its digest, unless a plan with other names has that."""
        self._redaction = redaction
        self._writer = writer
        self._store = store
        self._track = Track(run_id)
        self._begun = resumed
        self._held: list[Value] = []
        self._plans = () if plans is None else plans.rows
        writer.drive(self._track)

    def event(self, event: RunEvent) -> None:
        """Keep one event."""
        if self._redaction is not None:
            event = self._redaction.event(event)
        if self._begun:
            self._writer.put(Entry(self._track, (event,)))
        else:  # the inputs come before the run's first event, but their rows refer to the run
            self._begun = True
            self._writer.put(Entry(self._track, (event,), tuple(self._held), plans=self._plans))
            self._held.clear()
            self._plans = ()

    def value(self, kind: ValueKind, name: str, element: int | None, value: Any) -> None:
        """Keep the value of an input, a step (or one element of a mapped step) or an output."""
        redacted = False
        if self._redaction is not None:
            value, redacted = self._redaction.value(kind, name, value)
        kept = Value(kind, name, element, value, redacted)
        if self._begun:
            self._writer.put(Entry(self._track, (), (kept,)))
        else:
            self._held.append(kept)

    @property
    def problem(self) -> str | None:
        """Why the rest of the record is lost, as far as is known; None if it is not."""
        return None if self._track.problem is None else str(self._track.problem)

    @property
    def taken_over(self) -> bool:
        """True once it is known that another process drives the run."""
        return isinstance(self._track.problem, RunOwned)

    def heed(self, cancel: Callable[[str], None]) -> None:
        """Call `cancel` in this event loop with the reason, if anybody asks for the run to be stopped.

        It is called again and again until the journal is closed.
        """
        loop = asyncio.get_running_loop()

        def stop(reason: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: nothing runs any more
                loop.call_soon_threadsafe(cancel, reason)

        self._track.on_stop = stop

    async def durable(self) -> None:
        """Wait until everything given so far is on the disk.

        Raises:
            JournalUnavailable: The store could not be written for as long as it may be busy, or the rest of the record
                is lost: another process took the run over, or too much was waiting.
        """
        try:
            await self._flush(durable=True)
        except StoreError as error:
            raise JournalUnavailable(str(error)) from error

    async def close(self) -> str | None:
        """Write the rest and stop driving the run; return None, or why the record is not complete."""
        try:
            await self._flush(release=True)
        except StoreError as error:
            return str(error)
        return None

    async def _flush(self, *, durable: bool = False, release: bool = False) -> None:
        done: Future[None] = Future()
        self._writer.put(Entry(self._track, done=done, durable=durable, release=release))
        try:
            await asyncio.wait_for(asyncio.wrap_future(done), self._writer.patience_s)
        except TimeoutError:
            trouble = self._writer.trouble or StoreUnavailable(f"run store {self._store}: too slow")
            raise trouble from None
