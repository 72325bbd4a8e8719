"""A forest of regression trees as plain tensors: what a policy's manifest calls its correction, added to its ratings.

    catp.forest     safetensors: feature, threshold, left, right, value (one entry a node) and roots (one a tree);
                    its header names the columns

A node goes left where `x[feature] <= threshold`; a leaf leads to itself. The value of a plan is `base` plus the sum of
the leaves it reaches. Trees are grown by scikit-learn (`catp.training.critic.grow`), and read here with numpy alone.
The file has a name of its own because engines load every `*.safetensors` of a folder into the network.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from catp.training.critic.features import matrix
from catp.training.policy.errors import CheckpointError, needs

__all__ = ["FOREST", "Forest", "read_forest", "write_forest"]

FOREST: Final = "catp.forest"
SCHEMA: Final = "catp.forest/1"

_TENSORS: Final = {
    "feature": np.int32, "threshold": np.float64, "left": np.int32, "right": np.int32, "value": np.float64,
    "roots": np.int32,
}  # fmt: skip


@dataclass(frozen=True)
class Forest:
    """Trees over named columns; nodes of all trees are numbered together, those of a tree from its root on.

    `feature`, `threshold`, `left`, `right` and `value` are (nodes,), `roots` is (trees,).
    """

    columns: tuple[str, ...]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    roots: NDArray[np.int32]
    base: float = 0.0

    def __len__(self) -> int:
        return len(self.roots)

    def predict(self, rows: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        """Return the value of each row of features; a feature without a column plays no part."""
        x = matrix(rows, self.columns)
        place = np.tile(self.roots, (len(rows), 1))
        row = np.arange(len(rows))[:, None]
        while True:
            goes = x[row, self.feature[place]] <= self.threshold[place]
            onward = np.where(goes, self.left[place], self.right[place])
            if np.array_equal(onward, place):
                break
            place = onward
        found: NDArray[np.float64] = self.base + self.value[place].sum(axis=1)
        return found


def write_forest(path: Path, forest: Forest) -> None:
    """Write a forest; the same forest gives the same bytes."""
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(getattr(forest, name), dtype=kind) for name, kind in _TENSORS.items()}
    about = {"schema": SCHEMA, "base": forest.base, "columns": list(forest.columns)}
    # one entry: safetensors writes several in any order
    save_file(tensors, str(path), metadata={"catp": json.dumps(about, ensure_ascii=False)})
    path.chmod(0o644)


def read_forest(path: Path) -> Forest:
    """Read a forest.

    Raises:
        CheckpointError: it is missing, damaged, of another schema, or no forest.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise needs("safetensors", "a policy") from error
    try:
        with safe_open(str(path), framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get("catp", "null"))
            there = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in _TENSORS if name in there}
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is missing, damaged or cut short ({error}); copy the checkpoint again"
        ) from error
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise CheckpointError(f"{path} is not of schema {SCHEMA}: install the catp that wrote it, or copy it again")
    problem = _problem(about, tensors)
    if problem:
        raise CheckpointError(f"{path} is no forest: {problem}; copy the checkpoint again")
    return Forest(tuple(about["columns"]), base=float(about["base"]), **tensors)


def _problem(about: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """What keeps these tensors from being trees over these columns; nothing is looked up in them before this."""
    columns, base = about.get("columns"), about.get("base")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        return "it names no columns"
    if not isinstance(base, int | float) or not np.isfinite(base):
        return f"its base is {base!r}"
    for name, kind in _TENSORS.items():
        if name not in tensors or tensors[name].dtype != kind or tensors[name].ndim != 1:
            return f"{name} is not there as a row of {np.dtype(kind).name}"
    nodes, roots = len(tensors["feature"]), tensors["roots"]
    if any(len(tensors[name]) != nodes for name in _TENSORS if name != "roots") or not len(roots):
        return "its rows are not of one length, or it has no tree"
    here, left, right = np.arange(nodes), tensors["left"], tensors["right"]
    leaf = (left == here) & (right == here)
    onward = leaf | ((left > here) & (right > here) & (left < nodes) & (right < nodes))
    if not onward.all() or roots.min() < 0 or roots.max() >= nodes:
        return "a node leads back, or nowhere"
    if tensors["feature"].min() < 0 or tensors["feature"].max() >= len(columns):
        return "a node asks for a column that is not there"
    if not np.isfinite(tensors["value"]).all() or np.isnan(tensors["threshold"]).any():
        return "a value or threshold is no number"
    return ""
