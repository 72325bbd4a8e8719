"""`/v1/plans` and catalogues on a socket (scripted backend: it answers with the plans that search finds cheapest)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from catp.planlang.jsonform import from_json, to_json
from catp.planlang.nodes import Plan
from catp.planners.cheapest import cheapest_plans
from catp.planners.testing import small_request
from catp.planners.wire import read_draft, request_form
from catp.planners.wire_tools import catalogue_form
from catp.planners.writer import Usage
from catp.serving.server.options import ServerOptions
from tests.serving.server.running import Running, running
from tests.serving.server.scripted import MODEL, Scripted

REQUEST = small_request(3)
FORM = request_form(REQUEST)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(Scripted(), options=ServerOptions(max_catalogues=2, drain_seconds=1)) as found:
        yield found


def post(server: Running, **more: Any) -> Any:
    with server.client() as client:
        return client.post("/v1/plans", json={"model": MODEL, **FORM, **more})


def expected(count: int) -> tuple[Plan, ...]:
    return tuple(cheap.priced.plan for cheap in cheapest_plans(REQUEST, count))


def test_a_draft(server: Running) -> None:
    shown = expected(1)
    answer = post(server, samples=2, shown=[to_json(plan) for plan in shown])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    draft = read_draft(body, Usage())
    assert tuple(one.plan for one in draft.written) == expected(3)
    assert (draft.written[0].logprob, draft.written[0].rating.sd) == (0.0, 0.125)
    assert [rating and rating.quality for rating in draft.rated] == [0.5]
    used = body["usage"]["catp"]
    assert float(used["price_usd"]) == pytest.approx(used["device_seconds"] * 2.1e-6, rel=0.1)
    assert body["object"] == "plan.draft"


def test_steps_stream_before_the_draft(server: Running) -> None:
    with server.client() as client:
        ask = {"model": MODEL, **FORM, "stream": True, "samples": 1}
        with client.stream("POST", "/v1/plans", json=ask) as answer:
            blocks = "".join(answer.iter_text()).strip().split("\n\n")
    events = [block.partition("\ndata: ")[::2] for block in blocks[:-1]]
    assert blocks[-1] == "data: [DONE]"
    assert [name for name, _ in events] == ["event: step"] * (len(events) - 1) + ["event: draft"]
    steps = [json.loads(data) for _, data in events[:-1]]
    assert [step["number"] for step in steps] == list(range(len(steps)))
    draft = read_draft(json.loads(events[-1][1]), Usage())
    whole = {"planlang": 1, "steps": [step["step"] for step in steps], "outputs": []}
    assert from_json(whole).steps == draft.written[0].plan.steps


def test_a_catalogue_by_id(server: Running) -> None:
    body = {**catalogue_form(REQUEST.registry), "estimates": FORM["estimates"]}
    with server.client() as client:
        kept = client.put("/v1/catalogues/pages-1", json=body)
        assert kept.json() == {"id": "pages-1", "digest": REQUEST.registry.digest, "tools": len(REQUEST.registry)}
        assert client.get("/v1/catalogues").json()["data"] == ["pages-1"]
    named = post(server, catalogue="pages-1", estimates=[])
    assert named.status_code == 200, named.text
    assert named.json()["plans"] == post(server).json()["plans"]


def test_the_catalogue_used_longest_ago_is_forgotten(server: Running) -> None:
    with server.client() as client:
        for name in ("a", "b"):
            client.put(f"/v1/catalogues/{name}", json=catalogue_form(REQUEST.registry))
        assert post(server, catalogue="a").status_code == 200  # used now
        client.put("/v1/catalogues/c", json=catalogue_form(REQUEST.registry))
        assert client.get("/v1/catalogues").json()["data"] == ["a", "c"]
    gone = post(server, catalogue="b")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "unknown_catalogue")
    assert "PUT /v1/catalogues/b" in gone.json()["error"]["message"]


@pytest.mark.parametrize(
    ("more", "status", "code"),
    [
        ({"wanted": []}, 400, "bad_request"),
        ({"wanted": [{"name": "w", "type": "im age"}]}, 400, "bad_request"),
        ({"objective": {"alpha": 2}}, 400, "bad_request"),
        ({"objective": {"budget_usd": "-1"}}, 400, "bad_request"),
        ({"objective": {"budget_usd": 0.5}}, 400, "bad_request"),
        ({"samples": 10_000}, 400, "bad_request"),
        ({"smaples": 1}, 400, "unknown_parameter"),
        ({"shown": [{"planlang": 1}]}, 400, "bad_plan"),
        ({"catalogue": {"schema": "catp.catalogue/1", "tools": []}}, 400, "bad_request"),
        ({"catalogue": "nobody's"}, 404, "unknown_catalogue"),
        ({"inputs": [{"name": "a", "type": "text"}] * 2}, 400, "bad_request"),
        ({"model": "other"}, 404, "unknown_model"),
    ],
)
def test_what_makes_no_sense_is_named(server: Running, more: dict[str, Any], status: int, code: str) -> None:
    answer = post(server, **more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"name": "t", "returns": "Nothing["}]},
        {"tools": [{"name": "t", "returns": "text"}, {"name": "t", "returns": "text"}]},
        {"tools": [{"name": "t", "returns": "text", "effects": "magic"}]},
        {"tools": [{"name": "t", "params": [{"name": "p", "type": "text", "default": {"money": "x"}}],
                    "returns": "text"}]},
        {"tools": [{"name": "t", "returns": "text"}], "types": [{"name": "T", "fields": [["a"]]}]},
        {"schema": "catp.catalogue/2", "tools": [{"name": "t", "returns": "text"}]},
    ],
)  # fmt: skip
def test_broken_catalogues(server: Running, body: dict[str, Any]) -> None:
    with server.client() as client:
        answer = client.put("/v1/catalogues/broken", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] in ("bad_catalogue", "bad_request")
