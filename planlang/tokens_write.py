"""Writing behind `tokens.encode`: every part of a plan as tokens in readable spelling."""

import json
from collections.abc import Iterator

from catp.planlang.nodes import Attempt, Duration, ListValue, Literal, Output, Plan, Ref, Step, Template, Usd, Value
from catp.planlang.registry_view import RegistryView
from catp.planlang.token_reader import refuse

__all__ = ["Encoder"]


class Encoder:
    """Spells one plan; holds where each name points."""

    def __init__(self, plan: Plan, registry: RegistryView | None) -> None:
        self.plan = plan
        self.registry = registry
        self.roots: dict[str, str] = {}
        named = [(i.name, f"<i{k}>") for k, i in enumerate(plan.inputs)]
        named += [(s.name, f"<n{k}>") for k, s in enumerate(plan.steps)]
        for name, token in named:
            if self.roots.setdefault(name, token) != token:
                refuse(name, f"`{name}` is defined twice, so tokens cannot refer to it", "rename one of the two")

    def head(self) -> Iterator[str]:
        """What belongs to the request."""
        yield "<head>"
        if self.plan.name is not None:
            yield from ("<name>", self.plan.name)
        if self.plan.doc is not None:
            yield from ("<doc>", json.dumps(self.plan.doc))
        if self.plan.approve:
            yield "<@approve>"
        for declared in self.plan.inputs:
            yield from ("<in>", declared.name, str(declared.type))
            if declared.default is not None:
                yield from self._value(declared.default)
        limits = self.plan.limits
        if limits.cost is not None:
            yield from ("<cost>", str(limits.cost.nano))
        if limits.latency is not None:
            yield from ("<latency>", str(limits.latency.ns))
        if limits.calls is not None:
            yield from ("<calls>", str(limits.calls))
        yield "</head>"

    def step(self, step: Step) -> Iterator[str]:
        """One step, without its name."""
        for position, attempt in enumerate(step.attempts):
            if position:
                yield "<alt>"
            yield from self._attempt(step, attempt)
        for test in step.when:
            yield from ("<when>", *self._ref(test.ref), f"<{test.op}>", *_literal(test.value))
        if step.otherwise is not None:
            yield from ("<else>", *self._ref(step.otherwise))
        for note in step.notes:
            yield f"<@{note.name}>"
            for given in note.args:
                yield from (() if given.key is None else (f"<a:{given.key}>",))
                yield from self._value(given.value)
        yield "<end>"

    def _attempt(self, step: Step, attempt: Attempt) -> Iterator[str]:
        if self.registry is not None and self.registry.get(attempt.tool) is None:
            refuse(step.name, f"the registry has no tool `{attempt.tool}`, so it has no token", "check the plan first")
        yield f"<t:{attempt.tool}>"
        for arg in attempt.args:
            yield from (() if arg.name is None else (f"<a:{arg.name}>",))
            yield from (("<each>",) if arg.each else ())
            yield from self._value(arg.value)
        for guard in attempt.accept:
            fields = (f"<.{name}>" for name in guard.path)
            yield from ("<if>", *fields, f"<{guard.op}>", *_literal(guard.value))

    def output(self, output: Output) -> Iterator[str]:
        """One output with its name."""
        yield from ("<out?>" if output.optional else "<out>", *self._ref(output.ref), "<as>", output.name)

    def _value(self, value: Value) -> Iterator[str]:
        if isinstance(value, Literal):
            yield from _literal(value)
        elif isinstance(value, Ref):
            yield from self._ref(value)
        elif isinstance(value, Template):
            yield "<tmpl>"
            for part in value.parts:
                yield from self._ref(part) if isinstance(part, Ref) else (json.dumps(part),)
            yield "</tmpl>"
        elif isinstance(value, ListValue):
            yield "<list>"
            for item in value.items:
                yield from self._value(item)
            yield "</list>"
        else:
            yield "<obj>"
            for key, item in value.pairs:
                yield json.dumps(key)
                yield from self._value(item)
            yield "</obj>"

    def _ref(self, ref: Ref) -> Iterator[str]:
        root = self.roots.get(ref.root)
        if root is None:
            refuse(str(ref), f"`{ref.root}` is neither an input nor a step, so it has no token", "check the plan first")
        yield root
        for part in ref.path:
            yield f"<[{part}]>" if isinstance(part, int) else f"<.{part}>"
        if ref.optional:
            yield "<?>"


def _literal(literal: Literal) -> tuple[str, str, str]:
    value = literal.value
    if isinstance(value, Usd):
        return "<lit:money>", str(value.nano), "</lit>"
    if isinstance(value, Duration):
        return "<lit:duration>", str(value.ns), "</lit>"
    return "<lit:json>", json.dumps(value), "</lit>"
