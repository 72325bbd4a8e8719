"""Simulated data (catp-sim) as training examples: each request is made again from its id.

    catp-sim-w1006-10-t3-p9-100004    world 1006 of 10 tools, task 3, price table 9, case 100004

What is told of tools is what the world's catalogue declares, as at planning time: never the simulator's own truth about
a case. Of a world with more tools than there are slots, those are offered that can take part in a plan.
"""

import re
from collections.abc import Collection
from functools import lru_cache

from catp.planlang.money import Money
from catp.planlang.registry_view import Estimator, RegistryView
from catp.planners.protocol import Objective, PlanRequest
from catp.planners.typegraph import TypeGraph
from catp.training.bench.tasks import WarmEstimator
from catp.training.data.trajectory import Trajectory, nano
from catp.training.sim.families import tasks
from catp.training.sim.task import Case, Task
from catp.training.sim.world import World

__all__ = ["SimRequests", "narrowed"]

_ID = re.compile(r"catp-sim-w(\d+)-(\d+)-t(\d+)-p(\d+)-(\d+)")


class SimRequests:
    """Gives the requests of simulated records.

    Args:
        tool_slots: the most tools a request may offer.
        without_tools: tools that are never offered.
    """

    def __init__(self, tool_slots: int, without_tools: Collection[str] = ()) -> None:
        self._slots, self._without = tool_slots, frozenset(without_tools)
        self._views: dict[str, RegistryView | None] = {}

    def __call__(self, record: Trajectory) -> PlanRequest | None:
        """Return a record's request; None without a price scale, or if too many tools can take part in its plans.

        Raises:
            ValueError: the simulator does not make the record's request again.
        """
        scale = record.objective.price_scale_usd
        if scale is None:
            return None
        return self.request(record.candidate_set, nano(scale), record.request.text)

    def request(self, id_: str, scale: Money, text: str | None = None) -> PlanRequest | None:
        """Return the request of a case by its id; see `__call__`."""
        case = _case(id_)
        if case is None or (text is not None and case.text != text):
            raise ValueError(
                f"{id_}: the simulator does not make this request again, so the data are of another version of it; "
                "build them anew (catp bench build --help), or use the shipped data set catp-sim"
            )
        objective = Objective(alpha=0.8, price_scale=scale)
        view, estimator = _tools(case.task.world, case.table)
        if self._without:
            view = RegistryView(tuple(sig for sig in view if sig.name not in self._without), view.types)
        whole = PlanRequest(case.text, case.facts(), case.task.wanted, objective, view, estimator)
        if case.task.id not in self._views:  # all cases of a task want the same of the same types
            self._views[case.task.id] = narrowed(whole, self._slots)
        found = self._views[case.task.id]
        if found is None:
            return None
        return PlanRequest(whole.task, whole.inputs, whole.wanted, objective, found, estimator)


def narrowed(request: PlanRequest, tool_slots: int) -> RegistryView | None:
    """Return the request's tools if they fit the slots, else those that can take part in a plan; None if too many."""
    view = request.registry
    if len(view) <= tool_slots:
        return view
    useful = {maker.sig.name for maker in TypeGraph(view, request.inputs, request.wanted).makers}
    kept = tuple(sig for sig in view if sig.name in useful)
    return RegistryView(kept, view.types) if 0 < len(kept) <= tool_slots else None


def _case(id_: str) -> Case | None:
    found = _ID.fullmatch(id_)
    if found is None:
        return None
    seed, size, task, table, number = map(int, found.groups())
    try:
        known = _tasks(seed, size)
    except ValueError:  # no world has this size
        return None
    return known[task].case(number, table=table) if task < len(known) else None


_TASKS = 12
"""Tasks of a world in all that is built."""


@lru_cache(maxsize=4)
def _tasks(seed: int, size: int) -> list[Task]:
    return tasks(World(seed, size), _TASKS)


@lru_cache(maxsize=4)
def _tools(world: World, table: int) -> tuple[RegistryView, Estimator]:
    catalogue = world.catalogue(table=table)
    return catalogue.view(), WarmEstimator(catalogue)
