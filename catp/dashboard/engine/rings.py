"""The past of an engine in memory of a fixed size: every second for an hour, every ten seconds for a day."""

import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from catp.dashboard.engine.figures import COLUMNS, LATEST

__all__ = ["Expectations", "Past"]

_FINE = 3600
_COARSE = 8640
_STEP_S = 10
_NOTHING = float("nan")


class _Ring:
    """Rows of numbers by column, the newest `size` of them."""

    def __init__(self, size: int) -> None:
        self._size, self._count = size, 0
        self._columns = {name: array("d", [_NOTHING]) * size for name in ("t", *COLUMNS)}

    def add(self, t: float, row: Mapping[str, float | None]) -> None:
        place = self._count % self._size
        self._columns["t"][place] = t
        for name in COLUMNS:
            value = row.get(name)
            self._columns[name][place] = _NOTHING if value is None else value
        self._count += 1

    def column(self, name: str, since: float) -> list[float | None]:
        first = self._count % self._size if self._count > self._size else 0
        times, values = self._columns["t"], self._columns[name]
        order = ((first + k) % self._size for k in range(min(self._count, self._size)))
        return [None if math.isnan(values[k]) else values[k] for k in order if times[k] >= since]


class Past:
    """Both rings. Rows come in order of time, a second or more apart."""

    def __init__(self) -> None:
        self._fine, self._coarse = _Ring(_FINE), _Ring(_COARSE)
        self._gathered: list[Mapping[str, float | None]] = []
        self._slot: int | None = None

    def add(self, t: float, row: Mapping[str, float | None]) -> None:
        """Take the figures of a moment."""
        slot = int(t // _STEP_S)
        if self._slot is not None and slot != self._slot:
            self._coarse.add(self._slot * _STEP_S, _merged(self._gathered))
            self._gathered = []
        self._slot = slot
        self._gathered.append(row)
        self._fine.add(t, row)

    def columns(self, names: Iterable[str], since: float, step: int) -> dict[str, list[float | None]]:
        """Return `t` and columns from a time on; `step` is 1, 10 or a multiple of 10 seconds.

        A step of a multiple holds the mean of what it covers (`LATEST` columns: the last).
        """
        ring = self._fine if step < _STEP_S else self._coarse
        found = {name: ring.column(name, since) for name in ("t", *names)}
        return found if step <= _STEP_S else _thinned(found, step)


class Expectations:
    """How many requests met and missed each expectation, by ten seconds, for a day."""

    def __init__(self) -> None:
        self._slots: deque[tuple[int, dict[tuple[str, bool], float]]] = deque(maxlen=_COARSE)

    def add(self, t: float, grown: Mapping[tuple[str, bool], float]) -> None:
        """Take what the counts grew by since the last time."""
        if not any(grown.values()):
            return
        slot = int(t // _STEP_S)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, {}))
        counts = self._slots[-1][1]
        for key, n in grown.items():
            counts[key] = counts.get(key, 0.0) + n

    def counts(self, since: float) -> dict[str, tuple[int, int]]:
        """Return how many met and missed each expectation since a time."""
        found: dict[str, tuple[int, int]] = {}
        for slot, counts in self._slots:
            if (slot + 1) * _STEP_S > since:
                for (name, met), n in counts.items():
                    good, bad = found.get(name, (0, 0))
                    found[name] = (good + round(n), bad) if met else (good, bad + round(n))
        return found


def _merged(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    return {name: _one(name, [row.get(name) for row in rows]) for name in COLUMNS}


def _one(name: str, values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return known[-1] if name in LATEST else sum(known) / len(known)


def _thinned(columns: Mapping[str, Sequence[float | None]], step: int) -> dict[str, list[float | None]]:
    groups: dict[int, list[int]] = {}
    for k, t in enumerate(columns["t"]):
        groups.setdefault(int((t or 0) // step), []).append(k)
    thin: dict[str, list[float | None]] = {
        name: [_one(name, (values[k] for k in group)) for group in groups.values()]
        for name, values in columns.items()
        if name != "t"
    }
    return {"t": [slot * step for slot in groups], **thin}
