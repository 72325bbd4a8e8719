"""From options to a backend that runs: weights, tokenizer, pool, scheduler, runner, engine."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.core import Core
from catp.serving.engine.engine import Engine
from catp.serving.engine.scheduler import Limits, Scheduler
from catp.serving.engine.step import Runner
from catp.serving.metering.account import Account
from catp.serving.metering.prices import DevicePrice
from catp.serving.metering.timeline import Timeline
from catp.serving.policies.budget import BudgetController
from catp.serving.policies.costmodel import CostModel
from catp.serving.policies.drift import DriftGuard
from catp.serving.policies.length import LengthPredictor
from catp.serving.policies.registry import policy
from catp.serving.programs.spelling import Spelling
from catp.serving.server.adapters import Adapters
from catp.serving.server.gauges import Gauges, Watch
from catp.serving.server.local import LocalBackend, Served
from catp.training.policy.checkpoint import Policy
from catp.training.policy.checkpoint import load as load_policy
from catp.training.policy.errors import CheckpointError
from catp.training.policy.llama import WEIGHTS
from catp.training.policy.manifest import MANIFEST
from catp.training.policy.models import find_model
from catp.training.policy.session import Speller

if TYPE_CHECKING:
    from catp.serving.model.weights import Weights

__all__ = ["EngineOptions", "build_backend", "serve_model"]

_MIB = 1024 * 1024

_MOST_TOKENS = 2048
"""Tokens of a step at most: more do not make a step more efficient, and keep everybody waiting."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine runs.

    Args:
        model: name or folder of a policy, or a folder of any Llama.
        name: what clients call it; None: the folder's name.
        adapters: LoRA folders by the name that clients call them.
        device: `cpu`, `cuda` or `cuda:N`.
        dtype: of weights and cache; None: float32 on a CPU, as stored on a GPU.
        threads: CPU threads of a step; None: cores - 1, at least 1.
        block_size: tokens of a block of the KV cache.
        kv_memory: bytes of the KV cache; None: 1 GiB on a CPU, 80 % of what is free on a GPU.
        max_sequences: most branches at once.
        token_budget: most tokens of a step; None: as many as the step time allows (`catp.serving.policies.budget`).
        max_waiting, max_waiting_tokens: the queue's bounds.
        policy: who goes first.
        restarts: crashes in a row that the engine survives.
    """

    model: str = "catp-tiny"
    name: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    dtype: str | None = None
    threads: int | None = None
    block_size: int = 16
    kv_memory: int | None = None
    max_sequences: int = 128
    token_budget: int | None = None
    max_waiting: int = 1024
    max_waiting_tokens: int = 1 << 20
    policy: str = "moore-hodgson"
    restarts: int = 3


def build_backend(options: EngineOptions, *, clock: Callable[[], float] = time.monotonic) -> LocalBackend:
    """Load a model and start its engine.

    Raises:
        CheckpointError: there is no such model, it is damaged, or it is of an architecture that is not supported.
        ImportError: a package is not installed.
        OutOfMemory: the KV cache does not fit.
        ValueError: an option makes no sense, or the device is not there.
    """
    _check(options)
    served, weights, plan_ids, digest = _load(options)
    return serve_model(served, weights, plan_ids, options, base_sha256=digest, clock=clock)


def _check(options: EngineOptions) -> None:
    """Find out what is wrong with options before a model is loaded for them."""
    try:
        policy(options.policy)
    except KeyError as error:
        raise ValueError(str(error.args[0])) from error
    if options.device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"{options.device} needs a CUDA GPU and a torch built for it; use --device cpu here")


def serve_model(
    served: Served, weights: "Weights", plan_ids: tuple[int, ...], options: EngineOptions, *,
    base_sha256: str | None = None, clock: Callable[[], float] = time.monotonic,
    wrap: Callable[[Runner], Runner] | None = None,
) -> LocalBackend:  # fmt: skip
    """Start the engine of a model that is loaded; see `build_backend`.

    Args:
        served, weights: the model.
        plan_ids: tokens of its plan rows.
        options: of the engine.
        base_sha256: of the model's weights, to tell adapters of other bases.
        clock: seconds.
        wrap: puts something around the runner.
    """
    from catp.serving.model.lora import AdapterStore
    from catp.serving.model.runner import ModelRunner

    blocks = _blocks(weights, options)
    store = AdapterStore(weights, plan_ids=plan_ids, base_sha256=base_sha256)
    runner = ModelRunner(
        weights, blocks, options.block_size, plan_ids=plan_ids, threads=options.threads, adapters=store
    )
    executes = runner if wrap is None else wrap(runner)
    costs = CostModel()
    limits = Limits(
        max_sequences=options.max_sequences, token_budget=options.token_budget or _MOST_TOKENS,
        max_context=served.context, max_waiting=options.max_waiting, max_waiting_tokens=options.max_waiting_tokens,
    )  # fmt: skip
    drift = DriftGuard()
    lengths = LengthPredictor(drift)
    budget = BudgetController(ceiling=_MOST_TOKENS, costs=costs) if options.token_budget is None else None
    account = Account(costs)
    timeline = Timeline(clock)
    watch = Watch(account, budget, timeline)

    def make() -> Core:
        pool = BlockPool(blocks, options.block_size)
        scheduler = Scheduler(pool, limits, policy(options.policy), costs, lengths, budget)
        return Core(scheduler, executes, clock, watch)

    engine = Engine(make, restarts=options.restarts, clock=clock)
    price = DevicePrice.of(weights.device.type, runner.threads)
    adapters = Adapters(store)
    for name, path in options.adapters.items():
        adapters.load(name, path)
    gauges = Gauges(engine, account, timeline, budget, drift, served.device)
    return LocalBackend(served, engine, gauges, price, adapters=adapters, clock=clock)


def _load(options: EngineOptions) -> tuple[Served, "Weights", tuple[int, ...], str | None]:
    from catp.serving.model.weights import from_hf, load_weights

    folder = find_model(options.model)
    dtype = options.dtype or ("float32" if options.device == "cpu" else None)
    if (folder / MANIFEST).is_file():
        loaded: Policy = load_policy(folder, device=options.device, dtype=dtype)
        weights = from_hf(loaded.model)
        spelling = Spelling(loaded.tokens.tokenizer)
        speller, plan_ids = Speller(loaded), (*loaded.tokens.plan_ids, *loaded.tokens.quality_ids)
        name, digest = options.name or loaded.manifest.name, loaded.manifest.weights.get(WEIGHTS)
    elif (folder / "config.json").is_file():
        weights = load_weights(folder, dtype=dtype, device=options.device)
        spelling, speller, plan_ids = Spelling(_tokenizer(folder), _ends(folder)), None, ()
        name, digest = options.name or folder.name, None
    else:
        raise CheckpointError(
            f"there is no model {options.model!r}: give the name of a policy (`catp models list`) or a folder with a "
            "Hugging Face Llama (config.json, safetensors, tokenizer.json)"
        )
    config = weights.config
    served = Served(name, spelling, config.vocabulary, config.positions, speller, weights.device.type)
    return served, weights, plan_ids, digest


def _tokenizer(folder: Path) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError("the engine needs torch and transformers; run: pip install 'catp[serve]'") from error
    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{folder} has no tokenizer that can be read ({error}); copy tokenizer.json there"
        ) from error


def _ends(folder: Path) -> tuple[int, ...] | None:
    """The tokens that end a text, as the model's own settings of generation have them."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        if found is not None:
            return tuple(found) if isinstance(found, list) else (int(found),)
    return None


def _blocks(weights: "Weights", options: EngineOptions) -> int:
    """How many blocks of the KV cache fit into the memory that is for it."""
    config = weights.config
    token = 2 * config.layers * config.kv_heads * config.head_size * weights.embedding.element_size()
    memory = options.kv_memory
    if memory is None:
        memory = _free_gpu(weights) if weights.device.type == "cuda" else 1024 * _MIB
    blocks = memory // (token * options.block_size)
    if blocks < 1:
        raise ValueError(
            f"--kv-memory of {memory / _MIB:.0f} MiB holds no block of {options.block_size} tokens at {token} bytes a "
            "token; give it more"
        )
    return int(min(blocks, options.max_sequences * -(-config.positions // options.block_size)))


def _free_gpu(weights: "Weights") -> int:
    import torch

    free, _ = torch.cuda.mem_get_info(weights.device)
    return int(free * 0.8)
