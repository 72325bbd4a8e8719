"""Measuring all tasks: a long job that can be stopped and goes on where it was.

Finished candidate sets are appended to a part file, one line each; a line that a kill cut short is dropped and its task
measured again. The order goes round the families, so that a part of the job is a small benchmark of all of them.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from catp.tools.catalogue import Catalogue
from catp.tools.workers import WorkerPool, share_pool
from catp.training.bench.collect import Collector, Counted
from catp.training.bench.tasks import Task, tasks_digest
from catp.training.data.trajectory import Trajectory

__all__ = ["Progress", "measure", "measured"]

Progress = Callable[[int, int, str], None]
"""Called with tasks done, tasks in all, and the family at work."""

_AT_ONCE = 3
"""Tasks in flight: two worker processes stay busy while a third task is graded."""
_IDLE = 64
"""Warm workers kept: more than there are tools, so that a tool is loaded once or twice."""


async def measure(
    tasks: Sequence[Task], catalogue: Catalogue, part: Path, *, seed: int = 0, workers: int = 2,
    progress: Progress | None = None,
) -> None:  # fmt: skip
    """Run the candidate sets of every task that `part` does not hold yet, and append them to it.

    Raises:
        ValueError: `part` was begun with other tasks, or an input came out different from what its task says.
        OSError: the part file cannot be written; what it holds is kept.
    """
    done = _begin(part, tasks_digest(tasks))
    waiting = [task for task in _round(tasks) if task.id not in done]
    share_pool(WorkerPool(size=workers, max_idle=_IDLE))
    collector = Collector(catalogue, seed)
    with part.open("a", encoding="utf-8") as file:
        queue = iter(waiting)

        async def work() -> None:
            for task in queue:
                records, took = await collector.collect(task)
                lines = [json.loads(record.to_line()) for record in records]
                line = {"id": task.id, "took": asdict(took), "records": lines}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
                file.flush()
                done.add(task.id)
                if progress is not None:
                    progress(len(done), len(tasks), task.family)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())


def measured(part: Path) -> tuple[list[Trajectory], Counted]:
    """Return the records of a part file, candidate sets by id, and what collecting them took."""
    lines = sorted(_lines(part)[1:], key=lambda line: str(line["id"]))
    records = [Trajectory.from_json(record) for line in lines for record in line["records"]]
    return records, sum((Counted(**line["took"]) for line in lines), Counted())


def _begin(part: Path, tasks: str) -> set[str]:
    """Return the ids that are done; a new part file notes which tasks it belongs to."""
    lines = _lines(part)
    if not lines:
        part.write_text(json.dumps({"tasks": tasks}) + "\n", encoding="utf-8")
        return set()
    if lines[0].get("tasks") != tasks:
        raise ValueError(
            f"{part} was begun with other tasks (another seed, share or version); move it away, or build elsewhere"
        )
    return {str(line["id"]) for line in lines[1:]}


def _lines(part: Path) -> list[dict[str, Any]]:
    if not part.exists():
        return []
    whole = part.read_bytes()
    end = whole.rfind(b"\n") + 1
    if end < len(whole):  # a kill cut the last line short
        with part.open("r+b") as file:
            file.truncate(end)
    return [json.loads(line) for line in whole[:end].splitlines()]


def _round(tasks: Sequence[Task]) -> list[Task]:
    """First the first task of every family, then the second, and so on."""
    return sorted(tasks, key=lambda task: (task.id.rpartition("-")[2], task.family))
