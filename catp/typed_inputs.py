"""Do the values given for a run fit the inputs its plan declares?"""

from collections.abc import Mapping
from typing import Any

from catp.inputs import InputError
from catp.planlang.compiled import CompiledPlan
from catp.planlang.errors import nearest
from catp.planlang.types import Type, TypeTable
from catp.tools.builtin.facts import type_of

__all__ = ["check_inputs"]


def check_inputs(compiled: CompiledPlan, inputs: Mapping[str, Any]) -> None:
    """Raise `InputError` unless every input the plan declares is given with a fitting type, and no other."""
    declared = {item.name: item for item in compiled.plan.inputs}
    for name in inputs:
        if name not in declared:
            hint = nearest(name, declared) or f"it takes {', '.join(declared) or 'no inputs'}"
            raise InputError(f"the plan has no input {name!r}; {hint}")
    for name, item in declared.items():
        if name not in inputs:
            if item.default is None and not item.type.optional:
                raise InputError(f"input {name!r} ({item.type}) is missing")
            continue
        given = type_of(inputs[name])
        if not _fits(item.type, given, compiled.registry.types):
            raise InputError(f"input {name!r} must be {item.type}, got {given}")


def _fits(wanted: Type, given: Type, types: TypeTable) -> bool:
    """Like `TypeTable.accepts`, but an empty list fits any list and a value of unknown type is left to the tools."""
    if given.name == "any" or (given.name == "list" and given.item is not None and given.item.name == "any"):
        return given.name == "any" or wanted.name in ("list", "json", "any")
    return types.accepts(wanted, given)
