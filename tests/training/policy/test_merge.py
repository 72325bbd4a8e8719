import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from catp.training.policy import checkpoint, merge
from catp.training.policy.checkpoint import Policy
from catp.training.policy.errors import CheckpointError
from catp.training.policy.merge import TOLERANCE, export
from tests.training.policy.tiny import logits, lora_config, trained


@pytest.fixture(params=["base", "untied"])
def adapted(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Policy, Path]:
    policy = trained(checkpoint.from_base(lora_config(request.getfixturevalue(request.param))))
    checkpoint.save(policy, tmp_path / "adapter")
    return policy, tmp_path / "adapter"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_merged_policy_answers_as_its_adapter_did(adapted: tuple[Policy, Path], tmp_path: Path, dtype: str) -> None:
    policy, folder = adapted
    found = export(folder, tmp_path / "out", dtype=dtype)
    assert found.difference is not None
    assert found.difference <= TOLERANCE[dtype] == found.tolerance
    assert (found.difference > 1e-4) == (dtype == "bfloat16")
    assert found.bytes == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"), dtype=torch.float32)
    wanted = logits(policy.model, len(policy.tokens))
    difference = (logits(model, len(policy.tokens)) - wanted).abs().max() / wanted.abs().max()
    assert float(difference) <= TOLERANCE[dtype]
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert tokenizer.get_vocab() == policy.tokens.tokenizer.get_vocab()
    again = checkpoint.load(tmp_path / "out")
    assert again.manifest.base == policy.manifest.base
    assert not (tmp_path / "out" / "adapter_config.json").exists()


def test_a_whole_policy_is_exported_as_it_is(saved: Path, policy: Policy, tmp_path: Path) -> None:
    found = export(saved, tmp_path / "out")
    assert found.difference == 0.0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()


def test_an_adapter_alone(adapted: tuple[Policy, Path], tmp_path: Path) -> None:
    policy, folder = adapted
    (folder / "optimizer.notes").write_text("not for others")
    found = export(folder, tmp_path / "out", mode="adapter")
    assert (found.difference, found.tolerance) == (None, None)
    assert not (tmp_path / "out" / "optimizer.notes").exists()
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    loaded = checkpoint.load(tmp_path / "out", trainable=True)
    size = len(policy.tokens)
    assert torch.equal(logits(loaded.model, size), logits(policy.model, size))


def test_a_whole_policy_has_no_adapter(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds a whole model and no adapter; export it with mode 'merge'"):
        export(saved, tmp_path / "out", mode="adapter")
    assert not (tmp_path / "out").exists()


def test_a_damaged_adapter_is_not_passed_on(adapted: tuple[Policy, Path], tmp_path: Path) -> None:
    _, folder = adapted
    with (folder / "adapter_model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\1\2\3\4")
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is damaged"):
        export(folder, tmp_path / "out", mode="adapter")
    assert not (tmp_path / "out").exists()


def test_a_merge_that_answers_otherwise_is_not_left_behind(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: object, folder: Path, *rest: object, **options: object) -> object:
        with torch.no_grad():
            model.model.norm.weight *= 1.01  # type: ignore[attr-defined]
        return checkpoint.save_model(model, folder, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(merge, "save_model", wrong)
    with pytest.raises(CheckpointError, match=r"differ by 0\.01 of the greatest, more than 0\.0001 for float32"):
        export(saved, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match="is not empty"):
        export(saved, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").exists()


def test_an_unknown_dtype(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float32, float16, bfloat16, not 'int8'"):
        export(saved, tmp_path / "out", dtype="int8")
