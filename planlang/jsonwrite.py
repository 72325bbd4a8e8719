"""A `Plan` to JSON values; the other direction of `jsonread`. `jsonform` describes the form."""

from typing import Any, Final

from catp.planlang.money import format_usd
from catp.planlang.nodes import (
    Attempt,
    Duration,
    Input,
    Limits,
    ListValue,
    Literal,
    Note,
    ObjectValue,
    Output,
    Plan,
    Ref,
    Scalar,
    Step,
    Template,
    Usd,
    Value,
)
from catp.planlang.scalars import format_duration, format_template

__all__ = ["VERSION", "Writer"]

VERSION: Final = 1
"""The version of the form."""


class Writer:
    """Writes one plan, one method per kind of node. The digest overrides how names are written."""

    def plan(self, plan: Plan) -> dict[str, Any]:
        """Return the whole document; absent parts are left out."""
        form: dict[str, Any] = {"planlang": VERSION}
        if plan.name is not None:
            form["name"] = plan.name
        if plan.doc is not None:
            form["doc"] = plan.doc
        if plan.approve:
            form["approve"] = True
        if plan.inputs:
            form["inputs"] = [self.input(item) for item in plan.inputs]
        if limits := _limits(plan.limits):
            form["limits"] = limits
        form["steps"] = [self.step(step) for step in plan.steps]
        form["outputs"] = [self.output(output) for output in plan.outputs]
        return form

    def input(self, item: Input) -> dict[str, Any]:
        """Return one declared input."""
        form: dict[str, Any] = {"name": item.name, "type": str(item.type)}
        if item.default is not None:
            form["default"] = self.value(item.default)
        return form

    def step(self, step: Step) -> dict[str, Any]:
        """Return one step."""
        form: dict[str, Any] = {"name": step.name, "try": [self.attempt(attempt) for attempt in step.attempts]}
        if step.when:
            form["when"] = [[self.ref(test.ref), test.op, _scalar(test.value.value)] for test in step.when]
        if step.otherwise is not None:
            form["else"] = self.ref(step.otherwise)
        if step.notes:
            form["notes"] = [self.note(note) for note in step.notes]
        return form

    def attempt(self, attempt: Attempt) -> dict[str, Any]:
        """Return one call with its accept guards."""
        args = []
        for arg in attempt.args:
            form: dict[str, Any] = {} if arg.name is None else {"name": arg.name}
            if arg.each:
                form["each"] = True
            form["value"] = self.value(arg.value)
            args.append(form)
        call: dict[str, Any] = {"tool": attempt.tool, "args": args}
        if attempt.accept:
            call["accept"] = [[".".join(test.path), test.op, _scalar(test.value.value)] for test in attempt.accept]
        return call

    def note(self, note: Note) -> list[Any]:
        """Return one annotation."""
        return [note.name, [[arg.key, self.value(arg.value)] for arg in note.args]]

    def output(self, output: Output) -> dict[str, Any]:
        """Return one output."""
        form: dict[str, Any] = {"name": output.name, "ref": self.ref(output.ref)}
        if output.optional:
            form["optional"] = True
        return form

    def value(self, value: Value) -> Any:
        """Return one value; scalars stand for themselves."""
        match value:
            case Literal():
                return _scalar(value.value)
            case Ref():
                return {"ref": self.ref(value)}
            case Template():
                return {"template": format_template(value, quoted=False, spell=self.ref)}
            case ListValue():
                return {"list": [self.value(item) for item in value.items]}
            case ObjectValue():
                return {"object": {key: self.value(item) for key, item in value.pairs}}

    def ref(self, ref: Ref) -> str:
        """Return the spelling of one reference."""
        return str(ref)


def _limits(limits: Limits) -> dict[str, Any]:
    form: dict[str, Any] = {}
    if limits.cost is not None:
        form["cost"] = format_usd(limits.cost.nano)
    if limits.latency is not None:
        form["latency"] = format_duration(limits.latency)
    if limits.calls is not None:
        form["calls"] = limits.calls
    return form


def _scalar(value: Scalar) -> Any:
    if isinstance(value, Usd):
        return {"money": format_usd(value.nano)}
    if isinstance(value, Duration):
        return {"duration": format_duration(value)}
    return value + 0.0 if isinstance(value, float) else value  # one zero
