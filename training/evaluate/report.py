"""The table of an evaluation: one row per planner, as plain text, Markdown or JSON.

    planner   regret at each alpha with its interval   hit  hv  valid  covered  over  ms  USD

Regret is normalised (0: oracle, 1: worst); the interval is 95 % by bootstrap over tasks. `hit` is the share of best
choices at `HIT_ALPHA`, `over` the share of choices that broke their budget.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from catp.planlang.render.labels import time_text
from catp.training.evaluate.regret import Regret
from catp.training.evaluate.result import Evaluation, usd_text

__all__ = ["HIT_ALPHA", "TABLE_SCHEMA", "table", "table_json"]

TABLE_SCHEMA = "catp.evaluations/1"

HIT_ALPHA = 0.8
"""The alpha whose hit rate the table shows; the JSON form has all."""

_NONE = "-"


def table(evaluations: Sequence[Evaluation], *, style: Literal["text", "markdown"] = "text") -> str:
    """Return the table, best mean regret first, choosers that see outcomes last; failures and notes below it.

    Args:
        evaluations: of the same data and protocol.
        style: aligned plain text with the intervals on a line of their own, or a Markdown table.
    """
    alphas = sorted({row.alpha for one in evaluations for row in one.rows})
    head = ["planner", *(f"a={alpha:g}" for alpha in alphas), "hit", "hv", "valid", "covered", "over", "ms", "USD"]
    ranked = sorted(evaluations, key=lambda one: (one.sees_outcomes, _mean(one), one.planner))
    if style == "markdown":
        lines = _markdown([head, *(_cells(one, alphas, _both) for one in ranked)])
    else:
        rows = [head]
        for one in ranked:
            rows += [_cells(one, alphas, _regret), ["", *(_of(one, alpha, _interval) for alpha in alphas), *[""] * 7]]
        lines = _aligned(rows)
    return "\n".join([*lines, *_remarks(ranked, style)])


def table_json(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return the evaluations as one document."""
    return {"schema": TABLE_SCHEMA, "evaluations": [one.to_json() for one in evaluations]}


def _mean(one: Evaluation) -> float:
    return sum(row.regret.regret for row in one.rows) / len(one.rows) if one.rows else float("inf")


def _cells(one: Evaluation, alphas: Sequence[float], form: Callable[[Regret], str]) -> list[str]:
    hit = one.at(HIT_ALPHA)
    return [
        one.planner + ("*" if one.sees_outcomes else ""),
        *(_of(one, alpha, form) for alpha in alphas),
        _or(hit and hit.regret.hit, "{:.2f}".format),
        _or(one.hv_ratio, "{:.3f}".format),
        f"{one.valid:.1%}",
        f"{one.coverage:.1%}",
        _or(one.budget and one.budget.violations, "{:.1%}".format),
        _or(one.decide_ms, lambda ms: time_text(ms).removesuffix(" ms")),
        _or(usd_text(one.planner_usd), str),
    ]


def _of(one: Evaluation, alpha: float, form: Callable[[Regret], str]) -> str:
    row = one.at(alpha)
    return _NONE if row is None else form(row.regret)


def _regret(found: Regret) -> str:
    return f"{round(found.regret, 3) + 0.0:.3f}"  # never -0.000


def _interval(found: Regret) -> str:
    return f"{round(found.low, 2) + 0.0:.2f}-{round(found.high, 2) + 0.0:.2f}"


def _both(found: Regret) -> str:
    return f"{found.regret:.3f} [{found.low:.2f}, {found.high:.2f}]"


def _or(value: Any, form: Callable[[Any], str]) -> str:
    return _NONE if value is None else form(value)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:],
            strict=True))]).rstrip() for row in rows]  # fmt: skip


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---", *("---:" for _ in rows[0][1:])]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("*", "\\*") for cell in row) + " |"
            for row in [rows[0], rule, *rows[1:]]]  # fmt: skip


def _remarks(evaluations: Sequence[Evaluation], style: str) -> list[str]:
    found = []
    if any(one.sees_outcomes for one in evaluations):
        found.append(("\\*" if style == "markdown" else "*") + " sees the measured outcomes: a mark, not a rival")
    most = max((one.sets for one in evaluations), default=0)
    for one in evaluations:
        if one.sets < most:
            found.append(f"{one.planner}: asked about {one.sets} of the {most} inputs; compare with care")
        if one.failures:
            told = ", ".join(f"{name} {count}" for name, count in one.failures.items())
            found.append(f"{one.planner}: no valid plan: {told}")
        found += [f"{one.planner}: {note}" for note in one.notes]
    return ["", *found] if found else []
