"""Plans are previewed, changed on paper, run, replayed, resumed and approved over HTTP, with a real agent."""

import asyncio
import base64
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.store.store import RunStore
from tests.dashboard.conftest import Client
from tests.dashboard.planning import CALLED, TASK, TEXT, TWO, agent_over

API = "/api/v1"


@pytest.fixture(autouse=True)
def nobody_called() -> None:
    CALLED.clear()


@pytest.fixture
async def client(path: Path, client_of: Callable[..., Client]) -> Client:
    RunStore(path).list()
    return client_of(path, agent_for=agent_over())


async def asked(client: Client, where: str, body: dict[str, Any], status: int = 200, **headers: str) -> dict[str, Any]:
    answer = await client.post(f"{API}/{where}", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return dict(answer.json())


async def ended(client: Client, run: str) -> dict[str, Any]:
    for _ in range(3_000):
        found = (await client.get(f"{API}/runs/{run}")).json()
        if found["status"] not in ("running", "interrupted"):
            return dict(found)
        await asyncio.sleep(0.02)
    raise AssertionError(f"run {run} did not end")


async def open_question(client: Client, run: str) -> dict[str, Any]:
    for _ in range(3_000):
        found = (await client.get(f"{API}/runs/{run}/approvals")).json()["items"]
        if [one for one in found if one["decision"] is None]:
            return dict(found[-1])
        await asyncio.sleep(0.02)
    raise AssertionError("nothing was asked")


async def listed(client: Client) -> list[str]:
    return [run["id"] for run in (await client.get(f"{API}/runs")).json()["items"]]


async def test_a_preview_ranks_candidates_calls_nothing_and_leaves_no_run(client: Client) -> None:
    found = await asked(client, "plans:preview", {"task": TASK, "inputs": TEXT, "alpha": 0.9})
    best, other = found["candidates"][:2]
    assert [best["rank"], other["rank"]] == [1, 2]
    assert best["utility"] >= other["utility"]
    assert {one["nodes"][0]["tool"] for one in found["candidates"]} == {"mood_cheap", "mood_fine"}
    assert best["verdict"] == {"fits": True, "fit": "fits", "budget": None, "deadline_ms": None, "reasons": []}
    assert best["nodes"][0]["critical"] is True
    assert found["planning"]["planner"] == "search"
    assert found["says"].startswith("Search took ")
    assert float(found["planning"]["cost"]) > 0
    assert CALLED == []
    assert await listed(client) == []
    drawn = await client.get(f"{API}/previews/{found['preview']}/1/layout")
    assert set(drawn.json()["nodes"]) == {node["id"] for node in (await client.get(
        f"{API}/previews/{found['preview']}/1")).json()["nodes"]}  # fmt: skip
    assert (await client.get(f"{API}/previews/{found['preview']}/9")).status_code == 404
    others = (await client.get(f"{API}/previews/{found['preview']}/1/alternatives")).json()
    assert [row["tool"] for row in others["sentiment"]] == ["mood_cheap"]
    assert (await client.get(f"{API}/previews/nothing/1")).status_code == 409


@pytest.mark.parametrize("limits", [{}, {"budget": "0.05", "deadline_s": 60, "alpha": 0.99}, {"alpha": 0.1}])
async def test_a_run_costs_what_its_preview_said(client: Client, limits: dict[str, Any]) -> None:
    found = await asked(client, "plans:preview", {"task": TASK, "inputs": TEXT, **limits})
    for one in found["candidates"]:
        body = {"task": TASK, "plan": one["source"], "inputs": TEXT, "preview": found["preview"], **limits}
        run = await ended(client, (await asked(client, "runs", body, 202))["run"])
        said = (one["est"]["low"], one["est"]["p50"], one["est"]["p95"], one["est_ms"]["p50"] or 0, one["quality"])
        cost = run["cost"]
        assert said == (
            cost["est_low"], cost["est"], cost["est_p95"], pytest.approx(run["est_latency_ms"], abs=1e-3),
            pytest.approx(run["predicted_quality"]),
        )  # fmt: skip
        assert (run["status"], run["task"], run["plan_hash"]) == ("complete", TASK, one["plan_hash"])
        assert run["policy"] == "search"
        anew = await asked(client, "runs", {"task": TASK, "plan": one["source"], "inputs": TEXT, **limits}, 202)
        again = await ended(client, anew["run"])
        assert [again["cost"][key] for key in ("est", "est_low", "est_p95")] == [one["est"][k] for k in (
            "p50", "low", "p95")]  # fmt: skip
    paid = [(await client.get(f"{API}/runs/{run}")).json()["planning"]["cost"] for run in await listed(client)]
    assert sum(float(cost) > 0 for cost in paid) == 1, "planning is paid once, by the first run of a candidate"


async def test_a_task_runs_without_a_preview(client: Client) -> None:
    run = await ended(client, (await asked(client, "runs", {"task": TASK, "inputs": TEXT, "alpha": 0.2}, 202))["run"])
    assert (run["status"], CALLED) == ("complete", ["mood_cheap"])
    deeds = (await client.get(f"{API}/audit")).json()["items"]
    assert (deeds[0]["action"], deeds[0]["target"]) == ("run.start", run["id"])


async def test_given_plans_are_priced_rated_and_compared_with_the_plan_before(client: Client) -> None:
    first = await asked(client, "runs", {"task": "look", "plan": TWO, "inputs": TEXT}, 202)
    await ended(client, first["run"])
    other = TWO.replace("mood_cheap", "mood_fine").replace(
        "out mood, line?", "post = post(text) @approve\nout mood, post"
    )
    found = await asked(client, "plans:preview", {"task": "look", "plan": other, "inputs": TEXT})
    (one,) = found["candidates"]
    assert (one["planner"], one["est"]["p50"]) == ("given", "0.023")
    assert found["asks"] is True
    assert found["previous"]["run"] == first["run"]
    assert [step["id"] for step in one["diff"]["added"]] == ["post"]
    assert "changed: mood = mood_cheap(text) → mood = mood_fine(text)" in one["diff"]["says"]
    assert [(step["id"], step["tool_before"], step["tool"]) for step in one["diff"]["changed"]] == [
        ("mood", "mood_cheap", "mood_fine")
    ]
    rated = await asked(client, "plans:preview", {"plan": TWO, "inputs": TEXT})
    assert rated["candidates"][0]["quality"] == pytest.approx((0.7 + 0.9) / 2)
    assert rated["candidates"][0]["diff"] is None


async def test_what_if_prices_a_change_and_a_preview_of_it_agrees(client: Client) -> None:
    before = await asked(client, "plans:preview", {"plan": TWO, "inputs": TEXT})
    body = {
        "plan": TWO,
        "preview": before["preview"],
        "swap": {"mood": "mood_fine"},
        "drop": ["line"],
        "budget": "0.01",
    }
    found = await asked(client, "plans:whatif", body)
    assert (found["before"]["est"]["p50"], found["after"]["est"]["p50"]) == ("0.006", "0.02")
    assert found["delta"]["cost"] == "0.014"
    assert found["delta"]["quality"] == pytest.approx(0.95 / 2 - 0.8), "a wanted output that is left out counts 0"
    assert {row["id"]: row["change"] for row in found["steps"]} == {"mood": "changed", "line": "removed"}
    assert found["verdict"]["fits"] is False
    assert "0.01" in found["verdict"]["reasons"][0]["text"]
    after = await asked(client, "plans:preview", {"plan": found["source"], "inputs": TEXT})
    assert after["candidates"][0]["est"] == found["after"]["est"]
    assert (CALLED, await listed(client)) == ([], [])
    for change, why in (({"drop": ["mood"]}, "no optional output"), ({"swap": {"moo": "gist"}}, "did you mean"),
                        ({"swap": {"mood": "nothing"}}, "unknown tool")):  # fmt: skip
        wrong = await asked(client, "plans:whatif", {"plan": TWO, **change}, 422)
        assert why in wrong["detail"]


async def test_alternatives_are_the_tools_that_fit_with_what_they_would_change(client: Client) -> None:
    run = (await asked(client, "runs", {"plan": TWO, "inputs": TEXT}, 202))["run"]
    await ended(client, run)
    found = (await client.get(f"{API}/runs/{run}/alternatives")).json()
    assert {step: [row["tool"] for row in rows] for step, rows in found.items()} == {"mood": ["mood_fine"], "line": []}
    row = found["mood"][0]
    assert (row["cost"], row["same_purpose"], row["instead_of"]) == ("0.019", True, "mood_cheap")
    assert row["says"] == "+$0.019, +0.12 q"
    assert row["quality"] == pytest.approx(0.25 / 2)
    assert (await client.get(f"{API}/runs/{run}/alternatives?step=line")).json() == {"line": []}
    assert (await client.get(f"{API}/runs/{run}/alternatives?step=no")).status_code == 404
    changed = await asked(client, "plans:whatif", {"run": run, "swap": {"mood": "mood_fine"}})
    assert changed["anew"] == {"steps": ["mood"], "cost": "0.02"}
    plan = (await client.get(f"{API}/runs/{run}")).json()["plan_hash"]
    stored = await asked(client, "plans:whatif", {"plan_hash": plan, "swap": {"mood": "mood_fine"}})
    assert (stored["delta"]["cost"], stored["anew"]) == ("0.019", None)
    assert stored["labels"] == {"mood": {"text": "→ mood_fine", "kind": "warn"}}
    await asked(client, "plans:whatif", {"plan_hash": "0" * 64}, 404)
    await asked(client, "plans:whatif", {}, 422)
    quote = (await client.get(f"{API}/runs/{run}/quote")).json()
    assert (quote["est"], quote["quality"]) == (changed["before"]["est"], changed["before"]["quality"])
    assert [node["est"]["cost"]["p50"] for node in quote["nodes"]] == ["0.001", "0.005"]


async def test_a_replay_runs_only_what_changed(client: Client) -> None:
    run = (await asked(client, "runs", {"plan": TWO, "inputs": TEXT}, 202))["run"]
    await ended(client, run)
    CALLED.clear()
    answer = await asked(client, f"runs/{run[-8:]}/replay", {"set": {"mood": "mood_fine"}}, 202)
    assert answer["parent"] == run
    child = await ended(client, answer["run"])
    assert (CALLED, child["parent"], child["cost"]["amount"]) == (["mood_fine"], run, "0.02")
    previous = (await client.get(f"{API}/runs/{child['id']}/previous")).json()
    assert (previous["run"], previous["diff"]["changed"][0]["tool"]) == (run, "mood_fine")
    both = (await client.get(f"{API}/plans/{child['plan_hash']}/diff", params={"with": previous["plan_hash"]})).json()
    assert both["changed"] == previous["diff"]["changed"]
    short = await asked(client, f"runs/{run}/replay", {"from_node": "mood", "budget": "0.0001"}, 409)
    assert short["type"] == "urn:catp:problem:refused"
    wrong = await asked(client, f"runs/{run}/replay", {"from_node": "mod"}, 409)
    assert "mood" in wrong["detail"]


async def test_a_failed_run_goes_on_when_asked_to(client: Client) -> None:
    run = (await asked(client, "runs", {"plan": TWO, "inputs": {"text": {"text": "raise"}}}, 202))["run"]
    await ended(client, run)
    assert "has ended" in (await asked(client, f"runs/{run}/resume", {}, 409))["detail"]
    CALLED.clear()
    await asked(client, f"runs/{run}/resume", {"retry_failed": True}, 202)
    for _ in range(3_000):
        if CALLED:
            break
        await asyncio.sleep(0.02)
    assert CALLED == ["gist"]
    await ended(client, run)


async def test_what_cannot_be_run_says_why(client: Client) -> None:
    problems: dict[str, tuple[int, dict[str, Any], str]] = {
        "refused": (409, {"plan": TWO, "inputs": TEXT, "budget": "0.0001"}, "limit"),
        "nothing-fits": (409, {"task": TASK, "inputs": TEXT, "budget": "0.0001"}, "cheapest"),
        "not-planned": (422, {"task": "xyzzy", "inputs": TEXT}, ""),
        "plan": (422, {"plan": "in t: text\na = nothing(t)\nout a\n"}, "unknown tool"),
        "input": (422, {"plan": TWO}, "text"),
        "policy": (422, {"task": TASK, "inputs": TEXT, "policy": "learned"}, "search"),
    }
    for code, (status, body, why) in problems.items():
        found = await asked(client, "runs", body, status)
        assert found["type"] == f"urn:catp:problem:{code}"
        assert why in found["detail"]
    fits = await asked(client, "plans:preview", {"plan": TWO, "inputs": TEXT, "budget": "0.0001"})
    assert fits["candidates"][0]["verdict"]["fits"] is False
    assert await listed(client) == []


async def test_inputs_are_read_and_refused_by_name(client: Client) -> None:
    png = BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"base64": "x!"}, "inputs.a: base64"), ({"text": "x", "json": 1}, "inputs.a: give one of"), ({}, "inputs.a"),
        ({"base64": base64.b64encode(b"not an image").decode(), "mime": "image/png"}, "inputs.a: the image/png"),
        ({"base64": base64.b64encode(b"\xff").decode(), "mime": "text/plain"}, "inputs.a: it says text/plain"),
        ({"text": "{", "mime": "application/json"}, "inputs.a: it is not JSON"),
        ({"base64": ""}, "inputs.a: the file is empty"), ({"text": "x" * (21 << 20)}, "20 MB"),
    ]  # fmt: skip
    for given, why in wrong:
        found = await asked(client, "plans:preview", {"task": TASK, "inputs": {"a": given}}, 422)
        assert why in found["detail"]
    for field, value in (
        ("alpha", 2),
        ("budget", "-1"),
        ("budget", "much"),
        ("deadline_s", 0),
        ("candidates", 99),
        ("wanted", {"a": "no type!"}),
    ):
        found = await asked(client, "plans:preview", {"task": TASK, field: value}, 422)
        assert field in found["detail"]
    plan = 'in p: image\nin n: list[int]\na = gist("x")\nout a\n'
    code = base64.b64encode(png.getvalue()).decode()
    for image, numbers in (
        ({"base64": code, "mime": "image/png"}, {"json": [1, 2]}),
        ({"base64": f"data:image/png;base64,{code}"}, {"text": "[1, 2]", "mime": "application/json"}),
    ):
        started = await asked(client, "runs", {"plan": plan, "inputs": {"p": image, "n": numbers}}, 202)
        assert (await ended(client, started["run"]))["status"] == "complete"


async def test_the_same_key_does_nothing_twice(client: Client) -> None:
    body = {"plan": TWO, "inputs": TEXT}
    both = await asyncio.gather(*(asked(client, "runs", body, 202, **{"idempotency-key": "k"}) for _ in range(2)))
    assert both[0] == both[1] == await asked(client, "runs", body, 202, **{"idempotency-key": "k"})
    other = await asked(client, "runs", {**body, "alpha": 0.5}, 409, **{"idempotency-key": "k"})
    assert other["type"] == "urn:catp:problem:idempotency-key"
    await asked(client, "runs", body, 422, **{"idempotency-key": "k" * 201})
    assert len(await listed(client)) == 1


async def test_a_cap_binds_the_run(client: Client) -> None:
    refused = await asked(client, "runs", {"plan": TWO, "inputs": TEXT, "cap": "0.0001"}, 409)
    assert "limit" in refused["detail"]
    run = await ended(client, (await asked(client, "runs", {"plan": TWO, "inputs": TEXT, "cap": "0.5"}, 202))["run"])
    assert run["budget"] == "0.50"


async def test_a_plan_is_approved_for_less_and_may_spend_no_more(client: Client) -> None:
    plan = TWO.replace('"mood and gist"', '"mood and gist" @approve').replace("line?", "line")
    run = (await asked(client, "runs", {"plan": plan, "inputs": TEXT, "budget": "1"}, 202))["run"]
    question = await open_question(client, run)
    assert (question["node"], question["cap"], CALLED) == (None, "1.00", [])
    assert (await asked(client, f"runs/{run}/approve", {"cap": "2"}, 409))["type"] == "urn:catp:problem:cannot-decide"
    granted = await asked(client, f"runs/{run}/approve", {"cap": "0.0055"}, 202)
    assert granted["cap"] == "0.0055"
    found = await ended(client, run)
    assert len(CALLED) == 1, "the second call would have gone over the cap"
    assert float(found["cost"]["amount"]) <= 0.0055
    assert {node["status"] for node in found["nodes"]} == {"ok", "refused"}


async def test_a_waiting_run_goes_on_after_it_was_approved(path: Path, client_of: Callable[..., Client]) -> None:
    store = RunStore(path)
    async with Agent(agent_over()(store).catalogue, store=store, approve="later") as agent:
        plan = parse(TWO.replace("line = gist(text)", "line = gist(text) @approve"))
        result = await agent.run(plan, {"text": "a good text"})
    assert result.status == "waiting"
    client = client_of(path, agent_for=agent_over())
    await asked(client, f"runs/{result.run_id}/approve", {"node": "line"}, 202)
    await asked(client, f"runs/{result.run_id}/resume", {}, 202)
    found = await ended(client, result.run_id)
    for _ in range(3_000):
        if found["status"] != "waiting":
            break
        await asyncio.sleep(0.02)
        found = await ended(client, result.run_id)
    assert (found["status"], found["cost"]["amount"]) == ("complete", "0.006")


async def test_a_server_that_stops_stops_its_runs_and_keeps_their_ledgers(path: Path) -> None:
    from httpx import ASGITransport, AsyncClient

    from catp.dashboard.app import create_app

    RunStore(path).list()
    app = create_app(path, agent_for=agent_over())
    async with AsyncClient(transport=ASGITransport(app), base_url="http://localhost") as client:
        body = {"plan": TWO, "inputs": {"text": {"text": "slow and good"}}}
        run = (await asked(client, "runs", body, 202))["run"]
        for _ in range(3_000):
            nodes = (await client.get(f"{API}/runs/{run}")).json()["nodes"]
            if [node["status"] for node in nodes] == ["ok", "running"]:
                break
            await asyncio.sleep(0.01)
        await app.state.jobs.close()
        found = (await client.get(f"{API}/runs/{run}")).json()
    assert found["status"] == "cancelled"
    assert found["ledger"]["total"] == found["cost"]["amount"]
    assert {node["id"]: node["status"] for node in found["nodes"]} == {"mood": "ok", "line": "cancelled"}
    await app.state.feed.close()
    app.state.store.close()
