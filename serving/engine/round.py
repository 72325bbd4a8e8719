"""One pass over all jobs: which rows the next step has.

    short rows (a token, a forced run) -> open prompts in chunks -> waiting jobs in the policy's order

A row gets in if nobody else computes its next block (it waits for that one) and there are blocks for it. One that finds
no blocks waits too: memory is promised in a way that somebody can always go on.
"""

from collections.abc import Iterable, Sequence

from catp.serving.engine.entry import Entry
from catp.serving.engine.request import Branch, Job
from catp.serving.engine.roster import Roster
from catp.serving.engine.step import Row

__all__ = ["Round"]

_SHORT = 32
"""Pending tokens up to which a row counts as decoding and goes first."""
_TRIES = 4
"""Jobs that may not fit before the round stops looking for smaller ones."""
_RESERVE = 8
"""One part in so many of the budget is kept for open prompts."""


class Round:
    """Makes rows within a token budget.

    Attributes:
        rows: by number of the branch.
        late: jobs given up because they cannot be in time.
        stuck: jobs given up because the pool cannot hold them.
    """

    def __init__(self, roster: Roster, now: float, number: int) -> None:
        self.rows: dict[int, Row] = {}
        self.late: list[Job] = []
        self.stuck: list[Job] = []
        self._roster, self._now, self._number = roster, now, number
        self._waiting = self._impatient = False

    def run(self, budget: int) -> None:
        """Fill the rows."""
        roster = self._roster
        roster.tables.copies = []
        roster.memory.begin()
        for entry in [one for one in roster.dropping.values() if one.latest < self._now]:
            entry.refresh(roster.tables, roster.costs, roster.limits.token_budget)  # it may have begun since
            if entry.latest < self._now:
                self._give_up(entry, self.late)
        self._fill_running(budget)
        while not self.rows and self._unstick():
            self._fill_running(budget)

    def _fill_running(self, budget: int) -> None:
        short, open_ = [], []
        for job in self._roster.running.values():
            for branch in job.branches:
                pending = len(branch.tokens) - branch.computed
                if pending > _SHORT:
                    open_.append(branch)
                elif pending:
                    short.append(branch)
        kept = -(-budget // _RESERVE) if open_ else 0
        left = self._fill(short, budget - kept)
        if left <= 0:
            self._rotate()
        left = self._fill(open_, left + kept)
        if left > 0 and len(self._roster.queue):
            self._admit(left)

    def _fill(self, branches: Iterable[Branch], left: int, *, force: bool = True) -> int:
        """Make rows of branches that run; return what is left of the budget."""
        tables, running, rows, number = self._roster.tables, self._roster.running, self.rows, self._number
        for branch in branches:
            if left <= 0:
                break
            if branch.job.request.id not in running:  # it was preempted in this round
                continue
            if not tables.ready(branch) and not self._prepare(branch, left, force):
                continue
            begin = branch.computed
            count = min(len(branch.tokens) - begin, left)
            tables.lead(branch, number)
            rows[branch.number] = Row(branch, begin, count)
            left -= count
        return left

    def _rotate(self) -> None:
        """The budget is too small for all: those that were served go to the end."""
        running = self._roster.running
        for id_ in list(dict.fromkeys(row.branch.job.id for row in self.rows.values())):
            running[id_] = running.pop(id_)

    def _prepare(self, branch: Branch, left: int, force: bool) -> bool:
        """Adopt what is cached, and get blocks for the rest; False if the branch has to wait."""
        roster, tables = self._roster, self._roster.tables
        entry = roster.entries[branch.job.id]
        found = tables.found(branch)
        if found and roster.memory.share(entry, found, branch.computed // roster.pool.size):
            self._adopt(branch, found)
        if tables.waits(branch, branch.computed, self._number) and not self._impatient:
            self._waiting = True
            return False
        end = min(len(branch.tokens), branch.computed + left)
        force = force and roster.limits.overcommit
        whole = self._room(entry, branch, len(branch.tokens), force=False)  # neighbours, if there is room for all
        return whole or self._room(entry, branch, end, force=force)

    def _adopt(self, branch: Branch, found: Sequence[int]) -> None:
        job = branch.job
        self._roster.tables.adopt(branch, found)
        if branch is job.branches[0] and not job.preemptions:
            job.cached_tokens += len(found) * self._roster.pool.size

    def _room(self, entry: Entry, branch: Branch, end: int, *, force: bool) -> bool:
        """Get a branch the blocks for positions up to `end`; with force, from jobs that are preempted for it."""
        tables, memory = self._roster.tables, self._roster.memory
        missing = tables.missing(branch, end)
        while missing and not memory.grant(entry, missing):
            if not force or not self._reclaim(entry):
                return False
        tables.grow(branch, end)
        return True

    def _admit(self, left: int) -> None:
        """Let waiting jobs in, in the policy's order."""
        roster, most = self._roster, self._roster.limits.max_sequences
        sequences = sum(job.request.width for job in roster.running.values())
        if sequences >= most:
            return
        if roster.queue.stale(self._now):
            for entry in roster.ask(self._now):
                self._give_up(entry, self.late)
        failed = 0
        started: list[Entry] = []
        for entry in roster.queue:
            if left <= 0 or failed >= _TRIES or sequences >= most:
                break
            root = entry.job.branches[0]
            entry.matched = roster.tables.matched(root, entry.matched)
            if roster.tables.waits(root, entry.matched * roster.pool.size, self._number):
                continue
            width = entry.job.request.width
            cached = roster.pool.match_keys(root.keys[: entry.matched])
            if sequences + width > most or not roster.memory.fits(entry, cached):
                failed += 1
                if roster.queue.overdue(entry):
                    break
                continue
            sequences += width
            roster.start(entry, self._now)
            started.append(entry)
            if cached and not root.computed:
                self._adopt(root, cached)
            left = self._fill(list(entry.job.branches), left, force=False)
        if started:
            roster.queue.started(started)

    def _give_up(self, entry: Entry, given_up: list[Job]) -> None:
        """Take a job out; whoever asked for the step ends it."""
        given_up.append(entry.job)
        self._roster.withdraw(entry)

    def _reclaim(self, entry: Entry) -> bool:
        """Preempt somebody for a job; never the oldest, so that somebody always gets to its end."""
        roster = self._roster
        spared = {entry.job.id, roster.oldest().job.id}
        views = [view for view in roster.views() if view.id not in spared]
        if not views:
            return False
        victim = roster.entries[roster.guard.victim(views, roster.context(self._now))]
        for branch in victim.job.branches:
            self.rows.pop(branch.number, None)
        roster.preempt(victim)
        return True

    def _unstick(self) -> bool:
        """There are no rows: see to it that there can be. False if nothing is to be done, or can be only later."""
        roster = self._roster
        if self.late or self.stuck:  # whoever ends these makes room
            return False
        if self._waiting and not self._impatient:  # those whom they wait for cannot go on: wait no more
            self._impatient = True
            return True
        pending = any(branch.pending for job in roster.running.values() for branch in job.branches)
        if roster.pool.capacity < roster.pool.blocks and (pending or len(roster.queue)):
            roster.pool.unpin_all()
            return True
        if not pending:
            return False
        oldest = roster.oldest()
        if len(roster.running) > 1:
            return self._reclaim(oldest)
        self._give_up(oldest, self.stuck)
        return False
