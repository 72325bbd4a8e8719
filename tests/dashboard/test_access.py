"""Who gets in, what a viewer may not do, and what is answered when the store is missing, locked, damaged or newer."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from catp.agent import Agent
from catp.dashboard.access import Access
from catp.dashboard.guard import MOST_BODY
from catp.store.store import RunStore
from tests.dashboard.conftest import ASKS, pay, short

Make = Callable[..., httpx.AsyncClient]
ADMIN, VIEWER = "admin-token", "viewer-token"


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys, catp.dashboard.app as a; assert 'fastapi' not in sys.modules; a.create_app('x.db');"
        "print([m for m in ('torch','transformers','d3rlpy','catp.training','catp.serving') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


async def test_token_becomes_a_cookie_that_outlives_a_restart(filled: Path, client_of: Make) -> None:
    client = client_of(filled, token=ADMIN, tokens={VIEWER: "viewer"})
    for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": "catp_session=admin.9999999999.00"}):
        answer = await client.get("/api/v1/runs", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/api/v1/meta?token=wrong-token")).status_code == 401
    answer = await client.get(f"/api/v1/meta?token={VIEWER}&x=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "./meta?x=1"
    assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
    again = client_of(filled, token=ADMIN, tokens={VIEWER: "viewer"})
    cookie = answer.headers["set-cookie"].split(";")[0]
    assert (await again.get("/api/v1/meta", headers={"cookie": cookie})).json()["role"] == "viewer"
    other = client_of(filled, token=ADMIN, tokens={"another-token": "viewer"})
    assert (await other.get("/api/v1/meta", headers={"cookie": cookie})).status_code == 401
    forged = cookie.replace("viewer", "admin")
    assert (await again.get("/api/v1/meta", headers={"cookie": forged})).status_code == 401


def test_a_session_ends() -> None:
    access = Access({ADMIN: "admin"})
    cookie = access.session(ADMIN, "admin", now_s=1000)
    assert access.of_session(cookie, now_s=1000 + 7 * 86400) == "admin"
    assert access.of_session(cookie, now_s=1001 + 7 * 86400) is None
    with pytest.raises(ValueError, match="8 or more"):
        Access({"short": "admin"})


async def test_hosts_and_addresses(filled: Path, client_of: Make) -> None:
    assert (await client_of(filled, base="http://evil.example").get("/api/v1/runs")).status_code == 421
    assert (await client_of(filled, base="http://box.lan", hosts=["box.lan"]).get("/api/v1/meta")).status_code == 200
    assert (await client_of(filled, address="10.0.0.9").get("/api/v1/runs")).status_code == 403
    known = client_of(filled, address="10.0.0.9", token=ADMIN)
    assert (await known.get("/api/v1/runs", headers={"authorization": f"Bearer {ADMIN}"})).status_code == 200


async def test_headers_and_openapi(filled: Path, client_of: Make) -> None:
    client = client_of(filled)
    answer = await client.get("/api/openapi.json")
    assert "/api/v1/runs/{id}/nodes/{n}/io" in answer.json()["paths"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await client.get("/docs")).status_code == 404
    assert (await client.get("/healthz")).json() == {"status": "ok"}


async def asking(path: Path) -> str:
    async with Agent([short, pay], store=path, budget="1", approve="later") as bot:
        return (await bot.run(ASKS, {"t": "x"})).run_id


async def test_what_fails_inside_is_a_problem_with_the_headers_of_all(
    filled: Path, client_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    raw = sqlite3.connect(filled)
    raw.execute("UPDATE events SET data_json = 'a secret that is no JSON'")
    raw.commit()
    raw.close()
    client = client_of(filled)
    run = (await client.get("/api/v1/runs")).json()["items"][0]["id"]
    well = await client.get("/healthz")
    answer = await client.get(f"/api/v1/runs/{run}/events")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert answer.json()["type"] == "urn:catp:problem:internal"
    assert "Traceback" not in answer.text
    assert "secret" not in answer.text
    usual = {name: value for name, value in well.headers.items() if name != "vary"}  # it is never compressed
    assert {**usual, **answer.headers} == dict(answer.headers), "headers that other answers have"
    assert "JSONDecodeError" in caplog.text


async def test_only_an_operator_of_this_page_decides_and_only_once(path: Path, client_of: Make) -> None:
    run = await asking(path)
    url, body = f"/api/v1/runs/{run}/approve", {"node": "b", "reason": "fine"}
    operator = {"authorization": "Bearer operator-token"}
    client = client_of(path, token=ADMIN, tokens={VIEWER: "viewer", "operator-token": "operator"})
    assert (await client.post(url, json=body)).status_code == 401
    assert (await client.post(url, json=body, headers={"authorization": f"Bearer {VIEWER}"})).status_code == 403
    for wrong in (
        {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
        {"origin": "http://localhost:99"},
    ):  # fmt: skip
        assert (await client.post(url, json=body, headers={**operator, **wrong})).status_code == 403, wrong
    read_only = client_of(path, read_only=True)
    assert (await read_only.post(url, json=body)).json()["type"] == "urn:catp:problem:read-only"
    waiting = (await client.get("/api/v1/overview", headers=operator)).json()["needs_you"]
    assert [(one["run"], one["node"]) for one in waiting] == [(run, "b")]
    good = await client.post(url, json=body, headers={**operator, "origin": "http://localhost"})
    assert good.status_code == 202, good.text
    assert good.json()["decision"] == "granted"
    assert "dashboard operator" in good.json()["decided_by"]
    assert (await client.post(f"/api/v1/runs/{run}/reject", json=body, headers=operator)).status_code == 409
    asked = (await client.get(f"/api/v1/runs/{run}/approvals", headers=operator)).json()["items"]
    assert [one["decision"] for one in asked] == ["granted"]


async def test_cancel_ends_a_waiting_run_once(path: Path, client_of: Make) -> None:
    run = await asking(path)
    client = client_of(path, agent_for=lambda store: Agent([short, pay], store=store))
    ended = await client.post(f"/api/v1/runs/{run}/cancel", json={"reason": "no"})
    assert ended.status_code == 202, ended.text
    assert (await client.get(f"/api/v1/runs/{run}")).json()["status"] == "cancelled"
    assert (await client.post(f"/api/v1/runs/{run}/cancel", json={})).status_code == 409


async def test_a_missing_store_is_named_and_not_made(path: Path, client_of: Make) -> None:
    client = client_of(path)
    for url in ("/healthz", "/api/v1/runs", "/api/v1/events"):
        answer = await client.get(url)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:catp:problem:store-missing")
    assert not path.exists()  # noqa: ASYNC240


async def test_newer_and_damaged_stores_are_left_alone(filled: Path, tmp_path: Path, client_of: Make) -> None:
    raw = sqlite3.connect(filled)
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    answer = await client_of(filled).get("/api/v1/runs")
    assert answer.status_code == 503
    assert "9999" in answer.json()["detail"]
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"no database" * 1000)
    assert (await client_of(broken).get("/healthz")).status_code == 503


async def test_a_locked_store_is_503_and_comes_back(filled: Path, client_of: Make) -> None:
    store = RunStore(filled)
    store.list()
    store.close()
    raw = sqlite3.connect(filled, isolation_level=None)
    raw.execute("PRAGMA journal_mode=DELETE")
    raw.execute("BEGIN EXCLUSIVE")
    client = client_of(filled, busy_s=0.1)
    answer = await client.get("/api/v1/runs")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    raw.execute("ROLLBACK")
    raw.close()
    assert (await client.get("/api/v1/runs")).status_code == 200


async def test_bodies_are_counted_also_when_they_tell_no_length(filled: Path, client_of: Make) -> None:
    client = client_of(filled)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1_000_000

    for content in (b" " * (MOST_BODY + 1), endless()):
        answer = await client.post("/api/v1/runs", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.post("/api/v1/runs", content=b"{}")).status_code == 422


async def test_a_password_of_a_proxy_does_not_end_a_session(filled: Path, client_of: Make) -> None:
    client = client_of(filled, token=ADMIN)
    said = await client.get(f"/api/v1/runs%0d%0aset-cookie:%20x?token={ADMIN}")
    assert said.headers["location"] == "./runs%0D%0Aset-cookie%3A%20x"
    cookie = {"cookie": said.headers["set-cookie"].split(";")[0]}
    for kind, status in (("Basic dTpw", 200), ("Bearer wrong", 401)):
        assert (await client.get("/api/v1/meta", headers={**cookie, "authorization": kind})).status_code == status
