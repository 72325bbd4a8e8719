"""Which terms are worth making: all of them, cheapest first, without those that another makes pointless.

Terms are grown by label setting and dropped when another makes them pointless. Term `u` makes `v` pointless if `u` can
stand in for `v` (`catp.planners.standin`), is no later and no worse, and replacing `v` by `u` never costs more. The
last is where sharing bites: other parts of the plan may still need some of `v`'s calls (those of a *shared* type, see
`TypeGraph.shared`), so `u` must pay even if those are kept:

    price(calls(u) | kept(v)) <= price(calls(v))        kept(v): calls of v that others may use
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from catp.planlang.types import Type
from catp.planners.standin import StandIns, Value
from catp.planners.terms import Feed, Term, TermSpace
from catp.planners.typegraph import Maker, Path

__all__ = ["Growing", "Grown"]


@dataclass(frozen=True, slots=True)
class Grown:
    """The terms of one pass that can serve as a wanted output, by wanted index, and whether the pass was cut."""

    targets: tuple[tuple[Term, ...], ...]
    complete: bool
    terms: int


class Growing:
    """Grows the terms of one space; what it learned of tools and stand-ins in one pass serves the next."""

    def __init__(self, space: TermSpace) -> None:
        self._space = space
        self._standins = StandIns(
            space.graph, space.accuracy, space.estimate, space.own_prices, space.bounds.max_refine
        )
        self._uses: dict[Type, list[tuple[Maker, int, Path, bool]]] = {}

    def grow(self, shared: frozenset[Type], useless: Callable[[Term], bool]) -> Grown:
        """Settle terms cheapest first; `shared` are the result types whose calls others may use."""
        heap: list[tuple[int, int, float, float, int, Term]] = []
        counter = itertools.count()
        seen: set[int] = set()
        fits: dict[tuple[int, int], list[Feed]] = {}
        settled: dict[tuple[Type, frozenset[str]], list[Term]] = {}
        targets: list[list[Term]] = [[] for _ in self._space.graph.wanted]
        terms = 0

        def push(term: Term) -> None:
            if id(term) not in seen:
                seen.add(id(term))
                heapq.heappush(heap, (term.price, term.size, term.finish, -term.quality.score, next(counter), term))

        for name, facts in self._space.graph.inputs.items():
            push(self._space.given(name, facts))
        while heap and terms < self._space.bounds.max_terms:
            term = heapq.heappop(heap)[-1]
            rivals = settled.setdefault((term.facts.type, term.sources), [])
            if useless(term) or any(self._replaces(rival, term, shared) for rival in rivals):
                continue
            rivals.append(term)
            terms += 1
            for index in term.targets:
                targets[index].append(term)
            for maker, feeds in self._calls_with(term, fits):
                made = self._space.call(maker, feeds)
                if made is not None:
                    push(made)
        return Grown(tuple(tuple(t) for t in targets), not heap, terms)

    def _replaces(self, u: Term, v: Term, shared: frozenset[Type]) -> bool:
        """True if `v` can be replaced by `u` in every plan without loss; both have the same type and sources."""
        if v.maker is None or u.finish > v.finish or u.p95 > v.p95:
            return False
        if u.maker is None and self._space.graph.joins:  # a call that is given `v` and `u` cannot be given `u` twice
            return False
        if u.quality.score < v.quality.score or u.quality.carried < v.quality.carried:
            return False
        if not (v.targets <= u.targets and v.passed <= u.passed and u.consumed <= v.consumed):
            return False
        kept = self._space.kept_of((feed.term for feed in v.feeds), shared) | u.calls
        if kept.bit_count() > v.size:
            return False
        price, p95 = self._space.cost(kept)
        return price <= v.price and p95 <= v.p95 and self._standins.serves(_value(u), _value(v))

    def _calls_with(
        self, term: Term, fits: dict[tuple[int, int], list[Feed]]
    ) -> Iterator[tuple[Maker, tuple[Feed, ...]]]:
        """Every call that has `term` as an argument and settled terms for the rest."""
        type_ = term.facts.type
        if type_ not in self._uses:
            self._uses[type_] = self._space.graph.uses(type_)
        mine: list[tuple[Maker, int, Feed]] = []
        for maker, slot, path, each in self._uses[type_]:
            if path in term.offers and self._may_feed(term, maker, slot):
                feed = Feed(term, path, each)
                fits.setdefault((maker.index, slot), []).append(feed)
                mine.append((maker, slot, feed))
        for maker, slot, feed in mine:
            choices = [
                [feed] if other == slot else fits.get((maker.index, other), []) for other in range(len(maker.slots))
            ]
            for feeds in itertools.product(*choices):
                if sum(f.each for f in feeds) <= 1 and not _input_twice(feeds):
                    yield maker, feeds

    def _may_feed(self, term: Term, maker: Maker, slot: int) -> bool:
        param = maker.slots[slot]
        if param.name in maker.bound:
            return self._space.graph.source_of(param) in term.sources
        return not (term.sources and term.sources <= self._space.graph.reserved) or (
            maker.refines == slot and len(maker.slots) == 1
        )


def _input_twice(feeds: tuple[Feed, ...]) -> bool:
    given = [(feed.term.name, feed.path) for feed in feeds if feed.term.maker is None]
    return len(set(given)) < len(given)


def _value(term: Term) -> Value:
    return Value(term.facts, term.quality, term.consumed, term.chain, term.passed, term.targets)
