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
from catp.training.caorl.finish import WithForest
from catp.training.caorl.losses import heads_of
from catp.training.caorl.methods import Returns, asked, decides_by, losses, plans_shown
from catp.training.caorl.rating import SHARES, Rated, drawn_as_is, normalised_regret, rate
from catp.training.caorl.run import Ready
from catp.training.caorl.source import Losses
from catp.training.caorl.sources import load_cases
from catp.training.policy.checkpoint import Policy, from_base, load, new
from catp.training.prompt.render import Renderer
from catp.training.prompt.tokens import PolicyTokens

__all__ = ["PlanLearning", "prepare", "texts_of"]

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
        self.renderer = Renderer(tokens, config.prompt.style)
        self.train = train
        choices = [case for case in val if len(case.branches) > 1]
        order = np.random.default_rng(0).permutation(len(choices))[: config.eval.limit]
        self.val = [choices[int(place)] for place in sorted(order)]
        self._returns = Returns.of_cases(train, config.method.name)
        self._rated: list[tuple[Mapping[str, float], list[Rated]]] = []

    def __len__(self) -> int:
        """How many inputs an epoch has."""
        return len(self.train)

    def length(self, number: int) -> int:
        """Roughly how many tokens an input takes."""
        case = self.train[number]
        plans = sorted((len(branch.told.ids) for branch in case.branches), reverse=True)
        return 200 + sum(2 * length for length in plans[: plans_shown(self.config.method)])

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
        return losses(heads, batch, self.config.method)

    def evaluate(self, model: Any) -> Mapping[str, float]:
        """Return normalised regrets on the validation side, deciding as the method does.

        `regret` is the mean over `eval.alphas`. A method that rates adds the regret of choosing by log pi, the
        error of its ratings, and mean quality and cost of what it chose.
        """
        decide = {"rating": self._by_rating, "likelihood": self._by_likelihood}[decides_by(self.config.method.name)]
        found = decide(model)
        regrets = [value for name, value in found.items() if name.startswith("regret@")]
        return {"regret": float(np.mean(regrets)), **found}

    def _by_rating(self, model: Any) -> dict[str, float]:
        """By rated quality and predicted price."""
        rated = list(rate(model, self.renderer, (drawn_as_is(case, 0.8, _MOST_PLANS) for case in self.val)))
        trust, figures = min(
            ((trust, self.regrets(rated, trust)) for trust in SHARES), key=lambda found: sum(found[1].values())
        )
        likeliest = [int(np.argmax(one.logpi)) for one in rated]
        errors = [
            np.abs(one.trusted(trust) - [branch.score for branch in case.branches[:_MOST_PLANS]]).mean()
            for case, one in zip(self.val, rated, strict=True)
        ]
        found = {
            **figures,
            "trust": trust,
            "composed_regret": float(np.mean(list(self.regrets(rated, 0.0).values()))),
            "policy_regret@0.8": normalised_regret(self.val, likeliest, 0.8, most=_MOST_PLANS),
            "quality_error": float(np.mean(errors)),
            **self._outcomes(rated, trust),
        }
        self._rated.append((found, rated))
        return found

    def rated(self, figures: Mapping[str, float | None]) -> list[Rated] | None:
        """Return the ratings behind figures that `evaluate` found, None if it did not."""
        known = (rated for found, rated in self._rated if all(figures.get(name) == found[name] for name in found))
        return next(known, None)

    def regrets(self, rated: Sequence[Rated], trust: float, share: float = 0.0) -> dict[str, float]:
        """Return the regret on the validation side at each of `eval.alphas`, by name; shares as of `Rated.trusted`."""
        figures = {}
        for alpha in self.config.eval.alphas:
            chosen = self._chosen(rated, alpha, trust, share)
            figures[f"regret@{alpha:g}"] = normalised_regret(self.val, chosen, alpha, most=_MOST_PLANS)
        return figures

    def _outcomes(self, rated: Sequence[Rated], trust: float) -> dict[str, float]:
        """What the chosen plans were measured to be in the mean: quality, and price over the case's scale."""
        figures = {}
        for alpha in self.config.eval.alphas if self.val else ():
            chosen = self._chosen(rated, alpha, trust)
            plans = [(case.branches[place], case.scale) for case, place in zip(self.val, chosen, strict=True)]
            figures[f"quality@{alpha:g}"] = float(np.mean([plan.score for plan, _ in plans]))
            figures[f"cost@{alpha:g}"] = float(np.mean([plan.price / scale for plan, scale in plans]))
        return figures

    def _chosen(self, rated: Sequence[Rated], alpha: float, trust: float, share: float = 0.0) -> list[int]:
        return [
            int(np.argmax(alpha * one.trusted(trust, share) - (1 - alpha) * predicted_prices(case)))
            for case, one in zip(self.val, rated, strict=True)
        ]

    def _by_likelihood(self, model: Any) -> dict[str, float]:
        """By log pi at each alpha, told the best return of the training data if the method tells returns."""
        name = self.config.method.name
        figures: dict[str, float] = {}
        for alpha in self.config.eval.alphas:
            shown = (asked(drawn_as_is(case, alpha, _MOST_PLANS), name, self._returns) for case in self.val)
            chosen = [int(np.argmax(one.logpi)) for one in rate(model, self.renderer, shown)]
            figures[f"regret@{alpha:g}"] = normalised_regret(self.val, chosen, alpha, most=_MOST_PLANS)
        return figures


def predicted_prices(case: Case) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the price of each plan over the scale, composed from profiles; a step of unknown price counts as 1."""
    return np.array(
        [sum(case.scale if s.price is None else s.price for s in branch.told.steps) / case.scale
         for branch in case.branches[:_MOST_PLANS]]
    )  # fmt: skip


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
    learning = PlanLearning(config, policy.tokens, train, val, digest)
    return Ready(learning, policy, digests, WithForest(learning, progress))
