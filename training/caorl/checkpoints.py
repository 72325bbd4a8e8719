"""The two checkpoints of a run: `best`, a model alone, and `last`, a model with the state to go on from.

Either folder also has a `checkpoint.json`: step and figures, for whoever wants to know without loading anything.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.errors import ResumeError, TrainError
from catp.training.caorl.folders import recover, replacing_folder
from catp.training.caorl.optimiser import Average
from catp.training.caorl.resume import Progress, check_same_run, read_state, restore_optimiser, write_state
from catp.training.caorl.team import Team

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoints", "state_to_resume"]


def state_to_resume(out: Path, resume: "Path | Literal['auto'] | None") -> Path | None:
    """Return the folder of the state to go on from, or None to begin anew.

    Raises:
        TrainError: `out` is in use and nothing says to resume.
        ResumeError: There is no state where `resume` points.
    """
    if out.exists() and not out.is_dir():
        raise TrainError(f"{out} is a file; the run needs a folder")
    root = out if resume == "auto" else None if resume is None else Path(resume)
    inside = root is not None and out.resolve() in (root.resolve(), *root.resolve().parents)
    if not inside and out.is_dir() and any(out.iterdir()):
        raise TrainError(f"{out} is not empty: resume the run in it (resume = auto), or choose an empty folder")
    if root is None:
        return None
    for name in ("last", "best"):
        recover(root / name)
    if resume == "auto" and not (root / "last").is_dir():
        return None
    for folder in (root / "last" / "state", root / "state", root):
        if (folder / "state.json").is_file():
            return folder
    if resume == "auto" or (root / "last").is_dir():
        return root / "last" / "state"  # whose reader says what is missing
    raise ResumeError(f"there is no training state in {root}: name a run's folder, or its 'last' checkpoint")


class Checkpoints:
    """Writes and reads the checkpoints of one run."""

    def __init__(
        self,
        out: Path,
        config: TrainConfig,
        data: str,
        team: Team,
        parameters: "Mapping[str, torch.nn.Parameter]",
        optimiser: "torch.optim.Optimizer",
        save_model: Callable[[Any, Path], None],
    ) -> None:
        self._out = out
        self._config = config
        self._data = data
        self._processes = team.size
        self._parameters = parameters
        self._optimiser = optimiser
        self._save_model = save_model

    def save_best(self, model: Any, progress: Progress, average: Average | None) -> Path:
        """Replace `out/best`; return its path."""
        target = self._out / "best"
        with replacing_folder(target, _size(self._parameters.values())) as folder:
            self._write_model(model, folder, progress, average)
        return target

    def save_last(self, model: Any, progress: Progress, average: Average | None, place: Mapping[str, int]) -> Path:
        """Replace `out/last`, model and state; return its path."""
        moments = {
            f"{name}/{part}": value
            for name, parameter in self._parameters.items()
            for part, value in self._optimiser.state.get(parameter, {}).items()
        }
        tensors = {"weights": self._parameters, "optimiser": moments}
        if average is not None:
            tensors["average"] = average.values
        target = self._out / "last"
        needed = _size(self._parameters.values()) + sum(_size(content.values()) for content in tensors.values())
        with replacing_folder(target, needed) as folder:
            self._write_model(model, folder, progress, average)
            write_state(
                folder / "state", progress, self._config,
                data=self._data, processes=self._processes, place=place, tensors=tensors,
            )  # fmt: skip
        return target

    def load(self, folder: Path, average: Average | None) -> Progress:
        """Put a state into parameters, optimiser and running mean; return how far it is."""
        import torch

        progress, document, tensors = read_state(folder)
        check_same_run(
            folder, document, tensors, self._config,
            data=self._data, processes=self._processes, parameters=self._parameters,
        )  # fmt: skip
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors["weights"][name])
            if average is not None:
                for name, value in average.values.items():
                    value.copy_(tensors["average"][name])
        restore_optimiser(self._optimiser, self._parameters, tensors["optimiser"])
        if not (self._out / "best").is_dir():  # the state was taken elsewhere: what was best there is not here
            progress.best_step, progress.best_figures = None, {}
        return progress

    def _write_model(self, model: Any, folder: Path, progress: Progress, average: Average | None) -> None:
        with average.applied() if average is not None else nullcontext():
            self._save_model(model, folder)
        figures = progress.figures if progress.evaluated == progress.step else None
        document = {"schema": "catp.checkpoint/1", "step": progress.step, "figures": figures}
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        (folder / "checkpoint.json").write_text(text, encoding="utf-8")


def _size(tensors: "Iterable[torch.Tensor]") -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
