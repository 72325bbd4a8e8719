"""LoRA adapters as peft and `catp train` save them, read into the layout of our linear layers.

    W' x = W x + scale * B (A x),   scale = alpha / rank, or alpha / sqrt(rank) (rank-stabilised)

Hu et al. 2021 (arXiv 2106.09685), Kalajdzievski 2023 (2312.03732). Rows of tokens that were trained (peft's trainable
token indices) replace rows of the embedding, and of the output layer. Whatever else peft can save is refused by name:
served without it, the adapter would be another one.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from catp.serving.engine.errors import Refused
from catp.serving.model.llama import Part
from catp.serving.model.weights import Weights
from catp.training.policy.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from catp.training.policy.errors import CheckpointError, needs
from catp.training.policy.manifest import MANIFEST, read_manifest

__all__ = ["Adapter", "Factor", "Rows", "read_adapter"]

_MUST_BE_OFF = (
    "modules_to_save", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "layer_replication",
    "alora_invocation_tokens", "target_parameters", "arrow_config", "kasa_config", "monteclora_config", "velora_config",
)  # fmt: skip
_FACTOR = re.compile(r"base_model\.model\.(model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+))\.lora_([AB])\.weight")
_TOKENS = re.compile(r"base_model\.model\.(?:model\.)?(embed_tokens|lm_head)\.token_adapter\.trainable_tokens_delta")


@dataclass(frozen=True, slots=True)
class Factor:
    """What an adapter adds to one linear layer of ours.

    Args:
        a: (sum of ranks, in), the A of each of the layer's modules that it adapts.
        pieces: per module the first and last + 1 of its columns, of its ranks, and its scaled B, (rank, columns).
    """

    a: Tensor
    pieces: tuple[tuple[int, int, int, int, Tensor], ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows (n, hidden) that replace others. `ids` (n,) says which; `at` (vocabulary,) where an id is, -1: not."""

    ids: Tensor
    at: Tensor
    rows: Tensor


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter on the device; `digest` is of its content, `head` also holds the rows of tied embeddings."""

    digest: str
    factors: Mapping[tuple[int, Part], Factor]
    embedding: Rows | None
    head: Rows | None
    plan: Rows | None
    """The part of `head` that plans are written with; ids are places among the plan rows."""

    @property
    def bytes(self) -> int:
        """Bytes of its tensors, those that share memory once."""
        found = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
            for part in (*self.factors.values(), self.embedding, self.head, self.plan)
            for tensor in _tensors(part)
        }
        return sum(found.values())


def read_adapter(
    folder: Path, weights: Weights, *, plan_ids: Sequence[int] = (), base_sha256: str | None = None
) -> Adapter:
    """Read a peft folder for a base.

    Args:
        folder: `adapter_config.json` and `adapter_model.safetensors`; with a `catp.json` its base is checked.
        weights: of the base.
        plan_ids: tokens of the plan rows.
        base_sha256: of the base's weights (`training.policy.base.base_ref`), None: unknown.

    Raises:
        Refused: `bad_request`: no LoRA adapter, damaged, of another base, or of a kind that is not supported.
        ImportError: safetensors is not installed.
    """
    config, text = _config(folder)
    try:
        content = (folder / ADAPTER_WEIGHTS).read_bytes()
        _check_manifest(folder, content, base_sha256)
    except (OSError, CheckpointError) as error:
        raise _refused(folder, f"cannot be read ({error}); copy it again") from error
    digest = hashlib.sha256(hashlib.sha256(text).digest() + content).hexdigest()
    tensors = _load(folder, content)
    modules, tokens = _sort(folder, tensors)
    sizes = _sizes(weights)
    pairs = {key: _pair(folder, config, key, found, sizes, weights) for key, found in modules.items()}
    rows = {name: _rows(folder, config, name, tensor, weights) for name, tensor in tokens.items()}
    head = rows.get("embed_tokens" if weights.config.tied else "lm_head")
    plan = None if head is None else _plan(head, plan_ids)
    return Adapter(digest, dict(_factors(pairs, weights)), rows.get("embed_tokens"), head, plan)


def _config(folder: Path) -> tuple[Mapping[str, Any], bytes]:
    try:
        text = (folder / ADAPTER_CONFIG).read_bytes()
        config = json.loads(text)
    except (OSError, ValueError) as error:
        raise _refused(folder, f"has no readable {ADAPTER_CONFIG} ({error}); name a folder that peft saved") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise _refused(folder, f"is a {kind!r} adapter; only LORA can be served beside others: merge it into its base")
    on = [key for key in _MUST_BE_OFF if config.get(key)]
    if config.get("bias", "none") != "none":
        on.append("bias")
    if on:
        raise _refused(folder, f"uses {', '.join(on)}, which cannot be served beside others: merge it into its base")
    return config, text


def _check_manifest(folder: Path, content: bytes, base_sha256: str | None) -> None:
    """Compare what `catp train` wrote down, if it did, with the weights and with the base."""
    if not (folder / MANIFEST).is_file():
        return
    manifest = read_manifest(folder)
    if manifest.weights.get(ADAPTER_WEIGHTS) != hashlib.sha256(content).hexdigest():
        raise _refused(folder, f"is not what {MANIFEST} describes (SHA-256 of {ADAPTER_WEIGHTS}); copy it again")
    base = manifest.base
    if base_sha256 is not None and base is not None and base.sha256 != base_sha256:
        raise _refused(
            folder,
            f"was trained on another base ({base.name!r}, SHA-256 of weights {base.sha256[:12]}..., here "
            f"{base_sha256[:12]}...); serve that base",
        )


def _load(folder: Path, content: bytes) -> Mapping[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise needs("safetensors", "an adapter") from error
    try:
        tensors: Mapping[str, Tensor] = load(content)
    except (SafetensorError, ValueError) as error:
        raise _refused(folder, f"is damaged or cut short ({error}); copy it again") from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(folder, f"holds NaN or infinite weights in {name}: its training diverged; take another one")
    return tensors


def _sort(
    folder: Path, tensors: Mapping[str, Tensor]
) -> tuple[dict[tuple[int, str, str], dict[str, Tensor]], dict[str, Tensor]]:
    """Return A and B by layer, module and full name, and rows of tokens by layer's name."""
    modules: dict[tuple[int, str, str], dict[str, Tensor]] = {}
    tokens: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if found := _FACTOR.fullmatch(name):
            modules.setdefault((int(found[2]), found[3], found[1]), {})[found[4]] = tensor
        elif found := _TOKENS.fullmatch(name):
            tokens[found[1]] = tensor
        else:
            raise _refused(folder, f"adapts {name}, which cannot be served beside others: merge it into its base")
    if not modules and not tokens:
        raise _refused(folder, "is empty; copy it again")
    return modules, tokens


def _pair(
    folder: Path, config: Mapping[str, Any], key: tuple[int, str, str], found: Mapping[str, Tensor],
    sizes: Mapping[str, tuple[int, int]], weights: Weights,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return A (rank, in) and scaled B transposed (rank, out), checked against the base."""
    layer, module, name = key
    size = sizes.get(module) if layer < weights.config.layers else None
    if size is None or set(found) != {"A", "B"}:
        raise _refused(folder, f"does not fit the base, which has no {name} (or the adapter lacks its A or B)")
    a, b = found["A"], found["B"]
    rank = a.shape[0]
    if a.dim() != 2 or rank < 1 or tuple(a.shape) != (rank, size[0]) or tuple(b.shape) != (size[1], rank):
        raise _refused(
            folder,
            f"does not fit the base: A {list(a.shape)} and B {list(b.shape)} of {name} are not of a layer with "
            f"{size[0]} inputs and {size[1]} outputs; serve the base that it was trained on",
        )
    alpha = _alpha(config, name)
    scale = alpha / rank**0.5 if config.get("use_rslora") else alpha / rank
    place: dict[str, Any] = {"device": weights.device, "dtype": weights.dtype}
    return a.to(**place).contiguous(), (b.float() * scale).T.contiguous().to(**place)


def _alpha(config: Mapping[str, Any], name: str) -> float:
    for pattern, alpha in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):  # as peft matches them
            return float(alpha)
    return float(config["lora_alpha"])


def _rows(folder: Path, config: Mapping[str, Any], name: str, tensor: Tensor, weights: Weights) -> Rows:
    given = config.get("trainable_token_indices") or {}
    ids = given.get(name, []) if isinstance(given, dict) else given
    vocabulary, hidden = weights.embedding.shape
    if len(ids) != tensor.shape[0] or tensor.shape[1] != hidden:
        raise _refused(folder, f"has rows {list(tensor.shape)} of {name} for {len(ids)} tokens of {hidden} values")
    if ids and not 0 <= min(ids) <= max(ids) < vocabulary:
        raise _refused(
            folder,
            f"trains token {max(ids)}, and the base has rows for {vocabulary} tokens: serve the base with that many "
            "rows (`catp.serving.model.lora.with_rows`)",
        )
    return _lookup(torch.tensor(ids), tensor.to(device=weights.device, dtype=weights.dtype), vocabulary)


def _lookup(ids: Tensor, rows: Tensor, size: int) -> Rows:
    ids = ids.to(rows.device)
    at = torch.full((size,), -1, dtype=torch.int64, device=rows.device)
    at[ids] = torch.arange(len(ids), device=rows.device)
    return Rows(ids, at, rows)


def _plan(head: Rows, plan_ids: Sequence[int]) -> Rows | None:
    chosen = head.at[torch.tensor(plan_ids, dtype=torch.int64, device=head.at.device)]
    places = torch.nonzero(chosen >= 0)[:, 0]
    return _lookup(places, head.rows[chosen[places]], len(plan_ids)) if len(places) else None


def _sizes(weights: Weights) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each module of a layer."""
    c = weights.config
    return {
        "q_proj": (c.hidden, c.q_size), "k_proj": (c.hidden, c.kv_size), "v_proj": (c.hidden, c.kv_size),
        "o_proj": (c.q_size, c.hidden), "gate_proj": (c.hidden, c.intermediate),
        "up_proj": (c.hidden, c.intermediate), "down_proj": (c.intermediate, c.hidden),
    }  # fmt: skip


_PARTS: dict[Part, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"), "q": ("q_proj",), "kv": ("k_proj", "v_proj"), "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"), "down": ("down_proj",),
}  # fmt: skip
"""The checkpoint's modules in each linear layer of ours, in the order of its columns."""


def _factors(
    pairs: Mapping[tuple[int, str, str], tuple[Tensor, Tensor]], weights: Weights
) -> Iterator[tuple[tuple[int, Part], Factor]]:
    """Lay the pairs out by linear layer of ours."""
    by_place = {(layer, module): pair for (layer, module, _), pair in pairs.items()}
    sizes = _sizes(weights)
    for layer in range(weights.config.layers):
        for part, modules in _PARTS.items():
            if part in ("q", "kv") and layer < weights.config.layers - 1:
                continue  # only the last layer computes these apart
            pieces, column, rank = [], 0, 0
            for module in modules:
                width = sizes[module][1]
                if (layer, module) in by_place:
                    b = by_place[layer, module][1]
                    pieces.append((column, column + width, rank, rank + len(b), b))
                    rank += len(b)
                column += width
            if pieces:
                a = torch.cat([by_place[layer, module][0] for module in modules if (layer, module) in by_place])
                yield (layer, part), Factor(a, tuple(pieces))


def _tensors(part: Any) -> Iterator[Tensor]:
    """Every tensor in nested dataclasses and tuples."""
    if isinstance(part, Tensor):
        yield part
    elif is_dataclass(part):
        for field in fields(part):
            yield from _tensors(getattr(part, field.name))
    elif isinstance(part, tuple):
        for item in part:
            yield from _tensors(item)


def _refused(folder: Path, why: str) -> Refused:
    return Refused("bad_request", f"the adapter {folder} {why}")
