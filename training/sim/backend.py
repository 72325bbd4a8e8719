"""Simulated tools as the runtime sees them: values, backends and price models, all in this process.

A `SimValue` carries its true state along; nobody who plans can see one. Backends draw failures and noise from a
generator of their own, so a run's figures depend on the seed and the order of calls only.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from catp.planlang.money import Money, format_usd
from catp.runtime.clock import Clock
from catp.tools.errors import ToolFailed
from catp.tools.spec import BackendResult
from catp.tools.usage import Charge, Usage
from catp.training.sim.effects import State, apply
from catp.training.sim.tools import SimTool, charged, noise

__all__ = ["SimBackend", "SimPrice", "SimValue", "forecast"]

_P95 = 1.645


class SimValue:
    """One value in its true state; `text` is the text of what was read."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.width, self.height = max(1, round(state.units)), 1

    @property
    def text(self) -> "SimValue":
        """The text that a `Reading` carries."""
        return self

    @property
    def code(self) -> str:
        """The content of a record; a simulator has nothing better to say than how right it is."""
        return f"{self.confidence:.6f}"

    @property
    def confidence(self) -> float:
        """As a field of a record."""
        return float(self.state.quality)


class SimPrice:
    """`(fee + rate x load) x factor` in nano-USD, rounded up once; `load` is metered by the backend."""

    needs = frozenset({"unit:load"})

    def __init__(self, tool: SimTool, factor: float) -> None:
        self._tool, self._factor = tool, factor

    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        """Return one charge, or None if the load was not metered."""
        if "load" not in usage.units:
            return None
        load = usage.units["load"]
        amount = charged(self._tool, load, self._factor)
        return (Charge("custom", load, "load", "simulated", amount),)

    def describe(self) -> str:
        """Return the rule in words."""
        fee, rate = Money(round(self._tool.fee * self._factor)), Money(round(self._tool.rate * self._factor))
        unit = f"(units / {self._tool.usual:.0f})^{self._tool.exponent:.3f}"
        return f"simulated: ${format_usd(fee)} a call + ${format_usd(rate)} x {unit}"


class SimBackend:
    """Runs one simulated tool. With a `clock`, calls take their time on it; without one they are immediate."""

    def __init__(self, tool: SimTool, seed: int, clock: Clock | None = None) -> None:
        self._tool, self._clock = tool, clock
        self._rng = np.random.default_rng([seed, 3])

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        """Return the value the tool makes; raise `ToolFailed`, which is charged for, as often as it fails."""
        tool, rng = self._tool, self._rng
        states = [item.state for arg in args.values() for item in (arg if isinstance(arg, list) else [arg])]
        units = sum(state.units for state in states)
        load = tool.load(units) * noise(tool.price_noise, rng)
        ms = tool.ms(units) * noise(tool.time_noise, rng)
        fails = rng.random() < tool.failure
        if self._clock is not None:
            await self._clock.sleep(ms / 1e3)
        else:
            await asyncio.sleep(0)
        usage = Usage(wall_ms=ms, cpu_ms=ms, units={"load": load})
        if fails:
            raise ToolFailed(tool.name, "simulated failure", usage=usage, error_type="SimulatedFailure")
        return BackendResult(SimValue(apply(tool, states, units)), usage)

    async def close(self) -> None:
        """Nothing to close."""


def forecast(tool: SimTool) -> Callable[[int], tuple[Usage, Usage, Usage]]:
    """Return what a tool's author would declare: low, expected and 95th-percentile use by input size."""
    return lambda size: (_usage(tool, size, -_P95), _usage(tool, size, None), _usage(tool, size, _P95))


def _usage(tool: SimTool, size: int, at: float | None) -> Usage:
    load, ms = tool.load(size), tool.ms(size)
    if at is not None:
        load *= math.exp(at * tool.price_noise - tool.price_noise**2 / 2.0)
        ms *= math.exp(at * tool.time_noise - tool.time_noise**2 / 2.0)
    return Usage(wall_ms=ms, cpu_ms=ms, units={"load": load})
