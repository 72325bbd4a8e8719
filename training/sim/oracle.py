"""The exact oracle: the plan of greatest expected utility among all plans of a case.

Bounds: at most `MAX_RESTORING` restoring calls in a row, each by a different tool; arguments of a join are inputs or
results of calls that are no joins; at most one wanted output is a join's. Nothing else is bounded: no number of calls,
no beam. What the oracle knows is what a planner may know (sizes, labels) and the simulator's distributions; a price
change in mid-run is known to nobody and left out.

Without joins the calls of a plan form a forest over the inputs, and utility adds up over it. With S a set of outputs:

    F(v, S) = best gain of serving S at v or below       = max over A in S served by v itself of gains(A) + G(v, S - A)
    G(v, S) = best gain of serving S below v             = max over T in S holding S's first of B(v, T) + G(v, S - T)
    B(v, T) = best call on v for T                       = max over calls c of F(c, T) - price(c)

A join's two arguments need not lie on one path. Their calls are fixed and paid; given them, the other outputs are again
a sum, in which the fixed calls are free. Pairs of arguments are tried by falling upper bound until none can be better.

A call is skipped if another on the same value is no worse for certain: as likely to succeed, no dearer, and better or
equal in every hidden state (restoring calls only where none may follow).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catp.training.sim.pairs import ranked_pairs
from catp.training.sim.space import MAX_RESTORING, Picks, Space, Value

__all__ = ["Best", "Oracle", "best_plan"]

_NEVER = -math.inf
_NOTHING: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Best:
    """The oracle's plan; `utility` is expected, `pairs` how many pairs of a join's arguments were looked at closely."""

    picks: Picks
    utility: float
    pairs: int = 0


def best_plan(space: Space, alpha: float, scale: float) -> Best:
    """Return the plan of greatest expected utility; raise `ValueError` if there is none, or two outputs are joins'."""
    return Oracle(space, alpha, scale).best()


class Oracle:
    """Solves one case for one objective."""

    def __init__(self, space: Space, alpha: float, scale: float) -> None:
        self.space, self.alpha, self.scale = space, alpha, scale
        self.wanted = space.case.task.wanted
        self._gain = alpha / len(self.wanted)
        self._price = (1.0 - alpha) / scale
        self._children: dict[int, tuple[Value, ...]] = {}
        self._tables: dict[int, _Table] = {}
        self._help: frozenset[int] | None = None
        ends = {tool.capability.returns for tool in space.joins}
        self._joined = [i for i, want in enumerate(self.wanted) if want.type in ends]
        if len(self._joined) > 1:
            raise ValueError("the oracle is exact for at most one output that a join makes")

    def best(self) -> Best:
        """Solve."""
        required = sum(1 << i for i, want in enumerate(self.wanted) if not want.optional)
        optional = ((1 << len(self.wanted)) - 1) & ~required
        joined = sum(1 << i for i in self._joined)
        found: list[Best] = []
        options = [required | some for some in _subsets(optional) if required | some]
        plain = [s for s in options if not s & joined]
        if plain:
            utility, serving = max(((self._forest(s, _NOTHING)[0], s) for s in plain), key=lambda pair: pair[0])
            if utility > _NEVER:
                picks = self._rebuild(serving, _NOTHING)
                found.append(Best(tuple(picks.get(i) for i in range(len(self.wanted))), utility))
        if joined:
            best = self._with_join([s for s in options if s & joined], found[0].utility if found else _NEVER)
            found += [best] if best is not None else []
        if not found:
            raise ValueError(f"no plan makes what {self.space.case.task.id} wants")
        return max(found, key=lambda best: best.utility)

    def children(self, value: Value) -> tuple[Value, ...]:
        """The calls on `value` that may be part of a best plan."""
        key = id(value)
        if key not in self._children:
            self._children[key] = self._pruned(value)
        return self._children[key]

    def _pruned(self, value: Value) -> tuple[Value, ...]:
        kept: list[Value] = []
        for child in sorted(self.space.children(value), key=lambda c: c.price):
            last = not child.chain or len(child.chain) == MAX_RESTORING
            if not (last and any(_no_worse(rival, child) for rival in kept)):
                kept.append(child)
        return tuple(kept)

    def table(self, value: Value) -> "_Table":
        """What can be gained at `value` and below."""
        key = id(value)
        if key not in self._tables:
            self._tables[key] = self._solve(value, _NOTHING)
        return self._tables[key]

    def _solve(self, value: Value, free: frozenset[int]) -> "_Table":
        """The table of `value` when the calls in `free` are paid for already."""
        own = [i for i, want in enumerate(self.wanted) if i not in self._joined and self.space.serves(value, want)]
        score = self._gain * self.space.score(value) if own else 0.0
        via: dict[int, tuple[float, Value]] = dict(self.table(value).via) if free else {}
        for child in self.children(value):
            paid = child.number in free
            if free and not paid:
                continue  # as in the table without free calls
            below = self._solve(child, free) if paid else self.table(child)
            price = 0.0 if paid else self._price * child.price
            for serving, entry in below.best.items():
                gain = entry[0] - price
                if serving and (serving not in via or gain > via[serving][0]):
                    via[serving] = (gain, child)
        best: dict[int, tuple[float, int]] = {}
        split: dict[int, tuple[float, int]] = {0: (0.0, 0)}
        reach = sum(1 << i for i in own)
        for serving in via:
            reach |= serving
        own_mask = sum(1 << i for i in own)
        for serving in _subsets(reach):
            if serving:
                low = serving & -serving
                options = (
                    (via[part][0] + split[serving & ~part][0], part)
                    for part in _subsets(serving)
                    if part & low and part in via and (serving & ~part) in split
                )
                top = max(options, default=None, key=lambda pair: pair[0])
                if top is not None:
                    split[serving] = top
            here = (
                (score * at.bit_count() + split[serving & ~at][0], at)
                for at in _subsets(serving & own_mask)
                if (serving & ~at) in split
            )
            chosen = max(here, default=None, key=lambda pair: pair[0])
            if chosen is not None:
                best[serving] = chosen
        return _Table(best, split, via)

    def _forest(self, serving: int, free: frozenset[int]) -> tuple[float, list[tuple[Value, int]]]:
        """The best utility of serving these outputs from all inputs, and which input serves which."""
        roots = self.space.inputs
        tables = [self._solve(root, free) if free else self.table(root) for root in roots]
        found: tuple[float, list[tuple[Value, int]]] = (_NEVER, [])
        for shares in _divided(serving, len(roots)):
            if all(share in table.best for share, table in zip(shares, tables, strict=True)):
                total = sum(table.best[share][0] for share, table in zip(shares, tables, strict=True))
                if total > found[0]:
                    found = (total, list(zip(roots, shares, strict=True)))
        return found

    def _rebuild(self, serving: int, free: frozenset[int]) -> dict[int, Value]:
        picks: dict[int, Value] = {}
        for root, share in self._forest(serving, free)[1]:
            self._collect(root, share, free, picks)
        return picks

    def _collect(self, value: Value, serving: int, free: frozenset[int], picks: dict[int, Value]) -> None:
        paid = value.tool is None or value.number in free
        table = self._solve(value, free) if free and paid else self.table(value)
        at = table.best[serving][1]
        for i in range(len(self.wanted)):
            if at >> i & 1:
                picks[i] = value
        rest = serving & ~at
        while rest:
            part = table.split[rest][1]
            self._collect(table.via[part][1], part, free, picks)
            rest &= ~part

    def _helpful(self) -> frozenset[int]:
        """The calls that some output other than the joined one can use."""
        if self._help is None:
            found = (v for v in self._reachable() if v.tool is not None and any(s for s in self.table(v).best if s))
            self._help = frozenset(value.number for value in found)
        return self._help

    def _most(self, index: int) -> float:
        """The most that an output can gain, whatever it costs."""
        scores = (self.space.score(v) for v in self._reachable() if self.space.serves(v, self.wanted[index]))
        return self._gain * max(scores, default=0.0)

    def _reachable(self) -> list[Value]:
        """Every value that may be part of a best plan, joins left out."""
        found = list(self.space.inputs)
        for value in found:  # grows while it is walked
            found += self.children(value)
        return found

    def _with_join(self, options: Sequence[int], incumbent: float) -> Best | None:
        """The best plan that includes the joined output, if it is better than `incumbent`."""
        index = self._joined[0]
        others = [s & ~(1 << index) for s in options]
        ceiling = max(self._forest(s, _NOTHING)[0] if s else 0.0 for s in others)
        saves = 1.0 if any(others) else 0.0  # fixed calls save the other outputs at most what they cost
        top = max(sum(self._most(i) for i in range(len(self.wanted)) if s >> i & 1) for s in others)
        known: dict[frozenset[int], tuple[float, int]] = {}
        everything = self._reachable()
        tools = [tool for tool in self.space.joins if tool.capability.returns == self.wanted[index].type]
        best: Best | None = None
        looked = 0
        for pair in ranked_pairs(self.space, tools, everything, self._gain, self._price, saves):
            if pair.gain + saves * pair.paid + ceiling <= incumbent:
                break
            if pair.gain + top <= incumbent:
                continue
            looked += 1
            free = frozenset(n for n in pair.u.before | pair.v.before if n in self._helpful())
            if free not in known:
                known[free] = max(
                    ((self._forest(s, free)[0] if s else 0.0, s) for s in others), key=lambda found: found[0]
                )
            utility, serving = pair.gain + known[free][0], known[free][1]
            if utility > incumbent:
                incumbent = utility
                picks = self._rebuild(serving, free) if serving else {}
                picks[index] = self.space.call(pair.tool, (pair.u, pair.v))
                best = Best(tuple(picks.get(i) for i in range(len(self.wanted))), utility, looked)
        return best


@dataclass(frozen=True, slots=True)
class _Table:
    """By set of outputs: `best` (gain, served here), `split` (gain, first part) and `via` (gain, call)."""

    best: dict[int, tuple[float, int]]
    split: dict[int, tuple[float, int]]
    via: dict[int, tuple[float, Value]]


def _subsets(mask: int) -> list[int]:
    """Every subset of a bit set, smaller numbers first."""
    found, sub = [], mask
    while True:
        found.append(sub)
        if not sub:
            return found[::-1]
        sub = (sub - 1) & mask


def _divided(mask: int, parts: int) -> list[tuple[int, ...]]:
    """Every way of dividing a bit set among so many."""
    if parts == 1:
        return [(mask,)]
    return [(sub, *rest) for sub in _subsets(mask) for rest in _divided(mask & ~sub, parts - 1)]


def _no_worse(rival: Value, value: Value) -> bool:
    """True if `rival`, a call on the same value, is at least as good whatever is made of either."""
    if rival.type != value.type or rival.state.units != value.state.units or bool(rival.chain) != bool(value.chain):
        return False
    return (
        rival.price <= value.price
        and rival.works == value.works
        and bool(np.all(rival.state.quality >= value.state.quality))
        and bool(np.all(rival.state.severity <= value.state.severity))
    )
