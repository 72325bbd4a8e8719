"""The settings page: what an admin sees and may do, and what a viewer does not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import time_ns

import pytest
from playwright.sync_api import Page, expect

from catp.dashboard.demo import fill
from catp.store import deeds
from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits, work
from tests.dashboard.conftest import PLAN, hostile, short

DAY = 86_400 * 10**9


async def _fill(path: Path) -> None:
    from catp.agent import Agent

    async with Agent([hostile, short], store=path, budget="1") as bot:
        await bot.run(PLAN, {"t": "hello"})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run, and a page and a bit of changes."""
    path = tmp_path / "runs.db"
    work(_fill(path))
    runs = RunStore(path)
    for n in range(25):
        detail = {"why": "<b>x</b>"}
        note = partial(deeds.note, actor="ann", action="cancel", target=f"run-{n}", detail=detail, now_ns=n * DAY)
        runs.database.write(note)
    runs.close()
    return path


def test_an_admin(
    store: Path, serve: Callable[..., Server], page: Page, shot: Callable[[str], Path],
    no_barriers: Callable[[], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("catp.dashboard.api.settings.time_ns", lambda: time_ns() + 40 * DAY)
    site = serve(store, engine="off")
    page.goto(f"{site.url}/settings")
    expect(page.get_by_role("heading", name="Settings", level=1)).to_be_visible()
    expect(page.get_by_text(str(store), exact=True)).to_be_visible()
    expect(page.get_by_role("region", name="Declared prices").get_by_role("row").nth(5)).to_be_visible()
    changes = page.get_by_role("region", name="Changes, the newest first").get_by_role("row")
    expect(changes).to_have_count(21)
    expect(changes.nth(1)).to_contain_text("<b>x</b>")
    no_barriers()
    shot("settings-dark")
    page.get_by_role("button", name="Older").click()
    expect(changes).to_have_count(6)
    page.get_by_role("button", name="Newest").click()
    expect(changes).to_have_count(21)
    page.get_by_role("button", name="Remove old runs").click()
    dialog = page.get_by_role("dialog", name="Remove old runs")
    dialog.get_by_role("button", name="Count them").click()
    expect(dialog.get_by_role("status")).to_contain_text("0 runs")
    dialog.get_by_role("spinbutton").fill("30")
    dialog.get_by_role("button", name="Count them").click()
    expect(dialog.get_by_role("status")).to_contain_text("1 runs with")
    no_barriers_in_dialog = dialog.get_by_role("button", name="Remove 1 runs for good")
    no_barriers_in_dialog.click()
    expect(dialog.get_by_role("status")).to_contain_text("Removed 1 runs")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.reload()
    expect(changes.nth(1)).to_contain_text("runs older than 30 d")
    page.get_by_role("button", name="Keyboard shortcuts").last.click()
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("combobox", name="Colour scheme").select_option("light")
    page.set_viewport_size({"width": 360, "height": 800})
    fits(page)
    shot("settings-360")


@pytest.mark.parametrize("options", [{"tokens": {"viewer-token": "viewer"}}, {"read_only": True}])
def test_who_may_not_remove_anything(
    store: Path, serve: Callable[..., Server], page: Page, options: dict[str, object]
) -> None:
    site = serve(store, **options)
    page.goto(f"{site.url}/settings?token=viewer-token")
    expect(page.get_by_role("heading", name="Store")).to_be_visible()
    expect(page.get_by_role("button", name="Remove old runs")).to_have_count(0)
    if "tokens" in options:
        expect(page.get_by_text(str(store))).to_have_count(0)


def test_demo_data_are_taken_out_again(store: Path, serve: Callable[..., Server], page: Page) -> None:
    work(fill(store, runs=8))
    site = serve(store, engine="off")
    page.goto(f"{site.url}/settings")
    page.get_by_role("button", name="Remove demo data").click()
    expect(page.get_by_role("button", name="Remove demo data")).to_have_count(0)
    expect(page.get_by_role("button", name="Load demo data")).to_be_visible()
    expect(page.get_by_role("button", name="Watch a demo run")).to_be_visible()
    runs = RunStore(store)
    assert {run.project for run in runs.list()} == {"default"}
    runs.close()
