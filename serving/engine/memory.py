"""To which jobs the pool's memory is promised: who is let in, and who gets blocks."""

from collections.abc import Iterator, Sequence

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.entry import Entry
from catp.serving.engine.forecast import Claim, Growth, peak, safe

__all__ = ["Memory"]

_REFRESH = 16
"""Rounds after which all claims are looked up anew."""


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
        self._claims: dict[str, Claim] = {}
        self._growths: list[Growth] | None = None
        self._rounds = 0

    def enter(self, entry: Entry) -> None:
        """A job runs from now on, or may take more than before."""
        self.leave(entry)
        self._running[entry.job.id] = entry, entry.most
        self._worst += entry.most

    def leave(self, entry: Entry) -> None:
        """A job does not run any more."""
        _, most = self._running.pop(entry.job.id, (entry, 0))
        self._worst -= most
        self._claims.pop(entry.job.id, None)
        self._growths = None

    def touch(self, entry: Entry) -> None:
        """The tables of a job have changed other than by grants."""
        self._claims.pop(entry.job.id, None)

    def begin(self) -> None:
        """A round begins. What others gave back meanwhile is noticed late: claims err on the safe side."""
        self._growths = None
        self._rounds += 1
        if self._rounds % _REFRESH == 0:
            self._claims = {}

    def fits(self, entry: Entry, matched: Sequence[int]) -> bool:
        """Whether a job can be let in that finds these blocks of its prompt in the cache."""
        if not self._running or self._worst + entry.most + self._watermark <= self.pool.capacity:
            return True  # alone it gets all there is
        if any(self.pool.refs[block] == 1 for block in matched):  # what was its owner's alone is shared then
            self._claims = {}
        self.pool.acquire(matched)  # it cannot be evicted for the job any more
        try:
            return self._fits(entry, matched)
        finally:
            self.pool.release(matched)

    def grant(self, entry: Entry, blocks: int) -> bool:
        """Whether a running job may take so many blocks now."""
        available = self.pool.available - blocks
        if available < 0:
            return False
        if self.overcommit or self._worst <= self.pool.capacity:
            return True
        for claims in self._attempts():
            mine = claims[entry.job.id]
            need, private = mine.need, mine.private
            mine.need, mine.private = max(need - blocks, 0), private + blocks
            if safe(available, claims.values()):
                return True
            mine.need, mine.private = need, private
        return False

    def share(self, entry: Entry, found: Sequence[int]) -> bool:
        """Whether a running job may adopt blocks: they come back later then than at their owner's end."""
        self.touch(entry)
        if any(self.pool.refs[block] == 1 for block in found):
            self._claims = {}
        if self.overcommit or self._worst <= self.pool.capacity:
            return True
        self.pool.acquire(found)
        claims = [self._claim(one) for one, _ in self._running.values() if one is not entry]
        claims.append(Claim(entry.most - entry.held() - len(found), entry.private(self.pool.refs, found)))
        try:
            return safe(self.pool.available, claims)
        finally:
            self.pool.release(found)

    def _attempts(self) -> Iterator[dict[str, Claim]]:
        """The claims of all that run: as they are known, then looked up anew."""
        known = len(self._claims)
        yield self._known()
        if known:
            self._claims = {}
            yield self._known()

    def _known(self) -> dict[str, Claim]:
        claims = self._claims
        if len(claims) < len(self._running):
            for id_, (entry, _) in self._running.items():
                if id_ not in claims:
                    claims[id_] = self._claim(entry)
        return claims

    def _fits(self, entry: Entry, matched: Sequence[int]) -> bool:
        pool = self.pool
        own = sum(pool.refs[block] == 1 for block in matched)
        claims = self._known()
        if self._growths is None:
            self._growths = [self._growth(one, claims[id_].private) for id_, (one, _) in self._running.items()]
        shared = pool.used - sum(claim.private for claim in claims.values()) - own
        growths = [*self._growths, self._growth(entry, own, len(matched))]
        if shared + peak(growths, pool.size) + self._watermark > pool.capacity:
            return False
        if self.overcommit:
            now = sum(-(-len(branch.tokens) // pool.size) for branch in entry.job.branches)
            return now - len(matched) + self._watermark <= pool.available
        return safe(pool.available, [*claims.values(), Claim(entry.most - len(matched), own)])

    def _claim(self, entry: Entry) -> Claim:
        return Claim(max(entry.most - entry.held(), 0), entry.private(self.pool.refs))

    def _growth(self, entry: Entry, private: int, held: int | None = None) -> Growth:
        request, size, branches = entry.job.request, self.pool.size, entry.job.branches
        longest = max((len(branch.tokens) for branch in branches), default=0)
        left, width = len(request.prompt) + request.bound - longest, request.width
        if self.overcommit:
            width = len(branches)
            left = min(left, max(int(entry.length.expected) + len(request.prompt) - longest, 1))
        now = entry.shared + width * max(-(-longest // size) - entry.shared, 0)
        others = (entry.held() if held is None else held) - private
        return Growth(
            max(now - others, private), max(left, 0), -longest % size, width, max(entry.most - others, private)
        )
