"""A loss or gradient that is no number: what it came from is kept for whoever looks into it."""

import json
import math
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
    loss: float,
    tried: Sequence[Tried],
    parameters: "Mapping[str, torch.nn.Parameter]",
    *,
    seed: int,
    rank: int,
) -> TrainError:
    """Save the batches that a step without finite loss or gradient came from, and return the error to raise.

    Args:
        out: Where to write `nan-batch-STEP.safetensors` (the tensors, as `PLACE.NAME`) and the `.json` beside it.
        step: Which step, counted from 1.
        loss: Of the whole step. If it is finite, the gradient is not, and all batches are saved; otherwise those whose
            loss is not finite, if this process has any.
        tried: This process's batches.
        parameters: With their gradients, not yet clipped.
        seed: Of the run.
        rank: Of this process; others than the first have it in the file's name.
    """
    guilty = list(tried) if math.isfinite(loss) else [one for one in tried if not math.isfinite(one.loss)]
    if not guilty:
        return TrainError(f"step {step}: the loss is {loss}, because of another process's batch: see its message")
    gradients = [
        name for name, value in parameters.items() if value.grad is not None and not bool(value.grad.isfinite().all())
    ]
    name = f"nan-batch-{step}" if rank == 0 else f"nan-batch-{step}-process-{rank}"
    try:
        _save(out, name, guilty, {"step": step, "seed": seed, "gradients": gradients})
        kept = f"The batch is in {out / name}.safetensors, its examples and seed in {name}.json"
    except Exception as error:  # the fault itself is what must be told
        kept = f"The batch could not be saved in {out} ({error})"
    last = out / "last"
    state = f"the state before is in {last}" if last.is_dir() else "no state has been saved yet"
    examples = ", ".join(str(number) for one in guilty for number in one.batch.numbers)
    return TrainError(
        f"step {step}: {_what(guilty[0], gradients)} for the examples {examples}. {kept}; weights were not touched, "
        f"{state}. Look at these examples, or start anew with a lower optim.lr"
    )


def _save(out: Path, name: str, guilty: Sequence[Tried], facts: Mapping[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    batches: list[dict[str, Any]] = []
    for place, one in enumerate(guilty):
        content = one.batch.tensors
        # Clones, because a batch may hold one tensor under two names, which safetensors refuses.
        tensors |= {f"{place}.{k}": v.cpu().clone() for k, v in content.items() if isinstance(v, torch.Tensor)}
        batches.append(
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
    document = {"schema": "catp.nan-batch/1", **facts, "batches": batches}
    (out / f"{name}.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _what(first: Tried, gradients: Sequence[str]) -> str:
    if math.isfinite(first.loss):
        return f"the gradient is not finite (first in {gradients[0] if gradients else 'their sum'})"
    parts = ", ".join(f"{key} {value}" for key, value in first.parts.items())
    return f"the loss is {first.loss}" + (f" ({parts})" if parts else "")
