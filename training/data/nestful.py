"""NESTFUL and ComplexFuncBench: requests with the calls that answer them, as gold plans.

    for gold in read(Path("complexfuncbench-data.json")): ...

Both are in the wheel nestful-wrapper 0.1.7 (Apache-2.0; NESTFUL: arXiv 2409.03797, ComplexFuncBench: arXiv
2501.10132), folder `data_v1`; unpack it, there is no need to install it. A record is `{"input": text, "output":
[call, ...]}`, a call `{"name", "arguments", "label": "var1"}`. `$var1.coordinates.latitude$` in an argument stands
for a field of an earlier result, alone or inside a text; `var_result` is no tool, its arguments are the outputs.
Responses of the APIs, which make up most of the file, are not kept.

`X-spec.json` beside `X-data.json` describes the tools and becomes the toolset.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from catp.planlang.errors import PlanError
from catp.planlang.importers.building import Builder, with_references
from catp.planlang.nodes import Attempt, Literal, Output, Plan, Ref, StepName, Value, refs_in
from catp.planlang.scalars import is_name, is_word
from catp.training.data.gold import GoldPlan, references_of
from catp.training.data.graph import plan_graph, shape_of
from catp.training.data.toolset import ToolInfo, ToolInput, Toolset, TypeInfo
from catp.training.data.trajectory import Request, ToolsetRef

__all__ = ["LICENSE", "SOURCE", "read", "toolset"]

SOURCE: Final = "pypi.org/project/nestful-wrapper 0.1.7"
LICENSE: Final = "Apache-2.0"

_RESULT: Final = "var_result"
_REFERENCE: Final = re.compile(r"\$([A-Za-z_]\w*)((?:\.[^.$\[\]]+|\[\d{1,6}\])*)\$")
_LABEL: Final = re.compile(r"\$(var_?\d+)\b[^$]*\$")
_PART: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_TYPES: Final = {"string": "text", "number": "number", "integer": "int", "boolean": "bool"}

_Path = list[str | int]


def read(path: Path) -> Iterator[GoldPlan]:
    """Yield the plans of a data file: a JSON list, or JSONL.

    Raises:
        ValueError: a record is none of this form; names the file, the record and what is wrong.
        OSError: the file cannot be read.
    """
    beside = path.with_name(path.name.replace("-data.", "-spec."))
    known = toolset(beside) if beside != path and beside.is_file() else None
    dataset = _dataset(path)
    for number, record in enumerate(_records(path)):
        try:
            yield _gold(record, f"{dataset}-{number}", dataset, known)
        except PlanError as error:
            raise ValueError(f"{path}: record {number}: {error.diagnostics[0].render()}") from error
        except ValueError as error:
            raise ValueError(f"{path}: record {number}: {error}") from error


def toolset(path: Path) -> Toolset:
    """Return the tools of a spec file; the result of an API is a record type with its first level of fields."""
    specs = _records(path)
    names = Builder()
    tools: list[ToolInfo] = []
    types: list[TypeInfo] = []
    for number, spec in enumerate(specs):
        if not isinstance(spec.get("name"), str):
            raise ValueError(f'{path}: tool {number} has no "name"')
        name = str(names.tool(spec["name"], f"/{number}/name"))
        if names.problems:
            raise ValueError(f"{path}: {names.problems[0].message}")
        fields = {key: _type(part) for key, part in _object(spec.get("output_parameters")).items() if is_word(key)}
        result = f"{name.replace('.', '_')}_result"
        if fields:
            types.append(TypeInfo(name=result, fields=fields))
        tools.append(
            ToolInfo(
                name=name, capability=spec["name"], description=spec.get("description") or "",
                inputs=[
                    ToolInput(name=key, type=_type(part), optional=not _object(part).get("required"))
                    for key, part in _object(spec.get("query_parameters")).items()
                ],
                output=result if fields else "json",
            )
        )  # fmt: skip
    return Toolset(id=f"{_dataset(path)}-tools", tools=tools, types=types)


def _gold(record: Mapping[str, Any], id: str, dataset: str, known: Toolset | None) -> GoldPlan:
    text, calls = record.get("input"), record.get("output")
    if not isinstance(text, str) or not isinstance(calls, list):
        raise ValueError('a record has a text "input" and a list "output"')
    reader = _Calls()
    plan = reader.read(calls)
    graph = plan_graph(plan)
    return GoldPlan(
        id=id,
        dataset=dataset,
        request=Request(text=text.strip(), lang="en", outputs=[output.name for output in plan.outputs]),
        toolset=None if known is None else ToolsetRef(id=known.id, sha256=known.sha256),
        plan=graph,
        references=references_of(plan, reader.paths),
        shape=sorted(shape_of(graph)),
        source=SOURCE,
        license=LICENSE,
    )


class _Calls:
    """Reads the calls of one record. `paths` keeps the path of each reference as the file spells it."""

    def __init__(self) -> None:
        self.paths: dict[Ref, _Path] = {}
        self._builder = Builder()
        self._steps: dict[str, StepName] = {}

    def read(self, calls: list[Any]) -> Plan:
        builder = self._builder
        outputs: dict[str, Value] = {}
        for number, call in enumerate(calls):
            path = f"/output/{number}"
            if not isinstance(call, dict) or not isinstance(call.get("arguments"), dict):
                builder.problem("E009", 'a call is an object with "name" and "arguments"', path)
            elif call.get("name") == _RESULT:
                outputs |= {key: builder.value(given, path, self._shown) for key, given in call["arguments"].items()}
            else:
                self._add(call, path)
        plan = builder.finish()
        return Plan(plan.steps, _outputs(outputs) or plan.outputs, plan.inputs)

    def _add(self, call: dict[str, Any], path: str) -> None:
        builder = self._builder
        tool = builder.tool(call.get("name"), f"{path}/name")
        args = builder.args(call["arguments"], f"{path}/arguments", self._text)
        label = call.get("label")
        name = builder.name(label if isinstance(label, str) else tool)
        if isinstance(label, str):  # a label may be used again: references mean the latest
            self._steps[label] = name
        builder.add(name, Attempt(tool, args))

    def _text(self, given: str, path: str) -> Value:
        found = with_references(given, _REFERENCE, self._reference)
        for label in _LABEL.findall(given):
            if label not in self._steps:
                self._builder.problem("E102", f"${label}$ is the result of no earlier call", path)
        return self._builder.literal(found, path) if isinstance(found, str) else found

    def _shown(self, given: str, path: str) -> Value:
        """What is shown in the end; five records of NESTFUL show a result they do not have: it is left out."""
        found = with_references(given, _REFERENCE, self._reference)
        return Literal(found) if isinstance(found, str) else found

    def _reference(self, match: re.Match[str]) -> Ref | None:
        step = self._steps.get(match[1])
        if step is None:
            return None  # perhaps a text with dollar signs
        exact: _Path = [int(part[2]) if part[2] else part[1] for part in _PART.finditer(match[2])]
        ref = Ref(step, tuple(part if isinstance(part, int) else _word(part) for part in exact))
        self.paths[ref] = exact
        return ref


def _outputs(given: Mapping[str, Value]) -> tuple[Output, ...]:
    """`var_result` names the outputs; what is only a text is none."""
    found: dict[str, Output] = {}
    for key, value in given.items():
        for ref in refs_in(value):
            name = key if is_name(key) and key not in found else f"{_word(key)}_{len(found)}"
            found[name] = Output(name, ref)
    return tuple(found.values())


def _word(text: str) -> str:
    """The nearest field name that a plan can hold: `Exchange Rate` becomes `Exchange_Rate`."""
    return text if is_word(text) else re.sub(r"\W+", "_", text.strip(), flags=re.ASCII).strip("_") or "field"


def _type(part: Any) -> str:
    kind = _object(part).get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), None)
    return _TYPES.get(kind, "json") if isinstance(kind, str) else "json"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dataset(path: Path) -> str:
    stem = re.sub(r"-(data|spec)$", "", path.name.removesuffix(".gz").rsplit(".", 1)[0])
    return "complexfuncbench" if stem == "complexfuncbench" else f"nestful-{stem.removeprefix('nestful-')}"


def _records(path: Path) -> list[Mapping[str, Any]]:
    text = path.read_text(encoding="utf-8")
    try:
        if text.lstrip().startswith("["):
            records = json.loads(text)
        else:
            records = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: neither a JSON list nor JSONL: {error}") from error
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{path}: record {number}: an object expected, not {type(record).__name__}")
    return list(records)
