"""What single tools cost and bring in a data set, and which plans win for which inputs."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.data.card_figures import PriceRange, price_range
from catp.training.data.toolset import ToolInfo
from catp.training.evaluate.candidates import CandidateSet, Option
from catp.training.evaluate.regret import best_of

__all__ = ["Condition", "ToolSpread", "conditions", "is_restoring", "tool_spreads"]


_RARE = 10
"""Mixtures of conditions on fewer inputs are counted together."""


@dataclass(frozen=True)
class ToolSpread:
    """One tool: what its step costs, and how good the plans that use it are.

    `advantage` is the mean of score minus mean score of all plans for the same input, where some plans use the tool and
    some do not; raw scores would mostly tell easy tasks from hard ones. None if there is no such input.
    """

    capability: str
    tool: str
    plans: int
    price: PriceRange
    score: float
    advantage: float | None


@dataclass(frozen=True)
class Condition:
    """Inputs that look alike beforehand: which plan is best for them.

    `restores` is the share of inputs whose best plan restores the input first (ties count in part), None if the
    toolset does not tell; `offered` the share of all their plans that do.
    """

    condition: str
    inputs: int
    restores: float | None
    offered: float | None
    steps: float
    """Mean number of steps of the best plan."""
    usual: str
    """The sequence of tools that is best most often."""
    usual_share: float


def tool_spreads(sets: Sequence[CandidateSet], tools: Mapping[str, ToolInfo]) -> list[ToolSpread]:
    """Return price and score per tool, by capability and price. A tool without a capability is its own."""
    prices: dict[str, list[float]] = defaultdict(list)
    scores: dict[str, list[float]] = defaultdict(list)
    gains: dict[str, list[float]] = defaultdict(list)
    for one in sets:
        mean = float(one.scores.mean())
        used = [set(option.tools) for option in one.options]
        common = set.intersection(*used)
        for option, names in zip(one.options, used, strict=True):
            for step in option.steps:
                if math.isfinite(step.price):
                    prices[step.tool].append(step.price)
            for name in names:
                scores[name].append(option.score)
                if name not in common:
                    gains[name].append(option.score - mean)
    spreads = [
        ToolSpread(
            _capability(name, tools), name, len(scores[name]), price_range(found), float(np.mean(scores[name])),
            float(np.mean(gains[name])) if gains[name] else None,
        )
        for name, found in prices.items()
    ]  # fmt: skip
    return sorted(spreads, key=lambda spread: (spread.capability, float(spread.price.p50_usd), spread.tool))


def is_restoring(tool: ToolInfo) -> bool:
    """Whether a tool gives back the kind of thing it takes: one required parameter, of the output's type."""
    required = [parameter.type for parameter in tool.parameters if not parameter.optional]
    return required == [tool.output]


def conditions(sets: Sequence[CandidateSet], tools: Mapping[str, ToolInfo], alpha: float = 0.8) -> list[Condition]:
    """Return which plan is best by input condition; sets that name no condition, or have one plan, are left out.

    Inputs of several conditions are named by all, rare mixtures as `mixed`.
    """
    members: dict[str, list[CandidateSet]] = defaultdict(list)
    for one in sets:
        named = sorted({condition for condition in one.conditions if condition})
        if named and len(one) > 1:
            members[" + ".join(named)].append(one)
    for name in [name for name, group in members.items() if " + " in name and len(group) < _RARE]:
        members["mixed"] += members.pop(name)
    return [_condition(name, group, tools, alpha) for name, group in sorted(members.items())]


def _condition(name: str, sets: list[CandidateSet], tools: Mapping[str, ToolInfo], alpha: float) -> Condition:
    best: list[tuple[Option, float]] = []
    for one in sets:
        best += [(o, w) for o, w in zip(one.options, best_of(one.utility(alpha)), strict=True) if w > 0]
    known = all(step.parents or step.tool in tools for one in sets for option in one.options for step in option.steps)
    offered = [_restores(option, tools) for one in sets for option in one.options] if known else []
    chains: Counter[str] = Counter()
    for option, weight in best:
        chains[" → ".join(option.tools)] += weight  # type: ignore[assignment]  # a Counter adds any number
    usual, share = min(chains.items(), key=lambda item: (-item[1], item[0]))
    return Condition(
        name, len(sets),
        sum(weight for option, weight in best if _restores(option, tools)) / len(sets) if known else None,
        float(np.mean(offered)) if known else None,
        sum(weight * len(option.steps) for option, weight in best) / len(sets), usual, share / len(sets),
    )  # fmt: skip


def _restores(option: Option, tools: Mapping[str, ToolInfo]) -> bool:
    """Whether a plan starts by restoring an input: some first step gives back the kind of thing it takes."""
    return any(not step.parents and step.tool in tools and is_restoring(tools[step.tool]) for step in option.steps)


def _capability(name: str, tools: Mapping[str, ToolInfo]) -> str:
    return (tools[name].capability if name in tools else "") or name
