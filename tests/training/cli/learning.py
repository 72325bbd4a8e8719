"""A policy of a few thousand parameters and something it can learn in milliseconds: what comes in, comes out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.run import Ready
from catp.training.caorl.source import Losses
from catp.training.policy.checkpoint import new

TEXTS = ("read the page", "ocr fast page to text", "translate the text")


class Echo:
    """Predicts each token of a constant sequence; regret is the loss on one of them."""

    digest = "d" * 64

    def __init__(self, examples: int = 12) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return self.examples

    def length(self, number: int) -> int:
        return 8

    def example(self, number: int, random: np.random.Generator) -> Any:
        return np.full(8, 3 + number % 5)

    def batch(self, examples: Sequence[Any]) -> Mapping[str, Any]:
        import torch

        return {"ids": torch.tensor(np.stack(examples)), "tokens": 8 * len(examples)}

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Losses:
        total = model(input_ids=batch["ids"], labels=batch["ids"]).loss
        return Losses(total, {"echo": total.detach()})

    def evaluate(self, model: Any) -> Mapping[str, float]:
        random = np.random.default_rng(0)
        found = float(self.loss(model, self.batch([self.example(0, random)])).total)
        return {"regret": found, "regret@0.8": found / 2}


def prepare(config: TrainConfig, progress: object = None, examples: int = 12) -> Ready:
    return Ready(Echo(examples), new(config, TEXTS), {"echo": "e" * 64})


CONFIG = """
name = "echo"
save_every = 2
[model]
hidden = 16
layers = 1
heads = 2
kv_heads = 2
intermediate = 32
text_tokens = 270
[optim]
steps = 6
batch = 2
warmup = 1
lr = 0.01
threads = 1
[eval]
every = 2
limit = 100
"""
