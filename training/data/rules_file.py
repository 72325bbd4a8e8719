"""What must hold across records: ids are unique, candidate sets in one piece, and no split leaks.

split.name       no `group` (task) on two sides
split.inputs     no `candidate_set` (input) on two sides
split.phrasing   no part of a `request.template` on two sides; ids join the parts with `+`
"""

from collections.abc import Iterator

from catp.training.data.problems import Problem, shown
from catp.training.data.trajectory import Trajectory

__all__ = ["Across"]


class Across:
    """Remembers what it saw; several files checked with the same one are checked as one data set."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._sides: dict[tuple[str, str], tuple[str, str]] = {}
        self._sets: dict[str, tuple[str, str, str | None]] = {}
        self._begun: dict[tuple[str, str], str] = {}
        self._current: tuple[str, str] | None = None

    def see(self, place: str, record: Trajectory) -> Iterator[Problem]:
        """Take the next record, which stands at `place`, and yield what does not go with those before."""
        first = self._ids.setdefault(record.trajectory_id, place)
        if first != place:
            why = f"the id is taken by {first}"
            yield Problem("id", "trajectory_id", shown(record.trajectory_id), why, "give each record its own id")
        yield from self._set(place, record)
        yield from self._leaks(place, record)

    def _set(self, place: str, record: Trajectory) -> Iterator[Problem]:
        key, text = record.candidate_set, record.request.text
        part = (record.dataset, key)  # two data sets may tell of one input, as a log and a set of alternatives do
        begun = self._begun.setdefault(part, place)
        if part != self._current and begun != place:
            why = f"the set begins at {begun} and other sets stand between"
            yield Problem("set", "candidate_set", shown(key), why, "sort the file by candidate_set")
        self._current = part
        first, group, words = self._sets.setdefault(key, (place, record.group, text))
        if record.group != group:
            why = f"the set's first record, {first}, has {group!r}"
            yield Problem("set", "group", shown(record.group), why, "an input belongs to one task")
        if text != words:
            why = f"the set's first record, {first}, has {shown(words)}"
            yield Problem("set", "request.text", shown(text), why, "plans of one input answer the same request")

    def _leaks(self, place: str, record: Trajectory) -> Iterator[Problem]:
        split = record.split
        if split is None:
            return
        keys = [("name", split.name, record.group), ("inputs", split.inputs, record.candidate_set)]
        keys += [("phrasing", split.phrasing, part) for part in (record.request.template or "").split("+") if part]
        for protocol, side, key in keys:
            if side is None:
                continue
            other, first = self._sides.setdefault((protocol, key), (side, place))
            if other != side:
                why = f"{key!r} is in {other!r} at {first}"
                fix = "put all of it on one side (`catp data split`)"
                yield Problem("leak", f"split.{protocol}", shown(side), why, fix)
