"""The pages of tools: what is dear, slow, wrong or unpriced is seen, with keys alone and on a small screen."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from catp.agent import Agent
from tests.dashboard.browser.conftest import Server, fits
from tests.dashboard.calls import DAY, SECOND, Call, fill
from tests.dashboard.conftest import hostile, short

Serve = Callable[..., Server]


@pytest.fixture
def site(tmp_path: Path, serve: Serve) -> Server:
    """Two tools that cost something, one that nobody has priced, over three days."""
    now = time.time_ns()
    days = [
        [
            Call("short", cost=2_000_000 + 10**5 * day, est=2_000_000, ms=100.0 + day, size=40, at_ns=now - day * DAY),
            Call("hostile", cost=5_000_000, est=4_000_000, size=7, at_ns=now - day * DAY),
            Call("mystery", cost=None, at_ns=now - day * DAY),
        ]
        for day in (2, 1, 0)
    ]  # fmt: skip
    broken = Call("hostile", cost=1_000_000, outcome="error", error="Broken <b>pipe</b>", at_ns=now - 60 * SECOND)
    fill(tmp_path / "runs.db", *days, [broken, broken])
    return serve(tmp_path / "runs.db", agent_for=lambda s: Agent([hostile, short], store=s, planner="search"))


def test_the_leaderboard_warns_of_what_nobody_knows(
    site: Server, page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    page.goto(f"{site.url}/tools")
    rows = page.get_by_role("table").get_by_role("row")
    expect(rows).to_have_count(4)
    expect(page.get_by_text("mystery (3)")).to_be_visible()
    unknown = rows.filter(has_text="mystery")
    expect(unknown.get_by_text("unpriced").first).to_be_visible()
    assert not re.search(r"\$0(\.0*)?\b", unknown.inner_text().replace("\n", " "))
    expect(rows.filter(has_text="hostile")).to_contain_text("✕ failing")
    expect(rows.filter(has_text="hostile")).to_contain_text("$0.001 a call")
    page.get_by_role("button", name="how is bias computed").press("Enter")
    expect(page.get_by_text("Sum of actual prices / sum of estimates")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="calls", exact=True).press("Enter")
    expect(rows.nth(1)).to_contain_text("hostile")
    no_barriers()
    shot("tools")


def test_a_tool_has_charts_that_are_tables_and_errors_that_lead_to_runs(
    site: Server, page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    page.goto(f"{site.url}/tools")
    page.get_by_role("link", name="hostile").press("Enter")
    expect(page.get_by_role("heading", name="Tools / hostile")).to_be_visible()
    expect(page.get_by_text("$0.001 a call").first).to_be_visible()
    figure = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Price of a call"))
    figure.get_by_role("button", name="Show as table").press("Enter")
    table = figure.get_by_role("table")
    told = page.request.get(f"{site.url}/api/v1/tools/hostile").json()
    expect(table.get_by_role("row")).to_have_count(1 + len(told["history"]))
    shown = [
        [cell.inner_text() for cell in row.get_by_role("cell").all()] for row in table.get_by_role("row").all()[1:]
    ]
    assert shown == [[day["day"], "$0.005", "$0.005", "$0.004"] for day in told["history"]]
    expect(page.get_by_role("img", name="Price: predicted across").first).to_be_visible()
    for title in ("Cost by input size", "Alternatives", "Versions", "Errors", "Latest calls"):
        expect(page.get_by_role("heading", name=title)).to_be_visible()
    errors = page.get_by_role("region", name="Errors")
    expect(errors).to_contain_text("Broken <b>pipe</b>")
    (error,) = told["errors"]
    assert f"{error['run']}?step={error['step']}" in str(errors.get_by_role("link").get_attribute("href"))
    no_barriers()
    shot("tool")


def test_days_are_in_the_address(site: Server, page: Page) -> None:
    page.goto(f"{site.url}/tools")
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(4)
    page.get_by_role("combobox", name="Period").select_option("7 days")
    expect(page).to_have_url(re.compile(r"/tools\?from=\d{4}-\d\d-\d\d$"))
    page.get_by_label("to", exact=True).fill("2026-01-05")
    page.get_by_label("to", exact=True).blur()
    expect(page).to_have_url(re.compile(r"from=2026-01-05&to=2026-01-05"))
    expect(page.get_by_role("heading", name="No tool was called in these days")).to_be_visible()
    page.go_back()
    page.goto(f"{site.url}/tools/nothing")
    expect(page.get_by_role("alert")).to_contain_text("404")


def test_a_small_screen_shows_all_of_it(site: Server, page: Page, shot: Callable[[str], Path]) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    for path in ("tools", "tools/short"):
        page.goto(f"{site.url}/{path}")
        expect(page.get_by_role("table").first).to_be_visible()
        fits(page)
        shot(f"{path.replace('/', '-')}-small")
