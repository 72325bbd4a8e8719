"""The event core: arrivals, steps of the real engine core on a clock of its own, and jumps over steps without events.

Everything that decides is what serves: `Core`, `Scheduler`, its admission and block pool, and the policy. Two parts are
made up: programs that write as many tokens as the trace says, and a runner that computes nothing and lets the clock run
on by what its model of step times says.

Where nobody waits and every sequence decodes, the next steps are all alike until a request arrives or ends. They are
then done in one: each sequence is given all its tokens at once, which the scheduler takes for a forced run. The clock
goes on by the sum of the single steps' times, added up one by one, so the result is the same to the last bit (but for
the mean use of memory, in which a jump's blocks count from its start).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from catp.serving.engine.admission import Limits
from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.core import Core
from catp.serving.engine.errors import Refused
from catp.serving.engine.program import Control, Result
from catp.serving.engine.request import Branch, Job, Read, Request
from catp.serving.engine.scheduler import Scheduler
from catp.serving.engine.step import Step
from catp.serving.policies.budget import BudgetController
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.protocol import Interval
from catp.serving.policies.registry import policy as policy_named
from catp.serving.sim.profiles import StepTime
from catp.serving.sim.report import Outcome, Outcomes
from catp.serving.sim.runner import Clock, SimulatedRunner
from catp.serving.sim.workload import Task

__all__ = ["Replica", "simulate"]

_EVER = 1 << 40


@dataclass(frozen=True)
class Replica:
    """What is simulated.

    Args:
        times: of steps.
        costs: the linear model that policies plan with.
        kv_tokens: memory for keys, in tokens.
        block: tokens of a block.
        budget: tokens of a step at most; None: the engine's controller says.
        sequences: that run at once at most.
        overcommit: let in by predicted lengths (and preempt where they were too short), not by bounds.
        max_skips: rounds in which others may overtake a request before it goes first; None: any number.
    """

    times: StepTime
    costs: CostModel
    kv_tokens: int
    block: int = 16
    budget: int | None = 512
    sequences: int = 128
    overcommit: bool = True
    max_skips: int | None = None


def simulate(
    tasks: Sequence[Task],
    replica: Replica,
    policy: str,
    *,
    shed: bool = False,
    backlog: int | None = None,
    jumps: bool = True,
) -> Outcomes:
    """Serve all tasks and return how each ended.

    Args:
        tasks: by time of arrival.
        replica: what serves them.
        policy: as `catp.serving.policies.registry.policy` takes it.
        shed: end requests that cannot meet their SLO any more.
        backlog: never mind the times of arrival: the next comes as soon as fewer than so many wait (a closed loop).
        jumps: do stretches of steps without events at once; the result is the same without, later.
    """
    return _Simulation(tasks, replica, policy, shed, backlog, jumps).run()


class _TimedScheduler(Scheduler):
    """The scheduler, with the wall-clock seconds of its decisions."""

    decisions: list[float]

    def schedule(self, now: float) -> Step:
        begin = perf_counter()
        step = super().schedule(now)
        self.decisions.append(perf_counter() - begin)
        return step


class _Lengths:
    """Tells each request's predicted length."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._known = {task.id: task.interval() for task in tasks}

    def predict(self, request: Request, generated: int = 0) -> Interval:
        return self._known[request.id]

    def observe(self, request: Request, actual: int) -> None:
        """Learn nothing: how far the predictions err is given."""


class _Script:
    """A program that writes a given number of tokens, one at a time."""

    def __init__(self, output: int) -> None:
        self.output = output

    def begin(self, root: Branch, control: Control) -> None:
        control.extend(root, (), (Read(len(root.tokens) - 1),))

    def advance(self, results: Sequence[Result], control: Control) -> None:
        branch = results[0].branch
        control.extend(branch, (0,), (Read(len(branch.tokens)),))
        if control.job.output_tokens >= self.output:
            control.finish("length")


class _Simulation:
    """One run; also the sink that hears of each job's end."""

    def __init__(
        self, tasks: Sequence[Task], replica: Replica, policy: str, shed: bool, backlog: int | None, jumps: bool
    ) -> None:
        self._tasks, self._shed, self._backlog = tasks, shed, backlog
        self._jumps = jumps and replica.budget is not None  # the controller learns from every single step
        self._clock = Clock()
        self._pool = BlockPool(replica.kv_tokens // replica.block, replica.block)
        self._runner = SimulatedRunner(replica.times, self._clock, self._pool)
        limits = Limits(
            max_sequences=replica.sequences, token_budget=replica.budget or 8192, max_context=replica.kv_tokens,
            max_waiting=_EVER, max_waiting_tokens=_EVER, max_skips=replica.max_skips or _EVER,
            overcommit=replica.overcommit, watermark=self._pool.blocks // 100,
        )  # fmt: skip
        controller = None if replica.budget is not None else BudgetController(costs=replica.costs)
        self._scheduler = _TimedScheduler(
            self._pool, limits, policy_named(policy), replica.costs, _Lengths(tasks), controller,
            timer=lambda: 0.0,  # whether a decision takes too long here says nothing, and must not change the result
        )  # fmt: skip
        self._scheduler.decisions = []
        self._core = Core(self._scheduler, self._runner, self._clock)
        self._next = 0
        self._found: dict[int, Outcome] = {}

    def run(self) -> Outcomes:
        tasks, core = self._tasks, self._core
        while self._next < len(tasks) or len(core):
            self._arrive()
            if not len(core):
                if self._next < len(tasks):
                    self._clock.now = tasks[self._next].arrival.at
            elif not (self._jumps and self._jump()) and not core.step():
                self._idle()
        runner, span = self._runner, self._clock.now
        return Outcomes(
            tuple(self._found[task.number] for task in tasks), runner.steps, runner.busy, span,
            runner.kv_time / span / self._pool.blocks, runner.kv_peak / self._pool.blocks,
            tuple(self._scheduler.decisions),
        )  # fmt: skip

    def ended(self, job: Job, value: Any, why: str, code: str) -> None:
        """Take a job's end, as `catp.serving.engine.core.Sink`."""
        task = self._tasks[int(job.id)]
        self._found[task.number] = Outcome(
            task.number, task.slo, job.request.arrival, job.first_token, self._clock.now, job.output_tokens, job.finish,
            job.cached_tokens, job.preemptions,
        )  # fmt: skip

    def emit(self, event: Any) -> None:
        """Nobody listens."""

    def _arrive(self) -> None:
        while self._next < len(self._tasks) and self._comes(self._tasks[self._next]):
            task, now = self._tasks[self._next], self._clock.now
            self._next += 1
            at = now if self._backlog else task.arrival.at
            try:
                self._core.submit(task.request(at, self._shed), _Script(task.arrival.output), self)
            except Refused:
                self._found[task.number] = Outcome(task.number, task.slo, at, None, now, 0, None)

    def _comes(self, task: Task) -> bool:
        """Whether a task is there now."""
        if self._backlog:
            return len(self._scheduler.queue) < self._backlog
        return task.arrival.at <= self._clock.now

    def _idle(self) -> None:
        """Let time pass if jobs wait and none can start; with nothing to come there must be a fault."""
        if self._next == len(self._tasks):
            raise RuntimeError(f"{len(self._core)} requests wait and nothing runs: the scheduler is stuck")
        self._clock.now = self._tasks[self._next].arrival.at

    def _jump(self) -> bool:
        """Do the steps until the next arrival or end at once, if all of them only decode; False if not."""
        steps = self._alike()
        if steps < 2:
            return False
        for job in self._scheduler.running:
            branch = job.branches[0]
            branch.tokens += [0] * (steps - 1)
            branch.reads[-1] = Read(len(branch.tokens) - 1)
            job.output_tokens += steps - 1
        self._runner.repeat = steps
        self._scheduler.budget_override = _EVER
        self._core.step()
        self._runner.repeat = 1
        return True

    def _alike(self) -> int:
        """Return how many steps from now on are alike but for the keys that they read."""
        if len(self._scheduler.queue):
            return 0
        steps, keys, size = _EVER, 0, self._pool.size
        branches = []
        for job in self._scheduler.running:
            branch = job.branches[0]
            if len(branch.tokens) - branch.computed != 1 or not job.output_tokens:
                return 0
            steps = min(steps, self._tasks[int(job.id)].arrival.output - job.output_tokens)
            keys += branch.computed
            branches.append(branch)
        if steps < 2:
            return 0
        if self._next < len(self._tasks):
            steps = self._until(self._tasks[self._next].arrival.at, len(branches), keys, steps)
        missing = sum(max(-(-(branch.computed + steps) // size) - len(branch.blocks), 0) for branch in branches)
        return steps if missing <= self._pool.available else 0

    def _until(self, moment: float, decodes: int, keys: int, most: int) -> int:
        """Return after how many decoding steps, at most `most`, the moment has come."""
        now, step = self._clock.now, self._runner.times.step
        for count in range(1, most + 1):
            now += step(Load(decodes, 0.0, decodes, keys))
            if now >= moment:
                return count
            keys += decodes
        return most
