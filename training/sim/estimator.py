"""What a planner may know of calls before they are made: the simulator's own expectations, given what a look says.

Conditions are read as labels followed by what was done: `noise/fix_noise_a/fix_blur_c`. Text that was read from an
image carries `read`: it has no damage of its own. Along a chain the accuracies multiply to the exact expected quality;
for a join of two branches of one damaged input they do not, and calls of a map are taken to fail as one.
"""

import math
from collections.abc import Mapping

import numpy as np

from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import CallEstimate, Latency, PriceRange, Size, ValueFacts
from catp.training.evaluate.candidates import Floats
from catp.training.sim.effects import State, apply, worth
from catp.training.sim.tools import SimTool
from catp.training.sim.world import World

__all__ = ["SimEstimator"]

_READ = "read"
_P95 = 1.645


class SimEstimator:
    """Implements `catp.planlang.registry_view.Estimator` for one world and price table."""

    def __init__(self, world: World, table: int = 0) -> None:
        self._world, self._factors = world, world.table(table)
        self._states: dict[tuple[str, str], tuple[State, Floats]] = {}

    def estimate(self, tool: ToolName, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """Predict one call; raise `KeyError` if the world does not have the tool."""
        made = self._world.tool(tool)
        facts = list(args.values())
        units = float(sum(f.size.units * f.size.count for f in facts))
        before, weights = self._state(facts[0])
        states = [before, *(State(float(f.size.units), np.zeros((0, 1)), np.ones(1)) for f in facts[1:])]
        after = apply(made, states, units)
        accuracy = float(weights @ np.broadcast_to(after.quality, weights.shape))
        condition = ""
        if made.capability.role == "restore":
            already = float(weights @ worth(before)) if "/" in facts[0].condition else 1.0
            accuracy = min(1.0, float(weights @ worth(after)) / max(already, 1e-9))
            condition = f"{facts[0].condition}/{tool}"
        elif made.capability.role == "render":
            condition = facts[0].condition
        elif made.capability.role == "read":
            condition = _READ
        price = made.price(units) * self._factors[made.name]
        ms = made.ms(units)
        return CallEstimate(
            PriceRange(_quantile(made, price, -_P95), Money(round(price)), _quantile(made, price, _P95)),
            Latency(ms, ms * _factor(made.time_noise, _P95)),
            ValueFacts(made.capability.returns, Size(max(1, round(after.units))), condition),
            accuracy,
            made.failure,
            1_000,
        )

    def _state(self, facts: ValueFacts) -> tuple[State, Floats]:
        """The states a value may be in after what was done to it, and how likely they are."""
        label, *done = facts.condition.split("/")
        model = self._world.damage(facts.type)
        if label == _READ or facts.type.name not in ("image", "text", "file"):
            severity = np.zeros((len(model.kinds), 1))
            weights = np.ones(1)
        else:
            severity, weights = model.states, model.posterior(label)
        state = State(float(facts.size.units), severity, np.ones(severity.shape[1]))
        for name in done:
            tool = self._world.tool(name)
            if tool.capability.role == "restore":
                state = apply(tool, [state], state.units)
        return state, weights


def _factor(sd: float, at: float) -> float:
    return math.exp(at * sd - sd * sd / 2.0)


def _quantile(tool: SimTool, price: float, at: float) -> Money:
    noisy = price * _factor(tool.price_noise, at)
    return Money(round(max(price, noisy) if at > 0 else min(price, noisy)))
