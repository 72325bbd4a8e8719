"""To which jobs the pool's memory is promised: who is let in, and who gets blocks.

The promise: in some order, each running job can get all the blocks it may still need, from those that are available
then, and end. So there is always one that can go on, and nobody has to be preempted. It holds with no job running, and
whatever takes blocks is allowed only if it holds afterwards. Two ways to see that, the quick one first:

1. Whoever takes the blocks could end with what is available now. Once it has, all is as if it had never taken them.
2. The banker's search for an order (`catp.serving.engine.forecast.safe`).

Blocks that come back, or stop being shared, never break the promise. A job's need counts on blocks of its own and on
the prefix it keeps to its end; nothing else that it shares with other jobs counts as its own
(`catp.serving.engine.holdings`).
"""

from collections.abc import Iterable, Sequence

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.entry import Entry
from catp.serving.engine.forecast import Growth, Pace, safe
from catp.serving.engine.holdings import Holding, Holdings

__all__ = ["Memory"]


class Memory:
    """Decides so that all that were let in can end without preemption.

    Args:
        pool: the blocks.
        holdings: who has which of them.
        watermark: blocks that stay free when a job is let in.
        overcommit: let in by expected lengths, and give blocks as long as there are any.
    """

    def __init__(self, pool: BlockPool, holdings: Holdings, *, watermark: int, overcommit: bool) -> None:
        self.pool, self.holdings = pool, holdings
        self.overcommit = overcommit
        self._watermark = watermark
        self._running: dict[str, tuple[Entry, int]] = {}
        self._worst = 0
        self._pace: Pace | None = None
        self._joining: tuple[Entry, Growth] | None = None

    def begin(self) -> None:
        """A round begins: jobs may have grown."""
        self._pace = self._joining = None

    def enter(self, entry: Entry) -> None:
        """A job runs from now on, or may take more than before."""
        pace, joining = self._pace, self._joining
        self.leave(entry)
        if pace is not None and joining is not None and joining[0] is entry:
            pace.add(joining[1])
            self._pace = pace
        self.holdings.keep(entry.job.holding, entry.shared)
        self._running[entry.job.id] = entry, entry.most
        self._worst += entry.most

    def leave(self, entry: Entry) -> None:
        """A job does not run any more."""
        _, most = self._running.pop(entry.job.id, (entry, 0))
        self._worst -= most
        self._pace = self._joining = None

    def fits(self, entry: Entry, matched: Sequence[int]) -> bool:
        """Whether a job can be let in that finds these blocks of its prompt in the cache."""
        if not self._running or self._worst + entry.most + self._watermark <= self.pool.capacity:
            return True  # alone it gets all there is
        idle, alone = self.holdings.joining(matched)
        return self._paces(entry, len(matched), idle, alone) and (
            self._starts(entry, len(matched), idle) if self.overcommit else self._adopts(entry, matched, 0)
        )

    def grant(self, entry: Entry, blocks: int) -> bool:
        """Whether a running job may take so many blocks now."""
        available = self.pool.available
        if blocks > available:
            return False
        if self.overcommit or self._worst <= self.pool.capacity:
            return True
        mine = entry.job.holding
        need = mine.need(entry.most)
        if need <= available:
            return True
        return safe(available - blocks, [(max(need - blocks, 0), mine.private + blocks), *self._claims(entry)])

    def share(self, entry: Entry, found: Sequence[int], first: int) -> bool:
        """Whether a running job may adopt blocks, from place `first` on: they come back later than otherwise."""
        self._pace = None
        return self.overcommit or self._worst <= self.pool.capacity or self._adopts(entry, found, first)

    def _adopts(self, entry: Entry, found: Sequence[int], first: int) -> bool:
        """Whether the promise holds if a job shares blocks (and runs, if it does not yet)."""
        holding, holdings = entry.job.holding, self.holdings
        available = self.pool.available - self.pool.idle(found)
        if entry.most - min(len(found), entry.shared) <= available and not holding.blocks:
            return True
        holdings.keep(holding, entry.shared)
        # what it holds now in place of the found comes back, but later than it might be needed
        holdings.take(holding, found, first)
        try:
            need = holding.need(entry.most)
            return need <= available or safe(available, [(need, holding.private), *self._claims(entry)])
        finally:
            holdings.give(holding, found)

    def _claims(self, but: Entry) -> Iterable[tuple[int, int]]:
        """What all that run, but one, may need and would give back."""
        for entry, most in self._running.values():
            if entry is not but:
                holding = entry.job.holding
                yield holding.need(most), holding.private

    def _starts(self, entry: Entry, matched: int, idle: int) -> bool:
        """Whether there is room for the tokens that a job has already."""
        now = sum(-(-len(branch.tokens) // self.pool.size) for branch in entry.job.branches)
        return now - matched + idle + self._watermark <= self.pool.available

    def _paces(self, entry: Entry, matched: int, idle: int, alone: dict[Holding, int]) -> bool:
        """Whether memory lasts if all go on at the same pace, a new one included."""
        pace = self._pace
        if pace is None or alone:
            growths = []
            for one, _ in self._running.values():
                holding = one.job.holding
                private = holding.private - alone.get(holding, 0)
                growths.append(self._growth(one, private, len(holding.blocks) - private))
            pace = Pace(growths, self.pool.size)
        self._pace = None if alone else pace
        growth = self._growth(entry, idle, matched - idle)
        self._joining = entry, growth
        private = sum(one.job.holding.private for one, _ in self._running.values()) - sum(alone.values())
        shared = self.pool.used - private
        return shared + pace.peak(growth) + self._watermark <= self.pool.capacity

    def _growth(self, entry: Entry, private: int, others: int) -> Growth:
        """Return how a job grows beside the blocks that it shares with others."""
        branches, size, width = entry.job.branches, self.pool.size, entry.width
        longest = (
            len(branches[0].tokens) if len(branches) == 1 else max((len(one.tokens) for one in branches), default=0)
        )
        left = entry.longest - longest
        if self.overcommit:
            width = len(branches)
            left = min(left, max(int(entry.length.expected) + len(entry.job.request.prompt) - longest, 1))
        blocks = -(-longest // size)
        now = blocks if width == 1 else min(entry.shared, blocks) + width * max(blocks - entry.shared, 0)
        now, most = now - others, entry.most - others
        return Growth(
            now if now > private else private, left if left > 0 else 0, -longest % size, width,
            most if most > private else private,
        )  # fmt: skip
