"""The tiny models of these tests, and what is asked of them."""

from pathlib import Path
from typing import Any

import torch

from catp.training.caorl.config import LoraConfig, ModelConfig, TrainConfig
from catp.training.policy.checkpoint import Policy
from catp.training.policy.tokenizer import train_tokenizer

TEXTS = [
    "Read the scanned page and translate it into German.",
    "Restore the photo: remove noise, then upscale twice.",
    "ocr_rapid(image) -> text, detectLanguage, HTTPFetch, tools.image.denoise",
    "Größe des Bildes? 12 pages, at most $0.05.",
]
SHAPE = ModelConfig(hidden=32, layers=2, heads=4, kv_heads=2, intermediate=64, text_tokens=320, tool_slots=8)
CONFIG = TrainConfig(name="test", seed=3, model=SHAPE)


def make_base(folder: Path, *, tied: bool = True) -> Path:
    """Write a pretrained Llama as others do: its own tokenizer, none of our tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = train_tokenizer(TEXTS, 300)
    torch.manual_seed(5)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=tied, bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A base\n")
    return folder


def lora_config(base: Path, rank: int = 4) -> TrainConfig:
    model = ModelConfig(base=str(base), tool_slots=8)
    return TrainConfig(name="test", seed=3, model=model, lora=LoraConfig(rank=rank, alpha=8.0, dropout=0.0))


def trained(policy: Policy) -> Policy:
    """Take a few steps, so that adapters and rows are no longer what they began as."""
    learning = [p for p in policy.model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, lr=1.0)
    ids = torch.arange(len(policy.tokens) - 40, len(policy.tokens))[None]
    policy.model.train()
    for _ in range(3):
        optimiser.zero_grad()
        policy.model(input_ids=ids, labels=ids).loss.backward()
        optimiser.step()
    policy.model.eval()
    return policy


def logits(model: Any, tokens: int) -> torch.Tensor:
    ids = torch.arange(0, tokens, 7)[None]
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=ids).logits
    return found
