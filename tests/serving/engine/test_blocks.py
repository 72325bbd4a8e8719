"""The pool of blocks alone: neighbours, the order of eviction, pins, and what it refuses."""

from random import Random

import pytest

from catp.serving.engine.blocks import BlockPool
from catp.serving.engine.errors import NoBlocks
from catp.serving.engine.prefix import chain


def cached(pool: BlockPool, tokens: list[int], salt: str = "") -> list[int]:
    """Compute a prefix and let it go: its full blocks stay in the cache."""
    keys = chain(tokens, salt, pool.size)
    blocks = pool.allocate(len(keys))
    for block, key in zip(blocks, keys, strict=True):
        assert pool.seal(block, key)
    pool.release(blocks)
    return blocks


def neighbours(blocks: list[int]) -> bool:
    return blocks == list(range(blocks[0], blocks[0] + len(blocks)))


def test_allocation_prefers_neighbours_and_the_place_behind_a_table() -> None:
    pool = BlockPool(64, 4)
    first, second = pool.allocate(5), pool.allocate(5)
    assert neighbours(first)
    assert neighbours(second)
    more = pool.allocate(3, after=first[-1])
    assert neighbours(first + more), "there was room behind the table"
    pool.allocate(pool.free)
    for block in (20, 33, 40, 41, 42, 50):
        pool.release([block])
    assert pool.allocate(3) == [40, 41, 42], "the only run that is long enough"
    assert sorted(pool.allocate(3)) == [20, 33, 50]


def test_every_block_is_found_however_the_free_ones_are_scattered() -> None:
    rng = Random(0)
    pool = BlockPool(97, 4)
    tables: list[list[int]] = []
    for _ in range(2000):
        if tables and rng.random() < 0.5:
            pool.release(tables.pop(rng.randrange(len(tables))))
        elif pool.available:
            tables.append(pool.allocate(rng.randint(1, pool.available), rng.choice([None, rng.randrange(97)])))
        pool.check(tables)
        assert sum(map(len, tables)) + pool.free == 97


def test_the_least_recently_used_prefix_goes_first_and_its_tail_before_its_head() -> None:
    pool = BlockPool(9, 2)
    old, new = [1] * 6, [2] * 6
    first, second = cached(pool, old), cached(pool, new)
    third = cached(pool, [3] * 6)
    assert (pool.free, pool.cached, pool.available) == (0, 9, 9)
    pool.adopt(first)
    pool.release(first)  # used again: the second is the oldest now
    taken = pool.allocate(2)
    assert pool.match([*new, 0]) == second[:1], "a chain loses its tail first"
    assert pool.match([*old, 0]) == first
    assert pool.match([3] * 6 + [0]) == third
    assert pool.evictions == 2
    taken += pool.allocate(2)
    assert pool.match([*new, 0]) == []
    assert pool.match([3] * 6 + [0]) == third[:2]
    pool.check([taken])


def test_what_is_in_use_is_never_evicted() -> None:
    pool = BlockPool(4, 2)
    blocks = cached(pool, [1] * 4)
    pool.adopt(blocks)
    assert pool.hits == 2
    with pytest.raises(NoBlocks, match="3 blocks are needed and 2 of 4 are available"):
        pool.allocate(3)
    assert pool.evictions == 0
    rest = pool.allocate(2)
    assert not set(rest) & set(blocks)
    pool.check([blocks, rest])


def test_a_match_leaves_the_last_token_to_be_computed() -> None:
    pool = BlockPool(8, 4)
    blocks = cached(pool, list(range(12)))
    assert pool.match(list(range(12))) == blocks[:2], "somebody must compute the logits of the last token"
    assert pool.match(list(range(13))) == blocks
    assert pool.match([*range(8), 99, 10, 11, 12, 13]) == blocks[:2]
    assert pool.match([99, *range(1, 13)]) == []
    assert pool.match(list(range(4))) == []
    assert pool.match([]) == []


def test_a_prefix_belongs_to_its_adapter() -> None:
    pool = BlockPool(8, 2)
    cached(pool, [1, 2, 3, 4], salt="one")
    assert pool.match([1, 2, 3, 4, 5], salt="other") == []
    assert len(pool.match([1, 2, 3, 4, 5], salt="one")) == 2


def test_pinned_prefixes_stay_and_do_not_count_as_available() -> None:
    pool = BlockPool(8, 2)
    blocks = cached(pool, [1] * 4)
    cached(pool, [2] * 8)
    assert pool.pin([1] * 4) == 2
    assert pool.pin([1] * 4) == 2
    assert (pool.available, pool.capacity, pool.cached) == (6, 6, 6)
    taken = pool.allocate(6)
    assert pool.match([1] * 5) == blocks
    with pytest.raises(NoBlocks):
        pool.allocate(1)
    pool.unpin([1] * 4)
    assert pool.available == 0, "it was pinned twice"
    pool.unpin([1] * 4)
    assert (pool.available, pool.capacity) == (2, 8)
    taken += pool.allocate(2)
    assert pool.match([1] * 5) == []
    pool.check([taken])


def test_a_pin_waits_for_its_prefix_and_pins_take_half_of_the_pool_at_most() -> None:
    pool = BlockPool(8, 2)
    assert pool.pin([1] * 8) == 4
    with pytest.raises(NoBlocks, match="more than half"):
        pool.pin([2] * 2)
    blocks = cached(pool, [1] * 8)
    pool.release(pool.allocate(4))
    assert pool.match([1] * 9) == blocks
    assert pool.capacity == 4
    pool.unpin_all()
    assert pool.capacity == 8
    pool.check([])


def test_mistakes_of_the_caller_are_errors() -> None:
    pool = BlockPool(4, 2)
    blocks = pool.allocate(2)
    pool.acquire(blocks)
    pool.release(blocks)
    pool.release(blocks)
    with pytest.raises(ValueError, match="released more often"):
        pool.release(blocks[:1])
    with pytest.raises(ValueError, match="is free"):
        pool.acquire(blocks[:1])
    with pytest.raises(ValueError, match="cannot be sealed"):
        pool.seal(blocks[0], b"key")
    (block,) = pool.allocate(1)
    assert pool.seal(block, b"key")
    with pytest.raises(ValueError, match="sealed already"):
        pool.seal(block, b"other")
    (other,) = pool.allocate(1)
    assert not pool.seal(other, b"key"), "equal blocks are not merged: the first is found"
    assert pool.find(b"key") == block
    with pytest.raises(ValueError, match="at least 1 block"):
        BlockPool(0, 2)
    pool.check([[block], [other]])
