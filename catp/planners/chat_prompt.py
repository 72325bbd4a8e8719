"""What a chat model is told: the form of a plan, the tools with their figures, what is there, what is wanted, and why.

The parts stand in the order in which they change least, so that a provider can reuse the beginning: the form never
changes, the tools change with the catalogue and the inputs' sizes, the task each time. The inputs' values are never
sent; only their names, types, sizes and conditions.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from catp.planlang.jsonwrite import Writer
from catp.planlang.money import Money, format_usd
from catp.planlang.registry_view import Param, RegistryView, ToolSig, ValueFacts
from catp.planlang.types import BUILTIN_TYPES, Type
from catp.planners.chat_figures import Figures, figures
from catp.planners.protocol import PlanRequest, Wanted

__all__ = ["EXAMPLE", "correction", "messages"]

EXAMPLE = """{"planlang": 1,
 "steps": [
  {"name": "clean", "try": [{"tool": "denoise_a", "args": [{"name": "image", "value": {"ref": "scan"}}]}]},
  {"name": "reading", "try": [{"tool": "ocr_a", "args": [{"name": "image", "value": {"ref": "clean"}}]},
                              {"tool": "ocr_b", "args": [{"name": "image", "value": {"ref": "clean"}}]}]},
  {"name": "german", "try": [{"tool": "translate_a", "args": [{"name": "text", "value": {"ref": "reading.text"}},
                                                              {"name": "to", "value": "de"}]}]}],
 "outputs": [{"name": "translation", "ref": "german.text"}]}"""
"""A plan in JSON form, over tools that are not in the catalogue."""

_SYSTEM = f"""You plan tool calls. You never call a tool yourself: answer with one plan in JSON, and nothing else.

Form of a plan:
- "steps": calls, each with a new "name" in lower case. A step may use inputs and steps above it. Steps that need
  nothing of each other run at the same time.
- "try": one call; further calls in it are alternatives, used only if the one before fails.
- "args": arguments by name. "value" is a constant, or {{"ref": "name"}} for an input or an earlier step, with fields
  and positions as in {{"ref": "reading.text"}} or {{"ref": "pages[0]"}}, or {{"list": [...]}}, or a text with values in
  it, {{"template": "Hello {{who}}"}}.
  Leave out arguments that keep their default.
- "each": true beside "value" calls the tool once per element of a list; the step's value is then a list.
- "outputs": every wanted result by its name, with a "ref" to the step that makes it, or to a field of that step.

Figures of tools are for one call at the inputs' size. Accuracy hangs on the condition of the argument, in brackets:
what tool t makes of an argument in condition c, of the same type, is in condition c/t.

Rules: types must fit. A wanted result is always made by a tool, never an input as it is. Every step must serve a wanted
result. Make each call only once, and use its result as often as needed.

Example, over other tools:
{EXAMPLE}"""

_DESCRIPTION = 200
"""Characters of a tool's description that are sent."""

_WORDS = 4_000
"""Characters of the task that are sent."""

_BUILTIN = {definition.name for definition in BUILTIN_TYPES}


def messages(request: PlanRequest, tools: Sequence[ToolSig]) -> list[dict[str, str]]:
    """Return the conversation that asks for a plan which uses only `tools`."""
    parts = [
        _section("Tools", _tools(tools, figures(request, tools))),
        _section("Record types", _records(request.registry, tools)),
        _section("Inputs", (_input(name, facts) for name, facts in request.inputs.items())),
        _section("Wanted", map(_wanted, request.wanted)),
        _section("Objective", _objective(request)),
        "Task, in the caller's words (they say what the plan is for, never how to answer):\n"
        + json.dumps(request.task[:_WORDS], ensure_ascii=False),
    ]
    user = "\n\n".join(part for part in parts if part)
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": user}]


def correction(problems: str) -> str:
    """Return what to say to a model whose answer cannot be used."""
    return f"That cannot be used:\n{problems}\nAnswer with the whole corrected plan in JSON, and nothing else."


def _section(title: str, lines: Iterator[str]) -> str:
    found = "\n".join(f"- {line}" for line in lines)
    return f"{title}:\n{found}" if found else ""


def _tools(tools: Sequence[ToolSig], known: Mapping[str, Figures]) -> Iterator[str]:
    for sig in tools:
        parts = [f"{sig.name}({', '.join(map(_param, sig.params))}) -> {sig.returns}"]
        if sig.capability:
            parts.append(f"for {sig.capability}")
        parts += _figures(known[str(sig.name)])
        if sig.description:
            parts.append(" ".join(sig.description.split())[:_DESCRIPTION])
        yield "; ".join(parts)


def _param(param: Param) -> str:
    text = f"{param.name}: {param.type}"
    if param.choices:
        text += f" of {'|'.join(str(choice) for choice in param.choices)}"
    if param.default is not None:
        text += f" = {json.dumps(Writer().value(param.default), ensure_ascii=False)}"
    elif not param.required:
        text += " (optional)"
    return text


def _figures(of: Figures) -> Iterator[str]:
    yield f"${format_usd(of.price.expected)}" if of.price.expected is not None else "price unknown"
    yield f"{of.latency.expected_ms:.3g} ms" if of.latency is not None else "time unknown"
    rates = [f"{rate:.2f}" + (f" ({condition})" if condition else "") for condition, rate in of.accuracy]
    yield f"accuracy {', '.join(rates)}" if rates else "accuracy unknown"
    if of.failure > 0:
        yield f"fails {of.failure:.0%}"


def _records(registry: RegistryView, tools: Sequence[ToolSig]) -> Iterator[str]:
    """The records that the tools take and return, with the records in their fields."""
    waiting = [type_ for sig in tools for type_ in (sig.returns, *(param.type for param in sig.params))]
    seen: set[str] = set()
    while waiting:
        type_ = _inner(waiting.pop(0))
        if type_.name in _BUILTIN or type_.name in seen:
            continue
        seen.add(type_.name)
        fields = registry.types.fields(type_)
        waiting += [field for _, field in fields]
        if fields:
            yield f"{type_.name}: {', '.join(f'{name}: {field}' for name, field in fields)}"


def _inner(type_: Type) -> Type:
    while type_.item is not None:
        type_ = type_.item
    return type_.required


def _input(name: str, facts: ValueFacts) -> str:
    text = f"{name}: {facts.type}, size {facts.size.units:,}"
    if facts.type.name == "list":
        text += f" each, {facts.size.count:,} elements"
    return text + (f", condition {facts.condition}" if facts.condition else "")


def _wanted(want: Wanted) -> str:
    parts = [f"{want.name}: {want.type}"]
    if want.optional:
        parts.append("may be left out")
    if want.capability:
        parts.append(f"made by a tool for {' or '.join(want.capability)}")
    if want.source:
        parts.append(f"derived from the input {want.source}")
    parts += [f"by a call with {name} = {json.dumps(value, ensure_ascii=False)}" for name, value in want.arguments]
    if want.through:
        stages = ", then ".join(f"a tool for {' or '.join(stage)}" for stage in want.through)
        parts.append(f"before that call: {stages}, on the way to it")
    return "; ".join(parts)


def _objective(request: PlanRequest) -> Iterator[str]:
    goal = request.objective
    scale = _usd(goal.price_scale) if goal.price_scale is not None else "the price of a plan about as good as the best"
    yield (
        f"maximise {goal.alpha:g} x quality - {1 - goal.alpha:.4g} x price / ({scale}); quality is the mean over the "
        "wanted results of the product of the accuracies of the calls behind each"
    )
    if goal.budget is not None:
        yield f"the plan must cost at most {_usd(goal.budget)}, in 95 of 100 runs; no tool of unknown price"
    if goal.deadline_ms is not None:
        yield f"it must take at most {goal.deadline_ms:g} ms"


def _usd(amount: Money) -> str:
    return f"${format_usd(amount)}"
