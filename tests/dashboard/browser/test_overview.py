"""The first page: a guide while there is nothing, then the answer in thirty seconds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from catp.dashboard.demo import fill
from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    store = RunStore(tmp_path / "runs.db")
    store.list()
    store.close()
    return tmp_path / "runs.db"


def test_a_fresh_store_guides_and_fills_at_a_button(
    fresh: Path, serve: Callable[..., Server], page: Page, no_barriers: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("catp.dashboard.demo.fill", partial(fill, runs=8))  # all sixty are some seconds of work
    page.goto(serve(fresh).url)
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.get_by_text("pip install 'catp[tools]'")).to_be_visible()
    no_barriers()
    page.get_by_role("button", name="Load demo data").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()  # by itself: events say that there are runs
    expect(page.get_by_role("region", name="Needs you").get_by_role("link", name="waits for approval")).to_be_visible()
    expect(page.get_by_role("region", name="Budgets").get_by_text("demo-archive")).to_be_visible()


def test_a_run_to_watch_opens_at_once(fresh: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(fresh)
    page.goto(site.url)
    page.get_by_role("button", name="Watch a demo run").click()
    page.wait_for_url("**/runs/*")
    run = page.url.rpartition("/")[2].partition("?")[0]
    found = page.request.get(f"{site.url}/api/v1/runs/{run}").json()
    assert found["status"] == "running" or found["latency_ms"] > 5_000, "there is nothing to watch"


def test_whoever_may_not_fill_sees_no_buttons(fresh: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(fresh, tokens={"token-of-a-viewer": "viewer"})
    page.goto(f"{site.url}/?token=token-of-a-viewer")
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()
    expect(page.get_by_role("button", name="Load demo data")).to_have_count(0)


def test_figures_lead_to_what_they_are_of(
    demo: Path, serve: Callable[..., Server], page: Page, shot: Callable[[str], Path], no_barriers: Callable[[], None]
) -> None:
    site = serve(demo)
    page.goto(f"{site.url}/?window=30d")
    told = page.request.get(f"{site.url}/api/v1/overview?window=30d").json()
    states = page.get_by_role("region", name="Runs by state")
    expect(states.get_by_role("link", name=f"{sum(told['runs'].values())} runs")).to_be_visible()
    expect(page.get_by_role("region", name="Failures", exact=True).get_by_role("row")).to_have_count(6)
    no_barriers()
    shot("overview-dark")
    spending = page.get_by_role("region", name="Spending")
    spending.get_by_role("button", name="Show as table").click()
    expect(spending.get_by_role("row")).to_have_count(1 + len(told["spend"]["days"]))
    page.get_by_role("button", name="how is Success rate computed").click()
    expect(page.get_by_text("Complete runs among")).to_be_visible()
    page.keyboard.press("Escape")
    states.get_by_role("link", name="failed").click()
    expect(page.get_by_role("button", name="failed")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("table", name="Runs").get_by_role("row")).to_have_count(1 + told["runs"]["failed"])


@pytest.mark.parametrize("width", [360, 3840])
def test_nothing_overflows(demo: Path, serve: Callable[..., Server], page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(serve(demo).url)
    expect(page.get_by_role("region", name="Failures", exact=True)).to_be_visible()
    fits(page)
