"""Training runs in the browser: the list, a run that is told of while it runs, the plane of checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits
from tests.dashboard.training_runs import evaluated, finished_run, started, step, write_run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run store without runs."""
    found = RunStore(tmp_path / "runs.db")
    found.list()
    found.close()
    return tmp_path / "runs.db"


def test_from_the_list_to_a_run(
    store: Path, tmp_path: Path, serve: Callable[..., Server], page: Page, shot: Callable[[str], Path],
    no_barriers: Callable[[], None],
) -> None:  # fmt: skip
    finished_run(tmp_path / "runs" / "tiny")
    site = serve(store, training=tmp_path / "runs")
    page.goto(f"{site.url}/training")
    rows = page.get_by_role("region", name="Runs").get_by_role("row")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("finished")
    no_barriers()
    rows.nth(1).focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/training/tiny")
    expect(page.get_by_role("heading", name="tiny", level=1)).to_be_visible()
    expect(page.locator(".figure", has_text="Best regret").locator("dd")).to_have_text("0.2 at step 50")
    plane = page.get_by_role("figure", name="Checkpoints against each other")
    expect(plane.get_by_role("img", name="regret@0.9 over regret@0.5 of 3 evaluations")).to_be_visible()
    plane.get_by_role("combobox", name="y").select_option("quality_error")
    expect(page).to_have_url(f"{site.url}/training/tiny?y=quality_error")
    plane.get_by_role("button", name="Show as table").click()
    expect(plane.get_by_role("row").nth(2)).to_contain_text("yes")
    page.get_by_role("figure", name="eval/regret").get_by_role("button", name="Show as table").click()
    expect(page.get_by_role("region", name="eval/regret").get_by_role("row")).to_have_count(4)
    plane.get_by_role("button", name="Show as picture").click()
    expect(page.get_by_role("region", name="Data")).to_contain_text("catp-bench/measured/val.jsonl.gz")
    page.get_by_text("Configuration and model card").click()
    expect(page.get_by_text('paths = ["catp-bench"]')).to_be_visible()
    no_barriers()
    shot("training-dark")
    page.get_by_role("combobox", name="Colours").select_option("light")
    page.set_viewport_size({"width": 360, "height": 800})
    fits(page)
    shot("training-360")


def test_a_run_is_followed_while_it_runs(store: Path, tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    events = [started(), step(1, 4.0), step(2, None)]
    folder = write_run(tmp_path / "runs" / "live", events, tail='{"event": "st')
    site = serve(store, training=tmp_path / "runs")
    page.goto(f"{site.url}/training/live")
    expect(page.get_by_text("running")).to_be_visible()
    expect(page.get_by_text("1 lines that cannot be read")).to_be_visible()
    expect(page.get_by_text("train/loss was no number at step 2")).to_be_visible()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps(step(60, 2.0)) + "\n" + json.dumps(evaluated(60, 0.4, best=True)) + "\n")
    expect(page.locator(".figure", has_text="Step").first.locator("dd")).to_have_text("60 of 100")
    expect(page.get_by_role("figure", name="Checkpoints against each other")).to_be_visible()


def test_there_is_no_run(
    store: Path, tmp_path: Path, serve: Callable[..., Server], page: Page, no_barriers: Callable[[], None]
) -> None:
    site = serve(store, training=tmp_path / "none")
    page.goto(f"{site.url}/training")
    expect(
        page.get_by_text(f"catp train --config examples/train/smoke.toml --out {tmp_path}/none/smoke")
    ).to_be_visible()
    no_barriers()
    page.get_by_role("link", name="shipped:catp-tiny").click()
    expect(page.get_by_role("heading", name="shipped:catp-tiny")).to_be_visible()
    page.goto(f"{site.url}/training/nothing")
    expect(page.get_by_role("alert")).to_contain_text("there is no training run 'nothing'")
