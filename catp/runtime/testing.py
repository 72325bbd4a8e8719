"""In-memory tools for tests: what they return, how long they take, what they cost, how they fail.

With a `VirtualClock` a plan of minutes runs in milliseconds and its times are exact:

    clock = VirtualClock()
    tools = FakeCatalogue(clock)
    tools.add("search", takes_s=3.0)
    outcome = await execute(compiled("a = search()\\nout a", tools), {}, tools, ledger=Ledger(), clock=clock)
    assert outcome.wall_ms == 3000
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catp.planlang.compile import compile_plan
from catp.planlang.compiled import CompiledPlan
from catp.planlang.money import Money, usd
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.parser import parse
from catp.planlang.registry_view import (
    UNPRICED,
    CallEstimate,
    Effect,
    Latency,
    Param,
    PriceRange,
    RegistryView,
    Size,
    ToolSig,
    ValueFacts,
)
from catp.planlang.types import ANY, Type
from catp.runtime.clock import Clock
from catp.runtime.events import RunEvent
from catp.runtime.fold import restore
from catp.runtime.hooks import ValueKey, ValueKind
from catp.runtime.restore import Restored
from catp.tools.errors import ToolError, ToolFailed, ToolTimeout
from catp.tools.spec import BackendResult, ToolLimits, ToolSpec
from catp.tools.usage import Charge, PriceModel, Usage

__all__ = ["CENT", "FakeBackend", "FakeCatalogue", "FixedPrice", "MemoryJournal", "compiled"]

CENT = usd("0.01")
_NO_LIMITS = ToolLimits()


@dataclass
class FixedPrice:
    """Charges so much a call; `units["price"]` of the usage overrides it."""

    amount: Money = CENT

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Charge the fixed amount."""
        amount = Money(int(usage.units.get("price", self.amount)))
        return (Charge("call", 1.0, "call", "?", amount),)

    def describe(self) -> str:
        """Say so."""
        return "fixed"


@dataclass
class FakeBackend:
    """One tool. `work` gets the arguments and returns the value or raises; `script` overrides it call by call.

    Each entry of `script` is a value, or an exception (class or instance) to raise. `takes_s` may be a function of the
    arguments. `hang` ignores the timeout; `deaf` also swallows cancellation.
    """

    clock: Clock
    name: str
    work: Callable[..., Any] = lambda **args: args
    takes_s: float | Callable[[Mapping[str, Any]], float] = 0.0
    script: list[Any] = field(default_factory=list)
    price: Callable[[Mapping[str, Any]], int] | None = None
    hang: bool = False
    deaf: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    cancelled: int = 0
    running: int = 0
    most: int = 0
    closed: bool = False

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Do what this tool was told to do."""
        self.calls.append(dict(args))
        self.started.append(self.clock.now_ns() / 1e9)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._call(args, timeout)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _call(self, args: Mapping[str, Any], timeout: float) -> BackendResult:
        takes = self.takes_s(args) if callable(self.takes_s) else self.takes_s
        units = {} if self.price is None else {"price": float(self.price(args))}
        if self.hang or self.deaf:
            await self._hang()
        await self.clock.sleep(min(takes, timeout))
        usage = Usage(wall_ms=min(takes, timeout) * 1e3, cpu_ms=1.0, units=units)
        if takes > timeout:
            raise ToolTimeout(self.name, f"took longer than {timeout:g} s", usage=usage)
        outcome = self.script.pop(0) if self.script else self.work
        if isinstance(outcome, type) and issubclass(outcome, BaseException):
            outcome = outcome(self.name, "scripted", usage=usage) if issubclass(outcome, ToolError) else outcome()
        if isinstance(outcome, BaseException):
            raise outcome
        try:
            value = outcome(**args) if callable(outcome) else outcome
        except ToolError:
            raise
        except Exception as error:
            raise ToolFailed(self.name, str(error), usage=usage, error_type=type(error).__name__) from error
        return BackendResult(value, usage)

    async def _hang(self) -> None:
        while True:
            try:
                await self.clock.sleep(10_000)
                return
            except asyncio.CancelledError:
                if not self.deaf:
                    raise

    async def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class FakeCatalogue:
    """A few fake tools with fixed prices; also the estimator of them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.tools: dict[str, ToolSpec] = {}
        self.backends: dict[str, FakeBackend] = {}
        self.estimates: dict[str, CallEstimate] = {}

    def add(
        self,
        name: str,
        work: Callable[..., Any] | None = None,
        *,
        params: Sequence[str] = ("x",),
        takes_s: float | Callable[[Mapping[str, Any]], float] = 0.0,
        script: Iterable[Any] = (),
        price: PriceModel | None = None,
        actual: Callable[[Mapping[str, Any]], int] | None = None,
        p95: Money | None = CENT,
        expected: Money | None = None,
        effects: Effect = "read",
        limits: ToolLimits = _NO_LIMITS,
        returns: Type = ANY,
        unavailable: str | None = None,
        cache_ttl_s: float | None = None,
        hang: bool = False,
        deaf: bool = False,
    ) -> FakeBackend:
        """Add one tool; by default it returns `name(args)` as text, takes no time and costs a cent."""
        backend = FakeBackend(
            self.clock, name, work or _echo(name), takes_s, list(script), actual, hang=hang, deaf=deaf
        )
        signature = ToolSig(ToolName(name), tuple(Param(p, ANY, required=False) for p in params), returns, effects)
        spec = ToolSpec(
            signature, backend, price or FixedPrice(), limits, unavailable=lambda: unavailable, cache_ttl_s=cache_ttl_s
        )
        guess = UNPRICED if p95 is None else PriceRange(p95, p95 if expected is None else expected, p95)
        latency = takes_s * 1e3 if not callable(takes_s) else 0.0
        self.tools[name] = spec
        self.backends[name] = backend
        self.estimates[name] = CallEstimate(guess, Latency(latency, latency), ValueFacts(returns, Size()))
        return backend

    def get(self, name: str) -> ToolSpec:
        """The tool called `name`."""
        return self.tools[name]

    def estimator(self, *, live: bool = False) -> "FakeCatalogue":
        """The catalogue itself."""
        return self

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """The estimate that `add` was given."""
        return self.estimates[tool]

    def view(self) -> RegistryView:
        """The signatures, for the compiler."""
        return RegistryView(tuple(spec.signature for spec in self.tools.values()))


class MemoryJournal:
    """Keeps a run in memory, and can lose the end of it as a killed process does.

    `entries` are events, and values as (key, value). `written` of them are sure to be on disk: those before the last
    `durable`. Once it is `dead` it takes nothing more, and waits forever on `durable`.
    """

    def __init__(self, entries: "Iterable[RunEvent | tuple[ValueKey, Any]]" = (), *, die_at: int | None = None) -> None:
        self.entries = list(entries)
        self.written = len(self.entries)
        self.die_at = die_at
        self.died = asyncio.Event()

    @property
    def dead(self) -> bool:
        """True from the moment the process is taken to be killed."""
        return self.died.is_set()

    def event(self, event: RunEvent) -> None:
        """Keep one event."""
        self._add(event)

    def value(self, kind: ValueKind, name: str, element: int | None, value: Any) -> None:
        """Keep one value."""
        self._add(((kind, name, element), value))

    def _add(self, entry: "RunEvent | tuple[ValueKey, Any]") -> None:
        if not self.dead:
            self.entries.append(entry)
            if len(self.entries) == self.die_at:
                self.died.set()

    async def durable(self) -> None:
        """Mark everything so far as written."""
        if self.dead:
            await asyncio.get_running_loop().create_future()
        self.written = len(self.entries)

    def values(self, length: int | None = None) -> dict[ValueKey, Any]:
        """The values among the first `length` entries (all by default)."""
        return dict(entry for entry in self.entries[:length] if not isinstance(entry, RunEvent))

    def cut(self, length: int | None = None) -> Restored:
        """What the first `length` entries tell (all by default)."""
        return restore((e for e in self.entries[:length] if isinstance(e, RunEvent)), self.values(length))


def _echo(name: str) -> Callable[..., Any]:
    return lambda **args: f"{name}({','.join(str(value) for value in args.values())})"


def compiled(source: str | Plan, catalogue: FakeCatalogue) -> CompiledPlan:
    """Parse and compile a plan over fake tools."""
    plan = parse(source) if isinstance(source, str) else source
    return compile_plan(plan, catalogue.view(), estimator=catalogue)
