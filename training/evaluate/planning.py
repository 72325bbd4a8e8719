"""The harness for planners that write plans freely: each plan is looked up among the measured plans of its input.

    request -> plan -> canonical form -> digest -> the option with this digest, if it was measured

What was not measured is not covered, and says nothing about regret; `measure` can run it for real. A planner that
fails, or writes a plan that cannot run or leaves a wanted output out, is counted by what went wrong; it never stops the
evaluation.
"""

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from catp.planlang.money import Money
from catp.planlang.nodes import Plan
from catp.planners.protocol import NothingFits, Planner, PlanRequest, Proposal
from catp.training.baselines.prices import StepPrices
from catp.training.evaluate.answers import Answer, by_key, failure_of, place_of, plan_key
from catp.training.evaluate.calibration import calibration
from catp.training.evaluate.candidates import CandidateSet, Floats, Option
from catp.training.evaluate.harness import BUDGET_ALPHA
from catp.training.evaluate.latency import latency
from catp.training.evaluate.pareto import ALPHAS, Point, hv_ratio, ideal, oracle_points, points, reference, sparsity
from catp.training.evaluate.regret import regret
from catp.training.evaluate.result import AlphaRow, BudgetCheck, Evaluation, PriceError

__all__ = ["Case", "Measure", "evaluate_planner"]

Measure: TypeAlias = Callable[[str, Plan], Option | Awaitable[Option | None] | None]
"""Runs a plan on the input of a set (by id) and returns what came out; None if it cannot be run."""


@dataclass(frozen=True)
class Case:
    """One input: its measured plans, and how to ask a planner about it at an alpha."""

    set: CandidateSet
    make_request: Callable[[float], PlanRequest]


def evaluate_planner(
    planner: Planner,
    cases: Sequence[Case],
    *,
    alphas: Sequence[float] = ALPHAS,
    protocol: str = "free",
    measure: Measure | None = None,
    budget_factor: float = 1.0,
    timeout_s: float = 60.0,
    seed: int = 0,
    draws: int = 1000,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Ask the planner about each case at each alpha, one question at a time, and measure its answers.

    Args:
        planner: anything with `name` and `async plan(request)`.
        cases: inputs of one data set, with at least one measured plan each.
        alphas: the sweep.
        protocol: what to call this in the result: what the planner was trained on is not known here.
        measure: runs plans that were not measured; its options join those of the set, also for the oracle.
        budget_factor: the budget of the check, in median predicted prices of the set.
        timeout_s: a decision that takes longer counts as a failure.
        seed: of the bootstrap over tasks.
        draws: of the bootstrap.
        progress: told how far it is.

    Raises:
        ValueError: no cases or no alphas.
    """
    if not cases or not alphas:
        raise ValueError("no cases to ask about" if not cases else "no alphas to evaluate at")
    return asyncio.run(
        _Session(planner, cases, tuple(sorted(set(alphas))), budget_factor, timeout_s, progress).run(
            protocol, measure, seed, draws
        )
    )


def _mean_price(answers: Sequence[Answer]) -> float | None:
    """What a decision cost on average, None if that of any is unknown."""
    prices = [answer.price for answer in answers if answer.price is not None]
    return float(np.mean(prices)) if prices and len(prices) == len(answers) else None


class _Session:
    def __init__(
        self, planner: Planner, cases: Sequence[Case], alphas: Sequence[float], factor: float, timeout_s: float,
        progress: Callable[[str], None] | None,
    ) -> None:  # fmt: skip
        self.planner, self.cases, self.alphas, self.factor, self.timeout_s = planner, cases, alphas, factor, timeout_s
        self.progress = progress or (lambda _: None)
        self.answers: dict[float, list[Answer]] = {alpha: [] for alpha in alphas}
        self.tight: list[tuple[Money, Answer]] = []
        self.sets = [case.set for case in cases]

    async def run(self, protocol: str, measure: Measure | None, seed: int, draws: int) -> Evaluation:
        estimates = StepPrices().fit(self.sets)
        for number, case in enumerate(self.cases):
            if number % max(1, len(self.cases) // 20) == 0:
                self.progress(f"{self.planner.name}: {number} of {len(self.cases)} inputs")
            for alpha in self.alphas:
                self.answers[alpha].append(await self._ask(case.make_request(alpha)))
            request = case.make_request(BUDGET_ALPHA)
            budget = Money(max(1, round(float(np.median(estimates.price(case.set))) * self.factor)))
            tight = replace(request, objective=replace(request.objective, budget=budget))
            self.tight.append((budget, await self._ask(tight)))
        if measure is not None:
            await self._measure(measure)
        return self._summary(protocol, seed, draws)

    async def _ask(self, request: PlanRequest) -> Answer:
        begin = time.perf_counter()
        try:
            proposal = await asyncio.wait_for(_never_exiting(self.planner, request), self.timeout_s)
            ms = 1000 * (time.perf_counter() - begin)
            if not proposal.candidates:
                return Answer(ms, failure="no candidates")
            best = proposal.candidates[0]
            key = plan_key(best.plan, request)
            return Answer(ms, key, best.plan, by_key(proposal.candidates, request), proposal.price)
        except Exception as error:  # whatever a planner raises is its result, not ours
            return Answer(1000 * (time.perf_counter() - begin), failure=failure_of(error))

    async def _measure(self, measure: Measure) -> None:
        """Run each plan that was not measured once, and add it to the options of its input."""
        for place, one in enumerate(self.sets):
            known = {option.plan for option in one.options}
            found: list[Option] = []
            for answers in self.answers.values():
                answer = answers[place]
                if answer.key is None or answer.plan is None or answer.key in known:
                    continue
                known.add(answer.key)
                self.progress(f"{self.planner.name}: running a plan that was not measured for {one.id}")
                given = measure(one.id, answer.plan)
                option = await given if inspect.isawaitable(given) else given
                if option is not None:
                    found.append(replace(option, plan=answer.key))
            self.sets[place] = replace(one, options=(*one.options, *found))

    def _summary(self, protocol: str, seed: int, draws: int) -> Evaluation:
        rows = [row for alpha in self.alphas if (row := self._row(alpha, seed, draws)) is not None]
        asked = [answer for answers in self.answers.values() for answer in answers]
        valid = [answer for answer in asked if answer.key is not None]
        covered = sum(place_of(one, answer) is not None for answers in self.answers.values()
                      for one, answer in zip(self.sets, answers, strict=True))  # fmt: skip
        sweep = self._sweep()
        predicted = self._predicted()
        return Evaluation(
            planner=self.planner.name,
            protocol=protocol,
            dataset=", ".join(sorted({one.dataset for one in self.sets})),
            sets=len(self.sets),
            groups=len({one.group for one in self.sets}),
            rows=tuple(rows),
            points=tuple(sweep.points),
            oracle=tuple(sweep.oracle),
            reference=sweep.reference,
            hv_ratio=sweep.hv_ratio,
            sparsity=sweep.sparsity,
            calibration=calibration(self.sets, predicted) if any(np.isfinite(p).any() for p in predicted) else None,
            valid=len(valid) / len(asked),
            coverage=covered / len(valid) if valid else 0.0,
            budget=self._budget(),
            decide_ms=float(np.mean([answer.ms for answer in asked])),
            planner_usd=_mean_price(valid),
            price_error=self._price_error(),
            failures=dict(sorted(Counter(answer.failure for answer in asked if answer.failure).items())),
            notes=sweep.notes,
        )

    def _row(self, alpha: float, seed: int, draws: int) -> AlphaRow | None:
        sets, weights = self._covered(alpha, range(len(self.sets)))
        if not any(len(one) >= 2 for one in sets):
            return None
        return AlphaRow(alpha, regret(sets, weights, alpha, draws=draws, seed=seed), latency(sets, weights))

    def _covered(self, alpha: float, among: Sequence[int]) -> tuple[list[CandidateSet], list[Floats]]:
        sets, weights = [], []
        for place in among:
            one, chosen = self.sets[place], place_of(self.sets[place], self.answers[alpha][place])
            if chosen is not None:
                sets.append(one)
                weights.append(np.eye(len(one))[chosen])
        return sets, weights

    def _sweep(self) -> "_Sweep":
        """Points and hypervolume need the same inputs at every alpha: those that are covered throughout."""
        common = [
            place for place, one in enumerate(self.sets)
            if len(one) >= 2 and all(place_of(one, answers[place]) is not None for answers in self.answers.values())
        ]  # fmt: skip
        if not common:
            return _Sweep(notes=("no input is covered at every alpha: no points, no hypervolume",))
        sets = [self.sets[place] for place in common]
        weights = {alpha: self._covered(alpha, common)[1] for alpha in self.alphas}
        found, worst = points(sets, weights), reference(sets)
        try:
            ratio: float | None = hv_ratio(sets, weights)
        except ValueError:  # the sets leave no area
            ratio = None
        note = f"points and hypervolume are over the {len(common)} inputs that are covered at every alpha"
        notes = (note,) if len(common) < len(self.sets) else ()
        return _Sweep(found, oracle_points(sets, weights), worst, ratio, sparsity(found, worst, ideal(sets)), notes)

    def _predicted(self) -> list[Floats]:
        """The quality predicted for each option by any candidate of any answer."""
        found = [np.full(len(one), np.nan) for one in self.sets]
        for answers in self.answers.values():
            for values, one, answer in zip(found, self.sets, answers, strict=True):
                for place, option in enumerate(one.options):
                    candidate = answer.candidates.get(option.plan)
                    if candidate is not None and candidate.quality is not None:
                        values[place] = candidate.quality
        return found

    def _budget(self) -> BudgetCheck:
        refused = sum(answer.failure == failure_of(NothingFits("", "budget")) for _, answer in self.tight)
        over = [
            one.options[place].price > budget
            for one, (budget, answer) in zip(self.sets, self.tight, strict=True)
            if (place := place_of(one, answer)) is not None
        ]
        violations = float(np.mean(over)) if over else None
        return BudgetCheck(BUDGET_ALPHA, self.factor, len(self.tight), refused, violations)

    def _price_error(self) -> PriceError:
        """Over all pairs of a chosen plan and its input, each once."""
        pairs: dict[tuple[int, str], tuple[float, float, float]] = {}
        for answers in self.answers.values():
            for number, (one, answer) in enumerate(zip(self.sets, answers, strict=True)):
                place = place_of(one, answer)
                if place is None or answer.key is None:
                    continue
                price = answer.candidates[answer.key].price
                if price.expected is not None and price.p95 is not None:
                    pairs[number, answer.key] = (price.expected, price.p95, one.options[place].price)
        if not pairs:
            return PriceError(0, None, None, None)
        expected, p95, actual = np.array(list(pairs.values())).T
        paid = actual > 0
        ratio = float(expected.sum() / actual.sum()) if paid.any() else None
        relative = float((np.abs(expected - actual)[paid] / actual[paid]).mean()) if paid.any() else None
        return PriceError(len(pairs), ratio, relative, float((actual <= p95).mean()))


class PlannerExited(RuntimeError):
    """A planner tried to end the program."""


async def _never_exiting(planner: Planner, request: PlanRequest) -> Proposal:
    """Ask; an event loop would let `SystemExit` end the evaluation, with whatever exit code the planner likes."""
    try:
        return await planner.plan(request)
    except SystemExit as error:
        raise PlannerExited(f"exit code {error.code}") from error


@dataclass(frozen=True)
class _Sweep:
    points: Sequence[Point] = ()
    oracle: Sequence[Point] = ()
    reference: Point | None = None
    hv_ratio: float | None = None
    sparsity: float | None = None
    notes: Sequence[str] = ()
