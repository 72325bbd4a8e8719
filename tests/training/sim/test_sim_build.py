"""Building and calibrating: the same bytes for the same seed, valid records, splits that do not leak."""

import gzip
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest

from catp.training.data.files import read
from catp.training.data.toolset import Toolset
from catp.training.data.validate import validate
from catp.training.sim.build import HELD_OUT_TABLE, build
from catp.training.sim.calibrate import Calibration, fit, fit_calls
from catp.training.sim.calls import Call, calls_of
from catp.training.sim.defaults import default_calibration, tool_calls
from catp.training.sim.goodness import goodness, summary
from catp.training.sim.world import World

pytestmark = pytest.mark.xdist_group("sim-build")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sim")
    build(out, 3, inputs=48, worlds=5)
    return out


def test_the_same_seed_writes_the_same_bytes(built: Path, tmp_path: Path) -> None:
    build(tmp_path, 3, inputs=48, worlds=5)
    names = sorted(str(p.relative_to(built)) for p in built.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    for name in names:
        assert (built / name).read_bytes() == (tmp_path / name).read_bytes(), name
    other = build(tmp_path / "other", 4, inputs=12, worlds=2)
    assert other["sha256"]["worlds.json"] != json.loads((built / "digests.json").read_text())["sha256"]["worlds.json"]


def test_digests_are_those_of_the_uncompressed_files(built: Path) -> None:
    digests = json.loads((built / "digests.json").read_text())["sha256"]
    assert "logged/train.jsonl.gz" in digests
    for name, digest in digests.items():
        data = (built / name).read_bytes()
        plain = gzip.decompress(data) if name.endswith(".gz") else data
        assert hashlib.sha256(plain).hexdigest() == digest


def test_the_validator_finds_nothing(built: Path) -> None:
    report = validate([built / "logged", built / "sets"])
    assert report.total == 0, report.findings[:3]
    assert not report.notes
    assert report.records > 100


def test_splits_hold_out_worlds_and_price_tables(built: Path) -> None:
    worlds: dict[str, set[str]] = {}
    for split in ("train", "val", "test", "prices"):
        for kind in ("logged", "sets"):
            for record in read(built / kind / f"{split}.jsonl.gz"):
                id_ = record.toolset if isinstance(record.toolset, str) else record.toolset.id
                worlds.setdefault(split, set()).add(id_)
                assert record.split is not None
                assert record.split.name == ("test" if split == "prices" else split)
                assert f"price table {HELD_OUT_TABLE if split == 'prices' else 0}" in (record.provenance.notes or "")
    assert not worlds["train"] & (worlds["val"] | worlds["test"])
    assert all(id_.removesuffix(f"-p{HELD_OUT_TABLE}") in worlds["train"] for id_ in worlds["prices"])
    told = json.loads((built / "worlds.json").read_text())
    for entry in told["worlds"]:
        world = World(entry["seed"], entry["tools"], Calibration.load(built / "calibration.json"))
        name = entry["id"] if entry["table"] == 0 else f"{entry['id']}-p{entry['table']}"
        toolset = Toolset.load(built / "toolsets" / f"{name}.json")
        assert Toolset.of(world.catalogue(table=entry["table"]), name).sha256 == toolset.sha256


def test_sets_have_4_to_20_plans_and_logged_inputs_one_with_its_propensity(built: Path) -> None:
    sizes: dict[str, int] = {}
    for record in read(built / "sets" / "train.jsonl.gz"):
        sizes[record.candidate_set] = sizes.get(record.candidate_set, 0) + 1
        assert record.policy.propensity is None
    offered = {r.candidate_set: r.policy.candidates_offered or 0 for r in read(built / "sets" / "train.jsonl.gz")}
    assert all(min(4, offered[key]) <= size <= 20 for key, size in sizes.items())
    logged = list(read(built / "logged" / "train.jsonl.gz"))
    assert len({record.candidate_set for record in logged}) == len(logged)
    assert all(record.policy.propensity for record in logged)
    assert not {record.candidate_set for record in logged} & sizes.keys()


def _drawn(rng: np.random.Generator) -> list[Call]:
    """Calls from known distributions: 5 capabilities with 6 rivals, 60 calls each."""
    calls = []
    for capability in range(5):
        level = -10.0 + capability
        for tool in range(6):
            work = math.exp(level + 0.9 * rng.normal())
            ms = math.exp(6.0 + 0.8 * math.log(work) + 0.2 * rng.normal())
            score = 0.8 + 0.1 * rng.normal()
            for _ in range(60):
                size = math.exp(rng.normal())
                price = 1e9 * work * size**0.7 * math.exp(0.15 * rng.normal())
                took = ms * size * math.exp(0.3 * rng.normal())
                at = (f"t{capability}-{tool}", f"c{capability}")
                calls.append(Call(*at, "label", price, took, size, True, score - 0.8, score))
    return calls


def test_the_fit_recovers_the_distributions_that_calls_were_drawn_from() -> None:
    fitted = fit_calls(_drawn(np.random.default_rng(1)), source="drawn")
    assert fitted.fee_usd == 0.0
    assert fitted.price_noise == pytest.approx(0.15, rel=0.1)
    assert fitted.time_noise == pytest.approx(0.3, rel=0.1)
    assert fitted.size_exponent == pytest.approx(0.7, abs=0.03)
    assert fitted.ms_slope == pytest.approx(0.8, abs=0.08)
    assert fitted.ms_spread == pytest.approx(0.2, abs=0.08)
    assert np.mean([c.spread for c in fitted.capabilities]) == pytest.approx(0.9, rel=0.25)
    assert [round(c.level) for c in fitted.capabilities] == pytest.approx([-10, -9, -8, -7, -6], abs=1)


def test_too_few_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_calls(_drawn(np.random.default_rng(1))[:20], source="few")


def test_a_calibration_comes_back_from_its_file(tmp_path: Path) -> None:
    default_calibration().save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == default_calibration()
    (tmp_path / "d.json").write_text('{"schema": "other"}')
    with pytest.raises(ValueError, match=r"d\.json"):
        Calibration.load(tmp_path / "d.json")


def test_simulated_calls_resemble_those_that_the_simulator_was_fitted_to() -> None:
    """Worlds fitted to the calls of simulated worlds have about the quantiles of those worlds again."""
    rng = np.random.default_rng(2)
    first = [call for seed in range(6) for call in tool_calls(World(seed, 80), rng)]
    refitted = fit_calls(first, source="simulated")
    second = [call for seed in range(6, 12) for call in tool_calls(World(seed, 80, refitted), rng)]
    report = goodness(first, second)
    assert report["log10 price, dearest / cheapest rival"]["gap"] < 0.25
    assert report["log10 ms per USD"]["gap"] < 0.6
    assert summary(first) == summary(first)


def test_measured_records_can_be_fitted(shared_opencatp: Path) -> None:
    records = list(read(shared_opencatp))
    fitted = fit(records, source="opencatp")
    assert fitted.calls == len(calls_of(records)) > 1_000
    assert 0.005 < math.exp(np.mean([c.level for c in fitted.capabilities])) < 0.1
