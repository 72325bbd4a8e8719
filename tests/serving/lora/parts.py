"""Small models with peft adapters, and the engine's runner on rows that are made by hand."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.step import Row, Step
from catp.serving.model.runner import ModelRunner

VOCABULARY = 64
NEW = [60, 61, 63]


def tiny(*, tied: bool, kind: str = "llama", seed: int = 0, hidden: int = 32) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": hidden, "intermediate_size": 48, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": tied, "initializer_range": 0.2,
    }  # fmt: skip
    if kind == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**sizes)).eval()
    return LlamaForCausalLM(LlamaConfig(**sizes)).eval()


def save_adapter(folder: Path, base: Mapping[str, Any], seed: int, **options: Any) -> Path:
    """Put a LoRA with random weights on a fresh `tiny(**base)` and save it as peft does."""
    from peft import LoraConfig, get_peft_model

    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about transformers
        model = get_peft_model(tiny(**base), LoraConfig(task_type="CAUSAL_LM", **(settings | options)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "trainable_tokens" in name:
                weight.normal_(0, 0.3, generator=generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_pretrained(str(folder))
    return folder


def reference(base: Mapping[str, Any], folder: Path | None, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Logits (tokens, vocabulary) of transformers, with peft's adapter on top if there is one."""
    from peft import PeftModel

    model = tiny(**base)
    if folder is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PeftModel.from_pretrained(model, str(folder)).eval()
    with torch.no_grad():
        found: NDArray[np.float32] = model(torch.tensor([list(tokens)])).logits[0].numpy()
    return found


class Bench:
    """Branches with fixed block tables in a runner; each block is used by one branch."""

    def __init__(self, runner: ModelRunner, blocks_each: int = 4) -> None:
        self.runner, self._each, self._made = runner, blocks_each, 0

    def branch(self, tokens: Sequence[int], adapter: str | None = None) -> Branch:
        request = Request(f"r{self._made}", tuple(tokens), 8, adapter=adapter)
        first = self._made * self._each
        job = Job(request, None)  # type: ignore[arg-type]  # nothing asks the program
        branch = Branch(job, self._made, list(tokens), blocks=list(range(first, first + self._each)))
        self._made += 1
        return branch

    def compute(self, parts: Sequence[tuple[Branch, int, Sequence[Read]]]) -> list[Any]:
        """Compute the next `count` tokens of branches, with reads; returns the results."""
        rows = []
        for branch, count, reads in parts:
            branch.reads = list(reads)
            rows.append(Row(branch, branch.computed, count))
        results = self.runner.execute(Step(tuple(rows))).results
        for branch, count, _ in parts:
            branch.computed += count
        return list(results)
