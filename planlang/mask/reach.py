"""Goal reachability: what it takes, in money and steps, to still produce every requested output.

The type hypergraph has values and demands as nodes and tools as edges: a tool turns its demands, all together, into a
value. The cheapest way to a set of goals with shared parts is NP-hard, so nothing here claims a minimum. A
`Completion` is a concrete sequence of calls that reaches the goals, hence an upper bound that can always be followed.

- `_inside` finds completions of every demand from the inputs by Knuth's generalisation of Dijkstra's algorithm
  (Knuth 1977), merging shared calls; it runs for several rates of exchange between money and steps.
- `_outside` then finds, for every value, the completion of each goal once that value is at hand: plain Dijkstra.
- A `Node` stands for "these completions are known". `after(node, value)` is the node once a step has produced
  `value`: every completion drops the call that would have produced it, and completions through the value are added.

A completion's first call is always possible, and after making it the rest is still known to the next node. So whoever
keeps one affordable completion can never be stuck: that is the whole proof of "no dead ends".
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from catp.planlang.mask.completions import (
    Calls,
    Node,
    ToolGroups,
    best,
    bounds_of,
    improved,
    merge,
    money_of,
    uses,
    without,
)
from catp.planlang.mask.context import Infeasible, MaskContext
from catp.planlang.mask.space import TypeSpace, bits_of
from catp.planlang.money import Money, format_usd
from catp.planlang.types import Type

__all__ = ["Edge", "Reach", "call_edges"]


@dataclass(frozen=True, slots=True)
class Edge:
    """One way to call a tool: the demands it makes, the value it gives, its price."""

    demands: tuple[int, ...]
    value: int
    price: int


class Reach:
    """Reachability for one request."""

    def __init__(self, context: MaskContext, space: TypeSpace) -> None:
        self.context = context
        self.space = space
        self.steps = context.max_steps
        self.money = context.budget if context.budget is not None else 0
        tools = range(len(space.tools))
        priced = [(price, k) for k in tools if (price := context.price(k)) is not None]
        self.prices: tuple[int, ...] = tuple(context.price(k) or 0 for k in tools)
        self._cheapest = _Cheapest(priced)
        self._cheapest_map = _Cheapest([(price * context.width, k) for price, k in priced])
        self._nodes: dict[tuple[tuple[Calls, ...], tuple[tuple[Calls, ...], ...]], Node] = {}
        self._by_value = _grouped((face.value, 1 << k) for k, face in enumerate(space.tools))
        self._kin: dict[Type, list[tuple[int, int]]] = {}
        for value, mask in self._by_value:
            self._kin.setdefault(space.kin(value), []).append((value, mask))
        self._by_mapped = _grouped((face.mapped, 1 << k) for k, face in enumerate(space.tools))
        self._serving: dict[int, list[int]] = {}
        for value, served in enumerate(space.serves):
            for demand in bits_of(served):
                self._serving.setdefault(demand, []).append(value)
        wanted = zip(space.goals, context.tokens.goals, strict=True)
        self._goals = tuple(demand for demand, goal in wanted if not goal.optional)
        self.root, self._through = self._solve(tuple(call_edges(context, space)))
        self._offers = tuple({value: bounds_of(ways) for value, ways in by.items()} for by in self._through)

    def after(self, node: Node, value: int) -> Node:
        """The node once a step has given `value`."""
        found = node.after.get(value)
        if found is None:
            changed = value in node.uses or self._helps(node, value)
            found = node.after[value] = self._changed(node, value) if changed else node
        return found

    def _helps(self, node: Node, value: int) -> bool:
        """True if a completion through `value` beats those known; asked for every value, answered mostly with no."""
        for bounds, offers in zip(node.bounds, self._offers, strict=True):
            for money, steps in offers.get(value, ()):
                for known_money, known_steps in bounds:
                    if known_money <= money and known_steps <= steps:
                        break
                else:
                    return True
        return False

    def _changed(self, node: Node, value: int) -> Node:
        goals = tuple(
            improved(ways, through.get(value, ()), value)
            for ways, through in zip(node.goals, self._through, strict=True)
        )
        if goals == node.goals and not uses(node.total, value):
            return node
        total = best([*(without(calls, value) for calls in node.total), *self._together(goals)])
        return self._node(total, goals)

    def affordable(self, node: Node, money: int, steps: int) -> tuple[int, int]:
        """Bitmasks of tools that may be called, and mapped, next with this much money and so many steps left."""
        if node.tools is None:
            node.tools = (
                _groups((self.after(node, value).need, tools) for value, tools in self._by_value),
                _groups((self.after(node, value).need, tools) for value, tools in self._by_mapped),
            )
        plain, mapped = node.tools
        return (
            self._within(plain, self._cheapest, money, steps - 1),
            self._within(mapped, self._cheapest_map, money, steps - 1),
        )

    def alternatives(self, node: Node, value: int, money: int, steps: int) -> int:
        """Bitmask of tools that may stand beside a call that gives `value`, in a step that starts at `node`."""
        groups = node.other.get(value)
        if groups is None:
            kin = self._kin.get(self.space.kin(value), ())
            shared = ((self.space.common(value, other), tools) for other, tools in kin)
            groups = node.other[value] = _groups(
                (self.after(node, common).need, tools) for common, tools in shared if common >= 0
            )
        return self._within(groups, self._cheapest, money, steps - 1)

    def suffices(self, node: Node, money: int, steps: int) -> bool:
        """True if the goals are known to be reachable from `node` with this much."""
        need = node.need[steps]
        return need is not None and need <= money

    def _within(self, groups: ToolGroups, cheapest: "_Cheapest", money: int, steps: int) -> int:
        allowed = 0
        for need, tools in groups:
            needed = need[steps]
            if needed is not None and needed <= money:
                allowed |= tools & cheapest.upto(money - needed)
        return allowed

    def _solve(self, edges: tuple[Edge, ...]) -> tuple[Node, tuple[dict[int, list[Calls]], ...]]:
        """The node of the inputs, and for each goal the completions through every value."""
        served = self.space.served(self.space.inputs)
        typical = max(1, sum(edge.price for edge in edges) // max(1, len(edges)))
        makers: dict[int, list[Edge]] = {}
        for edge in edges:
            makers.setdefault(edge.value, []).append(edge)
        ways: list[list[Calls]] = [[] for _ in self._goals]
        through: tuple[dict[int, list[Calls]], ...] = tuple({} for _ in self._goals)
        joint: list[Calls] = []
        for rate in (0, typical, typical * 1_000_000):
            inside = self._inside(served, edges, rate)
            for k, goal in enumerate(self._goals):
                if goal in inside:
                    ways[k].append(inside[goal])
                    if len(self._goals) > 1:
                        joint += self._chained(inside[goal], served, edges, rate)
                for value, calls in self._outside(goal, inside, makers, rate).items():
                    through[k].setdefault(value, []).append(calls)
        for goal, found in zip(self._goals, ways, strict=True):
            if not found:
                raise Infeasible(f"no chain of the tools offered turns the inputs into {self.space.demands[goal][1]}")
        known = tuple(best(found) for found in ways)
        root = self._node(best([*joint, *self._together(known)]), known)
        if not self.suffices(root, self.money, self.steps):
            self._explain(root)
        return root, tuple({value: list(best(found)) for value, found in by.items()} for by in through)

    def _explain(self, root: Node) -> None:
        enough = root.need[self.steps]
        if enough is None:
            fewest = min(len(calls) for calls in root.total)
            raise Infeasible(
                f"the outputs take at least {fewest} steps as far as is known, but {self.steps} are allowed"
            )
        raise Infeasible(
            f"the outputs cost at least ${format_usd(Money(enough))} as far as is known, "
            f"but the budget is ${format_usd(Money(self.money))}"
        )

    def _inside(self, served: int, edges: tuple[Edge, ...], rate: int) -> dict[int, Calls]:
        """Completions of demands from the inputs, cheapest first at `rate` nano-USD per step."""
        found: dict[int, Calls] = dict.fromkeys(bits_of(served), ())
        waiting = [sum(demand not in found for demand in edge.demands) for edge in edges]
        users: dict[int, list[int]] = {}
        for k, edge in enumerate(edges):
            for demand in edge.demands:
                users.setdefault(demand, []).append(k)
        ready = [k for k, missing in enumerate(waiting) if missing == 0]
        heap: list[tuple[int, int, Calls, int]] = []
        order, seen = count(), set[int]()
        while ready or heap:
            for k in ready:
                calls: Calls = ()
                for demand in edges[k].demands:
                    calls = merge(calls, found[demand])
                calls = merge(calls, ((edges[k].value, edges[k].price),))
                heappush(heap, (money_of(calls) + rate * len(calls), next(order), calls, edges[k].value))
            _, _, calls, value = heappop(heap)
            ready = []
            if value in seen:
                continue
            seen.add(value)
            for demand in bits_of(self.space.serves[value]):
                if demand not in found:
                    found[demand] = calls
                    for k in users.get(demand, ()):
                        waiting[k] -= 1
                        if waiting[k] == 0:
                            ready.append(k)
        return found

    def _outside(
        self, goal: int, inside: dict[int, Calls], makers: dict[int, list[Edge]], rate: int
    ) -> dict[int, Calls]:
        """For every value, a completion of `goal` that uses it."""
        order = count()
        heap: list[tuple[int, int, Calls, int]] = [(0, 0, (), goal)]
        closed: set[int] = set()
        found: dict[int, Calls] = {}
        while heap:
            _, _, rest, demand = heappop(heap)
            if demand in closed:
                continue
            closed.add(demand)
            for value in self._serving.get(demand, ()):
                if value in found:
                    continue
                found[value] = rest
                for edge in makers.get(value, ()):
                    for k, entry in enumerate(edge.demands):
                        others = (*edge.demands[:k], *edge.demands[k + 1 :])
                        if entry in closed or any(other not in inside for other in others):
                            continue
                        calls: Calls = ()
                        for other in others:
                            calls = merge(calls, inside[other])
                        calls = merge(merge(calls, ((edge.value, edge.price),)), rest)
                        if len(calls) < self.steps:
                            heappush(heap, (money_of(calls) + rate * len(calls), next(order), calls, entry))
        return found

    def _together(self, goals: tuple[tuple[Calls, ...], ...]) -> list[Calls]:
        """Completions of all goals at once, sharing calls and what calls give besides."""
        together: tuple[Calls, ...] = ((),)
        for goal, ways in zip(self._goals, goals, strict=True):
            found = [merge(calls, way) for calls in together for way in ways]
            found += [calls for calls in together if self._serve(calls, goal)]
            together = best(found)
        return list(together)

    def _serve(self, calls: Calls, goal: int) -> bool:
        return any(self.space.serves[value] >> goal & 1 for value, _ in calls)

    def _chained(self, first: Calls, served: int, edges: tuple[Edge, ...], rate: int) -> list[Calls]:
        """A completion of all goals that starts with `first` and builds the rest on what it gives."""
        inside = self._inside(served | self.space.served(value for value, _ in first), edges, rate)
        if any(goal not in inside for goal in self._goals):
            return []
        calls = first
        for goal in self._goals:
            if not self._serve(calls, goal):
                calls = merge(calls, inside[goal])
        return [calls]

    def _node(self, total: tuple[Calls, ...], goals: tuple[tuple[Calls, ...], ...]) -> Node:
        key = (total, goals)
        found = self._nodes.get(key)
        if found is None:
            found = self._nodes[key] = Node(total, goals, self.steps)
        return found


class _Cheapest:
    """Bitmasks of the tools that cost at most so much."""

    def __init__(self, priced: Iterable[tuple[int, int]]) -> None:
        ordered = sorted(priced)
        self._prices = [price for price, _ in ordered]
        self._masks = [0]
        for _, tool in ordered:
            self._masks.append(self._masks[-1] | 1 << tool)

    def upto(self, money: int) -> int:
        return self._masks[bisect_right(self._prices, money)]


def call_edges(context: MaskContext, space: TypeSpace) -> Iterable[Edge]:
    """The cheapest tool for each way of turning demands into a value."""
    cheapest: dict[tuple[tuple[int, ...], int], int] = {}

    def offer(demands: Iterable[int], value: int, price: int) -> None:
        key = (tuple(sorted(set(demands))), value)
        cheapest[key] = min(price, cheapest.get(key, price))

    everything = (1 << len(space.demands)) - 1
    usable, _ = space.runnable(everything)
    for k, face in enumerate(space.tools):
        price = context.price(k)
        if price is None or not usable >> k & 1:
            continue
        needed = {place: slot.plain for place, slot in enumerate(face.slots) if slot.required and not slot.constants}
        offer(needed.values(), face.value, price)
        for place, slot in enumerate(face.slots):
            if slot.each >= 0:
                rest = (demand for other, demand in needed.items() if other != place)
                offer((*rest, slot.each), face.mapped, price * context.width)
    return (Edge(demands, value, price) for (demands, value), price in cheapest.items())


def _grouped(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    masks: dict[int, int] = {}
    for key, mask in pairs:
        masks[key] = masks.get(key, 0) | mask
    return tuple(masks.items())


def _groups(pairs: Iterable[tuple[tuple[int | None, ...], int]]) -> ToolGroups:
    masks: dict[tuple[int | None, ...], int] = {}
    for need, tools in pairs:
        masks[need] = masks.get(need, 0) | tools
    return tuple(masks.items())
