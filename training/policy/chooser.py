"""The policy among measured plans: what `catp bench eval --planner policy` measures beside the baselines.

It rates every option and takes the best by `alpha * (quality - kappa * sd) - (1 - alpha) * price / price_scale`, with
the same price estimates as the baselines; nothing is fitted but those. It sees what a planner sees: the request, the
tools that have a place in the task, the plans; no outcome. Policies of methods that learn no quality take the likeliest
option instead, told the best return of the sets they were fitted on if they were trained on returns.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from catp.planlang.errors import PlanError
from catp.planlang.mask.automaton import PlanMask
from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planners.protocol import Objective, PlanRequest
from catp.tools.catalogue import Catalogue
from catp.training.baselines.chooser import LISTED, Prices
from catp.training.baselines.prices import StepPrices
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import Task, load_tasks
from catp.training.caorl.cases import Branch, Case, allowed_before
from catp.training.caorl.examples import Drawn, as_is
from catp.training.caorl.methods import Returns, asked, decides_by
from catp.training.caorl.rating import Rated, promised, rate
from catp.training.caorl.source_files import FileRequests
from catp.training.caorl.source_sim import SimRequests
from catp.training.critic.grow import correction
from catp.training.evaluate.candidates import CandidateSet, Floats, Option
from catp.training.evaluate.regret import best_of
from catp.training.policy.checkpoint import Policy, load
from catp.training.policy.models import default_model, find_model
from catp.training.prompt.ask import Ask
from catp.training.prompt.render import Renderer

__all__ = ["PolicyChooser", "case_of"]


class PolicyChooser:
    """A `Chooser` around a checkpoint, for CATP-Bench, catp-sim, and data in files.

    Args:
        model: name or folder of a policy; the default one if None.
        files: gives requests and plans of other data.
        trust: share of what the network learned that counts (0: none); the manifest's if None.
        share: the same of the forest.

    Raises:
        OSError, ValueError: there is no such policy, or it cannot be loaded.
        ImportError: torch or transformers is not installed.
    """

    name = "policy"

    def __init__(
        self, model: str | Path | None = None, files: FileRequests | None = None, *, trust: float | None = None,
        share: float | None = None,
    ) -> None:  # fmt: skip
        self.policy: Policy = load(_folder(model))
        self.trust = self.policy.manifest.trust if trust is None else trust
        self.share = self.policy.manifest.forest if share is None else share
        self.policy.model.eval()
        self._renderer = Renderer(self.policy.tokens, self.policy.manifest.prompt.style)
        self._prices = StepPrices()
        self._method = self.policy.manifest.config.method.name
        self._returns: Returns | None = None
        self._latest: tuple[CandidateSet, Prices, float, Rated] | None = None
        self._families: dict[str, PlanRequest] = {}
        self._files = files
        self._asked = bool(
            self.trust or self.policy.manifest.kappa or decides_by(self._method) == "likelihood"
        )  # a network that has no say is not asked

    def fit(self, sets: Sequence[CandidateSet]) -> None:
        """Fit the price estimates, and note which returns were reached; the policy stays as it is."""
        self._prices.fit(sets)
        self._returns = Returns.of_sets(sets, self._method)
        if self._files is not None:
            self._files.fit(sets)
        self._latest = None

    def choose(self, set: CandidateSet, alpha: float, prices: Prices = LISTED) -> Floats:
        """Return the best option, as the policy's method decides."""
        if decides_by(self._method) == "likelihood":
            return best_of(self._rate(set, prices, alpha).logpi)
        rated = self._rate(set, prices)
        quality = rated.trusted(self.trust, self.share) - self.policy.manifest.kappa * rated.sd
        return best_of(alpha * quality - (1 - alpha) * self._prices.price(set, prices) / set.price_scale)

    def predict(self, set: CandidateSet) -> Floats | None:
        """Return the rated quality of each option; None if the policy's method learns none."""
        if decides_by(self._method) == "likelihood":
            return None
        return self._rate(set, LISTED).trusted(self.trust, self.share)

    def _rate(self, one: CandidateSet, prices: Prices, alpha: float = 0.8) -> Rated:
        latest = self._latest
        if latest is None or latest[0] is not one or latest[1] is not prices or latest[2] != alpha:
            drawn = self._drawn(one, prices, alpha)
            (rated,) = rate(self.policy.model, self._renderer, [drawn]) if self._asked else [promised(drawn.case)]
            if decides_by(self._method) == "likelihood":
                rated = replace(rated, logpi=np.where([any(b.allowed) for b in drawn.branches], rated.logpi, -np.inf))
            forest = self.policy.forest
            if forest is not None:
                rated = replace(rated, forest=correction(forest, drawn.case, self.policy.tokens.vocabulary))
            self._latest = latest = one, prices, alpha, rated
        return latest[3]

    def _drawn(self, one: CandidateSet, prices: Prices, alpha: float) -> Drawn:
        ask = Ask.of(self._request_of(one), self.policy.tokens.vocabulary)
        factors = tuple(prices.factor(tool.name) for tool in ask.view.tools)
        mask = ask.mask() if decides_by(self._method) == "likelihood" else None  # else nobody asks for log pi
        drawn = replace(as_is(case_of(one, ask, self._plan_of(one), mask), alpha), factors=factors)
        return asked(drawn, self._method, self._returns)

    def _request_of(self, one: CandidateSet) -> PlanRequest:
        found = None
        if self._files is not None:
            found = self._files.request(one.id)
        elif one.id in self._tasks:
            found = self._request(self._tasks[one.id], one.price_scale)
        elif one.dataset.startswith("catp-sim"):
            found = self._sim.request(one.id, one.price_scale, one.text or None)
        if found is None:
            raise ValueError(
                f"{one.id}: there is no request to show the policy; it is measured on catp-bench, on catp-sim (worlds "
                "whose tools fit its slots), and on files whose toolset is known"
            )
        return found

    def _plan_of(self, one: CandidateSet) -> Callable[[Option], Plan]:
        files = self._files
        return _as_text if files is None else lambda option: files.plan_by_id(one.id, option.id)

    def _request(self, task: Task, scale: Money) -> PlanRequest:
        """What a planner is given; tools and fitted profiles are the same for all inputs of a family."""
        known = self._families.get(task.family)
        if known is None:
            known = self._families[task.family] = task.request(self._catalogue, 0.8, scale)
        facts = {given.name: given.facts for given in task.inputs}
        objective = Objective(alpha=0.8, price_scale=scale)
        return replace(known, task=task.text, inputs=facts, wanted=task.wanted, objective=objective)

    @cached_property
    def _tasks(self) -> Mapping[str, Task]:
        return load_tasks()

    @cached_property
    def _sim(self) -> SimRequests:
        return SimRequests(self.policy.tokens.vocabulary.tool_slots)

    @cached_property
    def _catalogue(self) -> Catalogue:
        return bench_catalogue()


def _folder(model: str | Path | None) -> Path:
    if model is not None:
        return find_model(str(model))
    found = default_model()
    if found is None:
        raise FileNotFoundError("no policy is installed; train one with catp train, or name a folder")
    return found


def _as_text(option: Option) -> Plan:
    return parse(option.text)


def case_of(
    one: CandidateSet, ask: Ask, plan_of: Callable[[Option], Plan] = _as_text, mask: PlanMask | None = None
) -> Case:
    """Return a candidate set as a case, outcomes unknown; `plan_of` gives an option's plan.

    `allowed` of a branch is all 0 without a mask, and where the mask does not let its plan be written.

    Raises:
        ValueError: an option has no plan text, or one that does not fit the request.
    """
    branches = []
    for option in one.options:
        try:
            told = ask.tell(plan_of(option))
        except PlanError as error:
            raise ValueError(f"{option.id}: the policy cannot read this plan: {error}") from error
        nothing = (0.0,) * len(told.outputs)
        paid = tuple(step.price or 0.0 for step in told.steps)
        allowed = (0,) * len(told.ids) if mask is None else _allowed(mask, told.ids)
        branches.append(Branch(option.id, told, allowed, nothing, paid, 0.0, sum(paid), 0.0))
    return Case(one.id, one.group, ask.view, tuple(branches), float(one.price_scale), one.split)


def _allowed(mask: PlanMask, ids: Sequence[int]) -> tuple[int, ...]:
    try:
        return allowed_before(mask, ids)
    except (PlanError, ValueError, KeyError):
        return (0,) * len(ids)
