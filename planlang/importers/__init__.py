"""Plans from other systems: every format ends in the same `Plan`, or in one `PlanError` that says what is wrong.

import_plan(data)                          detects the format
import_plan(data, "llmcompiler", registry=view)
"""

from collections.abc import Callable
from typing import Any, Final

from catp.planlang.errors import Diagnostic, PlanError, nearest
from catp.planlang.importers.building import read_json, read_text
from catp.planlang.importers.hugginggpt import from_hugginggpt
from catp.planlang.importers.llmcompiler import from_llmcompiler, looks_like_llmcompiler
from catp.planlang.importers.opencatp import from_opencatp
from catp.planlang.importers.taskbench import from_taskbench
from catp.planlang.importers.toolcalls import from_toolcalls
from catp.planlang.jsonform import from_json
from catp.planlang.nodes import Plan
from catp.planlang.parser import parse
from catp.planlang.registry_view import RegistryView
from catp.planlang.tokens import decode

__all__ = ["FORMATS", "detect", "import_plan"]

FORMATS: Final = ("text", "json", "tokens", "llmcompiler", "toolcalls", "opencatp", "taskbench", "hugginggpt")
"""The formats `import_plan` reads, the language's own three first."""


def import_plan(data: object, format: str = "auto", *, registry: RegistryView | None = None) -> Plan:
    """Return the plan in `data`: text, UTF-8 bytes, or parsed JSON.

    `registry` lets importers find tools under similar names and pass results to the parameters that take them. Tokens
    come one per line, as a JSON list, or (if no text in them has a space) on one line. Raises `PlanError` if the data
    is no plan of that format, `ValueError` for an unknown format.
    """
    if format == "auto":
        format = detect(data)
    if format in _FOREIGN:
        return _FOREIGN[format](data, registry=registry)
    if format == "text":
        return parse(_source(data, format))
    if format == "json":
        return from_json(data)  # type: ignore[arg-type]  # it checks the kind itself
    if format == "tokens":
        return decode(_tokens(data), registry)
    hint = nearest(format, FORMATS)
    raise ValueError(f"unknown plan format {format!r}{f', {hint}' if hint else ''}; one of {', '.join(FORMATS)}")


def detect(data: object) -> str:
    """Return the format `data` most likely has; plan text if nothing else fits, since its errors say most."""
    if not isinstance(data, (str, bytes)):
        return _detect_json(data)
    text = read_text(data).strip()
    if text.startswith("<plan>"):
        return "tokens"
    if text[:1] in ("[", "{"):
        try:
            return _detect_json(read_json(text))
        except PlanError:
            return "opencatp" if text.startswith(("['", '["')) else "json"
    return "llmcompiler" if looks_like_llmcompiler(text) else "text"


def _detect_json(data: Any) -> str:
    if isinstance(data, dict):
        keys = data.keys()
        if "planlang" in keys:
            return "json"
        if keys & {"task_nodes", "tool_nodes", "result"}:
            return "taskbench"
        if {"nodes", "edges"} <= keys or isinstance(data.get("plan"), dict):
            return "opencatp"
        if "tasks" in keys:
            return "hugginggpt"
        if keys & {"tool_calls", "choices", "function_call", "function", "content", "output", "messages", "message"}:
            return "toolcalls"
        return "toolcalls" if data.get("type") in ("tool_use", "function_call") else "json"
    if isinstance(data, list) and data:
        if isinstance(data[0], str):
            return "tokens" if data[0] == "<plan>" else "opencatp"
        if isinstance(data[0], dict):
            return "hugginggpt" if "task" in data[0] else "toolcalls"
    return "json"


def _tokens(data: object) -> list[str]:
    """Return the tokens of a text or a list."""
    if isinstance(data, (str, bytes)):
        text = read_text(data).strip()
        if not text.startswith("["):
            lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
            return lines if len(lines) != 1 else lines[0].split()
        data = read_json(text)
    if isinstance(data, (list, tuple)) and all(isinstance(token, str) for token in data):
        return list(data)
    raise PlanError([Diagnostic("E010", "tokens are a list of texts")])


def _source(data: object, format: str) -> str | bytes:
    if isinstance(data, (str, bytes)):
        return data
    raise PlanError([Diagnostic("E001", f"the {format} form of a plan is text, not {type(data).__name__}")])


_FOREIGN: Final[dict[str, Callable[..., Plan]]] = {
    "llmcompiler": from_llmcompiler,
    "toolcalls": from_toolcalls,
    "opencatp": from_opencatp,
    "taskbench": from_taskbench,
    "hugginggpt": from_hugginggpt,
}
