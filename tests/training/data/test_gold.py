"""Gold plans: read from TaskBench, ComplexFuncBench and NESTFUL, written and read back."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from catp.planlang.check import check
from catp.planlang.digest import digest
from catp.planlang.parser import parse
from catp.training.data import gold, nestful, taskbench
from catp.training.data.gold import GoldPlan
from catp.training.data.graph import plan_graph, shape_of

# --- the graph of a plan --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("a = f()\nb = g(a)\nout b", {"chain"}),
        ("a = f()\nb = g(a)\nc = g(a)\nout b, c", {"fork"}),
        ("a = f()\nb = f()\nc = h(a, b)\nout c", {"join"}),
        ("a = f()\nb = f()\nout a, b", {"parallel"}),
        ("a = f()\nb = g(a)\nc = g(a)\nd = h(b, c)\ne = f()\nout d, e", {"fork", "join", "parallel"}),
        ("in x: text\na = h(x, x)\nout a", {"chain"}),
        ("a = f()\nb = h(first=a.x, second=a.y)\nout b", {"chain"}),
    ],
)
def test_shapes(text: str, shape: set[str]) -> None:
    assert shape_of(plan_graph(parse(text))) == shape


def test_a_plan_as_a_graph() -> None:
    plan = parse(
        'in page: image\na = ocr(page, lang="de", sizes=[1, 2], most=$0.02)\nb = fix(text=a.text) | plain(text=page)\n'
        "c = send(b) @after(a)\nout c\n"
    )
    found = plan_graph(plan)
    assert [node.model_dump() for node in found.nodes] == [
        {"id": "a", "tool": "ocr", "args": {"lang": "de", "sizes": [1, 2], "most": {"money": "0.02"}}},
        {"id": "b", "tool": "fix", "args": {}},
        {"id": "c", "tool": "send", "args": {}},
    ]
    assert found.edges == [["page", "a"], ["a", "b", "text"], ["page", "b", "text"], ["b", "c"], ["a", "c", "@after"]]
    assert found.text is not None
    assert parse(found.text) == plan
    assert found.canonical_hash == digest(plan)


# --- TaskBench ------------------------------------------------------------------------------------------------------

TOOLS = {
    "nodes": [
        {"id": "Image-to-Text", "desc": "Say what is there.", "input-type": ["image"], "output-type": ["text"]},
        {"id": "Video Editing", "desc": "Cut.", "input-type": ["video", "text", "text"], "output-type": ["Video"]},
        {"id": "Mend (Text)", "desc": "", "input-type": ["text"], "output-type": ["text"]},
        {"id": "Show", "desc": "", "input-type": ["url"], "output-type": []},
    ]
}
DATA = [
    {
        "id": "101", "type": "chain", "instruction": "What is in a.jpg? Mend it.",
        "task_nodes": json.dumps([
            {"task": "Image-to-Text", "arguments": ["a.jpg"]}, {"task": "Mend (Text)", "arguments": ["<node-0>"]},
        ]),
        "task_links": json.dumps([{"source": "Image-to-Text", "target": "Mend (Text)"}]),
    },
    {
        "id": "102", "type": "dag", "user_request": "Cut it.",
        "tool_nodes": [
            {"task": "Image-to-Text", "arguments": ["a.jpg"]}, {"task": "Mend (Text)", "arguments": ["hello"]},
            {"task": "Video Editing", "arguments": ["b.mp4", "<node-0>", "<node-1>"]},
        ],
        "tool_links": [{"source": "Image-to-Text", "target": "Video Editing"}],
    },
]  # fmt: skip


@pytest.fixture
def domain(tmp_path: Path) -> Path:
    folder = tmp_path / "data_multimedia"
    folder.mkdir()
    (folder / "tool_desc.json").write_text(json.dumps(TOOLS))
    (folder / "graph_desc.json").write_text(
        json.dumps({"links": [{"source": "Image-to-Text", "target": "Mend (Text)", "type": "Text"}]})
    )
    (folder / "user_requests.json").write_text(
        '{"id": "1", "user_request": "Do."}\n\n{"id": "2", "user_request": "It."}'
    )
    (folder / "data.json").write_text("\n".join(map(json.dumps, DATA)))
    return folder


def test_taskbench_tools_links_and_requests(domain: Path) -> None:
    tools = taskbench.toolset(domain)
    assert tools.id == "taskbench-multimedia"
    assert [str(sig) for sig in tools.view()] == [
        "image_to_text(image: image) -> text",
        "video_editing(video: file, text: text, text_2: text) -> file",
        "mend_text(text: text) -> text",
        "show(url: text) -> json",
    ]
    assert tools.tools[0].capability == "Image-to-Text"
    assert taskbench.links(domain) == [("image_to_text", "mend_text", "text")]
    assert list(taskbench.requests(domain)) == [("1", "Do."), ("2", "It.")]


def test_taskbench_gold_plans(domain: Path) -> None:
    chain, join = taskbench.read(domain)
    assert (chain.id, chain.request.text) == ("taskbench-multimedia-101", "What is in a.jpg? Mend it.")
    assert [node.tool for node in chain.plan.nodes] == ["image_to_text", "mend_text"]
    assert [edge[:2] for edge in chain.plan.edges if edge[0] == chain.plan.nodes[0].id] == [
        ["image_to_text", "mend_text"]
    ]
    assert [one.type for one in chain.request.inputs] == ["image"]
    assert (chain.shape, chain.license) == (["chain"], "MIT")
    assert chain.toolset is not None
    assert chain.toolset.sha256 == taskbench.toolset(domain).sha256
    assert join.shape == ["join"]
    assert [r.source for r in join.references if r.target == "video_editing"][1:] == ["image_to_text", "mend_text"]
    assert list(taskbench.read(domain / "data.json")) == [chain, join]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "an object expected"),
        ('{"id": "1"}', "task_nodes"),
        ('{"id": "1", "task_nodes": [{"task": "Mend (Text)", "arguments": ["<node-7>"]}]}', "<node-7>"),
        ('{"id": "1", "task_nodes": [], "task_links": []}', "no tool call"),
    ],
)
def test_wrong_taskbench_records_say_where(domain: Path, line: str, message: str) -> None:
    (domain / "data.json").write_text(json.dumps(DATA[0]) + "\n" + line)
    with pytest.raises(ValueError, match=message) as caught:
        list(taskbench.read(domain))
    assert "data.json:2" in str(caught.value)


def test_gold_plans_that_are_not_there(domain: Path) -> None:
    (domain / "data.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"data\.json"):
        list(taskbench.read(domain))


@pytest.mark.parametrize(
    ("name", "tools", "links", "requests"),
    [("dailylifeapis", 40, 1560, 4320), ("huggingface", 23, 225, 7546), ("multimedia", 40, 449, 5584)],
)
def test_the_shared_taskbench_files(shared_taskbench: Path, name: str, tools: int, links: int, requests: int) -> None:
    folder = shared_taskbench / f"data_{name}"
    found = taskbench.toolset(folder)
    view, graph = found.view(), taskbench.links(folder)
    assert (len(view), len(graph)) == (tools, links)
    assert sum(1 for _ in taskbench.requests(folder)) == requests
    for source, target, kind in graph:  # a typed link passes the source's type to a parameter of the target
        if kind != "complete":
            assert found.by_name[source].output == kind
            assert kind in {one.type for one in found.by_name[target].inputs}


# --- NESTFUL --------------------------------------------------------------------------------------------------------

CALLS = [
    {
        "input": " Rent a car there twice. ",
        "output": [
            {"name": "Search_Place", "arguments": {"query": "La Jolla"}, "label": "var1", "response": [{"x": 1}]},
            {"name": "Rent_Car", "arguments": {"lat": "$var1.at.lat$", "rate": "5 * $var1.Exchange Rate$"},
             "label": "var2"},
            {"name": "Rent_Car", "arguments": {"lat": "$var1.all[0].lat$", "rate": "$100-$200"}, "label": "var3"},
            {"name": "Compare", "arguments": {"both": ["$var2$", "$var3$"]}, "label": "var4"},
            {"name": "var_result", "arguments": {"best": "$var4.name$", "gone": "$var9$"}},
        ],
    },
    {"input": "Two things.", "output": [{"name": "A.B", "arguments": {}}, {"name": "A.B", "arguments": {"n": 1}}]},
]  # fmt: skip
SPEC = [
    {"name": "Search_Place", "description": "Find.",
     "query_parameters": {"query": {"type": "string", "required": True}},
     "output_parameters": {"at": {"type": "object"}, "Exchange Rate": {"type": "number"}, "all": {"type": "array"}}},
    {"name": "Rent_Car", "query_parameters": {"lat": {"type": "number"}, "rate": {"type": ["string", "null"]}}},
]  # fmt: skip


def test_nestful_calls_become_plans(tmp_path: Path) -> None:
    path = tmp_path / "complexfuncbench-data.json"
    path.write_text(json.dumps(CALLS))
    (tmp_path / "complexfuncbench-spec.json").write_text(json.dumps(SPEC))
    first, second = nestful.read(path)
    assert first.id == "complexfuncbench-0"
    assert first.request.text == "Rent a car there twice."
    assert first.request.outputs == ["best"]
    assert first.shape == ["fork", "join"]
    assert [r.model_dump() for r in first.references] == [
        {"source": "var1", "target": "var2", "argument": "lat", "path": ["at", "lat"]},
        {"source": "var1", "target": "var2", "argument": "rate", "path": ["Exchange Rate"]},
        {"source": "var1", "target": "var3", "argument": "lat", "path": ["all", 0, "lat"]},
        {"source": "var2", "target": "var4", "argument": "both", "path": []},
        {"source": "var3", "target": "var4", "argument": "both", "path": []},
    ]
    assert first.plan.edges[0] == ["var1", "var2", "lat"]
    assert first.plan.nodes[2].args == {"rate": "$100-$200"}
    assert parse(first.plan.text or "").outputs[0].ref.path == ("name",)
    assert first.toolset is not None
    assert first.toolset.sha256 == nestful.toolset(tmp_path / "complexfuncbench-spec.json").sha256
    assert "response" not in first.to_line()
    assert second.shape == ["parallel"]
    lines = tmp_path / "nestful-sgd.jsonl"
    lines.write_text("\n".join(map(json.dumps, CALLS)))
    assert [one.plan for one in nestful.read(lines)] == [first.plan, second.plan]


def test_nestful_tools(tmp_path: Path) -> None:
    path = tmp_path / "x-spec.json"
    path.write_text(json.dumps(SPEC))
    place, car = nestful.toolset(path).view()
    assert str(place) == "search_place(query: text) -> search_place_result"
    assert str(car) == "rent_car(lat: number = ..., rate: text = ...) -> json"


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"input": "x"}, '"output"'),
        ([1], "an object expected"),
        ({"input": "x", "output": [{"name": "f"}]}, '"arguments"'),
        ({"input": "x", "output": [{"name": "f", "arguments": {"a": "$var7.b$"}}]}, r"\$var7\$ is the result of no"),
        ({"input": "x", "output": [{"name": "f", "arguments": {"a": "$var1$"}, "label": "var1"}]}, "no earlier call"),
        ({"input": "x", "output": []}, "no tool call"),
    ],
)
def test_wrong_nestful_records_say_where(tmp_path: Path, record: Any, message: str) -> None:
    path = tmp_path / "x-data.json"
    path.write_text(json.dumps([CALLS[0], record]))
    with pytest.raises(ValueError, match=message) as caught:
        list(nestful.read(path))
    assert "x-data.json: record 1" in str(caught.value)


def test_the_real_nestful_file() -> None:
    """With CATP_NESTFUL naming `complexfuncbench-data.json`: the shares that training.md, section 3, counted."""
    path = os.environ.get("CATP_NESTFUL")
    if not path:
        pytest.skip("CATP_NESTFUL names no file")
    plans = list(nestful.read(Path(path)))
    found = gold.shapes(plans)
    assert len(plans) == 1000
    assert {name: round(share, 2) for name, share in found.items()} == {
        "join": 0.46, "fork": 0.38, "parallel": 0.73, "chain": 0.05, "repeat": 0.70,
    }  # fmt: skip


# --- files ----------------------------------------------------------------------------------------------------------


def test_gold_plans_are_written_and_read_back(tmp_path: Path, domain: Path) -> None:
    plans = list(taskbench.read(domain))
    for name in ("a.jsonl", "a.jsonl.gz"):
        assert gold.write(tmp_path / name, plans) == 2
        assert list(gold.read(tmp_path / name)) == plans
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == (tmp_path / "a.jsonl").read_bytes()
    view = taskbench.toolset(domain).view()
    errors = [error.render() for plan in plans for error in check(parse(plan.plan.text or ""), view).errors]
    assert errors == []


def test_wrong_files_name_line_and_field(tmp_path: Path, domain: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = next(taskbench.read(domain)).to_line()
    wrong = {**json.loads(good), "score": 1.0}
    path.write_text(f"{good}\n{json.dumps(wrong)}\n")
    with pytest.raises(ValueError, match=r"a\.jsonl:2: score"):
        list(gold.read(path))
    path.write_text(f"{good}\n{{\n")
    with pytest.raises(ValueError, match=r"a\.jsonl:2:"):
        list(gold.read(path))
    with pytest.raises(ValidationError):
        GoldPlan.from_json({**json.loads(good), "schema": "catp.trajectory/1"})
