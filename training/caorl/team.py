"""The processes that train together: one, or as many as `accelerate launch` (or torchrun) has started.

The processes average their gradients themselves, over flat buckets, instead of wrapping the model in
`DistributedDataParallel`: the loss may call any part of the model (its backbone, its head, its embeddings), and a
wrapper only sees calls of `forward`. The model stays the model, in one process or many.
"""

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from catp.training.caorl.errors import TrainError

if TYPE_CHECKING:
    import torch

__all__ = ["Team"]

_BUCKET = 1 << 25
"""Numbers sent in one go."""
_PATIENCE = timedelta(hours=6)
"""How long the others wait while the first process evaluates and saves."""


class Team:
    """This process's place among those of the run.

    Args:
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, ...
    """

    def __init__(self, device: str) -> None:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise TrainError(
                f"device {device!r} is not there: torch {torch.__version__} sees no GPU; use device = 'cpu'"
            )
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        if self.size > 1:
            self.rank, self.device = self._join(device)
        else:
            self.rank = 0
            name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
            self.device = torch.device(name)

    @staticmethod
    def _join(device: str) -> "tuple[int, torch.device]":
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise TrainError("training in several processes needs accelerate: pip install 'catp[train]'") from error
        state = PartialState(cpu=device == "cpu", timeout=_PATIENCE)
        return state.process_index, state.device

    @property
    def first(self) -> bool:
        """Whether this process evaluates, writes and reports."""
        return self.rank == 0

    def sum_gradients(self, parameters: "Sequence[torch.nn.Parameter]") -> None:
        """Replace every gradient by its sum over the processes; one that is missing here counts as zero."""
        if self.size == 1:
            return
        import torch

        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            torch.distributed.all_reduce(flat)
            start = 0
            for gradient in bucket:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()

    def sum(self, numbers: "torch.Tensor") -> "torch.Tensor":
        """Return the sum over the processes."""
        if self.size > 1:
            import torch

            torch.distributed.all_reduce(numbers)
        return numbers

    def share_weights(self, parameters: "Sequence[torch.nn.Parameter]") -> None:
        """Give every process the first one's weights."""
        if self.size > 1:
            import torch

            for parameter in parameters:
                torch.distributed.broadcast(parameter.data, 0)

    def tell(self, thing: Any) -> Any:
        """Return what the first process gave. The others wait for it."""
        if self.size == 1:
            return thing
        import torch

        # Numbers and text only; torch pickles them on the way from process to process, nothing of it reaches a file.
        box = [thing]
        torch.distributed.broadcast_object_list(box, 0)
        return box[0]


def _buckets(tensors: "Sequence[torch.Tensor]") -> "list[list[torch.Tensor]]":
    """Group neighbours of one type, up to the size of a bucket."""
    buckets: list[list[torch.Tensor]] = []
    room = 0
    for tensor in tensors:
        if not buckets or tensor.dtype != buckets[-1][0].dtype or tensor.numel() > room:
            buckets.append([])
            room = _BUCKET
        buckets[-1].append(tensor)
        room -= tensor.numel()
    return buckets
