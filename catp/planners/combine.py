"""From terms to plans: one term per wanted output, calls in common paid once.

Outputs are decided one after another. A *label* is a partial decision: the calls paid so far, the time, the scores.
Four tests drop labels; none can lose a plan of the front:

- *beaten*: some finished plan is at least as good as the best this label could become;
- *outdone*: another label that keeps the same reusable calls is no worse on price, time and quality;
- *careless*: the calls already paid for hold a better value for an earlier output that would not be later. So a label
  that picked one reading for the text can never gain from paying for a better one afterwards, which bounds what its
  other outputs can still become;
- *needless*: a call on what is already paid for is as good, as early and as cheap as one that needs more calls.

With a beam (`width`) the same procedure is a quick heuristic whose finished plans serve the exact pass as rivals.
"""

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from catp.planlang.types import Type
from catp.planners.accuracy import AccuracyModel
from catp.planners.front import Front, pareto
from catp.planners.terms import Term, TermSpace

__all__ = ["Combiner", "Label", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The hard constraints: most expected time (ms), most p95 price (nano-USD), most calls."""

    deadline_ms: float
    budget: float
    max_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A decision for some of the outputs; `picks[i]` is None while output i is undecided, or if it is left out."""

    calls: int
    price: int
    p95: int
    finish: float
    picks: tuple[Term | None, ...]

    @property
    def scores(self) -> list[float]:
        """The score of every output, 0 where there is none."""
        return [0.0 if term is None else term.quality.score for term in self.picks]


@dataclass(frozen=True, slots=True)
class _Choice:
    """A candidate for one output: its last call's own prices, whether a label that shares nothing with it may take it,
    whether later outputs may use its last call, and the best score for each decided output among its calls."""

    term: Term
    price: int
    p95: int
    alone: bool
    reusable: bool
    inside: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class _Stage:
    """The decision for one output: which are decided before and after it, and its candidates."""

    slot: int
    done: tuple[int, ...]
    rest: tuple[int, ...]
    reusable: frozenset[Type]
    choices: tuple[_Choice, ...]


@dataclass(frozen=True, slots=True)
class _Bound:
    price: int
    p95: int
    finish: float
    score: float


class Combiner:
    """Combines the candidate terms of all wanted outputs.

    Args:
        space: Where the terms live; prices sets of calls.
        accuracy: Turns scores into the quality of a plan.
        targets: The candidate terms of each output.
        optional: Which outputs may be left out.
        limits: Hard constraints; labels that break one are dropped.
    """

    def __init__(
        self, space: TermSpace, accuracy: AccuracyModel, targets: Sequence[Sequence[Term]],
        optional: Sequence[bool], limits: Limits,
    ) -> None:  # fmt: skip
        self.space, self.accuracy, self.limits = space, accuracy, limits
        self.targets, self.optional = targets, optional
        self.nodes = 0
        self.cut = False
        self._below = [space.graph.ancestors(w.type) for w in space.graph.wanted]
        self._bounds = [self._bound(index) for index in range(len(targets))]
        self._insides: dict[tuple[int, int], float] = {}
        self._ceilings: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
        self._order = sorted(range(len(targets)), key=lambda i: (len(targets[i]), i))

    def _bound(self, index: int) -> "_Bound":
        """The least that output `index` adds to any label, and the best it can be."""
        terms = self.targets[index]
        others = frozenset[Type]().union(*(below for i, below in enumerate(self._below) if i != index))
        own = [self.space.own(term) if term.facts.type not in others else (0, 0) for term in terms]
        return _Bound(
            min((price for price, _ in own), default=0),
            min((p95 for _, p95 in own), default=0),
            min((term.finish for term in terms), default=0.0),
            max((term.quality.score for term in terms), default=0.0),
        )

    def point(self, label: Label) -> tuple[float, float, float, float]:
        """What a finished label is compared on: price, p95 price, time, and quality (negative: less is better)."""
        return label.price, label.p95, label.finish, -self.accuracy.plan(label.scores)

    def run(self, rivals: Front, *, max_nodes: int, width: int | None = None) -> list[Label]:
        """Return the finished labels of the front. Sets `cut` if `max_nodes` or `width` left anything out."""
        labels = [Label(0, 0, 0, 0.0, (None,) * len(self.targets))]
        for number, slot in enumerate(self._order):
            stage = self._stage(slot, self._order[:number], self._order[number + 1 :])
            grown: list[Label] = []
            for label in labels:
                if self.nodes > max_nodes and grown:  # every stage takes one label at least, so that plans come out
                    self.cut = True
                    break
                grown += self._extended(label, stage, rivals)
            labels = self._thinned(grown, stage)
            if width is not None and len(labels) > width:
                self.cut = True
                labels = self._beam(labels, stage, width)
        return pareto(labels, self.point)

    def _stage(self, slot: int, done: Sequence[int], rest: Sequence[int]) -> "_Stage":
        reusable = frozenset[Type]().union(*(self._below[i] for i in rest))
        alone: list[Term] = []
        choices = []
        for term in sorted(self.targets[slot], key=lambda t: (t.price, t.finish, -t.quality.score, t.bit)):
            kept = self.space.kept(term, reusable)
            on_its_own = not any(
                rival.finish <= term.finish
                and rival.quality.score >= term.quality.score
                and rival.p95 <= term.p95
                and rival.size <= term.size
                and kept & ~rival.calls == 0
                for rival in alone
            )
            if on_its_own:
                alone.append(term)
            inner = tuple((i, self._inside(term, i)) for i in done if self._inside(term, i) > 0)
            choices.append(_Choice(term, *self.space.own(term), on_its_own, term.facts.type in reusable, inner))
        return _Stage(slot, tuple(done), tuple(rest), reusable, tuple(choices))

    def _inside(self, term: Term, index: int) -> float:
        """The best score for output `index` among the calls that `term` needs."""
        key = (term.bit, index)
        if key not in self._insides:
            scores = (t.quality.score for t in self.space.members(term.calls) if index in t.targets)
            self._insides[key] = max(scores, default=0.0)
        return self._insides[key]

    def _extended(self, label: Label, stage: "_Stage", rivals: Front) -> list[Label]:
        ready = [c for c in stage.choices if c.term.calls & ~label.calls in (0, 1 << c.term.bit)]
        found = []
        for choice in stage.choices:
            term = choice.term
            if not (choice.alone or term.calls & label.calls):
                continue
            self.nodes += 1
            if self._regrets(label, choice) or self._needless(label, choice, ready):
                continue
            new = self._with(label, stage.slot, term)
            if new is not None and not self._careless(new, stage.done) and not rivals.beats(self._hope(new, stage)):
                found.append(new)
        if self.optional[stage.slot]:
            found.append(label)
        return found

    def _regrets(self, label: Label, choice: "_Choice") -> bool:
        """True if `choice` would pay for a better value than one that was already decided on."""
        for index, score in choice.inside:
            pick = label.picks[index]
            if pick is not None and score > pick.quality.score:
                return True
        return False

    def _needless(self, label: Label, choice: "_Choice", ready: Sequence["_Choice"]) -> bool:
        term = choice.term
        if choice.reusable or term.calls & ~label.calls in (0, 1 << term.bit):
            return False
        finish = max(label.finish, term.finish)
        return any(
            other.price <= choice.price
            and other.p95 <= choice.p95
            and other.term.quality.score >= term.quality.score
            and other.term.finish <= finish
            for other in ready
        )

    def _with(self, label: Label, slot: int, term: Term) -> Label | None:
        calls = label.calls | term.calls
        if calls.bit_count() > self.limits.max_steps or term.finish > self.limits.deadline_ms:
            return None
        price, p95 = self.space.cost(term.calls & ~label.calls)
        if label.p95 + p95 > self.limits.budget:
            return None
        picks = (*label.picks[:slot], term, *label.picks[slot + 1 :])
        return Label(calls, label.price + price, label.p95 + p95, max(label.finish, term.finish), picks)

    def _careless(self, label: Label, done: Sequence[int]) -> bool:
        for index in done:
            pick = label.picks[index]
            if pick is None:
                continue
            for term in self.space.members(label.calls):
                if (
                    index in term.targets
                    and term.quality.score > pick.quality.score
                    and term.finish <= label.finish
                    and term.calls & ~label.calls == 0
                ):
                    return True
        return False

    def _hope(self, label: Label, stage: "_Stage") -> tuple[float, float, float, float]:
        """No way of finishing `label` is better than this on any count."""
        scores = label.scores
        price, p95, finish = label.price, label.p95, label.finish
        for index in stage.rest:
            bound = self._bounds[index]
            scores[index] = bound.score
            for done in (*stage.done, stage.slot):
                pick = label.picks[done]
                if pick is not None:
                    scores[index] = min(scores[index], self._ceiling(index, done, pick.quality.score))
            if not self.optional[index]:
                price, p95, finish = price + bound.price, p95 + bound.p95, max(finish, bound.finish)
        return price, p95, finish, -self.accuracy.plan(scores)

    def _ceiling(self, index: int, done: int, score: float) -> float:
        """The best score for output `index` without paying for a better value of output `done` than `score`."""
        key = (index, done)
        if key not in self._ceilings:
            pairs = sorted((self._inside(term, done), term.quality.score) for term in self.targets[index])
            tops = list(itertools.accumulate((top for _, top in pairs), max))
            self._ceilings[key] = [inside for inside, _ in pairs], tops
        insides, tops = self._ceilings[key]
        position = bisect_right(insides, score)
        return tops[position - 1] if position else 0.0

    def _thinned(self, labels: list[Label], stage: "_Stage") -> list[Label]:
        groups: dict[int, list[Label]] = {}
        for label in labels:
            picks = [term for term in label.picks if term is not None]
            groups.setdefault(self.space.kept_of(picks, stage.reusable), []).append(label)
        return [
            label
            for group in groups.values()
            for label in pareto(group, lambda x: (*self.point(x), x.calls.bit_count() if stage.rest else 0))
        ]

    def _beam(self, labels: list[Label], stage: "_Stage", width: int) -> list[Label]:
        front = pareto(labels, lambda label: self._hope(label, stage))
        chosen = front[:: max(1, -(-len(front) // width))]
        taken = {id(label) for label in chosen}
        others = sorted((x for x in labels if id(x) not in taken), key=lambda x: self._hope(x, stage))
        return chosen + others[: max(0, width - len(chosen))]
