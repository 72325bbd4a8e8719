"""The JSON Schema that one request's plan must fit: the request's own tools, parameters, inputs and outputs.

It stays within what the structured outputs of providers and local servers have in common: closed objects whose members
are all required, `enum`, `anyOf`, no recursion and no patterns. What it cannot say (an earlier step's name, a parameter
of this very tool) the checker says afterwards. Every plan that fits it has the form of `planlang/schema.json`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from catp.planlang.jsonwrite import VERSION
from catp.planlang.registry_view import ToolSig
from catp.planners.protocol import PlanRequest

__all__ = ["plan_schema"]

_REF = "an input or an earlier step, then fields and positions: reading.text, pages[0]"


def plan_schema(request: PlanRequest, tools: Sequence[ToolSig]) -> dict[str, Any]:
    """Return the schema of plans for `request` that use only `tools` (at least one)."""
    params = list(dict.fromkeys(param.name for sig in tools for param in sig.params))
    scalars = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]
    ref = _closed({"ref": {"type": "string", "description": f"{_REF}; inputs: {', '.join(request.inputs) or 'none'}"}})
    template = _closed({"template": {"type": "string", "description": "text with earlier values: Hello {who.name}"}})
    items = _closed({"list": {"type": "array", "items": {"anyOf": [ref, *scalars]}}})
    arg = _closed({
        "name": {"type": "string", "enum": params} if params else {"type": "string"},
        "each": {"type": "boolean", "description": "true: call once per element of the list that is given"},
        "value": {"anyOf": [ref, template, items, *scalars]},
    })  # fmt: skip
    call = _closed({
        "tool": {"type": "string", "enum": [str(sig.name) for sig in tools]},
        "args": {"type": "array", "items": arg},
    })  # fmt: skip
    step = _closed({
        "name": {"type": "string", "description": "a new name in lower case, for later steps to refer to"},
        "try": {"type": "array", "items": call, "description": "one call; more are tried if those before it fail"},
    })  # fmt: skip
    names = [want.name for want in request.wanted]
    output = _closed({
        "name": {"type": "string", "enum": names},
        "ref": {"type": "string", "description": _REF},
    })  # fmt: skip
    return _closed({
        "planlang": {"type": "integer", "enum": [VERSION]},
        "steps": {"type": "array", "items": step},
        "outputs": {"type": "array", "items": output},
    })  # fmt: skip


def _closed(members: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(members), "properties": dict(members)}
