"""Importers: what foreign plans become, and that whatever is wrong ends in one clear `PlanError`."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.planlang.errors import PlanError
from catp.planlang.importers import FORMATS, detect, import_plan
from catp.planlang.jsonform import from_json, to_json
from catp.planlang.nodes import Plan, ToolName
from catp.planlang.parser import parse
from catp.planlang.printer import to_text
from catp.planlang.registry_view import Param, RegistryView, ToolSig
from catp.planlang.tokens import encode
from catp.planlang.types import Type

DATA = Path("/work/shared/data")
TEXT, IMAGE = Type("text"), Type("image")


def text_of(plan: Plan) -> str:
    """Return the plan as text, having checked that all three forms keep it."""
    text = to_text(plan)
    assert parse(text) == plan
    assert from_json(to_json(plan)) == plan
    return text


def problems(data: object, format: str = "auto") -> list[tuple[str, str]]:
    with pytest.raises(PlanError) as caught:
        import_plan(data, format)
    return [(d.code, d.message) for d in caught.value.diagnostics]


# LLMCompiler


def test_llmcompiler_references_become_values_and_templates() -> None:
    plan = import_plan(
        '1. search("population of Vienna")\n'
        '2. search(query="Graz")\n'
        "Thought: I can compare them now.\n"
        '3. math("$1 / ${2}")\n'
        '4. report($3, [$1, "$2"], {"by": $1.author.name, "top": $2[0]}, k=-3, exact=True)\n'
        "5. join()<END_OF_PLAN>\n"
    )
    assert text_of(plan) == (
        's1 = search("population of Vienna")\n'
        's2 = search(query="Graz")\n'
        's3 = math(t"{s1} / {s2}")\n'
        "s4 = report(s3, [s1, s2], {by: s1.author.name, top: s2[0]}, k=-3, exact=true)\n"
        "out s4\n"
    )


def test_llmcompiler_money_is_not_a_reference() -> None:
    plan = import_plan('1. ask("cheaper than $1.50 or $20?")\n2. ask("$1,000 or $1?")\n3. join()')
    assert text_of(plan) == ('s1 = ask("cheaper than $1.50 or $20?")\ns2 = ask(t"$1,000 or {s1}?")\nout s2\n')


def test_llmcompiler_arguments_without_quotes_are_one_text() -> None:
    plan = import_plan("1. search(Vienna, Austria)\n2. math($1 / 2)\n3. join")
    assert text_of(plan) == 's1 = search("Vienna, Austria")\ns2 = math(t"{s1} / 2")\nout s2\n'


def test_llmcompiler_results_nobody_uses_are_outputs_and_braces_stay_braces() -> None:
    plan = import_plan('1. f("{a}")\n2. g("{$1}")\n3. h(1)\n4. join()')
    assert text_of(plan) == 's1 = f("{a}")\ns2 = g(t"{{{s1}}}")\ns3 = h(1)\nout s2, s3\n'


@pytest.mark.parametrize(
    ("source", "code", "line", "words"),
    [
        ('1. f("x', "E005", 1, "never closed"),
        ('1. f("x)', "E004", 1, "not values"),
        ('1. f(x="a" if y else "b")', "E004", 1, "not values"),
        ("1. f($2)\n2. g(1)", "E101", 1, "comes later"),
        ('1. f("about $2")\n2. g(1)', "E101", 1, "comes later"),
        ("1. f($1)", "E101", 1, "comes later"),
        ("1. f(1)\n2. g($7)", "E102", 2, "no call 7"),
        ("1. f(1)\n1. g(2)", "E103", 2, "two calls"),
        ("1. f(1)\n2. search", "E004", 2, "not followed"),
        ("1. f(*[1])", "E004", 1, "not values"),
    ],
)
def test_llmcompiler_problems_name_the_line(source: str, code: str, line: int, words: str) -> None:
    with pytest.raises(PlanError) as caught:
        import_plan(source, "llmcompiler")
    first = caught.value.diagnostics[0]
    assert (first.code, first.span.line if first.span else None) == (code, line)
    assert words in first.message
    assert "^" in str(caught.value), "shows the place"


# Tool calls of chat models


def openai_call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}


def test_openai_parallel_calls_are_independent_steps() -> None:
    calls = [openai_call("get-weather", '{"city": "Wien", "days": 2}'), openai_call("get-weather", '{"city": "Graz"}')]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    expected = """\
get_weather = get_weather(city="Wien", days=2)
get_weather_2 = get_weather(city="Graz")
out get_weather, get_weather_2
"""
    for data in (message, {"choices": [{"index": 0, "message": message}]}, calls, json.dumps(message).encode()):
        assert text_of(import_plan(data)) == expected


def test_openai_responses_and_custom_tools() -> None:
    data = {
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c", "name": "search", "arguments": '{"q": "x", "n": 1.0}'},
        ]
    }
    assert text_of(import_plan(data)) == 'search = search(q="x", n=1.0)\nout search\n'
    custom = {"tool_calls": [{"type": "custom", "custom": {"name": "run", "input": "ls -l"}}]}
    assert text_of(import_plan(custom)) == 'run = run("ls -l")\nout run\n'


def test_anthropic_blocks() -> None:
    data = {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I will look."},
            {"type": "tool_use", "id": "a", "name": "search", "input": {"q": "x", "tags": ["a", None, {"b": True}]}},
            {"type": "tool_use", "id": "b", "name": "clock", "input": {}},
        ],
    }
    assert text_of(import_plan(data)) == (
        'search = search(q="x", tags=["a", null, {b: true}])\nclock = clock()\nout search, clock\n'
    )


def test_a_conversation_means_its_last_turn_with_calls() -> None:
    data = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [openai_call("old", "{}")]},
        {"role": "tool", "content": "..."},
        {"role": "assistant", "tool_calls": [openai_call("new", "")]},
        {"role": "user", "content": "thanks"},
    ]
    assert text_of(import_plan(data)) == "new = new()\nout new\n"


def test_names_are_made_legal_and_clashes_refused() -> None:
    plan = import_plan(
        {"tool_calls": [openai_call("out", "{}"), openai_call("3D Model!", "{}"), openai_call("a.B", "{}")]}
    )
    assert [attempt.tool for step in plan.steps for attempt in step.attempts] == ["out_", "tool_3d_model", "a.B"]
    text_of(plan)
    clash = {"tool_calls": [openai_call("get-x", "{}"), openai_call("get_x", "{}")]}
    assert problems(clash) == [("E104", "tools 'get_x' and 'get-x' would both be called `get_x`")]


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (openai_call("f", '{"a": '), "E009", "not valid JSON"),
        (openai_call("f", "[1]"), "E009", "object of arguments"),
        (openai_call("f", '{"a b": 1}'), "E105", "'a b'"),
        (openai_call("f", '{"a": 1, "a": 2}'), "E009", "twice"),
        (openai_call("f", '{"a": NaN}'), "E009", "NaN"),
        (openai_call("f", '{"a": "\\ud800"}'), "E008", "surrogate"),
        (openai_call("天气", "{}"), "E104", "no letter"),
        ({"type": "function", "function": {}}, "E009", "tool name expected"),
        ("not a call", "E009", "object"),
    ],
)
def test_toolcall_problems(call: Any, code: str, words: str) -> None:
    found = problems({"role": "assistant", "tool_calls": [openai_call("ok", "{}"), call]})
    assert [code for code, _ in found] == [code]
    assert words in found[0][1]


# OpenCATP


def test_opencatp_list() -> None:
    source = (
        "['image_denoising', ['Input of Query'], 'captioning', ['image_denoising'], "
        "'vqa', ['captioning', 'Input of Query']]"
    )
    expected = (
        "in query: any\n"
        "image_denoising = image_denoising(query)\n"
        "captioning = captioning(image_denoising)\n"
        "vqa = vqa(captioning, query)\n"
        "out vqa\n"
    )
    assert text_of(import_plan(source)) == expected
    assert text_of(import_plan(source.replace("'", '"'))) == expected


def test_opencatp_repeated_tool_means_the_latest() -> None:
    plan = import_plan(["denoise", ["Input of Query"], "denoise", ["denoise"], "caption", ["denoise"]])
    assert text_of(plan).splitlines()[1:4] == [
        "denoise = denoise(query)", "denoise_2 = denoise(denoise)", "caption = caption(denoise_2)",
    ]  # fmt: skip


def test_opencatp_with_a_registry_passes_results_where_they_fit() -> None:
    registry = RegistryView(
        (
            ToolSig(ToolName("caption"), (Param("image", IMAGE),), TEXT),
            ToolSig(ToolName("vqa"), (Param("image", IMAGE), Param("question", TEXT)), TEXT),
        )
    )
    data = ["Caption", ["Input of Query"], "vqa", ["Caption", "Input of Query"]]
    plan = import_plan(data, registry=registry)
    assert text_of(plan) == (
        "in query_image: image\n"
        "caption = caption(image=query_image)\n"
        "vqa = vqa(question=caption, image=query_image)\n"
        "out vqa\n"
    )
    both = import_plan(["vqa", ["Input of Query", "Input of Query"]], registry=registry)
    assert "vqa(image=query_image, question=query_text)" in text_of(both)


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (["a", ["Input of Query"], "b"], "E009", "no list of dependencies"),
        (["a", "Input of Query"], "E009", "list of dependencies expected"),
        (["a", ["b"], "b", ["Input of Query"]], "E101", "'b'"),
        (["a", ["a"]], "E101", "'a'"),
        ({"nodes": [{"id": "n"}], "edges": [["n", "x"]]}, "E009", "tool name"),
        ({"nodes": [{"id": "n", "tool": "t"}], "edges": [["n", "x"]]}, "E102", "does not lead to a node"),
        ({"nodes": [{"id": ["n"], "tool": "t"}], "edges": []}, "E009", "`id`"),
        ({"nodes": [{"id": "n", "tool": "t"}], "edges": [["n", "n"]]}, "E101", "wait for each other"),
    ],
)
def test_opencatp_problems(data: Any, code: str, words: str) -> None:
    found = problems(data, "opencatp")
    assert found[0][0] == code
    assert words in found[0][1]


# TaskBench


def test_taskbench_resources_references_and_links() -> None:
    record = {
        "task_nodes": [
            {"task": "Translation", "arguments": ["say <node-1> in", "German"]},
            {"task": "Image-to-Text", "arguments": ["photos/example.jpg"]},
        ],
        "task_links": [{"source": "Image-to-Text", "target": "Translation"}],
    }
    assert text_of(import_plan(record)) == (
        "in example_jpg: image\n"
        "image_to_text = image_to_text(example_jpg)\n"
        'translation = translation(t"say {image_to_text} in", "German")\n'
        "out translation\n"
    )


def test_taskbench_links_without_data_become_order() -> None:
    nodes = [
        {"task": "book_flight", "arguments": [{"name": "date", "value": "1 May"}, {"name": "to", "value": "Lisbon"}]},
        {"task": "send_sms", "arguments": [{"name": "text", "value": "done"}]},
    ]
    record = {
        "id": "1",
        "type": "chain",
        "tool_nodes": json.dumps(nodes),
        "tool_links": json.dumps([{"source": "book_flight", "target": "send_sms"}]),
    }
    assert text_of(import_plan(record)) == (
        'book_flight = book_flight(date="1 May", to="Lisbon")\n'
        'send_sms = send_sms(text="done") @after(book_flight)\n'
        "out book_flight, send_sms\n"
    )


def test_taskbench_repeated_tools_use_the_nearest_link() -> None:
    nodes: list[dict[str, Any]] = [{"task": t, "arguments": []} for t in ("a", "b", "a", "c")]
    links = [{"source": "a", "target": "b"}, {"source": "a", "target": "c"}]
    text = text_of(import_plan({"task_nodes": nodes, "task_links": links}))
    assert "b = b() @after(a)\n" in text
    assert "c = c() @after(a_2)\n" in text


@pytest.mark.parametrize(
    ("record", "code", "words"),
    [
        ({"task_nodes": [{"task": "a", "arguments": ["<node-0>"]}]}, "E102", "node 0 uses <node-0>"),
        ({"task_nodes": [{"task": "a", "arguments": ["<node-4>"]}]}, "E102", "<node-4>"),
        ({"task_nodes": [{"arguments": []}]}, "E009", '"task"'),
        ({"task_nodes": "[{"}, "E009", "not valid JSON"),
        ({"task_nodes": [{"task": "a"}], "task_links": [{"source": "a", "target": "z"}]}, "E102", "'z'"),
        ({"task_nodes": []}, "E113", "no tool call"),
        (
            {"task_nodes": [{"task": "a", "arguments": ["<node-1>"]}, {"task": "b", "arguments": ["<node-0>"]}]},
            "E101",
            "wait for each other",
        ),
    ],
)
def test_taskbench_problems(record: Any, code: str, words: str) -> None:
    found = problems(record, "taskbench")
    assert found[0][0] == code
    assert words in found[0][1]


# HuggingGPT


def test_hugginggpt_tasks() -> None:
    tasks = [
        {"task": "image-to-text", "id": 0, "dep": [-1], "args": {"image": "/examples/a.jpg"}},
        {"task": "text-to-speech", "id": 1, "dep": [0], "args": {"text": "It shows <GENERATED>-0."}},
        {"task": "vqa", "id": 2, "dep": [0, 1], "args": {"image": "/examples/a.jpg", "text": "<resource>-0"}},
    ]
    assert text_of(import_plan(tasks)) == (
        "in a_jpg: image\n"
        "image_to_text = image_to_text(image=a_jpg)\n"
        'text_to_speech = text_to_speech(text=t"It shows {image_to_text}.")\n'
        "vqa = vqa(image=a_jpg, text=image_to_text) @after(text_to_speech)\n"
        "out text_to_speech, vqa\n"
    )


@pytest.mark.parametrize(
    ("task", "code", "words"),
    [
        ({"task": "b", "id": 1, "dep": [7], "args": {}}, "E102", "task 7"),
        ({"task": "b", "id": 1, "dep": [-1], "args": {"x": "<GENERATED>-1"}}, "E102", "uses itself"),
        ({"task": "b", "id": 0, "dep": [-1], "args": {}}, "E103", "id 0"),
        ({"task": "b", "id": "one", "args": {}}, "E009", "number"),
        ({"task": "b", "id": 1, "dep": 0, "args": {}}, "E009", "`dep`"),
        ({"task": 5, "id": 1, "args": {}}, "E009", "tool name"),
        ("b", "E009", "object"),
    ],
)
def test_hugginggpt_problems(task: Any, code: str, words: str) -> None:
    found = problems([{"task": "a", "id": 0, "dep": [-1], "args": {}}, task], "hugginggpt")
    assert found[0][0] == code
    assert words in found[0][1]


# All formats


def test_own_forms_and_detection() -> None:
    plan = parse('plan p\nin q: text\na = f(q, t"x {q}")\nout a\n')
    tokens = encode(plan)
    renamed = parse('plan p\nin q: text\nn0 = f(q, t"x {q}")\nout a = n0\n')
    assert import_plan(to_text(plan)) == plan
    assert import_plan(json.dumps(to_json(plan))) == import_plan(to_json(plan)) == plan
    assert import_plan("\n".join(tokens)) == import_plan(list(tokens)) == import_plan(json.dumps(tokens)) == renamed
    assert detect("a = f(1)\n") == "text"
    assert detect("['a', ['Input of Query']") == "opencatp", "broken, and still recognised"


def test_unknown_format_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean `taskbench`"):
        import_plan("x", "task_bench")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe\x00", b"\x00" * 100, b"", "[" * 200_000, '{"a":' * 100_000, "9" * 10_000, b"x" * 2_000_000,
     '["' + "\\ud800" + '"]', "1. f(" + "[" * 5000 + "]" * 5000 + ")", "[1e999, {}]", 7, None, [None], {"nodes": 3}],
    ids=lambda data: repr(data)[:24],
)  # fmt: skip
def test_garbage_is_a_plan_error_in_every_format(data: Any, format: str) -> None:
    if (data, format) == (b"", "text"):
        assert import_plan(data, format) == Plan()
    else:
        assert problems(data, format)


def test_many_problems_are_cut_and_large_inputs_take_no_quadratic_time() -> None:
    """Each of these once took minutes: the test's own time limit is the assertion."""
    size = 1_000_000
    assert len(problems('1. f("' + "$1" * (size // 2 - 10) + '")')) == 50
    assert problems('1. f("' + '\\"' * (size // 2 - 10) + ")")
    assert problems("1. f(1)" + " " * (size - 20) + "x")
    plan = import_plan("[" + ",".join(['"a",["Input of Query"]'] * 20_000) + "]")
    assert plan.steps[-1].name == "a_20000"
    backwards = [{"task": "a", "arguments": [f"<node-{i + 1}>"]} for i in range(5000)] + [{"task": "a"}]
    assert import_plan({"task_nodes": backwards}).steps[0].name == "a_5001"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["task", "<node-0>", "<GENERATED>-0", "Input of Query", "a", "a.jpg", '{"a": 1}']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["task", "id", "dep", "args", "task_nodes", "task_links", "arguments", "nodes", "edges", "tool",
                         "tool_calls", "function", "name", "arguments", "input", "content", "type", "source", "role"])
        | st.text(max_size=4), inner, max_size=5),
    max_leaves=25,
)  # fmt: skip


def kept_or_explained(data: object, format: str) -> None:
    try:
        plan = import_plan(data, format)
        kept = bool(text_of(plan)) or plan == Plan()  # an empty text is an empty plan
    except PlanError as error:
        kept = bool(str(error))
    assert kept


@settings(deadline=None, max_examples=150)
@given(data=json_values, format=st.sampled_from(["auto", "toolcalls", "opencatp", "taskbench", "hugginggpt"]))
def test_any_json_is_a_plan_or_a_plan_error(data: Any, format: str) -> None:
    kept_or_explained(data, format)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 5), st.text("ab$1{}\"'\\,()[]=-.# \t", max_size=20)), max_size=5))
def test_any_llmcompiler_text_is_a_plan_or_a_plan_error(lines: list[tuple[int, str]]) -> None:
    source = "\n".join(f"{number}. f({args})" for number, args in lines)
    kept_or_explained(source, "llmcompiler")


# Real data, where it is at hand; nothing of it is part of this project


def require(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return path


def test_every_measured_opencatp_plan_imports_and_checks() -> None:
    from catp.planlang.check import check

    toolset = json.loads(require(DATA / "opencatp/toolset.json").read_text())
    registry = RegistryView(
        tuple(
            ToolSig(ToolName(t["name"]), (Param("given", Type(t["input"])),), Type(t["output"]))
            for t in toolset["tools"]
        )
    )
    shapes = set()
    with gzip.open(require(DATA / "opencatp/trajectories.jsonl.gz"), "rt") as file:
        for line in file:
            shapes.add(json.dumps(json.loads(line)["plan"]))
    assert len(shapes) > 100
    for shape in shapes:
        graph = json.loads(shape)
        plan = import_plan(shape, registry=registry)
        assert [step.attempts[0].tool for step in plan.steps] == [node["tool"] for node in graph["nodes"]]
        text_of(plan)
        found = check(plan, registry)
        assert found.ok, found.diagnostics
        as_list = [part for node in graph["nodes"] for part in (node["tool"], _dependencies(graph, node["id"]))]
        assert import_plan(as_list, registry=registry) == plan


def _dependencies(graph: dict[str, Any], node: str) -> list[str]:
    tools = {entry["id"]: entry["tool"] for entry in graph["nodes"]}
    return [tools.get(source, "Input of Query") for source, target in graph["edges"] if target == node]


@pytest.mark.parametrize("domain", ["dailylifeapis", "huggingface", "multimedia"])
def test_every_link_of_the_taskbench_graphs_imports(domain: str) -> None:
    """The gold plans are not public here; their building blocks are: every tool, and every link of the tool graph."""
    folder = DATA / f"taskbench/data_{domain}"
    links = json.loads(require(folder / "graph_desc.json").read_text())["links"]
    tools = {tool["id"]: tool for tool in json.loads((folder / "tool_desc.json").read_text())["nodes"]}
    make: Callable[[str, str], list[Any]] = (
        (lambda tool, given: [{"name": p["name"], "value": given} for p in tools[tool].get("parameters", ())])
        if domain == "dailylifeapis"
        else (lambda tool, given: [given])
    )
    for link in links:
        source, target = link["source"], link["target"]
        reference = "<node-0>" if domain != "dailylifeapis" else "x"
        nodes = [{"task": source, "arguments": make(source, "example.jpg")}]
        nodes.append({"task": target, "arguments": make(target, reference)})
        plan = import_plan({"task_nodes": nodes, "task_links": [{"source": source, "target": target}]})
        text_of(plan)
        first, second = plan.steps
        needs = {ref.root for arg in second.attempts[0].args for ref in [arg.value] if hasattr(ref, "root")}
        assert first.name in needs or (second.note("after") is not None) or source == target
