"""Settings without secrets, the audit trail, and pruning."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from catp.store import deeds
from catp.store.store import RunStore
from tests.dashboard.conftest import Client

ClientOf = Callable[..., Client]
TOKENS: Any = {"viewer-token": "viewer", "operator-token": "operator", "admin-token": "admin"}
DAY = 86_400 * 10**9


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {role}-token"}


async def test_an_admin_sees_all_and_no_secret(
    client_of: ClientOf, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://ann:hunter2@collector:4318/v1?key=hunter2#hunter2")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2,x-team=hunter2")
    monkeypatch.setenv("CATP_ENGINE_KEY", "hunter2")
    client = client_of(filled, tokens=TOKENS, hosts=["box.example"], engine="http://127.0.0.1:1")
    answer = await client.get("/api/v1/settings", headers=bearer("admin"))
    found = answer.json()
    assert found["store"]["runs"]["complete"] >= 2
    assert found["store"]["rows"]["runs"] == 3
    assert found["versions"]["catp"]
    assert (found["store"]["kind"], found["store"]["database"]) == ("sqlite", str(filled))
    assert found["store"]["bytes"] > 100_000
    assert found["server"]["roles"] == ["admin", "operator", "viewer"]
    assert "box.example" in found["server"]["hosts"]
    assert found["server"]["engine"] == "http://127.0.0.1:1"
    assert found["telemetry"]["endpoint"] == "https://collector:4318/v1"
    assert found["telemetry"]["headers"] == ["authorization", "x-team"]
    for secret in ("hunter2", *TOKENS):
        assert secret not in answer.text


async def test_others_see_less(client_of: ClientOf, filled: Path) -> None:
    client = client_of(filled, tokens=TOKENS)
    for role in ("viewer", "operator"):
        answer = await client.get("/api/v1/settings", headers=bearer(role))
        assert answer.json()["server"] is answer.json()["telemetry"] is None
        assert answer.json()["store"]["rows"]["runs"] == 3
        assert str(filled.parent) not in answer.text
        for path in ("/api/v1/audit",):
            assert (await client.get(path, headers=bearer(role))).status_code == 403


async def test_prices_as_declared(client_of: ClientOf, filled: Path) -> None:
    items = (await client_of(filled).get("/api/v1/settings/prices")).json()["items"]
    assert [row["name"] for row in items] == sorted(row["name"] for row in items)
    assert len(items) > 10
    assert all(row["price"] and row["version"] for row in items)


async def test_pages_of_the_audit_trail(client_of: ClientOf, filled: Path) -> None:
    store = RunStore(filled)
    for n in range(7):
        note = partial(deeds.note, actor="ann", action="cancel", target=f"r{n}", detail={"n": n}, now_ns=n * DAY)
        store.database.write(note)
    store.close()
    client = client_of(filled)
    seen, cursor = list[str](), ""
    for size in (3, 3, 1):
        page = (await client.get(f"/api/v1/audit?limit=3{cursor}")).json()
        assert len(page["items"]) == size
        seen += [row["target"] for row in page["items"]]
        cursor = f"&cursor={page['next']}"
    assert page["next"] is None
    assert seen == [f"r{n}" for n in reversed(range(7))]
    assert page["items"][0]["detail"] == {"n": 0}
    for wrong in ("cursor=0", "cursor=x", "limit=0", "limit=201"):
        assert (await client.get(f"/api/v1/audit?{wrong}")).status_code == 422


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty days after the runs."""
    monkeypatch.setattr("catp.dashboard.api.settings.time_ns", lambda: time.time_ns() + 40 * DAY)


async def test_pruning_counts_first_and_is_noted(client_of: ClientOf, filled: Path, later: None) -> None:
    client = client_of(filled)
    spend = (await client.get("/api/v1/spend?from=2020-01-01")).json()["total"]

    async def ask(**body: Any) -> Any:
        return await client.post("/api/v1/prune", json=body)

    assert (await ask(days=60, dry_run=True)).json()["runs"] == 0
    counted = (await ask(days=30, dry_run=True)).json()
    assert (counted["runs"], counted["files"]) == (3, None)
    assert counted["events"] > 10
    assert (await client.get("/api/v1/runs")).json()["total_estimate"] == 3
    assert (await client.get("/api/v1/audit")).json()["items"] == []
    gone = (await ask(days=30)).json()
    assert (gone["runs"], gone["events"]) == (3, counted["events"])
    assert (await client.get("/api/v1/runs")).json()["items"] == []
    assert (await client.get("/api/v1/spend?from=2020-01-01")).json()["total"] == spend
    (deed,) = (await client.get("/api/v1/audit")).json()["items"]
    assert (deed["action"], deed["target"], deed["detail"]["runs"]) == ("prune", "runs older than 30 d", 3)
    for wrong in ({}, {"days": 0}, {"days": -3}, {"days": "x"}, {"days": 10**9}):
        assert (await ask(**wrong)).status_code == 422


async def test_who_may_not_prune(client_of: ClientOf, filled: Path, later: None) -> None:
    client = client_of(filled, tokens=TOKENS)
    for role in ("viewer", "operator"):
        for dry in (True, False):
            answer = await client.post("/api/v1/prune", json={"days": 1, "dry_run": dry}, headers=bearer(role))
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:catp:problem:role")
    answer = await client.post(
        "/api/v1/prune", json={"days": 1}, headers={**bearer("admin"), "Origin": "http://elsewhere.example"}
    )
    assert answer.status_code == 403
    read_only = client_of(filled, read_only=True)
    assert (await read_only.post("/api/v1/prune", json={"days": 1})).status_code == 403
    runs = (await client.get("/api/v1/runs", headers=bearer("admin"))).json()
    assert runs["total_estimate"] == 3
