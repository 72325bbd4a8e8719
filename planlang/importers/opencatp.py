"""OpenCATP plans: a flat list of tools and their dependencies, or the graph its measured trajectories are kept as.

    ["image_denoising", ["Input of Query"], "image_captioning", ["image_denoising"]]
    {"nodes": [{"id": "n1", "tool": "image_denoising"}], "edges": [["input", "n1"]]}

A dependency is a tool named earlier in the list (the latest one if it occurs twice) or `Input of Query`. The list says
nothing about parameters: results are passed in the order of the dependencies. With a registry each goes to a parameter
whose type accepts it, the inputs get that type, and a dependency no parameter takes becomes `@after`.
"""

import ast
from collections.abc import Sequence
from typing import Any

from catp.planlang.importers.building import Builder, python_expression, read_json, read_text
from catp.planlang.nodes import Arg, Attempt, Plan, Ref, StepName, ToolName
from catp.planlang.registry_view import Param, RegistryView
from catp.planlang.types import ANY, Type

__all__ = ["from_opencatp"]

_QUERY = frozenset(("input of query", "input"))


def from_opencatp(data: object, *, registry: RegistryView | None = None) -> Plan:
    """Return the plan for a list or graph: JSON text, Python literal text as OpenCATP prints it, or parsed.

    Raises `PlanError` naming the element at fault.
    """
    builder = Builder(registry)
    given = _read(data)
    if isinstance(given, dict) and isinstance(given.get("plan"), dict):
        given = given["plan"]
    results: dict[StepName, Type] = {}
    calls = _from_graph(builder, given) if isinstance(given, dict) else _from_list(builder, given)
    for name, tool, sources in calls:
        _add(builder, name, tool, sources, results)
    return builder.finish()


_Call = tuple[StepName, ToolName, list[StepName | None]]
"""Step name, tool, and the steps it depends on; None is the query's input."""


def _read(data: object) -> Any:
    if isinstance(data, (str, bytes)) and "'" in (text := read_text(data)):
        tree = python_expression(text.strip())
        try:
            data = text if tree is None else ast.literal_eval(tree)
        except (ValueError, RecursionError):
            pass  # the JSON reader says what is wrong
    return read_json(data)


def _from_list(builder: Builder, given: Any) -> list[_Call]:
    if not isinstance(given, (list, tuple)):
        builder.problem("E009", f"a list [tool, [dependencies], ...] expected, not {type(given).__name__}", "")
        return []
    if len(given) % 2:
        builder.problem("E009", "the last tool has no list of dependencies", f"/{len(given) - 1}")
    latest: dict[str, StepName] = {}
    calls: list[_Call] = []
    for index in range(0, len(given) - 1, 2):
        tool, dependencies = given[index], given[index + 1]
        legal = builder.tool(tool, f"/{index}")
        if not isinstance(dependencies, (list, tuple)):
            builder.problem("E009", f"a list of dependencies expected after {tool!r}", f"/{index + 1}")
            dependencies = ()
        sources = [_source(builder, item, latest, f"/{index + 1}/{k}") for k, item in enumerate(dependencies)]
        name = builder.name(legal)
        calls.append((name, legal, sources))
        if isinstance(tool, str):
            latest[tool] = name
    return calls


def _source(builder: Builder, item: object, known: dict[str, StepName], path: str) -> StepName | None:
    if isinstance(item, str) and item in known:
        return known[item]
    if not (isinstance(item, str) and item.strip().lower() in _QUERY):
        hint = "a dependency is a tool named earlier or 'Input of Query'"
        builder.problem("E101", f"depends on {item!r}, which is not defined above", path, hint)
    return None


def _from_graph(builder: Builder, given: dict[str, Any]) -> list[_Call]:
    nodes, edges = given.get("nodes"), given.get("edges")
    if not isinstance(nodes, list) or not isinstance(edges, list):
        builder.problem("E009", 'a graph has lists "nodes" and "edges"', "")
        return []
    names: dict[str, StepName] = {}
    calls: dict[str, _Call] = {}
    for index, node in enumerate(nodes):
        key = node.get("id") if isinstance(node, dict) else None
        if not isinstance(key, str) or key in names:
            builder.problem(
                "E103" if isinstance(key, str) else "E009", "a node is an object with its own `id`", f"/nodes/{index}"
            )
            continue
        tool = builder.tool(node.get("tool"), f"/nodes/{index}/tool")
        names[key] = builder.name(tool)
        calls[key] = (names[key], tool, [])
    for index, edge in enumerate(edges):
        if not (isinstance(edge, (list, tuple)) and len(edge) == 2 and isinstance(edge[1], str) and edge[1] in calls):
            builder.problem("E102", f"edge {edge!r} does not lead to a node", f"/edges/{index}")
            continue
        source = _source(builder, edge[0], names, f"/edges/{index}")
        calls[edge[1]][2].append(source)
    return list(calls.values())


def _add(
    builder: Builder, name: StepName, tool: ToolName, sources: Sequence[StepName | None], results: dict[StepName, Type]
) -> None:
    signature = builder.registry.get(tool) if builder.registry is not None else None
    if signature is None:
        refs = [builder.input("query", "query", ANY) if source is None else Ref(source) for source in sources]
        builder.add(name, Attempt(tool, tuple(Arg(ref) for ref in refs)))
        return
    results[name] = signature.returns
    free = list(signature.params)
    args: list[Arg] = []
    after: list[StepName] = []
    for source in sources:
        param = _taker(builder, free, None if source is None else results.get(source))
        if param is None:
            after += [source] if source is not None else []
            continue
        free.remove(param)
        wanted = param.type.required
        ref = builder.input(f"query:{wanted}", f"query_{wanted}", wanted) if source is None else Ref(source)
        args.append(Arg(ref, param.name))
    builder.add(name, Attempt(tool, tuple(args)), after)


def _taker(builder: Builder, free: Sequence[Param], given: Type | None) -> Param | None:
    """Return the first free parameter that takes a value of this type; None is a type not known yet."""
    assert builder.registry is not None
    for param in free:
        if given is None or builder.registry.types.accepts(param.type, given):
            return param
    return None
