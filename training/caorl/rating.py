"""Rating measured plans with a model: predicted quality, its spread, and log-probability, a case at a time."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catp.training.caorl.batch import batch_of
from catp.training.caorl.cases import Case
from catp.training.caorl.examples import Drawn, Packed, as_is, pack
from catp.training.caorl.losses import heads_of
from catp.training.prompt.render import Renderer

__all__ = ["SHARES", "Rated", "drawn_as_is", "normalised_regret", "offered", "promised", "rate"]

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of what was learned that are tried on the validation side; 0 is what profiles promise."""

_TOOLS = 24
"""Tools shown when measured plans are rated: those they use, and others up to this many."""


@dataclass(frozen=True)
class Rated:
    """What a model says of a case's plans, each (B,): quality, the composed score in it, its deviation, log pi.

    `forest` is the correction of a forest beside the model, 0 without one.
    """

    quality: NDArray[np.float64]
    composed: NDArray[np.float64]
    sd: NDArray[np.float64]
    logpi: NDArray[np.float64]
    forest: NDArray[np.float64] | float = 0.0

    def trusted(self, trust: float, share: float = 0.0) -> NDArray[np.float64]:
        """Return composed score + `trust` * difference that the model predicts + `share` * correction of the forest."""
        found: NDArray[np.float64] = self.composed + trust * (self.quality - self.composed) + share * self.forest
        return found


def offered(drawn: Drawn, most: int = _TOOLS) -> Drawn:
    """Return an example that shows the tools its plans use and, by a fixed draw, others up to `most`."""
    used = sorted(frozenset().union(*(branch.tools for branch in drawn.branches)))
    others = [place for place in range(len(drawn.case.view.tools)) if place not in used]
    order = np.random.default_rng(0).permutation(len(others))[: max(0, most - len(used))]
    kept = tuple(sorted([*used, *(others[int(place)] for place in order)]))
    factor = dict(zip(drawn.kept, drawn.factors, strict=True))
    return replace(
        drawn, kept=kept, slots=tuple(range(len(kept))), names=tuple(drawn.case.view.tools[k].name for k in kept),
        factors=tuple(factor[k] for k in kept),
    )  # fmt: skip


def rate(
    model: Any, renderer: Renderer, drawn: Iterable[Drawn], *, batch: int = 4, bf16: bool = False
) -> Iterator[Rated]:
    """Yield what the model says of each example's plans, in order. The model is used as it is: mode and device."""
    waiting: list[Packed] = []
    for one in drawn:
        waiting.append(pack(one, renderer))
        if len(waiting) == batch:
            yield from _rate(model, renderer, waiting, bf16)
            waiting = []
    if waiting:
        yield from _rate(model, renderer, waiting, bf16)


def _rate(model: Any, renderer: Renderer, packed: Sequence[Packed], bf16: bool) -> Iterator[Rated]:
    import torch

    tokens, device = renderer.tokens, next(model.parameters()).device
    tensors = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch_of(packed, tokens.pad).items()
    }
    lower: AbstractContextManager[Any] = torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext()
    with torch.no_grad(), lower:
        heads = heads_of(model, tensors, tokens.plan_ids, tokens.quality_ids)
    found = [values.double().cpu().numpy() for values in (heads.quality, heads.composed, heads.sd, heads.logpi)]
    begin = 0
    for one in packed:
        end = begin + len(one.score)
        yield Rated(*(values[begin:end] for values in found))
        begin = end


def promised(case: Case) -> Rated:
    """Return what profiles promise of each plan, as a model that predicts no difference would rate it."""
    composed = np.array(
        [sum(case.weights[output.goal] * output.score for output in branch.told.outputs) for branch in case.branches]
    )
    nothing = np.zeros(len(composed))
    return Rated(composed, composed, nothing, nothing)


def normalised_regret(cases: Sequence[Case], chosen: Sequence[int], alpha: float, *, most: int | None = None) -> float:
    """Return the sum of regrets over the sum of spreads of measured utility, of cases with two or more plans."""
    lost = spread = 0.0
    for case, place in zip(cases, chosen, strict=True):
        branches = case.branches[:most]
        utility = np.array([alpha * b.score - (1 - alpha) * b.price / case.scale for b in branches])
        lost += float(utility.max() - utility[place])
        spread += float(utility.max() - utility.min())
    return lost / spread if spread > 0 else 0.0


def drawn_as_is(case: Case, alpha: float, plans: int) -> Drawn:
    """Return the example a case is rated in."""
    return offered(as_is(case, alpha, plans))
