"""What people do to runs through the API: cancel one that another process drives, score, and what is noted of it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from catp.planlang.money import usd
from catp.store import deeds
from catp.store.store import RunStore
from tests.agent.shop import agent
from tests.dashboard.test_access import asking

Make = Callable[..., httpx.AsyncClient]
WANTED = {"mood": "Mood"}
OPERATOR = {"authorization": "Bearer operator-token"}


@contextmanager
def driving(path: Path, seconds: float) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A run that another process drives, at work on its slow step."""
    command = [sys.executable, "-m", "tests.dashboard.driving", str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def noted(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    store = RunStore(path)
    found = store.database.read(partial(deeds.latest, limit=10))
    store.close()
    assert all("dashboard" in deed.actor for deed in found)
    return [(deed.action, deed.target, dict(deed.detail)) for deed in found]


async def test_a_run_of_another_process_is_stopped_and_its_ledger_is_complete(path: Path, client_of: Make) -> None:
    with driving(path, 300) as (run, process):
        client = client_of(path)
        asked = await client.post(f"/api/v1/runs/{run}/cancel", json={"reason": "too dear"})
        assert (asked.status_code, asked.json()) == (202, {"run": run, "status": "stopping"})
        assert process.communicate(timeout=60)[0] == "cancelled\n"
    found = (await client.get(f"/api/v1/runs/{run}")).json()
    assert (found["status"], {node["id"]: node["status"] for node in found["nodes"]}) == (
        "cancelled", {"a": "ok", "b": "cancelled"},
    )  # fmt: skip
    assert usd(found["cost"]["amount"]) == usd(found["ledger"]["total"]) >= usd("0.001")
    last = (await client.get(f"/api/v1/runs/{run}/events")).json()["items"][-1]
    assert last["type"] == "run.finished"
    assert last["data"]["reason"].startswith("cancelled by ")
    assert last["data"]["reason"].endswith(": too dear")
    assert noted(path) == [("run.cancel", run, {"reason": "too dear"})]
    assert (await client.post(f"/api/v1/runs/{run}/cancel", json={})).status_code == 409


async def test_a_run_may_end_by_itself_before_it_is_stopped(path: Path, client_of: Make) -> None:
    with driving(path, 0.15) as (run, process):
        client = client_of(path)
        asked = await client.post(f"/api/v1/runs/{run}/cancel", json={})
        assert asked.status_code in (202, 409), asked.text  # it may be over already
        status = process.communicate(timeout=60)[0].strip()
    assert status in ("complete", "cancelled")
    assert (await client.get(f"/api/v1/runs/{run}")).json()["status"] == status
    store = RunStore(path)
    assert store.database.read(lambda c: c.exec_driver_sql("SELECT COUNT(*) FROM stops").scalar()) == 0
    store.close()


async def test_a_score_is_kept_shown_and_noted(filled: Path, client_of: Make) -> None:
    client = client_of(filled, token="admin-token", tokens={"viewer-token": "viewer", "operator-token": "operator"})
    run = (await client.get("/api/v1/runs", headers=OPERATOR)).json()["items"][0]["id"]
    url = f"/api/v1/runs/{run}/score"
    viewer = {"authorization": "Bearer viewer-token"}
    assert (await client.post(url, json={"value": 0.5}, headers=viewer)).status_code == 403
    wrong = {
        '{"value": NaN}': "value should be ", '{"value": 7}': "value should be less than or equal to 1, not 7",
        '{"value": -1}': "value should be greater than or equal to 0, not -1",
        '{"value": "much"}': "value should be a valid number, unable to parse string as a number, not 'much'",
        '{"note": "x"}': "value is missing", "{}": "value is missing", '{"value"': "the body is not JSON",
        '{"value": 1, "mark": 2}': "mark: no such field",
    }  # fmt: skip
    for body, said in wrong.items():
        answer = await client.post(url, content=body, headers={**OPERATOR, "content-type": "application/json"})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:catp:problem:query"), body
        assert answer.json()["detail"].startswith(said), answer.json()
    assert (await client.post(url, json={"value": 0.25}, headers=OPERATOR)).status_code == 200
    kept = await client.post(url, json={"value": 1, "note": "<b>good</b>"}, headers=OPERATOR)
    assert (kept.json()["value"], kept.json()["note"]) == (1.0, "<b>good</b>")
    row = (await client.get("/api/v1/runs", headers=OPERATOR)).json()["items"][0]
    assert (row["quality"], row["predicted_quality"]) == (1.0, None)
    assert (await client.get(f"/api/v1/runs/{run}", headers=OPERATOR)).json()["quality"] == 1.0
    assert noted(filled) == [
        ("run.score", run, {"value": 1.0, "before": 0.25, "note": "<b>good</b>"}),
        ("run.score", run, {"value": 0.25, "before": None, "note": ""}),
    ]
    assert (await client.post("/api/v1/runs/NOSUCH/score", json={"value": 1}, headers=OPERATOR)).status_code == 404


async def test_an_answer_is_noted_and_a_refused_one_is_not(path: Path, client_of: Make) -> None:
    run = await asking(path)
    client = client_of(path)
    assert (await client.post(f"/api/v1/runs/{run}/reject", json={"node": "a"})).status_code == 409
    assert (await client.post(f"/api/v1/runs/{run}/reject", json={"node": "b", "reason": "no"})).status_code == 202
    assert noted(path) == [("run.reject", run, {"node": "b", "reason": "no", "cap": None})]


async def test_what_was_considered_is_told_in_the_planners_order(path: Path, client_of: Make) -> None:
    async with agent(store=path, alpha=0.5, planner="search") as shop:
        at_once = await shop.run("feel", {"text": "good"}, wanted=WANTED)
        planned = await shop.plan("feel", {"text": "good"}, wanted=WANTED, front=True)
        second = await shop.run(planned.candidates[1], {"text": "good"})
        given = await shop.run(planned.best.text, {"text": "good"})
    client = client_of(path)

    async def of(run: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = (await client.get(f"/api/v1/runs/{run}/candidates")).json()["items"]
        return items

    first = await of(at_once.run_id)
    assert [(one["rank"], one["chosen"]) for one in first] == [(1, True), (2, False)]
    assert first[0]["plan_hash"] == at_once.plan.digest
    assert {one["est"]["p50"] for one in first} == {"0.001", "0.02"}
    assert all("mood" in one["source"] and one["quality"] is not None for one in first)
    assert [(one["rank"], one["chosen"]) for one in await of(second.run_id)] == [(1, False), (2, True)]
    assert await of(given.run_id) == []
    assert (await client.get("/api/v1/runs/NOSUCH/candidates")).status_code == 404


@pytest.mark.parametrize("name", ["cancel", "score"])
async def test_nothing_is_changed_through_a_read_only_server(filled: Path, client_of: Make, name: str) -> None:
    client = client_of(filled, read_only=True)
    run = (await client.get("/api/v1/runs")).json()["items"][0]["id"]
    assert (await client.post(f"/api/v1/runs/{run}/{name}", json={"value": 1})).status_code == 403
    assert noted(filled) == []
