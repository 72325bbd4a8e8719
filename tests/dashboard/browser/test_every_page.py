"""What holds for all pages: names, colours, keys, narrow and wide windows, no request elsewhere, nobody locked out."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browser.conftest import Server, fits

PAGES = (
    "", "runs", "runs/RUN", "runs/BROKEN", "plan", "compare?ids=RUN,OTHER", "pareto", "tools", "tools/demo.ocr",
    "spend", "serving", "training", "training/shipped:catp-tiny", "settings",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(demo: Path) -> Iterator[Server]:
    server = Server(demo, engine="off")
    yield server
    server.close()


@pytest.fixture(scope="module")
def names(site: Server) -> dict[str, str]:
    """Runs by what stands for them in PAGES."""
    store = sqlite3.connect(site.store)
    found = store.execute(
        "SELECT id FROM runs WHERE status = 'complete' AND task = (SELECT task FROM runs WHERE status = 'complete' "
        "GROUP BY task ORDER BY COUNT(*) DESC LIMIT 1) ORDER BY id DESC LIMIT 2"
    ).fetchall()
    broken = store.execute("SELECT id FROM runs WHERE status = 'failed' ORDER BY id DESC LIMIT 1").fetchone()
    store.close()
    return {"RUN": found[0][0], "OTHER": found[1][0], "BROKEN": broken[0]}


Open = Callable[[str], Page]


@pytest.fixture
def show(site: Server, names: dict[str, str], page: Page) -> Open:
    """show("runs/RUN") goes there and waits until nothing is being loaded."""

    def go(path: str) -> Page:
        for short, name in names.items():
            path = path.replace(short, name)
        answer = page.goto(f"{site.url}/{path}")
        assert answer is not None
        assert answer.status == 200
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator(".loading")).to_have_count(0)
        return page

    return go


@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_kept_out_in_either_colours(
    path: str, show: Open, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    page = show(path)
    expect(page.get_by_role("alert")).to_have_count(0)
    name = path.partition("?")[0].replace("/", "-") or "overview"
    for colours in ("light", "dark"):
        page.get_by_role("combobox", name="Colours").select_option(colours)
        shot(f"{name}-{colours}")
    no_barriers()


@pytest.mark.parametrize(("width", "height"), [(360, 780), (640, 450), (3840, 2160)])
@pytest.mark.parametrize("path", PAGES)
def test_it_fits_a_telephone_a_zoomed_window_and_a_wall(path: str, width: int, height: int, show: Open) -> None:
    """200 % zoom of a window of 1,280 pixels is one of 640."""
    page = show(path)
    page.set_viewport_size({"width": width, "height": height})
    fits(page)


_REACHABLE = """() => {
    const shown = (one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest('[inert]');
    return [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')]
        .filter((one) => one.tabIndex >= 0 && !one.disabled && shown(one))
        .map((one, i) => (one.dataset.walk = i, one.outerHTML.slice(0, 120)));
}"""


@pytest.mark.parametrize("path", PAGES)
def test_the_tab_key_reaches_everything_and_is_never_caught(path: str, show: Open) -> None:
    page = show(path)
    everything: list[str] = page.evaluate(_REACHABLE)
    seen: set[int] = set()
    for _ in range(len(everything) + 60):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement?.dataset?.walk ?? null")
        if at is not None:
            seen.add(int(at))
        if len(seen) == len(everything):
            break
    assert [text for i, text in enumerate(everything) if i not in seen] == []


@pytest.mark.parametrize("path", PAGES)
def test_every_picture_has_a_table(path: str, show: Open) -> None:
    page = show(path)
    for twin in page.locator("figure.twin").all():
        title = twin.get_by_role("heading").first.inner_text()
        twin.get_by_role("button", name="Show as table").click()
        expect(twin.get_by_role("table", name=title)).to_be_visible()
        expect(twin.get_by_role("columnheader").nth(1)).to_be_visible()
    drawn = page.locator("main svg:not(figure svg, .graph svg, button svg, a svg)")
    assert drawn.count() == 0, "a picture without a table twin"
    if page.locator(".graph svg").count():  # the steps that are drawn are rows too
        steps = page.locator(".graph button b, .graph button strong").all_inner_texts()
        rows = " ".join(page.get_by_role("row").all_inner_texts())
        assert [step for step in steps if step not in rows] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_viewer_is_shown_no_way_to_change_anything(
    path: str, site: Server, names: dict[str, str], page: Page
) -> None:
    viewer = Server(site.store, engine="off", token="admin-token-1", tokens={"viewer-token-1": "viewer"})
    try:
        for short, name in names.items():
            path = path.replace(short, name)
        page.goto(f"{viewer.url}/?token=viewer-token-1")
        assert "token" not in page.url
        page.goto(f"{viewer.url}/{path}")
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator(".loading")).to_have_count(0)
        expect(page.get_by_text("viewer", exact=True).first).to_be_visible()
        changing = (
            "Cancel",
            "Approve",
            "Reject",
            "Replay",
            "Score",
            "Run",
            "Delete",
            "Remove",
            "Prune",
            "Load demo data",
        )
        found = page.get_by_role("button").all_inner_texts()
        assert [text for text in found if text.startswith(changing)] == []
    finally:
        viewer.close()
