"""The strict reader behind `jsonform.from_json`: inputs, limits, steps and outputs, and the names they may have."""

from typing import Final

from catp.planlang.jsonshape import TOO_LARGE, Path, TooManyProblems, describe
from catp.planlang.jsonvalue import ValueReader
from catp.planlang.nodes import (
    OPERATORS,
    Arg,
    Attempt,
    Input,
    Limits,
    Note,
    NoteArg,
    Operator,
    Output,
    OwnTest,
    Plan,
    Step,
    StepName,
    Test,
    ToolName,
)
from catp.planlang.scalars import KEYWORDS, TextError, is_name, is_word, read_duration, read_money
from catp.planlang.statements import MAX_DEPTH
from catp.planlang.types import Type

__all__ = ["Reader"]

_OPERATORS: Final[dict[str, Operator]] = {op: op for op in OPERATORS}


class Reader(ValueReader):
    """Reads one JSON form; what is wrong with it is in `problems`."""

    def plan(self, form: object, version: int) -> Plan | None:
        """Return the plan, or None if the form is so wrong that there is none."""
        try:
            return self._plan(form, version)
        except TooManyProblems:
            return None

    def _plan(self, form: object, version: int) -> Plan:
        parts = self._fields(form, (), ("planlang", "steps", "outputs"), ("name", "doc", "approve", "inputs", "limits"))
        if "planlang" in parts and (type(parts["planlang"]) is not int or parts["planlang"] != version):
            self._bad(("planlang",), f"expected {version}, found {describe(parts['planlang'])}")
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
        if calls is not None and (type(calls) is not int or abs(calls) >= TOO_LARGE):
            self._bad(("limits", "calls"), f"expected a whole number, found {describe(calls)}")
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
            self._bad(path, f"expected one of {' '.join(OPERATORS)}, found {describe(form)}")
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
