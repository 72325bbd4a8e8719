"""Values inside a JSON form: references, templates, constants, lists and objects, each wrapped in its kind."""

import math
from typing import Final

from catp.planlang.jsonshape import TOO_LARGE, NumberError, Path, ShapeReader, describe
from catp.planlang.nodes import ListValue, Literal, ObjectValue, Ref, Value
from catp.planlang.scalars import read_duration, read_money, read_path, read_template_body
from catp.planlang.statements import MAX_DEPTH

__all__ = ["ValueReader"]

_KINDS: Final = ("ref", "template", "list", "object", "money", "duration")


class ValueReader(ShapeReader):
    """Reads values at any depth up to `MAX_DEPTH` brackets."""

    def _ref(self, form: object, path: Path, depth: int, *, optional: bool = False) -> Ref | None:
        def read(text: str) -> Ref:
            dropped = optional and text.endswith("?")
            root, parts = read_path(text[:-1] if dropped else text)
            return Ref(root, parts, dropped)

        ref = self._spelled(form, path, "a reference", read)
        if ref is not None and depth >= MAX_DEPTH and any(isinstance(part, int) for part in ref.path):
            self._deep(path)
        return ref

    def _value(self, form: object, path: Path, depth: int, *, constant: bool = False) -> Value | None:
        """Read a value inside `depth` brackets; `constant` ones hold no references or templates."""
        if not isinstance(form, dict):
            return self._scalar(form, path)
        kind, inner = next(iter(form.items())) if len(form) == 1 else (None, None)
        if kind not in _KINDS or (constant and kind in ("ref", "template")):
            kinds = _KINDS[2:] if constant else _KINDS
            self._bad(path, f"expected one member of {', '.join(kinds)}, found {describe(form)}")
            return None
        self._repeated(form, path)
        path = (*path, kind)
        match kind:
            case "ref":
                return self._ref(inner, path, depth, optional=True)
            case "template":
                return self._spelled(inner, path, "a template", read_template_body)
            case "money":
                amount = self._spelled(inner, path, "an amount", read_money)
                return None if amount is None else Literal(amount)
            case "duration":
                duration = self._spelled(inner, path, "a duration", read_duration)
                return None if duration is None else Literal(duration)
        if depth >= MAX_DEPTH:
            self._deep(path)
            return None
        if kind == "list":
            return ListValue(self._each(inner, path, lambda f, p: self._value(f, p, depth + 1, constant=constant)))
        return self._object(inner, path, depth + 1, constant=constant)

    def _object(self, form: object, path: Path, depth: int, *, constant: bool) -> ObjectValue | None:
        if not isinstance(form, dict):
            self._bad(path, f"expected an object, found {describe(form)}")
            return None
        self._repeated(form, path)
        pairs = []
        for key, item in form.items():
            self._text(key, path, "a text as key")
            value = self._value(item, (*path, str(key)), depth, constant=constant)
            if value is not None:
                pairs.append((str(key), value))
        return ObjectValue(tuple(pairs))

    def _constant(self, form: object, path: Path) -> Literal:
        value = self._value(form, path, 0, constant=True)
        if isinstance(value, ListValue | ObjectValue):
            self._bad(path, "conditions compare with a single constant, not a list or an object")
        return value if isinstance(value, Literal) else Literal(None)

    def _scalar(self, form: object, path: Path) -> Literal | None:
        match form:
            case None | bool():
                return Literal(form)
            case str():
                return Literal(self._text(form, path, "text"))
            case int() if type(form) is int and abs(form) < TOO_LARGE:
                return Literal(form)
            case float() if type(form) is float and math.isfinite(form):
                return Literal(form + 0.0)
            case list():
                self._bad(path, "a bare list is no value", 'write {"list": [...]}')
            case int() | float() | NumberError():
                self._bad(path, f"{describe(form)} is no number a plan can hold")
            case _:
                self._bad(path, f"expected a value, found {describe(form)}")
        return None

    def _deep(self, path: Path) -> None:
        self._bad(path[:20], f"brackets nested deeper than {MAX_DEPTH}", "give inner values a step or an input", "E006")
