"""The data that ship: valid, within the promised size, and a real trade-off."""

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from catp.training.baselines import BASELINES
from catp.training.bench.finish import content_digest
from catp.training.data.files import read
from catp.training.data.validate import validate
from catp.training.evaluate import evaluate
from catp.training.evaluate.candidates import CandidateSet, candidate_sets
from catp.training.evaluate.regret import best_of, regret

pytestmark = pytest.mark.xdist_group("bench-shipped")

DATASETS = Path(str(files("catp"))) / "datasets"
BENCH = DATASETS / "catp-bench"


@pytest.fixture(scope="module")
def sets() -> list[CandidateSet]:
    return list(candidate_sets(read(BENCH / "measured")))


def test_the_folder_is_small_enough_to_ship() -> None:
    assert sum(path.stat().st_size for path in DATASETS.rglob("*") if path.is_file()) <= 60e6


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("folder", ["measured", "logged"])
def test_nothing_is_wrong_with_the_records(folder: str) -> None:
    assert not validate(BENCH / folder).findings


def test_records_have_the_digests_that_ship() -> None:
    digests = json.loads((BENCH / "digests.json").read_text(encoding="utf-8"))
    assert content_digest(read(BENCH / "measured" / "val.jsonl.gz")) == digests["measured/val.jsonl.gz"]


def test_enough_inputs_and_candidates(sets: list[CandidateSet]) -> None:
    assert len(sets) >= 3000
    assert len({one.group for one in sets}) >= 40
    sizes = Counter(len(one) for one in sets)
    assert min(sizes) >= 4
    assert max(sizes) <= 40


def test_neither_the_cheapest_nor_the_most_accurate_plan_is_good_enough(sets: list[CandidateSet]) -> None:
    """The promise of the benchmark: at alpha 0.8 both leave a quarter of all there is to lose."""
    cheapest = regret(sets, [best_of(-one.prices) for one in sets], 0.8, draws=10).regret
    accurate = regret(sets, [best_of(one.scores) for one in sets], 0.8, draws=10).regret
    assert cheapest >= 0.25
    assert accurate >= 0.25


def test_a_planner_that_sees_the_input_can_beat_any_fixed_plan(sets: list[CandidateSet]) -> None:
    some = sets[::4]  # the fewer inputs a fixed plan has to fit, the better it does
    (row,) = evaluate(BASELINES["fixed-hindsight"], some, alphas=(0.8,), protocol="loo", draws=10).rows
    assert row.regret.regret >= 0.10


def test_the_cheapest_is_not_always_the_best(sets: list[CandidateSet]) -> None:
    best = [np.argmax(one.utility(0.8)) == np.argmin(one.prices) for one in sets]
    assert np.mean(best) < 0.6
