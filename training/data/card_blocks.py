"""The computed blocks of a data card, as Markdown: one per name, each with its picture if there is one.

figures = figures_of(sets, tally, tools)
blocks(figures, {"tradeoff"})["tradeoff"]     # the table, and a link to card/tradeoff.svg
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from catp.training.data.card_figures import (
    Concurrency,
    Counts,
    Distribution,
    PriceRange,
    Range,
    Variance,
    concurrency,
    counts,
    distributions,
    variance,
)  # fmt: skip
from catp.training.data.card_tally import Shape, Tally
from catp.training.data.card_tools import Condition, ToolSpread, conditions, tool_spreads
from catp.training.data.card_tradeoff import RULES, Point, TradeOff, trade_off
from catp.training.data.toolset import ToolInfo
from catp.training.evaluate.candidates import CandidateSet

__all__ = ["BLOCKS", "Figures", "blocks", "figures_of"]

BLOCKS = ("counts", "shape", "distribution", "tradeoff", "capabilities", "conditions", "variance", "concurrency")
"""Names of the computed blocks, in the order of the card."""

_ALPHA = 0.8
_SHOWN_ALPHAS = (0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
_TOOLS, _CONDITIONS = 60, 30
_MICRO = "10⁻⁶ US dollars"


@dataclass(frozen=True)
class Figures:
    """All figures of a card."""

    counts: Counts
    shape: Shape
    distribution: list[Distribution]
    tradeoff: TradeOff | None
    capabilities: list[ToolSpread]
    conditions: list[Condition]
    variance: list[Variance]
    concurrency: Concurrency | None
    licenses: dict[str, int]
    hardware: dict[str, int]
    metrics: dict[str, int]
    extracts: dict[str, int]
    """Files that hold a part of what is counted, and their records."""


def figures_of(
    sets: Sequence[CandidateSet], tally: Tally, tools: Mapping[str, ToolInfo], extracts: Mapping[str, int] | None = None
) -> Figures:
    """Compute all figures; raise `ValueError` if there are no sets."""
    return Figures(
        counts(sets, tally), tally.shape(), distributions(sets), trade_off(sets), tool_spreads(sets, tools),
        conditions(sets, tools, _ALPHA), [variance(sets, alpha) for alpha in (0.5, _ALPHA, 1.0)], concurrency(sets),
        _sorted(tally.licenses), _sorted(tally.hardware), _sorted(tally.metrics),
        dict(extracts or {}),
    )  # fmt: skip


def blocks(figures: Figures, pictures: Collection[str] = ()) -> dict[str, str]:
    """Return the Markdown of each block; `pictures` names those of which there is a `card/NAME.svg`."""
    texts = {
        "counts": _counts(figures),
        "shape": _shape(figures.shape),
        "distribution": _distribution(figures.distribution),
        "tradeoff": _tradeoff(figures.tradeoff),
        "capabilities": _capabilities(figures.capabilities, figures.counts.toolsets),
        "conditions": _conditions(figures.conditions),
        "variance": _variance(figures.variance),
        "concurrency": _concurrency(figures.concurrency),
    }
    return {name: "\n\n".join([texts[name], *_links(name, pictures)]) for name in BLOCKS}


_PICTURES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "shape": (("sizes", "Histograms of plans per input and steps per plan"),),
    "distribution": (
        ("distribution", "Histograms of score, price and latency by family"),
        ("cloud", "Price against score of every plan, and the best plan for each alpha by family"),
    ),
    "tradeoff": (("tradeoff", "Normalised regret of simple rules against alpha, and how often each is best"),),
    "capabilities": (("capabilities", "Price of each tool and what it adds to the score, by capability"),),
    "conditions": (("conditions", "How often the best plan restores the input first, by condition"),),
}


def _links(name: str, pictures: Collection[str]) -> list[str]:
    return [f"![{alt}](card/{file}.svg)" for file, alt in _PICTURES.get(name, ()) if file in pictures]


def _counts(figures: Figures) -> str:
    n = figures.counts
    rows = [
        ("records", f"{n.records:,}"),
        ("tasks / inputs", f"{n.tasks:,} / {n.inputs:,}"),
        ("plans with score and price", f"{n.plans:,}, {n.distinct_plans:,} different"),
        ("plans per input", f"{n.plans_per_input_mean:.1f} ({n.plans_per_input_min} to {n.plans_per_input_max})"),
        ("inputs with one plan", _percent(n.inputs_with_one_plan)),
        ("tools in plans", f"{n.tools:,}, of {n.toolsets:,} toolset{'s' * (n.toolsets != 1)}"),
        ("languages of requests", _tallied(n.languages) or "not recorded"),
        *((f"split by {'task' if name == 'name' else name}", _tallied(sides)) for name, sides in n.splits.items()),
        ("records without score or price", f"{n.unscored:,}"),
        ("records that are not `ok`", f"{n.not_ok:,}"),
        ("records with a suspect score", f"{n.suspect_scores:,}"),
        ("records with a propensity", f"{n.with_propensity:,}"),
        *((f"records in `{name}`, not counted again", f"{count:,}") for name, count in figures.extracts.items()),
        ("metrics", _tallied(figures.metrics) or "not recorded"),
        ("licence", _tallied(figures.licenses) or "not recorded"),
        ("hardware", _tallied(figures.hardware) or "not recorded"),
    ]  # fmt: skip
    table = _table(("", ""), rows)
    if n.simulated:
        which = "All" if n.simulated == n.records else f"{n.simulated:,} of {n.records:,}"
        return f"**Simulated.** {which} records come from a simulator: nothing in them was measured.\n\n{table}"
    return table


def _shape(shape: Shape) -> str:
    kinds = (
        ("chain: one step after the other", shape.chain),
        ("fork: an input or a step that several steps use", shape.fork),
        ("join: a step that uses several steps", shape.join),
        ("map: a step called once per element of a list", shape.map),
        ("optional output", shape.optional),
        ("repeat: a tool in several steps", shape.repeat),
    )
    rows = [(name, "not recorded" if share is None else _percent(share)) for name, share in kinds]
    total = sum(shape.steps.values())
    mean = sum(steps * count for steps, count in shape.steps.items()) / total
    steps = f"Steps per plan: {mean:.1f} on average, {min(shape.steps)} to {max(shape.steps)}."
    return f"{_table((f'share of {shape.plans:,} records', ''), rows)}\n\n{steps}"


def _distribution(found: list[Distribution]) -> str:
    unit = _unit([one.price for one in found])
    rows = [
        (one.family, f"{one.inputs:,}", f"{one.plans:,}", _range(one.score, ".2f"), _prices(one.price, unit),
         _range(one.latency_ms, ",.0f") if one.latency_ms else "not recorded")
        for one in found
    ]  # fmt: skip
    head = ("family", "inputs", "plans", "score", f"price, {unit}", "latency, ms")
    return _table(head, rows) + "\n\nMean (5 %, 50 %, 95 %) over plans."


def _tradeoff(found: TradeOff | None) -> str:
    if found is None:
        return "No input has two plans: there is nothing to choose."
    alphas = [alpha for alpha in _SHOWN_ALPHAS if alpha in found.alphas]
    head = ("alpha", *RULES)
    regrets = [(f"{alpha:g}", *(_point(found.at(rule, alpha)) for rule in RULES)) for alpha in alphas]
    best = [(f"{alpha:g}", *(_percent(found.at(rule, alpha).best) for rule in RULES)) for alpha in alphas]
    gap = found.at("best fixed plan", _ALPHA)
    about = (
        f"Over {found.inputs:,} inputs of {found.tasks:,} tasks that have two or more plans. Prices and scores are "
        "those of the records, which no planner knows: the figures describe the data. *Normalised regret* is what a "
        "rule loses to the best plan of each input, as a share of what the worst one loses; in brackets the 95 % "
        "interval by bootstrap over tasks."
    )
    room = (
        f"**At alpha {_ALPHA:g} the best fixed plan per task leaves {_percent(gap.regret)} [{_percent(gap.low)}, "
        f"{_percent(gap.high)}] of the spread** (best minus worst) to a choice that looks at the input. The fixed plan "
        "is chosen in hindsight, so this is the least that is there, and too little where tasks have few inputs "
        f"({found.inputs / found.tasks:.1f} here)."
    )
    often = "How often a rule's choice is a best plan (ties count in part):"
    return "\n\n".join([about, _table(head, regrets), room, often, _table(head, best)])


def _capabilities(found: list[ToolSpread], toolsets: int) -> str:
    shown = found
    if len(found) > _TOOLS:
        kept = {one.tool for one in sorted(found, key=lambda one: (-one.plans, one.tool))[:_TOOLS]}
        shown = [one for one in found if one.tool in kept]
    unit = _unit([one.price for one in shown])
    rows = [
        (one.capability, f"`{one.tool}`", f"{one.plans:,}", _price(one.price.p50_usd, unit),
         f"{_price(one.price.p5_usd, unit)} to {_price(one.price.p95_usd, unit)}", f"{one.score:.2f}",
         "" if one.advantage is None else f"{one.advantage:+.3f}")
        for one in shown
    ]  # fmt: skip
    head = ("capability", "tool", "plans", f"price, {unit}", "5 % to 95 %", "score", "advantage")
    more = f" Shown are the {_TOOLS} most used of {len(found):,} tools." if len(shown) < len(found) else ""
    more += " Tools of one name in several toolsets are counted together." if toolsets > 1 else ""
    return (
        f"{_table(head, rows)}\n\nPrice of one step (median). *Score* is the mean of the plans that use the tool; "
        "*advantage* is that score minus the mean of all plans for the same input, where not all use it. Neither is "
        f"the accuracy of the tool alone.{more}"
    )


def _conditions(found: list[Condition]) -> str:
    if not found:
        return "The inputs' conditions are not recorded, or no input has two plans."
    shown = sorted(found, key=lambda one: (-one.inputs, one.condition))[:_CONDITIONS]
    rows = [
        (one.condition, f"{one.inputs:,}", _share(one.restores), _share(one.offered), f"{one.steps:.1f}",
         f"{one.usual} ({_percent(one.usual_share)})")
        for one in shown
    ]  # fmt: skip
    head = ("condition", "inputs", "best plan restores first", "plans that do", "steps of the best", "most often best")
    more = f" Shown are {_CONDITIONS} of {len(found):,} conditions." if len(shown) < len(found) else ""
    return (
        f"{_table(head, rows)}\n\nAt alpha {_ALPHA:g}; ties count in part. A plan *restores first* if a first step "
        f"gives back the kind of thing it takes (an image from an image, a text from a text).{more}"
    )


def _variance(found: list[Variance]) -> str:
    rows = [
        (f"{one.alpha:g}", _share(one.between_tasks), _share(one.between_inputs), _share(one.within_input))
        for one in found
    ]
    head = ("alpha", "between tasks", "between inputs of a task", "between plans for an input")
    return f"{_table(head, rows)}\n\nShares of the variance of utility. Only the last is open to a planner."


def _concurrency(found: Concurrency | None) -> str:
    if found is None:
        return "Times are not recorded."
    return (
        f"Critical path / serial time: {found.ratio:.2f} on average over {found.plans:,} plans, {found.shortest:.2f} "
        "in the tenth that gains most from running steps at the same time."
    )


def _point(point: Point) -> str:
    regret, low, high = (round(share, 2) + 0.0 for share in (point.regret, point.low, point.high))  # never -0.00
    return f"{regret:.2f} [{low:.2f}, {high:.2f}]"


def _range(found: Range, form: str) -> str:
    return f"{found.mean:{form}} ({found.p5:{form}}, {found.p50:{form}}, {found.p95:{form}})"


def _prices(found: PriceRange, unit: str) -> str:
    mean, *rest = (_price(text, unit) for text in (found.mean_usd, found.p5_usd, found.p50_usd, found.p95_usd))
    return f"{mean} ({', '.join(rest)})"


def _unit(found: Sequence[PriceRange]) -> str:
    """The unit in which the prices of a table are read with ease."""
    return _MICRO if all(float(one.p95_usd) < 0.01 for one in found) else "US dollars"


def _price(text: str, unit: str) -> str:
    if unit != _MICRO:
        return text
    micro = float(text) * 1e6
    return f"{micro:,.0f}" if micro >= 100 else f"{micro:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _share(share: float | None) -> str:
    return "n/a" if share is None else _percent(share)


def _tallied(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in found.items())


def _sorted(found: Counter[str]) -> dict[str, int]:
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is set left, figures right. Bars in cells are escaped."""
    left = max((len(row) for row in rows), default=0) == 2
    rule = ["---"] + ["---" if left else "--:"] * (len(head) - 1)
    lines = [head, rule, *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
