"""A critic on the disk: `critic.json` and safetensors files, no pickle.

    critic.json              schema catp.critic/1: config, digests of config and data, what numbers mean, progress
    state-000150.safetensors weights and Adam's state after so many gradient steps, to go on from
    best-000100.safetensors  weights at the lowest regret on held-out tasks, to be used

The manifest is replaced last and names the files that belong to it, so a run that is killed at any moment leaves the
last complete save. Files that no manifest names are removed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from catp.training.critic.algorithms import Learner
from catp.training.critic.libraries import libraries
from catp.training.data.files import replacing

__all__ = ["MANIFEST", "CheckpointError", "read_manifest", "read_tensors", "restore", "save", "snapshot"]

MANIFEST: Final = "critic.json"
SCHEMA: Final = "catp.critic/1"


class CheckpointError(ValueError):
    """A folder that holds no critic, or not the one that is wanted; the message says what to do."""


def snapshot(learner: Learner, *, optimiser: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tensors of a learner, by name and copied, and what is left of it as plain JSON."""
    torch, _ = libraries()
    tensors: dict[str, Any] = {}
    rest: dict[str, Any] = {"grad_step": learner.step}
    if learner.config.algorithm == "dt":
        rest["tokens"] = learner.algo.impl._tokens  # of the schedule of the learning rate
    for name, part in _parts(learner).items():
        if isinstance(part, torch.nn.Module):
            tensors.update({f"{name}/{key}": value.clone() for key, value in part.state_dict().items()})
        elif optimiser:
            state = part.optim.state_dict()
            for number, values in state["state"].items():
                tensors.update({f"{name}/{number}/{key}": value.clone() for key, value in values.items()})
            rest[name] = json.loads(json.dumps(state["param_groups"]))  # as it will be read
    return tensors, rest


def restore(learner: Learner, tensors: Mapping[str, Any], rest: Mapping[str, Any]) -> None:
    """Set a learner to a snapshot; without an optimiser's state in it, the optimiser is left alone.

    Raises:
        CheckpointError: tensors are missing, or have other names or shapes.
    """
    torch, _ = libraries()
    for name, part in _parts(learner).items():
        mine = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        try:
            if isinstance(part, torch.nn.Module):
                part.load_state_dict(mine)
            elif name in rest:
                part.optim.load_state_dict({"state": _by_number(mine), "param_groups": rest[name]})
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(f"the tensors of {name} do not fit this critic: {error}") from error
    learner.algo.set_grad_step(rest["grad_step"])
    if learner.config.algorithm == "dt":
        learner.algo.impl._tokens = rest["tokens"]


def save(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write tensor files and then the manifest that names them; remove what it no longer names.

    `files` maps `state` and `best` to tensors; one that is absent keeps the file it had.

    Raises:
        OSError: the disk is full, and the like; what was saved before is untouched.
    """
    from safetensors.torch import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    named = dict(manifest["files"])
    for role, tensors in files.items():
        data = to_bytes(dict(tensors))
        named[role] = {"name": f"{role}-{manifest['step']:06d}.safetensors", "sha256": _sha(data)}
        with replacing(folder / named[role]["name"]) as file:
            file.write(data)
    content = {"schema": SCHEMA, **manifest, "files": named}
    with replacing(folder / MANIFEST) as file:
        file.write((json.dumps(content, indent=1, sort_keys=True) + "\n").encode())
    kept = {one["name"] for one in named.values()}
    for path in folder.glob("*-[0-9]*.safetensors"):
        if path.name not in kept and path.name.startswith(("state-", "best-")):
            path.unlink()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder.

    Raises:
        CheckpointError: there is none, or it is not a critic's.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} holds no critic: {MANIFEST} is missing; catp critic train makes one") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged: {error}; restore it, or train anew into another folder") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        what = found.get("schema") if isinstance(found, dict) else type(found).__name__
        raise CheckpointError(f"{path} is {what!r}, not {SCHEMA}")
    return found


def read_tensors(folder: Path, manifest: Mapping[str, Any], role: str) -> dict[str, Any]:
    """Return the tensors of `state` or `best`.

    Raises:
        CheckpointError: the file is missing or is not the one that was written.
    """
    from safetensors.torch import load

    about = manifest["files"][role]
    path = folder / about["name"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
    if _sha(data) != about["sha256"]:
        raise CheckpointError(f"{path} was changed or damaged since it was saved: its SHA-256 is not the manifest's")
    return dict(load(data))


def _parts(learner: Learner) -> dict[str, Any]:
    """Networks and optimisers by name."""
    return dict(learner.algo.impl.modules.create_checkpointer("cpu").modules)


def _by_number(tensors: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        number, _, what = key.partition("/")
        found.setdefault(int(number), {})[what] = value
    return found


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
