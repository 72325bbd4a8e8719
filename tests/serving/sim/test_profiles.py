import csv
import gzip
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from catp.serving.policies.costmodel import CostModel, Load
from catp.serving.sim.profiles import PROFILES, ProfileError, load_profile


@pytest.mark.parametrize("name", PROFILES)
def test_more_work_takes_longer(name: str) -> None:
    step = PROFILES[name].step
    base = Load(tokens=64, decodes=64, kv_tokens=64_000)
    assert step(base) < step(Load(tokens=512, attended=64e3, decodes=64, kv_tokens=64_000))
    assert step(base) < step(Load(tokens=64, decodes=64, kv_tokens=128_000))
    assert step(Load(tokens=8192)) == pytest.approx(2 * step(Load(tokens=4096)), rel=0.05)


@pytest.mark.parametrize("name", PROFILES)
def test_policies_plan_with_a_model_near_the_profile(name: str) -> None:
    times, costs, _ = load_profile(name)
    for tokens, decodes in ((32, 32), (512, 32), (1024, 64)):
        load = Load(tokens, (tokens - decodes) * 700.0, decodes, decodes * 1000)
        assert costs.step(load) == pytest.approx(times.step(load), rel=0.25)


@pytest.mark.parametrize("device", ["a100", "h100", "a40"])
def test_tables_are_the_published_ones(device: str, shared_traces: Path) -> None:
    path = shared_traces / "profiles" / f"vidur_{device}_llama2-7b_mlp.csv.gz"
    profile = PROFILES[f"{device}-llama2-7b"]
    with gzip.open(path, "rt") as file:
        rows = [row for row in csv.DictReader(file) if row["num_tensor_parallel_workers"] == "1"]
    assert len(rows) > 200
    off = []
    for row in rows:
        layer = sum(float(row[key]) for key in row if key.endswith(".median") and ".emb." not in key)
        linear = profile.step(Load(tokens=int(row["num_tokens"]))) - profile.host
        off.append(abs(linear / (32 * layer / 1000) - 1))
    assert max(off) < 0.1
    assert sum(off) / len(off) < 0.02


def test_a_fitted_cost_model_is_a_profile(tmp_path: Path) -> None:
    costs = CostModel()
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps({**asdict(costs), "kv_tokens": 4096}))
    assert load_profile(str(path)) == (costs, costs, 4096)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "fixed"),
        ("[]", "needs numbers"),
        (json.dumps({**asdict(CostModel()), "kv_tokens": 0}), "at least 1"),
        (json.dumps({**asdict(CostModel(token=-1.0)), "kv_tokens": 9}), "at least 0"),
    ],
)
def test_broken_profiles_say_what_is_missing(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=said):
        load_profile(str(path))
    with pytest.raises(ProfileError, match="a100-llama2-7b"):
        load_profile("b200")
