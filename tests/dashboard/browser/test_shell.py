"""The frame that every page has."""

from collections.abc import Callable
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.dashboard.browser.conftest import Server


def test_an_unknown_address_says_so_and_leads_back(tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(tmp_path / "runs.db")
    answer = page.goto(f"{site.url}/nothing/here")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", name="No such page")).to_be_visible()
    page.get_by_role("link", name="Go to the overview").click()
    expect(page).to_have_url(f"{site.url}/")


def test_the_theme_is_remembered(
    tmp_path: Path, serve: Callable[..., Server], page: Page, no_barriers: Callable[[], None]
) -> None:
    site = serve(tmp_path / "runs.db")
    page.goto(f"{site.url}/nothing")
    no_barriers()
    page.get_by_role("combobox", name="Colours").select_option("dark")
    page.reload()
    expect(page.get_by_role("combobox", name="Colours")).to_have_value("dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"


def test_keys_reach_help_and_pages(tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(tmp_path / "runs.db")
    page.goto(f"{site.url}/nothing")
    expect(page.get_by_role("heading", name="No such page")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page).to_have_url(f"{site.url}/spend")


def test_whoever_has_no_token_is_asked_for_one(tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(tmp_path / "runs.db", tokens={"token-of-<b>": "viewer"})
    page.goto(f"{site.url}/runs?token=not-a-token&status=failed")
    expect(page.get_by_role("alert")).to_have_text("this is not a token of this server")
    assert Axe().run(page).violations_count == 0
    page.get_by_label("Token").fill("token-of-<b>")
    page.get_by_role("button", name="Open the dashboard").click()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    assert "token" not in page.url
