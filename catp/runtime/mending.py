"""Looking for another plan when steps of a run have failed and nothing else is left to do."""

import asyncio
from collections.abc import Callable

from catp.planlang.nodes import Plan
from catp.runtime.repairs import Broken, Repaired, Repairer
from catp.runtime.state import RunState

__all__ = ["Mending", "unchanged"]


def unchanged(before: Plan, after: Plan, state: RunState) -> frozenset[str]:
    """Return the steps that are the same in both plans and have ended, or may still end: they stay as they are."""
    known = {step.name: step for step in before.steps}
    return frozenset(
        step.name
        for step in after.steps
        if known.get(step.name) == step and state.steps[step.name].status not in ("poisoned", "cancelled")
    )


class Mending:
    """The searches of one run, one at a time.

    Args:
        repair: Finds another plan; without it nothing is mended.
        done: Called with what was found (or None), and what was told of the broken run when it was asked for.
        failed: Told about a planner that raised.
    """

    def __init__(
        self,
        repair: Repairer | None,
        *,
        done: Callable[[Repaired | None, Broken], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._repair = repair
        self._done = done
        self._failed = failed
        self._task: asyncio.Task[None] | None = None
        self._known = 0

    @property
    def busy(self) -> bool:
        """True while another plan is being looked for."""
        return self._task is not None

    def worth_it(self, failures: int) -> bool:
        """True if another plan may be found: each search must know of a failure that the one before did not."""
        return self._repair is not None and failures > self._known

    def start(self, broken: Broken) -> None:
        """Look for another plan, for as long as there is time."""
        assert self._repair is not None
        self._known = len(broken.failures)
        self._task = asyncio.ensure_future(self._mend(self._repair, broken))

    def cancel(self) -> None:
        """Give the search up; `done` is still called."""
        if self._task is not None:
            self._task.cancel()

    async def _mend(self, repair: Repairer, broken: Broken) -> None:
        repaired = None
        try:
            repaired = await asyncio.wait_for(repair(broken), broken.left_s)
        except asyncio.CancelledError:  # the run is being stopped: it ends as it is
            pass
        except Exception as error:  # a planner that fails must not make things worse
            self._failed(error)
        self._task = None
        self._done(repaired, broken)
