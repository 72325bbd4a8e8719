"""Candidate sets: all measured plans of one input, in a form light enough for a hundred thousand of them.

    CandidateSet   one input: what was asked and seen beforehand, and its `options`
    Option         one measured plan: its steps, and what came out (score, price, latency)

A chooser may look at everything of a set but the outcomes of its options (`score`, `price`, `latency_ms`,
`serial_ms`, and `price`/`ms` of steps): those are known only afterwards. `CandidateSet.hidden()` is the set without
them.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from catp.planlang.money import Money
from catp.training.data.trajectory import Trajectory, nano

__all__ = ["CandidateSet", "Floats", "Option", "StepUse", "candidate_sets"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepUse:
    """One step as it was run: all its calls together. `price` in nano-USD (nan if hidden), `ms` of wall time."""

    tool: str
    parents: tuple[int, ...]
    """Positions of the steps it uses; inputs are not counted."""
    price: float = math.nan
    ms: float = math.nan


@dataclass(frozen=True, slots=True)
class Option:
    """One measured plan of a set. `price` in nano-USD; `score` in [0, 1]; nan where hidden or unknown."""

    id: str
    plan: str
    """The canonical hash of the plan, or a key made of its graph where there is none: equal plans, equal keys."""
    steps: tuple[StepUse, ...]
    score: float = math.nan
    price: float = math.nan
    latency_ms: float = math.nan
    serial_ms: float = math.nan
    ok: bool = True
    propensity: float | None = None
    policy: str | None = None
    score_suspect: bool = False
    text: str = ""
    """The plan in the plan language, where the record has it: for choosers that read plans."""

    @property
    def tools(self) -> tuple[str, ...]:
        """The tools in step order."""
        return tuple(step.tool for step in self.steps)


@dataclass(frozen=True)
class CandidateSet:
    """One input and its measured plans.

    `group` is the task. `sizes` are units per input, `conditions` what a look at each says. `price_scale` (nano-USD)
    is the price that weighs as much as quality 1 at alpha 0.5. `split` maps protocol (`name`, `inputs`, `phrasing`)
    to side.
    """

    id: str
    group: str
    dataset: str
    options: tuple[Option, ...]
    price_scale: Money
    text: str = ""
    lang: str = ""
    wanted: tuple[str, ...] = ()
    input_types: tuple[str, ...] = ()
    sizes: tuple[int | None, ...] = ()
    conditions: tuple[str, ...] = ()
    split: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.options)

    @property
    def scores(self) -> Floats:
        """Score of each option."""
        return np.array([option.score for option in self.options])

    @property
    def prices(self) -> Floats:
        """Price of each option, nano-USD."""
        return np.array([option.price for option in self.options])

    def utility(self, alpha: float) -> Floats:
        """Return `alpha * score - (1 - alpha) * price / price_scale` of each option (QoP of CATP-LLM, eq. 1)."""
        return alpha * self.scores - (1 - alpha) * self.prices / self.price_scale

    def hidden(self) -> "CandidateSet":
        """Return the set without outcomes: what a chooser may know."""
        bare = tuple(
            replace(
                option,
                steps=tuple(replace(step, price=math.nan, ms=math.nan) for step in option.steps),
                score=math.nan,
                price=math.nan,
                latency_ms=math.nan,
                serial_ms=math.nan,
                ok=True,
            )
            for option in self.options
        )
        return replace(self, options=bare)


def candidate_sets(records: Iterable[Trajectory], *, price_scale: Money | None = None) -> Iterator[CandidateSet]:
    """Group records, which must come set by set as all our files do, into candidate sets.

    Records without a score or a price are left out, and of equal plans only the first is kept. `price_scale` stands in
    where the records name none.

    Raises:
        ValueError: no price scale is known for a record, or a set's records are not together.
    """
    seen: set[str] = set()
    for key, group in groupby(records, key=lambda record: record.candidate_set):
        if key in seen:
            raise ValueError(f"candidate set {key!r} is not in one piece; sort the file by candidate_set")
        seen.add(key)
        found = _set(list(group), price_scale)
        if found is not None:
            yield found


def _set(records: list[Trajectory], price_scale: Money | None) -> CandidateSet | None:
    options: dict[str, Option] = {}
    for record in records:
        if record.outcome.score is not None and record.outcome.price_usd is not None:
            option = _option(record)
            options.setdefault(option.plan, option)
    if not options:
        return None
    first = records[0]
    scale = first.objective.price_scale_usd
    nano_scale = nano(scale) if scale is not None else price_scale
    if not nano_scale:
        raise ValueError(f"{first.trajectory_id}: no objective.price_scale_usd, and none was given")
    request = first.request
    return CandidateSet(
        first.candidate_set, first.group, first.dataset, tuple(options.values()), nano_scale, request.text or "",
        request.lang or "", tuple(request.wanted), tuple(i.type for i in request.inputs),
        tuple(i.units for i in request.inputs), tuple(i.condition or "" for i in request.inputs),
        {} if first.split is None else {k: v for k, v in first.split.model_dump().items() if v is not None},
    )  # fmt: skip


def _option(record: Trajectory) -> Option:
    outcome, used = record.outcome, _steps(record)
    price = math.nan if outcome.price_usd is None else float(nano(outcome.price_usd))
    return Option(
        record.trajectory_id, record.plan.canonical_hash or _key(used), used, _number(outcome.score), price,
        _number(outcome.latency_ms), _number(outcome.serial_ms), outcome.status in ("ok", "degraded"),
        record.policy.propensity, record.policy.name, outcome.score_suspect, record.plan.text or "",
    )  # fmt: skip


def _steps(record: Trajectory) -> tuple[StepUse, ...]:
    place = {node.id: number for number, node in enumerate(record.plan.nodes)}
    parents: dict[str, list[int]] = {node.id: [] for node in record.plan.nodes}
    for edge in record.plan.edges:
        if edge[0] in place and edge[1] in parents:
            parents[edge[1]].append(place[edge[0]])
    prices: dict[str, float] = dict.fromkeys(place, 0.0)
    times: dict[str, float] = dict.fromkeys(place, 0.0)
    for event in record.events:
        prices[event.node] += math.nan if event.price_usd is None else float(nano(event.price_usd))
        times[event.node] += event.end_ms - event.start_ms
    return tuple(
        StepUse(node.tool, tuple(parents[node.id]), prices[node.id], times[node.id]) for node in record.plan.nodes
    )


def _key(steps: tuple[StepUse, ...]) -> str:
    """Tell plans without a hash apart by their graph: step order does not matter, what feeds what does."""
    names: list[str] = []
    for step in steps:  # plans list parents before children
        names.append(_digest([step.tool, *sorted(names[parent] for parent in step.parents)]))
    return _digest(sorted(names))


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
