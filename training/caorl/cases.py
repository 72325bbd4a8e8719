"""Training examples before augmentation: one input with its measured plans, all in numbers.

    trajectories + requests -> Case: the request as the prompt shows it, and per plan (`Branch`) its token ids, what the
    decode mask allowed at each of them, what was known of its steps, and what came out

Ids name tools by their position in `Case.view.tools`; slots are drawn when an example is made.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from catp.planlang.errors import PlanError
from catp.planlang.mask.automaton import PlanMask
from catp.planlang.mask.context import Infeasible
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.vocabulary import Vocabulary
from catp.planners.protocol import PlanRequest
from catp.training.data.trajectory import Trajectory, nano
from catp.training.prompt.ask import Ask, Told, goal_weights
from catp.training.prompt.view import RequestView

__all__ = ["Branch", "Case", "CaseMaker", "allowed_before"]


@dataclass(frozen=True)
class Branch:
    """One measured plan.

    `allowed` is the mask before each of `told.ids`. `parts` are the measured scores of `told.outputs` (nan: not known
    by itself). `paid` is what each step really cost, nano-USD, `price` all of it.
    """

    id: str
    told: Told
    allowed: tuple[int, ...]
    parts: tuple[float, ...]
    paid: tuple[float, ...]
    score: float
    price: float
    latency_ms: float

    @property
    def tools(self) -> frozenset[int]:
        """Positions of the tools it uses."""
        return frozenset(step.tool for step in self.told.steps)


@dataclass(frozen=True)
class Case:
    """One input and its measured plans; `scale` (nano-USD) is the price that weighs as much as quality 1."""

    id: str
    group: str
    view: RequestView
    branches: tuple[Branch, ...]
    scale: float
    split: Mapping[str, str]

    @property
    def weights(self) -> tuple[float, ...]:
        """The share of each wanted output in the score."""
        return goal_weights([goal.optional for goal in self.view.goals])


@dataclass
class CaseMaker:
    """Makes cases of trajectories, set by set; `left_out` counts by reason what could not be told.

    Args:
        request_of: the planning request of a set's first record, None if there is none.
        vocabulary: the plan tokens.
        plan_of: the plan of a record; by default its text.
    """

    request_of: Callable[[Trajectory], PlanRequest | None]
    vocabulary: Vocabulary
    plan_of: Callable[[Trajectory], Plan] = lambda record: parse(record.plan.text or "")
    left_out: Counter[str] = field(default_factory=Counter)

    def cases(self, records: Iterable[Trajectory]) -> Iterator[Case]:
        """Yield a case per candidate set; records come set by set."""
        for _, group in groupby(records, key=lambda record: record.candidate_set):
            found = self._case(list(group))
            if found is not None:
                yield found

    def _case(self, records: Sequence[Trajectory]) -> Case | None:
        first = records[0]
        request = self.request_of(first)
        scale = first.objective.price_scale_usd
        if request is None or scale is None:
            self.left_out["no request or no price scale"] += len(records)
            return None
        try:
            ask = Ask.of(request, self.vocabulary)
            mask = ask.mask()
        except Infeasible:
            self.left_out["no plan is known to do it"] += len(records)
            return None
        branches: dict[tuple[int, ...], Branch] = {}
        for record in records:
            found = self._branch(record, ask, mask)
            if found is not None:
                branches.setdefault(found.told.ids, found)
        if not branches:
            return None
        split = {} if first.split is None else {k: v for k, v in first.split.model_dump().items() if v is not None}
        return Case(first.candidate_set, first.group, ask.view, tuple(branches.values()), float(nano(scale)), split)

    def _branch(self, record: Trajectory, ask: Ask, mask: PlanMask) -> Branch | None:
        score, price = record.outcome.score, record.outcome.price_usd
        if score is None or price is None:
            self.left_out["no score" if score is None else "no price"] += 1
            return None
        if not 0.0 <= score <= 1.0 and record.outcome.score_suspect:
            self.left_out["suspect score off the scale"] += 1
            return None
        if not 0.0 <= score <= 1.0:
            raise ValueError(
                f"{record.trajectory_id}: outcome.score {score} is not in [0, 1]; run catp data validate on the file"
            )
        try:
            plan = self.plan_of(record)
            told = ask.tell(plan)
            allowed = allowed_before(mask, told.ids)
        except (PlanError, ValueError, KeyError) as error:
            self.left_out[f"plan: {type(error).__name__}"] += 1
            return None
        return Branch(
            record.trajectory_id, told, allowed, _parts(record, ask, told), _paid(record, plan), float(score),
            float(nano(price)), math.nan if record.outcome.latency_ms is None else record.outcome.latency_ms,
        )  # fmt: skip


def allowed_before(mask: PlanMask, ids: Sequence[int]) -> tuple[int, ...]:
    """Return the mask before each id of a plan.

    Raises:
        ValueError, KeyError, PlanError: the mask does not let this plan be written.
    """
    return tuple(_allowed(mask, ids))


def _allowed(mask: PlanMask, ids: Sequence[int]) -> Iterator[int]:
    """The mask before each id; `advance` runs over forced ids by itself, which had no alternative."""
    state = mask.start()
    forced: Iterator[int] = iter(())
    for number in ids:
        ahead = next(forced, None)
        if ahead is not None:
            if ahead != number:
                raise ValueError("the mask forces another token")
            yield 1 << number
            continue
        yield mask.allowed(state)
        state, run = mask.advance(state, number)
        forced = iter(run)


def _parts(record: Trajectory, ask: Ask, told: Told) -> tuple[float, ...]:
    known = record.outcome.quality_parts or {}
    return tuple(known.get(ask.context.goals[goal].name, math.nan) for goal in (output.goal for output in told.outputs))


def _paid(record: Trajectory, plan: Plan) -> tuple[float, ...]:
    """What each step cost; nan where a step has no priced event."""
    sums: dict[str, float] = defaultdict(float)
    for event in record.events:
        sums[event.node] += math.nan if event.price_usd is None else float(nano(event.price_usd))
    return tuple(sums.get(step.name, math.nan) for step in plan.steps)
