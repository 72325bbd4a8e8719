"""The k cheapest plans of a request, in milliseconds: what a learned policy is shown and must beat.

The plans are those of the search planner (`docs/planner.md`), found by price alone, so that two shortcuts are open:

- Terms are settled cheapest first, and a term is dropped when k others could take its place in every plan at no more
  cost: then k plans without it are no dearer. Growth ends at the price of the k-th cheapest plan known so far, because
  a plan costs at least as much as each of its terms.
- Terms are combined best first (A*). What an output still adds at least is the price of its last call, where nothing
  else wanted can need that call; so finished plans come out by rising price.

Exact while neither bound is met, if the price of a call depends on the type and the size of its arguments, not on their
condition, and does not fall as they grow. Beyond the bounds the plans are cheap and valid, but cheaper ones may exist.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from catp.planlang.types import Type
from catp.planners.accuracy import AccuracyModel, ConditionModel
from catp.planners.build import build_plan, plan_name
from catp.planners.combine import Limits
from catp.planners.growing import Growing
from catp.planners.pricing import Priced, priced
from catp.planners.protocol import PlanRequest
from catp.planners.terms import Bounds, Term, TermSpace
from catp.planners.typegraph import TypeGraph

__all__ = ["QUICK", "Cheap", "cheapest_plans"]

QUICK = Bounds(max_terms=400, max_nodes=4_000)
"""Bounds that keep the work to some tens of milliseconds, whatever the catalogue."""

_WIDTH = 64
"""Partial plans that are still followed once the bound on their number is met,"""

_BRANCHES = 2
"""and the ways in which each of them goes on."""

_TRIES = 4
"""Plans built and priced for each one asked for: the compiler may find a little more than the sum of the calls."""

_UNLIMITED = float("inf")


@dataclass(frozen=True, slots=True)
class Cheap:
    """A cheap plan that fits, with the quality that the profiles of its tools predict; `known` as in `ValueQuality`."""

    priced: Priced
    quality: float
    known: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Partial:
    """Outputs decided so far, in the combiner's order: the calls they need and what those cost."""

    calls: int
    price: int
    p95: int
    picks: tuple[Term | None, ...]
    depth: int


def cheapest_plans(
    request: PlanRequest, count: int, *, accuracy: AccuracyModel | None = None, bounds: Bounds = QUICK
) -> tuple[Cheap, ...]:
    """Return up to `count` plans that keep budget and deadline, cheapest first; none if no such plan was found.

    Prices are expected prices as the compiler predicts them, budgets hold for their 95th percentile. Plans with a tool
    of unknown price come last, and are left out where there is a budget.
    """
    accuracy = accuracy if accuracy is not None else ConditionModel()
    graph = TypeGraph(request.registry, request.inputs, request.wanted)
    longest = max((len(want.through) for want in request.wanted), default=0) + 1
    bounds = replace(bounds, max_refine=max(bounds.max_refine, longest))
    budget = request.objective.budget
    space = TermSpace(graph, request.estimator, accuracy, bounds, unpriced=budget is None, with_p95=budget is not None)
    deadline = request.objective.deadline_ms
    limits = Limits(
        deadline if deadline is not None else _UNLIMITED,
        budget if budget is not None else _UNLIMITED,
        bounds.max_steps,
    )
    growth = _Growth(space, request, limits, count)
    _Unpruned(space).grow(graph.shared, growth.useless)
    found: list[Cheap] = []
    plans = iter(_Combination(space, request, limits, growth.targets, bounds.max_nodes))
    for partial in itertools.islice(plans, _TRIES * count):
        plan = build_plan(
            space, partial.picks, request.wanted, request.inputs,
            name=plan_name(request.task), doc=" ".join(request.task.split()) or None,
        )  # fmt: skip
        fitting = priced(plan, request)
        if fitting is not None:
            picks = [term for term in partial.picks if term is not None]
            quality = accuracy.plan([0.0 if term is None else term.quality.score for term in partial.picks])
            found.append(Cheap(fitting, quality, all(term.quality.known for term in picks)))
        if len(found) == count:
            break
    return tuple(sorted(found, key=lambda cheap: cheap.priced.rank))


class _Unpruned(Growing):
    """Grows terms where quality and time save no term: what is dropped is `_Growth`'s decision."""

    def _replaces(self, u: Term, v: Term, shared: frozenset[Type]) -> bool:
        return False


class _Growth:
    """Decides which terms are kept while they come out cheapest first."""

    def __init__(self, space: TermSpace, request: PlanRequest, limits: Limits, count: int) -> None:
        self.targets: list[list[Term]] = [[] for _ in request.wanted]
        """The kept terms that can be each wanted output."""
        self._space, self._limits, self._count = space, limits, count
        self._required = [i for i, want in enumerate(request.wanted) if not want.optional] or [0]
        self._kept: dict[tuple[Type, frozenset[str]], list[Term]] = {}
        self._enough = _UNLIMITED  # no term of this price or more is in one of the `count` cheapest plans

    def useless(self, term: Term) -> bool:
        """True if the cheapest plans can do without `term`; otherwise it is kept."""
        if term.price >= self._enough or term.finish > self._limits.deadline_ms or term.p95 > self._limits.budget:
            return True
        rivals = self._kept.setdefault((term.facts.type, term.sources), [])
        if term.maker is not None:
            spares = (rival for rival in rivals if self._spares(rival, term))
            if sum(1 for _ in itertools.islice(spares, self._count)) == self._count:
                return True
        rivals.append(term)
        for index in term.targets:
            self.targets[index].append(term)
        if term.targets:
            self._enough = min(self._enough, self._known_price())
        return False

    def _spares(self, u: Term, v: Term) -> bool:
        """True if `u` can take the place of `v` in every plan, at no more cost and in no more calls."""
        graph, limits = self._space.graph, self._limits
        if u.facts.size.units > v.facts.size.units or u.facts.size.count != v.facts.size.count:
            return False
        if not (v.targets <= u.targets and v.passed <= u.passed and u.consumed <= v.consumed):
            return False
        if (u.maker is None and graph.joins) or not self._refined_alike(u, v):
            return False
        if limits.deadline_ms < _UNLIMITED and u.finish > v.finish:
            return False
        kept = self._space.kept_of((feed.term for feed in v.feeds), graph.shared) | u.calls
        if kept.bit_count() > v.size:
            return False
        price, p95 = self._space.cost(kept)
        return price <= v.price and p95 <= v.p95

    def _refined_alike(self, u: Term, v: Term) -> bool:
        """True if every refining call that `v` may still get can be had from `u` too.

        One that `u` has had already is matched by `u` itself, if that is wanted for the same and is no smaller for it.
        """
        if u.chain <= v.chain:
            return True
        if len(u.chain) > len(v.chain):
            return False
        graph, left, term = self._space.graph, u.chain - v.chain, u
        while term.maker is not None and term.maker.refines is not None:
            before = term.feeds[term.maker.refines].term
            if term.maker.sig.name in left:
                could_be = {i for i, want in enumerate(graph.wanted) if graph.could_be(term.maker, v.facts.type, want)}
                if (
                    term.facts.size.units < before.facts.size.units
                    or not could_be <= u.targets
                    or not graph.passed(term.maker, v.passed) <= u.passed
                ):
                    return False
            term = before
        return True

    def _known_price(self) -> float:
        """The price of the last of `count` plans: the cheapest term for every output, and all plans that differ from
        it in one output."""
        if not all(self.targets[index] for index in self._required):
            return _UNLIMITED
        base = [self.targets[index][0] for index in self._required]
        prices = []
        for place, index in enumerate(self._required):
            for term in self.targets[index] if place == 0 else self.targets[index][1:]:
                calls = term.calls
                for other in (*base[:place], *base[place + 1 :]):
                    calls |= other.calls
                price, p95 = self._space.cost(calls)
                if calls.bit_count() <= self._limits.max_steps and p95 <= self._limits.budget:
                    prices.append(price)
        return sorted(prices)[self._count - 1] if len(prices) >= self._count else _UNLIMITED


class _Combination:
    """Plans by rising price, from the terms that can be each output."""

    def __init__(
        self, space: TermSpace, request: PlanRequest, limits: Limits, targets: Sequence[Sequence[Term]], max_nodes: int
    ) -> None:
        self._space, self._limits, self._targets, self._max_nodes = space, limits, targets, max_nodes
        self._optional = [want.optional for want in request.wanted]
        # the dearest first: what comes after it shares most of its calls
        self._order = sorted(range(len(targets)), key=lambda i: (-min((t.price for t in targets[i]), default=0), i))
        below = [space.graph.ancestors(want.type) for want in request.wanted]
        least = [
            min((self._own(term, below[:i] + below[i + 1 :]) for term in targets[i]), default=0)
            if not want.optional else 0
            for i, want in enumerate(request.wanted)
        ]  # fmt: skip
        ahead = [least[i] for i in self._order]
        self._ahead = [sum(ahead[depth:]) for depth in range(len(ahead) + 1)]

    def _own(self, term: Term, others: Sequence[frozenset[Type]]) -> int:
        """What the last call of `term` adds to a plan, if no other output can need it."""
        return 0 if any(term.facts.type in types for types in others) else self._space.own(term)[0]

    def __iter__(self) -> Iterator[_Partial]:
        counter = itertools.count()
        start = _Partial(0, 0, 0, (None,) * len(self._order), 0)
        heap = [(0, 0, 0, next(counter), start)]
        nodes, width = 0, self._max_nodes
        while heap:
            partial = heapq.heappop(heap)[-1]
            if partial.depth == len(self._order):
                if partial.calls:
                    yield partial
                continue
            grown = [(longer.price + self._ahead[longer.depth], longer.calls.bit_count(), -longer.depth,
                      next(counter), longer) for longer in self._extended(partial)]  # fmt: skip
            nodes += len(grown)
            if nodes > self._max_nodes and width > _WIDTH:  # from here on almost greedily, from the likeliest
                width = _WIDTH
                heap = heapq.nsmallest(width, heap)
            for entry in grown if width > _WIDTH else heapq.nsmallest(_BRANCHES, grown):
                heapq.heappush(heap, entry)

    def _extended(self, partial: _Partial) -> Iterator[_Partial]:
        """Every way to decide the next output."""
        slot = self._order[partial.depth]
        for term in self._targets[slot]:
            calls = partial.calls | term.calls
            price, p95 = self._space.cost(term.calls & ~partial.calls)
            if calls.bit_count() <= self._limits.max_steps and partial.p95 + p95 <= self._limits.budget:
                picks = (*partial.picks[:slot], term, *partial.picks[slot + 1 :])
                yield _Partial(calls, partial.price + price, partial.p95 + p95, picks, partial.depth + 1)
        if self._optional[slot]:
            yield replace(partial, depth=partial.depth + 1)
