"""The page of spend: it adds up, and an admin keeps budgets with the keyboard."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browser.conftest import Server, fits
from tests.dashboard.calls import DAY, Call, fill

Serve = Callable[..., Server]
TOKENS = {"admin-token-0123456789": "admin", "viewer-token-01234567": "viewer"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Six days, each with a dear call, a cheap one and one that nobody has priced."""
    now = time.time_ns()
    runs = [
        [
            Call("dear", cost=(3 + day) * 10**7, at_ns=now - day * DAY),
            Call("cheap", cost=10**6, at_ns=now - day * DAY),
            Call("mystery", cost=None, at_ns=now - day * DAY),
        ]
        for day in range(5, -1, -1)
    ]  # fmt: skip
    fill(tmp_path / "runs.db", *runs)
    return tmp_path / "runs.db"


def test_spend_adds_up_in_picture_table_and_sheet(
    store: Path, serve: Serve, page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    site = serve(store)
    page.goto(f"{site.url}/spend")
    told = page.request.get(f"{site.url}/api/v1/spend").json()
    expect(page.get_by_text(f"adds up: ledger ${told['ledger_total']}")).to_be_visible()
    expect(page.get_by_text("+ 6 unpriced").first).to_be_visible()
    key = page.get_by_role("listitem").filter(has_text="mystery")
    expect(key).to_contain_text("unpriced")
    assert "$0" not in key.inner_text()
    figure = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Spend by day and tool"))
    expect(figure.locator("rect")).to_have_count(12)
    figure.get_by_role("button", name="Show as table").press("Enter")
    expect(figure.get_by_role("table").get_by_role("row")).to_have_count(1 + len(told["buckets"]))
    rows = figure.get_by_role("table").get_by_role("row").all()
    assert [row.get_by_role("cell").first.inner_text() for row in rows[1:]] == told["buckets"]
    dear = [Decimal(row.get_by_role("cell").nth(2).inner_text()[1:]) for row in rows[1:]]
    assert dear == [Decimal(value) for value in told["series"][0]["values"]]
    assert {row.get_by_role("cell").nth(4).inner_text() for row in rows[1:]} == {"unpriced"}
    with page.expect_download() as sheet:
        page.get_by_role("link", name="CSV").press("Enter")
    lines = sheet.value.path().read_text().splitlines()
    assert lines[0] == "day,tool,usd"
    page.get_by_role("combobox", name="by", exact=True).select_option("policy")
    expect(page).to_have_url(f"{site.url}/spend?group=policy")
    expect(page.get_by_role("heading", name="Spend by day and policy")).to_be_visible()
    no_barriers()
    shot("spend")


def test_an_admin_keeps_a_budget_with_the_keyboard(
    store: Path, serve: Serve, page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    site = serve(store)
    page.goto(f"{site.url}/spend")
    expect(page.get_by_role("heading", name="No budgets")).to_be_visible()
    page.get_by_role("button", name="New budget").press("Enter")
    dialog = page.get_by_role("dialog", name="New budget")
    dialog.get_by_label("Name").focus()
    page.keyboard.type("default")
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.type("much")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("limit: 'much' is not a decimal amount")
    dialog.get_by_label("Limit in US dollars").fill("$0.40")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    row = page.get_by_role("region", name="Budgets").get_by_role("row").nth(1)
    expect(row).to_contain_text("project:default")
    expect(row).to_contain_text("▲ 80 % reached")
    expect(page.get_by_text("$0.336 of $0.4 spent, ")).to_be_visible()
    row.get_by_role("button", name="Change").press("Enter")
    page.get_by_label("Limit in US dollars").fill("0.3")
    page.keyboard.press("Enter")
    expect(row).to_contain_text("✕ over by $0.036")
    figure = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="project:default"))
    page.get_by_role("combobox", name="Show what is").select_option("left")
    expect(page).to_have_url(f"{site.url}/spend?show=left")
    figure.get_by_role("button", name="Show as table").press("Enter")
    (told,) = page.request.get(f"{site.url}/api/v1/budgets").json()["items"]
    lines = figure.get_by_role("table").get_by_role("row")
    expect(lines).to_have_count(len(told["days"]) + len(told["forecast"]["days"]))
    assert [line.get_by_role("cell").first.inner_text() for line in lines.all()[1:]][: len(told["days"])] == [
        day["day"] for day in told["days"]
    ]
    no_barriers()
    shot("spend-over")
    row.get_by_role("button", name="Remove").press("Enter")
    page.get_by_role("button", name="Remove it").press("Enter")
    expect(page.get_by_role("heading", name="No budgets")).to_be_visible()


def test_a_viewer_sees_budgets_and_changes_none(store: Path, serve: Serve, page: Page) -> None:
    site = serve(store, tokens=TOKENS)
    made = page.request.post(
        f"{site.url}/api/v1/budgets", data={"scope": "project", "name": "default", "limit": "9"},
        headers={"authorization": "Bearer admin-token-0123456789"},
    )  # fmt: skip
    assert made.status == 201
    page.goto(f"{site.url}/spend?token=viewer-token-01234567")
    expect(page.get_by_text("✓ within the limit")).to_be_visible()
    for name in ("New budget", "Change", "Remove"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)


def test_a_small_screen_shows_all_of_it(store: Path, serve: Serve, page: Page, shot: Callable[[str], Path]) -> None:
    site = serve(store)
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"{site.url}/spend?bucket=hour&group=agent")
    expect(page.get_by_text("by day: hours are shown for up to 7 days")).to_be_visible()
    fits(page)
    shot("spend-small")
