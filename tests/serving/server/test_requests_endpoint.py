"""`GET /v1/requests`: what runs and what ended, whose it is, and when its prompt was computed."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from catp.serving.engine.sampling import Sampling
from catp.serving.metering.recent import ROOM
from catp.serving.server.backend import Finished, Live, TextSpec
from catp.serving.server.build import EngineOptions
from catp.serving.server.tenants import Tenant
from tests.serving.e2e.engines import engine
from tests.serving.server.running import running, until
from tests.serving.server.scripted import MODEL, Scripted

KEY, OTHER = "sk-ann-0123456789abcdef", "sk-bob-0123456789abcdef"
ASK = {"model": MODEL, "prompt": "hello", "max_tokens": 5, "temperature": 0}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def rows(client: httpx.Client, **more: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/requests", **more)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_a_request_is_told_of_while_it_runs_and_when_it_has_ended() -> None:
    backend = Scripted(step_seconds=0.01, most_running=1)
    with running(backend) as server, server.client() as client, ThreadPoolExecutor(2) as pool:
        slo = {"catp": {"slo": {"e2e": 60.0, "ttft": 0.000001}}}
        first = pool.submit(client.post, "/v1/completions", json={**ASK, "max_tokens": 60, **slo})
        until(lambda: backend.health().running)
        second = pool.submit(client.post, "/v1/completions", json=ASK)
        until(lambda: backend.health().waiting)
        until(lambda: len(rows(client)) == 2)
        waits, runs = rows(client)
        assert (waits["state"], runs["state"]) == ("waiting", "running")
        assert runs["slo"] == {"ttft": 0.000001, "e2e": 60.0}
        assert (runs["kind"], runs["endpoint"], runs["prompt_tokens"], runs["e2e"]) == ("text", "completions", 5, None)
        assert first.result().status_code == second.result().status_code == 200
        newest, oldest = rows(client)
        assert (newest["state"], newest["output_tokens"], newest["met"]) == ("length", 5, {})
        assert oldest["met"] == {"ttft": False, "e2e": True}
        assert 0 <= oldest["queued"] <= oldest["ttft"] <= oldest["e2e"]
        assert float(oldest["cost_usd"]) > 0
        assert newest["queued"] > oldest["queued"]  # it waited for the other one
        assert "hello" not in client.get("/v1/requests").text
        assert rows(client, params={"limit": 1}) == [newest]


def test_a_tenant_sees_its_own_and_an_admin_all() -> None:
    ann = Tenant("ann", (hashlib.sha256(KEY.encode()).digest(),))
    bob = Tenant("bob", (hashlib.sha256(OTHER.encode()).digest(),), admin=True)
    with running(Scripted(step_seconds=0.0), tenants=[ann, bob]) as server, server.client() as client:
        for key in (KEY, OTHER):
            client.post("/v1/completions", json=ASK, headers=bearer(key)).raise_for_status()
        assert [row["tenant"] for row in rows(client, headers=bearer(KEY))] == ["ann"]
        assert [row["tenant"] for row in rows(client, headers=bearer(OTHER))] == ["bob", "ann"]
        assert client.get("/v1/requests").status_code == 401


@pytest.mark.parametrize("limit", ["0", "x", "-1", "1001", "٣", ""])
def test_a_limit_that_is_none(limit: str) -> None:
    with running(Scripted()) as server, server.client() as client:
        answer = client.get("/v1/requests", params={"limit": limit})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


def test_only_the_last_ones_are_kept() -> None:
    with running(Scripted(step_seconds=0.0, most_running=300)) as server, server.client() as client:
        for _ in range(ROOM // 50 + 1):
            client.post("/v1/completions", json={**ASK, "max_tokens": 1, "prompt": ["x"] * 50}).raise_for_status()
        assert len(rows(client, params={"limit": 1000})) == ROOM


async def test_the_engine_tells_when_it_computed_a_prompt_and_how_much_it_computes() -> None:
    options = EngineOptions(threads=1, kv_memory=8 << 20, token_budget=8)
    with engine(options) as backend:
        greedy = Sampling(temperature=0.0)
        spec = TextSpec("tiny", tuple(range(10, 50)), max_tokens=12, ignore_eos=True, sampling=greedy)
        ticket, live = await backend.submit(spec), list[Live]()
        end = None
        async for event in ticket:
            end = event
            live += backend.requests().values()
        after = backend.snapshot()
        assert backend.requests() == {}
    assert isinstance(end, Finished)
    assert all(not one.waiting and one.chunks == end.usage.chunks for one in live if one.output_tokens)
    chunks = end.usage.chunks
    assert [chunk.tokens for chunk in chunks] == [8] * 5
    assert [chunk.begin for chunk in chunks] == sorted(chunk.begin for chunk in chunks)
    assert end.usage.ttft is not None
    assert chunks[0].begin >= 0
    assert chunks[-1].begin + chunks[-1].seconds <= end.usage.ttft + 0.05
    assert (after.prefill_tokens, after.decode_tokens, after.step_tokens) == (40, 11, 1)
    assert after.extra["kv_blocks_used"] == 0
    assert after.extra["kv_blocks_cached"] == 3
