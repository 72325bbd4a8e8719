"""The order of examples: every one once an epoch, alike ones together, the same whoever asks when."""

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.caorl.feed import Feed, Place
from catp.training.caorl.order import Order
from tests.training.caorl.loop_making import Counting

LENGTHS = st.lists(st.integers(1, 100), min_size=1, max_size=300)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 5))
@settings(derandomize=True, max_examples=60, deadline=None)
def test_every_epoch_has_every_example_once(lengths: list[int], batch: int, seed: int) -> None:
    order = Order(lengths, batch, seed)
    for epoch in (0, 1, 5):
        places = range(epoch * order.batches, (epoch + 1) * order.batches)
        batches = [order.at(place) for place in places]
        assert {e for e, _ in batches} == {epoch}
        assert sorted(number for _, numbers in batches for number in numbers) == list(range(len(lengths)))
        assert all(len(numbers) <= batch for _, numbers in batches)
        assert sum(len(numbers) < batch for _, numbers in batches) <= 1


@given(LENGTHS, st.integers(1, 9), st.lists(st.integers(0, 500), min_size=1, max_size=20))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_a_place_in_the_order_does_not_depend_on_what_was_asked_before(
    lengths: list[int], batch: int, places: list[int]
) -> None:
    order = Order(lengths, batch, 3)
    for place in places:
        assert order.at(place) == Order(lengths, batch, 3).at(place)


def padding(batches: Sequence[Sequence[int]], lengths: np.ndarray[Any, Any]) -> float:
    padded = sum(int(lengths[list(numbers)].max()) * len(numbers) for numbers in batches)
    return padded / int(lengths.sum())


def test_batches_are_of_like_length_and_differ_from_epoch_to_epoch() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(10, 400, 2000)
    order = Order(lengths.tolist(), 8, 0)
    epochs = [[order.at(epoch * order.batches + place)[1] for place in range(order.batches)] for epoch in range(3)]
    mixed = np.array_split(random.permutation(2000), 250)
    assert padding([some.tolist() for some in mixed], lengths) > 1.6
    assert all(padding(batches, lengths) < 1.1 for batches in epochs)
    kept = {frozenset(numbers) for numbers in epochs[0]} & {frozenset(numbers) for numbers in epochs[1]}
    assert len(kept) < 5
    means = np.array([lengths[list(numbers)].mean() for numbers in epochs[0]])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.2  # not from short to long


def feed(algorithm: Any, places: Sequence[Place]) -> Feed:
    order = Order([algorithm.length(n) for n in range(len(algorithm))], 4, 0)
    return Feed(algorithm, order, 0, iter(places))


def test_batches_do_not_depend_on_who_makes_how_many_of_them() -> None:
    alone = feed(Counting(), [Place.of(step, 2, 1, 0) for step in range(6)])
    other = feed(Counting(), [Place.of(step, 1, 2, 1) for step in range(2, 6)])
    try:
        everything = [alone.take() for _ in range(12)]
        mine = [other.take() for _ in range(4)]
    finally:
        alone.close()
        other.close()
    assert sum(batch.share for batch in everything[:2]) == 1
    for batch, same in zip(mine, everything[5::2], strict=False):
        assert (batch.epoch, batch.numbers, batch.share) == (same.epoch, same.numbers, same.share)
        assert batch.tensors["input_ids"].equal(same.tensors["input_ids"])


def test_the_feed_works_ahead_and_rests_when_told() -> None:
    class Slow(Counting):
        threads: set[str]

        def example(self, number: int, random: np.random.Generator) -> list[int]:
            time.sleep(0.002)
            self.threads.add(threading.current_thread().name)
            return super().example(number, random)

    algorithm = Slow()
    algorithm.threads = set()
    made = feed(algorithm, [Place.of(step, 1, 1, 0) for step in range(5)])
    try:
        made.settle()
        ahead = len(algorithm.made)
        time.sleep(0.02)
        assert len(algorithm.made) == ahead  # two batches, then it waits for someone to take one
        assert 5 <= ahead <= 8
        made.take()
        made.settle()
        assert len(algorithm.made) > ahead
    finally:
        made.close()
    assert len(algorithm.threads) == 1
    assert threading.current_thread().name not in algorithm.threads
