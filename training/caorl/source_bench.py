"""CATP-Bench as training examples: requests of the shipped tasks, tools and profiles of the shipped zoo."""

from collections.abc import Callable, Collection
from dataclasses import replace

from catp.planners.protocol import PlanRequest
from catp.tools.catalogue import Catalogue
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import WarmEstimator, load_tasks
from catp.training.data.trajectory import Trajectory, nano

__all__ = ["bench_requests"]


def bench_requests(without_tools: Collection[str] = ()) -> Callable[[Trajectory], PlanRequest | None]:
    """Return what gives the request of a record, None for one that is of no shipped task.

    Args:
        without_tools: tools that are never offered.
    """
    tasks = load_tasks()
    whole = bench_catalogue()
    catalogue = Catalogue([spec for spec in whole if spec.name not in without_tools], whole.profiles)
    view, estimator = catalogue.view(), WarmEstimator(catalogue)

    def request_of(record: Trajectory) -> PlanRequest | None:
        task, scale = tasks.get(record.candidate_set), record.objective.price_scale_usd
        if task is None or scale is None:
            return None
        return replace(task.request(catalogue, 0.8, nano(scale)), registry=view, estimator=estimator)

    return request_of
