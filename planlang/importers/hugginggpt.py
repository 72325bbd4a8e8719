"""HuggingGPT task lists: `[{"task": "image-to-text", "id": 0, "dep": [-1], "args": {"image": "a.jpg"}}, ...]`.

`<GENERATED>-0` (also `<resource>-0`) stands for the result of task 0, alone or inside a text. A `dep` that no argument
uses becomes `@after`; -1 means none. File names such as `a.jpg` become inputs of the plan, since a plan passes values
and not paths. The record types of the tools are not known here, so a reference always names the whole result.
"""

import re
from typing import Any

from catp.planlang.importers.building import Builder, input_type, read_json, with_references
from catp.planlang.nodes import Attempt, Plan, Ref, StepName, Value
from catp.planlang.registry_view import RegistryView

__all__ = ["from_hugginggpt"]

_GENERATED = re.compile(r"<(?:GENERATED|resource)>-(\d{1,6})")


def from_hugginggpt(data: object, *, registry: RegistryView | None = None) -> Plan:
    """Return the plan for a task list (JSON text or parsed). Raises `PlanError` naming the task at fault."""
    builder = Builder(registry)
    given = read_json(data)
    tasks = given.get("tasks") if isinstance(given, dict) else given
    if not isinstance(tasks, list):
        builder.problem("E009", f"a list of tasks expected, not {type(tasks).__name__}", "")
        return builder.finish()
    names = _names(builder, tasks)
    for index, task in enumerate(tasks):
        if isinstance(task, dict):
            _add(builder, task, index, names)
    return builder.finish()


def _names(builder: Builder, tasks: list[Any]) -> dict[int, StepName]:
    names: dict[int, StepName] = {}
    for index, task in enumerate(tasks):
        if not isinstance(task, dict):
            builder.problem("E009", f"a task is an object, not {type(task).__name__}", f"/{index}")
            continue
        key = task.get("id", index)
        if not isinstance(key, int) or isinstance(key, bool):
            builder.problem("E009", f"a task's id is a number, not {key!r}", f"/{index}/id")
        elif key in names:
            builder.problem("E103", f"two tasks have id {key}", f"/{index}/id")
        else:
            names[key] = builder.name(str(task.get("task", "task")))
    return names


def _add(builder: Builder, task: dict[str, Any], index: int, names: dict[int, StepName]) -> None:
    path = f"/{index}"
    own = task.get("id", index)

    def refer(key: int, place: str) -> Ref | None:
        if key == own or key not in names:
            builder.problem(
                "E102",
                f"task {own} uses task {key}, which does not exist" if key != own else f"task {own} uses itself",
                place,
                "a reference is the id of another task in the list",
            )
            return None
        return Ref(names[key])

    def text(given: str, place: str) -> Value:
        value = with_references(given, _GENERATED, lambda match: refer(int(match[1]), place))
        if not isinstance(value, str):
            return value
        file_type = input_type(value)
        return builder.input(value, value.rsplit("/", 1)[-1], file_type) if file_type else builder.literal(value, place)

    tool = builder.tool(task.get("task"), f"{path}/task")
    args = builder.args(task.get("args", {}), f"{path}/args", text)
    deps = task.get("dep", [])
    if not isinstance(deps, list) or not all(isinstance(dep, int) for dep in deps):
        builder.problem("E009", f"`dep` is a list of task ids, not {deps!r}", f"{path}/dep")
        deps = []
    found = [refer(dep, f"{path}/dep") for dep in deps if dep != -1]
    if isinstance(own, int) and own in names:
        builder.add(names[own], Attempt(tool, args), [ref.root for ref in found if ref is not None])
