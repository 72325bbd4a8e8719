"""What tools do for runs: how many use them, on which side of the Pareto frontier, and with what quality.

The latest runs of a span are looked at. Quality is the measured one (`catp.store.scores`) where there is one, else the
predicted one. A plan is on the frontier of its task if no other plan of the same task was at least as good and no
dearer on average, and better in one of the two; only tasks for which there were several plans say something.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from sqlalchemy import Connection

from catp.store import scores
from catp.store.statements import query

__all__ = ["Gain", "ToolUse", "Uses", "uses"]

_RUNS = 2_000
_AT_ONCE = 500
_LEAST = 3


class Gain(NamedTuple):
    """Mean quality of runs that used a tool less that of runs that did not; `source` is measured or predicted.

    This is a difference, not an effect: hard tasks may call for the tool.
    """

    gain: float
    source: str
    n_with: int
    n_without: int


class ToolUse(NamedTuple):
    """Shares of all runs and of those on a frontier that used the tool; None where there are no such runs."""

    share: float | None
    frontier_share: float | None
    quality: Gain | None


class Uses(NamedTuple):
    """`runs` were looked at, of which `frontier` are on the frontier of their task."""

    tools: Mapping[str, ToolUse]
    runs: int
    frontier: int


def uses(connection: Connection, from_ns: int, until_ns: int) -> Uses:
    """Return what each tool did for the latest 2,000 runs that were created in the span."""
    runs = query(
        connection, "SELECT id, plan_hash, task, cost_nano, unpriced, predicted_quality FROM runs "
        "WHERE created_ns >= ? AND created_ns < ? ORDER BY id DESC LIMIT ?", from_ns, until_ns, _RUNS,
    )  # fmt: skip
    ids = [run.id for run in runs]
    measured = {run: score.value for run, score in scores.of(connection, ids).items()}
    predicted = {run.id: run.predicted_quality for run in runs if run.predicted_quality is not None}
    best = _frontier(runs, {**predicted, **measured})
    used = _used(connection, ids)
    found = {
        tool: ToolUse(
            len(by) / len(ids), len(by & best) / len(best) if best else None,
            _gain(by, measured, "measured") or _gain(by, predicted, "predicted"),
        )
        for tool, by in used.items()
    }  # fmt: skip
    return Uses(found, len(ids), len(best))


def _used(connection: Connection, ids: Sequence[str]) -> dict[str, set[str]]:
    """The runs that called each tool; a cached result counts, since the plan asked for it."""
    found: dict[str, set[str]] = defaultdict(set)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(some))
        for run, tool in query(connection, f"SELECT DISTINCT run_id, tool FROM calls WHERE run_id IN ({marks})", *some):
            found[tool].add(run)
    return found


def _frontier(runs: Iterable[Any], quality: Mapping[str, float]) -> set[str]:
    """The runs whose plan is on the frontier of its task."""
    plans: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        if run.id in quality and not run.unpriced:
            plans[run.task][run.plan_hash].append(run)
    found: set[str] = set()
    for of_task in plans.values():
        points = {
            plan: (fmean(run.cost_nano for run in some), fmean(quality[run.id] for run in some))
            for plan, some in of_task.items()
        }
        for plan, (cost, good) in points.items():
            if len(points) > 1 and not any(
                c <= cost and q >= good and (c, q) != (cost, good) for c, q in points.values()
            ):
                found |= {run.id for run in of_task[plan]}
    return found


def _gain(used: set[str], quality: Mapping[str, float], source: str) -> Gain | None:
    with_ = [value for run, value in quality.items() if run in used]
    without = [value for run, value in quality.items() if run not in used]
    if min(len(with_), len(without)) < _LEAST:
        return None
    return Gain(fmean(with_) - fmean(without), source, len(with_), len(without))
