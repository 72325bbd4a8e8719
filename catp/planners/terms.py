"""Values a plan could compute, each with everything that follows from it alone.

A *term* is an input or a call whose arguments are terms. Its time, quality, condition and set of calls do not depend
on the rest of the plan; only the price is shared, because two terms that contain the same call pay for it once. So a
plan is one term per wanted output, and its price is that of the union of their calls. Which terms are worth making is
decided in `catp.planners.growing`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from catp.planlang.latency import slowest_of
from catp.planlang.nodes import Ref
from catp.planlang.passes.estimate import Assumptions
from catp.planlang.passes.facts import element_of, facts_of
from catp.planlang.registry_view import CallEstimate, Estimator, Size, ValueFacts
from catp.planlang.types import Type, list_of
from catp.planners.accuracy import GIVEN, AccuracyModel, ValueQuality
from catp.planners.typegraph import Maker, Passed, Path, TypeGraph, closed

__all__ = ["UNPRICED_CALL", "Bounds", "Feed", "Term", "TermSpace"]

_LIST_COUNT = Assumptions().list_count

UNPRICED_CALL = 10**18
"""Stand-in price (nano-USD) of a call whose price is unknown: dearer than anything priced, so such plans come last."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the search looks; `exact` in the proposal means exact within these."""

    max_steps: int = 8
    max_refine: int = 2
    """Refining calls in a row (denoise, then deblur), each by a different tool."""
    max_terms: int = 4_000
    """Values settled in one pass."""
    max_nodes: int = 60_000
    """Partial plans looked at in one pass."""


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """One argument: a term, the fields to follow, and whether the call is made once per element."""

    term: "Term"
    path: Path
    each: bool


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """An input (`maker` None, no calls) or a call. `calls` is a bit set; `price`, `p95` and `finish` are totals."""

    name: str
    maker: Maker | None
    feeds: tuple[Feed, ...]
    facts: ValueFacts
    quality: ValueQuality
    offers: frozenset[Path]
    consumed: frozenset[Type]
    chain: frozenset[str]
    sources: frozenset[str]
    passed: frozenset[Passed]
    targets: frozenset[int]
    bit: int
    calls: int
    price: int
    p95: int
    finish: float

    @property
    def size(self) -> int:
        """How many calls it takes."""
        return self.calls.bit_count()


class TermSpace:
    """All terms of one request, interned, so that equal calls are one bit in every pass."""

    def __init__(
        self,
        graph: TypeGraph,
        estimator: Estimator,
        accuracy: AccuracyModel,
        bounds: Bounds,
        *,
        unpriced: bool,
        with_p95: bool,
    ) -> None:
        self.graph = graph
        self.bounds = bounds
        self.refused: set[str] = set()
        self._estimator = estimator
        self.accuracy = accuracy
        self._unpriced = unpriced
        self._with_p95 = with_p95
        self._prices: list[int] = []
        self._p95s: list[int] = []
        self._by_bit: list[Term] = []
        self._costs: dict[int, tuple[int, int]] = {}
        self._kept: dict[frozenset[Type], dict[int, int]] = {}
        self._interned: dict[tuple[object, ...], Term | None] = {}
        self._estimates: dict[tuple[object, ...], CallEstimate] = {}

    def cost(self, calls: int) -> tuple[int, int]:
        """The expected and p95 price of a set of calls, each paid once."""
        found = self._costs.get(calls)
        if found is None:
            price = p95 = 0
            for term in self.members(calls):
                price += self._prices[term.bit]
                p95 += self._p95s[term.bit]
            found = self._costs[calls] = price, p95
        return found

    def own(self, term: Term) -> tuple[int, int]:
        """The expected and p95 price of a term's last call alone."""
        return self._prices[term.bit], self._p95s[term.bit]

    def members(self, calls: int) -> Iterator[Term]:
        """The terms of a set of calls, in the order they were made (arguments first)."""
        while calls:
            low = calls & -calls
            yield self._by_bit[low.bit_length() - 1]
            calls ^= low

    def kept(self, term: Term, shared: frozenset[Type]) -> int:
        """The calls of `term` that results of a shared type need."""
        if term.facts.type in shared:
            return term.calls
        memo = self._kept.setdefault(shared, {})
        if term.bit not in memo:
            memo[term.bit] = self.kept_of((feed.term for feed in term.feeds), shared)
        return memo[term.bit]

    def kept_of(self, terms: Iterable[Term], shared: frozenset[Type]) -> int:
        """The calls of all `terms` that results of a shared type need."""
        found = 0
        for term in terms:
            if term.maker is not None:
                found |= self.kept(term, shared)
        return found

    def own_prices(self, estimate: CallEstimate) -> tuple[int, int] | None:
        """The expected and p95 price of one call; None if calls without a price are not allowed."""
        price = estimate.price
        if price.expected is None and not self._unpriced:
            return None
        own = price.expected if price.expected is not None else UNPRICED_CALL
        return own, 0 if not self._with_p95 else price.p95 if price.p95 is not None else UNPRICED_CALL

    def given(self, name: str, facts: ValueFacts) -> Term:
        """The term of an input."""
        key = ("in", name)
        if key not in self._interned:
            offers = frozenset(path for path, _ in self.graph.carried(facts.type))
            self._interned[key] = Term(
                name, None, (), facts, GIVEN, offers, frozenset(), frozenset(), frozenset({name}), frozenset(),
                frozenset(), -1, 0, 0, 0, 0.0,
            )  # fmt: skip
        found = self._interned[key]
        assert found is not None
        return found

    def call(self, maker: Maker, feeds: tuple[Feed, ...]) -> Term | None:
        """The term of a call; None if the bounds or the price forbid it."""
        key = (maker.index, *((id(f.term), f.path, f.each) for f in feeds))
        if key not in self._interned:
            self._interned[key] = self._make(maker, feeds)
        return self._interned[key]

    def _make(self, maker: Maker, feeds: tuple[Feed, ...]) -> Term | None:
        calls = 0
        for feed in feeds:
            calls |= feed.term.calls
        chain = self._chain(maker, feeds)
        if calls.bit_count() >= self.bounds.max_steps or chain is None:
            return None
        args = {p.name: self._facts_of(f) for p, f in zip(maker.slots, feeds, strict=True)}
        estimate = self.estimate(maker, args)
        prices = self.own_prices(estimate)
        if prices is None:
            self.refused.add(maker.sig.name)
            return None
        own, own_p95 = prices
        count = max((f.term.facts.size.count for f in feeds if f.each), default=1)
        facts = estimate.output
        each = any(f.each for f in feeds)
        returns = maker.sig.returns
        facts = ValueFacts(
            list_of(returns) if each else returns,
            Size(facts.size.units, count) if each else facts.size,
            facts.condition,
        )
        read = (args[p.name].type.required for slot, p in enumerate(maker.slots) if slot != maker.refines)
        consumed = frozenset(read).union(*(f.term.consumed for f in feeds))
        quality = self.accuracy.call(
            estimate,
            {p.name: (args[p.name], f.term.quality) for p, f in zip(maker.slots, feeds, strict=True)},
        )
        bit = len(self._by_bit)
        self._prices.append(own * count)
        self._p95s.append(own_p95 * count)
        before = self.cost(calls)
        calls |= 1 << bit
        sources = frozenset[str]().union(*(f.term.sources for f in feeds))
        passed = frozenset[Passed]().union(*(f.term.passed for f in feeds))
        targets = self._targets(maker, facts.type, sources, passed)
        term = Term(
            str(maker.sig.name), maker, feeds, facts, quality,
            frozenset(p for p, t in self.graph.carried(facts.type) if not closed(t, consumed)),
            consumed, chain, sources, self.graph.passed(maker, passed), targets, bit, calls,
            own * count + before[0], own_p95 * count + before[1],
            slowest_of(estimate.latency, count).expected_ms + max(f.term.finish for f in feeds),
        )  # fmt: skip
        self._by_bit.append(term)
        return term

    def _chain(self, maker: Maker, feeds: tuple[Feed, ...]) -> frozenset[str] | None:
        """The refining tools in a row up to this call; None if it repeats one or there are too many."""
        if maker.refines is None:
            return frozenset()
        before = feeds[maker.refines].term.chain
        if feeds[maker.refines].path or maker.sig.name in before or len(before) >= self.bounds.max_refine:
            return None
        return before | {str(maker.sig.name)}

    def _facts_of(self, feed: Feed) -> ValueFacts:
        """What the compiler will know of an argument: the same code, so that both predict the same."""
        facts = facts_of(Ref("x", feed.path), {"x": feed.term.facts}, self.graph.types, _LIST_COUNT)
        return element_of(facts, _LIST_COUNT) if feed.each else facts

    def estimate(self, maker: Maker, args: Mapping[str, ValueFacts]) -> CallEstimate:
        """The estimate of a call: `args` by parameter, the constants of `maker` and defaults filled in."""
        key = (maker.index, tuple(args.values()))
        if key not in self._estimates:
            constants = dict(maker.constants)
            complete = dict[str, ValueFacts]()
            for param in maker.sig.params:  # in the compiler's order: parameters of the signature, defaults written out
                constant = constants.get(param.name, param.default)
                if param.name in args:
                    complete[param.name] = args[param.name]
                elif constant is not None:
                    complete[param.name] = facts_of(constant, {}, self.graph.types, _LIST_COUNT)
            self._estimates[key] = self._estimator.estimate(maker.sig.name, complete)
        return self._estimates[key]

    def _targets(self, maker: Maker, type_: Type, sources: frozenset[str], passed: frozenset[Passed]) -> frozenset[int]:
        return frozenset(
            index
            for index, wanted in enumerate(self.graph.wanted)
            if self.graph.could_be(maker, type_, wanted)
            and (not wanted.source or wanted.source in sources)
            and (not wanted.through or (index, len(wanted.through) - 1) in passed)
        )
