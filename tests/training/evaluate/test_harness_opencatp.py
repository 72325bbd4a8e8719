"""The harness on OpenCATP's pool reproduces what was measured on the whole pool (design/training.md, 2.2 and 2.3)."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.opencatp import KNOWN_TASKS, SWEEPS, TABLE, agrees, pools, regret_at
from catp.training.baselines import BASELINES
from catp.training.evaluate import CandidateSet, evaluate

pytestmark = pytest.mark.xdist_group("harness-opencatp")

QUICK = ("longest", "random", "frequent", "shortest", "cheapest", "oracle-price", "oracle-score", "oracle", "worst")
POOLS = ("opencatp/seq", "opencatp/nonseq")


@pytest.fixture(scope="module")
def pool(shared_opencatp: Path) -> Mapping[str, list[CandidateSet]]:
    return pools(shared_opencatp)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("policy", [*QUICK, "ridge", "gbm"])
def test_regret_at_half(pool: Mapping[str, list[CandidateSet]], name: str, policy: str) -> None:
    found = evaluate(BASELINES[policy], pool[name], alphas=(0.5,)).rows[0].regret
    theirs = TABLE[name][policy]
    assert agrees(theirs, found.regret, found.low, found.high), (theirs, found)
    assert found.utility == pytest.approx(theirs.utility, abs=0.012)
    assert found.score == pytest.approx(theirs.score, abs=0.016)


@pytest.mark.parametrize(
    ("name", "policy"), [(name, policy) for name in POOLS for policy in SWEEPS[name] if policy in QUICK]
)
def test_the_sweep_of_rules(pool: Mapping[str, list[CandidateSet]], name: str, policy: str) -> None:
    """Where theirs has no interval, it lies in ours (or, beside it, within 0.05)."""
    theirs, _ = SWEEPS[name][policy]
    found = evaluate(BASELINES[policy], pool[name], alphas=(0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0))
    for row, value in zip(found.rows, theirs, strict=True):
        assert row.regret.low - 0.05 <= value <= row.regret.high + 0.05, (row.alpha, value, row.regret)


@pytest.mark.parametrize("name", POOLS)
def test_known_tasks(pool: Mapping[str, list[CandidateSet]], name: str) -> None:
    alphas = (0.5, 0.8, 0.9, 0.95, 1.0)
    found = evaluate(BASELINES["table"], pool[name], alphas=alphas, protocol="loo")
    assert [regret_at(found, alpha) for alpha in alphas] == pytest.approx(KNOWN_TASKS[name], abs=0.05)


def test_there_is_little_to_learn_at_half_and_much_above(pool: Mapping[str, list[CandidateSet]]) -> None:
    """The reason for CATP-Bench: the cheapest plan is all but the best, until quality is worth money."""
    for name in POOLS:
        found = evaluate(BASELINES["cheapest"], pool[name], alphas=(0.5, 0.8, 1.0))
        half, more, most = (row.regret.regret for row in found.rows)
        assert half < 0.2 < 0.25 < more < most
