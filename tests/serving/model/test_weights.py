"""Folders and models of transformers become weights, and what is wrong with them is named."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from catp.serving.model.config import parse_config
from catp.serving.model.rope import Rotary, frequencies
from catp.serving.model.weights import Weights, from_hf, load_weights
from catp.training.policy.errors import CheckpointError
from tests.serving.model.driving import Drive
from tests.serving.model.networks import NETWORKS, PLAN_IDS, logits_of, network, random_tokens


def logits(weights: Weights, tokens: list[int]) -> np.ndarray:
    drive = Drive(weights, PLAN_IDS)
    found = drive.read(drive.submit(tokens), range(len(tokens)))
    drive.run()
    return np.stack([found[place] for place in range(len(tokens))])


def same(one: Weights, other: Weights) -> bool:
    return [name for name, _ in one.named()] == [name for name, _ in other.named()] and all(
        torch.equal(mine, its) for (_, mine), (_, its) in zip(one.named(), other.named(), strict=True)
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folder_gives_what_the_model_gives(name: str, tmp_path: Path) -> None:
    network(name).save_pretrained(str(tmp_path))
    read = load_weights(tmp_path)
    assert read.config == from_hf(network(name)).config
    assert same(read, from_hf(network(name)))
    assert (read.head.data_ptr() == read.embedding.data_ptr()) == ("tied" in name)


def test_shards_are_one_model(tmp_path: Path) -> None:
    model = network("llama")
    model.save_pretrained(str(tmp_path), max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert same(load_weights(tmp_path), from_hf(model))
    next(iter(sorted(tmp_path.glob("model-*.safetensors")))).unlink()
    with pytest.raises(CheckpointError, match=r"model-00001.*is missing"):
        load_weights(tmp_path)


def test_a_model_in_memory_shares_what_is_not_stacked() -> None:
    model = network("llama")
    weights = from_hf(model)
    assert weights.embedding.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert weights.layers[0].down.data_ptr() == model.model.layers[0].mlp.down_proj.weight.data_ptr()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_narrow_weights_compute_nearly_the_same(name: str, dtype: str, tmp_path: Path) -> None:
    network(name).save_pretrained(str(tmp_path))
    weights, tokens = load_weights(tmp_path, dtype=dtype), random_tokens(1, 20)
    assert weights.dtype == getattr(torch, dtype)
    wanted = logits_of(network(name), tokens)[:, PLAN_IDS]
    difference = np.abs(logits(weights, tokens) - wanted).max() / np.abs(wanted).max()
    assert 0 < difference < (0.06 if dtype == "bfloat16" else 0.01)


def test_the_dtype_of_the_folder_is_kept(tmp_path: Path) -> None:
    network("llama").save_pretrained(str(tmp_path))
    edit(tmp_path, dtype="bfloat16")
    assert load_weights(tmp_path).dtype == torch.bfloat16


@pytest.mark.parametrize("name", NETWORKS)
def test_rotary_positions_are_those_of_transformers(name: str) -> None:
    model, weights = network(name), from_hf(network(name))
    positions = torch.arange(200)
    cos, sin = model.model.rotary_emb(torch.zeros(1), positions[None])
    half = weights.config.head_size // 2
    found = Rotary(weights.config, torch.float32, torch.device("cpu"))(positions)
    torch.testing.assert_close(found[0][:, 0], cos[0, :, :half])
    torch.testing.assert_close(found[1][:, 0], sin[0, :, :half])


def test_dynamic_positions_are_the_plain_ones_within_the_context() -> None:
    found = network("llama").config.to_dict()
    found["rope_parameters"] = {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    plain = from_hf(network("llama")).config
    assert torch.equal(frequencies(parse_config(found, "x")), frequencies(plain))


def test_a_configuration_of_transformers_4_means_the_same() -> None:
    new = network("llama3-rope").config.to_dict()
    rope = dict(new.pop("rope_parameters"))
    theta = rope.pop("rope_theta")
    new.pop("dtype", None)
    old = {**new, "rope_theta": theta, "rope_scaling": rope, "torch_dtype": "float32"}
    assert parse_config(old, "x") == from_hf(network("llama3-rope")).config


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change(folder: Path, name: str, value: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    save_file(tensors, path, metadata={"format": "pt"})


Q = "model.layers.1.self_attn.q_proj.weight"
FAULTS: dict[str, tuple[Any, str]] = {
    "architecture": (lambda folder: edit(folder, model_type="mamba"), r"config\.json is of a 'mamba' model"),
    "rope": (lambda folder: edit(folder, rope_parameters={"rope_type": "yarn"}), r"type 'yarn'.* not supported"),
    "half a rope": (lambda folder: edit(folder, rope_parameters={"rope_type": "linear"}), r"'linear' lack 'factor'"),
    "activation": (lambda folder: edit(folder, hidden_act="gelu"), "hidden_act 'gelu' is not supported"),
    "window": (lambda folder: edit(folder, use_sliding_window=True), "sliding-window"),
    "quantised": (lambda folder: edit(folder, quantization_config={"bits": 4}), "quantised weights"),
    "size": (lambda folder: edit(folder, hidden_size="many"), "hidden_size is 'many'"),
    "groups": (lambda folder: edit(folder, num_key_value_heads=3), "no multiple of num_key_value_heads"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), r"config\.json is missing"),
    "broken configuration": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
    "missing tensor": (lambda folder: change(folder, Q, None), r"lack model\.layers\.1\.self_attn\.q_proj"),
    "shape": (lambda folder: change(folder, Q, torch.zeros(8, 32)), r"shape \[8, 32\].* \[32, 32\]"),
    "nan": (lambda folder: change(folder, Q, torch.full((32, 32), torch.nan)), "holds NaN or infinite weights"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), r"holds no \*\.safetensors"),
    "pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "convert it to safetensors",
    ),
    "cut short": (
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:999]),
        r"model\.safetensors .*damaged or cut short",
    ),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    network("llama").save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_the_file_and_the_fix(fault: str, saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    damage, message = FAULTS[fault]
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(folder)
    assert str(folder) in str(caught.value)


def test_an_adapter_alone_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="adapter and no whole model"):
        load_weights(tmp_path)


def test_nan_in_a_model_in_memory_is_found() -> None:
    model = network("llama", seed=1)
    with torch.no_grad():
        model.model.norm.weight[3] = torch.nan
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight holds NaN"):
        from_hf(model)


def test_an_adapter_that_is_not_merged_is_refused() -> None:
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft, about transformers
        adapted = get_peft_model(network("llama", seed=2), LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(CheckpointError, match="not merged"):
        from_hf(adapted)
