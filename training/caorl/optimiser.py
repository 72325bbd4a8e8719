"""AdamW, its learning rate, and the running mean of the weights.

The learning rate is a function of the step alone and the running mean has no hidden counter, so a resumed run needs
nothing but the step and the tensors.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from catp.training.caorl.config import OptimConfig

if TYPE_CHECKING:
    import torch

__all__ = ["Average", "learning_rate", "make_optimiser", "trainable"]


def trainable(model: Any) -> "dict[str, torch.nn.Parameter]":
    """Return the parameters that are learned, by name; a tied parameter is there once."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def make_optimiser(parameters: "Mapping[str, torch.nn.Parameter]", optim: OptimConfig) -> "torch.optim.AdamW":
    """Return AdamW with Llama's betas. Vectors (norms, biases) do not decay: only matrices gain from it."""
    import torch

    groups = [
        {"params": [p for p in parameters.values() if p.ndim >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=optim.lr, betas=(0.9, 0.95))


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Return the rate of a step (counted from 0): linear warm-up, then half a cosine to `final` of the peak."""
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    done = (step - optim.warmup) / max(optim.steps - 1 - optim.warmup, 1)
    return optim.lr * (optim.final + (1 - optim.final) * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


class Average:
    """The running mean of weights (exponential moving average), in float32.

    The decay begins small, min(decay, (1 + n) / (10 + n)) after n steps, so that the random first weights are soon
    forgotten.
    """

    def __init__(self, parameters: "Mapping[str, torch.nn.Parameter]", decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.values: dict[str, torch.Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in parameters.items()
        }

    def update(self, step: int) -> None:
        """Take in the weights after a step (counted from 0)."""
        import torch

        decay = min(self._decay, (1 + step) / (10 + step))
        new = [parameter.detach().float() for parameter in self._parameters.values()]
        torch._foreach_lerp_(list(self.values.values()), new, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the mean in the place of the weights for a while."""
        import torch

        kept = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        try:
            self._put(self.values, torch.no_grad())
            yield
        finally:
            self._put(kept, torch.no_grad())

    def _put(self, values: "Mapping[str, torch.Tensor]", without_gradient: Any) -> None:
        with without_gradient:
            for name, parameter in self._parameters.items():
                parameter.copy_(values[name])
