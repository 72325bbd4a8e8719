"""Policies by name: those that ship with catp (`datasets/models`), and the user's (`~/.local/share/catp/models`).

A user's policy hides a shipped one of the same name.
"""

import importlib.resources
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

from catp.config import default_data_dir
from catp.planlang.errors import nearest
from catp.training.critic.forest import FOREST
from catp.training.policy.errors import CheckpointError
from catp.training.policy.manifest import MANIFEST, Manifest, read_manifest
from catp.training.policy.weights import check_weights, refuse_pickles

__all__ = [
    "DEFAULT",
    "ModelInfo",
    "default_model",
    "find_model",
    "list_models",
    "models_dir",
    "shipped_dir",
    "show_model",
]

DEFAULT = "catp-tiny"
"""Name of the policy that `catp` plans with."""

Origin = Literal["yours", "shipped", "folder"]


@dataclass(frozen=True)
class ModelInfo:
    """One policy. Where `problem` is set it cannot be used, and the fields after `bytes` are empty.

    `parameters` counts what is in its files: of an adapter, without its base.
    """

    name: str
    folder: Path
    origin: Origin
    bytes: int
    parameters: int | None = None
    manifest: Manifest | None = None
    problem: str | None = None

    @property
    def base(self) -> str | None:
        """The pretrained model it was made from."""
        return self.manifest.base.name if self.manifest is not None and self.manifest.base is not None else None

    @property
    def adapter(self) -> bool:
        """Whether its base is needed to use it."""
        return self.manifest is not None and any(name.startswith("adapter_") for name in self.manifest.weights)

    @property
    def figures(self) -> dict[str, float | None]:
        """Its figures on the validation side."""
        return {} if self.manifest is None else self.manifest.figures


def models_dir() -> Path:
    """Where the user's policies are kept."""
    return default_data_dir() / "models"


def shipped_dir() -> Path:
    """Where the policies that ship with catp lie."""
    return Path(str(importlib.resources.files("catp") / "datasets" / "models"))


def list_models() -> tuple[ModelInfo, ...]:
    """Return every policy by name, the user's first where two have one name; damaged ones with their problem."""
    return tuple(_info(name, folder, origin) for name, (folder, origin) in sorted(_known().items()))


def show_model(name_or_path: str) -> ModelInfo:
    """Return what is known of one policy.

    Raises:
        CheckpointError: there is none of that name.
    """
    folder = find_model(name_or_path)
    known = {found: (name, origin) for name, (found, origin) in _known().items()}
    name, origin = known.get(folder, (folder.name, "folder"))
    return _info(name, folder, origin)


def find_model(name_or_path: str | Path) -> Path:
    """Return the folder of a policy, by its name or by a path to it.

    Raises:
        CheckpointError: there is none; the nearest name is proposed.
    """
    known, name = _known(), str(name_or_path)
    if name in known:
        return known[name][0]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if len(path.parts) != 1:
        raise CheckpointError(f"there is no folder {path}; name the folder of a policy, or one of `catp models list`")
    names = f"known are {', '.join(sorted(known))}" if known else "none are installed: `catp models pull`, `catp train`"
    raise CheckpointError(f"there is no policy {name!r}; {nearest(name, known) or names}")


def default_model() -> Path | None:
    """Return the folder of the policy that `catp` plans with, None if it is not there."""
    found = _known().get(DEFAULT)
    return None if found is None else found[0]


def _known() -> dict[str, tuple[Path, Origin]]:
    found: dict[str, tuple[Path, Origin]] = {}
    for place, origin in ((shipped_dir(), "shipped"), (models_dir(), "yours")):
        for folder in sorted(place.iterdir()) if place.is_dir() else ():
            if (folder / MANIFEST).is_file() and not folder.name.startswith("."):
                found[folder.name] = (folder, "shipped" if origin == "shipped" else "yours")
    return found


def _info(name: str, folder: Path, origin: Origin) -> ModelInfo:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    try:
        manifest = read_manifest(folder)
        refuse_pickles(folder)
        shapes = [check_weights(folder / file) for file in manifest.weights if file != FOREST]
    except CheckpointError as error:
        return ModelInfo(name, folder, origin, size, problem=str(error))
    parameters = sum(prod(shape) for file in shapes for shape in file.values())
    return ModelInfo(name, folder, origin, size, parameters, manifest)
