"""Weights as the forward pass wants them: queries, keys and values in one matrix, gate and up in another.

They come from a Hugging Face folder (safetensors, whole or in shards) or from a model of transformers in memory. Every
fault is a `CheckpointError` that names the file and the fix.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from catp.serving.model.config import ModelConfig, parse_config, read_config
from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.weights import (
    check_finite,
    check_weights,
    read_json,
    refuse_pickles,
    torch_dtype,
    weight_files,
)

__all__ = ["LayerWeights", "Weights", "from_hf", "load_weights"]

_INDEX = "model.safetensors.index.json"

Get: TypeAlias = Callable[[str, tuple[int, ...]], Tensor]
"""A tensor by its name in the checkpoint, of the shape it must have."""


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. Matrices are (out, in): `qkv` stacks queries, keys and values; `gate_up` the gate and what it gates.

    None where the architecture has no such tensor.
    """

    attention_norm: Tensor
    qkv: Tensor
    o: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor
    qkv_bias: Tensor | None = None
    o_bias: Tensor | None = None
    gate_up_bias: Tensor | None = None
    down_bias: Tensor | None = None
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole network; `head` is `embedding` itself if they are tied."""

    config: ModelConfig
    embedding: Tensor
    layers: tuple[LayerWeights, ...]
    norm: Tensor
    head: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Number format of all weights."""
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Where all weights lie."""
        return self.embedding.device

    @property
    def bytes(self) -> int:
        """Bytes of all weights, tied ones once."""
        found = {tensor.data_ptr(): tensor.numel() * tensor.element_size() for _, tensor in self.named()}
        return sum(found.values())

    def named(self) -> Iterator[tuple[str, Tensor]]:
        """Name every tensor."""
        yield from (("embedding", self.embedding), ("norm", self.norm), ("head", self.head))
        for number, layer in enumerate(self.layers):
            for field in fields(layer):
                tensor = getattr(layer, field.name)
                if tensor is not None:
                    yield f"layers.{number}.{field.name}", tensor


def load_weights(folder: Path, *, dtype: str | None = None, device: str = "cpu") -> Weights:
    """Read a Hugging Face folder.

    Args:
        folder: with `config.json` and safetensors.
        dtype: what the weights become; None leaves them as they are stored.
        device: where they go.

    Raises:
        CheckpointError: the architecture is not supported, a file or tensor is missing, damaged or of another shape,
            or a weight is NaN or infinite.
        ImportError: safetensors is not installed.
    """
    folder = Path(folder)
    config = read_config(folder)
    kept = torch_dtype(dtype or config.dtype)
    with _open_files(folder) as tensors:

        def get(name: str, shape: tuple[int, ...]) -> Tensor:
            if name not in tensors:
                raise CheckpointError(f"{folder}: the weights lack {name}, which config.json asks for; copy it again")
            path, handle = tensors[name]
            found: Tensor = handle.get_tensor(name)
            _check_shape(str(path), name, tuple(found.shape), shape)
            check_finite([(name, found)], path)
            return found.to(device=device, dtype=kept)

        return _assemble(config, get)


def from_hf(model: Any) -> Weights:
    """Take the weights of a model of transformers (Llama, Qwen2 or Qwen3 for causal LM), or of a `Policy`, in memory.

    Matrices that are stacked are copied; all others are shared, so changing them in the model changes them here.

    Raises:
        CheckpointError: the architecture is not supported, an adapter is not merged, or a weight is NaN or infinite.
    """
    model = getattr(model, "model", model) if hasattr(model, "manifest") else model  # of a policy, its model
    if hasattr(model, "peft_config"):
        raise CheckpointError(
            f"{type(model).__name__}: the adapter is not merged into the model; call merge_and_unload(), or load the "
            "policy with trainable=False"
        )
    where = type(model).__name__
    state: Mapping[str, Tensor] = model.state_dict()
    check_finite(state.items(), Path(where))

    def get(name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in state:
            raise CheckpointError(f"{where}: the model has no {name}; is it a causal language model?")
        _check_shape(where, name, tuple(state[name].shape), shape)
        return state[name].detach()

    return _assemble(parse_config(model.config.to_dict(), where), get)


@contextmanager
def _open_files(folder: Path) -> Iterator[dict[str, tuple[Path, Any]]]:
    """Open the weights of a folder: file and handle by name of tensor."""
    try:
        from safetensors import safe_open
    except ImportError as error:
        raise needs("safetensors", "a model") from error
    files = weight_files(folder)
    if not files:
        refuse_pickles(folder)
        raise CheckpointError(f"{folder} holds no *.safetensors; copy the folder again")
    if (folder / _INDEX).is_file():
        files = sorted({folder / str(name) for name in _shards(folder / _INDEX)})
    with ExitStack() as stack:
        found: dict[str, tuple[Path, Any]] = {}
        for path in files:
            names = check_weights(path)
            handle = stack.enter_context(safe_open(str(path), framework="pt"))
            found.update(dict.fromkeys(names, (path, handle)))
        yield found


def _shards(index: Path) -> Iterable[Any]:
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise CheckpointError(f"{index} names no shards (weight_map); copy the folder again")
    return named.values()


def _check_shape(where: str, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise CheckpointError(
            f"{where}: {name} has shape {list(found)}, and the configuration asks for {list(wanted)}; they are of "
            "different models: copy both from one"
        )


def _assemble(config: ModelConfig, get: Get) -> Weights:
    embedding = get("model.embed_tokens.weight", (config.vocabulary, config.hidden))
    head = embedding if config.tied else get("lm_head.weight", (config.vocabulary, config.hidden))
    layers = tuple(_layer(config, get, f"model.layers.{number}.") for number in range(config.layers))
    return Weights(config, embedding, layers, get("model.norm.weight", (config.hidden,)), head)


def _layer(config: ModelConfig, get: Get, prefix: str) -> LayerWeights:
    hidden, q, kv, inner = config.hidden, config.q_size, config.kv_size, config.intermediate

    def stacked(parts: Mapping[str, int], kind: str) -> Tensor:
        shapes = {name: (size, hidden) if kind == "weight" else (size,) for name, size in parts.items()}
        return torch.cat([get(f"{prefix}{name}.{kind}", shape) for name, shape in shapes.items()])

    def single(name: str, shape: tuple[int, ...], wanted: bool = True) -> Tensor | None:
        return get(prefix + name, shape) if wanted else None

    qkv = {"self_attn.q_proj": q, "self_attn.k_proj": kv, "self_attn.v_proj": kv}
    gate_up = {"mlp.gate_proj": inner, "mlp.up_proj": inner}
    return LayerWeights(
        attention_norm=get(f"{prefix}input_layernorm.weight", (hidden,)),
        qkv=stacked(qkv, "weight"),
        o=get(f"{prefix}self_attn.o_proj.weight", (hidden, q)),
        mlp_norm=get(f"{prefix}post_attention_layernorm.weight", (hidden,)),
        gate_up=stacked(gate_up, "weight"),
        down=get(f"{prefix}mlp.down_proj.weight", (hidden, inner)),
        qkv_bias=stacked(qkv, "bias") if config.qkv_bias else None,
        o_bias=single("self_attn.o_proj.bias", (hidden,), config.o_bias),
        gate_up_bias=stacked(gate_up, "bias") if config.mlp_bias else None,
        down_bias=single("mlp.down_proj.bias", (hidden,), config.mlp_bias),
        q_norm=single("self_attn.q_norm.weight", (config.head_size,), config.qk_norm),
        k_norm=single("self_attn.k_norm.weight", (config.head_size,), config.qk_norm),
    )
