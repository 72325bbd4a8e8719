"""Small policies with random weights, and what they are asked in these tests."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from catp.planlang.mask.automaton import PlanMask
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.protocol import Objective, PlanRequest, Wanted
from catp.planners.testing import page_catalogue
from catp.planners.writer import Draft
from catp.training.caorl.config import ModelConfig, PromptConfig, TrainConfig
from catp.training.policy import checkpoint
from catp.training.policy.checkpoint import Policy
from catp.training.policy.writer import LocalWriter
from tests.training.policy.tiny import TEXTS

PAGE = {"page": ValueFacts(Type("image"), Size(500_000), "noisy")}
SCALE = Money(8_000)


def random_policy(*, slots: int = 32, kv_heads: int = 2, usual: int = 24, seed: int = 0, sharp: float = 12.0) -> Policy:
    """A policy that has opinions: rows are `sharp` times as long as those of a new network, quality is not level."""
    shape = ModelConfig(
        hidden=32, layers=2, heads=4, kv_heads=kv_heads, intermediate=64, text_tokens=320, tool_slots=slots
    )
    config = TrainConfig(name="random", seed=seed, model=shape, prompt=PromptConfig(max_tools=usual))
    policy = checkpoint.new(config, TEXTS)
    with torch.no_grad():
        rows = policy.model.get_input_embeddings().weight
        noise = torch.randn(
            len(policy.tokens.quality_ids), rows.shape[1], generator=torch.Generator().manual_seed(seed)
        )
        rows[list(policy.tokens.quality_ids)] = 0.02 * noise  # in a new network they are all alike
        rows.mul_(sharp)
        for layer in policy.model.model.layers:
            for name in ("q_proj", "k_proj"):
                getattr(layer.self_attn, name).weight.mul_(8.0)
    policy.model.eval()
    return policy


def page_request(tools: int = 12, seed: int = 0, **objective: Any) -> PlanRequest:
    """Read a page and tell its language."""
    registry, estimator = page_catalogue(tools, seed)
    wanted = (Wanted("text", Type("text"), capability=("ocr",)), Wanted("language", Type("Language"), optional=True))
    asked = Objective(**{"alpha": 0.8, "price_scale": SCALE} | objective)
    return PlanRequest("Read the scanned page, which language?", PAGE, wanted, asked, registry, estimator)


def with_objective(request: PlanRequest, **changes: Any) -> PlanRequest:
    return replace(request, objective=replace(request.objective, **changes))


def write(writer: LocalWriter, request: PlanRequest, **how: Any) -> Draft:
    return asyncio.run(writer.write(request, **how))


def plans(draft: Draft) -> list[Plan]:
    return [written.plan for written in draft.written]


def masks(mask: PlanMask, ids: Sequence[int]) -> Iterator[int]:
    """What the mask allows before each id, forced ones included."""
    state, ahead = mask.start(), list[int]()
    for number in ids:
        if ahead:
            assert ahead.pop(0) == number
            yield 1 << number
            continue
        yield mask.allowed(state)
        state, forced = mask.advance(state, number)
        ahead = list(forced)
