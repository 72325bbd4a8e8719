"""The validator: everything that is wrong with files of trajectories, each with its line, its field and the fix.

    lines -> schema -> the record itself -> its plan and toolset -> records together

It never stops at the first problem. A line that is no record is told of and left out of the checks that follow.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from catp.training.data.files import data_files, lines
from catp.training.data.problems import DataError, Problem, explain
from catp.training.data.rules import record_problems
from catp.training.data.rules_file import Across
from catp.training.data.rules_graph import graph_problems, order_of
from catp.training.data.rules_text import plan_text
from catp.training.data.toolset_files import Toolsets
from catp.training.data.trajectory import Trajectory

__all__ = ["RULES", "Finding", "Report", "validate"]

RULES: dict[str, str] = {
    "file": "the file is there, whole and not empty",
    "encoding": "UTF-8 without a byte order mark",
    "json": "one JSON object a line, no field twice, no NaN or Infinity",
    "schema": "every field has its type and range, and none is missing",
    "unknown_field": "there are no other fields",
    "id": "trajectory_id is unique",
    "amount": "price_scale_usd is positive, budget_usd not negative",
    "price": "outcome.price_usd is the sum of the events' prices",
    "times": "calls end after they start; serial_ms is their sum; moments are sane",
    "latency": "latency_ms is at least the longest path and at most serial_ms",
    "nodes": "node ids are unique",
    "edges": "edges go from nodes or inputs to nodes, into parameters there are",
    "cycle": "the graph has no cycle",
    "types": "what an edge carries fits the parameter",
    "tool": "every tool is in the toolset",
    "toolset": "the toolset file has the id and the digest that the record names",
    "text": "plan.text is a plan, with the nodes and edges of the record",
    "hash": "canonical_hash is the digest of plan.text",
    "events": "events are of nodes of the plan, each told once",
    "status": "the statuses of plan and events agree",
    "score": "scores lie in [0, 1], unless marked as suspect",
    "propensity": "logprob is the logarithm of propensity",
    "set": "a candidate set is in one piece, of one group and one request",
    "leak": "nothing is on two sides of a split",
}
"""What is checked, by rule."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong: where, what was found, why it is wrong, how to mend it. `line` is None for a whole file."""

    file: str
    line: int | None
    trajectory_id: str | None
    rule: str
    field: str
    found: str
    why: str
    fix: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        name = f" {self.field}:" if self.field else ""
        found = f" (found {self.found})" if self.found else ""
        return f"{place}: [{self.rule}]{name} {self.why}{found}; {self.fix}"


@dataclass(slots=True)
class Report:
    """What the validator found. `findings` holds the first `limit`, `counts` all, by rule; `notes` is no fault."""

    limit: int
    files: int = 0
    records: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if nothing is wrong."""
        return not self.counts

    @property
    def total(self) -> int:
        """How many things are wrong, listed or not."""
        return self.counts.total()

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "ok": self.ok, "files": self.files, "records": self.records, "total": self.total,
            "counts": dict(sorted(self.counts.items())), "findings": [asdict(f) for f in self.findings],
            "notes": self.notes,
        }  # fmt: skip

    def add(self, file: Path, line: int | None, record: str | None, problem: Problem) -> None:
        """Count a problem, and keep it if there is room."""
        self.counts[problem.rule] += 1
        if len(self.findings) < self.limit:
            p = problem
            self.findings.append(Finding(str(file), line, record, p.rule, p.field, p.found, p.why, p.fix))


def validate(
    paths: str | Path | Iterable[str | Path],
    toolset: Path | None = None,
    *,
    limit: int = 100,
    progress: Callable[[int], None] = lambda records: None,
) -> Report:
    """Check files and folders of trajectories as one data set.

    Args:
        paths: one or several files; ids and splits are checked across all of them.
        toolset: the toolset file; by default found beside the data.
        limit: how many findings to keep; all are counted.
        progress: called with the number of lines read so far.

    Raises:
        OSError, ValueError: the `toolset` given cannot be read.
    """
    report, across, toolsets = Report(limit), Across(), Toolsets(toolset)
    done = 0
    for path in [paths] if isinstance(paths, str | Path) else paths:
        try:
            files = data_files(path)
        except DataError as error:
            report.add(error.path, None, None, error.problem)
            continue
        for file in files:
            report.files += 1
            done = _file(file, report, across, toolsets, done, progress)
    for id_ in sorted(toolsets.missing):
        report.notes.append(f"no file of toolset {id_!r} was found: tools and types are not checked")
    return report


def _file(
    path: Path, report: Report, across: Across, toolsets: Toolsets, done: int, progress: Callable[[int], None]
) -> int:
    before = done
    for number, item in lines(path):
        done += 1
        progress(done)
        if isinstance(item, Problem):
            report.add(path, number, None, item)
            continue
        name = item.get("trajectory_id")
        for problem in _line(item, path, f"{path}:{number}", report, across, toolsets):
            report.add(path, number, name if isinstance(name, str) else None, problem)
    if done == before:
        report.add(path, None, None, Problem("file", "", "", "the file is empty", "write at least one record"))
    return done


def _line(item: Any, path: Path, place: str, report: Report, across: Across, toolsets: Toolsets) -> Iterator[Problem]:
    try:
        record = Trajectory.model_validate(item, strict=True)
    except ValidationError as error:
        yield from explain(error)
        return
    report.records += 1
    yield from across.see(place, record)
    yield from record_problems(record, plan_text(record), order_of(record))
    offer, problems = toolsets.offer(record, path)
    yield from problems
    yield from graph_problems(record, offer)
