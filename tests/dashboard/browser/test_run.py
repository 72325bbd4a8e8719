"""The page of a run: live, after a restart, its values, and what an operator can do with it."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect

from catp.agent import Agent
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.store.store import RunStore
from catp.tools import PerCall, Tool, tool
from tests.dashboard.browser.conftest import Server, fits, work
from tests.dashboard.conftest import ASKS, hostile, pay, short
from tests.store.recording import call_events, created, drive, new_run, plan_of

Serve = Callable[..., Server]

GATE: dict[str, threading.Event] = {}


@tool(price=PerCall("0.003"))
async def gated(text: str, gate: str) -> str:
    """Waits until the test opens its gate."""
    while not GATE[gate].is_set():  # noqa: ASYNC110 (it is opened by another thread)
        await asyncio.sleep(0.02)
    return text + "!"


@tool(price=PerCall("0.001"))
async def words(text: str) -> list[str]:
    return text.split()


TRICKS = "<b id=injected>x</b>\u202ekcab\u200b<script>document.title = 'taken'</script>"


@tool(price=PerCall("0.001"))
async def tricks(text: str) -> str:
    return TRICKS


CHAIN = parse('in t: text\na = words(t)\nb = gated(t, "one")\nc = gated(b, "two")\nd = short(c)\nout a, d\n')
SHOWY = parse("in t: text\na = tricks(t)\nb = hostile(a)\nc = words(b)\nd = short(each c)\nout a, d\n")
TOOLS: list[Tool[Any, Any]] = [gated, words, tricks, hostile, short, pay]


class Background:
    """A run in a thread of its own; `id` is known at once."""

    def __init__(self, path: Path, plan: Plan, **options: Any) -> None:
        self._known = threading.Event()
        self.id = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(path, plan, options)), daemon=True)
        self._thread.start()
        assert self._known.wait(60)

    async def _run(self, path: Path, plan: Plan, options: dict[str, Any]) -> None:
        async with Agent(TOOLS, store=path, budget="0.05", name="bot", **options) as bot:
            await bot.run(plan, {"t": "two words"}, on_event=self._hear)

    def _hear(self, event: Any) -> None:
        self.id = event.run_id
        self._known.set()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def gates() -> Iterator[dict[str, threading.Event]]:
    GATE.update(one=threading.Event(), two=threading.Event())
    yield GATE
    for gate in GATE.values():
        gate.set()


def ran(path: Path, plan: Plan, **options: Any) -> str:
    """A run that has ended, by its id."""

    async def run() -> str:
        async with Agent(TOOLS, store=path, budget="0.05", name="bot", **options) as bot:
            result = await bot.run(plan, {"t": "two words"})
        assert result.run_id is not None
        return result.run_id

    return work(run())


def row(page: Page, step: str) -> Any:
    return page.locator(f'tr[data-step="{step}"]')


def spent(path: Path, run_id: str) -> Decimal:
    store = RunStore(path)
    try:
        return sum((Decimal(int(one["amount_nano"])) / 10**9 for one in store.get(run_id).costs), Decimal(0))
    finally:
        store.close()


def money_is_shown(page: Page, amount: Decimal) -> None:
    """The header says the amount, and the table of the spend curve ends with it and adds up to it."""
    expect(page.locator(".figure:has(dt:text('Spent')) dd").first).to_have_text(re.compile(rf"^\${amount} "))
    page.get_by_role("button", name="Show as table").last.click()
    rows = page.get_by_role("region", name="Money spent").locator("tbody tr")
    expect(rows.last.locator("td").nth(2)).to_have_text(f"${amount}")  # it is asked for when the header has changed
    paid = rows.locator("td:nth-child(2)").all_inner_texts()
    assert sum((Decimal(cell.removeprefix("$")) for cell in paid), Decimal(0)) == amount


def test_a_live_run_draws_itself_to_its_end(
    path: Path, serve: Serve, page: Page, gates: dict[str, threading.Event]
) -> None:
    running = Background(path, CHAIN)
    site = serve(path)
    page.goto(f"{site.url}/runs/{running.id}")
    page.evaluate("window.sameDocument = true")
    expect(row(page, "b")).to_contain_text("running")
    expect(row(page, "c")).to_contain_text("pending")
    expect(page.get_by_role("button", name="Cancel …")).to_be_visible()
    gates["one"].set()
    expect(row(page, "b")).to_contain_text("ok")
    expect(row(page, "c")).to_contain_text("running")
    expect(page.locator(".graph").get_by_role("button", name="c, gated, running")).to_be_visible()
    gates["two"].set()
    running.join()
    expect(page.get_by_role("region", name="Figures")).to_contain_text("complete 4/4 steps")
    expect(row(page, "d")).to_contain_text("$0.002")
    assert spent(path, running.id) == Decimal("0.009")
    money_is_shown(page, Decimal("0.009"))
    assert page.evaluate("window.sameDocument")


def test_what_happened_while_the_server_was_away_is_shown(
    path: Path, serve: Serve, page: Page, gates: dict[str, threading.Event]
) -> None:
    running = Background(path, CHAIN)
    site = serve(path)
    page.goto(f"{site.url}/runs/{running.id}")
    page.evaluate("window.sameDocument = true")
    expect(row(page, "b")).to_contain_text("running")
    site.stop()
    expect(page.get_by_text("stale since")).to_be_visible()
    gates["one"].set()
    gates["two"].set()
    running.join()
    site.start()
    expect(page.get_by_role("region", name="Figures")).to_contain_text("complete 4/4 steps")
    expect(row(page, "d")).to_contain_text("ok")
    money_is_shown(page, spent(path, running.id))
    assert page.evaluate("window.sameDocument")


def test_what_tools_gave_is_shown_and_does_nothing(path: Path, serve: Serve, page: Page) -> None:
    run_id = ran(path, SHOWY)
    site = serve(path)
    asked: list[str] = []

    def hear(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", hear)
    page.goto(f"{site.url}/runs/{run_id}?step=a&tab=values")
    detail = page.get_by_role("complementary", name="a")
    expect(detail).to_contain_text("<b id=injected>")
    expect(detail.get_by_text("U+202E")).to_be_visible()
    expect(detail.get_by_text("U+200B")).to_be_visible()
    page.goto(f"{site.url}/runs/{run_id}?step=b&tab=values&log=on")
    detail = page.get_by_role("complementary", name="b")
    expect(detail).to_contain_text("<script>alert(1)</script>")
    detail.get_by_role("button", name="Show more (20,000 characters of a longer text)").click()
    expect(detail.get_by_role("button", name="Show less")).to_be_visible()
    events = page.get_by_role("list", name="Events").get_by_role("listitem")
    expect(events.first).to_contain_text("run.created")
    page.get_by_role("combobox", name="type").select_option("run.finished")
    expect(events).to_have_count(1)
    with page.expect_download() as caught:
        detail.get_by_role("link", name="Download").click()
    assert caught.value.path().stat().st_size > 50_000
    page.goto(f"{site.url}/runs/{run_id}?step=d&tab=values")
    expect(page.get_by_role("complementary", name="d").get_by_text("[1]").first).to_be_visible()
    expect(page.locator("#injected, main img, main script")).to_have_count(0)
    assert asked == []
    assert page.title() != "taken"


def test_keys_lead_from_a_row_to_its_detail_and_back(
    path: Path, serve: Serve, page: Page, no_barriers: Callable[[], None]
) -> None:
    run_id = ran(path, SHOWY)
    site = serve(path)
    page.goto(f"{site.url}/runs/{run_id}")
    row(page, "a").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(row(page, "b")).to_be_focused()
    page.keyboard.press("Enter")
    detail = page.get_by_role("complementary", name="b")
    expect(detail.get_by_role("heading", name="b")).to_be_focused()
    expect(detail).to_contain_text("Attempts")
    expect(page.locator('.graph [data-id="b"]')).to_have_attribute("aria-current", "true")
    no_barriers()
    page.keyboard.press("Escape")
    expect(detail).to_have_count(0)
    expect(row(page, "b")).to_be_focused()
    box = page.locator('.graph [data-id="c"]')
    box.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="c", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(box).to_be_focused()
    page.goto(f"{site.url}/runs/{run_id}?step=a&tab=money&view=table&log=on")
    expect(page.get_by_role("complementary", name="a")).to_contain_text("Sum $0.001")
    expect(page.get_by_role("region", name="Steps of the plan")).to_be_visible()
    no_barriers()


def test_the_question_of_a_run_is_answered_on_its_page(path: Path, serve: Serve, page: Page) -> None:
    running = Background(path, ASKS, approve="wait")
    site = serve(path)
    page.goto(f"{site.url}/runs/{running.id}")
    question = page.get_by_role("region", name="Approval")
    expect(question).to_contain_text("May step b run?")
    question.get_by_role("textbox", name="reason").fill("fine")
    question.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("region", name="Figures")).to_contain_text("complete 2/2 steps")
    expect(question).to_have_count(0)
    running.join()
    store = RunStore(path)
    assert spent(path, running.id) == Decimal("0.003")
    assert [one.data.get("reason") for one in store.events(running.id) if one.type == "node.refused"] == []
    store.close()


def test_a_run_is_cancelled_on_its_page(
    path: Path, serve: Serve, page: Page, gates: dict[str, threading.Event]
) -> None:
    running = Background(path, CHAIN)
    site = serve(path)
    page.goto(f"{site.url}/runs/{running.id}")
    page.get_by_role("button", name="Cancel …").click()
    dialog = page.get_by_role("dialog", name="Cancel this run")
    dialog.get_by_role("textbox", name="Reason").fill("enough")
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_role("region", name="Figures")).to_contain_text("cancelled")
    expect(row(page, "b")).to_contain_text("cancelled")
    expect(dialog).to_have_count(0)
    running.join()


def test_a_run_is_scored_and_replayed_on_its_page(path: Path, serve: Serve, page: Page) -> None:
    run_id = ran(path, SHOWY)
    site = serve(path, agent_for=lambda store: Agent(TOOLS, store=store))
    page.goto(f"{site.url}/runs/{run_id}")
    page.get_by_role("button", name="Score …").click()
    page.get_by_role("button", name="Save").click()  # nothing is no 0
    expect(page.get_by_role("alert")).to_contain_text("value")
    page.get_by_role("spinbutton", name="Quality").fill("0.75")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".figure", has_text="Quality")).to_contain_text("0.75 measured")
    page.get_by_role("button", name="Replay …").click()
    dialog = page.get_by_role("dialog", name="Replay this run")
    dialog.get_by_role("combobox", name="From step").select_option("d")
    dialog.get_by_role("combobox", name="Its tool").select_option("tricks")
    dialog.get_by_role("textbox", name="Budget").fill("0.04")
    dialog.get_by_role("button", name="Replay").click()
    expect(page.get_by_role("link", name="another run")).to_be_visible()
    expect(page.get_by_role("region", name="Figures")).to_contain_text("complete 4/4 steps")
    expect(row(page, "d")).to_contain_text("tricks")
    expect(row(page, "a").locator("td").nth(1)).to_contain_text("–")  # its result was taken over
    expect(page.get_by_role("region", name="Figures")).to_contain_text("of $0.04")


def test_a_viewer_sees_a_run_and_no_button_that_changes_it(
    path: Path, serve: Serve, page: Page, gates: dict[str, threading.Event]
) -> None:
    running = Background(path, CHAIN)
    site = serve(path, tokens={"a-token-of-a-viewer-0123456789": "viewer"})
    page.goto(f"{site.url}/?token=a-token-of-a-viewer-0123456789")
    page.goto(f"{site.url}/runs/{running.id}")
    expect(row(page, "b")).to_contain_text("running")
    expect(page.get_by_text("Export")).to_be_visible()
    for name in ("Cancel", "Replay", "Score", "Approve"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    for gate in gates.values():
        gate.set()
    running.join()


def test_an_interrupted_run_says_what_is_lost_and_shows_all_its_plans(path: Path, serve: Serve, page: Page) -> None:
    async def die() -> str:
        store = RunStore(path)
        run = new_run(plan="in t: text\na = up(t)\nold = up(a)\nout old\n")
        journal = store.begin(run)
        later = {"plan": "f" * 64, "source": "in t: text\na = up(t)\nc = up(a)\nout c\n"}
        events = [created(run), *call_events(run.run_id, 2, [1_000_000], step="old")]
        events += [RunEvent(6, run.run_id, 4 * 10**9, "run.replanned", data=later)]
        for event in [*events, *call_events(run.run_id, 7, [1_000_000], step="a")[:2]]:
            journal.event(event)
        await journal.close()
        store.database.write(lambda c: c.exec_driver_sql("UPDATE runs SET owner = NULL"))
        store.close()
        return run.run_id

    run_id = work(die())
    site = serve(path)
    page.goto(f"{site.url}/runs/{run_id}")
    expect(page.get_by_text("No process drives this run any more")).to_be_visible()
    expect(row(page, "a")).to_contain_text("lost")
    expect(row(page, "old")).to_contain_text("(earlier plan)")
    expect(page.get_by_role("button", name="Replay …")).to_be_visible()
    expect(page.locator('.graph [data-id="old"]')).to_have_count(0)
    page.get_by_role("combobox", name="plan", exact=True).select_option("the first")
    expect(page.locator('.graph [data-id="old"]')).to_be_visible()


def test_nothing_overflows_a_narrow_page(path: Path, serve: Serve, page: Page) -> None:
    run_id = ran(path, SHOWY)
    site = serve(path)
    page.set_viewport_size({"width": 360, "height": 700})
    for query in ("", "step=b&tab=values&log=on", "step=d&tab=money&view=source", "step=c&view=table"):
        page.goto(f"{site.url}/runs/{run_id}?{query}")
        expect(row(page, "d")).to_contain_text("ok")
        expect(page.locator(".loading")).to_have_count(0)
        fits(page)


def test_a_failed_run_is_read_in_every_colour(path: Path, serve: Serve, page: Page) -> None:
    async def fill() -> str:
        store = RunStore(path)
        run_id = new_run_id()
        journal = store.begin(plan_of(run_id))
        await drive(journal, run_id)
        await journal.close()
        store.close()
        return run_id

    run_id = work(fill())
    site = serve(path)
    page.goto(f"{site.url}/runs/{run_id}?step=e&tries=last&sort=-cost")
    expect(page.get_by_role("complementary", name="e")).to_contain_text("today")
    expect(row(page, "f")).to_contain_text("not reached")
    expect(row(page, "d")).to_contain_text("unpriced")
    first = page.locator("tr[data-step]").first
    expect(first).to_have_attribute("data-step", "c")  # both of its alternatives were paid
    expect(row(page, "c").locator("i.did")).to_have_count(1)
    page.get_by_role("combobox", name="attempts").select_option("all")
    expect(row(page, "c").locator("i.did")).to_have_count(2)
    page.get_by_role("combobox", name="colour by").select_option("cost")
    expect(page.locator(".graph [data-id]")).to_have_count(6)
    page.get_by_role("checkbox", name="critical only").check()
    expect(page.locator(".graph [data-id]")).not_to_have_count(6)
    expect(page).to_have_url(f"{site.url}/runs/{run_id}?step=e&sort=-cost&colour=cost&critical=1")
