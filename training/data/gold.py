"""`catp.gold/1`: a request and the plan that is right for it, which nobody has run.

TaskBench, ComplexFuncBench and NESTFUL say which tools a request needs and how they connect; they hold no price, no
time and no score. Such a plan is no trajectory: it has no events and no outcome. It is what a planner's plan can be
compared with (nodes, edges, whole graph). One record is one line of JSONL; unknown fields are refused.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from catp.planlang.nodes import Plan as LangPlan
from catp.planlang.nodes import Ref, step_refs
from catp.training.data.files import lines
from catp.training.data.files import write as write_records
from catp.training.data.graph import shape_of
from catp.training.data.problems import DataError, Problem, explain
from catp.training.data.trajectory import Plan, Request, ToolsetRef

__all__ = ["SCHEMA", "GoldPlan", "Reference", "read", "references_of", "shapes", "write"]

SCHEMA: Literal["catp.gold/1"] = "catp.gold/1"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Reference(_Record):
    """One use of a result: argument `argument` of step `target` uses `path` of what `source` gives.

    The path is as the source spells it; texts are fields, numbers are positions in a list. `argument` is `@after` if
    only the order is given.
    """

    source: str
    target: str
    argument: str
    path: list[str | int] = Field(default_factory=list)


class GoldPlan(_Record):
    """A request and its plan. `shape` says what the plan's graph has (`catp.training.data.graph.shape_of`)."""

    schema_: Literal["catp.gold/1"] = Field(default=SCHEMA, alias="schema")
    id: str
    dataset: str
    request: Request
    toolset: ToolsetRef | None = None
    plan: Plan
    references: list[Reference] = Field(default_factory=list)
    shape: list[str] = Field(default_factory=list)
    source: str
    license: str

    @classmethod
    def from_json(cls, data: Any) -> "GoldPlan":
        """Read one record; raise pydantic's `ValidationError`."""
        return cls.model_validate(data)

    def to_line(self) -> str:
        """Return the record as one line of JSON, without what is absent."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


def references_of(plan: LangPlan, paths: Mapping[Ref, list[str | int]] | None = None) -> list[Reference]:
    """List every use of an input or a result in a plan, in order.

    `paths` gives the path a reference had where it came from, if it cannot be written in the plan language.
    """
    found: dict[tuple[Any, ...], Reference] = {}
    for step in plan.steps:
        for slot, ref in step_refs(step):
            path = (paths or {}).get(ref, list(ref.path))
            one = Reference(source=ref.root, target=step.name, argument=slot.removeprefix("arg:"), path=path)
            found.setdefault((one.source, one.target, one.argument, *path), one)
    return list(found.values())


def shapes(plans: Iterable[GoldPlan]) -> dict[str, float]:
    """Return the share of plans with each shape: `join`, `fork`, `parallel`, `chain`, and `repeat` (a tool twice)."""
    counts: Counter[str] = Counter()
    total = 0
    for gold in plans:
        total += 1
        counts.update(shape_of(gold.plan))
        counts["repeat"] += len({node.tool for node in gold.plan.nodes}) < len(gold.plan.nodes)
    return {name: counts[name] / total for name in ("join", "fork", "parallel", "chain", "repeat")} if total else {}


def read(path: Path) -> Iterator[GoldPlan]:
    """Yield the records of a JSONL file (`.gz` or not); raise `DataError` naming file, line and field."""
    for number, item in lines(path):
        if isinstance(item, Problem):
            raise DataError(path, number, item)
        try:
            yield GoldPlan.from_json(item)
        except ValidationError as error:
            raise DataError(path, number, next(explain(error))) from error


def write(path: Path, plans: Iterable[GoldPlan]) -> int:
    """Write a JSONL file (`.gz` or not), the same bytes for the same plans; return how many there were."""
    return write_records(path, plans)  # type: ignore[arg-type]  # all it asks of a record is its line
