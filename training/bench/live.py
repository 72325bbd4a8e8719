"""Running plans that were not measured when the benchmark was built, so that no planner's choice goes unjudged."""

from collections.abc import Mapping
from decimal import Decimal

from catp.planlang.money import Money, format_usd
from catp.planlang.nodes import Plan
from catp.tools.catalogue import Catalogue
from catp.training.bench.collect import Collector
from catp.training.bench.tasks import Task
from catp.training.data.trajectory import Objective
from catp.training.evaluate.candidates import Option, candidate_sets

__all__ = ["Live"]


class Live:
    """Runs any plan on the inputs of a task, as `catp bench build` would have: warm workers, metered, scored.

    An instance is a `Measure` of `catp.training.evaluate.planning`.

    Args:
        tasks: The tasks by id.
        catalogue: The tools.
    """

    def __init__(self, tasks: Mapping[str, Task], catalogue: Catalogue) -> None:
        self._tasks = tasks
        self._collector = Collector(catalogue)

    async def __call__(self, set_id: str, plan: Plan) -> Option | None:
        """Return the outcome as an option of the set; None if there is no such task."""
        task = self._tasks.get(set_id)
        if task is None:
            return None
        record = await self._collector.run(task, plan)
        scale = Objective(price_scale_usd=Decimal(format_usd(Money(1))))  # an option does not depend on it
        (found,) = candidate_sets([record.model_copy(update={"objective": scale})])
        return found.options[0]
