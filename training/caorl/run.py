"""A whole training run in one folder: data and model from the configuration, the loop, and what is left behind.

out/config.toml      everything the run was told, defaults included
out/metrics.jsonl    everything it told
out/curves.png       learning curves, drawn at the end
out/best, out/last   checkpoints, each with its model card; `last` has the state to go on from
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.curves import curves_picture
from catp.training.caorl.events import Evaluated, Event, Started, Step, Stopped, TrainResult
from catp.training.caorl.loop import train
from catp.training.caorl.metrics import Metrics, read_metrics
from catp.training.caorl.settings import config_toml
from catp.training.caorl.source import Algorithm
from catp.training.caorl.trackers import tracking
from catp.training.policy.card import write_card
from catp.training.policy.checkpoint import Policy, save_model

if TYPE_CHECKING:
    from catp.training.policy.manifest import Manifest

__all__ = ["CONFIG", "CURVES", "METRICS", "Ready", "run_training"]

CONFIG, METRICS, CURVES = "config.toml", "metrics.jsonl", "curves.png"


@dataclass(frozen=True)
class Ready:
    """What a run begins with: what is learned, the policy that learns it, and SHA-256 of the data by name.

    `finish` completes a checkpoint after the last step and returns its manifest; None: nothing is to do.
    """

    algorithm: Algorithm
    policy: Policy
    data: Mapping[str, str]
    finish: "Callable[[Path], Manifest] | None" = None


def run_training(
    ready: Ready,
    config: TrainConfig,
    out: Path,
    *,
    resume: "Path | Literal['auto'] | None" = None,
    on_event: Callable[[Event], None] = lambda event: None,
    warn: Callable[[str], None] = lambda text: None,
    command: str | None = None,
) -> TrainResult:
    """Train, and leave everything in `out`; arguments and errors as of `catp.training.caorl.loop.train`.

    Args:
        ready: from the same configuration.
        config: of the run.
        out: the run's folder.
        resume: see `train`.
        on_event: told of everything that happens.
        warn: told what went wrong without stopping the run: a tracker that failed, a picture that cannot be drawn.
        command: that started the run, for the model card.
    """
    saver = _Saver(ready, out / METRICS, command)
    with Metrics(out / METRICS) as metrics, tracking(config.track, config, out, warn) as track:

        def tell(event: Event) -> None:
            if isinstance(event, Started):
                out.mkdir(parents=True, exist_ok=True)
                (out / CONFIG).write_text(config_toml(config), encoding="utf-8", newline="\n")
            metrics.on_event(event)
            saver.on_event(event)
            on_event(event)
            track(event)

        result = train(
            ready.algorithm, ready.policy.model, config, out, save_model=saver.save, resume=resume, on_event=tell
        )
    saver.finish(out)
    _draw(out, warn)
    return result


class _Saver:
    """Writes checkpoints with what the run knows at that moment."""

    def __init__(self, ready: Ready, metrics: Path, command: str | None) -> None:
        self._policy, self._data, self._finish = ready.policy, dict(ready.data), ready.finish
        self._metrics, self._command = metrics, command
        self._step = 0
        self._ended = False
        self._measured: Evaluated | None = None

    def on_event(self, event: Event) -> None:
        """Take note of how far the run is."""
        if isinstance(event, Started | Step):
            self._step = event.step
        elif isinstance(event, Evaluated):
            self._measured = event
        elif isinstance(event, Stopped):  # only the first process is told
            self._ended = event.reason != "interrupted"

    def save(self, model: Any, folder: Path) -> None:
        """Write the model, its manifest and its card."""
        self._describe(folder, save_model(model, folder, self._policy.tokens, self._manifest()))

    def finish(self, out: Path) -> None:
        """Complete the checkpoints of a run that came to its end."""
        for folder in (out / "best", out / "last"):
            if self._finish is not None and self._ended and folder.is_dir():
                self._describe(folder, self._finish(folder))

    def _describe(self, folder: Path, manifest: "Manifest") -> None:
        write_card(folder, manifest, read_metrics(self._metrics), self._command)

    def _manifest(self) -> "Manifest":
        measured = self._measured
        figures: dict[str, float | None] = {}
        if measured is not None and measured.step == self._step:
            figures = {name: value if math.isfinite(value) else None for name, value in measured.figures.items()}
        trust = None if measured is None else measured.figures.get("trust")  # the latest there is
        known = {} if trust is None else {"trust": trust}
        return self._policy.manifest.updated(step=self._step, figures=figures, data=self._data, **known)


def _draw(out: Path, warn: Callable[[str], None]) -> None:
    """Draw the curves; a run that cannot be drawn is a run all the same."""
    if not (out / METRICS).is_file():  # another process writes it
        return
    try:
        (out / CURVES).write_bytes(curves_picture(read_metrics(out / METRICS)))
    except (ImportError, OSError, ValueError) as error:
        warn(f"no {CURVES}: {error}")
