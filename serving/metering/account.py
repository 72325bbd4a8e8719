"""The engine's accounts: device seconds of every request so far, kept up step by step on the engine's thread."""

from weakref import WeakKeyDictionary

from catp.serving.engine.request import Job
from catp.serving.engine.step import Step
from catp.serving.metering.attribution import attribute
from catp.serving.policies.costmodel import CostModel
from catp.serving.server.events import Seconds

__all__ = ["Account"]


class Account:
    """Implements `catp.serving.engine.core.Watcher`. The sum over jobs is the sum over steps, up to rounding.

    Args:
        costs: predicted work; may be replaced by a newer fit at any time.
    """

    def __init__(self, costs: CostModel) -> None:
        self.costs = costs
        self.busy = 0.0
        """Device seconds of all steps."""
        self._jobs: WeakKeyDictionary[Job, Seconds] = WeakKeyDictionary()

    def stepped(self, step: Step, seconds: float) -> None:
        """Attribute a step's seconds to its jobs; also adds them to `job.seconds`."""
        self.busy += seconds
        for job, part in attribute(step, seconds, self.costs).items():
            job.seconds += part.total
            self._jobs[job] = self._jobs.get(job, Seconds()) + part

    def ended(self, job: Job) -> None:
        """Nothing to do: what a job took stays known for as long as anybody holds the job."""

    def of(self, job: Job) -> Seconds:
        """Return what a job took so far."""
        return self._jobs.get(job, Seconds())
