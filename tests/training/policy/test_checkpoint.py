import dataclasses
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from catp.training.caorl.config import ModelConfig, TrainConfig
from catp.training.policy import checkpoint
from catp.training.policy.checkpoint import Policy
from catp.training.policy.errors import CheckpointError
from catp.training.policy.manifest import read_manifest
from catp.training.prompt.tokens import PolicyTokens
from tests.training.policy.tiny import CONFIG, SHAPE, TEXTS, logits


def test_a_new_policy_has_the_shape_asked_for(policy: Policy) -> None:
    found = policy.model.config
    assert (found.hidden_size, found.num_hidden_layers, found.num_attention_heads) == (32, 2, 4)
    assert (found.num_key_value_heads, found.intermediate_size) == (2, 64)
    assert found.tie_word_embeddings
    assert found.max_position_embeddings == 4096
    assert found.vocab_size == len(policy.tokens)
    assert policy.model.lm_head.weight is policy.model.model.embed_tokens.weight


def test_the_seed_decides_the_weights_and_the_global_state_does_not(policy: Policy) -> None:
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    again = checkpoint.new(CONFIG, reversed(TEXTS))
    assert torch.equal(torch.random.get_rng_state(), before)
    other = checkpoint.new(CONFIG.model_copy(update={"seed": 4}), TEXTS)
    assert torch.equal(logits(again.model, 300), logits(policy.model, 300))
    assert not torch.equal(logits(other.model, 300), logits(policy.model, 300))


def test_a_saved_policy_answers_as_before(policy: Policy, saved: Path) -> None:
    found = checkpoint.load(saved)
    assert torch.equal(logits(found.model, 300), logits(policy.model, 300))
    assert found.tokens.digest == policy.tokens.digest
    assert found.tokens.vocabulary.tool_slots == 8
    assert found.manifest == read_manifest(saved)
    assert found.folder == saved
    assert not found.model.training


def test_the_folder_is_one_that_plain_transformers_reads(policy: Policy, saved: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(str(saved))
    assert torch.equal(logits(model, 300), logits(policy.model, 300))
    assert AutoTokenizer.from_pretrained(str(saved)).get_vocab() == policy.tokens.tokenizer.get_vocab()
    assert PolicyTokens(AutoTokenizer.from_pretrained(str(saved)), policy.tokens.vocabulary).text("ocr_rapid 12") == (
        policy.tokens.text("ocr_rapid 12")
    )


def test_the_same_policy_gives_the_same_bytes(policy: Policy, saved: Path, tmp_path: Path) -> None:
    checkpoint.save(checkpoint.new(CONFIG, TEXTS), tmp_path / "again")
    names = sorted(path.name for path in saved.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert [n for n in names if (saved / n).read_bytes() != (tmp_path / "again" / n).read_bytes()] == []
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in saved.iterdir())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_weights_halve_the_size(policy: Policy, saved: Path, tmp_path: Path, dtype: str) -> None:
    checkpoint.save(policy, tmp_path / "narrow", dtype=dtype)
    size = (tmp_path / "narrow" / "model.safetensors").stat().st_size
    assert size < 0.55 * (saved / "model.safetensors").stat().st_size
    as_stored = checkpoint.load(tmp_path / "narrow", dtype=None)
    assert as_stored.model.dtype == getattr(torch, dtype)
    widened = checkpoint.load(tmp_path / "narrow")
    assert widened.model.dtype == torch.float32
    assert torch.allclose(logits(widened.model, 300), logits(policy.model, 300), atol=2e-2)
    assert policy.model.dtype == torch.float32


def test_what_is_saved_is_in_the_manifest(policy: Policy, tmp_path: Path) -> None:
    manifest = policy.manifest.updated(step=7, figures={"regret": 0.25}, kappa=0.5, data={"catp-bench": "ab"})
    written = checkpoint.save(dataclasses.replace(policy, manifest=manifest), tmp_path / "m")
    found = read_manifest(tmp_path / "m")
    assert found == written
    assert (found.step, found.figures, found.kappa, found.data) == (7, {"regret": 0.25}, 0.5, {"catp-bench": "ab"})
    assert found.config == CONFIG
    assert set(found.weights) == {"model.safetensors"}
    assert found.tokens.tool_slots == 8
    assert found.tokens.plan_tokens == 273 - 64 + 8


def test_saving_replaces_and_a_failed_save_leaves_what_was_there(
    policy: Policy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "stale.txt").write_text("from an earlier save")
    checkpoint.save(policy, folder)
    assert not (folder / "stale.txt").exists()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy.tokens.tokenizer, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(policy, folder, dtype="float16")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_a_crash_between_the_two_renames_is_mended_by_the_next_save(policy: Policy, folder: Path) -> None:
    folder.rename(folder.with_name(".tiny.old"))
    (folder.with_name(".tiny.new")).mkdir()
    checkpoint.save(policy, folder)
    assert sorted(path.name for path in folder.parent.iterdir() if "tiny" in path.name) == ["tiny"]
    checkpoint.load(folder)


def test_a_diverged_model_is_not_saved(tmp_path: Path) -> None:
    bad = checkpoint.new(CONFIG, TEXTS)
    with torch.no_grad():
        bad.model.model.norm.weight[3] = float("nan")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds NaN"):
        checkpoint.save(bad, tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_sizes_that_do_not_go_together_are_refused() -> None:
    shape = ModelConfig(**{**SHAPE.model_dump(), "heads": 5})
    with pytest.raises(ValueError, match=r"model\.hidden \(32\) must be a multiple of model\.heads \(5\)"):
        checkpoint.new(TrainConfig(model=shape), TEXTS)
