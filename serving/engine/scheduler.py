"""What the next step computes: running branches first, then waiting jobs in the policy's order.

    round:   short rows (one token, a forced run) -> open prompts in chunks -> waiting jobs, within the token budget
    a row:   cached blocks are adopted -> nobody else computes the next one -> blocks for it are granted -> it is in

The scheduler is deterministic and has no clock: times come in. Between `schedule` and `complete` (or `abandon`) a step
is in flight: jobs may be added and ended, but their blocks and tables stay as they are until it is over.
"""

from collections import deque
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Protocol

from catp.serving.engine.admission import Limits, check_shape
from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.entry import Entry
from catp.serving.engine.errors import FinishReason, Refused
from catp.serving.engine.memory import Memory
from catp.serving.engine.queue import Guard, Queue
from catp.serving.engine.request import Branch, Job, Phase
from catp.serving.engine.step import Row, Step
from catp.serving.engine.tables import Tables
from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.protocol import Context, Interval

__all__ = ["Budget", "Lengths", "Limits", "Scheduler"]

_SHORT = 32
"""Pending tokens up to which a row counts as decoding and goes first."""
_TRIES = 4
"""Jobs that may not fit in a round before it stops looking for smaller ones."""
_RESERVE = 8
"""One part in so many of the budget is kept for open prompts."""


class Lengths(Protocol):
    """Predicts output lengths and learns from requests that end (`catp.serving.policies.length`)."""

    def predict(self, kind: str, prompt: int, bound: int, generated: int = 0) -> Interval:
        """Return how many output tokens are expected in all."""
        ...

    def observe(self, kind: str, prompt: int, bound: int, actual: int) -> None:
        """Learn how many they were."""
        ...


class Budget(Protocol):
    """Decides how many tokens a step may have, and learns step times (`catp.serving.policies.budget`)."""

    @property
    def costs(self) -> CostModel:
        """Step times as learned so far."""
        ...

    def budget(self, context: Context) -> int:
        """Return the tokens of the next step."""
        ...

    def observe(self, load: Load, seconds: float) -> None:
        """Learn from a step."""
        ...


class Scheduler:
    """The state of all jobs of an engine.

    Args:
        pool: the blocks, used by nobody else.
        limits: of the engine.
        policy: order of waiting jobs.
        costs: predicts step times, for deadlines and policies.
        lengths: predicts output lengths; None: anything up to the bound.
        budget: tokens of a step, at most the limit; None: always the limit.
        timer: measures the policy; a constant makes its time limit never strike.

    Attributes:
        preempted: how often a job lost its blocks.
        draining: no job is accepted any more.
        budget_override: tokens of the next step, whatever the budget is; good for one step.
    """

    def __init__(
        self, pool: BlockPool, limits: Limits, policy: QueuePolicy, costs: CostModel, lengths: Lengths | None = None,
        budget: Budget | None = None, *, timer: Callable[[], float] = perf_counter,
    ) -> None:  # fmt: skip
        self.pool, self.limits = pool, limits
        self.guard = Guard(policy, timer)
        self.queue = Queue(self.guard, limits.max_skips)
        self.tables = Tables(pool)
        self.memory = Memory(pool, watermark=limits.watermark, overcommit=limits.overcommit)
        self.preempted = 0
        self.draining = False
        self.budget_override: int | None = None
        self._costs, self._lengths, self._budget = costs, lengths, budget
        self._running: dict[str, Job] = {}
        self._entries: dict[str, Entry] = {}
        self._numbers = 0
        self._jobs = 0
        self._rounds = 0
        self._flight: dict[int, Row] = {}
        self._leaving: deque[Branch] = deque()
        self._rows: dict[int, Row] = {}
        self._last_budget = limits.token_budget

    @property
    def costs(self) -> CostModel:
        """Step times: as learned if somebody learns them, as given otherwise."""
        return self._budget.costs if self._budget else self._costs

    @property
    def running(self) -> list[Job]:
        """Jobs that were let in."""
        return list(self._running.values())

    @property
    def waiting(self) -> list[Job]:
        """Jobs that were not let in yet, or lost their blocks; in order of arrival."""
        return [entry.job for entry in self.queue.entries.values()]

    @property
    def in_flight(self) -> bool:
        """Whether a step was scheduled that is neither completed nor abandoned."""
        return bool(self._flight)

    # ----------------------------------------------------------------------------------------------------- jobs

    def add(self, job: Job, now: float) -> Branch:
        """Queue a job and return its first branch.

        Raises:
            Refused: it can never be served, or not now.
        """
        request = job.request
        length = Interval(request.bound, 0, request.bound)
        if self._lengths is not None:
            length = self._lengths.predict(request.kind, len(request.prompt), request.bound)
        entry = Entry(job, self._jobs, length, self.pool.size, self.costs, self.limits.token_budget)
        self._check(entry, now)
        job.branches.append(self._branch(job))
        self._jobs += 1
        self._entries[job.id] = entry
        self.queue.add(entry)
        return job.branches[0]

    def fork(self, branch: Branch, at: int) -> Branch:
        """Return a new branch with the first `at` tokens of another; what is computed of them is shared."""
        if branch.closed or not 1 <= at <= len(branch.tokens):
            raise ValueError(f"a branch with {len(branch.tokens)} tokens cannot be forked at {at}, or was closed")
        job = branch.job
        if len(job.branches) >= job.request.width:
            raise ValueError(f"request {job.id!r} has {job.request.width} branches already, its width")
        entry = self._entries[job.id]
        if at // self.pool.size < entry.shared:  # shares less of the prompt than was counted on
            entry.shared = at // self.pool.size
            if job.phase is Phase.RUNNING:
                self.memory.enter(entry)
        child = self.tables.fork(branch, self._numbers, at)
        self._numbers += 1
        job.branches.append(child)
        self.memory.changed()
        return child

    def close(self, branch: Branch) -> None:
        """Let a branch go; its blocks return to the pool once no step is in flight."""
        if not branch.closed:
            branch.closed = True
            branch.job.branches.remove(branch)
            self._release(branch)
            self.memory.changed()

    def finish(self, job: Job, reason: FinishReason, now: float) -> None:
        """End a job, waiting or running; nothing happens if it has ended."""
        entry = self._entries.pop(job.id, None)
        if entry is None or entry.job is not job:
            return
        job.phase, job.finish, job.ended = Phase.DONE, reason, now
        self.queue.remove(entry)
        self.queue.changed()
        self._running.pop(job.id, None)
        self.memory.leave(entry)
        if self._lengths is not None and reason in ("stop", "length"):
            prompt = len(job.request.prompt)
            longest = max((len(branch.tokens) for branch in job.branches), default=prompt)
            self._lengths.observe(job.request.kind, prompt, job.request.bound, longest - prompt)
        for branch in job.branches:
            branch.closed = True
            self._release(branch)
        job.branches = []

    def preempt(self, job: Job) -> None:
        """Take a running job's blocks; it waits and computes all of its tokens again. Not while a step is in flight."""
        assert not self._flight, "a job cannot be preempted while a step is in flight"
        entry = self._entries[job.id]
        del self._running[job.id]
        self.memory.leave(entry)
        for branch in job.branches:
            self._rows.pop(branch.number, None)
            self.tables.drop(branch)
        job.phase = Phase.WAITING
        job.preemptions += 1
        self.preempted += 1
        entry.matched = 0
        self.queue.add(entry)

    # ---------------------------------------------------------------------------------------------------- steps

    def schedule(self, now: float) -> Step:
        """Return the next step. Jobs given up in it are still to be ended (`finish`).

        A step without rows: there is nothing to compute, or nothing that can be before a job ends.
        """
        assert not self._flight, "the last step is neither completed nor abandoned"
        late = self._late(now)
        stuck: list[Job] = []
        while True:
            self._rows = {}
            self._round(now, late)
            if self._rows or not self._unstick(now, stuck):
                break
        self._flight, self._rows, self.budget_override = self._rows, {}, None
        copies = tuple((source, target) for _, source, target in self.tables.copies)
        return Step(tuple(self._flight.values()), copies, tuple(late), tuple(stuck))

    def complete(self, step: Step, seconds: float = 0.0) -> None:
        """Take in that a step, or a part of it, was computed."""
        if self._budget is not None:
            self._budget.observe(_load(step), seconds)
        tokens: dict[str, list[int]] = {}
        for row in step.rows:
            branch = row.branch
            if self._flight.pop(branch.number, None) is None:
                continue
            prompt = max(min(len(branch.job.request.prompt), row.end) - row.begin, 0)
            count = tokens.setdefault(branch.job.request.tenant, [0, 0])
            count[0] += prompt
            count[1] += row.count - prompt
            branch.job.computed_tokens += row.count
            if branch.closed:
                continue
            branch.computed = row.end
            while branch.reads and branch.reads[0].at < row.end:
                del branch.reads[0]
            self.tables.seal(branch, row.begin, row.end)
        for tenant, (prompt, output) in tokens.items():
            self.guard.served(tenant, prompt, output)
        self._settle()

    def abandon(self, step: Step) -> None:
        """Take in that a step, or a part of it, was not computed: its rows are pending as before."""
        targets = {target for _, target in step.copies}
        for row in step.rows:
            branch = row.branch
            if self._flight.pop(branch.number, None) is None or branch.closed:
                continue
            number, offset = divmod(row.begin, self.pool.size)
            if offset and branch.blocks[number] in targets:  # the copy was not made: compute the block from its start
                branch.computed = number * self.pool.size
        self._settle()

    # --------------------------------------------------------------------------------------------------- rounds

    def _round(self, now: float, late: list[Job]) -> None:
        self._rounds += 1
        self.tables.copies = []
        self.memory.changed()
        short, open_ = [], []
        for job in self._running.values():
            for branch in job.branches:
                pending = len(branch.tokens) - branch.computed
                if pending > _SHORT:
                    open_.append(branch)
                elif pending:
                    short.append(branch)
        budget = self._tokens(now)
        kept = budget // _RESERVE if open_ else 0
        left = self._fill(open_, self._fill(short, budget - kept) + kept)
        if left > 0 and len(self.queue):
            self._admit(now, left, late)

    def _fill(self, branches: Iterable[Branch], left: int) -> int:
        """Schedule rows of branches that run; return what is left of the budget."""
        for branch in branches:
            if left <= 0:
                break
            if branch.job.id in self._running:  # it may have been preempted in this round
                left -= self._row(branch, left)
        return left

    def _row(self, branch: Branch, left: int) -> int:
        """Schedule as many of a branch's tokens as can be; return how many."""
        entry = self._entries[branch.job.id]
        adopted = self.tables.adopt(branch)
        if adopted:
            self.memory.changed()
            if branch is branch.job.branches[0] and not branch.job.preemptions:
                branch.job.cached_tokens += adopted
        if self.tables.waits(branch, branch.computed, self._rounds):
            return 0
        count = min(branch.pending, left)
        whole = self._room(entry, branch, len(branch.tokens), force=False)  # neighbours, if there is room for all
        if not whole and not self._room(entry, branch, branch.computed + count, force=self.limits.overcommit):
            return 0
        self.tables.lead(branch, self._rounds)
        self._rows[branch.number] = Row(branch, branch.computed, count)
        return count

    def _room(self, entry: Entry, branch: Branch, end: int, *, force: bool) -> bool:
        """Get a branch the blocks for positions up to `end`; with force, from jobs that are preempted for it."""
        missing = self.tables.missing(branch, end)
        if not missing:
            return True
        while not self.memory.grant(entry, missing):
            if not force or not self._reclaim(entry):
                return False
        copies = len(self.tables.copies)
        self.tables.grow(branch, end)
        if len(self.tables.copies) > copies:
            self.memory.changed()
        return True

    def _admit(self, now: float, left: int, late: list[Job]) -> None:
        """Let waiting jobs in, in the policy's order."""
        sequences = sum(job.request.width for job in self._running.values())
        if sequences >= self.limits.max_sequences:
            return
        if self.queue.stale(now):
            self._ask(now, late)
        failed = 0
        started: list[Entry] = []
        for entry in list(self.queue):
            if left <= 0 or failed >= _TRIES or sequences >= self.limits.max_sequences:
                break
            root = entry.job.branches[0]
            entry.matched = matched = self.tables.matched(root, entry.matched)
            if self.tables.waits(root, matched * self.pool.size, self._rounds):
                continue
            blocks = self.pool.match_keys(root.keys[:matched])
            width = entry.job.request.width
            if sequences + width > self.limits.max_sequences or not self.memory.fits(entry, blocks):
                failed += 1
                if self.queue.overdue(entry):
                    break
                continue
            sequences += width
            self._start(entry, now)
            started.append(entry)
            left = self._fill(list(entry.job.branches), left)
        if started:
            self.queue.started(started)

    def _start(self, entry: Entry, now: float) -> None:
        job = entry.job
        self.queue.remove(entry)
        job.phase = Phase.RUNNING
        if job.started is None:
            job.started = now
        self._running[job.id] = job
        self.memory.enter(entry)

    def _ask(self, now: float, late: list[Job]) -> None:
        views = [entry.view(self.tables) for entry in self.queue.entries.values()]
        for entry in self.queue.ask(views, self._context(now)):
            self._give_up(entry, late)

    def _context(self, now: float) -> Context:
        running = tuple(self._entries[id_].view(self.tables) for id_ in self._running)
        return Context(now, self.costs, running, self._last_budget)

    def _tokens(self, now: float) -> int:
        most = self.limits.token_budget
        if self.budget_override is not None:
            return self.budget_override
        if self._budget is not None:
            most = max(min(self._budget.budget(self._context(now)), most), 1)
        self._last_budget = most
        return most

    # ------------------------------------------------------------------------------------------------ giving up

    def _late(self, now: float) -> list[Job]:
        """Give up jobs whose deadline cannot be met any more, if they are to be dropped then."""
        late = [one.job for one in self._entries.values() if one.latest is not None and now > one.latest]
        for job in late:
            self._give_up(self._entries[job.id], [])
        return late

    def _give_up(self, entry: Entry, late: list[Job]) -> None:
        """Take a job out of everything; the caller of `schedule` ends it."""
        late.append(entry.job)
        self.queue.remove(entry)
        self._running.pop(entry.job.id, None)
        self.memory.leave(entry)

    def _reclaim(self, entry: Entry) -> bool:
        """Preempt somebody for a job; never the one that waited longest, so that somebody always gets to its end."""
        others = [self._entries[id_] for id_ in self._running]
        oldest = min(others, key=lambda one: one.number)
        views = [one.view(self.tables) for one in others if one is not oldest and one is not entry]
        if not views:
            return False
        self.preempt(self._running[self.guard.victim(views, self._context(0.0))])
        return True

    def _unstick(self, now: float, stuck: list[Job]) -> bool:
        """Nothing could be scheduled: see to it that something can. False if there is nothing to do."""
        if self.pool.capacity < self.pool.blocks and (len(self.queue) or self._pending()):
            self.pool.unpin_all()
            return True
        if not self._pending():
            return False
        if len(self._running) > 1:
            oldest = min((self._entries[id_] for id_ in self._running), key=lambda entry: entry.number)
            return self._reclaim(oldest)
        (job,) = self._running.values()
        self._give_up(self._entries[job.id], stuck)
        return True

    def _pending(self) -> bool:
        return any(branch.pending for job in self._running.values() for branch in job.branches)

    # --------------------------------------------------------------------------------------------------- blocks

    def _branch(self, job: Job) -> Branch:
        self._numbers += 1
        return Branch(job, self._numbers - 1, list(job.request.prompt))

    def _release(self, branch: Branch) -> None:
        self.tables.resign(branch)
        if self._flight:
            self._leaving.append(branch)  # the runner may be reading its table
        else:
            self.tables.drop(branch)

    def _settle(self) -> None:
        """Take the blocks of branches that ended while a step was in flight, once it is not any more."""
        while self._leaving and not self._flight:
            self.tables.drop(self._leaving.popleft())

    def _check(self, entry: Entry, now: float) -> None:
        request = entry.job.request
        check_shape(request, self.limits, most=entry.most, blocks=self.pool.blocks)
        if self.draining:
            raise Refused("draining", "the engine is shutting down; send the request to another one")
        if (
            len(self.queue) >= self.limits.max_waiting
            or self.queue.tokens + entry.tokens > self.limits.max_waiting_tokens
        ):
            raise Refused(
                "queue_full",
                f"{len(self.queue)} requests with {self.queue.tokens} tokens are waiting; try again later",
                retry_after=1.0,
            )


def _load(step: Step) -> Load:
    """Return the work of a step."""
    decodes = [row for row in step.rows if row.count == 1]
    attended = sum(row.count * (row.begin + row.count / 2) for row in step.rows if row.count > 1)
    return Load(step.tokens, attended, len(decodes), sum(row.begin for row in decodes))
