"""Signatures for tools that are no Python function: parameters and results are declared with annotations instead."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from catp.planlang.registry_view import Effect, Param, ToolSig
from catp.planlang.types import TypeDef
from catp.tools.annotations import resolve, to_value
from catp.tools.decorator import full_name
from catp.tools.errors import ToolDefinitionError
from catp.tools.lifetime import Lifetime, lifetime

__all__ = ["declare", "fill", "fill_secrets", "missing_secrets", "placeholders", "told_lifetime"]

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET = re.compile(r"\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


def declare(
    name: str, params: Mapping[str, Any], returns: Any, *, defaults: Mapping[str, Any], effects: Effect,
    description: str, capability: str,
) -> tuple[ToolSig, tuple[TypeDef, ...]]:  # fmt: skip
    """Return the signature of a declared tool and the record types it uses.

    A parameter is optional if it has a default or its annotation allows None. Raises `ToolDefinitionError`.
    """
    types: list[TypeDef] = []
    made: list[Param] = []
    try:
        full = full_name(name)
        unknown = set(defaults) - set(params)
        if unknown:
            raise ValueError(f"defaults names {min(unknown)!r}, which is no parameter")
        for key, annotation in params.items():
            found = resolve(annotation)
            types += [d for d in found.defs if d not in types]
            required = key not in defaults and not found.type.optional
            default = to_value(defaults.get(key)) if not required else None
            made.append(Param(key, found.type, required, default, found.choices, found.description))
        result = resolve(returns)
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(f"tool {name!r}: {error}") from None
    types += [d for d in result.defs if d not in types]
    return ToolSig(full, tuple(made), result.type, effects, description, capability), tuple(types)


def told_lifetime(name: str, cache: Lifetime) -> float | None:
    """Return what `cache=` says in seconds; raise `ToolDefinitionError` if it is no time."""
    try:
        return lifetime(cache)
    except (TypeError, ValueError) as error:
        raise ToolDefinitionError(f"tool {name!r}: {error}") from None


def placeholders(template: str) -> tuple[str, ...]:
    """Return the names in `{braces}` of a template, in order."""
    return tuple(_PLACEHOLDER.findall(template))


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `{name}` once; braces inside the values stay as they are."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], ""), template)


def fill_secrets(text: str) -> str:
    """Replace `{env:NAME}` by the environment variable at the time of the call, so that no object holds the secret."""
    return _SECRET.sub(lambda match: os.environ.get(match[1], ""), text)


def missing_secrets(texts: Mapping[str, str]) -> Callable[[], str | None]:
    """Return an `unavailable` check: which environment variable a set of templates needs and lacks."""
    names = [name for text in texts.values() for name in _SECRET.findall(text)]

    def unavailable() -> str | None:
        missing = next((name for name in names if not os.environ.get(name)), None)
        return f"needs the environment variable {missing}" if missing else None

    return unavailable
