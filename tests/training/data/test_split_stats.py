"""Splits depend on names alone; statistics are what a plain count gives."""

import hashlib
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.training.data.files import read
from catp.training.data.split import SplitBy, assign, side
from catp.training.data.stats import ALPHAS, data_stats
from catp.training.data.trajectory import Objective, Outcome, Trajectory
from catp.training.data.validate import validate
from tests.training.data.making import TOOLSET, records


def many() -> list[Trajectory]:
    return records(1, sets=60)


@pytest.mark.parametrize("by", ["group", "input"])
def test_a_split_changes_nothing_else_and_leaks_nothing(tmp_path: Path, by: SplitBy) -> None:
    bare = [record.model_copy(update={"split": None}) for record in many()]
    done = list(assign(bare, by, val=0.2, test=0.3, seed=1))
    assert [record.model_copy(update={"split": None}) for record in done] == bare
    TOOLSET.save(tmp_path / "toolset.json")
    (tmp_path / "a.jsonl").write_text("".join(record.to_line() + "\n" for record in done))
    assert validate(tmp_path).findings == []
    sides: dict[str, set[str | None]] = {}
    for record in done:
        assert record.split is not None
        key, mine = (record.group, record.split.name) if by == "group" else (record.candidate_set, record.split.inputs)
        sides.setdefault(key, set()).add(mine)
    assert all(len(found) == 1 for found in sides.values())
    assert set().union(*sides.values()) == {"train", "val", "test"}


def test_sides_do_not_depend_on_what_else_is_there() -> None:
    whole = {r.trajectory_id: r for r in assign(many())}
    assert all(whole[r.trajectory_id] == r for r in assign(reversed(many()[7:40])))


def test_an_input_split_leaves_the_main_split() -> None:
    before = many()
    for old, new in zip(before, assign(before, "input"), strict=True):
        assert old.split is not None
        assert new.split is not None
        assert (new.split.name, new.split.phrasing) == (old.split.name, old.split.phrasing)


@settings(derandomize=True, max_examples=20, deadline=None)
@given(val=st.floats(0, 0.45), test=st.floats(0, 0.45), seed=st.integers(0, 10**9))
def test_shares_are_met_on_average(val: float, test: float, seed: int) -> None:
    drawn: Counter[str] = Counter(side(f"task {n}", val=val, test=test, seed=seed) for n in range(4_000))
    for name, share in {"val": val, "test": test, "train": 1 - val - test}.items():
        assert abs(drawn[name] / 4_000 - share) < 5 * np.sqrt(0.25 / 4_000)  # five standard deviations


def test_sides_are_the_same_on_every_machine() -> None:
    """A change here would move every published split."""
    assert "".join(side(f"task-{n}", val=0.2, test=0.2, seed=0)[1] for n in range(24)) == "arerrrrrarraerrrerrearrr"
    for n in range(200):
        drawn = int(hashlib.sha256(f"7\ntask-{n}".encode()).hexdigest(), 16) / 2**256
        assert side(f"task-{n}", val=0.2, test=0.2, seed=7) == (
            "test" if drawn < 0.2 else "val" if drawn < 0.4 else "train"
        )


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.2), (0.2, -0.1), (0.5, 0.5), (1.0, 0.2)])
def test_shares_that_leave_nothing_are_refused(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="together below 1"):
        assign([], val=val, test=test)


def test_statistics_are_a_plain_count() -> None:
    found = records(2, sets=8)
    stats = data_stats(found)
    assert (stats.records, stats.tasks, stats.inputs, stats.distinct_plans) == (24, 4, 8, 5)  # two without a hash
    assert stats.plans_per_input == {"min": 3, "mean": 3.0, "max": 3}
    assert stats.tools == Counter(node.tool for record in found for node in record.plan.nodes)
    # a task in two is a map of three plans an input; of the other plans one in three forks and joins
    assert stats.shapes == {"map": 12, "chain": 20, "fork": 4, "join": 4}
    assert stats.statuses == {"ok": 24}
    assert stats.splits["name"] == {"train": 18, "test": 6}
    assert stats.splits["inputs"] == {"train": 24}
    assert stats.quantiles["score"][3] == np.median([record.outcome.score for record in found])
    assert stats.quantiles["price_usd"][-1] == float(max(record.outcome.price_usd or 0 for record in found))


def test_missing_and_suspect_scores_are_counted_and_not_compared() -> None:
    found = records(2, sets=2)
    found[0] = found[0].model_copy(update={"outcome": Outcome(status="failed")})
    suspect = found[1].outcome.model_copy(update={"score_suspect": True})
    found[1] = found[1].model_copy(update={"outcome": suspect})
    found[3:] = [record.model_copy(update={"objective": Objective()}) for record in found[3:]]
    stats = data_stats(found)
    assert (stats.missing_scores, stats.unpriced, stats.suspect_scores) == (1, 1, 1)
    assert stats.statuses == {"failed": 1, "ok": 5}
    assert stats.inputs_compared == 1  # the other input's records name no price scale


def with_outcomes(outcomes: list[tuple[float, str]]) -> list[Trajectory]:
    found = records(3, sets=1)
    return [
        record.model_copy(
            update={
                "plan": record.plan.model_copy(update={"canonical_hash": str(n)}),
                "outcome": Outcome(status="ok", score=score, price_usd=Decimal(price)),
            }
        )
        for n, (record, (score, price)) in enumerate(zip(found, outcomes, strict=True))
    ]


def test_how_often_the_cheapest_is_best() -> None:
    """The price scale is 0.001: a score 0.3 better is worth 0.0004 more from alpha 4/7 on."""
    stats = data_stats(with_outcomes([(0.5, "0.0001"), (0.8, "0.0005"), (0.4, "0.0002")]))
    assert stats.cheapest_best == {alpha: float(alpha * 0.3 <= (1 - alpha) * 0.4) for alpha in ALPHAS}
    ties = data_stats(with_outcomes([(0.5, "0.0001"), (0.9, "0.0001"), (0.9, "0.0002")]))
    assert set(ties.cheapest_best.values()) == {1.0}


def test_the_shared_pool(shared_opencatp: Path) -> None:
    """Part of the pool of which training.md 1.3 says that the cheapest is best in 86 % and 74 %."""
    found = list(read(shared_opencatp))
    for part, share, compared in (("opencatp/seq", 0.83, 180), ("opencatp/nonseq", 0.75, 190)):
        stats = data_stats(record for record in found if record.dataset == part)
        assert stats.cheapest_best[0.5] == pytest.approx(share, abs=0.05), part
        assert stats.inputs_compared > compared
