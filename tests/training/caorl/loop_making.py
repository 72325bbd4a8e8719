"""A tiny Llama, something it can learn, and a run that can be started here or as a process of its own."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from catp.training.caorl.config import TrainConfig
from catp.training.caorl.events import Evaluated, Event, Saved, Step, TrainResult
from catp.training.caorl.loop import train
from catp.training.caorl.source import Losses

VOCABULARY = 16


class Counting:
    """Sequences that count in steps of 1, 2 or 3 (by number) from a random start, modulo the vocabulary."""

    def __init__(self, size: int = 21, digest: str = "5" * 64) -> None:
        self.size = size
        self.digest = digest
        self.made: list[int] = []

    def __len__(self) -> int:
        return self.size

    def length(self, number: int) -> int:
        return 4 + (number * 5) % 7

    def example(self, number: int, random: np.random.Generator) -> list[int]:
        self.made.append(number)
        start = int(random.integers(VOCABULARY))
        return [(start + place * (1 + number % 3)) % VOCABULARY for place in range(self.length(number))]

    def batch(self, examples: Sequence[list[int]]) -> Mapping[str, Any]:
        import torch

        width = max(map(len, examples))
        ids = torch.tensor([example + [0] * (width - len(example)) for example in examples])
        mask = torch.tensor([[1] * len(example) + [0] * (width - len(example)) for example in examples])
        return {"input_ids": ids, "mask": mask, "tokens": int(mask.sum())}

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Losses:
        """Cross-entropy, averaged over the tokens of each example and then over examples."""
        import torch

        ids, mask = batch["input_ids"], batch["mask"]
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        each = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
        weights = mask[:, 1:].float()
        loss = ((each * weights).sum(1) / weights.sum(1)).mean()
        return Losses(loss, {"tokens": loss.detach(), "twice": 2 * loss.detach()})

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """The loss on fixed examples; draws random numbers too, as an evaluation may."""
        import torch

        assert not model.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        np.random.random(3)
        random = np.random.default_rng(99)
        batch = self.batch([self.example(number, random) for number in range(9)])
        return {"regret": float(self.loss(model, batch).total), "count": 9}


def tiny(*, dropout: float = 0.1, seed: int = 0, hidden: int = 16) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        attention_dropout=dropout,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(shape)


def config(**parts: Any) -> TrainConfig:
    """20 steps over 6 batches an epoch, two in a step: an epoch ends in the middle of every third run of steps."""
    optim = {"steps": 20, "batch": 4, "accumulate": 2, "ema": 0.9, "warmup": 3, "lr": 0.01, "threads": 1}
    made = {"device": "cpu", "optim": optim | parts.pop("optim", {}), "eval": {"every": 5} | parts.pop("eval", {})}
    return TrainConfig.model_validate({"save_every": 4} | made | parts)


def save_model(model: Any, folder: Path) -> None:
    """Weights and nothing else."""
    from safetensors.torch import save_file

    save_file({name: p.detach().contiguous() for name, p in model.named_parameters()}, folder / "model.safetensors")


Watcher = Callable[[Event], None]


class Record:
    """What a run told, without what depends on the clock."""

    def __init__(self, then: Watcher = lambda event: None) -> None:
        self.events: list[Event] = []
        self.then = then

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.then(event)

    @property
    def figures(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for event in self.events:
            if isinstance(event, Step):
                found.append(
                    (event.step, event.epoch, event.loss, dict(event.parts), event.lr, event.grad_norm, event.tokens)
                )
            elif isinstance(event, Evaluated):
                found.append((event.step, dict(event.figures), event.best))
        return found

    @property
    def saved(self) -> list[tuple[int, str]]:
        return [(event.step, event.folder.name) for event in self.events if isinstance(event, Saved)]


def run(
    out: Path,
    settings: TrainConfig,
    *,
    model: Any = None,
    algorithm: Any = None,
    resume: "Path | Literal['auto'] | None" = None,
    then: Watcher = lambda event: None,
) -> tuple[TrainResult, Record]:
    record = Record(then)
    result = train(
        Counting() if algorithm is None else algorithm,
        tiny() if model is None else model,
        settings,
        out,
        save_model=save_model,
        resume=resume,
        on_event=record,
    )
    return result, record


def after_step(step: int, do: Callable[[], object]) -> Watcher:
    def watch(event: Event) -> None:
        if isinstance(event, Step) and event.step == step:
            do()

    return watch


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main(arguments: list[str]) -> None:
    """OUT CONFIG [STEP]: run as a process; kill it in the middle of saving after a step, if one is given."""
    out, settings, *rest = arguments
    step = int(rest[0]) if rest else None
    record = Record()

    def save(model: Any, folder: Path) -> None:
        save_model(model, folder)
        if step is not None and any(isinstance(event, Step) and event.step >= step for event in record.events):
            os.kill(os.getpid(), signal.SIGKILL)

    train(
        Counting(), tiny(dropout=0.0 if "WORLD_SIZE" in os.environ else 0.1), TrainConfig.model_validate_json(settings),
        Path(out), save_model=save, on_event=record,
    )  # fmt: skip
    if record.events:
        print(json.dumps(record.figures))


if __name__ == "__main__":
    main(sys.argv[1:])
