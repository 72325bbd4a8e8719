"""Planning from the page: preview, what-if, run, approval; who may not, and what does not fit."""

import asyncio
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.planners.protocol import PlanRequest, Proposal
from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits, work
from tests.dashboard.planning import CALLED, CATALOGUE, TASK, TWO, agent_over

Serve = Callable[..., Server]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    CALLED.clear()
    store = RunStore(tmp_path / "runs.db")
    store.list()
    store.close()
    return tmp_path / "runs.db"


def ran(path: Path, plan: str, **options: object) -> str:
    """Run a plan to its end, or until it waits, and return its id."""

    async def once() -> str:
        async with Agent(CATALOGUE, store=path, planner="search", cache=False, **options) as agent:  # type: ignore[arg-type]
            return (await agent.run(parse(plan), {"text": "a good text"})).run_id

    found = work(once())
    CALLED.clear()
    return found


def preview(page: Page, site: Server, task: str = TASK, **limits: str) -> None:
    page.goto(f"{site.url}/plan")
    page.get_by_role("textbox", name="Task, or the text of a plan").fill(task)
    page.get_by_role("button", name="Add input").click()
    page.get_by_role("textbox", name="name").fill("text")
    page.get_by_role("textbox", name="value").fill("a good day, and long enough to go by for everybody who reads")
    for label, value in limits.items():
        page.get_by_role("textbox", name=label).fill(value)
    page.get_by_role("button", name="Plan", exact=True).click()


def test_a_plan_is_previewed_and_run(path: Path, serve: Serve, page: Page, shot: Callable[[str], Path]) -> None:
    site = serve(path, agent_for=agent_over())
    preview(page, site, Budget="0.5")
    table = page.get_by_role("table", name="Plans that were considered")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table).to_contain_text("✓ fits")
    expect(page.get_by_role("group", name="graph of 1 step")).to_be_visible()
    shot("plan-preview")
    expect(page.get_by_role("textbox", name="name")).to_have_value("text")
    table.get_by_role("row").nth(2).press("Enter")
    expect(page).to_have_url(f"{site.url}/plan?task={TASK.replace(' ', '+').replace('?', '%3F')}&budget=0.5&c=2")
    page.get_by_role("button", name="Run plan 2 …").click()
    dialog = page.get_by_role("dialog", name="Run plan 2")
    expect(dialog).to_contain_text("Expected to cost")
    assert CALLED == []
    dialog.get_by_role("textbox", name="Spend at most, $").fill("0.1")
    dialog.get_by_role("button", name="Run for up to $0.1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(TASK)
    expect(page.get_by_label("Figures")).to_contain_text("complete")
    store = RunStore(path)
    (run,) = store.list()
    store.close()
    assert (run.task, run.budget, run.policy) == (TASK, 100_000_000, "search")
    assert page.url == f"{site.url}/runs/{run.id}"


def test_a_long_task_is_kept_but_not_in_the_address(path: Path, serve: Serve, page: Page) -> None:
    site = serve(path, agent_for=agent_over())
    long = f"{TASK} {'and say why ' * 200}".strip()
    preview(page, site, long, Budget="0.5")
    expect(page).to_have_url(re.compile("budget=0.5"))
    assert len(page.url) < 200
    page.reload()
    expect(page.get_by_role("textbox", name="Task, or the text of a plan")).to_have_value(long)


def test_what_if_changes_the_estimates_and_runs_nothing(
    path: Path, serve: Serve, page: Page, shot: Callable[[str], Path], no_barriers: Callable[[], None]
) -> None:
    site = serve(path, agent_for=agent_over())
    preview(page, site, TWO)
    expect(page.get_by_role("table", name="Plans that were considered")).to_contain_text("$0.006")
    change = page.get_by_role("combobox", name="change")
    change.select_option(label="without line")
    expect(page.get_by_text("−$0.005, −0.45 q:")).to_be_visible()
    change.select_option(label="mood: mood_cheap → mood_fine: +$0.019, +0.12 q")
    expect(page.get_by_text("+$0.019, +0.12 q:")).to_contain_text("$0.006 → $0.025 (p95 $0.025)")
    expect(page.get_by_role("button", name="→ mood_fine")).to_be_visible()
    shot("plan-what-if")
    no_barriers()
    page.get_by_role("button", name="Take this plan").click()
    expect(page.get_by_role("table", name="Plans that were considered")).to_contain_text("$0.025")
    expect(page.get_by_role("table", name="Steps of the plan")).to_contain_text("mood_fine")
    page.get_by_text("Text of the plan", exact=True).click()
    text = page.get_by_role("textbox", name="text of the plan", exact=True)
    text.fill(text.input_value().replace("mood_fine", "mood_cheap"))
    page.get_by_role("button", name="Price this text").click()
    expect(page.get_by_role("table", name="Plans that were considered")).to_contain_text("$0.006")
    store = RunStore(path)
    assert (store.list(), CALLED) == ([], [])
    store.close()


def test_a_budget_that_is_too_small_says_why(path: Path, serve: Serve, page: Page) -> None:
    site = serve(path, agent_for=agent_over())
    preview(page, site, Budget="0.0001")
    expect(page.get_by_role("alert")).to_contain_text("the cheapest is expected to cost 0.001 USD")
    preview(page, site, TWO.replace("line?", "line"), Budget="0.002")
    expect(page.get_by_text("✕ does not fit").first).to_be_visible()
    expect(page.get_by_text("exceeds the limit of $0.002").first).to_be_visible()
    expect(page.get_by_role("button", name="Run plan 1 …")).to_be_disabled()
    page.get_by_role("combobox", name="kind").select_option("JSON")
    page.get_by_role("button", name="Plan", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("inputs.text: it is not JSON")
    preview(page, site, "in text: text\na = nothing(text)\nout a\n")
    expect(page.get_by_role("alert")).to_contain_text("unknown tool `nothing`")


def test_a_plan_is_approved_with_the_keyboard_alone(
    path: Path, serve: Serve, page: Page, shot: Callable[[str], Path], no_barriers: Callable[[], None]
) -> None:
    run = ran(path, TWO.replace('"mood and gist"', '"mood and gist" @approve'), approve="later", budget="1")
    site = serve(path, agent_for=agent_over())
    page.goto(f"{site.url}/plan?approve={run}")
    expect(page.get_by_role("heading", name="May the whole plan run?")).to_be_visible()
    expect(page.get_by_role("group", name="graph of 2 steps")).to_be_visible()
    shot("plan-approve")
    no_barriers()
    cap = page.get_by_role("textbox", name="at most $")
    for _ in range(60):
        page.keyboard.press("Tab")
        if cap.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.type("0.5")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("waits for no answer now")).to_be_visible()
    store = RunStore(path)
    patience = time.monotonic() + 60
    while store.find(run).status != "complete" and time.monotonic() < patience:
        time.sleep(0.05)
    found = store.find(run)
    store.close()
    assert (found.status, sorted(CALLED)) == ("complete", ["gist", "mood_cheap"])


class Slow:
    """A planner that thinks until somebody stops it."""

    name = "slow"
    asked, stopped = threading.Event(), threading.Event()

    async def plan(self, request: PlanRequest) -> Proposal:
        Slow.asked.set()
        try:
            await asyncio.sleep(300)
        except asyncio.CancelledError:
            Slow.stopped.set()
            raise
        raise AssertionError("nobody stopped it")


def test_planning_stops_when_nobody_waits_for_it(path: Path, serve: Serve, page: Page) -> None:
    site = serve(path, agent_for=lambda store: Agent(CATALOGUE, planner=Slow(), store=store))
    preview(page, site)
    expect(page.get_by_text("Planning …")).to_be_visible()
    assert Slow.asked.wait(60)
    page.get_by_role("link", name="Runs").click()
    assert Slow.stopped.wait(30), "it plans on"


def test_a_viewer_sees_plans_and_no_buttons(path: Path, serve: Serve, page: Page) -> None:
    run = ran(path, TWO.replace('"mood and gist"', '"mood and gist" @approve'), approve="later")
    site = serve(path, agent_for=agent_over(), token="admin-of-this-server", tokens={"viewer-of-this-server": "viewer"})
    page.goto(f"{site.url}/plan?token=viewer-of-this-server")
    expect(page.get_by_text("Only operators plan")).to_be_visible()
    page.goto(f"{site.url}/plan?approve={run}")
    expect(page.get_by_text("An operator can answer.")).to_be_visible()
    for name in ("Plan", "Run", "Approve", "Reject"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)


def test_a_run_shows_its_candidates_and_is_replayed_with_another_tool(
    path: Path, serve: Serve, page: Page, shot: Callable[[str], Path], no_barriers: Callable[[], None]
) -> None:
    async def planned() -> str:
        async with Agent(CATALOGUE, store=path, planner="search", cache=False, alpha=0.3) as agent:
            return (await agent.run(TASK, {"text": "a good text"})).run_id

    run = work(planned())
    CALLED.clear()
    site = serve(path, agent_for=agent_over())
    page.goto(f"{site.url}/runs/{run}")
    expect(page.get_by_role("table", name="Plans that were considered")).to_contain_text("✓ chosen")
    why = page.get_by_role("heading", name="Why this plan")
    why.scroll_into_view_if_needed()
    page.get_by_role("combobox", name="change").select_option(
        label="sentiment: mood_cheap → mood_fine: +$0.019, +0.25 q"
    )
    expect(page.get_by_text("+$0.019, +0.25 q:")).to_be_visible()
    shot("run-why")
    no_barriers()
    assert CALLED == []
    page.get_by_role("button", name="Replay with this").click()
    expect(page).not_to_have_url(f"{site.url}/runs/{run}")
    expect(page.get_by_label("Figures")).to_contain_text("complete")
    assert CALLED == ["mood_fine"]


def test_nothing_overflows_a_small_screen(path: Path, serve: Serve, page: Page, shot: Callable[[str], Path]) -> None:
    site = serve(path, agent_for=agent_over())
    page.set_viewport_size({"width": 360, "height": 740})
    preview(page, site, TWO)
    expect(page.get_by_role("table", name="Steps of the plan")).to_be_visible()
    shot("plan-360")
    fits(page)
    page.get_by_role("combobox", name="Colours").select_option("dark")
    shot("plan-360-dark")
