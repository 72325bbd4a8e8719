"""The figures of a data card: how much there is, of what, and how it spreads. Pure functions over candidate sets.

Prices are decimal strings of US dollars to three digits: a figure is for reading. Shares are in [0, 1]. None says that
the data do not tell.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from catp.planlang.money import Money, format_usd
from catp.training.data.card_tally import Tally
from catp.training.evaluate.candidates import CandidateSet, Floats

__all__ = [
    "Concurrency", "Counts", "Distribution", "PriceRange", "Range", "Variance", "concurrency", "counts",
    "distributions", "families", "price_range", "price_text", "variance",
]  # fmt: skip

_FAMILIES = 7
"""More kinds of task than this cannot be told apart in a picture; then only the inputs tell them apart."""


@dataclass(frozen=True)
class Range:
    """Mean and percentiles of a number."""

    mean: float
    p5: float
    p50: float
    p95: float


@dataclass(frozen=True)
class PriceRange:
    """Mean and percentiles of a price, decimal strings of US dollars."""

    mean_usd: str
    p5_usd: str
    p50_usd: str
    p95_usd: str


@dataclass(frozen=True)
class Counts:
    """How much there is. `plans` are those with a score and a price, equal ones of an input counted once."""

    records: int
    unscored: int
    simulated: int
    not_ok: int
    suspect_scores: int
    with_propensity: int
    tasks: int
    inputs: int
    plans: int
    distinct_plans: int
    tools: int
    toolsets: int
    plans_per_input_mean: float
    plans_per_input_min: int
    plans_per_input_max: int
    inputs_with_one_plan: float
    languages: dict[str, int]
    """Inputs by the language of the request."""
    splits: dict[str, dict[str, int]]
    """Inputs by protocol and side."""


@dataclass(frozen=True)
class Distribution:
    """What plans of one family came to. A family is a kind of task, by its inputs and wanted outputs."""

    family: str
    inputs: int
    plans: int
    score: Range
    price: PriceRange
    latency_ms: Range | None


@dataclass(frozen=True)
class Variance:
    """Where the variance of utility lies, in shares that sum to 1; all None if there is none."""

    alpha: float
    between_tasks: float | None
    between_inputs: float | None
    within_input: float | None


@dataclass(frozen=True)
class Concurrency:
    """Time of a plan's critical path over the time of its calls one after the other, mean over plans."""

    plans: int
    ratio: float
    shortest: float
    """Mean of the tenth of the plans that gain most."""


def price_text(nano: float) -> str:
    """Return nano-USD as decimal US dollars, to three significant digits."""
    if nano == 0:
        return "0"
    digits = max(0, math.floor(math.log10(abs(nano))) - 2)
    return format_usd(Money(round(nano / 10**digits) * 10**digits))


def counts(sets: Sequence[CandidateSet], tally: Tally) -> Counts:
    """Count tasks, inputs, plans, languages and splits. Raises `ValueError` if there are no sets."""
    _some(sets)
    sizes = np.array([len(one) for one in sets])
    splits: dict[str, Counter[str]] = defaultdict(Counter)
    for one in sets:
        for protocol, side in one.split.items():
            splits[protocol][side] += 1
    return Counts(
        records=tally.records,
        unscored=tally.unscored,
        simulated=tally.simulated,
        not_ok=tally.records - tally.statuses["ok"],
        suspect_scores=tally.suspect,
        with_propensity=tally.propensities,
        tasks=len({one.group for one in sets}),
        inputs=len(sets),
        plans=int(sizes.sum()),
        distinct_plans=len({option.plan for one in sets for option in one.options}),
        tools=len({step.tool for one in sets for option in one.options for step in option.steps}),
        toolsets=len(tally.toolsets),
        plans_per_input_mean=float(sizes.mean()),
        plans_per_input_min=int(sizes.min()),
        plans_per_input_max=int(sizes.max()),
        inputs_with_one_plan=float((sizes == 1).mean()),
        languages=_by_count(Counter(one.lang for one in sets if one.lang)),
        splits={name: _sides(found) for name, found in sorted(splits.items())},
    )


def families(sets: Sequence[CandidateSet]) -> list[str]:
    """Name each set's kind of task, in few enough kinds for a picture: the most telling of these that allows it.

    Inputs and wanted outputs; the first word of the task's name (`page` of `page-language`); the inputs. Rare kinds
    are named `others` together. Sets that do not say what is wanted are named by their data set.
    """
    if not all(one.wanted for one in sets):
        return _few([one.dataset for one in sets])
    asked = [f"{_types(one.input_types)} → {', '.join(one.wanted)}" for one in sets]
    if len(set(asked)) <= _FAMILIES:
        return asked
    first_words = [one.group.partition("-")[0] for one in sets]
    telling = 1 < len(set(first_words)) < min(2 * _FAMILIES, len({one.group for one in sets}))
    return _few(first_words if telling else [_types(one.input_types) for one in sets])


def distributions(sets: Sequence[CandidateSet]) -> list[Distribution]:
    """Return score, price and latency by family, the largest family first."""
    members: dict[str, list[CandidateSet]] = defaultdict(list)
    for name, one in zip(families(sets), sets, strict=True):
        members[name].append(one)
    found = []
    for name, group in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        latency = [option.latency_ms for one in group for option in one.options if math.isfinite(option.latency_ms)]
        scores = np.concatenate([one.scores for one in group])
        prices = np.concatenate([one.prices for one in group])
        times = _range(latency) if latency else None
        found.append(Distribution(name, len(group), len(scores), _range(scores), price_range(prices), times))
    return found


def variance(sets: Sequence[CandidateSet], alpha: float) -> Variance:
    """Split the variance of utility over all plans: between tasks, between inputs of a task, within an input.

    Sums of squares, as in a nested analysis of variance: each plan weighs the same.
    """
    _some(sets)
    values = [one.utility(alpha) for one in sets]
    everything = np.concatenate(values)
    total = float(((everything - everything.mean()) ** 2).sum())
    if total <= 1e-18 * max(1, len(everything)):
        return Variance(alpha, None, None, None)
    tasks: dict[str, list[Floats]] = defaultdict(list)
    for one, mine in zip(sets, values, strict=True):
        tasks[one.group].append(mine)
    within = sum(float(((mine - mine.mean()) ** 2).sum()) for mine in values)
    inside = sum(float(((joined - joined.mean()) ** 2).sum()) for joined in map(np.concatenate, tasks.values()))
    return Variance(alpha, (total - inside) / total, (inside - within) / total, within / total)


def concurrency(sets: Sequence[CandidateSet]) -> Concurrency | None:
    """Return critical path / serial time, None if no plan has both."""
    ratios = np.sort(
        [
            option.latency_ms / option.serial_ms
            for one in sets
            for option in one.options
            if option.serial_ms > 0 and math.isfinite(option.latency_ms)
        ]
    )
    if not len(ratios):
        return None
    return Concurrency(len(ratios), float(ratios.mean()), float(ratios[: max(1, len(ratios) // 10)].mean()))


def _types(types: Iterable[str]) -> str:
    return " + ".join(f"{count} × {name}" if count > 1 else name for name, count in sorted(Counter(types).items()))


def _few(names: list[str]) -> list[str]:
    found = Counter(names).most_common()
    if len(found) <= _FAMILIES:
        return names
    kept = {name for name, _ in found[: _FAMILIES - 1]}
    return [name if name in kept else "others" for name in names]


def _range(values: Floats | list[float]) -> Range:
    p5, p50, p95 = np.quantile(values, [0.05, 0.5, 0.95])
    return Range(float(np.mean(values)), float(p5), float(p50), float(p95))


def price_range(values: Floats | list[float]) -> PriceRange:
    """Return mean and percentiles of prices in nano-USD."""
    found = _range(values)
    return PriceRange(price_text(found.mean), price_text(found.p5), price_text(found.p50), price_text(found.p95))


def _by_count(found: Counter[str]) -> dict[str, int]:
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _sides(found: Counter[str]) -> dict[str, int]:
    return {side: found[side] for side in ("train", "val", "test") if side in found}


def _some(sets: Sequence[CandidateSet]) -> None:
    if not sets:
        raise ValueError("no candidate sets: is the file empty, or has nothing been scored and priced?")
