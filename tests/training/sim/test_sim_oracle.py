"""The oracle: exact against brute force, and out of reach for every policy."""

from dataclasses import replace

import numpy as np
import pytest

from catp.training.sim.behaviour import MIXTURE, Pool, price_scale
from catp.training.sim.families import tasks
from catp.training.sim.oracle import best_plan
from catp.training.sim.plans import draw_plan, enumerate_plans, read_plan, single_values, to_plan
from catp.training.sim.run import Simulation
from catp.training.sim.space import Space
from catp.training.sim.world import World

_MOST = 6_000


@pytest.mark.parametrize("seed", range(8))
def test_the_oracle_is_the_best_of_all_plans(seed: int) -> None:
    solved = 0
    for size in (6, 9, 13):
        for task in tasks(World(seed, size), 8):
            case = task.case(0)
            space, scale = Space(case), float(price_scale(task))
            if len(single_values(space)) > 150:
                continue
            plans = list(enumerate_plans(space, _MOST + 1))
            if len(plans) > _MOST:
                continue
            for alpha in (0.2, 0.8, 1.0):
                brute = max(space.utility(picks, alpha, scale) for picks in plans)
                best = best_plan(Space(case), alpha, scale)
                assert best.utility == pytest.approx(brute, abs=1e-9)
                again = best_plan(space, alpha, scale)
                assert space.utility(again.picks, alpha, scale) == pytest.approx(brute, abs=1e-9)
                solved += 1
    assert solved >= 20


def test_joins_beside_other_outputs_are_solved_exactly() -> None:
    """The hard part of the oracle: a join's arguments are paid once for the other outputs, too."""
    solved = 0
    for seed in range(12):
        for task in tasks(World(seed, 18), 10):
            if task.shape != "join" or len(task.wanted) < 2 or solved == 6:
                continue
            fixing = [name for name in task.useful if name.startswith("fix_")]
            for left_out in (fixing[1:], fixing):  # with one kind of restoring tools if that is few enough, or none
                few = replace(task, useful=tuple(name for name in task.useful if name not in left_out))
                space, scale = Space(few.case(0)), float(price_scale(few))
                if len(single_values(space)) > 40:
                    continue
                plans = list(enumerate_plans(space, 20_001))
                if len(plans) <= 20_000:
                    brute = max(space.utility(picks, 0.6, scale) for picks in plans)
                    assert best_plan(space, 0.6, scale).utility == pytest.approx(brute, abs=1e-9)
                    solved += 1
                    break
    assert solved >= 3


def test_no_policy_beats_the_oracle_in_what_really_comes_out() -> None:
    """Means over many runs with hidden states drawn as they occur: real utility, failures and noise included."""
    gaps: dict[str, list[float]] = {part: [] for part in MIXTURE}
    real, expected = [], []
    for seed in range(3):
        for task in tasks(World(seed + 50, 15), 4):
            for number in range(25):
                case = task.case(number)
                if case.change is not None:
                    continue
                pool = Pool(case, 12)
                simulation, scale = Simulation(pool.space), float(pool.scale)
                best = best_plan(pool.space, case.alpha, scale)

                def utility(picks: object, simulation: Simulation = simulation, scale: float = scale) -> float:
                    ran = simulation.run(picks)  # type: ignore[arg-type]  # picks of this case
                    alpha = simulation.case.alpha
                    return alpha * ran.score - (1 - alpha) * ran.price / scale

                mine = utility(best.picks)
                real.append(mine)
                expected.append(best.utility)
                rng = case.rng(99)
                for part in MIXTURE:
                    index = int(rng.choice(len(pool.plans), p=pool.distribution(part)))
                    gaps[part].append(mine - utility(pool.plans[index]))
    for part, differences in gaps.items():
        mean, error = np.mean(differences), np.std(differences) / np.sqrt(len(differences))
        assert mean > -2 * error, part
    difference = np.array(real) - np.array(expected)
    assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(difference))


def test_expected_scores_and_prices_are_the_means_of_runs() -> None:
    """One plan run 3,000 times, with new draws each time: the mean of what comes out is what the space says."""
    task = next(t for t in tasks(World(61, 20), 10) if t.shape == "fork")
    case = next(c for c in (task.case(n) for n in range(20)) if c.change is None)
    space = Space(case)
    picks = draw_plan(space, np.random.default_rng(1))
    prices, scores = [], []
    for repeat in range(3_000):
        ran = Simulation(space, repeat=repeat).run(picks)
        prices.append(ran.price)
        scores.append(ran.score)
    truth = np.mean([0.0 if v is None else v.works * space.true_score(v) for v in picks])
    assert np.mean(scores) == pytest.approx(truth, abs=4 * np.std(scores) / np.sqrt(3_000))
    assert np.mean(prices) == pytest.approx(space.price(picks), abs=4 * np.std(prices) / np.sqrt(3_000) + 10)


def test_plans_are_the_same_in_the_plan_language_and_back() -> None:
    for seed in range(5):
        for task in tasks(World(seed, 25), 8):
            space = Space(task.case(0))
            for number in range(10):
                picks = draw_plan(space, np.random.default_rng(number))
                assert read_plan(space, to_plan(space, picks)) == picks
