"""Simulated trajectories without end, for training on the fly: nothing is written, every seed is another stream."""

from collections.abc import Iterator

import numpy as np

from catp.training.data.trajectory import Trajectory
from catp.training.sim.build import logged
from catp.training.sim.calibrate import Calibration
from catp.training.sim.families import tasks
from catp.training.sim.world import World

__all__ = ["stream"]

_FIRST_SEED = 1_000_000
"""Worlds of shipped files have smaller seeds, so that no stream holds a world that something is tested on."""
_TASKS = 10
_CASES = 10


def stream(
    seed: int, *, smallest: int = 5, largest: int = 500, calibration: Calibration | None = None
) -> Iterator[Trajectory]:
    """Yield logged trajectories (one plan per input, with propensity) of world after world, for ever.

    Sizes of worlds are drawn evenly on a logarithmic scale from `smallest` to `largest` tools. `Toolset.of` of
    `World(seed, tools).catalogue()` describes the tools; seed and size are in the toolset's id, `catp-sim-wSEED-TOOLS`.
    """
    rng = np.random.default_rng([seed, 8])
    number = 0
    while True:
        size = round(float(np.exp(rng.uniform(np.log(smallest), np.log(largest)))))
        world = World(_FIRST_SEED + seed * 10_000 + number % 10_000, size, calibration)
        number += 1
        found = tasks(world, _TASKS)
        for case in range(_CASES):
            for task in found:
                yield logged(task.case(case))
