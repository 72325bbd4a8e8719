"""TaskBench gold plans and predictions: `task_nodes` with arguments, `task_links` between tools.

    {"task_nodes": [{"task": "Image-to-Text", "arguments": ["a.jpg"]},
                    {"task": "Translation", "arguments": ["<node-0>"]}],
     "task_links": [{"source": "Image-to-Text", "target": "Translation"}]}

`<node-0>` stands for the result of node 0, alone or inside a text. Arguments are texts or `{"name", "value"}` pairs. A
link without such a reference (the daily-life domain has only those) becomes `@after`. Links name tools, so where a
tool occurs twice, a link means the nearest occurrence. `data.json` holds nodes and links as JSON inside texts, and
calls them `tool_nodes` and `tool_links` in some versions; all of that is read.
"""

import re
from bisect import bisect_left
from typing import Any

from catp.planlang.importers.building import Builder, decode_json, input_type, read_json, with_references
from catp.planlang.nodes import Arg, Attempt, Plan, Ref, StepName, Value, refs_in
from catp.planlang.registry_view import RegistryView
from catp.planlang.scalars import is_word

__all__ = ["from_taskbench"]

_NODE = re.compile(r"<node-(\d{1,6})>")


def from_taskbench(data: object, *, registry: RegistryView | None = None) -> Plan:
    """Return the plan for one record (JSON text or parsed). Raises `PlanError` naming the node or link at fault."""
    builder = Builder(registry)
    record = read_json(data)
    if isinstance(record, dict) and isinstance(record.get("result"), dict):
        record = record["result"]
    nodes, links = _part(builder, record, "nodes"), _part(builder, record, "links")
    tasks: dict[int, str] = {}
    for index, node in enumerate(nodes):
        if isinstance(node, dict) and isinstance(node.get("task"), str):
            tasks[index] = node["task"]
        else:
            builder.problem("E009", 'a node is an object with a "task"', f"/task_nodes/{index}")
    names = {index: builder.name(task) for index, task in tasks.items()}
    calls = {index: _call(builder, nodes[index], index, names) for index in tasks}
    after = _after(builder, links, tasks, calls, names)
    for index, attempt in calls.items():
        builder.add(names[index], attempt, [names[other] for other in after.get(index, ())])
    return builder.finish()


def _part(builder: Builder, record: Any, part: str) -> list[Any]:
    if not isinstance(record, dict):
        builder.problem("E009", f"a TaskBench record is an object, not {type(record).__name__}", "")
        return []
    key = next((key for key in (f"task_{part}", f"tool_{part}") if key in record), None)
    if key is None:
        if part == "nodes":
            builder.problem("E009", 'a TaskBench record has "task_nodes" or "tool_nodes"', "")
        return []
    value = record[key]
    value = decode_json(value, f"/{key}") if isinstance(value, str) else value
    if isinstance(value, list):
        return value
    builder.problem("E009", f"`{key}` is a list, not {type(value).__name__}", f"/{key}")
    return []


def _call(builder: Builder, node: dict[str, Any], index: int, names: dict[int, StepName]) -> Attempt:
    path = f"/task_nodes/{index}"

    def text(given: str, place: str) -> Value:
        def refer(match: re.Match[str]) -> Ref | None:
            key = int(match[1])
            if key in names and key != index:
                return Ref(names[key])
            builder.problem("E102", f"node {index} uses {match[0]}, which is no other node", place)
            return None

        value = with_references(given, _NODE, refer)
        if not isinstance(value, str):
            return value
        file_type = input_type(value)
        return builder.input(value, value.rsplit("/", 1)[-1], file_type) if file_type else builder.literal(value, place)

    tool = builder.tool(node["task"], f"{path}/task")
    given = node.get("arguments", [])
    if isinstance(given, dict):
        return Attempt(tool, builder.args(given, f"{path}/arguments", text))
    if not isinstance(given, list):
        builder.problem("E009", f"`arguments` is a list, not {type(given).__name__}", f"{path}/arguments")
        return Attempt(tool)
    return Attempt(tool, tuple(_arg(builder, item, f"{path}/arguments/{k}", text) for k, item in enumerate(given)))


def _arg(builder: Builder, item: Any, path: str, text: Any) -> Arg:
    if not (isinstance(item, dict) and "name" in item and "value" in item):
        return Arg(builder.value(item, path, text))
    name = item["name"]
    if not isinstance(name, str) or not is_word(name):
        builder.problem("E105", f"argument name {name!r} cannot be written in a plan", path, "rename it")
        name = None
    return Arg(builder.value(item["value"], f"{path}/value", text), name)


def _after(
    builder: Builder,
    links: list[Any],
    tasks: dict[int, str],
    calls: dict[int, Attempt],
    names: dict[int, StepName],
) -> dict[int, list[int]]:
    """Return, by node, the nodes that must come before it although it uses no value of theirs."""
    number: dict[str, int] = {name: index for index, name in names.items()}
    uses = {
        index: {number[ref.root] for arg in call.args for ref in refs_in(arg.value) if ref.root in number}
        for index, call in calls.items()
    }
    by_task: dict[object, list[int]] = {}
    for index, task in tasks.items():
        by_task.setdefault(task, []).append(index)
    after: dict[int, list[int]] = {}
    for position, link in enumerate(links):
        ends = [link.get(end) if isinstance(link, dict) else None for end in ("source", "target")]
        known = [by_task.get(end, []) if isinstance(end, str) else [] for end in ends]
        if not all(known):
            missing = ends[1] if known[0] else ends[0]
            builder.problem("E102", f"link names {missing!r}, which is no node's task", f"/task_links/{position}")
        elif not any(uses[target].intersection(known[0]) for target in known[1]):
            pair = _nearest(*known)
            if pair is not None:
                after.setdefault(pair[1], []).append(pair[0])
    return after


def _nearest(sources: list[int], targets: list[int]) -> tuple[int, int] | None:
    """Return the closest source and target that differ, preferring a source before its target; both lists rise."""
    pairs = []
    for target in targets:
        place = bisect_left(sources, target)
        beyond = place + (place < len(sources) and sources[place] == target)
        pairs += [(source, target) for source in (*sources[max(0, place - 1) : place], *sources[beyond : beyond + 1])]
    return min(pairs, key=lambda pair: (pair[0] > pair[1], abs(pair[0] - pair[1])), default=None)
