"""Compare: runs are picked, and what differs is seen, read and heard."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.tools import PerCall, tool
from tests.dashboard.browser.conftest import Server, fits, work
from tests.store.recording import fails, unpriced, up, words

Serve = Callable[..., Server]

FIRST = "plan first\nin t: text\nin p: image\na = up(t)\nb = say(a)\ng = grey(p)\nout b, g\n"
SECOND = "plan second\nin t: text\nin p: image\na = up(t)\nb = sing(a)\nc = unpriced(a)\ng = flip(p)\nout b, c, g\n"
THIRD = "plan third\nin t: text\nb = say(t)\na = up(b)\nd = fails(a)\nout a, d?\n"


@tool(price=PerCall("0.001"))
async def say(text: str) -> str:
    return f"the quick brown fox says {text} <b>loudly</b>"


@tool(price=PerCall("0.004"))
async def sing(text: str) -> str:
    await asyncio.sleep(0.02)
    return f"the slow brown fox sings {text} \u202e<b>loudly</b>"


@tool(price=PerCall("0.0005"))
async def grey(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


@tool(price=PerCall("0.0005"))
async def flip(image: Image.Image) -> Image.Image:
    return image.rotate(180)


async def _fill(store: Path) -> list[str]:
    photo = Image.new("RGB", (120, 80), "teal")
    ImageDraw.Draw(photo).polygon([(10, 70), (60, 10), (110, 70)], fill="gold")
    async with Agent([say, sing, grey, flip, up, words, unpriced, fails], store=store) as agent:
        given = {"t": "hello", "p": photo}
        runs = [await agent.run(parse(plan), given) for plan in (FIRST, SECOND)]
        runs.append(await agent.run(parse(THIRD), {"t": "hello"}))
    return [run.run_id for run in runs]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def runs(store: Path) -> list[str]:
    return work(_fill(store))


def test_runs_are_picked_with_the_keyboard(
    store: Path, runs: list[str], serve: Serve, page: Page, no_barriers: Callable[[], None]
) -> None:
    site = serve(store)
    page.goto(f"{site.url}/compare")
    expect(page.get_by_role("heading", name="Pick two to five runs")).to_be_visible()
    no_barriers()
    search = page.get_by_role("searchbox", name="Search runs by task or id")
    search.fill("first")
    page.get_by_role("button", name="first").press("Enter")
    expect(page.get_by_role("heading", name="Pick one more run")).to_be_visible()
    search.fill("second")
    page.get_by_role("button", name="second").press("Enter")
    expect(page).to_have_url(f"{site.url}/compare?ids={runs[0]}%2C{runs[1]}")
    expect(page.get_by_role("heading", name="Figures")).to_be_visible()
    page.get_by_role("button", name="Leave out B").press("Enter")
    expect(page.get_by_role("heading", name="Pick one more run")).to_be_visible()


def test_what_differs_is_said(
    store: Path, runs: list[str], serve: Serve, page: Page, no_barriers: Callable[[], None], shot: Callable[[str], Path]
) -> None:
    site = serve(store)
    told = page.request.get(f"{site.url}/api/v1/compare?ids={runs[0]},{runs[1]}").json()
    page.goto(f"{site.url}/compare?ids={runs[0]},{runs[1]}")
    figures = page.get_by_role("table", name="Figures of the runs")
    cost = figures.get_by_role("row").filter(has=page.get_by_role("cell", name="cost", exact=True))
    expect(cost).to_contain_text("▲ +$0.003 worse")
    unpriced_rows = figures.get_by_role("row").filter(has_text="ledger rows without a price")
    expect(unpriced_rows).to_contain_text("1 ▲ +1 worse")
    expect(page.get_by_role("button", name="b, say → sing")).to_contain_text("≠ tool")
    expect(page.get_by_role("button", name="c, unpriced")).to_contain_text("＋ only B")
    expect(page.get_by_text("3 steps differ")).to_be_visible()
    page.get_by_role("button", name="b, say → sing").press("Enter")
    chosen = page.get_by_role("table", name="Step b in each run")
    expect(chosen.get_by_role("row").nth(1)).to_contain_text("say(a)")
    expect(chosen.get_by_role("row").nth(2)).to_contain_text("sing(a)")
    fall = page.get_by_role("figure").filter(has_text="What makes B dearer than A: +$0.003")
    fall.get_by_role("button", name="Show as table").press("Enter")
    expect(fall.get_by_role("row")).to_have_count(1 + len(told["waterfall"]["bars"]))
    changes = [row.get_by_role("cell").nth(1).inner_text() for row in fall.get_by_role("row").all()[1:]]
    shown = [Decimal(change.replace("−", "-").replace("$", "").replace("unpriced", "0")) for change in changes]
    assert sum(shown) == Decimal(told["waterfall"]["delta"])
    times = page.get_by_role("figure").filter(has_text="When each step ran")
    expect(times.get_by_role("img", name="Times of the steps in each run")).to_be_visible()
    times.get_by_role("button", name="Show as table").press("Enter")
    expect(times.get_by_role("row")).to_have_count(1 + len(told["gantt"]["rows"]))
    no_barriers()
    shot("compare")


def test_outputs_are_beside_each_other_and_never_markup(store: Path, runs: list[str], serve: Serve, page: Page) -> None:
    site = serve(store)
    page.goto(f"{site.url}/compare?ids={','.join(runs)}")
    text = page.get_by_role("article").filter(has=page.get_by_role("heading", name="b", exact=True))
    expect(text.locator("pre del").first).to_have_text("quick")
    expect(text.locator("pre ins").first).to_have_text("slow")
    expect(text.locator("pre b")).to_have_count(0)
    expect(text.locator("pre").first).to_contain_text("U+202E<b>loudly</b>")
    text.get_by_text("Side by side").click()
    expect(text.locator("li pre")).to_have_count(2)
    expect(text).to_contain_text("has no such output")
    picture = page.get_by_role("article").filter(has=page.get_by_role("heading", name="g", exact=True))
    slider = picture.get_by_role("slider")
    slider.press("End")
    expect(slider).to_have_value("100")
    failed = page.get_by_role("article").filter(has=page.get_by_role("heading", name="d", exact=True))
    expect(failed).to_contain_text("✕ failed")
    page.get_by_role("combobox", name="to", exact=True).select_option(label="C")
    expect(page).to_have_url(f"{site.url}/compare?ids={'%2C'.join(runs)}&pair={runs[0]}%2C{runs[2]}")
    expect(page.get_by_role("heading", name="What makes C")).to_be_visible()


def test_narrow_windows_and_wrong_runs(
    store: Path, runs: list[str], serve: Serve, page: Page, no_barriers: Callable[[], None]
) -> None:
    site = serve(store)
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto(f"{site.url}/compare?ids={','.join(runs)}")
    expect(page.get_by_role("heading", name="Outputs")).to_be_visible()
    fits(page)
    no_barriers()
    page.goto(f"{site.url}/compare?ids={runs[0]},01NOSUCHRUN")
    expect(page.get_by_role("alert")).to_contain_text("no run '01NOSUCHRUN'")


def test_the_page_of_a_run_opens_from_the_disk(
    store: Path, runs: list[str], serve: Serve, browser: Browser, tmp_path: Path
) -> None:
    site = serve(store)
    with browser.new_context(viewport={"width": 360, "height": 800}, color_scheme="dark") as context:
        page = context.new_page()
        file = tmp_path / "run.html"
        file.write_bytes(page.request.get(f"{site.url}/api/v1/runs/{runs[1]}/export?format=html").body())
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.partition(",")[0]))
        page.goto(file.as_uri())
        expect(page.get_by_role("heading", level=1, name="second")).to_be_visible()
        expect(page.get_by_role("region", name="Ledger")).to_contain_text("Sum of 4 rows")
        assert set(asked) <= {file.as_uri(), "data:image/png;base64"}
        fits(page)
        assert page.evaluate("[...document.images].every((one) => one.naturalWidth > 0)")
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
