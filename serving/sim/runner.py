"""The runner of a simulation: steps take the time that a model of step times says, and nothing is computed."""

from collections.abc import Sequence

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.program import Result
from catp.serving.engine.step import Row, Step, StepResult
from catp.serving.policies.costmodel import Load
from catp.serving.sim.profiles import StepTime

__all__ = ["Clock", "SimulatedRunner"]


class Clock:
    """Seconds of a simulation; `now` is set by whoever lets time pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class SimulatedRunner:
    """Lets the clock run on instead of computing.

    Args:
        times: of steps.
        clock: is set forward.
        pool: its use is measured.

    Attributes:
        repeat: so many steps are done in the next one, each row being a token of each of them.
        steps, busy: steps so far, and the seconds in them.
        kv_time, kv_peak: blocks in use times seconds, and at most.
    """

    def __init__(self, times: StepTime, clock: Clock, pool: BlockPool) -> None:
        self.repeat = 1
        self.steps = 0
        self.busy = self.kv_time = 0.0
        self.kv_peak = 0
        self.times, self._clock, self._pool = times, clock, pool

    def execute(self, step: Step) -> StepResult:
        """Pass the time of a step and return an empty result for each read, as `catp.serving.engine.step.Runner`."""
        begin = self._clock.now
        load, repeat = _load(step.rows, self.repeat), self.repeat
        self._clock.now += self.times.step(load)
        for _ in range(repeat - 1):
            load = Load(load.tokens, 0.0, load.decodes, load.kv_tokens + load.decodes)
            self._clock.now += self.times.step(load)
        seconds = self._clock.now - begin
        self.steps += repeat
        self.busy += seconds
        self.kv_time += self._pool.used * seconds
        self.kv_peak = max(self.kv_peak, self._pool.used)
        return StepResult(
            tuple(
                Result(row.branch, read.at)
                for row in step.rows
                for read in row.branch.reads
                if row.begin <= read.at < row.begin + row.count
            ),
            seconds,
        )


def _load(rows: Sequence[Row], repeat: int) -> Load:
    """Return the work of the first of `repeat` steps that compute the rows."""
    tokens = decodes = keys = 0
    attended = 0.0
    for row in rows:
        count = row.count // repeat
        tokens += count
        if count == 1:
            decodes += 1
            keys += row.begin
        else:
            attended += count * (row.begin + count / 2)
    return Load(tokens, attended, decodes, keys)
