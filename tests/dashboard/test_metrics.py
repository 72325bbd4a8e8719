"""What watches servers: `/readyz` without a token, `/metrics` with one, in figures that are those of the pages."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from catp.dashboard.app import create_app

Make = Callable[..., httpx.AsyncClient]
ADMIN = "admin-token"


async def test_metrics_are_those_of_the_pages(filled: Path, client_of: Make) -> None:
    client = client_of(filled, token=ADMIN)
    assert (await client.get("/metrics")).status_code == 401
    client.headers["authorization"] = f"Bearer {ADMIN}"
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    runs = (await client.get("/api/v1/runs/facets")).json()["status"]
    assert {key[1]: value for key, value in samples.items() if key[0] == "catp_runs"} == dict(runs)
    tools = (await client.get("/api/v1/tools", params={"from": "2000-01-01"})).json()["items"]
    assert {row["name"] for row in tools} >= {"hostile", "short", "unpriced"}
    for row in tools:
        assert samples["catp_tool_calls_total", row["name"]] == row["n"]
        assert samples["catp_tool_calls_failed_total", row["name"]] == row["n"] - row["ok"]
        assert samples["catp_tool_rows_unpriced_total", row["name"]] == row["unpriced"]
    assert Decimal(str(samples["catp_tool_cost_usd_total", "hostile"])) == Decimal("0.002")
    assert samples[("catp_dashboard_listeners",)] == 0
    assert samples[("process_resident_memory_bytes",)] > 10_000_000


async def test_a_server_is_ready_until_it_stops(filled: Path, tmp_path: Path, client_of: Make) -> None:
    app = create_app(filled, token=ADMIN)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/readyz")).json() == {"status": "ready"}
        app.state.feed.hang_up()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:catp:problem:stopping")
        assert (await client.get("/healthz")).status_code == 200
    app.state.store.close()
    for path in ("/readyz", "/metrics"):
        answer = await client_of(tmp_path / "absent.db").get(path)
        assert (answer.status_code, answer.json()["type"]) == (503, "urn:catp:problem:store-missing")
