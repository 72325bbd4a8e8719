"""What `method.name` decides: losses, what a prompt is told of the return, and how the trained policy decides.

    name            learns from        the return it is told                            decides by
    awr             all plans          now and then, of one of them                     rated quality
    bc              all plans, alike   none                                             log pi
    filtered-bc     the best plan      none                                             log pi
    caorl           one plan           always its own: utility, less by each call       log pi
    caorl-released  one plan           always its own, as OpenCATP's code charges it    log pi

`caorl` is CAORL (CATP-LLM, arXiv 2411.16313) without the faults of its code, `caorl-released` keeps three of them:

1. the price so far is charged at every token, so a plan of n tools pays its price about 2 n times over;
2. the end of the plan (here: outputs and `</plan>`) is never a target;
3. the return to go, which falls in training, stays what it was when plans are chosen.

A return is `alpha * quality - (1 - alpha) * cost`, so its best value in the training data, which a policy is told when
it decides, is known for every alpha.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from catp.planlang.vocabulary import Vocabulary
from catp.training.caorl.cases import Branch, Case
from catp.training.caorl.config import MethodConfig
from catp.training.caorl.losses import Heads, awr_losses, weighted_cross_entropy
from catp.training.caorl.losses import utilities as utilities_of
from catp.training.caorl.source import Losses
from catp.training.evaluate.candidates import CandidateSet, Option

if TYPE_CHECKING:
    import torch

    from catp.training.caorl.examples import Drawn

__all__ = ["Returns", "asked", "charged", "decides_by", "losses", "plans_shown", "tells_return", "with_own_return"]

Floats = NDArray[np.float64]
Decides: TypeAlias = Literal["rating", "likelihood"]

_RETURN_TOLD = ("caorl", "caorl-released")

_UNIT = 0.05
"""`caorl-released` tells returns in this unit: a plan pays its price about ten times, and the scale ends at -1."""

_TIE = 1e-6


def losses(heads: Heads, batch: Mapping[str, Any], method: MethodConfig) -> Losses:
    """Return the losses of a batch under a method; all but `awr` have one, cross-entropy."""
    if method.name == "awr":
        return awr_losses(heads, batch, method)
    weights = _weights(batch, method)
    loss = weighted_cross_entropy(heads, weights, batch["of"], batch["alpha"].shape[0])
    return Losses(loss, {"policy": loss.detach()})


def _weights(batch: Mapping[str, Any], method: MethodConfig) -> "torch.Tensor":
    """The weight of each plan (P,): 0 if it breaks a budget or deadline that the prompt tells."""
    fits: torch.Tensor = batch["fits"]
    if method.name != "filtered-bc":
        return fits
    of = batch["of"]
    utility = utilities_of(batch, batch["alpha"][of]).masked_fill(fits == 0, float("-inf"))
    best = utility.new_full((batch["alpha"].shape[0],), float("-inf")).scatter_reduce(0, of, utility, "amax")
    return fits * (utility >= best[of] - _TIE)


def decides_by(name: str) -> Decides:
    """Return how a policy trained by a method decides among plans it can rate."""
    return "rating" if name == "awr" else "likelihood"


def plans_shown(method: MethodConfig) -> int:
    """Return the most plans of an input in one example: one, if the prompt tells that plan's own return."""
    return 1 if method.name in _RETURN_TOLD else method.plans


def tells_return(name: str) -> Literal["always", "sometimes", "never"]:
    """Return whether prompts tell a return to reach; `sometimes` is by `prompt.condition_return`."""
    return "always" if name in _RETURN_TOLD else "sometimes" if name == "awr" else "never"


def with_own_return(drawn: "Drawn", price: float, paid: Sequence[float], name: str) -> "Drawn":
    """Return an example of one plan that is told the plan's own return.

    Args:
        drawn: with one plan.
        price: what the plan cost under the drawn factors, nano-USD.
        paid: what each of its steps cost.
        name: of the method, one that always tells the return.
    """
    objectives, (branch,) = drawn.objectives, drawn.branches
    alpha, scale = objectives.alpha, objectives.scale
    if name == "caorl":
        return replace(drawn, objectives=replace(objectives, target=_return(alpha, branch.score, price / scale)))
    sums = charged(paid, _dependencies(branch))
    cost = (sums[-1] + price) / scale
    objectives = replace(objectives, target=_UNIT * _return(alpha, branch.score, cost))
    return replace(
        drawn, objectives=objectives, learns_end=False, charge=lambda steps: _UNIT * float(sums[len(steps) - 1])
    )


def charged(paid: Sequence[float], dependencies: Sequence[int]) -> Floats:
    """Return what OpenCATP's code has charged after each step (n,), nano-USD: the price so far, at each of its tokens.

    A step has 3 tokens and one for each dependency; the end of the plan charges the whole price once more.
    """
    tokens = 3 + np.asarray(dependencies, dtype=np.float64)
    found: Floats = np.cumsum(tokens * np.fromiter(accumulate(paid), dtype=np.float64, count=len(paid)))
    return found


@dataclass(frozen=True)
class Returns:
    """Returns in training data: quality and cost, each (N,); `alpha * quality - (1 - alpha) * cost`."""

    quality: Floats
    cost: Floats

    @classmethod
    def of_cases(cls, cases: Iterable[Case], name: str) -> "Returns":
        """Gather those of all plans, as `with_own_return` tells them."""
        return cls._of(
            (branch.score, _cost(name, _known(branch), branch.price, _dependencies(branch)) / case.scale)
            for case in cases
            for branch in case.branches
        )._told(name)

    @classmethod
    def of_sets(cls, sets: Iterable[CandidateSet], name: str) -> "Returns":
        """Gather those of all options."""
        return cls._of(
            (option.score, _cost(name, *_measured(option)) / one.price_scale) for one in sets for option in one.options
        )._told(name)

    def best(self, alpha: float) -> float | None:
        """Return the highest return at an alpha, None if there is none."""
        return float(_return(alpha, self.quality, self.cost).max()) if len(self.quality) else None

    @classmethod
    def _of(cls, rows: Iterable[tuple[float, float]]) -> "Returns":
        table = np.array(list(rows), dtype=np.float64).reshape(-1, 2)
        table = table[np.isfinite(table).all(axis=1)]
        return cls(table[:, 0], table[:, 1])

    def _told(self, name: str) -> "Returns":
        return Returns(_UNIT * self.quality, _UNIT * self.cost) if name == "caorl-released" else self


def asked(drawn: "Drawn", name: str, returns: Returns | None) -> "Drawn":
    """Return an example as it is shown when plans are chosen: told the best return of the training data, if any."""
    if returns is None or tells_return(name) != "always":
        return drawn
    shown = replace(drawn, objectives=replace(drawn.objectives, target=returns.best(drawn.objectives.alpha)))
    return replace(shown, charge=_nothing) if name == "caorl-released" else shown


def _nothing(steps: Sequence[object]) -> float:
    return 0.0


def _return(alpha: float, quality: Any, cost: Any) -> Any:
    return alpha * quality - (1 - alpha) * cost


def _cost(name: str, paid: Sequence[float], price: float, dependencies: Sequence[int]) -> float:
    if name != "caorl-released" or not len(paid):
        return price
    return float(charged(paid, dependencies)[-1]) + price


def _measured(option: Option) -> tuple[list[float], float, list[int]]:
    return [step.price for step in option.steps], option.price, [max(1, len(step.parents)) for step in option.steps]


def _known(branch: Branch) -> list[float]:
    """What each step cost, and what was predicted where that is not known."""
    return [
        paid if paid == paid else step.price or 0.0 for paid, step in zip(branch.paid, branch.told.steps, strict=True)
    ]


_FIRST_TOOL = Vocabulary().span("t").start
_STEPS = Vocabulary().span("n")


def _dependencies(branch: Branch) -> list[int]:
    """How many values of other steps each step uses; one, the request's input, if none."""
    counts: list[int] = []
    end = Vocabulary().id("<end>")
    open_ = False
    for number in branch.told.ids:
        if number >= _FIRST_TOOL:
            counts.append(0)
            open_ = True
        elif number == end:
            open_ = False
        elif open_ and number in _STEPS:
            counts[-1] += 1
    return [max(1, count) for count in counts]
