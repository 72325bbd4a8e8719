"""The drawing of stored plans: every step in exactly one box, boxes apart, lines that end at them, at any size."""

from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.dashboard.read.graph import drawing
from catp.planlang.parser import parse
from catp.planlang.render.groups import LIMIT, MOST, Tree
from catp.planlang.render.view import PlanView, view
from catp.store.store import RunStore
from tests.dashboard.conftest import Client
from tests.dashboard.plans import SHAPES, plan_text, recorded

Drawing = Mapping[str, Any]


def boxes_of(drawn: Drawing) -> dict[str, tuple[float, ...]]:
    return {name: tuple(box) for name, box in drawn["nodes"].items()} | {
        group["id"]: tuple(group["box"]) for group in drawn["groups"] if group["closed"]
    }


def check(plan: PlanView, drawn: Drawing) -> None:
    """What holds for every drawing, whatever is open in it."""
    boxes = boxes_of(drawn)
    holder: dict[str, list[str]] = {}
    for name in drawn["nodes"]:
        holder.setdefault(name, []).append(name)
    for group in drawn["groups"]:
        assert group["members"] == len(group["steps"]) > 1
        for step in group["steps"] if group["closed"] else ():
            holder.setdefault(step, []).append(group["id"])
    assert {name: len(found) for name, found in holder.items()} == {node.id: 1 for node in plan.nodes}

    wanted = {(holder[e.source][0], holder[e.target][0]) for e in plan.edges}
    wanted = {(a, b) for a, b in wanted if a != b}
    assert {(edge["from"], edge["to"]) for edge in drawn["edges"]} == wanted
    assert len(drawn["edges"]) == len(wanted)
    assert nx.is_directed_acyclic_graph(nx.DiGraph(list(wanted)))

    axis = 0 if drawn["dir"] == "LR" else 1
    for edge in drawn["edges"]:
        start, end = edge["points"][0], edge["points"][-1]
        source, target = boxes[edge["from"]], boxes[edge["to"]]
        assert start[axis] == pytest.approx(source[axis] + source[axis + 2], abs=0.02)
        assert end[axis] == pytest.approx(target[axis], abs=0.02)
        for point, box in ((start, source), (end, target)):
            assert box[1 - axis] <= point[1 - axis] <= box[1 - axis] + box[3 - axis]
    for a, b in combinations(boxes.values(), 2):
        assert a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
    for x, y, w, h in boxes.values():
        assert x >= 0
        assert y >= 0
        assert x + w <= drawn["w"]
        assert y + h <= drawn["h"]


def draw(plan: PlanView, opened: tuple[str, ...] = (), direction: Any = "LR") -> Drawing:
    return drawing(Tree(plan), {node.id: node.kind for node in plan.nodes}, direction, opened)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [12, 301, 2_000])
def test_every_shape_and_size(shape: str, steps: int) -> None:
    plan = view(parse(plan_text(steps, shape)))
    drawn = draw(plan, direction="TB" if steps == 301 else "LR")
    check(plan, drawn)
    assert len(boxes_of(drawn)) <= LIMIT
    assert drawn["capped"] == (len(plan.nodes) > LIMIT)
    assert drawn["capped"] or not drawn["groups"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_step_can_be_reached_by_opening_groups(shape: str) -> None:
    plan = view(parse(plan_text(700, shape)))
    tree = Tree(plan)
    seen: set[str] = set()
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        opened = waiting.pop()
        drawn = tree.drawn(opened)
        seen |= set(map(str, drawn.graph)) - {group.id for group in drawn.groups}
        parent = opened[-1] if opened else None
        new = [group for group in drawn.groups if group.closed and group.parent == parent]
        waiting += [(*opened, group.id) for group in new if not set(group.members) <= seen]
        for outer in drawn.groups:
            inner = [group for group in drawn.groups if group.parent == outer.id]
            assert all(set(group.members) < set(outer.members) for group in inner)
        assert len(opened) < 8
    assert seen == {node.id for node in plan.nodes}


@settings(derandomize=True, deadline=None, max_examples=25)
@given(st.integers(301, 900), st.sampled_from(SHAPES), st.integers(0, 99), st.data())
def test_any_groups_may_be_open(steps: int, shape: str, seed: int, data: st.DataObject) -> None:
    plan = view(parse(plan_text(steps, shape, seed=seed)))
    opened: tuple[str, ...] = ()
    for _ in range(3):
        drawn = draw(plan, opened)
        closed = [group["id"] for group in drawn["groups"] if group["closed"]]
        if not closed:
            break
        opened = (*opened, data.draw(st.sampled_from(closed)))
    drawn = draw(plan, opened)
    check(plan, drawn)
    assert draw(plan, opened) == drawn


def test_no_arrow_crosses_a_box() -> None:
    plan = view(parse(plan_text(60)))
    drawn = draw(plan)
    for edge in drawn["edges"]:
        for (x, y), (u, v) in pairwise(edge["points"]):
            for name, (left, top, w, h) in boxes_of(drawn).items():
                if name in (edge["from"], edge["to"]):
                    continue
                # an S-curve stays between its ends along the flow, and no box stands there unless the line is straight
                apart = max(x, u) <= left or min(x, u) >= left + w or max(y, v) <= top or min(y, v) >= top + h
                assert apart, f"{edge['from']} -> {edge['to']} crosses {name}"


def test_equal_branches_become_one_box_that_opens() -> None:
    plan = view(parse(plan_text(1_001, "branches")))
    drawn = draw(plan)
    branches = next(group for group in drawn["groups"] if group["members"] == 996)
    assert branches["kind"] == "parallel"
    assert branches["what"].endswith("×249")
    inside = draw(plan, (branches["id"],))
    assert [group["closed"] for group in inside["groups"] if group["id"] == branches["id"]] == [False]
    assert sum(group["members"] for group in inside["groups"] if group["parent"] == branches["id"]) == 996


def test_too_many_open_groups_leave_the_newest_open() -> None:
    plan = view(parse(plan_text(2_000, "ladder")))
    closed = [group["id"] for group in draw(plan)["groups"]]
    drawn = draw(plan, tuple(closed))
    assert len(boxes_of(drawn)) <= MOST
    still = [group["id"] for group in drawn["groups"] if not group["closed"]]
    assert 0 < len(still) < len(closed)
    assert still[-1] == closed[-1]


async def test_the_api_draws_what_was_asked(path: Path, client_of: Callable[..., Client]) -> None:
    store = RunStore(path)
    _, digest, _ = await recorded(store, plan_text(2_000, "branches"), done=1)
    store.close()
    client = client_of(path)
    address = f"/api/v1/plans/{digest}"
    plan = (await client.get(address)).json()
    assert plan["nodes"][2]["tools"] == ["short"]
    drawn = (await client.get(f"{address}/layout", params={"dir": "TB"})).json()
    assert (drawn["hash"], drawn["dir"], drawn["capped"]) == (digest, "TB", True)
    group = max(drawn["groups"], key=lambda one: one["members"])
    answer = await client.get(f"{address}/layout", params={"open": f"{group['id']},nothing"})
    assert answer.headers["cache-control"].endswith("immutable")
    opened = {one["id"]: one for one in answer.json()["groups"]}
    assert opened[group["id"]]["box"] is None
    assert any(one["parent"] == group["id"] for one in opened.values())
    assert (await client.get(f"{address}/layout", params={"dir": "XY"})).status_code == 422
    assert (await client.get(f"{address}/layout", params={"open": "x" * 5_000})).status_code == 422
    assert (await client.get("/api/v1/plans/none/layout")).status_code == 404


async def test_a_mapped_step_says_for_how_many_elements_it_ran(filled: Path, client_of: Callable[..., Client]) -> None:
    client = client_of(filled)
    runs = (await client.get("/api/v1/runs")).json()["items"]
    run = (await client.get(f"/api/v1/runs/{runs[-1]['id']}")).json()
    assert {node["id"]: node["elements"] for node in run["nodes"] if node["mapped"]} == {"b": 3}
