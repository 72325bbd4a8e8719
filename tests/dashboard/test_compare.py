"""`/compare`: figures of the runs themselves, a waterfall that closes, one acyclic graph of several plans."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.agent import Agent
from catp.dashboard.read.compare_graph import merge, place
from catp.dashboard.read.text_diff import text_diff
from catp.planlang.parser import parse
from tests.dashboard.conftest import hostile, short
from tests.store.recording import fails, unpriced, up

Make = Callable[..., httpx.AsyncClient]

FIRST = "in t: text\na = up(t)\nb = short(a)\nout b\n"
SECOND = "in t: text\na = up(t)\nb = hostile(a)\nc = unpriced(a)\nout b, c\n"
THIRD = "in t: text\nb = short(t)\na = up(b)\nd = fails(a)\nout a, d?\n"


@pytest.fixture
async def runs(path: Path) -> list[str]:
    async with Agent([hostile, short, up, unpriced, fails], store=path) as agent:
        return [(await agent.run(parse(plan), {"t": "hello"})).run_id for plan in (FIRST, SECOND, THIRD)]


async def get(client: httpx.AsyncClient, path: str) -> Any:
    answer = await client.get(f"/api/v1{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def row(found: Any, name: str) -> Any:
    return next(one for one in found["kpi"] if one["name"] == name)


async def test_figures_are_those_of_the_runs(runs: list[str], path: Path, client_of: Make) -> None:
    client = client_of(path)
    found = await get(client, f"/compare?ids={','.join(runs)}")
    pages = [await get(client, f"/runs/{run}") for run in runs]
    assert [one["id"] for one in found["runs"]] == runs
    assert row(found, "cost")["values"] == [page["cost"]["amount"] for page in pages]
    costs = [Decimal(page["cost"]["amount"]) for page in pages]
    assert [Decimal(delta) for delta in row(found, "cost")["delta"]] == [cost - costs[0] for cost in costs]
    assert row(found, "ledger rows without a price")["values"] == [0, 1, 0]
    assert row(found, "steps failed") == {
        "id": "steps failed", "name": "steps failed",
        "unit": "", "values": [0, 0, 1], "delta": [0, 0, 1], "better": "low",
    }  # fmt: skip
    assert row(found, "quality, measured")["delta"] == [None] * 3
    for page in pages:
        for node in page["nodes"]:
            merged = [one for one in found["graph"]["nodes"] if one["step"] == node["id"] and page["id"] in one["in"]]
            assert len(merged) == 1
            assert merged[0]["cost"][page["id"]] == node["actual"]["cost"]
            assert merged[0]["tools"][page["id"]] == node["tool"]
            line = next(one for one in found["gantt"]["rows"] if one["step"] == node["id"])
            assert line["runs"][page["id"]]["start_ms"] == node["actual"]["start_ms"]


@pytest.mark.parametrize("pair", [None, (0, 1), (1, 2), (2, 0)])
async def test_the_waterfall_closes_exactly(
    runs: list[str], path: Path, client_of: Make, pair: tuple[int, int] | None
) -> None:
    client = client_of(path)
    old, new = (runs[at] for at in pair or (0, 1))
    chosen = "" if pair is None else f"&pair={old},{new}"
    fall = (await get(client, f"/compare?ids={','.join(runs)}{chosen}"))["waterfall"]
    before, after = [(await get(client, f"/runs/{run}"))["ledger"]["total"] for run in (old, new)]
    assert (fall["from"], fall["to"], fall["start"], fall["end"]) == (old, new, before, after)
    assert sum(Decimal(bar["delta"]) for bar in fall["bars"]) == Decimal(after) - Decimal(before)
    total = Decimal(before)
    for bar in fall["bars"]:
        total += Decimal(bar["delta"])
        assert Decimal(bar["total"]) == total
    assert total == Decimal(after)
    assert {bar["step"]: bar["unpriced"] for bar in fall["bars"] if bar["unpriced"]} == (
        {"c": 1} if runs[1] in (old, new) else {}
    )


async def test_changes_and_outputs(runs: list[str], path: Path, client_of: Make) -> None:
    found = await get(client_of(path), f"/compare?ids={runs[0]},{runs[1]}")
    change = {node["id"]: node["change"] for node in found["graph"]["nodes"]}
    assert change == {"in:t": "same", "a": "same", "b": "tool", "c": "only", "out:b": "same", "out:c": "only"}
    assert set(found["graph"]["layout"]["nodes"]) == set(change)
    out = {one["name"]: one for one in found["outputs"]}
    assert out["b"]["values"][runs[0]]["text"] == "<img src=x onerror=alert(1)>"
    assert out["b"]["values"][runs[1]]["text"].startswith("<script>alert(1)</script>")
    assert list(out["c"]["values"]) == [runs[1]]
    assert out["c"]["diff"] is None


async def test_an_output_that_did_not_come_says_why(runs: list[str], path: Path, client_of: Make) -> None:
    found = await get(client_of(path), f"/compare?ids={runs[0]},{runs[2]}")
    out = next(one for one in found["outputs"] if one["name"] == "d")
    assert out["values"][runs[2]]["status"] != "ok"
    assert "text" not in out["values"][runs[2]]


async def test_runs_that_cannot_be_compared(runs: list[str], path: Path, client_of: Make) -> None:
    client = client_of(path)
    a, b, c = runs
    asked = {
        f"ids={a}": 422, f"ids={a},{a[-8:]}": 422, f"ids={a},01NOSUCHRUN": 404, "ids=": 422, "": 422,
        f"ids={a},{b}&pair={a}": 422, f"ids={a},{b}&pair={a},{c}": 422, f"ids={','.join([a] * 6)}": 422,
    }  # fmt: skip
    for query, status in asked.items():
        answer = await client.get(f"/api/v1/compare?{query}")
        assert answer.status_code == status, query
        assert answer.headers["content-type"] == "application/problem+json"


def plan(names: list[str], links: dict[str, list[str]]) -> str:
    lines = ["in t: text"]
    lines += [f"{name} = up({', '.join(links[name]) or 't'})" for name in names]
    return "\n".join([*lines, f"out {names[-1]}", ""])


def test_steps_in_opposite_order_are_split_per_run() -> None:
    ab = plan(["a", "b", "z"], {"a": [], "b": ["a"], "z": ["b"]})
    ba = plan(["b", "a", "z"], {"a": ["b"], "b": [], "z": ["a"]})
    merged = merge([ab, ba], [dict.fromkeys("abz", "up")] * 2)
    ids = {node.id for node in merged.nodes}
    assert ids in ({"in:t", "a", "b@A", "b@B", "z", "out:z"}, {"in:t", "a@A", "a@B", "b", "z", "out:z"})
    assert {node.change for node in merged.nodes if "@" in node.id} == {"only"}


@st.composite
def plans(draw: st.DrawFn) -> list[str]:
    found = []
    for _ in range(draw(st.integers(2, 5))):
        names = draw(st.permutations("abcdef"))[: draw(st.integers(1, 6))]
        links = {
            name: draw(st.lists(st.sampled_from(names[:at]), unique=True, max_size=3)) if at else []
            for at, name in enumerate(names)
        }
        found.append(plan(list(names), links))
    return found


@settings(derandomize=True, deadline=None, max_examples=60)
@given(plans())
def test_any_plans_make_one_acyclic_graph_that_holds_each_of_them(sources: list[str]) -> None:
    merged = merge(sources, [{step.name: "up" for step in parse(source).steps} for source in sources])
    graph: nx.DiGraph[str] = nx.DiGraph(list(merged.edges))
    assert nx.is_directed_acyclic_graph(graph)
    placed = place(merged)
    assert set(placed["nodes"]) == {node.id for node in merged.nodes}
    for at, source in enumerate(sources):
        steps = [node.name for node in merged.nodes if node.kind == "step" and at in node.of]
        assert sorted(steps) == sorted(step.name for step in parse(source).steps)
        edges = {tuple(id_.split("@")[0] for id_ in pair) for pair, of in merged.edges.items() if at in of}
        alone = merge([source], [{}])
        assert edges == set(alone.edges)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.text("ab \n<", max_size=60), st.text("ab \n<", max_size=60))
def test_a_difference_holds_both_texts(old: str, new: str) -> None:
    parts = text_diff(old, new)
    assert parts is not None
    assert "".join(text for kind, text in parts if kind != "ins") == old
    assert "".join(text for kind, text in parts if kind != "del") == new


def test_long_texts_are_compared_by_lines_and_longer_ones_not_at_all() -> None:
    words = "".join(f"line {n} of many\n" for n in range(1000))
    assert text_diff(words, words.replace("line 500 ", "line five hundred ")) == [
        ("same", "".join(f"line {n} of many\n" for n in range(500))),
        ("del", "line 500 of many\n"),
        ("ins", "line five hundred of many\n"),
        ("same", "".join(f"line {n} of many\n" for n in range(501, 1000))),
    ]
    assert text_diff("x\n" * 2000, "y") is None
