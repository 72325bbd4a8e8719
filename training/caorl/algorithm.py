"""Learning plans from measured candidate sets: the `Algorithm` that the training loop runs."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.batch import batch_of
from catp.training.caorl.cases import Case
from catp.training.caorl.config import TrainConfig
from catp.training.caorl.examples import Packed, draw, pack
from catp.training.caorl.losses import awr_losses, heads_of
from catp.training.caorl.rating import drawn_as_is, normalised_regret, rate
from catp.training.caorl.run import Ready
from catp.training.caorl.source import Losses
from catp.training.caorl.sources import load_cases
from catp.training.policy.checkpoint import Policy, from_base, load, new
from catp.training.prompt.render import PromptStyle, Renderer
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["PlanLearning", "prepare", "style_of", "texts_of"]

_MOST_PLANS = 24
"""Most plans of a validation input that are rated."""


class PlanLearning:
    """Advantage-weighted learning from candidate sets; implements `catp.training.caorl.source.Algorithm`.

    Args:
        config: of the run.
        tokens: of the policy.
        train: what is learned from.
        val: what is evaluated on.
        digest: SHA-256 of all data.
    """

    def __init__(
        self, config: TrainConfig, tokens: PolicyTokens, train: Sequence[Case], val: Sequence[Case], digest: str
    ) -> None:
        self.config, self.tokens, self.digest = config, tokens, digest
        self.renderer = Renderer(tokens, style_of(config))
        self.train = train
        choices = [case for case in val if len(case.branches) > 1]
        order = np.random.default_rng(0).permutation(len(choices))[: config.eval.limit]
        self.val = [choices[int(place)] for place in sorted(order)]

    def __len__(self) -> int:
        """How many inputs an epoch has."""
        return len(self.train)

    def length(self, number: int) -> int:
        """Roughly how many tokens an input takes."""
        case = self.train[number]
        plans = sorted((len(branch.told.ids) for branch in case.branches), reverse=True)
        return 200 + sum(2 * length for length in plans[: self.config.method.plans])

    def example(self, number: int, random: np.random.Generator) -> Packed:
        """Return an input, augmented."""
        config = self.config
        slots = self.tokens.vocabulary.tool_slots
        return pack(draw(self.train[number], config.prompt, config.method, slots, random), self.renderer)

    def batch(self, examples: Sequence[Packed]) -> Mapping[str, Any]:
        """Return examples as tensors."""
        return batch_of(examples, self.tokens.pad)

    def loss(self, model: Any, batch: Mapping[str, Any]) -> Losses:
        """Return the losses of a batch."""
        heads = heads_of(model, batch, self.tokens.plan_ids, self.tokens.quality_ids)
        return awr_losses(heads, batch, self.config.method)

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """Return normalised regrets on the validation side, choosing by rated quality and by log pi, and rating errors.

        `regret` is the mean over `eval.alphas` of choosing by rated quality and predicted price.
        """
        alphas = self.config.eval.alphas
        rated = list(rate(model, self.renderer, (drawn_as_is(case, 0.8, _MOST_PLANS) for case in self.val)))
        figures: dict[str, float] = {}
        for alpha in alphas:
            chosen = [
                int(np.argmax(alpha * one.quality - (1 - alpha) * predicted_prices(case)))
                for case, one in zip(self.val, rated, strict=True)
            ]
            figures[f"regret@{alpha:g}"] = normalised_regret(self.val, chosen, alpha, most=_MOST_PLANS)
        likeliest = [int(np.argmax(one.logpi)) for one in rated]
        errors = [
            np.abs(one.quality - [branch.score for branch in case.branches[:_MOST_PLANS]]).mean()
            for case, one in zip(self.val, rated, strict=True)
        ]
        return {
            "regret": float(np.mean(list(figures.values()))),
            **figures,
            "policy_regret@0.8": normalised_regret(self.val, likeliest, 0.8, most=_MOST_PLANS),
            "quality_error": float(np.mean(errors)),
        }


def predicted_prices(case: Case) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the price of each plan over the scale, composed from profiles; a step of unknown price counts as 1."""
    return np.array(
        [sum(case.scale if s.price is None else s.price for s in branch.told.steps) / case.scale
         for branch in case.branches[:_MOST_PLANS]]
    )  # fmt: skip


def style_of(config: TrainConfig) -> PromptStyle:
    """Return how prompts are written."""
    return PromptStyle(config.prompt.max_description, config.prompt.max_name, config.prompt.max_request)


def texts_of(cases: Sequence[Case]) -> Iterator[str]:
    """Yield what a new text tokenizer learns from; what is in every prompt more often than what is in a few."""
    tools = {tool.name: tool for case in cases for tool in case.view.tools}
    for tool in tools.values():
        yield from [tool.name.replace("_", " ").replace(".", " ")] * 100
        yield from [tool.returns, *tool.params] * 20
        yield from [tool.description] * 5
    for case in cases:
        yield case.view.text
        yield from [goal.purpose for goal in case.view.goals] * 3
        yield from [given.condition for given in case.view.inputs] * 3


def prepare(
    config: TrainConfig, progress: Callable[[str], None] = lambda text: None, *, policy: Policy | Path | None = None
) -> Ready:
    """Load data and model of a configuration.

    Args:
        config: of the run.
        progress: told what is being done.
        policy: begin with this one, or the one in this folder, instead of a new one.

    Raises:
        ValueError: nothing to learn from, or the configuration does not fit.
        OSError: a file is not there.
    """
    vocabulary = Vocabulary(config.model.tool_slots)
    train, digests = load_cases(config.data, vocabulary, "train", progress)
    val, more = load_cases(config.data, vocabulary, "val", progress)
    digests |= more
    digest = hashlib.sha256("\n".join(f"{name} {sha}" for name, sha in sorted(digests.items())).encode()).hexdigest()
    if isinstance(policy, Path):
        policy = load(policy)
    if policy is None:
        policy = new(config, texts_of(train)) if config.model.base is None else from_base(config)
    return Ready(PlanLearning(config, policy.tokens, train, val, digest), policy, digests)
