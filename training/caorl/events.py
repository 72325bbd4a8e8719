"""What a training run tells whoever watches it: small records, in the order in which they happen.

A run is `Started`, then `Step` after step with `Evaluated` and `Saved` between them, and ends with one `Stopped`.
With several processes only the first one reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Evaluated", "Event", "Reason", "Saved", "Started", "Step", "Stopped", "TrainResult"]

Reason = Literal["finished", "patience", "interrupted"]
"""Why a run ended: all steps done, no better regret for `eval.patience` evaluations, or SIGINT/SIGTERM."""


@dataclass(frozen=True)
class Started:
    """A run begins; `step` is the number of steps already done (0 unless it is resumed)."""

    step: int
    steps: int
    device: str
    processes: int
    examples: int
    parameters: int
    trainable: int


@dataclass(frozen=True)
class Step:
    """An optimiser step was done.

    `step` counts from 1 to `steps`. `loss`, `parts` are means over the step's batches (of all processes). `grad_norm`
    is the norm before clipping. `tokens_per_s` counts all processes; `seconds` is wall-clock of this step; `memory` is
    the peak so far in bytes: allocated on the GPU, or resident in this process on the CPU.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    parts: Mapping[str, float]
    lr: float
    grad_norm: float
    tokens: int
    tokens_per_s: float
    seconds: float
    memory: int


@dataclass(frozen=True)
class Evaluated:
    """The model was measured after `step`; `best` says that its regret is the lowest so far."""

    step: int
    figures: Mapping[str, float]
    best: bool
    seconds: float


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written, whole, to `folder` (`out/best` or `out/last`)."""

    step: int
    folder: Path
    seconds: float


@dataclass(frozen=True)
class Stopped:
    """The run is over, after `step`."""

    step: int
    reason: Reason


Event = Started | Step | Evaluated | Saved | Stopped
"""Anything a run tells."""


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: after `step`, with the figures of the last evaluation and of the best one."""

    step: int
    reason: Reason
    figures: Mapping[str, float]
    best_step: int | None
    best_figures: Mapping[str, float]
