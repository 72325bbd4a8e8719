"""`metrics.jsonl`: everything a training run told, one object per event, for people, plots and the model card.

    {"event": "step", "step": 7, "loss": 1.42, "parts": {"quality": 0.9}, "lr": 0.0007, ...}

The members of an event are those of its class in `catp.training.caorl.events`. A run that is resumed goes on with the
same file; what was told after the state it goes on from is dropped, because those steps are done again.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from catp.training.caorl.events import Evaluated, Event, Saved, Started, Step, Stopped

__all__ = ["Metrics", "figures_of", "read_metrics"]

_NAMES: dict[type[Event], str] = {
    Started: "started", Step: "step", Evaluated: "evaluated", Saved: "saved", Stopped: "stopped"
}  # fmt: skip


class Metrics:
    """Writes the events of a run to a file, each at once. A context manager; the file is opened when the run starts.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def on_event(self, event: Event) -> None:
        """Write one event."""
        if self._file is None:
            self._file = self._open(event.step)
        told = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
        self._file.write(json.dumps({"event": _NAMES[type(event)], **told}, allow_nan=False) + "\n")
        self._file.flush()

    def _open(self, step: int) -> IO[str]:
        """Keep what was told up to `step`, and write on behind it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(self.path) if line["step"] <= step] if step and self.path.exists() else []
        new = self.path.with_name(f".{self.path.name}.new")
        new.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        new.replace(self.path)
        return self.path.open("a", encoding="utf-8", newline="\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the events in a file; a last line that a killed run left unfinished is left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line that is no event.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, start=1):
        if number == len(lines) and not line.endswith("\n"):
            break
        try:
            event = json.loads(line)
            int(event["step"]), str(event["event"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: this is no event of a training run") from error
        found.append(event)
    return found


def figures_of(event: Event) -> dict[str, float]:
    """Return what of an event is a curve: `train/...` of a step, `eval/...` of an evaluation, else nothing."""
    if isinstance(event, Step):
        named = {"loss": event.loss, **event.parts, "lr": event.lr, "grad_norm": event.grad_norm}
        return {f"train/{name}": value for name, value in (named | {"tokens_per_s": event.tokens_per_s}).items()}
    if isinstance(event, Evaluated):
        return {f"eval/{name}": value for name, value in event.figures.items()}
    return {}


def _plain(value: object) -> object:
    """What JSON can hold: a number that is none is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return str(value) if isinstance(value, Path) else value
