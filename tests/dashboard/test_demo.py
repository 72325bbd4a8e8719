"""The demo data are what runs leave behind: real, in the past, the same for the same seed, and gone when removed."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catp.dashboard.demo import clear, fill, live
from catp.dashboard.demo_names import DEMO_PROJECTS
from catp.dashboard.demo_pictures import SUBJECTS, card, subject_of
from catp.dashboard.demo_words import colourise, denoise_deep, denoise_fast, ocr
from catp.dashboard.read.run_page import run_page
from catp.planlang.money import usd
from catp.runtime.events import RunEvent
from catp.store.audit import audit
from catp.store.statements import query
from catp.store.store import RunStore
from tests.dashboard.calls import Call
from tests.dashboard.calls import fill as record_calls
from tests.dashboard.conftest import Client

NOW = 1_790_000_000_000_000_000  # 2026-09-21T12:53:20Z
DAY = 86_400 * 10**9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture
async def full(folder: Path) -> Path:
    """Sixty runs, made once."""
    path = folder / "runs.db"
    if not path.exists():
        await fill(path, now=NOW)
    return path


async def test_all_sorts_of_runs_lie_in_the_last_two_weeks(full: Path) -> None:
    store = RunStore(full)
    runs = store.list(limit=100)
    assert len(runs) >= 60
    assert {run.status for run in runs} == {"complete", "degraded", "failed", "cancelled", "interrupted", "waiting"}
    assert {run.project for run in runs} <= DEMO_PROJECTS
    assert len({run.policy for run in runs}) >= 4
    assert any(run.parent for run in runs), "none is a replay"
    assert any(run.saved for run in runs), "none used a kept result"
    assert any(run.unpriced for run in runs), "none has an unpriced call"
    assert sum(run.quality is not None for run in runs) > 30
    assert all(NOW - 14 * DAY < run.created_ns < NOW for run in runs)
    assert [run.id for run in runs] == sorted((run.id for run in runs), reverse=True), "ids go by other times"
    events = store.database.read(lambda c: query(c, "SELECT run_id, type, ts_ns FROM events"))
    assert all(event.ts_ns < NOW for event in events)
    kinds = {event.type for event in events}
    assert {"run.replanned", "node.retrying", "node.refused", "node.fallback", "run.waiting"} <= kinds
    rivals = store.database.read(lambda c: query(c, "SELECT run_id FROM candidates WHERE NOT chosen"))
    assert rivals, "no other plans were considered"
    store.close()


async def test_the_store_adds_up_and_is_small(full: Path) -> None:
    store = RunStore(full)
    assert store.database.read(audit) == []
    store.close()
    assert sum(file.stat().st_size for file in full.parent.rglob("*") if file.is_file()) < 10_000_000


async def test_one_seed_makes_the_same_runs(tmp_path: Path) -> None:
    told = []
    for name in ("a", "b"):
        await fill(tmp_path / name / "runs.db", runs=12, seed=5, now=NOW)
        store = RunStore(tmp_path / name / "runs.db")
        told.append(store.list())
        store.close()
    one, other = told
    same = [[(run.status, run.cost, run.quality, run.plan_hash) for run in runs] for runs in told]
    assert same[0] == same[1]
    assert len(one) >= 12
    # a virtual clock waits for no thread: on a busy machine it may go on for a poll of 0.1 s before the store answers
    for at, again in zip(one, other, strict=True):
        assert abs(at.created_ns - again.created_ns) < 10 * 10**9
        assert abs((at.latency_ms or 0) - (again.latency_ms or 0)) < 5_000


async def test_a_store_of_its_own_runs_keeps_them_when_the_demo_goes(filled: Path) -> None:
    record_calls(filled, [Call()], about=[{"project": "demo-for-a-customer"}])
    store = RunStore(filled)
    mine = {run.id for run in store.list()}
    rolls = "SELECT day, project, kind, name, pruned, n, cost_nano FROM rollup_day ORDER BY 1, 2, 3, 4, 5"
    before = store.database.read(lambda c: [tuple(row) for row in query(c, rolls)])
    await fill(filled, runs=12)
    assert len(store.list(limit=100)) > len(mine)
    assert clear(store) >= 10
    assert {run.id for run in store.list(limit=100)} == mine
    assert store.database.read(lambda c: [tuple(row) for row in query(c, rolls)]) == before
    assert store.database.read(lambda c: query(c, "SELECT 1 FROM budgets")) == []
    store.close()


async def test_the_run_to_watch_breaks_its_budget_after_a_retry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from catp.dashboard import demo
    from catp.runtime.clock import VirtualClock

    monkeypatch.setattr(demo, "WallClock", lambda: VirtualClock(time.time_ns()))  # the same run, without the waiting
    store = RunStore(tmp_path / "runs.db")
    events: list[RunEvent] = []
    result = await live(store, on_event=events.append)
    assert result.compiled is not None
    assert len(result.compiled.plan.steps) == 12
    assert result.status == "complete"
    assert 8_000 < result.wall_ms < 20_000
    assert "node.retrying" in {event.type for event in events}
    run = store.find(result.run_id)
    assert run.budget is not None
    assert run.estimate.expected is not None
    assert run.estimate.expected < run.budget < run.cost
    assert len(store.list(project="demo-live")) > 3, "there is no history for the forecast"
    page = store.database.read(partial(run_page, run_id=result.run_id, store=store.name))
    (report,) = (node for node in page["nodes"] if node["id"] == "report")
    cost = {quantile: usd(amount) for quantile, amount in report["est"]["cost"].items()}
    assert cost["p90"] > 1.5 * cost["p50"], "money was held at the expected price, but the tool was dearer before"
    store.close()


def test_tools_do_what_their_pictures_show() -> None:
    for number, about in enumerate(SUBJECTS):
        worn = card(number, worn=0.16, colour=False, seed=1)
        assert subject_of(worn) is about
        assert ocr(denoise_deep(worn)).text == about.text
        coloured = colourise(denoise_fast(worn))
        assert subject_of(coloured) is about
        spread = [max(pixel) - min(pixel) for pixel in _pixels(coloured)]
        assert max(spread) > 60, "it is grey"
    assert ocr(card(0, worn=0.3)).confidence < ocr(card(0)).confidence


def _pixels(image: Any) -> list[tuple[int, int, int]]:
    small = image.resize((24, 21)).convert("RGB")
    return [small.getpixel((x, y)) for x in range(small.width) for y in range(small.height)]


async def test_the_buttons_of_the_page(tmp_path: Path, client_of: Callable[..., Client]) -> None:
    path = tmp_path / "runs.db"
    RunStore(path).database.read(lambda c: query(c, "SELECT 1"))
    client = client_of(path, tokens={"token-of-admin": "admin", "token-of-operator": "operator"})
    admin, operator = ({"authorization": f"Bearer token-of-{role}"} for role in ("admin", "operator"))
    assert (await client.post("/api/v1/demo", headers=operator)).status_code == 403
    assert (await client.delete("/api/v1/demo", headers=operator)).status_code == 403
    assert (await client.post("/api/v1/demo", headers=admin)).status_code == 202
    again = await client.post("/api/v1/demo", headers=admin)
    assert (again.status_code, again.json()["type"]) == (409, "urn:catp:problem:demo-exists")
    assert (await client.delete("/api/v1/demo", headers=admin)).status_code == 409
    state = {"filling": True}
    patience = time.monotonic() + 100
    while state["filling"]:
        assert time.monotonic() < patience
        state = (await client.get("/api/v1/demo", headers=operator)).json()
    assert state == {"exists": True, "filling": False}
    assert (await client.post("/api/v1/demo", headers=admin)).status_code == 409
    overview = (await client.get("/api/v1/overview", headers=operator)).json()
    assert not overview["empty"]
    assert (await client.delete("/api/v1/demo", headers=admin)).json()["removed"] >= 60
    assert (await client.get("/api/v1/overview", headers=operator)).json()["empty"]


async def test_runs_of_the_demo_go_on_with_the_tools_of_the_demo(
    tmp_path: Path, client_of: Callable[..., Client]
) -> None:
    path = tmp_path / "runs.db"
    await fill(path, runs=4)
    client = client_of(path)
    (asks,) = (await client.get("/api/v1/overview")).json()["needs_you"][:1]
    run = asks["run"]
    assert (await client.post(f"/api/v1/runs/{run}/approve", json={"node": asks["node"]})).status_code == 202
    assert (await client.post(f"/api/v1/runs/{run}/resume", json={})).status_code == 202
    assert await ended(client, run) == "complete"
    what_if = await client.post("/api/v1/plans:whatif", json={"run": run, "swap": {"clean": "demo.denoise_deep"}})
    assert what_if.status_code == 200, what_if.text
    again = await client.post(f"/api/v1/runs/{run}/replay", json={"from_node": "mood"})
    assert again.status_code == 202, again.text
    assert await ended(client, again.json()["run"]) == "complete"


async def ended(client: Client, run: str) -> str:
    patience = time.monotonic() + 60
    while True:
        status = str((await client.get(f"/api/v1/runs/{run}")).json()["status"])
        if status not in ("running", "waiting"):
            return status
        assert time.monotonic() < patience, status
        await asyncio.sleep(0.1)
