"""What the language needs to know about tools: signatures to check against, estimates to price with.

`planlang` knows nobody. A catalogue (`catp.tools`) hands it a frozen `RegistryView` and an `Estimator`; tests hand it
their own.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import ToolName, Value
from catp.planlang.types import Type, TypeTable

__all__ = [
    "UNPRICED",
    "CallEstimate",
    "Effect",
    "Estimator",
    "Latency",
    "Param",
    "PriceRange",
    "RegistryView",
    "Size",
    "Startup",
    "ToolSig",
    "ValueFacts",
]

Effect: TypeAlias = Literal["pure", "read", "write"]
"""`pure`: same arguments, same result, touches nothing. `read`: looks at the world. `write`: changes it."""


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a tool. `choices` lists the only texts or numbers allowed; `default` may be any constant."""

    name: str
    type: Type
    required: bool = True
    default: Value | None = None
    choices: tuple[str | int | float, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class ToolSig:
    """The typed face of a tool: what a plan may say about it.

    `capability` is what the tool is for (`ocr`, `denoise`): planners read it, the language does not.
    """

    name: ToolName
    params: tuple[Param, ...]
    returns: Type
    effects: Effect = "pure"
    description: str = ""
    capability: str = ""

    def param(self, name: str) -> Param | None:
        """The parameter called `name`, or None."""
        return next((p for p in self.params if p.name == name), None)

    def __str__(self) -> str:
        params = ", ".join(f"{p.name}: {p.type}{'' if p.required else ' = ...'}" for p in self.params)
        return f"{self.name}({params}) -> {self.returns}"


@dataclass(frozen=True)
class RegistryView:
    """A frozen snapshot of a catalogue: tools in a fixed order (token ids are positions) and the types they use."""

    tools: tuple[ToolSig, ...]
    types: TypeTable = field(default_factory=TypeTable)

    def __post_init__(self) -> None:
        if len(self._by_name) != len(self.tools):
            raise ValueError("two tools share a name")

    def get(self, name: str) -> ToolSig | None:
        """The tool called `name`, or None."""
        return self._by_name.get(name)

    def index(self, name: str) -> int:
        """The position of the tool called `name`; raise `KeyError` if unknown."""
        return self._position[name]

    def __iter__(self) -> Iterator[ToolSig]:
        return iter(self.tools)

    def __len__(self) -> int:
        return len(self.tools)

    @cached_property
    def digest(self) -> str:
        """A hex SHA-256 over names, parameters, types and effects: two views that differ anywhere differ here."""
        tools = [[str(t), t.effects, [[p.name, list(p.choices)] for p in t.params]] for t in self.tools]
        types = [
            [d.name, d.parent, [[n, str(t)] for n, t in d.fields]]
            for d in sorted(self.types.defs.values(), key=lambda d: d.name)
        ]
        return hashlib.sha256(json.dumps([tools, types], sort_keys=True).encode()).hexdigest()

    @cached_property
    def _by_name(self) -> Mapping[str, ToolSig]:
        return {tool.name: tool for tool in self.tools}

    @cached_property
    def _position(self) -> Mapping[str, int]:
        return {tool.name: position for position, tool in enumerate(self.tools)}


@dataclass(frozen=True, slots=True)
class Size:
    """How big a value is: `units` of one element (pixels, characters or bytes by type) and how many elements."""

    units: int = 1
    count: int = 1


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """What is known of a value before it exists: its type, its size, and its condition.

    `condition` labels what makes an input easy or hard (`"clean"`, `"noisy"`), followed by what was done to it
    (`"noisy/denoise_dct"`); profiles hold accuracy by condition. Empty means unknown.
    """

    type: Type
    size: Size = Size()
    condition: str = ""


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Low, expected and 95th-percentile price. All three are None when the price is unknown, never 0 for unknown."""

    low: Money | None
    expected: Money | None
    p95: Money | None

    @property
    def priced(self) -> bool:
        """True if the price is known."""
        return self.expected is not None

    def __str__(self) -> str:
        if self.low is None or self.expected is None or self.p95 is None:
            return "unpriced"
        return f"${format_usd(self.expected)} (${format_usd(self.low)} to ${format_usd(self.p95)})"


UNPRICED = PriceRange(None, None, None)


@dataclass(frozen=True, slots=True)
class Latency:
    """Expected and 95th-percentile time in milliseconds."""

    expected_ms: float = 0.0
    p95_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Startup:
    """The part of a call's expected price and of its time that only the first call here pays (a cold start).

    Of several calls made at once, each of the first `parallel` pays it: they cannot share what is started.
    """

    price: Money = Money(0)
    latency: Latency = Latency()
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """What one call is predicted to cost, take and yield, if it were the only one.

    `startup` is included in `price` and `latency`; whoever adds up several calls counts it once. `accuracy` lies in
    [0, 1], None if never measured or declared; `failure` is the share of calls that fail; `output` are the facts of the
    result; `count` is how many measured calls stand behind the figures. `timed` is False if nothing is known of the
    time, so that a `latency` of 0 means unknown.
    """

    price: PriceRange
    latency: Latency
    output: ValueFacts
    accuracy: float | None = None
    failure: float = 0.0
    count: int = 0
    startup: Startup = Startup()
    timed: bool = True

    def without_startup(self) -> "CallEstimate":
        """The same call made again: nothing has to be started."""
        once = self.startup
        if once == Startup():
            return self
        price, latency = self.price, self.latency
        if price.expected is not None:
            price = PriceRange(price.low, Money(price.expected - once.price), price.p95)
        warm = Latency(latency.expected_ms - once.latency.expected_ms, latency.p95_ms - once.latency.p95_ms)
        return replace(self, price=price, latency=warm, startup=Startup())


class Estimator(Protocol):
    """Predicts single calls; composing them over a plan is `catp.planlang.passes.estimate`'s work."""

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call of `tool` given what is known of its arguments; unknown tools raise `KeyError`."""
        ...
