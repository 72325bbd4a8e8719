"""What a tool's signature promises, checked on every call: arguments before, the result after."""

from collections.abc import Iterable, Mapping
from typing import Any

from catp.planlang.errors import nearest
from catp.planlang.registry_view import ToolSig
from catp.planlang.types import TypeDef, TypeTable
from catp.tools.annotations import ValueMismatch, check_value, convert_value
from catp.tools.errors import ToolFailed, WrongResult
from catp.tools.usage import Usage

__all__ = ["Contract"]


class Contract:
    """A signature together with the types it uses; `key` is a parameter for idempotency keys that plans do not see."""

    def __init__(self, signature: ToolSig, types: Iterable[TypeDef] = (), *, key: str | None = None) -> None:
        self.signature = signature
        self.key = key
        self.types = TypeTable()
        for definition in types:
            self.types = self.types.with_type(definition)
        self._params = {param.name: param for param in signature.params}
        self._required = frozenset(param.name for param in signature.params if param.required)

    def check_args(self, args: Mapping[str, Any]) -> None:
        """Raise `ToolFailed`, which costs nothing, if `args` are not complete keyword arguments of the right types."""
        missing = self._required - args.keys()
        if missing:
            raise self._refused(f"argument {min(missing)!r} is missing", "TypeError")
        for key, value in args.items():
            if key == self.key:
                continue
            param = self._params.get(key)
            if param is None:
                help_ = nearest(key, self._params) or f"it has {', '.join(self._params) or 'none'}"
                raise self._refused(f"there is no parameter {key!r}; {help_}", "TypeError")
            if value is None and not param.required:
                continue
            try:
                check_value(value, param.type, self.types, place=f"argument {key!r}")
            except ValueMismatch as error:
                raise self._refused(str(error), "TypeError") from None
            if param.choices and value not in param.choices:
                allowed = ", ".join(map(repr, param.choices))
                raise self._refused(f"argument {key!r} is {value!r}, expected one of {allowed}", "ValueError")

    def _refused(self, message: str, error_type: str) -> ToolFailed:
        return ToolFailed(self.signature.name, message, error_type=error_type, billing="nothing")

    def check_result(self, value: Any, usage: Usage) -> Any:
        """Return `value`, with JSON mappings made into records; raise `WrongResult` if it is not what was promised."""
        converted = convert_value(value, self.signature.returns, self.types)
        try:
            check_value(converted, self.signature.returns, self.types, place="the result")
        except ValueMismatch as error:
            raise WrongResult(self.signature.name, str(error), usage=usage) from None
        return converted
