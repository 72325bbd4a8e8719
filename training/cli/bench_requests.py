"""What lies beside CATP-Bench's trajectories: the tasks that planners are asked, tools and prices held out."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from catp.tools.catalogue import Catalogue
    from catp.training.baselines.chooser import Prices
    from catp.training.bench.live import Live
    from catp.training.bench.tasks import Task
    from catp.training.evaluate import CandidateSet
    from catp.training.evaluate.planning import Case

__all__ = ["BenchRequests"]


class BenchRequests:
    """Reads what is there on first use.

    Args:
        folder: of the trajectories, or a file in it; the rest lies one folder up.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = (folder if folder.is_dir() else folder.parent).parent
        self._path = self._folder / "tasks.jsonl.gz"

    def held_out_tools(self) -> list[list[str]] | None:
        """Return the tools that the data set holds out, as one group; None if it does not say."""
        data = self._json("splits.json")
        return [data["tools"]["held_out"]] if data is not None else None

    def held_out_prices(self) -> "list[Prices] | None":
        """Return the price lists that the data set holds out; None if there are none."""
        from catp.training.baselines.chooser import Prices

        data = self._json("prices.json")
        return [Prices(table["factors"]) for table in data["test"]] if data is not None else None

    def _json(self, name: str) -> Any:
        path = self._folder / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def cover(self, sets: Sequence["CandidateSet"]) -> bool:
        """Whether there are requests for the sets."""
        return self._path.is_file() and bool(sets)

    def live(self) -> "Live":
        """Return what runs plans that were not measured."""
        from catp.training.bench.live import Live

        return Live(self._tasks, self._catalogue)

    @cached_property
    def _tasks(self) -> "dict[str, Task]":
        from catp.training.bench.tasks import load_tasks

        return load_tasks(self._path)

    @cached_property
    def _catalogue(self) -> "Catalogue":
        from catp.training.bench.joins import bench_catalogue

        return bench_catalogue()

    def cases(self, sets: Sequence["CandidateSet"]) -> list["Case"]:
        """Return the cases; raise `ValueError` if a set has no task."""
        from catp.training.evaluate.planning import Case

        if not self._path.is_file():
            raise ValueError(
                f"there are no requests to plan for: {self._path} is missing; only baselines can be judged"
            )
        tasks = self._tasks
        missing = next((one.id for one in sets if one.id not in tasks), None)
        if missing is not None:
            raise ValueError(f"{self._path} has no task {missing!r}; were tasks and trajectories built together?")
        catalogue = self._catalogue

        def case(one: "CandidateSet") -> "Case":
            return Case(one, lambda alpha: tasks[one.id].request(catalogue, alpha, one.price_scale))

        return [case(one) for one in sets]
