"""To which jobs the pool's memory is promised: who is let in, and who gets blocks."""

from collections.abc import Sequence

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.entry import Entry
from catp.serving.engine.forecast import Claim, Growth, peak, safe

__all__ = ["Memory"]


class Memory:
    """Decides so that all that were let in can end without preemption.

    As long as the worst of all running jobs fits the pool together, nothing needs to be looked at.

    Args:
        pool: the blocks.
        watermark: blocks that stay free when a job is let in.
        overcommit: let in by expected lengths, and give blocks as long as there are any.
    """

    def __init__(self, pool: BlockPool, *, watermark: int, overcommit: bool) -> None:
        self.pool = pool
        self.overcommit = overcommit
        self._watermark = watermark
        self._running: dict[str, tuple[Entry, int]] = {}
        self._worst = 0
        self._claims: dict[str, Claim] | None = None

    def enter(self, entry: Entry) -> None:
        """A job runs from now on, or may take more than before."""
        self.leave(entry)
        self._running[entry.job.id] = entry, entry.most
        self._worst += entry.most

    def leave(self, entry: Entry) -> None:
        """A job does not run any more."""
        _, most = self._running.pop(entry.job.id, (entry, 0))
        self._worst -= most
        self._claims = None

    def changed(self) -> None:
        """Tables have changed since the last question."""
        self._claims = None

    def fits(self, entry: Entry, matched: Sequence[int]) -> bool:
        """Whether a job can be let in that finds these blocks of its prompt in the cache."""
        if not self._running or self._worst + entry.most + self._watermark <= self.pool.capacity:
            return True  # alone it gets all there is
        self.pool.acquire(matched)  # so that what it shares counts as shared, and what it needs cannot be evicted
        try:
            return self._fits(entry, matched)
        finally:
            self.pool.release(matched)

    def grant(self, entry: Entry, blocks: int) -> bool:
        """Whether a running job may take so many blocks now."""
        if blocks > self.pool.available:
            return False
        if self.overcommit or self._worst <= self.pool.capacity:
            return True
        if self._claims is None:
            self._claims = {id_: self._claim(one) for id_, (one, _) in self._running.items()}
        claims, available = self._claims, self.pool.available - blocks
        mine = claims[entry.job.id]
        mine.need, mine.private = max(mine.need - blocks, 0), mine.private + blocks
        if safe(available, claims.values()):
            return True
        self._claims = None
        return False

    def share(self, entry: Entry, found: Sequence[int]) -> bool:
        """Whether a running job may adopt blocks: they come back later then than their owners' end."""
        if self.overcommit or self._worst <= self.pool.capacity:
            return True
        self.pool.acquire(found)
        claims = [self._claim(one) for one, _ in self._running.values() if one is not entry]
        claims.append(Claim(entry.most - entry.held() - len(found), entry.private(self.pool.refs, found)))
        try:
            return safe(self.pool.available, claims)
        finally:
            self.pool.release(found)

    def _fits(self, entry: Entry, matched: Sequence[int]) -> bool:
        refs = self.pool.refs
        own = sum(refs[block] == 1 for block in matched)
        entries = [one for one, _ in self._running.values()]
        private = [one.private(refs) for one in entries]
        shared = self.pool.used - sum(private) - own
        growths = [self._growth(one, one.held(), mine) for one, mine in zip(entries, private, strict=True)]
        growths.append(self._growth(entry, len(matched), own))
        if shared + peak(growths, self.pool.size) + self._watermark > self.pool.capacity:
            return False
        if self.overcommit:
            now = sum(-(-len(branch.tokens) // self.pool.size) for branch in entry.job.branches)
            return now - len(matched) + self._watermark <= self.pool.available
        claims = [self._claim(one) for one in entries]
        claims.append(Claim(entry.most - len(matched), own))
        return safe(self.pool.available, claims)

    def _claim(self, entry: Entry) -> Claim:
        return Claim(max(entry.most - entry.held(), 0), entry.private(self.pool.refs))

    def _growth(self, entry: Entry, held: int, private: int) -> Growth:
        request, size = entry.job.request, self.pool.size
        longest = max((len(branch.tokens) for branch in entry.job.branches), default=0)
        left, width = len(request.prompt) + request.bound - longest, request.width
        if self.overcommit:
            width = len(entry.job.branches)
            left = min(left, max(int(entry.length.expected) + len(request.prompt) - longest, 1))
        now = entry.shared + width * max(-(-longest // size) - entry.shared, 0)
        others = held - private
        return Growth(
            max(now - others, private), max(left, 0), -longest % size, width, max(entry.most - others, private)
        )
