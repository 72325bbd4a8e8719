"""What a tool is: a signature to plan with, a backend to call, a price to charge, limits to keep."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import ToolSig
from catp.planlang.types import TypeDef
from catp.tools.errors import ToolDefinitionError
from catp.tools.lifetime import check_lifetime
from catp.tools.usage import PriceModel, Usage

__all__ = [
    "BackendResult",
    "ModelBackend",
    "QueueingBackend",
    "StartingBackend",
    "ToolBackend",
    "ToolLimits",
    "ToolSpec",
    "check_price",
]


@dataclass(frozen=True, slots=True)
class BackendResult:
    """What a backend returns: the value and what producing it used."""

    value: Any
    usage: Usage


class ToolBackend(Protocol):
    """Runs calls somewhere: in this event loop, in a worker process, in another program, behind HTTP.

    `call` must stop the work when it is cancelled or when `timeout` seconds have passed (raising `ToolTimeout`), and
    raise `ToolFailed` with the metered usage so far when the tool itself fails. A `CancelledError` may carry the usage
    of the stopped call as its attribute `usage` (see `catp.tools.usage.carrying`).
    """

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Run one call with complete keyword arguments."""
        ...

    async def close(self) -> None:
        """Stop workers and release connections; calling it twice is harmless."""
        ...


@runtime_checkable
class StartingBackend(Protocol):
    """A backend whose first call has to start or load something."""

    def warm(self) -> bool:
        """True if a call made now would find everything started."""
        ...

    def places(self) -> int:
        """How many calls made at once would each have to start something."""
        ...


@runtime_checkable
class QueueingBackend(Protocol):
    """A backend with few places, in which a call may have to wait for one before it starts.

    Waiting is neither running nor paid for: `began` is awaited once, when the call has its place and its time starts;
    the work begins only after it, and not at all if it raises.
    """

    async def call_when_free(
        self, args: Mapping[str, Any], *, timeout: float, began: Callable[[], Awaitable[None]]
    ) -> BackendResult:
        """Like `call`; a call that is stopped before has used nothing."""
        ...


@runtime_checkable
class ModelBackend(Protocol):
    """A backend whose calls ask one language model: `request` holds the fixed part of what is sent to `endpoint`."""

    endpoint: str
    request: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """How hard a tool may be driven: calls at once, calls per second, and seconds per call."""

    concurrency: int | None = None
    rate_per_s: float | None = None
    timeout_s: float = 60.0


@dataclass(frozen=True)
class ToolSpec:
    """One tool of a catalogue. Built by `@tool` and the adapters; immutable.

    Raises `ToolDefinitionError` if `price` is no price model, or if results live longer than `effects` allow.
    """

    signature: ToolSig
    backend: ToolBackend
    price: PriceModel
    limits: ToolLimits = ToolLimits()
    version: str = "1"
    capability: str = ""
    """What the tool is for (`ocr`, `denoise`): tools with the same capability are rivals."""
    accuracy: float | None = None
    """Declared accuracy in [0, 1]; measured accuracy in the profile takes precedence."""
    types: tuple[TypeDef, ...] = ()
    """Record types the signature uses, in definition order."""
    forecast: Callable[[int], tuple[Usage, Usage, Usage]] | None = None
    """Low, expected and 95th-percentile usage for an input of so many units, until there are measured calls."""
    unavailable: Callable[[], str | None] = field(default=lambda: None)
    """Why the tool cannot run here (`"needs the Debian package tesseract-ocr"`), or None if it can."""
    cache_ttl_s: float | None = None
    """Seconds for which a result may be used again for the same arguments: infinity for ever, None not at all."""
    definition: str = ""
    """What else a result depends on (a digest of a prompt, of source code): with the version, part of its key."""

    def __post_init__(self) -> None:
        check_price(self.name, self.price)
        try:
            check_lifetime(self.signature.effects, self.cache_ttl_s)
        except ValueError as error:
            raise ToolDefinitionError(f"tool {self.name!r}: {error}") from None

    @property
    def name(self) -> ToolName:
        """The full, dotted name."""
        return self.signature.name


def check_price(tool: str, price: object) -> None:
    """Raise `ToolDefinitionError` if `price` is not an object that can charge for a call."""
    if isinstance(price, type) or not callable(getattr(price, "charge", None)):
        number = isinstance(price, str | int | float | Decimal) and not isinstance(price, bool)
        fix = f'PerCall("{price}")' if number and price else "Free()" if number else 'PerCall("0.01")'
        raise ToolDefinitionError(f"tool {tool!r}: {price!r} is no price model; write price={fix}")
