"""The search planner: the Pareto front of price, time and quality over all valid plans, without a model.

    wanted types ── type graph ── terms ── labels ── plans, priced by the compiler
                    what matters  values   one term per output, shared calls paid once

Two passes. The first forgets that calls can be shared when it discards values, which makes it fast, and finds good
plans. The second forgets nothing and uses those plans as rivals: whatever cannot become better than one of them is
dropped. If the second pass ends within its bounds, the front is exact (see `docs/planner.md` for what plans count).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Plan
from catp.planlang.registry_view import UNPRICED
from catp.planners.accuracy import AccuracyModel, ConditionModel
from catp.planners.build import build_plan, plan_name
from catp.planners.combine import Combiner, Label, Limits
from catp.planners.front import Front, pareto, spread
from catp.planners.growing import Growing, Grown
from catp.planners.metered import metered
from catp.planners.pricing import priced
from catp.planners.protocol import Candidate, Objective, PlanningFailed, PlanRequest, Proposal
from catp.planners.refusals import check_request, inputs_of, no_tool_makes, unaffordable
from catp.planners.repair import RepairRequest, repair_by_search
from catp.planners.terms import UNPRICED_CALL, Bounds, Term, TermSpace
from catp.planners.typegraph import TypeGraph

__all__ = ["AS_GOOD", "CLEARLY", "LITTLE", "SearchPlanner", "SearchStats"]

AS_GOOD = 0.01
"""Plans whose predicted quality differs by less are taken to be equally good when the price scale is chosen."""

CLEARLY = 0.05
"""A plan with this much more predicted quality is worth a remark,"""

LITTLE = Money(1_000_000)
"""if it costs at most this much more (nano-USD), or at most twice as much."""

_BEAM = 128
_WHOLE_FRONT = 1000
_UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class SearchStats:
    """The work of a search: tools that mattered, values and partial plans looked at, plans on the front."""

    makers: int
    terms: int
    nodes: int
    front: int


@dataclass(frozen=True, slots=True)
class _Found:
    labels: tuple[Label, ...]
    space: TermSpace
    exact: bool
    stats: SearchStats


class SearchPlanner:
    """Plans by exact search over a catalogue; implements `Planner`. It pays nobody: its price is its CPU time.

    Args:
        accuracy: How accuracies compose; see `AccuracyModel`.
        max_steps: Most calls in a plan.
        bounds: All bounds at once; overrides `max_steps`.
    """

    name = "search"

    def __init__(
        self, accuracy: AccuracyModel | None = None, max_steps: int = 8, *, bounds: Bounds | None = None
    ) -> None:
        self.accuracy: AccuracyModel = accuracy if accuracy is not None else ConditionModel()
        self.bounds = bounds if bounds is not None else Bounds(max_steps=max_steps)
        self.stats = SearchStats(0, 0, 0, 0)
        """About the latest search."""
        if self.bounds.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.bounds.max_steps!r}")

    async def plan(self, request: PlanRequest) -> Proposal:
        """Return the best plans of the front, or raise `PlanningFailed` saying what is missing or would be needed."""
        return await asyncio.to_thread(metered, self.search, request)

    async def front(self, request: PlanRequest) -> Proposal:
        """Return the front itself, best first; `spread` thins it to `request.candidates` plans."""
        found = await self.plan(replace(request, candidates=_WHOLE_FRONT))
        return replace(found, candidates=tuple(spread(found.candidates, _point, request.candidates)))

    async def repair(self, request: RepairRequest) -> tuple[Plan, ...]:
        """Return ways to go on after a failure, best first; see `catp.planners.repair`."""
        return await repair_by_search(request, self.plan)

    def search(self, request: PlanRequest) -> Proposal:
        """`plan`, for callers without an event loop; not metered."""
        check_request(request)
        found = self._front(request, request.objective)
        if not found.labels:
            raise self._why_not(request, found)
        self.stats = found.stats
        candidates, scale = self._candidates(request, found)
        if not candidates:
            raise self._why_not(request, found)
        return Proposal(candidates, found.exact, self._notes(request, found, candidates, scale))

    def _front(self, request: PlanRequest, objective: Objective) -> _Found:
        graph = TypeGraph(request.registry, request.inputs, request.wanted)
        longest = max((len(want.through) for want in request.wanted), default=0) + 1
        bounds = replace(self.bounds, max_refine=max(self.bounds.max_refine, longest))
        space = TermSpace(
            graph, request.estimator, self.accuracy, bounds,
            unpriced=objective.budget is None, with_p95=objective.budget is not None,
        )  # fmt: skip
        limits = Limits(
            objective.deadline_ms if objective.deadline_ms is not None else _UNLIMITED,
            objective.budget if objective.budget is not None else _UNLIMITED,
            self.bounds.max_steps,
        )
        optional = [want.optional for want in request.wanted]

        def hopeless(term: Term) -> bool:
            return term.finish > limits.deadline_ms or term.p95 > limits.budget

        growing = Growing(space)
        first = growing.grow(frozenset(), hopeless)
        quick = Combiner(space, self.accuracy, first.targets, optional, limits)
        labels = quick.run(Front(), max_nodes=self.bounds.max_nodes, width=_BEAM)
        rivals = _rivals(labels, quick)
        useless = self._useless(graph, first, rivals, hopeless)
        second = growing.grow(graph.shared, useless) if graph.shared or not first.complete else first
        # once more in a hurry, over values that are only worth it because their calls are shared: better rivals
        wide = Combiner(space, self.accuracy, second.targets, optional, limits)
        labels += wide.run(rivals, max_nodes=self.bounds.max_nodes, width=_BEAM)
        exact = Combiner(space, self.accuracy, second.targets, optional, limits)
        labels += exact.run(_rivals(labels, exact), max_nodes=self.bounds.max_nodes)
        front = [x for x in pareto(labels, exact.point) if x.calls]
        if objective.budget is not None:  # the p95 price was only there to keep plans that fit
            front = pareto(front, lambda x: (x.price, x.finish, exact.point(x)[-1]))
        stats = SearchStats(
            len(graph.makers), first.terms + second.terms, quick.nodes + wide.nodes + exact.nodes, len(front)
        )
        return _Found(tuple(front), space, second.complete and not exact.cut, stats)

    def _useless(
        self, graph: TypeGraph, first: Grown, rivals: Front, hopeless: Callable[[Term], bool]
    ) -> Callable[[Term], bool]:
        """A test for terms that no plan better than the rivals can contain."""
        best = [
            max((t.quality.score for t in terms), default=0.0) if first.complete else 1.0 for terms in first.targets
        ]
        below = [graph.ancestors(want.type) for want in graph.wanted]

        def useless(term: Term) -> bool:
            if term.maker is None:
                return False
            if hopeless(term):
                return True
            quality = 0.0
            for index, types in enumerate(below):
                if term.facts.type in types:
                    scores = list(best)
                    scores[index] = min(best[index], max(term.quality.carried, term.quality.score))
                    quality = max(quality, self.accuracy.plan(scores))
            return rivals.beats((term.price, term.p95, term.finish, -quality))

        return useless

    def _candidates(self, request: PlanRequest, found: _Found) -> tuple[tuple[Candidate, ...], Money]:
        objective = request.objective
        scale = objective.price_scale if objective.price_scale is not None else self._scale(found)
        ranked = sorted(
            found.labels, key=lambda x: (-self._utility(objective, scale, self._quality(x), x.price), x.price, x.calls)
        )
        candidates: list[Candidate] = []
        for label in ranked:
            if len(candidates) >= request.candidates:
                break
            candidate = self._candidate(request, found.space, label, scale)
            if candidate is not None:
                candidates.append(candidate)
        candidates.sort(key=lambda c: (not c.price.priced, -c.utility))
        return tuple(candidates), scale

    def _candidate(self, request: PlanRequest, space: TermSpace, label: Label, scale: Money) -> Candidate | None:
        """Build a plan and price it with the compiler, so that a quote of the same plan says exactly the same."""
        plan = build_plan(
            space, label.picks, request.wanted, request.inputs,
            name=plan_name(request.task), doc=" ".join(request.task.split()) or None,
        )  # fmt: skip
        fitting = priced(plan, request)
        if fitting is None:
            return None
        quality = self._quality(label)
        known = all(term is None or term.quality.known for term in label.picks)
        utility = self._utility(request.objective, scale, quality, fitting.expected)
        return Candidate(plan, fitting.price, fitting.latency, quality if known else None, utility)

    def _scale(self, found: _Found) -> Money:
        """The price of the cheapest plan that is about as good as the best one (see docs/adr/0002)."""
        priced = [label for label in found.labels if label.price < UNPRICED_CALL]
        best = max((self._quality(label) for label in priced), default=0.0)
        good = [label.price for label in priced if self._quality(label) >= best - AS_GOOD]
        return Money(min(good, default=0) or 1)

    def _quality(self, label: Label) -> float:
        return self.accuracy.plan(label.scores)

    @staticmethod
    def _utility(objective: Objective, scale: Money, quality: float, price: int) -> float:
        """An unknown price counts as the full scale: never as nothing."""
        share = price / scale if price < UNPRICED_CALL else 1.0
        return objective.alpha * quality - (1 - objective.alpha) * share

    def _notes(
        self, request: PlanRequest, found: _Found, candidates: tuple[Candidate, ...], scale: Money
    ) -> tuple[str, ...]:
        notes = []
        better = self._better(request.objective, found, candidates[0], scale)
        if better is not None:
            notes.append(better)
        if not found.exact:
            notes.append(
                f"not exact: the search was cut at {found.stats.terms} values and {found.stats.nodes} partial plans; "
                "a better plan may exist"
            )
        if found.space.refused:
            notes.append(f"left out for want of a price: {', '.join(sorted(found.space.refused))}")
        if any(candidate.price == UNPRICED or not candidate.price.priced for candidate in candidates):
            notes.append("some plans use tools of unknown price: they come last and are rated as the dearest")
        if any(candidate.quality is None for candidate in candidates):
            notes.append("some tools have no measured accuracy here: their plans were ranked as if right half the time")
        missing = [w.name for i, w in enumerate(request.wanted) if found.labels and all(
            label.picks[i] is None for label in found.labels)]  # fmt: skip
        if missing:
            notes.append(f"no plan includes the optional {', '.join(missing)}")
        if request.objective.price_scale is None and any(label.price < UNPRICED_CALL for label in found.labels):
            notes.append(
                f"price scale ${format_usd(scale)}: the cheapest plan about as good as the best of "
                f"{len(found.labels)} on the front"
            )
        return tuple(notes)

    def _better(self, objective: Objective, found: _Found, best: Candidate, scale: Money) -> str | None:
        """What little more money would buy, if that is clearly better, and which alpha asks for it."""
        if best.quality is None or best.price.expected is None:
            return None
        little = max(LITTLE, best.price.expected)
        rated = [x for x in found.labels if all(t is None or t.quality.known for t in x.picks)]
        for percent in range(int(objective.alpha * 100) + 1, 101):
            asked = replace(objective, alpha=percent / 100)
            pick = max(rated, key=lambda x: self._utility(asked, scale, self._quality(x), x.price), default=None)
            more = pick.price - best.price.expected if pick is not None else 0
            if pick is not None and self._quality(pick) >= best.quality + CLEARLY and 0 < more <= little:
                return (
                    f"for ${format_usd(Money(more))} more, quality {self._quality(pick):.2f} instead of "
                    f"{best.quality:.2f} (alpha {percent / 100:g} picks it)"
                )
        return None

    def _why_not(self, request: PlanRequest, found: _Found) -> PlanningFailed:
        unmakeable = no_tool_makes(request, found.space.graph)
        if unmakeable is not None:
            return unmakeable
        ample = Money(UNPRICED_CALL - 1) if request.objective.budget is not None else None
        free = self._front(request, replace(request.objective, budget=ample, deadline_ms=None))
        if not free.labels and not free.exact:
            return PlanningFailed(
                f"the search was cut at {free.stats.terms} values before it found a plan: allow more (`Bounds`)"
            )
        if not free.labels:
            names = ", ".join(f"`{w.name}` ({w.type})" for w in request.wanted if not w.optional)
            steps = self.bounds.max_steps
            need = f"within {steps} step{'s' if steps > 1 else ''} from {inputs_of(request)}"
            return PlanningFailed(f"no plan makes {names} {need}")
        return unaffordable(request.objective, free.labels, found.space.refused)


def _point(one: Candidate) -> tuple[float, float, float]:
    """Price, quality and time of a plan, less is better; an unknown price or quality is the worst."""
    price = _UNLIMITED if one.price.expected is None else one.price.expected
    return price, 0.0 if one.quality is None else -one.quality, one.latency.expected_ms


def _rivals(labels: list[Label], combiner: Combiner) -> Front:
    front = Front()
    for label in labels:
        front.add(combiner.point(label))
    return front
