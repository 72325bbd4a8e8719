"""A plan and its request as named numbers, from what a planner knows: what the forest of a policy looks at.

request    types, sizes (log10) and conditions of the inputs, wanted types and what must make them, optional outputs
plan       how often each tool, which tool directly after which, which one is used no further, steps, depth, joins
promised   the composed score, of the whole and of the worst output and step, outputs left out, accuracies and failures
           of the tools, time (log10)

Nothing here knows an outcome, a price or the plans beside this one: quality does not change with a price list, and a
plan has the same numbers whether it was measured or has just been written.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from catp.planlang.vocabulary import Vocabulary
from catp.training.prompt.ask import Told, goal_weights
from catp.training.prompt.view import RequestView

__all__ = ["PlanFeatures", "matrix"]

_COMPOSED = 0.5
"""Accuracy of a tool whose profile has none."""


class PlanFeatures:
    """Features of the plans of one request.

    Args:
        view: the request.
        vocabulary: of the plans' ids.
    """

    def __init__(self, view: RequestView, vocabulary: Vocabulary) -> None:
        self._view, self._vocabulary = view, vocabulary
        self._weights = goal_weights([goal.optional for goal in view.goals])
        self._request = dict(_request(view))

    def row(self, told: Told) -> dict[str, float]:
        """Return a plan's features by name; those that are 0 may be left out."""
        return {**self._request, **self._plan(told), **self._promised(told)}

    def _plan(self, told: Told) -> dict[str, float]:
        names = [self._view.tools[step.tool].name for step in told.steps]
        parents = _parents(told, self._vocabulary)
        used = {parent for one in parents for parent in one}
        row: Counter[str] = Counter(f"tool {name}" for name in names)
        depth: list[int] = []
        for place, above in enumerate(parents):
            row.update(f"{names[parent]} -> {names[place]}" for parent in above)
            depth.append(1 + max((depth[parent] for parent in above), default=0))
            if place not in used:
                row[f"end {names[place]}"] += 1
        row["steps"], row["depth"] = len(names), max(depth, default=0)
        row["joins"] = sum(len(above) > 1 for above in parents)
        return dict(row)

    def _promised(self, told: Told) -> dict[str, float]:
        outputs, steps = told.outputs, told.steps
        tools = [self._view.tools[step.tool] for step in steps]
        accuracies = [_COMPOSED if tool.accuracy is None else tool.accuracy for tool in tools]
        return {
            "composed": sum(self._weights[output.goal] * output.score for output in outputs),
            "outputs": len(outputs),
            "weight left out": 1 - sum(self._weights[output.goal] for output in outputs),
            "worst output": min((output.score for output in outputs), default=0.0),
            "worst step": min((step.score for step in steps), default=1.0),
            "last step": steps[-1].score if steps else 1.0,
            "worst accuracy": min(accuracies, default=1.0),
            "mean accuracy": float(np.mean(accuracies)) if accuracies else 1.0,
            "failure": sum(tool.failure for tool in tools),
            "time": math.log10(sum(step.ms for step in steps) + 0.01),
        }


def matrix(rows: Sequence[Mapping[str, float]], names: Sequence[str]) -> NDArray[np.float64]:
    """Return rows laid out in columns, [rows, names]; what a row does not have is 0, what no column is for is left."""
    place = {name: number for number, name in enumerate(names)}
    found = np.zeros((len(rows), len(names)))
    for number, row in enumerate(rows):
        for name, value in row.items():
            column = place.get(name)
            if column is not None:
                found[number, column] = value
    return found


def _request(view: RequestView) -> Iterator[tuple[str, float]]:
    row: Counter[str] = Counter()
    sizes: dict[str, float] = defaultdict(float)
    for given in view.inputs:
        row[f"input {given.type}"] += 1
        row[f"condition {given.condition}"] += bool(given.condition)
        sizes[f"size {given.type}"] += given.units * given.count
    for goal in view.goals:
        row[f"wanted {goal.type}"] += 1
        row[f"purpose {goal.purpose}"] += 1
        row["optional"] += goal.optional
    yield from row.items()
    for name, units in sizes.items():
        yield name, math.log10(max(units, 1.0))


def _parents(told: Told, vocabulary: Vocabulary) -> list[list[int]]:
    """The steps that each step directly uses, read off the plan's ids."""
    found: list[list[int]] = []
    for token in told.ids:
        family, place = vocabulary.place(token)
        if family == "t":
            found.append([])
        elif family == "o":
            break
        elif family == "n" and found and place not in found[-1]:
            found[-1].append(place)
    return found
