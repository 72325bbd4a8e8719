"""Behaviour policies: logged propensities are the frequencies with which plans are drawn."""

import numpy as np
import pytest

from catp.training.sim.behaviour import MIXTURE, Pool, greedy_plan
from catp.training.sim.families import tasks
from catp.training.sim.plans import enumerate_plans
from catp.training.sim.space import Space
from catp.training.sim.world import World


def test_weights_and_distributions_add_up_to_one() -> None:
    assert sum(MIXTURE.values()) == pytest.approx(1.0)
    for task in tasks(World(5, 30), 6):
        pool = Pool(task.case(0))
        for part in MIXTURE:
            assert pool.distribution(part).sum() == pytest.approx(1.0)
        assert pool.mixture.sum() == pytest.approx(1.0)
        assert pool.mixture.min() > 0


def test_frequencies_of_20_000_draws_agree_with_the_logged_propensities() -> None:
    from scipy.stats import chisquare

    task = next(t for t in tasks(World(6, 40), 8) if t.shape == "fork")
    pool = Pool(task.case(2), 15)
    rng = np.random.default_rng(0)
    drawn = [pool.draw(rng) for _ in range(20_000)]
    logged = {choice.index: choice.propensity for choice in drawn}
    counts = np.bincount([choice.index for choice in drawn], minlength=len(pool.plans))
    assert all(logged[index] == pytest.approx(pool.mixture[index]) for index in logged)
    assert chisquare(counts, pool.mixture / pool.mixture.sum() * 20_000).pvalue > 0.001
    parts = np.array([sum(choice.part == part for choice in drawn) for part in MIXTURE])
    assert chisquare(parts, np.array(list(MIXTURE.values())) * 20_000).pvalue > 0.001


def test_pools_hold_different_plans_and_depend_on_the_case_alone() -> None:
    for task in tasks(World(8, 30), 8):
        one, two = Pool(task.case(1), 16), Pool(task.case(1), 16)
        assert [[v and v.number for v in picks] for picks in one.plans] == [
            [v and v.number for v in picks] for picks in two.plans
        ]
        assert len({tuple(id(v) for v in picks) for picks in one.plans}) == len(one.plans) <= 16
        assert np.array_equal(one.mixture, two.mixture)


def test_cheap_greedy_is_the_cheapest_straight_plan_and_accurate_greedy_follows_what_is_declared() -> None:
    world = World(9, 8)
    cheapest = 0
    for task in tasks(world, 8):
        space = Space(task.case(0))
        if task.shape != "chain":
            continue
        cheap, dear = greedy_plan(space, "cheap"), greedy_plan(space, "accurate")
        least = min(space.price(picks) for picks in enumerate_plans(space))
        cheapest += space.price(cheap) <= least * 1.0001
        last, rival = dear[0], cheap[0]
        assert last is not None
        assert rival is not None
        assert world.declared[last.name] >= world.declared[rival.name]
    assert cheapest >= 1
