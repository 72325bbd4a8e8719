"""A loss or gradient that is no number: what it came from is kept for whoever looks into it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.training.caorl.errors import TrainError
from catp.training.caorl.feed import Prepared

if TYPE_CHECKING:
    import torch

__all__ = ["Tried", "not_finite"]


@dataclass(frozen=True)
class Tried:
    """A batch of the step, and what its loss and the parts of it came to."""

    batch: Prepared
    loss: float
    parts: Mapping[str, float]


def not_finite(
    out: Path,
    step: int,
    rank: int,
    seed: int,
    tried: Sequence[Tried],
    parameters: "Mapping[str, torch.nn.Parameter]",
) -> TrainError:
    """Save the batches that a step without finite loss or gradient came from, and return the error to raise.

    Saved are the batches whose loss is not finite; if all are, then the gradient is not, and all batches are saved.
    """
    import torch
    from safetensors.torch import save_file

    guilty = [one for one in tried if not _finite(one.loss)] or list(tried)
    name = f"nan-batch-{step}" if rank == 0 else f"nan-batch-{step}-process-{rank}"
    tensors: dict[str, torch.Tensor] = {}
    plain: list[dict[str, Any]] = []
    for place, one in enumerate(guilty):
        content = one.batch.tensors
        tensors |= {f"{place}.{k}": v.cpu().clone() for k, v in content.items() if isinstance(v, torch.Tensor)}
        plain.append(
            {
                "epoch": one.batch.epoch,
                "examples": list(one.batch.numbers),
                "loss": repr(one.loss),
                "parts": {key: repr(value) for key, value in one.parts.items()},
                "values": {key: v for key, v in content.items() if isinstance(v, bool | int | float | str)},
            }
        )
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / f"{name}.safetensors")
    gradients = [
        key for key, value in parameters.items() if value.grad is not None and not bool(value.grad.isfinite().all())
    ]
    document = {"schema": "catp.nan-batch/1", "step": step, "seed": seed, "batches": plain, "gradients": gradients}
    (out / f"{name}.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return TrainError(_message(out, name, step, guilty, gradients))


def _message(out: Path, name: str, step: int, guilty: Sequence[Tried], gradients: Sequence[str]) -> str:
    examples = ", ".join(str(number) for one in guilty for number in one.batch.numbers)
    if _finite(guilty[0].loss):
        where = gradients[0] if gradients else "another process"
        what = f"the gradient is not finite (first in {where})"
    else:
        parts = ", ".join(f"{key} {value}" for key, value in guilty[0].parts.items())
        what = f"the loss is {guilty[0].loss}" + (f" ({parts})" if parts else "")
    last = out / "last"
    kept = f"the state before is in {last}" if last.is_dir() else "no state has been saved yet"
    return (
        f"step {step}: {what} for the examples {examples}. The batch is in {out / name}.safetensors, its examples and "
        f"seed in {name}.json; weights were not touched, {kept}. Look at these examples, or lower optim.lr"
    )


def _finite(value: float) -> bool:
    return value - value == 0
