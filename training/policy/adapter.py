"""Folders that hold a LoRA adapter alone (peft): only what was trained, to be put on a base that lies elsewhere."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from catp.training.policy.base import add_rows, base_ref, find_base, load_base
from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.llama import quiet
from catp.training.policy.manifest import MANIFEST, Manifest
from catp.training.policy.weights import read_json
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["ADAPTER_CONFIG", "ADAPTER_WEIGHTS", "adapter_config", "adapter_state", "is_adapted", "load_adapter"]

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def is_adapted(model: Any) -> bool:
    """Return whether a model is a `PeftModel`."""
    return hasattr(model, "peft_config")


def adapter_state(model: Any) -> Mapping[str, Any]:
    """Return the tensors of a `PeftModel`'s adapter as they are stored; the rows of our tokens are among them."""
    from peft import get_peft_model_state_dict

    found: Mapping[str, Any] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return found


def adapter_config(model: Any, manifest: Manifest) -> dict[str, Any]:
    """Return peft's description of the adapter; peft itself writes sets in an order that changes from run to run."""
    stored: dict[str, Any] = model.active_peft_config.to_dict()
    base = manifest.base.name if manifest.base is not None else None
    stored |= {"base_model_name_or_path": base, "inference_mode": True}
    return {key: _plain(value) for key, value in stored.items()}


def load_adapter(
    folder: Path, manifest: Manifest, tokens: PolicyTokens, dtype: str | None, base: str | None,
    *, trainable: bool, verify: bool,
) -> Any:  # fmt: skip
    """Read the base, give it our rows and put the adapter on it, or merge it into it unless it stays `trainable`.

    Args:
        folder: the checkpoint.
        manifest: its manifest.
        tokens: its tokens.
        dtype: what weights become; None leaves them as they are stored.
        base: where the base lies, if not where the manifest says.
        trainable: return the `PeftModel`.
        verify: compare the SHA-256 of the base's weights with the manifest.

    Raises:
        CheckpointError: the base is not there or is another one, or the adapter does not fit it.
        ImportError: peft is not installed.
    """
    read_json(folder / ADAPTER_CONFIG)
    if manifest.base is None:
        raise CheckpointError(f"{folder / MANIFEST} names no base, which an adapter needs; copy the checkpoint again")
    try:
        from peft import PeftModel
    except ImportError as error:
        raise needs("peft", f"the adapter {folder}") from error
    try:
        path = find_base(base or manifest.base.name)
    except CheckpointError as error:
        raise CheckpointError(f"{folder} is an adapter, and its base cannot be used: {error}") from error
    if verify and base_ref(manifest.base.name, path).sha256 != manifest.base.sha256:
        raise CheckpointError(
            f"{path} is not the base that the adapter {folder} was trained on (the SHA-256 of its weights differs from "
            f"the one in {MANIFEST}); put the original {manifest.base.name!r} there"
        )
    model, _ = load_base(path, dtype=dtype, attention=manifest.config.model.attention)
    add_rows(model, tokens, manifest.seed)
    try:
        with quiet():
            model = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{folder / ADAPTER_WEIGHTS} does not fit {ADAPTER_CONFIG} or its base ({error}); copy the checkpoint again"
        ) from error
    return model if trainable else model.merge_and_unload()


def _plain(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    return value.value if isinstance(value, Enum) else value
