"""TaskBench (microsoft/JARVIS, folder taskbench, MIT; arXiv 2311.18760): tool graphs, requests and gold plans.

    toolset(folder)    `tool_desc.json` as a toolset
    links(folder)      `graph_desc.json`: which tool may follow which
    requests(folder)   `user_requests.json`: id to text
    read(data.json)    gold plans, for whoever has that file

Tools get names that a plan can hold (`Image-to-Text` becomes `image_to_text`); the name TaskBench uses is their
`capability`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from catp.planlang.errors import PlanError
from catp.planlang.importers.building import Builder
from catp.planlang.importers.taskbench import from_taskbench
from catp.training.data.gold import GoldPlan, references_of
from catp.training.data.graph import plan_graph, shape_of
from catp.training.data.toolset import ToolInfo, ToolInput, Toolset
from catp.training.data.trajectory import InputInfo, Request, ToolsetRef

__all__ = ["LICENSE", "SOURCE", "links", "read", "requests", "toolset"]

SOURCE: Final = "github.com/microsoft/JARVIS@c62e0fa taskbench"
LICENSE: Final = "MIT"

_FILE: Final = "data.json"
_TYPES: Final = {"string": "text", "date": "text", "url": "text", "video": "file"}
"""TaskBench's types that the plan language calls otherwise."""


def toolset(folder: Path) -> Toolset:
    """Return the tools of one domain; raise `ValueError` naming the file and the tool at fault."""
    path = folder / "tool_desc.json"
    nodes = _json(path).get("nodes")
    if not isinstance(nodes, list):
        raise ValueError(f'{path}: no list "nodes"')
    names = Builder()
    tools: list[ToolInfo] = []
    for number, node in enumerate(nodes):
        if not isinstance(node, dict) or not isinstance(node.get("id"), str):
            raise ValueError(f'{path}: tool {number} has no "id"')
        name = str(names.tool(node["id"], f"/nodes/{number}/id"))
        if names.problems:
            raise ValueError(f"{path}: {names.problems[0].message}")
        outputs = [_type(kind) for kind in node.get("output-type") or ()]
        tools.append(
            ToolInfo(
                name=name, capability=node["id"], description=node.get("desc", ""), inputs=_inputs(node),
                output=outputs[0] if outputs else "json",
            )
        )  # fmt: skip
    return Toolset(id=f"taskbench-{_domain(folder)}", tools=tools)


def links(folder: Path) -> list[tuple[str, str, str]]:
    """Return the tool graph: from, to, and the type that is passed (`complete`: the order only)."""
    known = {tool.capability: tool.name for tool in toolset(folder).tools}
    path = folder / "graph_desc.json"
    found: list[tuple[str, str, str]] = []
    for number, link in enumerate(_json(path).get("links", ())):
        try:
            found.append((known[link["source"]], known[link["target"]], _type(str(link["type"]))))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: link {number}: unknown or missing {error}") from None
    return found


def requests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the id and text of every request that comes without a gold plan."""
    for number, record in _records(folder / "user_requests.json"):
        if not (isinstance(record.get("id"), str) and isinstance(record.get("user_request"), str)):
            raise ValueError(f'{folder / "user_requests.json"}:{number}: a request has "id" and "user_request"')
        yield record["id"], record["user_request"]


def read(path: Path) -> Iterator[GoldPlan]:
    """Yield the gold plans of `data.json`, or of the folder it lies in.

    `tool_desc.json` beside it gives the toolset; without that file the plans name none.

    Raises:
        ValueError: a record is no TaskBench plan; names file, line and what is wrong.
        OSError: there is no such file.
    """
    path = path / _FILE if path.is_dir() else path
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file; TaskBench's gold plans are in `{_FILE}` of each domain"
        )
    known = toolset(path.parent) if (path.parent / "tool_desc.json").is_file() else None
    domain = _domain(path.parent)
    for number, record in _records(path):
        try:
            yield _gold(record, domain, known)
        except PlanError as error:
            raise ValueError(f"{path}:{number}: {error.diagnostics[0].render()}") from error


def _gold(record: dict[str, Any], domain: str, known: Toolset | None) -> GoldPlan:
    plan = from_taskbench(record, registry=known.view() if known is not None else None)
    graph = plan_graph(plan, known.view() if known is not None else None)
    text = record.get("instruction", record.get("user_request"))
    types = known.by_name if known is not None else {}
    wanted = [types[node.tool].output for node in graph.nodes if node.tool in types and _is_sink(graph, node.id)]
    return GoldPlan(
        id=f"taskbench-{domain}-{record.get('id')}",
        dataset=f"taskbench/{domain}",
        request=Request(
            text=text if isinstance(text, str) else None,
            lang="en",
            inputs=[InputInfo(name=one.name, type=str(one.type)) for one in plan.inputs],
            wanted=wanted,
        ),
        toolset=None if known is None else ToolsetRef(id=known.id, sha256=known.sha256),
        plan=graph,
        references=references_of(plan),
        shape=sorted(shape_of(graph)),
        source=f"{SOURCE}/data_{domain}",
        license=LICENSE,
    )


def _is_sink(graph: Any, node: str) -> bool:
    return all(edge[0] != node for edge in graph.edges)


def _inputs(node: dict[str, Any]) -> list[ToolInput]:
    """Named parameters (daily life), or one per type (`image`, `text_2`)."""
    if "parameters" in node:
        return [ToolInput(name=one["name"], type=_type(one["type"])) for one in node["parameters"]]
    found: list[ToolInput] = []
    kinds = [kind.lower() for kind in node.get("input-type") or ()]
    for place, kind in enumerate(kinds):
        count = kinds[:place].count(kind)
        found.append(ToolInput(name=kind if not count else f"{kind}_{count + 1}", type=_type(kind)))
    return found


def _type(kind: str) -> str:
    return _TYPES.get(kind.lower(), kind.lower())  # "Image" occurs once


def _domain(folder: Path) -> str:
    return folder.resolve().name.removeprefix("data_")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: an object expected, not {type(value).__name__}")
    return value


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """One object per line, as upstream has it, each with its line number."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{path}:{number}: an object expected, not {type(record).__name__}")
            yield number, record
