"""Writes a run's events in the background, in batches, so that recording never slows the run down."""

import threading
from queue import Empty, SimpleQueue

from catp.runtime.events import RunEvent
from catp.store.store import RunStore, StoreError

__all__ = ["RunRecorder"]

_FLUSH_S = 0.05
_BATCH = 500


class RunRecorder:
    """Takes events from the event loop without blocking it; `close` waits until all are on disk.

    A store that cannot be written must not stop a run that already costs money: the first error is kept and raised by
    `close`, after the run.
    """

    def __init__(self, store: RunStore) -> None:
        self._store = store
        self._queue: SimpleQueue[RunEvent | None] = SimpleQueue()
        self._error: StoreError | None = None
        self._thread = threading.Thread(target=self._write, name="catp-recorder", daemon=True)
        self._thread.start()

    def record(self, event: RunEvent) -> None:
        """Queue one event."""
        self._queue.put(event)

    def close(self) -> None:
        """Write what is queued and stop; raise `StoreError` if anything could not be written."""
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        batch: list[RunEvent] = []
        while True:
            try:
                event = self._queue.get(timeout=_FLUSH_S if batch else None)
            except Empty:
                self._flush(batch)
                continue
            if event is not None:
                batch.append(event)
            if event is None or len(batch) >= _BATCH:
                self._flush(batch)
            if event is None:
                return

    def _flush(self, batch: list[RunEvent]) -> None:
        try:
            if self._error is None:
                self._store.append(batch)
        except StoreError as error:
            self._error = error
        batch.clear()
