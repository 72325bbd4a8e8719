"""Files of weights: safetensors and nothing else, checked before use, and folders that appear whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.training.policy.errors import CheckpointError, needs

if TYPE_CHECKING:
    import torch

__all__ = [
    "check_finite", "check_weights", "read_json", "refuse_pickles", "replaced_folder", "torch_dtype",
    "weight_files", "write_json", "write_weights",
]  # fmt: skip

_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_DTYPES = ("float32", "float16", "bfloat16")


def torch_dtype(name: str) -> "torch.dtype":
    """Return a dtype of torch by name: float32, float16 or bfloat16."""
    try:
        import torch
    except ImportError as error:
        raise needs("torch", "a policy") from error
    if name not in _DTYPES:
        raise ValueError(f"weights are {', '.join(_DTYPES)}, not {name!r}")
    found: torch.dtype = getattr(torch, name)
    return found


def weight_files(folder: Path) -> list[Path]:
    """Return the files of weights in a folder, by name."""
    return sorted(folder.glob("*.safetensors"))


def refuse_pickles(folder: Path) -> None:
    """Refuse a folder with weights that can run code when they are read.

    Raises:
        CheckpointError: there is such a file.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _PICKLES:
            raise CheckpointError(
                f"{path} is a pickle, which can run code when it is read; convert it to safetensors "
                "(`model.save_pretrained(...)` of transformers does) and remove it"
            )


def check_weights(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the head of a safetensors file and return the shapes of its tensors by name.

    Raises:
        CheckpointError: it is missing, cut short or no safetensors file.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise needs("safetensors", "a policy") from error
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the checkpoint again, or train it again")
    try:
        with safe_open(str(path), framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        size = path.stat().st_size
        raise CheckpointError(
            f"{path} ({size} bytes) is damaged or cut short ({error}); copy the checkpoint again"
        ) from error


def write_weights(path: Path, tensors: "Mapping[str, torch.Tensor]", dtype: "torch.dtype | None" = None) -> None:
    """Write tensors as safetensors, floating ones as `dtype`; the same tensors give the same bytes."""
    from safetensors.torch import save_file

    def stored(tensor: "torch.Tensor") -> "torch.Tensor":
        kept = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
        return tensor.detach().to(device="cpu", dtype=kept).contiguous().clone()

    save_file({name: stored(tensor) for name, tensor in sorted(tensors.items())}, str(path), metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes files that nobody else can read, which an installed model must not be


def check_finite(tensors: "Iterable[tuple[str, torch.Tensor]]", where: Path) -> None:
    """Check that no weight is NaN or infinite: one pass over memory.

    Raises:
        CheckpointError: one is.
    """
    import torch

    for name, tensor in tensors:
        # the sum is finite only if all are (or it overflowed, which the second look tells apart)
        if not (torch.isfinite(tensor.detach().sum()) or bool(torch.isfinite(tensor.detach()).all())):
            raise CheckpointError(
                f"{where}: {name} holds NaN or infinite weights: the training that wrote it had diverged; "
                "go back to an earlier checkpoint, or train with a lower optim.lr"
            )


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to fill that takes the place of `folder` when the block ends well, and vanishes when it fails.

    A crash at the worst moment leaves the old folder beside it as `.NAME.old`; the next write puts it back first.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    filling, old = (folder.with_name(f".{folder.name}.{what}") for what in ("new", "old"))
    if old.exists() and not folder.exists():
        old.rename(folder)
    for stale in (filling, old):
        shutil.rmtree(stale, ignore_errors=True)
    filling.mkdir()
    try:
        yield filling
        for path in filling.iterdir():
            _sync(path)
        _sync(filling)
        if folder.exists():
            folder.rename(old)
        filling.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(filling, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object that a checkpoint must have.

    Raises:
        CheckpointError: it is missing or no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing; copy the checkpoint again") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}); copy the checkpoint again") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} is not a JSON object; copy the checkpoint again")
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, the same bytes for the same content."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
