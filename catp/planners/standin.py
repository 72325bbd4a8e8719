"""Whether one value can stand in for another of the same type and sources, whatever is made from either.

Equal facts are enough, but rare: every restoring tool leaves its own condition label on a page, and most labels make no
difference to any reader. So values are compared by what can be made from them: every call on `v` must be matched by the
same call on `u`, no dearer, no later and no worse, and so on for what is made from the results. A restoring call on `v`
may also be matched by `u` as it is: a page that was cleaned well need not be cleaned again to serve as well as one that
was cleaned twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from catp.planlang.nodes import Ref
from catp.planlang.passes.estimate import Assumptions
from catp.planlang.passes.facts import facts_of
from catp.planlang.registry_view import CallEstimate, ValueFacts
from catp.planlang.types import Type
from catp.planners.accuracy import AccuracyModel, ValueQuality
from catp.planners.typegraph import Maker, Passed, Path, TypeGraph, closed

__all__ = ["StandIns", "Value"]

_LIST_COUNT = Assumptions().list_count


@dataclass(frozen=True, slots=True)
class Value:
    """What matters of a value to what is made from it: its facts and quality, the types consumed on the way, the
    refining tools in a row, the steps it passed that some wanted output has to pass, and which outputs it can be."""

    facts: ValueFacts
    quality: ValueQuality
    consumed: frozenset[Type]
    chain: frozenset[str]
    passed: frozenset[Passed]
    targets: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Made:
    value: Value
    price: int
    p95: int
    ms: float


class StandIns:
    """Compares values of one request.

    Args:
        graph: Which tools can use a value.
        accuracy: Rates results.
        estimate: The estimate of a call.
        prices: Expected and p95 price of a call by its estimate; None if plans may not contain it.
        max_refine: Most refining calls in a row.
    """

    def __init__(
        self,
        graph: TypeGraph,
        accuracy: AccuracyModel,
        estimate: Callable[[Maker, Mapping[str, ValueFacts]], CallEstimate],
        prices: Callable[[CallEstimate], tuple[int, int] | None],
        max_refine: int,
    ) -> None:
        self._graph, self._accuracy, self._estimate, self._prices = graph, accuracy, estimate, prices
        self._max_refine = max_refine
        self._uses: dict[Type, list[tuple[Maker, int, Path, bool]]] = {}
        self._known: dict[tuple[Value, Value], bool] = {}

    def serves(self, u: Value, v: Value) -> bool:
        """True if `u` serves every purpose of `v`. Both have the same type and derive from the same inputs."""
        if (
            u.quality.score < v.quality.score
            or u.quality.carried < v.quality.carried
            or not v.targets <= u.targets
            or not v.passed <= u.passed
            or not u.consumed <= v.consumed
        ):
            return False
        if u.facts == v.facts and u.chain <= v.chain:
            return True
        key = (u, v)
        if key not in self._known:
            type_ = v.facts.type
            if type_ not in self._uses:
                self._uses[type_] = self._graph.uses(type_)
            self._known[key] = all(self._matched(u, v, maker, path, each) for maker, _, path, each in self._uses[type_])
        return self._known[key]

    def _matched(self, u: Value, v: Value, maker: Maker, path: Path, each: bool) -> bool:
        """True if what `maker` makes of `v` can be had from `u`."""
        if self._closed(v, maker, path):
            return True
        if each or len(maker.slots) > 1:  # what the other arguments are would have to be known
            return False
        of_v = self._made(v, maker, path)
        if of_v is None or (maker.refines is not None and self.serves(u, of_v.value)):
            return True
        of_u = None if self._closed(u, maker, path) else self._made(u, maker, path)
        return (
            of_u is not None
            and of_u.price <= of_v.price
            and of_u.p95 <= of_v.p95
            and of_u.ms <= of_v.ms
            and self.serves(of_u.value, of_v.value)
        )

    def _closed(self, value: Value, maker: Maker, path: Path) -> bool:
        """True if no plan calls `maker` on this part of `value`."""
        if any(p == path and closed(t, value.consumed) for p, t in self._graph.carried(value.facts.type)):
            return True
        if maker.refines is None or len(maker.slots) > 1:
            return False
        return bool(path) or maker.sig.name in value.chain or len(value.chain) >= self._max_refine

    def _made(self, value: Value, maker: Maker, path: Path) -> _Made | None:
        param = maker.slots[0]
        given = facts_of(Ref("x", path), {"x": value.facts}, self._graph.types, _LIST_COUNT)
        estimate = self._estimate(maker, {param.name: given})
        prices = self._prices(estimate)
        if prices is None:
            return None
        refines = maker.refines is not None
        result = ValueFacts(maker.sig.returns, estimate.output.size, estimate.output.condition)
        made = Value(
            result,
            self._accuracy.call(estimate, {param.name: (given, value.quality)}),
            value.consumed if refines else value.consumed | {given.type.required},
            value.chain | {str(maker.sig.name)} if refines else frozenset(),
            self._graph.passed(maker, value.passed),
            # the same inputs on both sides, so whether they are the wanted ones makes no difference
            frozenset(i for i, w in enumerate(self._graph.wanted) if self._graph.could_be(maker, result.type, w)),
        )
        return _Made(made, *prices, estimate.latency.expected_ms)
