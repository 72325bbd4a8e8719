"""What can be wrong with a record, said so that it can be put right: field, what was found, why, and the fix."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from catp.training.data.trajectory import Trajectory

__all__ = ["DataError", "Problem", "explain", "shown"]

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a record. `field` is a path such as `events[2].price_usd`, empty for the whole line."""

    rule: str
    field: str
    found: str
    why: str
    fix: str


class DataError(ValueError):
    """A data file that cannot be read or written: names the file, the line (from 1), the field, and the fix."""

    def __init__(self, path: Path, line: int | None, problem: Problem) -> None:
        self.path, self.line, self.problem = path, line, problem
        place = f"{path}" if line is None else f"{path}:{line}"
        field = f" {problem.field}:" if problem.field else ""
        found = f" (found {problem.found})" if problem.found else ""
        super().__init__(f"{place}:{field} {problem.why}{found}; {problem.fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        return DataError, (self.path, self.line, self.problem)


def shown(value: Any) -> str:
    """Return a value as JSON, cut to what fits in a message."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def explain(error: ValidationError) -> Iterator[Problem]:
    """Turn pydantic's errors on a record into problems, one per field."""
    seen: set[str] = set()
    items = error.errors(include_url=False)
    foreign = [item for item in items if item["loc"] == ("schema",) and item["type"] != "missing"]
    for item in foreign or items:  # of a record of another schema, the other fields say nothing
        loc, kind = item["loc"], item["type"]
        if loc[:1] == ("toolset",):  # a union: pydantic complains once per alternative
            if loc[1:2] == ("str",) and isinstance(item["input"], dict):
                continue
            loc = ("toolset", *loc[2:])
            if len(loc) == 1:
                item["msg"], kind = "neither an id nor an object with one", "toolset"
        key = loc[-1:] == ("[key]",)
        loc = loc[:-1] if key else loc
        field = _path(loc)
        if field not in seen:
            seen.add(field)
            yield _problem(loc, field, "extra_forbidden" if key else kind, item["msg"], item["input"])


def _problem(loc: Sequence[int | str], field: str, kind: str, message: str, found: Any) -> Problem:
    if kind == "extra_forbidden":
        known = _known(loc[:-1])
        near = get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
        help = f"did you mean {near[0]!r}?" if near else "remove it"
        return Problem("unknown_field", field, shown(found), f"there is no field {loc[-1]!r} here", help)
    if kind == "missing":
        return Problem("schema", field, "nothing", f"{loc[-1]!r} is missing", f"add {loc[-1]!r}")
    why = message.removeprefix("Value error, ")
    why = why[:1].lower() + why[1:]
    if loc == ("schema",):
        return Problem("schema", field, shown(found), why, "name files of trajectories only")
    return Problem("schema", field, shown(found), why, "write a value of the right type and range")


def _path(loc: Sequence[int | str]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return path.removeprefix(".")


def _known(loc: Sequence[int | str]) -> list[str]:
    """The names allowed at a place in a record, walked down the model's annotations."""
    here: Any = Trajectory
    for part in loc:
        if isinstance(part, int):
            continue
        model = _model(here)
        if model is None or part not in model.model_fields:
            return []
        here = model.model_fields[part].annotation
    model = _model(here)
    if model is not None:
        return [info.alias or name for name, info in model.model_fields.items()]
    return [key for arg in _flat(here) if isinstance(arg, str) for key in [arg]]


def _model(annotation: Any) -> type[BaseModel] | None:
    return next((a for a in _flat(annotation) if isinstance(a, type) and issubclass(a, BaseModel)), None)


def _flat(annotation: Any) -> Iterator[Any]:
    yield annotation
    for arg in get_args(annotation):
        yield from _flat(arg)
