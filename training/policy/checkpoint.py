"""Policies as folders: a standard Hugging Face Llama (or a LoRA adapter on one), its tokenizer, and `catp.json`.

    config.json, model.safetensors                        a whole model
    adapter_config.json, adapter_model.safetensors        an adapter (peft), which needs its base
    tokenizer.json, tokenizer_config.json, catp.json      both

`new` and `from_base` make a policy to train, `save` and `load` write and read one. Every fault is a `CheckpointError`
that names the file and the fix. Weights are safetensors only: a pickle can run code, and is refused.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.config import TrainConfig
from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.manifest import MANIFEST, Manifest, TokensRef, read_manifest
from catp.training.policy.tokenizer import train_tokenizer
from catp.training.policy.weights import (
    check_finite,
    check_weights,
    file_digest,
    read_json,
    refuse_pickles,
    replaced_folder,
    torch_dtype,
    weight_files,
    write_weights,
)
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["MAX_POSITION", "Policy", "load", "new", "save", "save_model"]

MAX_POSITION = 4096
"""Positions of a new network."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Policy:
    """A model with its tokens and its manifest; `folder` is where it was read from.

    `model` is a `LlamaForCausalLM` of transformers, or a `PeftModel` around one.
    """

    model: Any
    tokens: PolicyTokens
    manifest: Manifest
    folder: Path | None = None


def new(config: TrainConfig, texts: Iterable[str]) -> Policy:
    """Make a Llama of `config.model`'s size with random weights (decided by `config.seed`) and a tokenizer of `texts`.

    Raises:
        ImportError: torch or transformers is not installed.
        ValueError: the sizes do not go together.
    """
    try:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise needs("torch and transformers", "a policy") from error
    shape = config.model
    if shape.hidden % shape.heads or shape.heads % shape.kv_heads:
        raise ValueError(
            f"model.hidden ({shape.hidden}) must be a multiple of model.heads ({shape.heads}), and model.heads one of "
            f"model.kv_heads ({shape.kv_heads})"
        )
    tokens = PolicyTokens.extend(train_tokenizer(texts, shape.text_tokens), Vocabulary(shape.tool_slots))
    tokenizer = tokens.tokenizer
    llama = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=MAX_POSITION,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation=shape.attention,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama)
    return Policy(model.to(torch_dtype(shape.dtype)), tokens, Manifest.begin(config, tokens))


def save(policy: Policy, folder: Path, *, dtype: str | None = None) -> Manifest:
    """Write a policy to a folder, whole or not at all; see `save_model`. Returns the manifest as written."""
    return save_model(policy.model, folder, policy.tokens, policy.manifest, dtype=dtype)


def save_model(
    model: Any, folder: Path, tokens: PolicyTokens, manifest: Manifest, *, dtype: str | None = None
) -> Manifest:
    """Write a model (bare, or in a `PeftModel`: then only its adapter) with tokenizer and manifest to a folder.

    What was in the folder is replaced. The same weights give the same bytes.

    Args:
        model: a `LlamaForCausalLM` or a `PeftModel` around one.
        folder: where to.
        tokens: its tokens.
        manifest: its manifest; digests of weights and tokens are filled in.
        dtype: `bfloat16` or `float16` halve the size; None keeps the weights as they are.

    Raises:
        CheckpointError: a weight is NaN or infinite, or the model has fewer rows than there are tokens.
        OSError: no room, or no right, to write there; what was in the folder before is still there then.
    """
    folder = Path(folder)
    check_finite(model.named_parameters(), folder)
    check_rows(model.get_input_embeddings().weight.shape[0], tokens, folder)
    kind = None if dtype is None else torch_dtype(dtype)
    with replaced_folder(folder) as filling:
        _write_model(model, filling, kind)
        tokens.tokenizer.save_pretrained(str(filling))
        digests = {path.name: file_digest(path) for path in weight_files(filling)}
        written = manifest.updated(weights=digests, tokens=TokensRef.of(tokens))
        (filling / MANIFEST).write_text(written.text(), encoding="utf-8")
    return written


def _write_model(model: Any, folder: Path, dtype: Any) -> None:
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    write_weights(folder / WEIGHTS, state, dtype)
    stored = model.config.to_dict()
    stored["dtype"] = str(dtype or model.dtype).removeprefix("torch.")
    stored["architectures"] = [type(model).__name__]
    stored.pop("_name_or_path", None)
    (folder / CONFIG).write_text(json.dumps(stored, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path, *, device: str = "cpu", dtype: str | None = "float32", verify: bool = True) -> Policy:
    """Read a policy, ready to use (`eval` mode).

    Args:
        folder: where `save` wrote it.
        device: where its weights go: `cpu`, `cuda`, ...
        dtype: what they become; None leaves them as they are stored.
        verify: compare the SHA-256 of weights with the manifest; a pass over the files.

    Raises:
        CheckpointError: something is missing, damaged, foreign or does not fit together.
        ImportError: torch or transformers is not installed.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    refuse_pickles(folder)
    _check_files(folder, manifest, verify=verify)
    tokens = _load_tokens(folder, manifest)
    model = load_llama(folder, dtype=dtype)
    check_rows(model.get_input_embeddings().weight.shape[0], tokens, folder)
    check_finite(model.named_parameters(), folder)
    return Policy(model.to(device).eval(), tokens, manifest, folder)


def _check_files(folder: Path, manifest: Manifest, *, verify: bool) -> None:
    for name, digest in manifest.weights.items():
        check_weights(folder / name)
        if verify and file_digest(folder / name) != digest:
            raise CheckpointError(
                f"{folder / name} is not what {MANIFEST} says (its SHA-256 differs): damaged, or changed after it was "
                "written; copy the checkpoint again"
            )


def _load_tokens(folder: Path, manifest: Manifest) -> PolicyTokens:
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder / 'tokenizer.json'} is missing; copy the checkpoint again")
    try:
        from transformers import PreTrainedTokenizerFast

        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        tokens = PolicyTokens(tokenizer, Vocabulary(manifest.tokens.tool_slots))
    except ImportError as error:
        raise needs("torch and transformers", "a policy") from error
    except Exception as error:  # the tokenizers library raises bare Exceptions on a damaged file
        raise CheckpointError(f"{folder / 'tokenizer.json'}: {error}; copy the checkpoint again") from error
    if tokens.digest != manifest.tokens.sha256:
        raise CheckpointError(
            f"{folder / 'tokenizer.json'} is not the tokenizer this model was trained with (its digest differs from "
            f"the one in {MANIFEST}); copy the tokenizer files from the original checkpoint"
        )
    return tokens


def load_llama(folder: Path, *, dtype: str | None) -> Any:
    """Read the model of a Hugging Face folder on this machine.

    Raises:
        CheckpointError: it is of another architecture, has no safetensors weights, or lacks some.
    """
    found = read_json(folder / CONFIG)
    if found.get("model_type") != "llama":
        raise CheckpointError(
            f"{folder / CONFIG} is of a {found.get('model_type')!r} model; a policy is a Llama (model_type 'llama')"
        )
    refuse_pickles(folder)
    if not weight_files(folder):
        raise CheckpointError(f"{folder / WEIGHTS} is missing; copy the checkpoint again")
    for path in weight_files(folder):
        check_weights(path)
    try:
        from transformers import LlamaForCausalLM
    except ImportError as error:
        raise needs("torch and transformers", "a policy") from error
    try:
        model, report = LlamaForCausalLM.from_pretrained(
            str(folder),
            dtype="auto" if dtype is None else torch_dtype(dtype),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (RuntimeError, OSError) as error:
        raise CheckpointError(
            f"{folder}: {WEIGHTS} does not fit {CONFIG}: {error}; copy the checkpoint again"
        ) from error
    lacking = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if lacking:
        raise CheckpointError(
            f"{folder}: the weights lack {len(lacking)} tensors that {CONFIG} asks for, first {lacking[0]}; "
            "copy the checkpoint again"
        )
    return model


def check_rows(rows: int, tokens: PolicyTokens, where: Path) -> None:
    """Check that the embedding has a row for every token.

    Raises:
        CheckpointError: it has fewer.
    """
    if rows < len(tokens):
        raise CheckpointError(
            f"{where}: the model has {rows} embedding rows and the tokenizer {len(tokens)} tokens; the two belong to "
            "different checkpoints: copy both from one, or resize the embeddings"
        )
