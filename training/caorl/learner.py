"""One optimiser step: batches in, weights changed, what it came to out."""

import math
import random
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.errors import TrainError
from catp.training.caorl.faults import Tried, not_finite
from catp.training.caorl.feed import Prepared
from catp.training.caorl.optimiser import Average, learning_rate, make_optimiser, trainable
from catp.training.caorl.source import Algorithm
from catp.training.caorl.team import Team

if TYPE_CHECKING:
    import torch

__all__ = ["Done", "Learner", "seed_everything"]


@dataclass(frozen=True)
class Done:
    """What a step came to: means and sums over all its batches in all processes, and whether any of them must stop."""

    loss: float
    parts: Mapping[str, float]
    rate: float
    norm: float
    tokens: int
    stop: bool


class Learner:
    """A model with its optimiser and, if the configuration has it, the running mean of its weights.

    The model is moved to the team's device and made the same in all processes.
    """

    def __init__(self, algorithm: Algorithm, model: Any, config: TrainConfig, team: Team) -> None:
        import torch

        self.model = model
        self._algorithm = algorithm
        self._config = config
        self._team = team
        optim = config.optim
        if optim.threads is not None:
            torch.set_num_threads(optim.threads)
        if not getattr(model, "is_quantized", False):  # bitsandbytes has put it on the GPU already
            model.to(team.device)
        if optim.gradient_checkpointing:
            # What transformers has renamed; the old name warns.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
        self.parameters = trainable(model)
        if not self.parameters:
            raise TrainError("there is nothing to learn: every parameter of the model is frozen")
        team.share_weights(list(self.parameters.values()))
        self.optimiser = make_optimiser(self.parameters, optim)
        self.average = Average(self.parameters, optim.ema) if optim.ema else None

    def step(self, step: int, batches: Sequence[Prepared], out: Path, *, stop: bool) -> Done:
        """Take a step (counted from 0).

        Raises:
            TrainError: Loss or gradient is not finite; the weights are as before and the batches are saved in `out`.
        """
        import torch

        optim = self._config.optim
        seed_everything(self._config.seed, 11, step, self._team.rank)
        rate = learning_rate(optim, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        values = [self._backward(batch) for batch in batches]
        parameters = list(self.parameters.values())
        self._team.sum_gradients(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        done = self._gather(batches, values, rate, float(norm), stop)
        if not (math.isfinite(done.loss) and math.isfinite(done.norm)):
            tried = [
                Tried(batch, float(total), {name: float(part) for name, part in parts.items()})
                for (total, parts), batch in zip(values, batches, strict=True)
            ]
            seed = self._config.seed
            raise not_finite(out, step + 1, done.loss, tried, self.parameters, seed=seed, rank=self._team.rank)
        torch.nn.utils.clip_grads_with_norm_(parameters, optim.clip, norm)
        self.optimiser.step()
        if self.average is not None:
            self.average.update(step)
        return done

    def _backward(self, batch: Prepared) -> "tuple[torch.Tensor, dict[str, torch.Tensor]]":
        """Add a batch's share to the gradients; return its loss and the parts of it."""
        import torch

        device = self._team.device
        tensors = {
            name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.tensors.items()
        }
        with torch.autocast(device.type, torch.bfloat16) if self._config.optim.bf16 else nullcontext():
            losses = self._algorithm.loss(self.model, tensors)
        (losses.total * batch.share).backward()  # type: ignore[no-untyped-call]
        return losses.total.detach().double(), {name: part.detach().double() for name, part in losses.parts.items()}

    def _gather(
        self,
        batches: Sequence[Prepared],
        values: "Sequence[tuple[torch.Tensor, dict[str, torch.Tensor]]]",
        rate: float,
        norm: float,
        stop: bool,
    ) -> Done:
        """Sum over batches and processes, in one message, and with one wait for the GPU."""
        import torch

        names = sorted(values[0][1])
        rows = [torch.stack([total, *(parts[name] for name in names)]) for total, parts in values]
        mine = torch.stack([row * batch.share for row, batch in zip(rows, batches, strict=True)]).sum(0)
        tokens = sum(int(batch.tensors["tokens"]) for batch in batches)
        rest = torch.tensor([tokens, stop], dtype=torch.float64, device=self._team.device)
        loss, *parts, all_tokens, stops = self._team.sum(torch.cat([mine, rest])).tolist()
        return Done(loss, dict(zip(names, parts, strict=True)), rate, norm, int(all_tokens), stops > 0)


def seed_everything(*what: int) -> None:
    """Seed every generator that dropout, or whatever else a model does, might draw from."""
    import torch

    seed = int(np.random.SeedSequence(what).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
