import numpy as np
import pytest

from catp.training.evaluate.bootstrap import interval, over_groups
from catp.training.evaluate.candidates import Floats


def mean(sums: Floats) -> Floats:
    return np.asarray(sums[:, 0] / sums[:, 1])


def clustered(rng: np.random.Generator, groups: int) -> tuple[list[str], Floats]:
    """A value (true mean 2) and a one for each row; rows of a group share most of their deviation."""
    names, rows = [], []
    for group in range(groups):
        shared = rng.normal()
        for _ in range(int(rng.integers(2, 12))):
            names.append(f"g{group}")
            rows.append([2 + shared + 0.3 * rng.normal(), 1.0])
    return names, np.array(rows)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """300 families of 40 groups: 95 % intervals hold the true mean in 90-99 %; intervals over rows in far fewer."""
    rng = np.random.default_rng(7)
    covered = naive = 0
    for trial in range(300):
        groups, rows = clustered(rng, 40)
        low, high = interval(over_groups(groups, rows, mean, draws=300, seed=trial))
        covered += low <= 2 <= high
        low, high = interval(over_groups([str(n) for n in range(len(rows))], rows, mean, draws=300, seed=trial))
        naive += low <= 2 <= high
    assert 0.90 <= covered / 300 <= 0.99
    assert naive / 300 < 0.75


def test_draws_are_those_of_a_plain_loop() -> None:
    """The distribution of the mean of groups drawn with replacement, one draw after another."""
    rng = np.random.default_rng(1)
    groups, rows = clustered(rng, 15)
    fast = over_groups(groups, rows, mean, draws=4000, seed=3)
    names = np.array(groups)
    members = [np.flatnonzero(names == f"g{n}") for n in range(15)]
    slow = np.array(
        [rows[np.concatenate([members[g] for g in rng.integers(0, 15, 15)])][:, 0].mean() for _ in range(4000)]
    )
    for q in (0.025, 0.25, 0.5, 0.75, 0.975):
        assert np.quantile(fast, q) == pytest.approx(np.quantile(slow, q), abs=0.05)


def test_draws_do_not_depend_on_the_order_of_rows_nor_on_how_many_are_made_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups, rows = clustered(np.random.default_rng(2), 12)
    order = np.random.default_rng(3).permutation(len(rows))
    first = over_groups(groups, rows, mean, draws=50, seed=1)
    assert over_groups([groups[n] for n in order], rows[order], mean, draws=50, seed=1) == pytest.approx(first)
    monkeypatch.setattr("catp.training.evaluate.bootstrap._CELLS", 30)
    assert (over_groups(groups, rows, mean, draws=50, seed=1) == first).all()


def test_one_group_has_no_spread() -> None:
    draws = over_groups(["a", "a"], np.array([[1.0, 1.0], [3.0, 1.0]]), mean, draws=20)
    assert interval(draws) == (2, 2)


def test_rows_without_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="one group per row"):
        over_groups([], np.zeros((0, 2)), mean)
    with pytest.raises(ValueError, match="one group per row"):
        over_groups(["a"], np.zeros((2, 2)), mean)
