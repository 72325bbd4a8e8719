"""The strict reader behind `jsonform.from_json`: every misfit is reported with a JSON pointer, then reading goes on."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from catp.planlang.errors import Diagnostic, nearest
from catp.planlang.nodes import (
    OPERATORS,
    Arg,
    Attempt,
    Input,
    Limits,
    ListValue,
    Literal,
    Note,
    NoteArg,
    ObjectValue,
    Operator,
    Output,
    OwnTest,
    Plan,
    Ref,
    Step,
    StepName,
    Test,
    ToolName,
    Value,
)
from catp.planlang.scalars import (
    KEYWORDS,
    MAX_DIGITS,
    TextError,
    is_name,
    is_word,
    read_duration,
    read_money,
    read_path,
    read_template_body,
)
from catp.planlang.statements import MAX_DEPTH
from catp.planlang.types import Type

__all__ = ["MAX_PROBLEMS", "NumberError", "Object", "Reader"]

MAX_PROBLEMS: Final = 50
"""How many problems are listed before reading stops."""

T = TypeVar("T")
Path = tuple[str | int, ...]

_OPERATORS: Final[dict[str, Operator]] = {op: op for op in OPERATORS}
_KINDS: Final = ("ref", "template", "list", "object", "money", "duration")
_TOO_LARGE: Final = 10**MAX_DIGITS


class Object(dict[str, Any]):
    """A JSON object that remembers which keys stood in it twice."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        listed = list(pairs)
        super().__init__(listed)
        counts = {} if len(self) == len(listed) else Counter(key for key, _ in listed)
        self.twice = [key for key, count in counts.items() if count > 1]


class NumberError:
    """Stands where JSON text had a number that no plan can hold, such as NaN or one of 5,000 digits."""

    def __init__(self, text: str) -> None:
        self.text = text


class _Stop(Exception):
    """Raised when enough problems were found."""


class Reader:
    """Reads one JSON form; what is wrong with it is in `problems`."""

    def __init__(self) -> None:
        self.problems: list[Diagnostic] = []

    def plan(self, form: object, version: int) -> Plan | None:
        """Return the plan, or None if the form is so wrong that there is none."""
        try:
            return self._plan(form, version)
        except _Stop:
            return None

    # shapes

    def _bad(self, path: Path, message: str, help_: str | None = None, code: str = "E009") -> None:
        pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
        self.problems.append(Diagnostic(code, message, None, help_, path=pointer.encode("utf-8", "replace").decode()))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _fields(self, form: object, path: Path, required: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, Any]:
        """Return the members of an object; unknown, missing and repeated ones are reported, null ones left out."""
        if not isinstance(form, dict):
            self._bad(path, f"expected an object, found {_describe(form)}")
            return {}
        known = (*required, *optional)
        for key in form:
            if key not in known:
                shown = key[:40] if isinstance(key, str) else repr(key)[:40]
                hint = nearest(shown, known) or f"the members are {', '.join(known)}"
                self._bad(path, f"unknown member {shown!r}", hint)
        self._repeated(form, path)
        for key in required:
            if key not in form:
                self._bad(path, f"member {key!r} is missing")
        return {k: v for k, v in form.items() if k in known and (v is not None or k in ("default", "value", *required))}

    def _repeated(self, form: dict[Any, Any], path: Path) -> None:
        for key in form.twice if isinstance(form, Object) else ():
            self._bad((*path, key), f"member {key[:40]!r} stands twice", "keep one of them")

    def _each(self, form: object, path: Path, read: Callable[[Any, Path], T | None]) -> tuple[T, ...]:
        """Read a list; elements that are wrong are reported and left out."""
        if not isinstance(form, list):
            self._bad(path, f"expected a list, found {_describe(form)}")
            return ()
        found = (read(item, (*path, position)) for position, item in enumerate(form))
        return tuple(item for item in found if item is not None)

    def _row(self, form: object, path: Path, columns: str, count: int) -> list[Any] | None:
        if isinstance(form, list) and len(form) == count:
            return form
        self._bad(path, f"expected {columns}, found {_describe(form)}")
        return None

    def _text(self, form: object, path: Path, what: str, valid: Callable[[str], bool] | None = None) -> str:
        """Return a text; without `valid` any text that UTF-8 can hold."""
        if type(form) is not str:
            self._bad(path, f"expected {what}, found {_describe(form)}")
            return ""
        if valid is None:
            if _has_surrogate(form):
                self._bad(path, "text with a lone surrogate", "write both halves of the pair")
                return ""
        elif not valid(form):
            self._bad(path, f"{form[:40]!r} cannot be {what}")
            return ""
        return form

    def _flag(self, form: object, path: Path) -> bool:
        if type(form) is not bool:
            self._bad(path, f"expected true or false, found {_describe(form)}")
        return form is True

    def _spelled(self, form: object, path: Path, what: str, read: Callable[[str], T]) -> T | None:
        """Read a constant that JSON holds as text."""
        if type(form) is not str:
            self._bad(path, f"expected {what}, found {_describe(form)}")
            return None
        try:
            return read(form)
        except TextError as error:
            self._bad(path, error.message, error.help)
            return None

    # the plan

    def _plan(self, form: object, version: int) -> Plan:
        parts = self._fields(form, (), ("planlang", "steps", "outputs"), ("name", "doc", "approve", "inputs", "limits"))
        if "planlang" in parts and (type(parts["planlang"]) is not int or parts["planlang"] != version):
            self._bad(("planlang",), f"expected {version}, found {_describe(parts['planlang'])}")
        name = self._text(parts["name"], ("name",), "the name of a plan", is_name) if "name" in parts else None
        doc = self._text(parts["doc"], ("doc",), "text") if "doc" in parts else None
        if doc is not None and name is None:
            self._bad(("doc",), "a doc text needs a plan name", "add `name`")
        return Plan(
            inputs=self._each(parts.get("inputs", []), ("inputs",), self._input),
            limits=self._limits(parts["limits"]) if "limits" in parts else Limits(),
            steps=self._each(parts.get("steps", []), ("steps",), self._step),
            outputs=self._each(parts.get("outputs", []), ("outputs",), self._output),
            name=name,
            doc=doc,
            approve=self._flag(parts["approve"], ("approve",)) if "approve" in parts else False,
        )

    def _input(self, form: object, path: Path) -> Input:
        parts = self._fields(form, path, ("name", "type"), ("default",))
        name = self._text(parts.get("name", "_"), (*path, "name"), "the name of an input", is_name)
        type_ = self._spelled(parts.get("type", "any"), (*path, "type"), "a type", _read_type) or Type("any")
        default = self._value(parts["default"], (*path, "default"), 0, constant=True) if "default" in parts else None
        return Input(name, type_, default)

    def _limits(self, form: object) -> Limits:
        parts = self._fields(form, ("limits",), (), ("cost", "latency", "calls"))
        cost = self._spelled(parts["cost"], ("limits", "cost"), "an amount", read_money) if "cost" in parts else None
        latency = parts.get("latency")
        calls = parts.get("calls")
        if calls is not None and (type(calls) is not int or abs(calls) >= _TOO_LARGE):
            self._bad(("limits", "calls"), f"expected a whole number, found {_describe(calls)}")
            calls = None
        return Limits(
            cost,
            None if latency is None else self._spelled(latency, ("limits", "latency"), "a duration", read_duration),
            calls,
        )

    def _step(self, form: object, path: Path) -> Step:
        parts = self._fields(form, path, ("name", "try"), ("when", "else", "notes"))
        name = self._text(parts.get("name", "_"), (*path, "name"), "the name of a step", is_name)
        attempts = self._each(parts["try"], (*path, "try"), self._attempt) if "try" in parts else ()
        if parts.get("try") == []:
            self._bad((*path, "try"), "a step calls at least one tool")
        when = self._each(parts.get("when", []), (*path, "when"), self._test)
        otherwise = self._ref(parts["else"], (*path, "else"), 0) if "else" in parts else None
        if otherwise is not None and not parts.get("when"):
            self._bad((*path, "else"), "`else` without `when`", "add the condition or remove it")
        notes = self._each(parts.get("notes", []), (*path, "notes"), self._note)
        return Step(StepName(name), attempts, when, otherwise, notes)

    def _attempt(self, form: object, path: Path) -> Attempt:
        parts = self._fields(form, path, ("tool", "args"), ("accept",))
        tool = self._text(parts.get("tool", "_"), (*path, "tool"), "the name of a tool", _is_tool)
        args = self._each(parts.get("args", []), (*path, "args"), self._arg)
        return Attempt(ToolName(tool), args, self._each(parts.get("accept", []), (*path, "accept"), self._own_test))

    def _arg(self, form: object, path: Path) -> Arg | None:
        parts = self._fields(form, path, ("value",), ("name", "each"))
        name = (
            self._text(parts["name"], (*path, "name"), "the name of a parameter", is_word) if "name" in parts else None
        )
        each = self._flag(parts["each"], (*path, "each")) if "each" in parts else False
        value = self._value(parts["value"], (*path, "value"), 1) if "value" in parts else None
        return None if value is None else Arg(value, name, each)

    def _own_test(self, form: object, path: Path) -> OwnTest | None:
        row = self._row(form, path, "[field, operator, value]", 3)
        if row is None:
            return None
        field = self._text(row[0], (*path, 0), "a field such as 'a' or 'a.b'", _is_field)
        op, value = self._operator(row[1], (*path, 1)), self._constant(row[2], (*path, 2))
        return OwnTest(tuple(field.split(".")) if field else (), op, value)

    def _test(self, form: object, path: Path) -> Test | None:
        row = self._row(form, path, "[ref, operator, value]", 3)
        if row is None:
            return None
        ref = self._ref(row[0], (*path, 0), 0)
        op, value = self._operator(row[1], (*path, 1)), self._constant(row[2], (*path, 2))
        return None if ref is None else Test(ref, op, value)

    def _operator(self, form: object, path: Path) -> Operator:
        op = _OPERATORS.get(form) if type(form) is str else None
        if op is None:
            self._bad(path, f"expected one of {' '.join(OPERATORS)}, found {_describe(form)}")
        return op or "=="

    def _note(self, form: object, path: Path) -> Note | None:
        row = self._row(form, path, "[name, [[key, value], ...]]", 2)
        if row is None:
            return None
        name = self._text(row[0], (*path, 0), "the name of an annotation", _is_head)
        return Note(name, self._each(row[1], (*path, 1), self._note_arg))

    def _note_arg(self, form: object, path: Path) -> NoteArg | None:
        row = self._row(form, path, "[key or null, value]", 2)
        if row is None:
            return None
        key = None if row[0] is None else self._text(row[0], (*path, 0), "the name of a parameter", is_word)
        value = self._value(row[1], (*path, 1), 1)
        return None if value is None else NoteArg(value, key)

    def _output(self, form: object, path: Path) -> Output | None:
        parts = self._fields(form, path, ("name", "ref"), ("optional",))
        name = self._text(parts.get("name", "_"), (*path, "name"), "the name of an output", is_word)
        ref = self._ref(parts["ref"], (*path, "ref"), 0) if "ref" in parts else None
        optional = self._flag(parts["optional"], (*path, "optional")) if "optional" in parts else False
        return None if ref is None else Output(name, ref, optional)

    # values

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
            self._bad(path, f"expected one member of {', '.join(kinds)}, found {_describe(form)}")
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
            self._bad(path, f"expected an object, found {_describe(form)}")
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
            case int() if type(form) is int and abs(form) < _TOO_LARGE:
                return Literal(form)
            case float() if type(form) is float and math.isfinite(form):
                return Literal(form + 0.0)
            case list():
                self._bad(path, "a bare list is no value", 'write {"list": [...]}')
            case int() | float() | NumberError():
                self._bad(path, f"{_describe(form)} is no number a plan can hold")
            case _:
                self._bad(path, f"expected a value, found {_describe(form)}")
        return None

    def _deep(self, path: Path) -> None:
        self._bad(path[:20], f"brackets nested deeper than {MAX_DEPTH}", "give inner values a step or an input", "E006")


def _read_type(text: str) -> Type:
    if text.count("]") > MAX_DEPTH:
        raise TextError("E006", f"brackets nested deeper than {MAX_DEPTH}")
    body = text.removesuffix("?")
    optional = len(body) < len(text)
    if body.endswith("]"):
        name, bracket, inner = body[:-1].partition("[")
        if bracket and _is_head(name):
            item = _read_type(inner)
            return Type(name, item, optional)
    elif body == "null" or _is_head(body):
        return Type(body, None, optional)
    raise TextError("E009", f"{text[:40]!r} is not a type", 0, len(text), "such as text, image or list[text]")


def _is_head(text: str) -> bool:
    return is_word(text) and text not in KEYWORDS


def _is_tool(text: str) -> bool:
    head, *rest = text.split(".")
    return _is_head(head) and all(is_word(part) for part in rest)


def _is_field(text: str) -> bool:
    return text == "" or all(is_word(part) for part in text.split("."))


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _describe(form: object) -> str:
    match form:
        case None:
            return "null"
        case NumberError():
            return form.text
        case bool():
            return "true" if form else "false"
        case str():
            return f"text {form[:40]!r}"
        case int() if abs(form) >= _TOO_LARGE:
            return f"a number of more than {MAX_DIGITS:,} digits"
        case int() | float():
            return str(form)[:24]
        case list():
            return f"a list of {len(form)}"
        case dict():
            return f"an object with {', '.join(repr(key)[:20] for key in list(form)[:3]) or 'no members'}"
        case _:
            return f"a Python {type(form).__name__}"
