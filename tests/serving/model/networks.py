"""Small random networks of every architecture, and what transformers computes with them."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

VOCABULARY = 96
PLAN_IDS = (90, 3, 95, 17, 40)

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.3,
    "tie_word_embeddings": False, "pad_token_id": 0,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-tied-mha": ("Llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama3-rope": ("Llama", {"rope_parameters": _LLAMA3}),
    "llama-linear-rope-head-size": ("Llama", {
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 10000.0}, "head_dim": 16,
    }),
    "llama-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "qwen2": ("Qwen2", {}),
    "qwen2-tied": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "qwen3-bias": ("Qwen3", {"head_dim": 8, "attention_bias": True, "num_key_value_heads": 1}),
}  # fmt: skip


@cache
def network(name: str, seed: int = 0) -> Any:
    """A model of transformers; biases and norms are random too, so that none can be left out unnoticed."""
    import transformers

    torch.set_num_threads(1)
    kind, options = NETWORKS[name]
    config = getattr(transformers, f"{kind}Config")(**{**_SIZES, **options})
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.normal_(1.0 if "norm" in key else 0.0, 0.3)
    return model


def logits_of(model: Any, tokens: Sequence[int]) -> NDArray[np.float32]:
    """Logits (tokens, vocabulary) of one sequence, by transformers."""
    with torch.no_grad():
        found: NDArray[np.float32] = model(torch.tensor([list(tokens)])).logits[0].float().numpy()
    return found


def greedy_of(name: str, prompt: Sequence[int], count: int) -> list[int]:
    """What transformers writes greedily."""
    return list(_greedy_of(name, tuple(prompt), count))


@cache
def _greedy_of(name: str, prompt: tuple[int, ...], count: int) -> tuple[int, ...]:
    ids = torch.tensor([prompt])
    with torch.no_grad():
        found = network(name).generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=None,
            pad_token_id=0,
        )  # fmt: skip
    return tuple(int(token) for token in found[0, len(prompt) :])


def random_tokens(seed: int, count: int) -> list[int]:
    """Token ids."""
    found: list[int] = np.random.default_rng([9, seed]).integers(0, VOCABULARY, count).tolist()
    return found
