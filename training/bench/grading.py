"""Scores of a run's outputs against the truths of its task: each output by its metric, together by weight."""

from collections.abc import Iterable, Mapping
from typing import Any

from catp.runtime.outcome import OutputResult
from catp.training.bench.outputs import Want
from catp.training.bench.recipes import make
from catp.training.bench.scoring import METRICS, mean_of
from catp.training.bench.tasks import Task

__all__ = ["grade", "score_of", "truths_of"]


def truths_of(task: Task) -> tuple[Any, ...]:
    """Return the truth of every wanted output; those that are pictures are made."""
    return tuple(
        make(truth["recipe"]) if isinstance(truth, Mapping) and "recipe" in truth else truth for truth in task.truths
    )


def grade(task: Task, truths: Iterable[Any], outputs: Mapping[str, OutputResult]) -> dict[str, float]:
    """Return the score in [0, 1] of every wanted output by name; one that is missing scores 0."""
    pairs = zip(task.wants, truths, strict=True)
    return {want.name: _score(want, truth, outputs.get(want.name)) for want, truth in pairs}


def _score(want: Want, truth: Any, output: OutputResult | None) -> float:
    if output is None or not output.ok or output.value is None:
        return 0.0
    metric = mean_of(want.kind.metric) if want.many else METRICS[want.kind.metric]
    return round(metric(output.value, truth), 6)


def score_of(task: Task, parts: Mapping[str, float]) -> float:
    """Return the task's score: the mean of its outputs, an optional one counting half."""
    total = sum(want.weight for want in task.wants)
    return round(sum(want.weight * parts[want.name] for want in task.wants) / total, 6)
