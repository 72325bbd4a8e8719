"""The list of runs: found, sorted, walked by key, watched, compared; all of it in the address."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from catp.agent import Agent
from catp.dashboard.demo import fill
from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits, work
from tests.dashboard.conftest import PLAN, hostile, short


async def run_some(path: Path, times: int = 1) -> None:
    async with Agent([hostile, short], store=path, budget="1", name="bot", project="mine", cache=False) as bot:
        for _ in range(times):
            await bot.run(PLAN, {"t": "hello"})


def test_filters_sort_and_pages_are_in_the_address(
    demo: Path, serve: Callable[..., Server], page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    site = serve(demo)
    page.goto(f"{site.url}/runs")
    table = page.get_by_role("table", name="Runs")
    rows = table.get_by_role("row")
    expect(rows).to_have_count(51)
    no_barriers()
    shot("runs-dark")
    total = page.request.get(f"{site.url}/api/v1/runs").json()["total_estimate"]
    page.get_by_role("button", name="Load more").click()
    expect(rows).to_have_count(1 + total)
    expect(page.get_by_role("button", name="Load more")).to_have_count(0)

    page.get_by_role("searchbox", name="Search").fill("tile by tile")
    page.wait_for_url("**/runs?q=tile+by+tile")
    page.get_by_role("combobox", name="policy").select_option("thorough")
    page.get_by_role("button", name="complete").click()
    page.get_by_role("button", name="cost", exact=True).click()
    page.wait_for_url("**/runs?q=tile+by+tile&policy=thorough&status=complete&sort=-cost")
    page.reload()
    expect(page.get_by_role("searchbox", name="Search")).to_have_value("tile by tile")
    found = page.request.get(
        f"{site.url}/api/v1/runs?q=tile by tile&policy=thorough&status=complete&sort=-cost"
    ).json()["items"]
    assert found
    expect(rows).to_have_count(1 + len(found))
    first = page.locator("tbody tr").first
    expect(first).to_contain_text(found[0]["task"])
    page.get_by_role("button", name=re.compile("cost.*sorted down")).click()
    page.wait_for_url("**&sort=cost")

    page.get_by_role("searchbox", name="Search").fill("nothing like this")
    expect(page.get_by_role("heading", name="No run matches")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    page.wait_for_url("**/runs")
    expect(rows).to_have_count(51)


def test_rows_of_the_question_before_cannot_be_opened(demo: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(demo)
    page.goto(f"{site.url}/runs")
    expect(page.get_by_role("table", name="Runs").get_by_role("row")).to_have_count(51)
    table = page.get_by_role("region", name="Runs")
    expect(table).to_have_attribute("aria-busy", "false")

    held: list[Route] = []
    go = threading.Event()

    def hold(route: Route) -> None:
        if go.is_set():
            route.continue_()
        else:
            held.append(route)

    page.route("**/api/v1/runs?*", hold)
    page.get_by_role("button", name="complete").click()
    expect(table).to_have_attribute("aria-busy", "true")
    with pytest.raises(PlaywrightTimeout):
        table.get_by_role("link").first.click(timeout=500)
    go.set()  # also for what is told of only now
    for route in held:
        route.continue_()
    expect(table).to_have_attribute("aria-busy", "false")
    asked = page.request.get(f"{site.url}/api/v1/runs?status=complete").json()["items"]
    table.get_by_role("link").first.click()
    page.wait_for_url(f"**/runs/{asked[0]['id']}*")


def test_keys_walk_and_open(demo: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(demo)
    page.goto(f"{site.url}/runs")
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(50)
    rows.first.focus()
    for key in ("j", "j", "k"):
        page.keyboard.press(key)
    expect(rows.nth(1)).to_be_focused()
    second = page.request.get(f"{site.url}/api/v1/runs").json()["items"][1]["id"]
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/runs/{second}*")


def test_two_to_five_are_compared(demo: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(demo)
    page.goto(f"{site.url}/runs")
    boxes = page.get_by_role("checkbox", name="select")
    boxes.nth(1).check()
    expect(page.get_by_text("two to five can be compared")).to_be_visible()
    boxes.nth(3).check()
    ids = [page.request.get(f"{site.url}/api/v1/runs").json()["items"][at]["id"] for at in (1, 3)]
    expect(page).to_have_url(f"{site.url}/runs?ids={ids[0]}%2C{ids[1]}")
    expect(page.get_by_role("link", name="Export CSV")).to_have_attribute("download", "runs.csv")
    page.get_by_role("main").get_by_role("link", name="Compare").click()
    page.wait_for_url(f"**/compare?ids={ids[0]}%2C{ids[1]}")


def test_new_runs_wait_behind_a_pill_and_known_ones_change_in_place(
    tmp_path: Path, serve: Callable[..., Server], page: Page
) -> None:
    path = tmp_path / "runs.db"
    work(fill(path, runs=4))
    site = serve(path)
    page.goto(f"{site.url}/runs")
    rows = page.locator("tbody tr")
    expect(page.get_by_role("status").filter(has_text="live")).to_be_visible()
    before = len(page.request.get(f"{site.url}/api/v1/runs").json()["items"])
    expect(rows).to_have_count(before)
    work(run_some(path, 2))
    pill = page.get_by_role("button", name="2 new")
    expect(pill).to_be_visible()
    expect(rows).to_have_count(before)  # none moved under the cursor
    pill.click()
    expect(rows).to_have_count(before + 2)
    expect(rows.first).to_contain_text("mine")
    expect(pill).to_have_count(0)

    asks = page.request.get(f"{site.url}/api/v1/overview").json()["needs_you"][0]["run"]
    row = rows.filter(has_text="awaiting approval")
    expect(row).to_have_count(1)
    done = page.request.post(
        f"{site.url}/api/v1/runs/{asks}/cancel", data=json.dumps({"reason": "no"}),
        headers={"content-type": "application/json"},
    )  # fmt: skip
    assert done.ok, done.text()
    expect(rows.filter(has_text="cancelled")).to_have_count(1)
    expect(row).to_have_count(0)


def test_views_are_kept(demo: Path, serve: Callable[..., Server], page: Page) -> None:
    site = serve(demo)
    page.goto(f"{site.url}/runs?status=failed&project=demo-archive")
    page.on("dialog", lambda dialog: dialog.accept("broken photos"))
    page.get_by_role("button", name="Save view").click()
    page.goto(f"{site.url}/runs")
    page.get_by_role("combobox", name="view").select_option("broken photos")
    page.wait_for_url("**/runs?status=failed&project=demo-archive")


def test_ten_thousand_loaded_rows_stay_few_in_the_document(
    tmp_path: Path, serve: Callable[..., Server], page: Page
) -> None:
    path = tmp_path / "runs.db"
    work(run_some(path))
    site = serve(path)
    (one,) = page.request.get(f"{site.url}/api/v1/runs").json()["items"]

    def many(route, request) -> None:  # type: ignore[no-untyped-def]
        start = int(request.url.partition("cursor=")[2] or 0)
        items = [{**one, "id": f"{start + n:026d}", "task": f"task {start + n}"} for n in range(2_000)]
        following = str(start + 2_000) if start < 8_000 else None
        route.fulfill(json={"items": items, "next": following, "total_estimate": 10_000})

    page.route("**/api/v1/runs?cursor=*", many)
    page.route("**/api/v1/runs", many)
    page.goto(f"{site.url}/runs")
    for loaded in ("4,000", "6,000", "8,000", "10,000"):
        page.get_by_role("button", name="Load more").click()
        expect(page.get_by_text(f"{loaded} of 10,000")).to_be_visible()
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(300)
    expect(rows.last).to_contain_text("task 9999")
    page.get_by_role("button", name="Show the 300 before").click()
    expect(rows.last).to_contain_text("task 9699")
    page.get_by_role("region", name="Runs").hover()
    page.mouse.wheel(0, 3000)
    page.wait_for_function("document.querySelector('table').closest('.scroll').scrollTop > 1000")


def test_an_empty_list_says_how_to_fill_it(tmp_path: Path, serve: Callable[..., Server], page: Page) -> None:
    store = RunStore(tmp_path / "runs.db")
    store.list()
    store.close()
    page.goto(f"{serve(tmp_path / 'runs.db').url}/runs")
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.get_by_text("catp run")).to_be_visible()


@pytest.mark.parametrize("width", [360, 3840])
def test_nothing_overflows(demo: Path, serve: Callable[..., Server], page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{serve(demo).url}/runs")
    expect(page.locator("tbody tr")).to_have_count(50)
    fits(page)
