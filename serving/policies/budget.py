"""How many tokens a step may compute: the most whose predicted time stays within the time between tokens.

Large steps compute prompts for less fixed cost; small ones keep those that decode from waiting. The controller learns
the cost model's coefficients from each step (recursive least squares with forgetting) and takes the largest step that
fits the target; what the model misses is corrected by the measured 95th percentile (additive increase, multiplicative
decrease).
"""

from collections import deque
from collections.abc import Sequence
from math import inf

import numpy as np

from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.fitting import features
from catp.serving.policies.protocol import Context, View

__all__ = ["BudgetController", "StepTimes"]

_TILE = 128
"""Rows of a matrix that a GPU computes at once: one token more costs another tile (Sarathi-Serve, OSDI 2024)."""
_WINDOW = 64
"""Steps between two corrections."""
_DECREASE, _INCREASE = 0.85, 0.02
_LEAST_CORRECTION = 0.25
_TOLERANCE = 1.1
"""How far the slowest steps may exceed a target that was set before it is corrected."""
_MEMORY = 0.995
"""Forgetting factor: a step counts half after 140 others."""
_LEAST_INFORMATION = 1e-4
_UNITS = np.array([1.0, 256.0, 256.0 * 1024.0, 32.0, 32.0 * 1024.0])
"""What a step usually has of each feature; makes the coefficients alike in size."""
_KNEE = 0.75
"""Share of a step's time that is spent on tokens, not on being a step, where nobody says what is wanted."""
_SHARE = 0.5
"""Share of the wanted time between tokens that one step may take: a mean has slower steps in it, and a start."""


class StepTimes:
    """The cost model's coefficients, learned step by step: recursive least squares, kept at zero or above.

    Old steps are forgotten, but never so far that nothing is known: the information matrix leaks towards a small
    multiple of the identity, so that steps that are all alike for hours do not make the next different one count for
    everything.

    Args:
        costs: to begin with.
        memory: forgetting factor.
        certainty: how many steps `costs` counts as.
    """

    def __init__(self, costs: CostModel | None = None, *, memory: float = _MEMORY, certainty: float = 4.0) -> None:
        self.costs = start = costs or CostModel()
        self._theta = _UNITS * (start.fixed, start.token, start.attend, start.sequence, start.kv)
        self._information = certainty * np.eye(5)
        self._memory = memory
        self._leak = (1.0 - memory) * _LEAST_INFORMATION * np.eye(5)

    def observe(self, load: Load, seconds: float) -> None:
        """Learn from a step; one that was not measured (no positive time) is passed over."""
        if not 0 < seconds < inf:
            return
        row = np.array(features(load)) / _UNITS
        self._information = self._memory * self._information + np.outer(row, row) + self._leak
        self._theta = self._theta + np.linalg.solve(self._information, row) * (seconds - row @ self._theta)
        self.costs = CostModel(*(float(value) for value in np.maximum(self._theta / _UNITS, 0.0)))


class BudgetController:
    """The token budget of the next step.

    Args:
        target: seconds a step may take; None: half the tightest time between tokens that a running request wants, at
        most
            where three quarters of a step's time go into tokens (larger steps hardly compute more per second).
        floor, ceiling: bounds of the budget in tokens.
        costs: step times to begin with.
    """

    def __init__(
        self, target: float | None = None, *, floor: int = 64, ceiling: int = 8192, costs: CostModel | None = None
    ) -> None:
        if target is not None and not target > 0:
            raise ValueError(f"budget: target is the seconds of a step and above 0, not {target}")
        if not 1 <= floor <= ceiling:
            raise ValueError(f"budget: 1 <= floor <= ceiling, not floor {floor} and ceiling {ceiling}")
        self._target, self._floor, self._ceiling = target, floor, ceiling
        self._times = StepTimes(costs)
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self._allowed = inf
        self.correction = 1.0
        self.latest = ceiling
        """The budget of the last step."""

    @property
    def costs(self) -> CostModel:
        """Step times as learned so far."""
        return self._times.costs

    def observe(self, load: Load, seconds: float) -> None:
        """Learn from a measured step, and correct the target once per window of steps that were to fit it."""
        self._times.observe(load, seconds)
        if self._allowed == inf:
            return
        self._recent.append(seconds / self._allowed)
        if len(self._recent) < _WINDOW:
            return
        slow = sorted(self._recent)[int(0.95 * _WINDOW)] > 1.0
        self.correction = (
            max(self.correction * _DECREASE, _LEAST_CORRECTION) if slow else min(self.correction + _INCREASE, 1.0)
        )
        self._recent.clear()

    def budget(self, context: Context) -> int:
        """Return the most tokens whose step is predicted within the target, decodes and their keys included.

        At least the floor and one token for each running sequence, at most the ceiling; above a tile in whole tiles.
        """
        costs, running = self._times.costs, context.running
        keys = sum(view.context + view.generated for view in running)
        offsets = [view.context - view.prompt for view in running if view.prompt]
        base = costs.fixed + costs.sequence * len(running) + costs.kv * keys
        target, allowed = self._wanted(base, running)
        each = costs.token + costs.attend * (sum(offsets) / len(offsets) if offsets else 0.0)
        rest = max(target * self.correction - base, 0.0)
        most = int(rest / each) if rest < each * self._ceiling else self._ceiling
        least = max(self._floor, len(running) + 1)
        self._allowed = allowed if most > least else inf  # a smaller target would change nothing
        self.latest = max(min(_tiled(most), self._ceiling), least)
        return self.latest

    def _wanted(self, base: float, running: Sequence[View]) -> tuple[float, float]:
        """Return the target, and what the slowest steps may take; inf: whatever they take."""
        if self._target is not None:
            return self._target, self._target * _TOLERANCE
        wanted = min((view.tpot for view in running if view.tpot is not None), default=inf)
        return min(base / (1.0 - _KNEE), _SHARE * wanted), wanted


def _tiled(tokens: int) -> int:
    return tokens - tokens % _TILE if tokens > _TILE else tokens
