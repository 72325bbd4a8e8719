"""Engines on tiny random models, in this process, for tests of whole requests."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

from catp.serving.programs.spelling import Spelling
from catp.serving.server.backend import Event, Finished, Spec, TextDelta
from catp.serving.server.build import EngineOptions, serve_model
from catp.serving.server.local import LocalBackend, Served
from catp.training.policy.models import default_model

__all__ = ["collect", "engine", "hf_greedy", "text_of", "tiny_llama", "tokenizer"]


@cache
def tokenizer() -> Any:
    """The shipped policy's tokenizer."""
    from transformers import AutoTokenizer

    folder = default_model()
    assert folder is not None
    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


@cache
def tiny_llama(seed: int = 0) -> Any:
    """A LlamaForCausalLM of 2 layers with random weights, large enough that greedy texts vary."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
        initializer_range=0.5, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def hf_greedy(model: Any, prompt: Sequence[int], count: int) -> list[int]:
    """What transformers' `generate` writes, greedily."""
    import torch

    ids = torch.tensor([list(prompt)])
    with torch.no_grad():
        found = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=None,
            pad_token_id=2,
        )  # fmt: skip
    return [int(token) for token in found[0, len(prompt) :]]


@contextmanager
def _running(backend: LocalBackend) -> Any:
    try:
        yield backend
    finally:
        backend.engine.close()


def engine(
    options: EngineOptions | None = None, *, model: Any = None, wrap: Callable[[Any], Any] | None = None
) -> AbstractContextManager[LocalBackend]:
    """An engine on a tiny model; `wrap` may put faults around its runner."""
    from catp.serving.model.weights import from_hf

    weights = from_hf(model or tiny_llama())
    served = Served("tiny", Spelling(tokenizer()), weights.config.vocabulary, weights.config.positions)
    options = options or EngineOptions(threads=1, kv_memory=8 << 20)
    return _running(serve_model(served, weights, (), options, wrap=wrap))


async def collect(backend: LocalBackend, spec: Spec) -> tuple[list[Event], Finished]:
    """Submit a request and read all its events; the last one apart."""
    events: list[Event] = [event async for event in await backend.submit(spec)]
    last = events.pop()
    assert isinstance(last, Finished)
    return events, last


def text_of(events: Sequence[Event], index: int = 0) -> tuple[str, list[int]]:
    """The text and the tokens of a choice."""
    deltas = [event for event in events if isinstance(event, TextDelta) and event.index == index]
    return "".join(delta.text for delta in deltas), [token for delta in deltas for token in delta.tokens]
