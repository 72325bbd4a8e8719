"""Those who watch a run: its journal, and callbacks for events and calls. None of them can stop what it watches."""

from collections.abc import Callable
from typing import Any

from catp.runtime.events import RunEvent
from catp.runtime.hooks import Journal, ValueKind
from catp.tools.call_fact import CallFact

__all__ = ["Observers"]


class Observers:
    """The observers of one run, and the events they were told.

    Args:
        journal: Keeps events and values; never raises.
        on_event: Called with every event, in order.
        on_call: Called with what every call used.
    """

    def __init__(
        self,
        journal: Journal | None,
        on_event: Callable[[RunEvent], None] | None,
        on_call: Callable[[CallFact], None] | None,
    ) -> None:
        self.events: list[RunEvent] = []
        self.journal = journal
        self.on_call = None if on_call is None else self._guarded(on_call)
        self.error: Exception | None = None
        """The first exception that an observer raised."""
        self._on_event = on_event

    def tell(self, event: RunEvent) -> None:
        """Something has happened."""
        self.events.append(event)
        if self.journal is not None:
            self.journal.event(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception as error:
                self.failed(error)

    def keep(self, kind: ValueKind, name: str, element: int | None, value: Any) -> None:
        """There is a value; it must be kept before the event that announces it is told."""
        if self.journal is not None:
            self.journal.value(kind, name, element, value)

    def failed(self, error: Exception) -> None:
        """Keep the first error of those who watch or help: it must not stop the run."""
        self.error = self.error or error

    def _guarded(self, observer: Callable[[CallFact], None]) -> Callable[[CallFact], None]:
        def observe(call: CallFact) -> None:
            try:
                observer(call)
            except Exception as error:
                self.failed(error)

        return observe
