"""The page of the engine: live figures, what it says when there is none, requests and their spans."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from catp.dashboard.engine.follower import Follower
from catp.store.store import RunStore
from tests.dashboard.browser.conftest import Server, fits
from tests.dashboard.engines import Fake, fake_engine


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A run store without runs."""
    found = RunStore(tmp_path / "runs.db")
    found.list()
    found.close()
    return tmp_path / "runs.db"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    usual = Follower.__init__.__kwdefaults__
    assert usual is not None
    monkeypatch.setitem(usual, "patience", 20.0)  # it answers at once, but the machine may be busy
    with fake_engine() as found:
        yield found


def request(name: str, age: float, state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "kind": "plan", "endpoint": "plans", "tenant": "default", "model": "fake", "adapter": "",
        "state": state, "code": "", "arrival": time.time() - age, "prompt_tokens": 640, "cached_tokens": 512,
        "output_tokens": 90, "preemptions": 0, "device_seconds": 0.4, "cost_usd": "0.000004", "met": {}, "chunks": [],
        "slo": {}, "queued": None, "ttft": None, "tpot": None, "e2e": None, **more,
    }  # fmt: skip


def lively(fake: Fake) -> None:
    told = fake.figures
    told.running.set(3)
    told.waiting.set(2)
    told.kv.set(0.42)
    for name, blocks in (("used", 420), ("cached", 180), ("free", 400)):
        told.blocks.labels(f"kv_blocks_{name}").set(blocks)
    told.decisions.labels("0.5").set(0.0004)
    told.decisions.labels("0.99").set(0.002)
    ended = {"queued": 0.2, "ttft": 0.9, "e2e": 2.4, "chunks": [[0.2, 0.3, 320], [0.5, 0.4, 320]]}
    fake.requests = [
        request("waits", 1.5, "waiting", slo={"e2e": 2.0}, cost_usd=None),
        request("runs", 2.0, "running", cost_usd=None, queued=0.1, ttft=0.8, chunks=[[0.1, 0.7, 640]]),
        request("met", 9.0, "stop", **ended, slo={"e2e": 3.0}, met={"e2e": True}),
        request("missed", 12.0, "cancelled", **ended, code="deadline", slo={"ttft": 0.5}, met={"ttft": False}),
    ]


def more(fake: Fake) -> None:
    told = fake.figures
    told.steps.inc(20)
    told.busy.inc(0.7)
    told.decode.inc(120)
    told.queries.inc(100)
    told.hits.inc(60)
    for took in (0.05, 0.15, 0.15, 0.3):
        told.ttft.observe(took)
    told.slo.labels("default", "e2e", "true").inc(99)
    told.slo.labels("default", "e2e", "false").inc(1)


def figure(page: Page, label: str) -> Any:
    return page.locator(".figure", has_text=label).locator("dd")


def test_figures_follow_the_engine(
    store: Path, serve: Callable[..., Server], page: Page, fake: Fake, shot: Callable[[str], Path],
    no_barriers: Callable[[], None],
) -> None:  # fmt: skip
    lively(fake)
    site = serve(store, engine=fake.url)
    page.goto(f"{site.url}/serving")
    expect(page.get_by_role("heading", name="Serving", level=1)).to_be_visible()
    expect(page.get_by_role("region", name="State")).to_contain_text("ready")
    expect(figure(page, "Running")).to_contain_text("3")
    expect(page.get_by_role("banner").get_by_role("status")).to_contain_text("live")
    fake.figures.running.set(7)
    fake.figures.preemptions.inc(50)
    more(fake)
    expect(figure(page, "Running")).to_contain_text("7")
    expect(page.get_by_text("memory is short")).to_be_visible()
    expect(figure(page, "Prefix cache")).to_contain_text("60 %")
    rows = page.get_by_role("region", name="Requests, the newest first").get_by_role("row")
    expect(rows).to_have_count(5)
    expect(rows.nth(1)).to_contain_text("waiting")
    expect(
        rows.nth(3).get_by_role("img", name="queued 200 ms, prefill 700 ms in 2 steps, decode 1.50 s")
    ).to_be_visible()
    expect(page.get_by_text("oldest of 1 waiting, e2e ≤ 2 s")).to_be_visible()
    kept = page.get_by_role("region", name="Expectations met")
    expect(kept.get_by_role("row").nth(1)).to_contain_text("99 %")
    page.get_by_role("heading", name="Requests", level=3).locator("..").get_by_role(
        "button", name="Show as table"
    ).click()
    expect(page.get_by_role("region", name="Requests", exact=True).get_by_role("row").nth(1)).to_be_visible()
    no_barriers()
    shot("serving-dark")
    page.get_by_role("combobox", name="Colours").select_option("light")
    page.set_viewport_size({"width": 360, "height": 800})
    fits(page)
    shot("serving-360")


def test_an_engine_that_goes_and_comes_back(store: Path, serve: Callable[..., Server], page: Page, fake: Fake) -> None:
    site = serve(store, engine=fake.url)
    page.goto(f"{site.url}/serving?span=3600")
    state = page.get_by_role("region", name="State")
    expect(state).to_contain_text("ready")
    fake.answers["/ready"] = (500, b"broken")
    expect(state).to_contain_text("unreachable")
    expect(state.get_by_role("alert")).to_contain_text("answers with status 500")
    del fake.answers["/ready"]
    fake.ready, fake.reason = False, "draining"
    expect(state).to_contain_text("draining")
    fake.ready, fake.answers["/metrics"] = True, (403, b"{}")
    expect(state).to_contain_text("CATP_ENGINE_KEY")
    page.get_by_role("combobox", name="Last").select_option("24 hours")
    expect(page).to_have_url(f"{site.url}/serving?span=86400")


def test_there_is_no_engine(
    store: Path, serve: Callable[..., Server], page: Page, no_barriers: Callable[[], None]
) -> None:
    site = serve(store, engine="off")
    page.goto(f"{site.url}/serving")
    expect(page.get_by_role("heading", name="No engine runs")).to_be_visible()
    expect(page.get_by_text("catp serve --model catp-tiny")).to_be_visible()
    no_barriers()
