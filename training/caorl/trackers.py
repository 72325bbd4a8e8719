"""Experiment trackers beside `metrics.jsonl`: TensorBoard, MLflow, Weights & Biases, trackio; each one an extra.

Trackers watch: one that fails is reported once and then left alone, and training goes on.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.events import Event, Started
from catp.training.caorl.metrics import figures_of

__all__ = ["MissingTracker", "Tracker", "Trackers", "check_trackers", "tracking"]

PROJECT = "catp"
"""Under which name runs are filed where a tracker wants one; MLflow files by its own settings (`MLFLOW_*`)."""


class MissingTracker(ImportError):
    """A tracker is asked for whose package is not installed."""

    def __init__(self, name: str, error: ImportError) -> None:
        super().__init__(f"track: {name} cannot be imported ({error}); run: pip install 'catp[{name}]'")


class Tracker(Protocol):
    """Somewhere to send curves to. It may raise whatever it likes."""

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Send the figures of a step."""
        ...

    def close(self) -> None:
        """End the run there."""
        ...


class Trackers:
    """The trackers of a run, fed with its events.

    Args:
        names: which ones.
        config: of the run; sent along.
        out: folder of the run; trackers that write files do it in there.
        warn: told, once for each, of trackers that failed.

    Raises:
        MissingTracker: at once, before any work is done.
    """

    def __init__(self, names: Sequence[str], config: TrainConfig, out: Path, warn: Callable[[str], None]) -> None:
        self._config, self._out, self._warn = config, out, warn
        self._modules = {name: _imported(name) for name in dict.fromkeys(names)}
        self._open: dict[str, Tracker] = {}

    def on_event(self, event: Event) -> None:
        """Send what an event tells; never raises."""
        if isinstance(event, Started):
            for name, module in self._modules.items():
                with self._guarded(name):
                    self._open[name] = _KINDS[name][1](module, self._config, self._out)
        figures = figures_of(event)
        for name, tracker in list(self._open.items()) if figures else []:
            with self._guarded(name):
                tracker.log(event.step, figures)

    def close(self) -> None:
        """End the run at all trackers; never raises."""
        for name, tracker in list(self._open.items()):
            with self._guarded(name):
                tracker.close()
        self._open.clear()

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a service that is down must not cost a night's training
            self._open.pop(name, None)
            text = f"{name} failed ({type(error).__name__}: {error}); training goes on without it"
            self._warn(f"{text}, metrics.jsonl has everything")


def check_trackers(names: Sequence[str]) -> None:
    """Import the packages of trackers.

    Raises:
        MissingTracker: one is not installed.
    """
    for name in names:
        _imported(name)


@contextmanager
def tracking(
    names: Sequence[str], config: TrainConfig, out: Path, warn: Callable[[str], None]
) -> Iterator[Callable[[Event], None]]:
    """Yield what feeds the trackers; they are closed however the run ends. Arguments and errors as of `Trackers`."""
    trackers = Trackers(names, config, out, warn)
    try:
        yield trackers.on_event
    finally:
        trackers.close()


class _TensorBoard:
    def __init__(self, module: Any, config: TrainConfig, out: Path) -> None:
        self._writer = module.SummaryWriter(str(out / "tensorboard"))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, module: Any, config: TrainConfig, out: Path) -> None:
        self._mlflow = module
        module.start_run(run_name=config.name)
        module.log_params(_flat(config.model_dump(mode="json")))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        # MLflow takes letters, digits, _ - . / and spaces only
        named = {re.sub(r"[^\w\-./ ]", "_", name, flags=re.ASCII): value for name, value in figures.items()}
        self._mlflow.log_metrics(named, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


class _Wandb:
    def __init__(self, module: Any, config: TrainConfig, out: Path) -> None:
        self._run = module.init(project=PROJECT, name=config.name, config=config.model_dump(mode="json"), dir=str(out))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._run.log(dict(figures), step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, module: Any, config: TrainConfig, out: Path) -> None:
        self._trackio = module
        module.init(project=PROJECT, name=config.name, config=config.model_dump(mode="json"))

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        self._trackio.log(dict(figures), step=step)

    def close(self) -> None:
        self._trackio.finish()


_KINDS: dict[str, tuple[str, Callable[[Any, TrainConfig, Path], Tracker]]] = {
    "tensorboard": ("torch.utils.tensorboard", _TensorBoard),
    "mlflow": ("mlflow", _MLflow),
    "wandb": ("wandb", _Wandb),
    "trackio": ("trackio", _Trackio),
}


def _imported(name: str) -> Any:
    try:
        return import_module(_KINDS[name][0])
    except ImportError as error:
        raise MissingTracker(name, error) from error


def _flat(data: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        found |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return found
