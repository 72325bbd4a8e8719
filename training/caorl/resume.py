"""The state of a run, and what must agree before it goes on.

    state/state.json                 step, best and last figures, configuration, digests; SHA-256 of the other files
                                     and (`digest`) of this document without that member
    state/weights.safetensors        what is learned, in its own precision
    state/optimiser.safetensors      `NAME/step`, `NAME/exp_avg`, `NAME/exp_avg_sq` of AdamW
    state/average.safetensors        the running mean of the weights, where there is one

Random states are not among them: the loop seeds every generator anew at each step, from seed, step and process, so
that the state is the step. Nothing is a pickle.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.errors import ResumeError
from catp.training.digest import file_digest

if TYPE_CHECKING:
    import torch

__all__ = [
    "FREE_KEYS",
    "Progress",
    "check_same_run",
    "optimiser_tensors",
    "read_state",
    "restore_optimiser",
    "write_state",
]

SCHEMA = "catp.training-state/1"
FREE_KEYS = ("name", "data.paths", "optim.steps", "optim.threads", "eval.every", "eval.patience",
             "save_every", "track")  # fmt: skip
"""Keys of the configuration that may differ when a run goes on (`optim.steps` must not be less). Data may move: its
digest says that it is the same."""

_FIX = "Give the same configuration, or start a new run in another folder"


@dataclass
class Progress:
    """How far a run is. `evaluated` is the last step after which the model was measured, 0 if it never was."""

    step: int = 0
    evaluated: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_figures: Mapping[str, float] = field(default_factory=dict)
    worse: int = 0
    """Evaluations since the best one."""


def write_state(
    folder: Path,
    progress: Progress,
    config: TrainConfig,
    *,
    data: str,
    processes: int,
    place: Mapping[str, int],
    tensors: "Mapping[str, Mapping[str, torch.Tensor]]",
) -> None:
    """Write a state into a new folder.

    Args:
        folder: Where to.
        progress: How far the run is.
        config: Its configuration.
        data: Digest of its data.
        processes: How many processes train.
        place: Epoch and batch within it that come next; for the reader, as they follow from the step.
        tensors: What goes into each safetensors file, by the file's name without its ending.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    files = {}
    for name, content in tensors.items():
        path = folder / f"{name}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in content.items()}, path)
        files[path.name] = {"sha256": file_digest(path), "bytes": path.stat().st_size}
    document = {
        "schema": SCHEMA,
        "step": progress.step,
        **place,
        "evaluated": progress.evaluated,
        "figures": dict(progress.figures),
        "best": {"step": progress.best_step, "figures": dict(progress.best_figures)},
        "worse": progress.worse,
        "processes": processes,
        "data": data,
        "config": config.model_dump(mode="json"),
        "torch": torch.__version__,
        "files": files,
    }
    document["digest"] = _digest_of(document)
    (folder / "state.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_state(folder: Path) -> "tuple[Progress, dict[str, Any], dict[str, dict[str, torch.Tensor]]]":
    """Return progress, the whole document and the tensors of a state.

    Raises:
        ResumeError: A file is missing, damaged or none of ours.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    fix = "Resume from another checkpoint, or start a new run in an empty folder"
    path = folder / "state.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise ResumeError(f"{path}: schema is {document['schema']!r}, this version reads {SCHEMA!r}. {fix}")
        if document.pop("digest") != _digest_of(document):
            raise ResumeError(f"{path} is damaged, or was changed by hand: its digest does not fit. {fix}")
        best = document["best"]
        progress = Progress(
            document["step"], document["evaluated"], document["figures"], best["step"], best["figures"],
            document["worse"],
        )  # fmt: skip
        files = {name: entry["sha256"] for name, entry in document["files"].items()}
    except OSError as error:
        raise ResumeError(f"{path} cannot be read: {error.strerror}. {fix}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResumeError(f"{path} is damaged ({type(error).__name__}: {error}). {fix}") from error
    tensors = {}
    for name, sha256 in files.items():
        try:
            if file_digest(folder / name) != sha256:
                raise ResumeError(f"{folder / name} is damaged: its SHA-256 is not the one in state.json. {fix}")
            tensors[name.removesuffix(".safetensors")] = load_file(folder / name)
        except OSError as error:
            raise ResumeError(f"{folder / name} cannot be read: {error.strerror}. {fix}") from error
        except SafetensorError as error:
            raise ResumeError(f"{folder / name} is damaged: {error}. {fix}") from error
    return progress, document, tensors


def check_same_run(
    folder: Path,
    document: Mapping[str, Any],
    tensors: "Mapping[str, Mapping[str, torch.Tensor]]",
    config: TrainConfig,
    *,
    data: str,
    processes: int,
    parameters: "Mapping[str, torch.nn.Parameter]",
) -> None:
    """Compare a state with the run that wants to go on from it.

    Raises:
        ResumeError: They differ; the message says in what, and what may differ.
    """
    before, now = _flat(document["config"]), _flat(config.model_dump(mode="json"))
    changed = [
        f"{key} is {now.get(key)!r}, was {before.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in FREE_KEYS and before.get(key) != now.get(key)
    ]
    if changed:
        raise ResumeError(
            f"{folder} is of a run with another configuration: {'; '.join(changed)}. {_FIX}. "
            f"What may change: {', '.join(FREE_KEYS)}"
        )
    if config.optim.steps < before["optim.steps"]:
        raise ResumeError(
            f"{folder} is of a run over {before['optim.steps']} steps, and optim.steps is {config.optim.steps}: it may "
            f"only grow. {_FIX}"
        )
    if document["data"] != data:
        raise ResumeError(
            f"the data has changed since {folder} was written: its digest is {data[:16]}, was {document['data'][:16]}. "
            "Put the data back as it was, or start a new run in another folder"
        )
    if document["processes"] != processes:
        raise ResumeError(
            f"{folder} is of a run in {document['processes']} processes, this one has {processes}: batches would be "
            f"others. Start as many processes as before"
        )
    _check_shapes(folder, {name: (tuple(p.shape), p.dtype) for name, p in parameters.items()}, tensors.get("weights"))


def optimiser_tensors(
    optimiser: "torch.optim.Optimizer", parameters: "Mapping[str, torch.nn.Parameter]"
) -> "dict[str, torch.Tensor]":
    """Return AdamW's moments and step counts as `NAME/PART`; a parameter that had no gradient yet has none."""
    return {
        f"{name}/{part}": value
        for name, parameter in parameters.items()
        for part, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(
    optimiser: "torch.optim.Optimizer",
    parameters: "Mapping[str, torch.nn.Parameter]",
    tensors: "Mapping[str, torch.Tensor]",
) -> None:
    """Give AdamW the moments of a state, bit for bit."""
    for key, value in tensors.items():
        name, _, part = key.rpartition("/")
        parameter = parameters[name]
        # AdamW keeps its step count on the CPU wherever the parameter is.
        optimiser.state[parameter][part] = value if part == "step" else value.to(parameter.device)


def _check_shapes(
    folder: Path, now: "Mapping[str, tuple[Any, ...]]", weights: "Mapping[str, torch.Tensor] | None"
) -> None:
    before = {name: (tuple(value.shape), value.dtype) for name, value in (weights or {}).items()}
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise ResumeError(
                f"{folder} is of another model: {name} is {_shape(now.get(name))}, was {_shape(before.get(name))}. "
                "Build the model from the configuration that the run began with"
            )


def _shape(what: tuple[Any, ...] | None) -> str:
    return "not there" if what is None else f"{list(what[0])} {str(what[1]).removeprefix('torch.')}"


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _digest_of(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
