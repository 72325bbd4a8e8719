"""From terms to plans: one term per wanted output, calls in common paid once.

Outputs are decided one after another. A *label* is a partial decision: the calls paid so far, the time, the scores.
Three tests drop labels; none can lose a plan of the front:

- *beaten*: some finished plan is at least as good as the best this label could become;
- *outdone*: another label that keeps the same reusable calls is no worse on price, time and quality;
- *careless*: the calls already paid for hold a better value for an earlier output that would not be later.

With a beam (`width`) the same procedure is a quick heuristic whose finished plans serve the exact pass as rivals.
"""

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
        self._best = [max((t.quality.score for t in terms), default=0.0) for terms in targets]
        self._order = sorted(range(len(targets)), key=lambda i: (len(targets[i]), i))

    def point(self, label: Label) -> tuple[float, float, float, float]:
        """What a finished label is compared on: price, p95 price, time, and quality (negative: less is better)."""
        return label.price, label.p95, label.finish, -self.accuracy.plan(label.scores)

    def run(self, rivals: Front, *, max_nodes: int, width: int | None = None) -> list[Label]:
        """Return the finished labels of the front. Sets `cut` if `max_nodes` or `width` left anything out."""
        labels = [Label(0, 0, 0, 0.0, (None,) * len(self.targets))]
        for stage, slot in enumerate(self._order):
            rest = self._order[stage + 1 :]
            reusable = frozenset[Type]().union(*(self._below[i] for i in rest))
            choices = self._choices(slot, reusable)
            done = frozenset(self._order[:stage])
            grown: list[Label] = []
            for label in labels:
                if self.nodes > max_nodes:
                    self.cut = True
                    break
                grown += self._extended(label, slot, choices, done, rest, rivals)
            labels = self._thinned(grown, reusable, rest)
            if width is not None and len(labels) > width:
                self.cut = True
                labels = self._beam(labels, rest, width)
        return pareto(labels, self.point)

    def _extended(
        self, label: Label, slot: int, choices: tuple[set[int], Sequence[Term]], done: frozenset[int],
        rest: Sequence[int], rivals: Front,
    ) -> list[Label]:  # fmt: skip
        alone, terms = choices
        found = []
        for term in terms:
            if not (term.bit in alone or term.calls & label.calls):
                continue
            self.nodes += 1
            new = self._with(label, slot, term)
            if new is not None and not self._careless(new, done) and not rivals.beats(self._hope(new, rest)):
                found.append(new)
        if self.optional[slot]:
            found.append(label)
        return found

    def _with(self, label: Label, slot: int, term: Term) -> Label | None:
        calls = label.calls | term.calls
        if calls.bit_count() > self.limits.max_steps or term.finish > self.limits.deadline_ms:
            return None
        price, p95 = self.space.cost(term.calls & ~label.calls)
        if label.p95 + p95 > self.limits.budget:
            return None
        picks = (*label.picks[:slot], term, *label.picks[slot + 1 :])
        return Label(calls, label.price + price, label.p95 + p95, max(label.finish, term.finish), picks)

    def _careless(self, label: Label, done: frozenset[int]) -> bool:
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

    def _hope(self, label: Label, rest: Sequence[int]) -> tuple[float, float, float, float]:
        """No way of finishing `label` is better than this on any count."""
        scores = label.scores
        for index in rest:
            scores[index] = self._best[index]
        return label.price, label.p95, label.finish, -self.accuracy.plan(scores)

    def _choices(self, slot: int, reusable: frozenset[Type]) -> tuple[set[int], Sequence[Term]]:
        """The terms for one output, and which of them are worth taking by a label that shares no call with them."""
        terms = sorted(self.targets[slot], key=lambda t: (t.price, t.finish, -t.quality.score, t.bit))
        alone: list[Term] = []
        for term in terms:
            kept = self.space.kept(term.calls, reusable)
            if not any(
                rival.finish <= term.finish
                and rival.quality.score >= term.quality.score
                and rival.p95 <= term.p95
                and rival.size <= term.size
                and kept & ~rival.calls == 0
                for rival in alone
            ):
                alone.append(term)
        return {term.bit for term in alone}, terms

    def _thinned(self, labels: list[Label], reusable: frozenset[Type], rest: Sequence[int]) -> list[Label]:
        groups: dict[int, list[Label]] = {}
        for label in labels:
            groups.setdefault(self.space.kept(label.calls, reusable), []).append(label)
        return [
            label
            for group in groups.values()
            for label in pareto(group, lambda x: (*self._hope(x, rest), x.calls.bit_count() if rest else 0))
        ]

    def _beam(self, labels: list[Label], rest: Sequence[int], width: int) -> list[Label]:
        front = pareto(labels, lambda label: self._hope(label, rest))
        chosen = front[:: max(1, -(-len(front) // width))]
        taken = {id(label) for label in chosen}
        others = sorted((x for x in labels if id(x) not in taken), key=lambda x: self._hope(x, rest))
        return chosen + others[: max(0, width - len(chosen))]
