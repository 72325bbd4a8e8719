"""May this policy take over? An off-policy estimate on logged choices, and a rule that is hard to fool.

    log = logged_choices(measured, records, alpha=0.8)
    verdict = promote(candidate, current, log)
    verdict.promote, verdict.reasons

A policy is a function from a candidate set (without outcomes) to the probability of choosing each plan: a chooser at
an alpha, or a language model that scores the plans of the set. Rule: the doubly robust estimate of the candidate has
an effective sample size of at least 50, and its lower 95 % limit lies above the estimate of the current policy.
Otherwise the candidate runs in shadow only.

The model part is fitted Q evaluation: what the policy's plan is worth from the first decision on. It is fitted on half
of the tasks for the rows of the other half, moved by what it misses on the logged plans it was fitted on, weighed as
the candidate would (calibration), and then corrected by the rows themselves
(`catp.training.evaluate.fqe.corrected`): the correction is by whole plans, so the estimate is unbiased whatever the
model says.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from catp.training.critic.decisions import Coder, Tree, toolset_of
from catp.training.critic.libraries import one_thread
from catp.training.data.trajectory import Trajectory
from catp.training.evaluate.candidates import CandidateSet, Floats, candidate_sets
from catp.training.evaluate.flat import Weights, joined
from catp.training.evaluate.fqe import Episodes, corrected, fit
from catp.training.evaluate.logged import Logged, from_records
from catp.training.evaluate.ope import REFUSE_BELOW, Estimate, Refused, effective_sample_size

__all__ = ["PlanPolicy", "Verdict", "fitted_values", "logged_choices", "promote"]

PlanPolicy: TypeAlias = Callable[[CandidateSet], Floats]
"""Maps a set without outcomes to the probability of choosing each option."""


@dataclass(frozen=True)
class Verdict:
    """Whether to promote, and what that rests on. Estimates are mean utilities per input at the log's alpha."""

    promote: bool
    candidate: Estimate | Refused
    current: Estimate | Refused | None
    """None if the current policy is the one that was logged."""
    current_value: float | None
    """What the candidate's lower limit was held against."""
    ess: float
    """Effective sample size of the candidate."""
    model_value: float | None
    """The candidate's value by fitted Q evaluation alone, calibrated but not corrected: not to be trusted by itself.
    None if the log is too small for the candidate, so that nothing was fitted."""
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as plain JSON."""
        return {
            "promote": self.promote, "mode": "live" if self.promote else "shadow",
            "candidate": _estimate_json(self.candidate), "current": _estimate_json(self.current),
            "current_value": self.current_value, "ess": self.ess, "model_value": self.model_value,
            "reasons": list(self.reasons),
        }  # fmt: skip


def logged_choices(measured: Iterable[CandidateSet], records: Iterable[Trajectory], alpha: float) -> Logged:
    """Return logged choices with everything that could have been chosen instead.

    Args:
        measured: the plans that were on offer, by input; their outcomes are only read where a row chose them.
        records: one record per choice, each with `policy.propensity`.
        alpha: the weight of quality.

    Raises:
        ValueError: a record has no propensity, or chose a plan that is not among the measured ones.
    """
    sets = {one.id: one for one in measured}
    chosen = []
    for row in candidate_sets(records):
        offered = sets.get(row.id)
        if offered is None:
            raise ValueError(f"the log has input {row.id!r}, but nothing says which plans were on offer for it")
        plans = {option.plan: option for option in row.options if option.propensity is not None}
        missing = sorted(plans.keys() - {option.plan for option in offered.options})
        if missing:
            raise ValueError(f"input {row.id!r}: the logged plan {plans[missing[0]].id!r} is not among those on offer")
        bare = [replace(option, propensity=None) for option in offered.options]
        chosen.append(replace(offered, options=tuple(plans.get(option.plan, option) for option in bare)))
    return from_records(chosen, alpha)


def promote(
    candidate: PlanPolicy, current: PlanPolicy | None, log: Logged, *, fqe_steps: int = 1500, seed: int = 0
) -> Verdict:
    """Decide whether the candidate may take over.

    Args:
        candidate: the policy to judge.
        current: the policy in use; None if it is the one that was logged.
        log: independent logged choices with propensities, all at one alpha; not what either policy learned from.
        fqe_steps: gradient steps of each fit of fitted Q evaluation.
        seed: of the halves and the fits.

    Raises:
        ValueError: a policy's probabilities do not fit, the log has several alphas, or only one task.
        ImportError: torch or d3rlpy is not installed.
    """
    alphas = np.unique(log.alpha)
    if len(alphas) > 1:
        raise ValueError(f"the log has the weights {alphas.tolist()}: judge a policy at one alpha at a time")
    estimate, model, ess = _estimate(candidate, log, fqe_steps, seed)
    held: Estimate | Refused | None = None
    against: float | None = float(log.reward.mean())
    reasons = []
    if current is not None:
        held = _estimate(current, log, fqe_steps, seed)[0]
        against = held.value if isinstance(held, Estimate) else None
    if isinstance(estimate, Refused):
        reasons.append(f"candidate: {estimate.reason}")
    elif estimate.low is None:
        reasons.append("candidate: no interval, because all logged inputs are of one task")
    if isinstance(held, Refused):
        reasons.append(f"current policy: {held.reason}")
    if isinstance(estimate, Estimate):
        reasons += [f"candidate: {warning}" for warning in estimate.warnings]
    able = isinstance(estimate, Estimate) and estimate.low is not None and against is not None
    wins = False
    if able:
        assert isinstance(estimate, Estimate)
        assert estimate.low is not None
        assert against is not None
        wins = estimate.low > against
        words = "above" if wins else "not above"
        reasons.append(
            f"the candidate's lower limit {estimate.low:.4f} (estimate {estimate.value:.4f}, effective sample size "
            f"{ess:.0f}, at least {REFUSE_BELOW} needed) is {words} the current policy's {against:.4f}"
        )
    return Verdict(wins, estimate, held, against, ess, model, tuple(reasons))


def fitted_values(log: Logged, target: Weights, *, steps: int = 1500, seed: int = 0) -> Floats:
    """Return the value of the target's plan for the input of each row, [n], by models that have not seen its task.

    Raises:
        ValueError: all rows are of one task, or their plans cannot be told as decisions.
    """
    side = _halves([one.group for one in log.sets], seed)
    coder = _coder(log)
    trees = [coder.tree(_blinded(one, place, price)) for one, place, price in _rows(log)]
    weights = _weights(log, target)
    values = np.full(len(log), np.nan)
    for half in (0, 1):
        seen, mine = np.flatnonzero(side != half).tolist(), np.flatnonzero(side == half).tolist()
        known = [row for row in seen if trees[row].paths[log.chosen[row]] is not None]
        asked = [row for row in mine if trees[row].paths[_favourite(target[row], trees[row])] is not None]
        if not known or not asked:
            raise ValueError(
                "plans of the log cannot be told as decisions: raise tools and slots, or see Coder.left_out"
            )
        model = fit(_episodes(log, trees, target, known, coder), steps=steps, hidden=(64, 64), seed=seed)
        stop = coder.space.layout.stop

        def first(rows: Sequence[int], model: Any = model, stop: int = stop) -> Floats:
            paths = [trees[row].paths[_favourite(target[row], trees[row])] for row in rows]
            begin = np.array([trees[row].states[0] for row in rows])
            begin[:, 0] = log.alpha[list(rows)]
            acts = np.array([stop if path is None else path.actions[0] for path in paths])
            return np.asarray(model.q(begin, acts))

        own = first(known)
        heavy = weights[known]
        missed = float((heavy * (log.reward[known] - own)).sum() / heavy.sum()) if heavy.sum() > 0 else 0.0
        values[asked] = first(asked) + missed
        rest = np.setdiff1d(mine, asked)
        values[rest] = values[asked].mean()
    return values


def _estimate(policy: PlanPolicy, log: Logged, steps: int, seed: int) -> tuple[Estimate | Refused, float | None, float]:
    """Return the estimate, what the model alone says, and the effective sample size."""
    shown: dict[str, Floats] = {}
    for one in log.sets:
        if one.id not in shown:
            shown[one.id] = np.asarray(policy(one.hidden()), dtype=np.float64)
    target = [shown[one.id] for one in log.sets]
    joined(log.sets, target)
    ess = effective_sample_size(_weights(log, target))
    if ess < REFUSE_BELOW:  # before minutes are spent on a model that cannot help
        return corrected(np.zeros(len(log)), log, target), None, ess
    with one_thread():
        values = fitted_values(log, target, steps=steps, seed=seed)
    return corrected(values, log, target), float(values.mean()), ess


def _weights(log: Logged, target: Weights) -> Floats:
    chosen = np.array([mine[place] for mine, place in zip(target, log.chosen, strict=True)])
    return np.asarray(chosen / log.propensity)


def _coder(log: Logged) -> Coder:
    sets = list({one.id: one for one in log.sets}.values())
    tools = max(len({tool for option in one.options for tool in option.tools}) for one in sets)
    slots = max(len(one.input_types) + len(option.steps) for one in sets for option in one.options)
    priced = [_blinded(one, place, price) for one, place, price in _rows(log)]
    return Coder.fit(priced, toolset_of(sets), tools=tools, slots=max(2, slots + 1))


def _rows(log: Logged) -> Iterator[tuple[CandidateSet, int, float]]:
    return zip(log.sets, log.chosen.tolist(), log.price.tolist(), strict=True)


def _blinded(one: CandidateSet, chosen: int, price: float) -> CandidateSet:
    """Keep the outcome of the chosen option only; if its total price is known, but no steps, it is paid at the end."""
    bare = one.hidden()
    row = replace(one.options[chosen], price=float(price))
    return replace(bare, options=(*bare.options[:chosen], row, *bare.options[chosen + 1 :]))


def _episodes(log: Logged, trees: Sequence[Tree], target: Weights, rows: Sequence[int], coder: Coder) -> Episodes:
    """The logged plans of some rows as steps, with what the target would do in each state."""
    observations, actions, rewards, terminals, wanted = [], [], [], [], []
    for row in rows:
        tree, alpha = trees[row], float(log.alpha[row])
        path = tree.paths[log.chosen[row]]
        assert path is not None
        seen = tree.states[path.states].copy()
        seen[:, 0] = alpha
        paid = np.nan_to_num(path.prices)
        earned = -(1 - alpha) * paid
        earned[-1] += float(log.reward[row]) - earned.sum()  # whatever the steps say, the return is the reward
        last = np.zeros(len(path.actions), dtype=bool)
        last[-1] = True
        observations.append(seen)
        actions.append(path.actions)
        rewards.append(earned)
        terminals.append(last)
        wanted.append(_would_do(tree, target[row], path.actions))
    return Episodes(
        np.concatenate(observations).astype(np.float32), np.concatenate(actions), np.concatenate(rewards),
        np.concatenate(terminals), np.concatenate(wanted), coder.space.layout.actions,
    )  # fmt: skip


def _would_do(tree: Tree, weights: Floats, actions: np.ndarray) -> np.ndarray:
    """In each state of a plan, the next action of the plan that the target wants most of those that begin so."""
    found = []
    for at in range(len(actions)):
        begun = [
            place
            for place, path in enumerate(tree.paths)
            if path is not None and len(path.actions) > at and (path.actions[:at] == actions[:at]).all()
        ]
        path = tree.paths[max(begun, key=lambda place: weights[place])]
        assert path is not None
        found.append(path.actions[at])
    return np.array(found)


def _favourite(weights: Floats, tree: Tree) -> int:
    """The plan wanted most, of those that can be told if there is one."""
    told = [place for place, path in enumerate(tree.paths) if path is not None]
    return max(told, key=lambda place: weights[place]) if told else int(np.argmax(weights))


def _halves(groups: Sequence[str], seed: int) -> np.ndarray:
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"all logged rows are of task {str(names[0])!r}: a gate needs rows of several tasks")
    order = np.random.default_rng([seed, 4, len(names)]).permutation(len(names))
    return np.asarray((order % 2)[place])


def _estimate_json(one: Estimate | Refused | None) -> dict[str, Any] | None:
    if one is None:
        return None
    if isinstance(one, Refused):
        return {"refused": one.reason, "ess": one.ess, "n": one.n}
    return {
        "method": one.method, "value": one.value, "se": one.se, "low": one.low, "high": one.high, "ess": one.ess,
        "n": one.n, "unsupported": one.unsupported, "warnings": list(one.warnings),
    }  # fmt: skip
