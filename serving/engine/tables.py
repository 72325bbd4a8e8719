"""Block tables of branches: what they share, when they copy, and who computes a prefix for whom.

A branch only writes to blocks that are its own. One that others use is copied first (copy on write); this happens only
to the block in whose middle a branch was forked. One that nobody else uses any more is forgotten by the prefix cache.

A prefix that several branches need is computed once: whoever computes a block is its leader, the others wait until it
is in the cache and adopt it. Nobody waits for a leader that did nothing for `_PATIENCE` rounds.
"""

from collections.abc import Sequence

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.holdings import Holdings
from catp.serving.engine.prefix import extend_chain
from catp.serving.engine.request import Branch

__all__ = ["Tables"]

_PATIENCE = 8


class Tables:
    """Does what the scheduler decided to the tables of branches."""

    def __init__(self, pool: BlockPool) -> None:
        self.pool, self.holdings = pool, Holdings(pool.blocks)
        self.copies: list[tuple[Branch, int, int]] = []
        """Copies of the round: branch, from, to. Released sources may be reused: all are read before any is written."""
        self._leaders: dict[bytes, Branch] = {}
        self._seen: dict[int, int] = {}

    def keys(self, branch: Branch, count: int) -> list[bytes]:
        """Return the keys of at least the branch's first `count` full blocks."""
        if len(branch.keys) < count:
            extend_chain(branch.keys, branch.tokens, branch.job.request.adapter or "", self.pool.size, count)
        return branch.keys

    def adoptable(self, branch: Branch) -> int:
        """Return how many leading blocks need not be computed: not those that are read, nor that of the last token."""
        last = len(branch.tokens) - 1
        if branch.reads:
            last = min(last, branch.reads[0].at)
        return max(last, 0) // self.pool.size

    def matched(self, branch: Branch, so_far: int) -> int:
        """Return how many leading blocks are cached, starting from an earlier answer: a few look-ups only."""
        most = self.adoptable(branch)
        keys = self.keys(branch, most)
        count = min(so_far, most)
        while count and self.pool.find(keys[count - 1]) is None:  # a chain loses its tail first
            count -= 1
        while count < most and self.pool.find(keys[count]) is not None:
            count += 1
        return count

    def found(self, branch: Branch) -> list[int]:
        """Return the cached blocks that a branch can adopt instead of computing them."""
        first, offset = divmod(branch.computed, self.pool.size)
        if offset or (len(branch.tokens) - 1) // self.pool.size <= first:
            return []
        most = self.adoptable(branch)
        return self.pool.match_keys(self.keys(branch, most)[first:most])

    def adopt(self, branch: Branch, found: Sequence[int]) -> None:
        """Give a branch the blocks that were found for it."""
        first = branch.computed // self.pool.size
        unused = branch.blocks[first : first + len(found)]
        self.pool.adopt(found)
        self.holdings.take(branch.job.holding, found, first)
        branch.blocks[first : first + len(found)] = found
        self._release(branch, unused)
        if branch.shared == branch.computed:
            branch.shared += len(found) * self.pool.size
        branch.computed += len(found) * self.pool.size

    def waits(self, branch: Branch, position: int, round_: int) -> bool:
        """Whether somebody else is computing the block at `position`, a multiple of the block size, that it needs."""
        number, offset = divmod(position, self.pool.size)
        if offset or (len(branch.tokens) - 1) // self.pool.size <= number or number >= self.adoptable(branch):
            return False
        leader = self._leaders.get(self.keys(branch, number + 1)[number])
        if leader is None or leader is branch:
            return False
        return round_ - self._seen[leader.number] <= _PATIENCE

    def lead(self, branch: Branch, round_: int) -> None:
        """Say that a branch computes its pending full blocks."""
        first, last = branch.computed // self.pool.size, len(branch.tokens) // self.pool.size
        if first == last:
            return
        self._seen[branch.number] = round_
        for key in self.keys(branch, last)[first:last]:
            leader = self._leaders.setdefault(key, branch)
            if leader is not branch and round_ - self._seen[leader.number] > _PATIENCE:
                self._leaders[key] = branch

    def ready(self, branch: Branch) -> bool:
        """Whether a branch goes on within blocks of its own: nothing to adopt, to wait for or to allocate."""
        pool, blocks = self.pool, branch.blocks
        number, offset = divmod(branch.computed, pool.size)
        if not offset or len(branch.tokens) > len(blocks) * pool.size:
            return False
        return pool.refs[blocks[number]] == 1 and not pool.sealed(blocks[number])

    def missing(self, branch: Branch, end: int) -> int:
        """Return how many blocks must be allocated before positions from `computed` to `end` can be written."""
        return max(-(-end // self.pool.size) - len(branch.blocks), 0) + self._must_copy(branch)

    def grow(self, branch: Branch, end: int) -> None:
        """Allocate what is `missing`, and make the block that is written to first the branch's own."""
        pool, blocks, holding = self.pool, branch.blocks, branch.job.holding
        fresh = -(-end // pool.size) - len(blocks)
        if fresh > 0:
            found = pool.allocate(fresh, blocks[-1] if blocks else None)
            self.holdings.take(holding, found, len(blocks))
            blocks += found
        number, offset = divmod(branch.computed, pool.size)
        if self._must_copy(branch):
            source = blocks[number]
            (target,) = pool.allocate(1, blocks[number - 1] if number else None)
            self.holdings.take(holding, [target], number)
            blocks[number] = target
            self._release(branch, [source])
            self.copies.append((branch, source, target))
        elif offset:
            pool.unseal(blocks[number])

    def seal(self, branch: Branch, begin: int, end: int) -> None:
        """Let the blocks that were filled by computing positions from `begin` to `end` be found."""
        first, last = begin // self.pool.size, end // self.pool.size
        if first == last:
            return
        keys = self.keys(branch, last)
        for number in range(first, last):
            self.pool.seal(branch.blocks[number], keys[number])
            if self._leaders.get(keys[number]) is branch:
                del self._leaders[keys[number]]

    def fork(self, branch: Branch, number: int, at: int) -> Branch:
        """Return a new branch with the first `at` tokens of another and its blocks as far as they are computed."""
        size = self.pool.size
        computed = at if at <= branch.computed else branch.computed // size * size
        blocks = branch.blocks[: -(-computed // size)]
        self.pool.acquire(blocks)
        self.holdings.take(branch.job.holding, blocks, 0)
        child = Branch(branch.job, number, branch.tokens[:at], computed, blocks, shared=computed)
        child.keys = branch.keys[: at // size]
        return child

    def resign(self, branch: Branch) -> None:
        """Let others compute what the branch was to compute."""
        if self._seen.pop(branch.number, None) is not None:
            for key in branch.keys:  # also of blocks that it adopted in the end, computed by somebody else
                if self._leaders.get(key) is branch:
                    del self._leaders[key]

    def drop(self, branch: Branch) -> None:
        """Take a branch's blocks away; it would have to compute all of its tokens again."""
        self.resign(branch)
        self.copies = [copy for copy in self.copies if copy[0] is not branch]
        self._release(branch, branch.blocks)
        branch.blocks = []
        branch.computed = branch.shared = 0

    def _must_copy(self, branch: Branch) -> bool:
        number, offset = divmod(branch.computed, self.pool.size)
        if not offset:
            return False
        return self.pool.refs[branch.blocks[number]] > 1

    def _release(self, branch: Branch, blocks: Sequence[int]) -> None:
        self.holdings.give(branch.job.holding, blocks)
        self.pool.release(blocks)
