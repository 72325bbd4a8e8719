"""Policies as folders: a standard Hugging Face Llama (or a LoRA adapter on one), its tokenizer, and `catp.json`.

    config.json, model.safetensors                        a whole model
    adapter_config.json, adapter_model.safetensors        an adapter (peft), which needs its base
    tokenizer.json, tokenizer_config.json, catp.json      both
    catp.forest                                           trees that correct its ratings, if there are any

`new` and `from_base` make a policy to train, `save` and `load` write and read one. Every fault is a `CheckpointError`
that names the file and the fix. Weights are safetensors only: a pickle can run code, and is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.config import TrainConfig
from catp.training.critic.forest import FOREST, Forest, read_forest, write_forest
from catp.training.digest import file_digest
from catp.training.policy.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    adapter_config,
    adapter_state,
    is_adapted,
    load_adapter,
)
from catp.training.policy.base import adapt, add_rows, base_ref, find_base, load_base
from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.llama import (
    CONFIG,
    WEIGHTS,
    check_rows,
    load_llama,
    load_tokenizer,
    model_config,
    model_state,
)
from catp.training.policy.manifest import MANIFEST, Manifest, TokensRef, read_manifest
from catp.training.policy.smooth import smooth_rows
from catp.training.policy.tokenizer import train_tokenizer
from catp.training.policy.weights import (
    check_finite,
    check_weights,
    refuse_pickles,
    replaced_folder,
    torch_dtype,
    weight_files,
    write_json,
    write_weights,
)
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["MAX_POSITION", "Policy", "from_base", "load", "new", "save", "save_model"]

MAX_POSITION = 4096
"""Positions of a new network."""


@dataclass(frozen=True)
class Policy:
    """A model with its tokens and its manifest; `folder` is where it was read from.

    `model` is a `LlamaForCausalLM` of transformers, or a `PeftModel` around one.
    """

    model: Any
    tokens: PolicyTokens
    manifest: Manifest
    folder: Path | None = None
    forest: Forest | None = None


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
    smooth_rows(model, tokens, config.seed)
    return Policy(model.to(dtype=torch_dtype(shape.dtype)), tokens, Manifest.begin(config, tokens))


def from_base(config: TrainConfig) -> Policy:
    """Make a policy from the pretrained model `config.model.base`: our tokens added, and LoRA if `config.lora` says so.

    Raises:
        CheckpointError: the base is not there, is damaged or no Llama, or cannot be quantised here.
        ImportError: a package is not installed.
        ValueError: `config.model.base` is not set, or no layer is named in `config.lora.targets`.
    """
    if config.model.base is None:
        raise ValueError("model.base is not set; name a folder, a .gguf file, or 'smollm2'")
    path = find_base(config.model.base)
    model, tokenizer = load_base(
        path, dtype=config.model.dtype, attention=config.model.attention, quantise=config.lora.quantise
    )
    tokens = PolicyTokens.extend(tokenizer, Vocabulary(config.model.tool_slots))
    add_rows(model, tokens, config.seed)
    if config.lora.rank:
        model = adapt(model, tokens, config.lora, config.seed)
    return Policy(model, tokens, Manifest.begin(config, tokens, base_ref(config.model.base, path)))


def save(policy: Policy, folder: Path, *, dtype: str | None = None) -> Manifest:
    """Write a policy to a folder, whole or not at all; see `save_model`. Returns the manifest as written."""
    return save_model(policy.model, folder, policy.tokens, policy.manifest, dtype=dtype, forest=policy.forest)


def save_model(
    model: Any, folder: Path, tokens: PolicyTokens, manifest: Manifest, *, dtype: str | None = None,
    forest: Forest | None = None,
) -> Manifest:  # fmt: skip
    """Write a model with its tokenizer and manifest to a folder; of a `PeftModel` only the adapter.

    What was in the folder is replaced. The same weights give the same bytes.

    Args:
        model: a `LlamaForCausalLM` or a `PeftModel` around one.
        folder: where to.
        tokens: its tokens.
        manifest: its manifest; digests of weights and tokens are filled in.
        dtype: `bfloat16` or `float16` halve the size; None keeps the weights as they are.
        forest: that corrects its ratings.

    Raises:
        CheckpointError: a weight is NaN or infinite, or the model has fewer rows than there are tokens.
        OSError: no room, or no right, to write there; what was in the folder before is still there then.
    """
    folder = Path(folder)
    check_rows(model.get_input_embeddings().weight.shape[0], tokens, folder)
    adapted = is_adapted(model)
    name, state = (ADAPTER_WEIGHTS, adapter_state(model)) if adapted else (WEIGHTS, model_state(model))
    check_finite(state.items(), folder)
    with replaced_folder(folder) as filling:
        write_weights(filling / name, state, None if dtype is None else torch_dtype(dtype))
        if adapted:
            write_json(filling / ADAPTER_CONFIG, adapter_config(model, manifest))
        else:
            write_json(filling / CONFIG, model_config(model, dtype))
        tokens.tokenizer.save_pretrained(str(filling))
        digests = {path.name: file_digest(path) for path in weight_files(filling)}
        if forest is not None:
            write_forest(filling / FOREST, forest)
            digests[FOREST] = file_digest(filling / FOREST)
        written = manifest.updated(weights=digests, tokens=TokensRef.of(tokens))
        (filling / MANIFEST).write_text(written.text(), encoding="utf-8")
    return written


def load(
    folder: Path, *, device: str = "cpu", dtype: str | None = "float32", base: str | None = None,
    trainable: bool = False, verify: bool = True,
) -> Policy:  # fmt: skip
    """Read a policy, in `eval` mode.

    Args:
        folder: where `save` wrote it.
        device: where its weights go: `cpu`, `cuda`, ...
        dtype: what they become; None leaves them as they are stored.
        base: where the base of an adapter lies, if not where the manifest says.
        trainable: keep an adapter apart, to go on training it; otherwise it is merged into its base, which is faster.
        verify: compare the SHA-256 of weights, the base's too, with the manifest; a pass over the files.

    Raises:
        CheckpointError: something is missing, damaged, foreign or does not fit together.
        ImportError: torch, transformers or peft is not installed.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    refuse_pickles(folder)
    _check_files(folder, manifest, verify=verify)
    tokens = _load_tokens(folder, manifest)
    if ADAPTER_WEIGHTS in manifest.weights:
        model = load_adapter(folder, manifest, tokens, dtype, base, trainable=trainable, verify=verify)
    else:
        model = load_llama(folder, dtype=dtype, attention=manifest.config.model.attention)
    check_rows(model.get_input_embeddings().weight.shape[0], tokens, folder)
    check_finite(model.named_parameters(), folder)
    return Policy(model.to(device).eval(), tokens, manifest, folder, _load_forest(folder, manifest))


def _check_files(folder: Path, manifest: Manifest, *, verify: bool) -> None:
    for name in manifest.weights or {WEIGHTS: ""}:
        check_weights(folder / name)
        if verify and file_digest(folder / name) != manifest.weights.get(name):
            raise CheckpointError(
                f"{folder / name} is not what {MANIFEST} says (its SHA-256 differs): damaged, or changed after it was "
                "written; copy the checkpoint again"
            )


def _load_forest(folder: Path, manifest: Manifest) -> Forest | None:
    if FOREST in manifest.weights:
        return read_forest(folder / FOREST)
    if manifest.forest:
        raise CheckpointError(
            f"{folder / MANIFEST} counts on {FOREST}, which it does not name; copy the checkpoint again"
        )
    return None


def _load_tokens(folder: Path, manifest: Manifest) -> PolicyTokens:
    path = folder / "tokenizer.json"
    tokenizer = load_tokenizer(folder)
    try:
        tokens = PolicyTokens(tokenizer, Vocabulary(manifest.tokens.tool_slots))
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if tokens.digest != manifest.tokens.sha256:
        raise CheckpointError(
            f"{path} is not the tokenizer this model was trained with (its digest differs from the one in {MANIFEST}); "
            "copy the tokenizer files from the original checkpoint"
        )
    return tokens
