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
from catp.training.caorl.learner import Learner
from catp.training.caorl.resume import (
    Progress,
    check_same_run,
    optimiser_tensors,
    read_state,
    restore_optimiser,
    write_state,
)

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
    """Writes and reads the checkpoints of one run.

    Args:
        out: The run's folder.
        config: Its configuration.
        data: Digest of its data.
        processes: How many processes train.
        learner: Whose state is written and read.
        save_model: Writes a model into a folder.
    """

    def __init__(
        self,
        out: Path,
        config: TrainConfig,
        data: str,
        processes: int,
        learner: Learner,
        save_model: Callable[[Any, Path], None],
    ) -> None:
        self._out = out
        self._config = config
        self._data = data
        self._processes = processes
        self._learner = learner
        self._save_model = save_model

    def save_best(self, progress: Progress) -> Path:
        """Replace `out/best`; return its path."""
        target = self._out / "best"
        with replacing_folder(target, self._model_size()) as folder:
            self._write_model(folder, progress)
        return target

    def save_last(self, progress: Progress, place: Mapping[str, int]) -> Path:
        """Replace `out/last`, model and state; return its path.

        Args:
            progress: How far the run is.
            place: Epoch and batch within it that come next; for the reader, as they follow from the step.
        """
        learner = self._learner
        tensors: dict[str, Mapping[str, torch.Tensor]] = {
            "weights": learner.parameters,
            "optimiser": optimiser_tensors(learner.optimiser, learner.parameters),
        }
        if learner.average is not None:
            tensors["average"] = learner.average.values
        target = self._out / "last"
        needed = self._model_size() + sum(_size(content.values()) for content in tensors.values())
        with replacing_folder(target, needed) as folder:
            self._write_model(folder, progress)
            write_state(
                folder / "state", progress, self._config,
                data=self._data, processes=self._processes, place=place, tensors=tensors,
            )  # fmt: skip
        return target

    def load(self, folder: Path) -> Progress:
        """Put a state into parameters, optimiser and running mean; return how far it is.

        Raises:
            ResumeError: It is damaged, or of another run.
        """
        import torch

        learner = self._learner
        progress, document, tensors = read_state(folder)
        check_same_run(
            folder, document, tensors, self._config,
            data=self._data, processes=self._processes, parameters=learner.parameters,
        )  # fmt: skip
        with torch.no_grad():
            for name, parameter in learner.parameters.items():
                parameter.copy_(tensors["weights"][name])
            if learner.average is not None:
                for name, value in learner.average.values.items():
                    value.copy_(tensors["average"][name])
        restore_optimiser(learner.optimiser, learner.parameters, tensors["optimiser"])
        if not (self._out / "best").is_dir():  # the state was taken elsewhere: what was best there is not here
            progress.best_step, progress.best_figures = None, {}
        return progress

    def _model_size(self) -> int:
        """Roughly what `save_model` writes: what is learned, as a full model's folder or as adapters."""
        return _size(self._learner.parameters.values())

    def _write_model(self, folder: Path, progress: Progress) -> None:
        average = self._learner.average
        with average.applied() if average is not None else nullcontext():
            self._save_model(self._learner.model, folder)
        figures = progress.figures if progress.evaluated == progress.step else None
        document = {"schema": "catp.checkpoint/1", "step": progress.step, "figures": figures}
        text = json.dumps(document, indent=2, sort_keys=True) + "\n"
        (folder / "checkpoint.json").write_text(text, encoding="utf-8")


def _size(tensors: "Iterable[torch.Tensor]") -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
