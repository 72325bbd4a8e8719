"""Parallel tool calls of a chat model: OpenAI (chat completions and responses) and Anthropic messages.

    {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function",
                                          "function": {"name": "search", "arguments": "{\\"q\\": \\"x\\"}"}}]}
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "search", "input": {"q": "x"}}]}

Calls of one turn know nothing of each other, so they become independent steps, and every result is an output. Of a
whole conversation only the last turn with calls is taken: the earlier ones have been answered.
"""

from typing import Any

from catp.planlang.errors import PlanError
from catp.planlang.importers.building import Builder, decode_json, read_json
from catp.planlang.nodes import Arg, Attempt, Plan
from catp.planlang.registry_view import RegistryView

__all__ = ["from_toolcalls"]


def from_toolcalls(data: object, *, registry: RegistryView | None = None) -> Plan:
    """Return the plan for a message, a response, a list of calls or a conversation (JSON text or parsed).

    Raises `PlanError` naming the call and argument at fault.
    """
    builder = Builder(registry)
    for call, path in _calls(read_json(data), ""):
        _add(builder, call, path)
    return builder.finish()


def _calls(data: Any, path: str) -> list[tuple[Any, str]]:
    """Return the calls below `data` with their JSON pointers."""
    if isinstance(data, list):
        if any(isinstance(item, dict) and "role" in item for item in data):
            turns = (_calls(item, f"{path}/{index}") for index, item in reversed(list(enumerate(data))))
            return next((found for found in turns if found), [])
        return [call for index, item in enumerate(data) for call in _calls(item, f"{path}/{index}")]
    if not isinstance(data, dict):
        return []
    if data.get("type") in ("tool_use", "function_call") or "function" in data or "custom" in data:
        return [(data, path)]
    calls = data.get("tool_calls")
    if isinstance(calls, list):
        return [(call, f"{path}/tool_calls/{index}") for index, call in enumerate(calls)]
    if data.get("function_call"):
        return [({"function": data["function_call"]}, f"{path}/function_call")]
    choices = data.get("choices")
    if isinstance(choices, list) and choices:  # several choices are rival answers: the first one counts
        return _calls(choices[0], f"{path}/choices/0")
    nested = (_calls(data.get(key), f"{path}/{key}") for key in ("message", "output", "content", "messages"))
    return next((found for found in nested if found), [])


def _add(builder: Builder, call: Any, path: str) -> None:
    if not isinstance(call, dict):
        builder.problem("E009", f"a tool call is an object, not {type(call).__name__}", path)
        return
    inner = call.get("function") or call.get("custom") or call
    if not isinstance(inner, dict):
        builder.problem("E009", "a tool call holds `name` and its arguments in an object", path)
        return
    tool = builder.tool(inner.get("name"), f"{path}/name")
    args: tuple[Arg, ...]
    if "custom" in call:  # a custom tool takes one free text
        args = (Arg(builder.value(inner.get("input", ""), f"{path}/input", builder.literal)),)
    else:
        key = "input" if call.get("type") == "tool_use" else "arguments"
        args = builder.args(_arguments(builder, inner.get(key), f"{path}/{key}"), f"{path}/{key}", builder.literal)
    builder.add(builder.name(tool), Attempt(tool, args))


def _arguments(builder: Builder, given: Any, path: str) -> Any:
    """Return the arguments as an object; OpenAI sends them as JSON inside a text, and an empty text for none."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return {}
    if not isinstance(given, str):
        return given
    try:
        return decode_json(given, path)
    except PlanError as error:
        builder.note(*error.diagnostics)
        return {}
