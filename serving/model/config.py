"""What a network looks like: Llama, Qwen2 and Qwen3 (dense) in one description, read from a Hugging Face `config.json`.

They are one architecture: RMSNorm, grouped-query attention with rotary positions, a gated MLP with SiLU. Qwen2 adds
biases to queries, keys and values; Qwen3 norms queries and keys by head. SmolLM2 and TinyLlama are Llamas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from catp.training.policy.errors import CheckpointError
from catp.training.policy.weights import read_json

__all__ = ["CONFIG", "Dtype", "ModelConfig", "RopeConfig", "parse_config", "read_config"]

CONFIG = "config.json"

Dtype: TypeAlias = Literal["float32", "bfloat16", "float16"]

_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
Stretch: TypeAlias = Literal["default", "linear", "dynamic", "llama3"]
_ROPES: tuple[Stretch, ...] = ("default", "linear", "dynamic", "llama3")


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary positions: wavelengths grow with `theta`; `kind` says how they are stretched for longer contexts.

    `factor` is of linear and llama3; the bounds and `original` (positions before stretching) of llama3 alone.
    """

    kind: Stretch = "default"
    theta: float = 10000.0
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 0


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes and variants of a network.

    Args:
        architecture: the class of transformers that it is.
        vocabulary, hidden, intermediate, layers, heads, kv_heads, head_size: sizes; `head_size` need not be
            hidden / heads.
        positions: longest context.
        eps: of RMSNorm.
        tied: the output layer is the embedding.
        qkv_bias, o_bias, mlp_bias: which linear layers have biases.
        qk_norm: queries and keys are normed by head.
        rope: of the positions.
        dtype: what the weights are stored as.
    """

    architecture: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    positions: int
    eps: float
    tied: bool
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope: RopeConfig = RopeConfig()
    dtype: Dtype = "float32"

    @property
    def q_size(self) -> int:
        """Width of all queries of a token."""
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        """Width of all keys, and of all values, of a token."""
        return self.kv_heads * self.head_size


def read_config(folder: Path) -> ModelConfig:
    """Read the `config.json` of a Hugging Face folder.

    Raises:
        CheckpointError: it is missing, no JSON, or of a network that cannot be run here; names the file and the fix.
    """
    path = Path(folder) / CONFIG
    if not path.is_file() and (Path(folder) / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} holds an adapter and no whole model; serve its base and load the adapter beside it, or merge "
            "them (catp export)"
        )
    return parse_config(read_json(path), str(path))


def parse_config(found: Mapping[str, Any], where: str) -> ModelConfig:
    """Read the content of a `config.json`, of transformers 4 or 5; `where` names it in errors."""
    kind = found.get("model_type")
    if kind not in _ARCHITECTURES:
        raise CheckpointError(
            f"{where} is of a {kind!r} model; the engine runs {', '.join(_ARCHITECTURES)} (dense): choose one of those"
        )
    _refuse(found, where)
    heads, hidden = _size(found, "num_attention_heads", where), _size(found, "hidden_size", where)
    kv_heads = found.get("num_key_value_heads") or heads
    if heads % kv_heads:
        raise CheckpointError(
            f"{where}: num_attention_heads ({heads}) is no multiple of num_key_value_heads ({kv_heads}); "
            "copy the folder again"
        )
    bias = bool(found.get("attention_bias", False))
    return ModelConfig(
        architecture=_ARCHITECTURES[kind],
        vocabulary=_size(found, "vocab_size", where),
        hidden=hidden,
        intermediate=_size(found, "intermediate_size", where),
        layers=_size(found, "num_hidden_layers", where),
        heads=heads,
        kv_heads=kv_heads,
        head_size=found.get("head_dim") or hidden // heads,
        positions=int(found.get("max_position_embeddings") or 2048),
        eps=float(found.get("rms_norm_eps", 1e-6)),
        tied=bool(found.get("tie_word_embeddings", False)),
        qkv_bias=kind == "qwen2" or bias,
        o_bias=kind != "qwen2" and bias,
        mlp_bias=kind == "llama" and bool(found.get("mlp_bias", False)),
        qk_norm=kind == "qwen3",
        rope=_rope(found, where),
        dtype=_dtype(found),
    )


def _refuse(found: Mapping[str, Any], where: str) -> None:
    act = found.get("hidden_act", "silu")
    if act not in ("silu", "swish"):
        raise CheckpointError(f"{where}: hidden_act {act!r} is not supported, only 'silu'; choose another model")
    if found.get("use_sliding_window") or "sliding_attention" in (found.get("layer_types") or ()):
        raise CheckpointError(
            f"{where}: sliding-window attention is not supported; choose a model with full attention, or set "
            "use_sliding_window to false if the contexts are shorter than its window"
        )
    if found.get("quantization_config"):
        raise CheckpointError(f"{where}: quantised weights are not supported; use the model's full-precision folder")


def _size(found: Mapping[str, Any], key: str, where: str) -> int:
    value = found.get(key)
    if not isinstance(value, int) or value < 1:
        raise CheckpointError(f"{where}: {key} is {value!r}, not a positive integer; copy the folder again")
    return value


def _rope(found: Mapping[str, Any], where: str) -> RopeConfig:
    """`rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (4)."""
    given = {**(found.get("rope_scaling") or {}), **(found.get("rope_parameters") or {})}
    named = given.get("rope_type") or given.get("type") or "default"
    kind = next((known for known in _ROPES if known == named), None)
    if kind is None or given.get("partial_rotary_factor", found.get("partial_rotary_factor") or 1.0) != 1.0:
        raise CheckpointError(
            f"{where}: rotary positions of type {named!r} (or of a part of the head) are not supported, only "
            f"{', '.join(_ROPES)} of whole heads; choose another model"
        )
    theta = float(given.get("rope_theta") or found.get("rope_theta") or 10000.0)
    if kind in ("default", "dynamic"):
        return RopeConfig(kind, theta)
    try:
        if kind == "linear":
            return RopeConfig(kind, theta, float(given["factor"]))
        original = int(given.get("original_max_position_embeddings") or found["max_position_embeddings"])
        return RopeConfig(
            kind, theta, float(given["factor"]), float(given["low_freq_factor"]), float(given["high_freq_factor"]),
            original,
        )  # fmt: skip
    except KeyError as error:
        raise CheckpointError(
            f"{where}: rotary positions of type {kind!r} lack {error}; copy the folder again"
        ) from None


def _dtype(found: Mapping[str, Any]) -> Dtype:
    name = str(found.get("dtype") or found.get("torch_dtype") or "float32").removeprefix("torch.")
    if name in ("bfloat16", "float16"):
        return name  # type: ignore[return-value]  # one of the literals
    return "float32"
