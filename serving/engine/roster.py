"""Who waits, who runs, and what each of them holds: the state behind the scheduler, and the moves between its parts."""

from collections.abc import Callable
from typing import Protocol

from catp.serving.engine.admission import Limits
from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.entry import Entry
from catp.serving.engine.memory import Memory
from catp.serving.engine.queue import Guard, Queue
from catp.serving.engine.request import Job, Phase
from catp.serving.engine.tables import Tables
from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.policies.protocol import Context, View

__all__ = ["Budget", "Roster"]

_TURNS = 16
"""What is cached of a waiting prompt is looked up every so many questions to the policy, and when it is tried."""


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


class Roster:
    """Jobs in the engine.

    Attributes:
        entries: notes on all of them, by id.
        running: those that were let in, by id, the first to be served first.
        queue: those that were not yet, or were preempted.
        dropping: those that are given up when they cannot be in time.
        preempted: how often a job lost its blocks.
    """

    def __init__(
        self, pool: BlockPool, limits: Limits, policy: QueuePolicy, costs: CostModel, budget: Budget | None,
        timer: Callable[[], float],
    ) -> None:  # fmt: skip
        self.pool, self.limits, self.budget = pool, limits, budget
        self.entries: dict[str, Entry] = {}
        self.running: dict[str, Job] = {}
        self.dropping: dict[str, Entry] = {}
        self.guard = Guard(policy, timer)
        self.queue = Queue(self.guard, limits.max_skips)
        self.tables = Tables(pool)
        self.memory = Memory(pool, self.tables.holdings, watermark=limits.watermark, overcommit=limits.overcommit)
        self.preempted = 0
        self._costs = costs
        self._tokens = limits.token_budget
        self._asked = 0

    @property
    def costs(self) -> CostModel:
        """Step times: as learned if somebody learns them, as given otherwise."""
        return self.budget.costs if self.budget else self._costs

    def add(self, entry: Entry) -> None:
        """A job arrives."""
        self.entries[entry.job.id] = entry
        if entry.job.request.drop_late:
            entry.refresh(self.tables, self.costs, self.limits.token_budget)
            self.dropping[entry.job.id] = entry
        entry.view(self.tables)  # keys of its prompt are computed on arrival, not in a decision
        self.queue.add(entry)

    def start(self, entry: Entry, now: float) -> None:
        """A job is let in."""
        job = entry.job
        self.queue.remove(entry)
        job.phase = Phase.RUNNING
        if job.started is None:
            job.started = now
        self.running[job.id] = job
        self.memory.enter(entry)

    def preempt(self, entry: Entry) -> None:
        """A running job loses its blocks and waits; it keeps its tokens and what it wants to read."""
        job = entry.job
        del self.running[job.id]
        self.memory.leave(entry)
        for branch in job.branches:
            self.tables.drop(branch)
        job.phase = Phase.WAITING
        job.preemptions += 1
        self.preempted += 1
        entry.matched = 0
        self.queue.add(entry)

    def withdraw(self, entry: Entry) -> None:
        """A job neither waits nor runs any more; its blocks are still its own."""
        self.queue.remove(entry)
        self.queue.changed()
        self.running.pop(entry.job.id, None)
        self.dropping.pop(entry.job.id, None)
        self.memory.leave(entry)

    def ask(self, now: float) -> list[Entry]:
        """Ask the policy for the order of those that wait; return whom it gives up."""
        self._asked += 1
        turn = self._asked % _TURNS
        views = [
            entry.seen if entry.seen and entry.number % _TURNS != turn else entry.view(self.tables)
            for entry in self.queue.entries.values()
        ]
        for entry in self.dropping.values():
            if entry.number % _TURNS == turn:
                entry.refresh(self.tables, self.costs, self.limits.token_budget)
        return self.queue.ask(views, self.context(now))

    def views(self) -> list[View]:
        """Return how policies see those that run."""
        return [self.entries[id_].view(self.tables) for id_, job in self.running.items() if job.branches]

    def context(self, now: float) -> Context:
        """Return what a policy may look at."""
        return Context(now, self.costs, tuple(self.views()), self._tokens)

    def tokens(self, now: float) -> int:
        """Return the token budget of a step."""
        if self.budget is not None:
            self._tokens = max(min(self.budget.budget(self.context(now)), self.limits.token_budget), 1)
        return self._tokens

    def oldest(self) -> Entry:
        """Return the running job that arrived first."""
        return min((self.entries[id_] for id_ in self.running), key=lambda entry: entry.number)
