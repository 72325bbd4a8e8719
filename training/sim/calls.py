"""Measured calls, as the simulator is fitted to them: taken from trajectories, and told apart by what a tool does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from catp.training.data.toolset import Toolset
from catp.training.data.trajectory import Trajectory, nano

__all__ = ["Call", "Kind", "calls_of", "grouped", "kind_of", "mean_known", "median_log", "rivals_of"]

Kind: TypeAlias = Literal["restore", "read", "look", "label"]
"""What a tool does: gives back its input's type, reads text, tells something of an image, or anything else."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call: price in nano-USD, time, input size in units, its plan's score, and that less its set's mean."""

    tool: str
    capability: str
    kind: Kind
    price: float
    ms: float
    size: float
    ok: bool = True
    relative: float | None = None
    score: float | None = None


def calls_of(records: Iterable[Trajectory], toolsets: Mapping[str, Toolset] | None = None) -> list[Call]:
    """Every priced call of some records, once for each set of candidates that shares it.

    Capabilities come from `toolsets` by id, else from a tool's name up to its first `_`. The score of a call is by how
    much its plan's score differs from the mean of its candidate set.
    """
    groups: dict[str, list[Trajectory]] = {}
    for record in records:
        groups.setdefault(record.candidate_set, []).append(record)
    found: list[Call] = []
    for group in groups.values():
        scores = [r.outcome.score for r in group if r.outcome.score is not None]
        mean = float(np.mean(scores)) if scores else 0.0
        seen: set[tuple[Any, ...]] = set()
        for record in group:
            kinds = _known_tools(record, toolsets or {})
            scope = f"{_toolset_id(record)}/" if len(toolsets or {}) > 1 else ""  # worlds use the same names
            score = record.outcome.score
            for event in record.events:
                tool = event.tool or next(n.tool for n in record.plan.nodes if n.id == event.node)
                key = (tool, event.price_usd, event.end_ms - event.start_ms)
                if event.price_usd is None or event.status not in ("ok", "error") or (event.shared and key in seen):
                    continue
                seen.add(key)
                relative = None if score is None or len(group) < 2 else score - mean
                capability, kind = kinds.get(tool, (tool.partition("_")[0], "label"))
                found.append(
                    Call(scope + tool, scope + capability, kind, float(nano(event.price_usd)),
                         event.end_ms - event.start_ms, _size(record), event.status == "ok", relative, score)
                )  # fmt: skip
    return found


def kind_of(inputs: Sequence[str], output: str) -> Kind:
    """Tell what a tool does by its types."""
    if output in inputs:
        return "restore"
    if "image" not in inputs:
        return "label"
    return "read" if output in ("Reading", "text") else "look"


def grouped(calls: Iterable[Call], key: Callable[[Call], str]) -> dict[str, list[Call]]:
    """Return the calls by a key, sorted by it."""
    found: dict[str, list[Call]] = {}
    for call in calls:
        found.setdefault(key(call), []).append(call)
    return dict(sorted(found.items()))


def rivals_of(capability: Mapping[str, str]) -> list[list[str]]:
    """The tools of every capability that has rivals."""
    found: dict[str, list[str]] = {}
    for tool, name in sorted(capability.items()):
        found.setdefault(name, []).append(tool)
    return [group for _, group in sorted(found.items()) if len(group) > 1]


def mean_known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known, None if none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def median_log(values: Sequence[float]) -> float:
    """Return the median of the natural logarithms."""
    return float(np.median(np.log(np.array(values))))


def _known_tools(record: Trajectory, toolsets: Mapping[str, Toolset]) -> dict[str, tuple[str, Kind]]:
    """Capability and kind of each tool of the record's toolset."""
    toolset = toolsets.get(_toolset_id(record))
    return {
        tool.name: (tool.capability, kind_of([p.type for p in tool.parameters], tool.output))
        for tool in (toolset.tools if toolset is not None else [])
    }


def _toolset_id(record: Trajectory) -> str:
    return record.toolset if isinstance(record.toolset, str) else record.toolset.id


def _size(record: Trajectory) -> float:
    return float(sum(item.units or 0 for item in record.request.inputs) or 1)
