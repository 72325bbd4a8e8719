"""Checking one call: that the tool exists, its arguments fit, and its accept guards make sense."""

from catp.planlang.check_values import Scope, Slot, listing, shown
from catp.planlang.conditions import Condition, incomparable, satisfiable
from catp.planlang.errors import Span, nearest
from catp.planlang.nodes import Arg, Attempt, ListValue, Literal, Operator, Ref, Value
from catp.planlang.registry_view import Param, ToolSig
from catp.planlang.types import Type, list_of

__all__ = ["check_attempt", "check_comparison", "check_possible"]


def check_attempt(scope: Scope, attempt: Attempt) -> Type | None:
    """Report what is wrong with a call; return its type (a list if it maps), or None if the tool is unknown."""
    sig = scope.registry.get(attempt.tool)
    if sig is None:
        names = [tool.name for tool in scope.registry]
        help_ = nearest(attempt.tool, names) or listing("the tools are", names)
        scope.report("E104", f"unknown tool `{attempt.tool}`", attempt.span, help_)
        for arg in attempt.args:
            scope.type_of(arg.value)
        return None
    _arguments(scope, attempt, sig)
    if attempt.accept:
        _accept(scope, attempt, sig)
    return list_of(sig.returns) if any(arg.each for arg in attempt.args) else sig.returns


def check_comparison(scope: Scope, given: Type, op: Operator, value: Literal, name: str, span: Span | None) -> bool:
    """Report a comparison that makes no sense (E118); `name` is the value compared, in words."""
    reason = incomparable(scope.types, given, op, value.value)
    if reason is None:
        return True
    message = f"{name} {reason}" if not reason.startswith("`") else reason
    fields = [n for n, t in scope.types.fields(given) if incomparable(scope.types, t, op, value.value) is None]
    scope.report("E118", message, span, listing("compare one of its fields", fields))
    return False


def check_possible(scope: Scope, tests: list[tuple[str, Span | None, Condition]]) -> None:
    """Report conditions on the same value that exclude each other (E123)."""
    if len(tests) < 2:
        return
    for name in dict.fromkeys(name for name, _, _ in tests):
        same = [(span, condition) for other, span, condition in tests if other == name]
        if not satisfiable([condition for _, condition in same]):
            message = f"no value of `{name}` meets all {len(same)} conditions on it"
            scope.report("E123", message, same[-1][0], "conditions joined by `and` must all hold at once")


def _arguments(scope: Scope, attempt: Attempt, sig: ToolSig) -> None:
    given: set[str] = set()
    complete, named = True, False
    for position, arg in enumerate(attempt.args):
        param: Param | None = None
        if arg.name is not None:
            named = True
            param = _named(scope, arg, arg.name, sig)
        elif named:
            scope.report("E107", "positional argument after a named one", _span(arg), "give its name as well")
        elif position < len(sig.params):
            param = sig.params[position]
        else:
            _too_many(scope, attempt, sig, arg)
            break
        complete = complete and param is not None
        if param is None:
            scope.type_of(arg.value)
            continue
        if param.name in given:
            scope.report("E107", f"`{param.name}` of `{sig.name}` is given twice", _span(arg))
        given.add(param.name)
        _argument(scope, arg, sig, param)
    missing = [p for p in sig.params if p.required and p.name not in given]
    if missing and complete:
        names = " and ".join(f"`{p.name}` ({p.type})" for p in missing)
        scope.report("E106", f"`{sig.name}` needs {names}", attempt.span, f"signature: {sig}")


def _named(scope: Scope, arg: Arg, name: str, sig: ToolSig) -> Param | None:
    param = sig.param(name)
    if param is None:
        help_ = nearest(name, [p.name for p in sig.params]) or f"signature: {sig}"
        scope.report("E105", f"`{sig.name}` has no parameter `{name}`", _span(arg), help_)
    return param


def _too_many(scope: Scope, attempt: Attempt, sig: ToolSig, arg: Arg) -> None:
    count = len(sig.params)
    takes = f"{count} argument{'s' * (count != 1)}"
    message = f"`{sig.name}` takes {takes}, but {len(attempt.args)} are given"
    scope.report("E108", message, _span(arg), f"signature: {sig}")


def _argument(scope: Scope, arg: Arg, sig: ToolSig, param: Param) -> None:
    value = arg.value
    if isinstance(value, Ref) and value.optional:
        _droppable(scope, value, arg, sig, param)
    slot = Slot(f"`{sig.name}`", f" for `{param.name}`", sig.name)
    if not arg.each:
        scope.check(value, param.type, slot)
    elif isinstance(value, ListValue):
        scope.check(value, list_of(param.type), slot)
    else:
        _elements(scope, value, param, slot)
    if param.choices:
        _choices(scope, value, sig, param)


def _elements(scope: Scope, value: Value, param: Param, slot: Slot) -> None:
    given = scope.type_of(value)
    if given is None:
        return
    if given.name != "list" or given.item is None:
        help_ = "`each` goes through the elements of a list; leave it out to pass the value itself"
        scope.report("E114", f"`each` needs a list, but {shown(value)} is {given}", value.span, help_)
    elif given.item.name != "any" and not scope.accepts(param.type, given.item):
        field = scope.field_that_fits(given.item, param.type)
        way_out = f"use `each {Ref(value.root, (*value.path, field))}`" if field and isinstance(value, Ref) else None
        scope.mismatch(slot, param.type, f"the elements of {shown(value)} are {given.item}", value.span, way_out)


def _droppable(scope: Scope, ref: Ref, arg: Arg, sig: ToolSig, param: Param) -> None:
    if arg.each:
        message = f"`each {ref}` cannot be left out: it says how often `{sig.name}` runs"
    elif param.required and not param.type.optional:
        message = f"`{sig.name}` cannot do without `{param.name}`, so `{ref}` cannot be optional"
    else:
        return
    scope.report("E121", message, ref.span, f"write `{Ref(ref.root, ref.path)}`")


def _choices(scope: Scope, value: Value, sig: ToolSig, param: Param) -> None:
    for part in value.items if isinstance(value, ListValue) else (value,):
        constant = isinstance(part, Literal) and isinstance(part.value, str | int | float)
        if constant and isinstance(part, Literal) and part.value not in param.choices:
            near = nearest(str(part.value), [str(choice) for choice in param.choices])
            help_ = near or "one of " + ", ".join(shown(Literal(choice)) for choice in param.choices)
            scope.report("E119", f"`{param.name}` of `{sig.name}` cannot be {shown(part)}", part.span, help_)


def _accept(scope: Scope, attempt: Attempt, sig: ToolSig) -> None:
    good: list[tuple[str, Span | None, Condition]] = []
    for test in attempt.accept:
        name = "".join(f".{part}" for part in test.path)
        field = test.span and Span(test.span.line, test.span.column, test.span.line, test.span.column + len(name))
        type_ = scope.walk(sig.returns, test.path, f"`{sig.name}` result", field)
        if type_ is not None and check_comparison(scope, type_, test.op, test.value, f"`{name}`", test.span):
            good.append((name, test.span, (test.op, test.value.value)))
    check_possible(scope, good)


def _span(arg: Arg) -> Span | None:
    return arg.span or arg.value.span
