"""Curves of a training run: what `metrics.jsonl` told, by step, thinned so that every extreme stays.

Curves that belong together share their steps: `loss` and its parts, all regrets, and else each figure by itself.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["POINTS", "Told", "curves", "read_events"]

POINTS = 1_000
"""Most points of a curve."""

_MOST_BYTES = 64 * 1024 * 1024
_MOST_CURVES = 60
_NO_CURVE = frozenset(["step", "steps", "epoch", "processes", "examples", "parameters", "trainable", "best"])


@dataclass(frozen=True)
class Told:
    """The events of a file: `skipped` lines are none, `at` is when it was written last, seconds since 1970."""

    events: Sequence[Mapping[str, Any]] = ()
    skipped: int = 0
    truncated: bool = False
    at: float = 0.0
    started: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> list[Mapping[str, Any]]:
        """The evaluations."""
        return [event for event in self.events if event["event"] == "evaluated"]


def read_events(path: Path) -> Told:
    """Read a file that may be written to meanwhile; lines that are no events are counted and left out."""
    try:
        stat = path.stat()
    except OSError:
        return Told()
    return _read(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _read(path: Path, size: int, mtime_ns: int) -> Told:
    events, skipped = list[Mapping[str, Any]](), 0
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES)
    except OSError:
        return Told()
    lines = text.split(b"\n")
    unfinished = lines.pop()  # a line that is being written, or was when the run was killed
    for line in lines:
        event = _event(line)
        if event is not None:
            events.append(event)
        elif line.strip():
            skipped += 1
    started = next((event for event in events if event["event"] == "started"), {})
    truncated = size > _MOST_BYTES
    return Told(events, skipped + bool(unfinished.strip() and not truncated), truncated, mtime_ns / 1e9, started)


def _event(line: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    good = isinstance(found, dict) and isinstance(found.get("event"), str)
    return found if good and isinstance(found.get("step"), int) and 0 <= found["step"] < 1 << 53 else None


def curves(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return groups of curves: `{group, step[], series: [{name, values[]}], nan: {name: [step]}, points}`.

    A value is None where nothing was told; `nan` names steps at which a number was told to be none (at most 100).
    """
    groups: dict[str, dict[int, dict[str, float | None]]] = {}
    for event in events:
        for name, value in _numbers(event):
            groups.setdefault(_group(name), {}).setdefault(event["step"], {})[name] = value
    return [_curve(group, rows) for group, rows in list(groups.items())[:_MOST_CURVES]]


def _numbers(event: Mapping[str, Any]) -> Iterable[tuple[str, float | None]]:
    """The figures of an event: `train/…` of a step, `eval/…` of an evaluation; None for a number that is none."""
    if event["event"] == "step":
        parts = event.get("parts")
        inner = {f"loss/{name}": value for name, value in parts.items()} if isinstance(parts, dict) else {}
        found, prefix = {**event, **inner}, "train"
    elif event["event"] == "evaluated":
        figures = event.get("figures")
        found, prefix = {**(figures if isinstance(figures, dict) else {}), "seconds": event.get("seconds")}, "eval"
    else:
        return
    for name, value in found.items():
        if name in _NO_CURVE or isinstance(value, bool) or not isinstance(value, int | float | None):
            continue
        finite = value is not None and math.isfinite(value)
        yield f"{prefix}/{str(name)[:80]}", float(value) if finite and value is not None else None


def _group(name: str) -> str:
    prefix, _, rest = name.partition("/")
    if rest.startswith("loss"):
        return f"{prefix}/loss"
    return f"{prefix}/regret" if "regret" in rest else name


def _curve(group: str, rows: Mapping[int, Mapping[str, float | None]]) -> dict[str, Any]:
    steps = sorted(rows)
    names = list(dict.fromkeys(name for step in steps for name in rows[step]))
    values = {name: [rows[step].get(name) for step in steps] for name in names}
    kept = _kept(len(steps), list(values.values()))
    nan = {name: [step for step in steps if name in rows[step] and rows[step][name] is None][:100] for name in names}
    notes = [f"▲ {name} was no number at step {', '.join(map(str, at[:5]))}." for name, at in nan.items() if at]
    if len(kept) < len(steps):
        notes.append(f"{len(kept):,} of {len(steps):,} points, extremes among them.")
    return {
        "group": group, "step": [steps[k] for k in kept], "points": len(steps), "note": " ".join(notes),
        "series": [{"name": name, "values": [values[name][k] for k in kept]} for name in names],
        "nan": {name: where for name, where in nan.items() if where},
    }  # fmt: skip


def _kept(count: int, columns: Sequence[Sequence[float | None]]) -> list[int]:
    """Places that are shown: all, or first, last, and lowest and highest of each column in each stretch."""
    if count <= POINTS:
        return list(range(count))
    stretches = max(1, (POINTS - 2) // (2 * len(columns)))
    kept = {0, count - 1}
    for number in range(stretches):
        places = range(number * count // stretches, (number + 1) * count // stretches)
        for column in columns:
            known = [(value, k) for k in places if (value := column[k]) is not None]
            if known:
                kept |= {min(known)[1], max(known)[1]}
    return sorted(kept)
