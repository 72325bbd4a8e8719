"""A dry run: what a run does, once and small, in a folder that is gone afterwards; and what the run would take."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.events import Evaluated, Event, Saved, Started, Step
from catp.training.caorl.run import Ready, run_training

__all__ = ["Trial", "small", "try_out"]

_STEPS = 2
"""The first step warms caches and allocators up; the second is measured."""
_INPUTS = 4


@dataclass(frozen=True)
class Trial:
    """What a dry run found. `seconds` is an estimate of the whole run, evaluations included; sizes are in bytes."""

    device: str
    examples: int
    parameters: int
    trainable: int
    steps: int
    epochs: float
    tokens_per_s: float
    step_s: float
    evaluation_s: float
    seconds: float
    memory: int
    checkpoint: int
    loss: float
    regret: float


def small(config: TrainConfig) -> TrainConfig:
    """Return the configuration with as few steps and validation inputs as a dry run needs, and no trackers."""
    optim = config.optim.model_copy(update={"steps": _STEPS})
    measure = config.eval.model_copy(update={"every": _STEPS, "limit": min(_INPUTS, config.eval.limit)})
    return config.model_copy(update={"optim": optim, "eval": measure, "save_every": _STEPS, "track": ()})


def try_out(ready: Ready, config: TrainConfig, on_event: Callable[[Event], None] = lambda event: None) -> Trial:
    """Take two steps, measure and save once, and estimate the rest.

    Args:
        ready: prepared from `small(config)`.
        config: of the whole run.
        on_event: told of everything that happens.

    Raises:
        TrainError: as of `catp.training.caorl.loop.train`.
    """
    told: dict[type[Event], Event] = {}
    size = 0

    def keep(event: Event) -> None:
        nonlocal size
        told[type(event)] = event
        if isinstance(event, Saved):
            model = [path for path in event.folder.iterdir() if path.is_file()]
            size = max(size, sum(path.stat().st_size for path in model))
        on_event(event)

    fewer = small(config)
    with tempfile.TemporaryDirectory(prefix="catp-dry-run-") as folder:
        run_training(replace(ready, finish=None), fewer, Path(folder) / "run", on_event=keep)
    started, step, measured = told[Started], told[Step], told[Evaluated]
    assert isinstance(started, Started)
    assert isinstance(step, Step)
    assert isinstance(measured, Evaluated)
    optim = config.optim
    each = measured.seconds * config.eval.limit / fewer.eval.limit
    return Trial(
        started.device, started.examples, started.parameters, started.trainable, optim.steps,
        optim.steps * optim.batch * optim.accumulate * started.processes / started.examples, step.tokens_per_s,
        step.seconds, each, step.seconds * optim.steps + each * -(-optim.steps // config.eval.every), step.memory,
        size, step.loss, measured.figures["regret"],
    )  # fmt: skip
