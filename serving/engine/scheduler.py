"""What the next step computes, and what becomes of it.

The scheduler is deterministic and has no clock: times come in. Between `schedule` and `complete` (or `abandon`) a step
is in flight: jobs may be added and ended meanwhile, but their blocks and tables stay as they are until it is over.
"""

from collections.abc import Callable
from time import thread_time
from typing import Protocol

from catp.serving.engine.admission import Limits, check_deadline, check_queue, check_shape
from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.entry import Entry
from catp.serving.engine.errors import FinishReason, Refused
from catp.serving.engine.queue import Guard, Queue
from catp.serving.engine.request import Branch, Job, Phase, Request
from catp.serving.engine.roster import Budget, Roster
from catp.serving.engine.round import Round
from catp.serving.engine.step import Row, Step
from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.protocol import Interval

__all__ = ["Budget", "Lengths", "Limits", "Scheduler"]


class Lengths(Protocol):
    """Predicts output lengths and learns from requests that end (`catp.serving.policies.length`)."""

    def predict(self, request: Request, generated: int = 0) -> Interval:
        """Return how many output tokens are expected in all."""
        ...

    def observe(self, request: Request, actual: int) -> None:
        """Learn how many they were."""
        ...


class Scheduler:
    """Schedules the jobs of one engine.

    Args:
        pool: the blocks, used by nobody else.
        limits: of the engine.
        policy: order of waiting jobs.
        costs: predicts step times, for deadlines and policies.
        lengths: predicts output lengths; None: anything up to the bound.
        budget: tokens of a step, at most the limit; None: always the limit.
        timer: measures the policy (CPU seconds: what other processes take is not its fault); a constant makes its time
            limit never strike.

    Attributes:
        draining: no job is accepted any more.
        budget_override: tokens of the next step, whatever the budget is; good for one step.
    """

    def __init__(
        self, pool: BlockPool, limits: Limits, policy: QueuePolicy, costs: CostModel, lengths: Lengths | None = None,
        budget: Budget | None = None, *, timer: Callable[[], float] = thread_time,
    ) -> None:  # fmt: skip
        self.pool, self.limits = pool, limits
        self.draining = False
        self.budget_override: int | None = None
        self._roster = Roster(pool, limits, policy, costs, budget, timer)
        self._lengths, self._budget = lengths, budget
        self._branches = self._jobs = self._rounds = 0
        self._flight: dict[int, Row] = {}
        self._leaving: list[Branch] = []

    @property
    def running(self) -> list[Job]:
        """Jobs that were let in."""
        return list(self._roster.running.values())

    @property
    def waiting(self) -> list[Job]:
        """Jobs that were not let in yet, or lost their blocks."""
        return [entry.job for entry in self.queue.entries.values()]

    @property
    def in_flight(self) -> bool:
        """Whether a step was scheduled that is neither completed nor abandoned."""
        return bool(self._flight)

    @property
    def queue(self) -> Queue:
        """The waiting jobs."""
        return self._roster.queue

    @property
    def guard(self) -> Guard:
        """The policy, and how often it failed."""
        return self._roster.guard

    @property
    def costs(self) -> CostModel:
        """Step times, as learned so far."""
        return self._roster.costs

    @property
    def preempted(self) -> int:
        """How often a job lost its blocks."""
        return self._roster.preempted

    def add(self, job: Job, now: float) -> Branch:
        """Queue a job and return its first branch.

        Raises:
            Refused: it can never be served, or not now.
        """
        request, roster = job.request, self._roster
        if job.id in roster.entries:
            raise Refused("bad_request", f"request {job.id!r} is there already; give each request an id of its own")
        if self.draining:
            raise Refused("draining", "the engine is shutting down; send the request to another one")
        length = Interval(request.bound, 0, request.bound)
        if self._lengths is not None:
            length = self._lengths.predict(request)
        entry = Entry(job, self._jobs, length, self.pool.size, roster.costs, self.limits.token_budget)
        check_shape(request, self.limits, most=entry.most, blocks=self.pool.blocks)
        check_queue(entry, self.limits, roster.queue, roster.tables, lambda: roster.context(now))
        job.branches = [Branch(job, self._branches, list(request.prompt))]
        check_deadline(entry, roster.tables, roster.costs, self.limits.token_budget, now)
        self._branches += 1
        self._jobs += 1
        roster.add(entry)
        return job.branches[0]

    def fork(self, branch: Branch, at: int) -> Branch:
        """Return a new branch with the first `at` tokens of another; what is computed of them is shared.

        Raises:
            ValueError: there are no such tokens, or the job has as many branches as it may have.
        """
        if branch.closed or not 1 <= at <= len(branch.tokens):
            raise ValueError(f"a branch with {len(branch.tokens)} tokens cannot be forked at {at}, or was closed")
        job = branch.job
        if len(job.branches) >= job.request.width:
            raise ValueError(f"request {job.id!r} has {job.request.width} branches already, its width")
        entry = self._roster.entries[job.id]
        if at // self.pool.size < entry.shared:  # it shares less of the prompt than was counted on
            entry.shared = at // self.pool.size
            if job.phase is Phase.RUNNING:
                self._roster.memory.enter(entry)
        child = self._roster.tables.fork(branch, self._branches, at)
        self._branches += 1
        job.branches.append(child)
        return child

    def close(self, branch: Branch) -> None:
        """Let a branch go; its blocks return to the pool once no step is in flight."""
        if not branch.closed:
            branch.job.branches.remove(branch)
            self._release(branch)

    def finish(self, job: Job, reason: FinishReason, now: float) -> None:
        """End a job, waiting or running; nothing happens if it has ended."""
        entry = self._roster.entries.get(job.id)
        if entry is None or entry.job is not job:
            return
        job.phase, job.finish, job.ended = Phase.DONE, reason, now
        del self._roster.entries[job.id]
        self._roster.withdraw(entry)
        if self._lengths is not None and reason in ("stop", "length"):
            prompt = len(job.request.prompt)
            longest = max((len(branch.tokens) for branch in job.branches), default=prompt)
            self._lengths.observe(job.request, longest - prompt)
        for branch in job.branches:
            self._release(branch)
        job.branches = []

    def preempt(self, job: Job) -> None:
        """Take a running job's blocks; it waits and computes all of its tokens again.

        Raises:
            ValueError: it does not run, or a step is in flight.
        """
        if self._flight or job.phase is not Phase.RUNNING:
            raise ValueError(f"request {job.id!r} cannot be preempted: it does not run, or a step is in flight")
        self._roster.preempt(self._roster.entries[job.id])

    def schedule(self, now: float) -> Step:
        """Return the next step; jobs that were given up in it are still to be ended (`finish`).

        A step without rows means that nothing is to be computed before something else happens.

        Raises:
            ValueError: the last step is still in flight.
        """
        if self._flight:
            raise ValueError("the last step is still in flight: complete or abandon it before the next is scheduled")
        self._rounds += 1
        budget = self._roster.tokens(now) if self.budget_override is None else self.budget_override
        self.budget_override = None
        pass_ = Round(self._roster, now, self._rounds)
        pass_.run(budget)
        self._flight = pass_.rows
        copies = tuple((source, target) for _, source, target in self._roster.tables.copies)
        return Step(tuple(pass_.rows.values()), copies, tuple(pass_.late), tuple(pass_.stuck))

    def complete(self, step: Step, seconds: float = 0.0) -> None:
        """Take in that a step, or a part of it, was computed in so many seconds."""
        if self._budget is not None:
            self._budget.observe(_load(step), seconds)
        tokens: dict[str, list[int]] = {}
        for row in step.rows:
            branch, request = row.branch, row.branch.job.request
            if self._flight.pop(branch.number, None) is None:
                raise ValueError(f"a row of branch {branch.number} was completed that is not in flight")
            branch.job.computed_tokens += row.count
            counts = tokens.setdefault(request.tenant, [0, 0])
            prompt = max(min(len(request.prompt), row.end) - row.begin, 0)
            counts[0] += prompt
            counts[1] += row.count - prompt
            if not branch.closed:
                branch.computed = row.end
                while branch.reads and branch.reads[0].at < row.end:
                    del branch.reads[0]
                self._roster.tables.seal(branch, row.begin, row.end)
        for tenant, (prompt, output) in tokens.items():
            self.guard.served(tenant, prompt, output)
        self._settle()

    def abandon(self, step: Step) -> None:
        """Take in that a step, or a part of it, was not computed: its rows are pending as before."""
        targets = {target for _, target in step.copies}
        for row in step.rows:
            branch = row.branch
            self._flight.pop(branch.number, None)
            number, offset = divmod(row.begin, self.pool.size)
            if offset and not branch.closed and branch.blocks[number] in targets:
                branch.computed = number * self.pool.size  # the copy was not made: compute the block from its start
        self._settle()

    def _release(self, branch: Branch) -> None:
        branch.closed = True
        self._leaving.append(branch)
        self._roster.tables.resign(branch)
        self._settle()

    def _settle(self) -> None:
        """Take back the blocks of branches that ended, unless the runner may be reading their tables."""
        if not self._flight:
            for branch in self._leaving:
                self._roster.tables.drop(branch)
            self._leaving.clear()


def _load(step: Step) -> Load:
    """Return the work of a step."""
    decodes = [row for row in step.rows if row.count == 1]
    attended = sum(row.count * (row.begin + row.count / 2) for row in step.rows if row.count > 1)
    return Load(step.tokens, attended, len(decodes), sum(row.begin for row in decodes))
