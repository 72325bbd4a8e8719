"""Measuring all tasks: a long job that can be stopped and goes on where it was.

Finished candidate sets are appended to a part file, one line each; a line that a kill cut short is dropped and its task
measured again. The order goes round the families, so that a part of the job is a small benchmark of all of them.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from catp.tools.catalogue import Catalogue
from catp.tools.workers import WorkerPool, share_pool
from catp.training.bench.collect import Collector, Counted
from catp.training.bench.tasks import Task
from catp.training.data.trajectory import Trajectory

__all__ = ["Progress", "measure", "measured"]

Progress = Callable[[int, int, str], None]
"""Called with tasks done, tasks in all, and the family at work."""

_AT_ONCE = 3
"""Tasks in flight: two worker processes stay busy while a third task is graded."""
_IDLE = 64
"""Warm workers kept: more than there are tools, so that a tool is loaded once or twice."""


@dataclass(frozen=True)
class _Line:
    id: str
    records: tuple[Trajectory, ...]


async def measure(
    tasks: Iterable[Task], catalogue: Catalogue, part: Path, *, seed: int = 0, workers: int = 2,
    progress: Progress | None = None,
) -> Counted:  # fmt: skip
    """Run the candidate sets of every task that `part` does not hold yet, and append them to it.

    Raises:
        ValueError: an input came out different from what the task file says.
        OSError: the part file cannot be written; what it holds is kept.
    """
    share_pool(WorkerPool(size=workers, max_idle=_IDLE))
    done = {line.id for line in _lines(part)}
    waiting = [task for task in _round(tasks) if task.id not in done]
    collector = Collector(catalogue, seed)
    total = len(done) + len(waiting)
    with part.open("a", encoding="utf-8") as file:
        queue = iter(waiting)

        async def work() -> None:
            for task in queue:
                records = await collector.collect(task)
                line = {"id": task.id, "records": [json.loads(record.to_line()) for record in records]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                done.add(task.id)
                if progress is not None:
                    progress(len(done), total, task.family)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())
    return collector.counted


def measured(part: Path) -> Iterator[Trajectory]:
    """Yield the records of a part file, candidate sets by id."""
    for line in sorted(_lines(part), key=lambda line: line.id):
        yield from line.records


def _lines(part: Path) -> list[_Line]:
    if not part.exists():
        return []
    whole = part.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):  # a kill cut the last line short
        with part.open("r+b") as file:
            file.truncate(end)
    found = [json.loads(line) for line in whole[:end].splitlines()]
    return [_Line(one["id"], tuple(Trajectory.from_json(record) for record in one["records"])) for one in found]


def _round(tasks: Iterable[Task]) -> list[Task]:
    """First the first task of every family, then the second, and so on."""
    return sorted(tasks, key=lambda task: (task.id.rpartition("-")[2], task.family))
