"""The paged memory of keys and values, as numbers: which block is free, cached or in use, and what it holds.

A block is in one of three states. Used: branches refer to it, `refs` says how many. Cached: nobody does, but it holds a
known prefix and is found by its key until it is evicted, the least recently used first. Free: it holds nothing.
Blocks of a chain are released tail first, so that a prefix loses its end before its beginning. Equal blocks are not
merged: a block table never changes under a branch (as in vLLM v1).

Free blocks are one big integer, a bit each: runs of neighbours are found in a few word operations per 64 blocks, and
attention on CPUs reads neighbours as one extent.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from catp.serving.engine.errors import NoBlocks
from catp.serving.engine.prefix import chain

__all__ = ["BlockPool"]

_ROOM = 4
"""Blocks left free on either side of a new run where there is room, so that it and its neighbour can grow."""


class BlockPool:
    """Blocks 0 to `blocks` - 1 of `size` tokens each.

    Attributes:
        hits: blocks that were found in the cache and used again.
        evictions: cached blocks that were given up.
    """

    def __init__(self, blocks: int, size: int) -> None:
        if blocks < 1 or size < 1:
            raise ValueError(f"a pool needs at least 1 block of at least 1 token, not {blocks} of {size}")
        self.blocks = blocks
        self.size = size
        self.refs = [0] * blocks
        self.hits = 0
        self.evictions = 0
        self._free = (1 << blocks) - 1
        self._free_count = blocks
        self._used = 0
        self._lru: OrderedDict[int, None] = OrderedDict()
        self._keys: list[bytes | None] = [None] * blocks
        self._index: dict[bytes, int] = {}
        self._pins: dict[bytes, int] = {}
        self._idle_pins = 0

    @property
    def free(self) -> int:
        """Blocks that hold nothing."""
        return self._free_count

    @property
    def used(self) -> int:
        """Blocks that branches refer to."""
        return self._used

    @property
    def cached(self) -> int:
        """Blocks that nobody refers to and that hold a prefix; pinned ones included."""
        return len(self._lru) + self._idle_pins

    @property
    def available(self) -> int:
        """Blocks that can be allocated now: free ones, and cached ones that are not pinned."""
        return self._free_count + len(self._lru)

    @property
    def capacity(self) -> int:
        """Blocks that branches use or could use: all but idle pinned ones."""
        return self.blocks - self._idle_pins

    def idle(self, blocks: Iterable[int]) -> int:
        """Return how many of some blocks could be evicted now."""
        return sum(block in self._lru for block in blocks)

    def allocate(self, n: int, after: int | None = None) -> list[int]:
        """Return n blocks with one reference each, as neighbours of each other (and of `after`) as far as possible.

        Raises:
            NoBlocks: there are not as many; nothing was allocated or evicted.
        """
        if n > self.available:
            raise NoBlocks(
                f"{n} blocks are needed and {self.available} of {self.blocks} are available; "
                "wait until a request ends, or give the engine more memory for its cache"
            )
        if n > self._free_count:
            self._evict(n)
        found = self._following(n, after)
        if len(found) < n:
            found += self._runs(n - len(found))
        for block in found:
            self.refs[block] = 1
        self._used += n
        return found

    def acquire(self, blocks: Iterable[int]) -> None:
        """Add a reference to used or cached blocks."""
        for block in blocks:
            if not self.refs[block]:
                if self._keys[block] is None:
                    raise ValueError(f"block {block} is free; only used and cached blocks can be shared")
                self._used += 1
                if block in self._lru:
                    del self._lru[block]
                else:
                    self._idle_pins -= 1
            self.refs[block] += 1

    def adopt(self, blocks: Sequence[int]) -> None:
        """Add a reference to blocks that `match` or `find` found, and count them as hits."""
        self.acquire(blocks)
        self.hits += len(blocks)

    def release(self, blocks: Sequence[int]) -> None:
        """Take a reference from each block of a table; the tail becomes the first to be evicted."""
        for block in reversed(blocks):
            if not self.refs[block]:
                raise ValueError(f"block {block} is released more often than it was acquired")
            self.refs[block] -= 1
            if not self.refs[block]:
                self._used -= 1
                self._rest(block)

    def match(self, tokens: Sequence[int], salt: str = "") -> list[int]:
        """Return the cached blocks of the longest known prefix, never the one with the last token."""
        return self.match_keys(chain(tokens[: max(len(tokens) - 1, 0)], salt, self.size))

    def match_keys(self, keys: Sequence[bytes]) -> list[int]:
        """Return the blocks of the longest known prefix of a chain."""
        found = []
        for key in keys:
            block = self._index.get(key)
            if block is None:
                break
            found.append(block)
        return found

    def find(self, key: bytes) -> int | None:
        """Return the block with this key, None if it is not cached."""
        return self._index.get(key)

    def seal(self, block: int, key: bytes) -> bool:
        """Make a full, computed block found by its key; False if another block already is."""
        if key in self._index:
            return False
        if not self.refs[block] or self._keys[block] is not None:
            raise ValueError(f"block {block} cannot be sealed: it is not in use, or sealed already")
        self._index[key] = block
        self._keys[block] = key
        return True

    def sealed(self, block: int) -> bool:
        """Whether the block is found by a key; what it holds must not change then."""
        return self._keys[block] is not None

    def unseal(self, block: int) -> None:
        """Forget what a block in use holds, so that its only user may write to it."""
        key = self._keys[block]
        if key is not None:
            del self._index[key]
            self._keys[block] = None

    def pin(self, tokens: Sequence[int], salt: str = "") -> int:
        """Keep the full blocks of a prefix from eviction once they are cached; return how many blocks that is.

        Raises:
            NoBlocks: pins would take more than half of the pool.
        """
        keys = chain(tokens, salt, self.size)
        fresh = [key for key in keys if key not in self._pins]
        if 2 * (len(self._pins) + len(fresh)) > self.blocks:
            raise NoBlocks(
                f"pinning {len(fresh)} more blocks beside {len(self._pins)} would take more than half "
                f"of the pool's {self.blocks}; unpin a prefix or give the engine more memory for its cache"
            )
        for key in keys:
            self._pins[key] = self._pins.get(key, 0) + 1
        for key in fresh:
            block = self._index.get(key)
            if block is not None and not self.refs[block]:
                del self._lru[block]
                self._idle_pins += 1
        return len(keys)

    def unpin(self, tokens: Sequence[int], salt: str = "") -> None:
        """Take back a pin; the blocks stay cached as others do."""
        for key in reversed(chain(tokens, salt, self.size)):
            count = self._pins.pop(key, 0)
            if count > 1:
                self._pins[key] = count - 1
            elif count:
                self._let_go(key)

    def unpin_all(self) -> None:
        """Take back all pins: memory is short."""
        for key in reversed(list(self._pins)):
            del self._pins[key]
            self._let_go(key)

    def check(self, tables: Iterable[Sequence[int]]) -> None:
        """Assert that the counters add up and that `tables` are all the references there are."""
        uses = [0] * self.blocks
        for table in tables:
            for block in table:
                uses[block] += 1
        assert uses == self.refs, "reference counts differ from uses"
        assert self.free + self.cached + self.used == self.blocks, "states do not add up"
        assert self.used == sum(1 for count in self.refs if count)
        assert self._free.bit_count() == self._free_count
        idle_pins = 0
        for block in range(self.blocks):
            key = self._keys[block]
            assert key is None or self._index[key] == block, "a sealed block is not in the index"
            idle = not self.refs[block]
            assert bool(self._free >> block & 1) == (idle and key is None), "free is unused and unsealed"
            assert (block in self._lru) == (idle and key is not None and key not in self._pins)
            idle_pins += idle and key in self._pins
        assert idle_pins == self._idle_pins
        assert len(self._index) == sum(key is not None for key in self._keys)

    def _let_go(self, key: bytes) -> None:
        block = self._index.get(key)
        if block is not None and not self.refs[block]:
            self._idle_pins -= 1
            self._lru[block] = None

    def _rest(self, block: int) -> None:
        """Put a block that nobody uses any more where it belongs."""
        key = self._keys[block]
        if key is None:
            self._free |= 1 << block
            self._free_count += 1
        elif key in self._pins:
            self._idle_pins += 1
        else:
            self._lru[block] = None

    def _evict(self, n: int) -> None:
        """Free cached blocks until n are free; in large pools some more at once, so that they can be neighbours."""
        least = max(n, self.blocks // 64)
        while self._free_count < least and self._lru:
            block, _ = self._lru.popitem(last=False)
            self.unseal(block)
            self._rest(block)
            self.evictions += 1

    def _following(self, n: int, after: int | None) -> list[int]:
        """Take up to n blocks right behind `after`."""
        if after is None:
            return []
        ahead = self._free >> (after + 1)
        length = min((~ahead & (ahead + 1)).bit_length() - 1, n)  # trailing ones
        return self._take(after + 1, length)

    def _runs(self, n: int) -> list[int]:
        """Take n blocks in as few runs as are quickly found."""
        start = self._first_run(n + 2 * _ROOM)
        if start is not None:
            return self._take(start + _ROOM, n)
        found: list[int] = []
        length = n
        while len(found) < n:
            length = min(length, n - len(found))
            start = self._first_run(length)
            if start is None:
                length = (length + 1) // 2
            else:
                found += self._take(start, length)
        return found

    def _first_run(self, n: int) -> int | None:
        """Return where the first n free neighbours begin."""
        runs, length = self._free, 1
        while length < n and runs:
            shift = min(length, n - length)
            runs &= runs >> shift
            length += shift
        return (runs & -runs).bit_length() - 1 if runs else None

    def _take(self, start: int, n: int) -> list[int]:
        self._free &= ~(((1 << n) - 1) << start)
        self._free_count -= n
        return list(range(start, start + n))
