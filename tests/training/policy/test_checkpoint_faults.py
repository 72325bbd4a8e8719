"""Every fault of a checkpoint folder: one error, which names the file and the fix."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from catp.training.digest import file_digest
from catp.training.policy import checkpoint
from catp.training.policy.checkpoint import Policy
from catp.training.policy.errors import CheckpointError
from catp.training.policy.manifest import read_manifest


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None], *, sign: bool = True) -> None:
    """Change tensors; `sign` puts the new digest into the manifest, as training that went wrong would have."""
    path = folder / "model.safetensors"
    tensors = load_file(str(path))
    change(tensors)
    save_file(tensors, str(path), metadata={"format": "pt"})
    if sign:
        edit(folder / "catp.json", lambda content: content["weights"].update({path.name: file_digest(path)}))


def refused(folder: Path, *says: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(folder)
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere", "catp models list")


def test_foreign_folder(base: Path) -> None:
    refused(base, "has no catp.json", "model.base")


def test_missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "model.safetensors is missing", "copy the checkpoint again")


@pytest.mark.parametrize("keep", [0, 5, 300, -100])
def test_truncated_weights(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(folder, "model.safetensors", "damaged or cut short", "copy the checkpoint again")


def test_a_flipped_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    refused(folder, "model.safetensors", "SHA-256 differs")


def test_weights_that_the_manifest_does_not_name(folder: Path) -> None:
    edit(folder / "catp.json", lambda content: content["weights"].clear())
    refused(folder, "model.safetensors", "SHA-256 differs")


def test_another_architecture(folder: Path) -> None:
    edit(folder / "config.json", lambda content: content.update(model_type="gpt2"))
    refused(folder, "config.json", "'gpt2'", "Llama")


@pytest.mark.parametrize("name", ["config.json", "catp.json", "tokenizer.json"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize("name", ["config.json", "catp.json", "tokenizer.json"])
def test_file_that_is_no_json(folder: Path, name: str) -> None:
    (folder / name).write_text('{"schema": ')
    refused(folder, name, "copy")


def test_sizes_of_another_model(folder: Path) -> None:
    edit(folder / "config.json", lambda content: content.update(hidden_size=64))
    refused(folder, "config.json", "copy the folder again")


def test_layers_that_are_not_there(folder: Path) -> None:
    edit(folder / "config.json", lambda content: content.update(num_hidden_layers=3))
    refused(folder, "lack 9 tensors", "model.layers.2.")


def test_tokenizer_of_another_model(folder: Path, tmp_path: Path) -> None:
    from catp.planlang.vocabulary import Vocabulary
    from catp.training.policy.tokenizer import train_tokenizer
    from catp.training.prompt.tokens import PolicyTokens

    other = PolicyTokens.extend(train_tokenizer(["Quite another text about other things"] * 3, 320), Vocabulary(8))
    other.tokenizer.save_pretrained(str(folder))
    refused(folder, "tokenizer.json", "its digest differs", "original checkpoint")


def test_tokenizer_without_our_tokens(folder: Path, base: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(base / name, folder / name)
    refused(folder, "tokenizer.json", "lacks")


def test_fewer_rows_than_tokens(folder: Path) -> None:
    def cut(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-5].clone()

    rewrite_weights(folder, cut)
    edit(folder / "config.json", lambda content: content.update(vocab_size=content["vocab_size"] - 5))
    refused(folder, "embedding rows", "tokens")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = value

    rewrite_weights(folder, spoil)
    refused(folder, "model.layers.1.mlp.up_proj.weight", "NaN or infinite", "optim.lr")


class Bomb:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.PT", "state.pkl", "model.ckpt"])
def test_pickles_are_refused_and_not_run(folder: Path, name: str) -> None:
    (folder / name).write_bytes(pickle.dumps(Bomb()))
    refused(folder, name, "pickle", "safetensors")


def test_pickles_instead_of_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    refused(folder, "model.safetensors", "damaged")


def test_newer_schema(folder: Path) -> None:
    edit(folder / "catp.json", lambda content: content.update(schema="catp.policy/2", more={"x": 1}))
    refused(folder, "catp.json", "catp.policy/2", "newer", "pip install --upgrade catp")


@pytest.mark.parametrize("schema", [None, "catp.task/1", 1, "catp.policy/0"])
def test_another_schema(folder: Path, schema: object) -> None:
    edit(folder / "catp.json", lambda content: content.update(schema=schema))
    refused(folder, "catp.json", "no policy of catp")


def test_unknown_key_in_the_manifest(folder: Path) -> None:
    edit(folder / "catp.json", lambda content: content.update(kapa=2))
    refused(folder, "catp.json: kapa", "another version")


def test_no_verifying_leaves_out_digests_only(folder: Path, policy: Policy) -> None:
    rewrite_weights(folder, lambda tensors: None, sign=False)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\0\0")
    assert checkpoint.load(folder, verify=False).manifest == read_manifest(folder)
    refused(folder, "SHA-256 differs")
