"""catp-tiny, as it lies in the wheel: whole, small, described, and planning."""

import asyncio
import json
from pathlib import Path

import pytest

from catp.planlang.money import Money, usd
from catp.planners.protocol import NothingFits
from catp.planners.serves import serves
from catp.planners.shipped import default_planner, load_policy
from catp.training.bench.joins import bench_catalogue
from catp.training.bench.tasks import load_tasks
from catp.training.policy.manifest import read_manifest
from catp.training.policy.models import default_model

SHIPPED = default_model()
FAMILIES = ("page-text-language", "label-codes", "text-sentiment", "photo-clean", "text-answer", "texts-languages")


@pytest.fixture(scope="module")
def folder() -> Path:
    assert SHIPPED is not None, "datasets/models/catp-tiny is not there"
    return SHIPPED


def test_it_is_small_and_holds_no_pickle(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 20 * 2**20
    plain = {".safetensors", ".forest", ".json", ".md", ".jsonl", ".gz", ".png", ".toml"}
    assert {path.suffix for path in files} <= plain


def test_it_is_what_the_committed_configuration_says(folder: Path) -> None:
    from catp.training.caorl.settings import load_config

    manifest = read_manifest(folder)
    committed = load_config(Path(__file__).parents[3] / "examples" / "train" / "tiny.toml", [])
    assert manifest.name == "catp-tiny"
    assert manifest.config == committed
    assert "test" not in manifest.split["name"]
    assert manifest.figures["regret"] is not None


def test_its_card_says_how_it_was_made(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "catp train --config examples/train/tiny.toml" in card
    assert read_manifest(folder).config_sha256[:12] in card or "seed" in card


def test_it_plans_what_is_wanted_for_tasks_of_all_kinds() -> None:
    planner, catalogue, tasks = load_policy(None), bench_catalogue(), load_tasks()
    for family in FAMILIES:
        request = tasks[f"{family}-004"].request(catalogue, 0.8, Money(3000), candidates=3)
        found = asyncio.run(planner.plan(request))
        assert not any("planned by" in note for note in found.notes), (family, found.notes)
        assert found.price is not None
        assert found.price > 0
        assert all(serves(one.plan, request) for one in found.candidates)
        assert all(one.quality is not None and 0.0 <= one.quality <= 1.0 for one in found.candidates)


def test_more_weight_on_quality_never_buys_a_cheaper_plan() -> None:
    planner, catalogue, task = load_policy(None), bench_catalogue(), load_tasks()["page-text-language-004"]
    prices = []
    for alpha in (0.0, 0.5, 0.9, 1.0):
        best = asyncio.run(planner.plan(task.request(catalogue, alpha, Money(3000)))).best
        assert best.price.expected is not None
        prices.append(best.price.expected)
    assert prices[0] == min(prices)
    assert prices[-1] >= prices[0]


def test_a_budget_holds_or_is_refused() -> None:
    from dataclasses import replace

    planner, catalogue, task = load_policy(None), bench_catalogue(), load_tasks()["page-text-language-004"]
    request = task.request(catalogue, 0.95, Money(3000))
    for budget in ("0.000002", "0.00001", "0.000000001"):
        tight = replace(request, objective=replace(request.objective, budget=usd(budget)))
        try:
            best = asyncio.run(planner.plan(tight)).best
        except NothingFits:
            assert budget != "0.00001", "the cheapest plan is far below that"
            continue
        assert best.price.p95 is not None
        assert best.price.p95 <= usd(budget)


def test_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATP_PLANNER", raising=False)
    request = load_tasks()["text-sentiment-004"].request(bench_catalogue(), 0.8, Money(500))
    found = asyncio.run(default_planner().plan(request))
    assert not any("search" in note for note in found.notes)


def test_the_training_log_ends_at_the_last_step(folder: Path) -> None:
    lines = (folder / "training.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert max(event["step"] for event in events) == read_manifest(folder).config.optim.steps
