"""What one call needs: of its run, and of a backend that knows idempotency keys."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from catp.planlang.money import Money
from catp.runtime.clock import Clock
from catp.runtime.commands import Event
from catp.runtime.hooks import Journal
from catp.runtime.ledger import BudgetRefused, Ledger, Settlement
from catp.runtime.slots import Slots
from catp.tools.call_fact import CallFact
from catp.tools.spec import BackendResult

if TYPE_CHECKING:
    from catp.runtime.call_state import CallState
    from catp.runtime.calls import ToolCall

__all__ = ["CallHost", "KeyedBackend"]


@runtime_checkable
class KeyedBackend(Protocol):
    """A backend that can pass an idempotency key on, so that its service acts only once per key."""

    async def call_with_key(self, args: Mapping[str, Any], *, timeout: float, key: str) -> BackendResult:
        """Run one call under an idempotency key."""
        ...


class CallHost(Protocol):
    """What a call needs of its run."""

    run_id: str
    ledger: Ledger
    clock: Clock
    slots: Slots

    def post(self, event: Event) -> None:
        """Hand an event to the reducer."""
        ...

    def kept_back(self, call: "ToolCall") -> Money:
        """Money that must stay free beside what the call reserves."""
        ...

    def reserved(self, call: "ToolCall", amount: Money) -> None:
        """The call holds its money."""
        ...

    def park(self, call: "ToolCall", refusal: BudgetRefused) -> None:
        """Keep a call until money may have come back."""
        ...

    def refused(self, call: "ToolCall", refusal: BudgetRefused) -> None:
        """The call will not be made: the money is not there."""
        ...

    def settled(self, call: "CallState", settlement: Settlement) -> None:
        """Count what a call cost."""
        ...

    @property
    def journal(self) -> Journal | None:
        """Where the run is kept, if anywhere."""
        ...

    @property
    def on_call(self) -> Callable[[CallFact], None] | None:
        """Told about every call that taught something."""
        ...

    def forget(self, call: "CallState") -> None:
        """The call gave no value: nobody will ask for it again."""
        ...

    def stop(self, call: "ToolCall") -> None:
        """Cancel a running call in the background."""
        ...

    def submit(self, call: "ToolCall") -> None:
        """Queue a call for a slot, and start what there is room for."""
        ...
