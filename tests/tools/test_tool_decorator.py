"""`@tool`: what annotations become, what is refused and why, and how functions of every kind are called."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from PIL import Image

from catp.planlang import nodes
from catp.planlang.types import Type, TypeDef, TypeTable
from catp.tools import (
    ComputePrice,
    PerCall,
    Tool,
    ToolDefinitionError,
    ToolFailed,
    ToolTimeout,
    Unpriced,
    WrongResult,
    command_tool,
    http_tool,
    import_mcp,
    llm_tool,
    register_type,
    tool,
)
from catp.tools.annotations import ValueMismatch, check_value, convert_value, resolve


@dataclass(frozen=True)
class Point:
    """A place on a page."""

    x: float
    y: float


@dataclass(frozen=True)
class Label:
    text: str
    at: Point
    score: float | None = None


@dataclass(frozen=True)
class Stamp(Label):
    year: int = 0


class Kernel:
    """Not a dataclass: registered by a test."""


RESOLVED = [
    (str, "text"), (int, "int"), (float, "number"), (bool, "bool"), (dict, "json"), (dict[str, Any], "json"),
    (bytes, "file"), (Path, "file"), (bytes | Path, "file"), (Image.Image, "image"), (list[str], "list[text]"),
    (list[list[Image.Image]], "list[list[image]]"), (tuple[int, ...], "list[int]"), (str | None, "text?"),
    (list[int | None], "list[int?]"), (Any, "any"), (None, "null"), (int | float, "number"),
    (Literal["a", "b"], "text"), (Literal[1, 2], "int"), (Point, "Point"), (list[Label] | None, "list[Label]?"),
    (nodes.Usd, "money"), (nodes.Duration, "duration"), (Annotated[str, "words"], "text"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "expected"), RESOLVED, ids=str)
def test_annotations_become_plan_types(annotation: Any, expected: str) -> None:
    assert str(resolve(annotation).type) == expected


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (object, "object has no plan type.*register_type"),
        (str | int, "more than one type"),
        (list, "does not say what it holds"),
        (tuple[int, str], "fixed length"),
        (Literal["a", 1], "mixes kinds"),
        (set[str], "no plan type"),
        (Callable[[], str], "no plan type"),
    ],
    ids=str,
)
def test_annotations_without_a_plan_type_are_refused(annotation: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        resolve(annotation)


def test_records_bring_their_fields_and_what_these_use() -> None:
    found = resolve(Label)
    assert found.defs == (
        TypeDef("Point", (("x", Type("number")), ("y", Type("number"))), None, "A place on a page."),
        TypeDef("Label", (("text", Type("text")), ("at", Type("Point")), ("score", Type("number", optional=True)))),
    )


def test_a_derived_record_is_accepted_where_its_base_is_wanted() -> None:
    types = table(Stamp)
    assert types.accepts(Type("Label"), Type("Stamp"))
    assert [name for name, _ in types.fields(Type("Stamp"))] == ["text", "at", "score", "year"]
    check_value(Stamp("x", Point(1, 2), None, 3), Type("Label"), types)


def test_registered_types_are_nominal() -> None:
    with pytest.raises(TypeError, match="Kernel"):
        resolve(Kernel)
    register_type(Kernel, TypeDef("Kernel", description="a blur"))
    assert resolve(list[Kernel]).defs == (TypeDef("Kernel", description="a blur"),)
    check_value(Kernel(), Type("Kernel"), table(Kernel))
    with pytest.raises(ValueMismatch, match="expected Kernel"):
        check_value("k", Type("Kernel"), table(Kernel))
    with pytest.raises(ValueError, match="already registered"):
        register_type(Kernel, "audio")


def table(*annotations: Any) -> TypeTable:
    types = TypeTable()
    for annotation in annotations:
        for definition in resolve(annotation).defs:
            types = types.with_type(definition)
    return types


VALUES: list[tuple[Any, Any, str | None]] = [
    ("a", str, None), (1, str, "value is int 1, expected text"), (True, int, "expected int"), (1, float, None),
    (float("nan"), float, "expected number"), (None, str, "value is None, expected text"), (None, str | None, None),
    (["a", 1], list[str], r"value\[1\] is int 1"), (("a",), list[str], None), ("a", list[str], "expected list"),
    ({"a": [1, None, "x"]}, dict, None), ({"a": {1: 2}}, dict, "key 1"), ({"a": b""}, dict, "bytes"),
    ({"a": float("inf")}, dict, "the number inf"), (b"", bytes, None), (Path("x"), bytes, None), ("x", bytes, "str"),
    (Image.new("L", (1, 1)), Image.Image, None), (b"", Image.Image, "bytes, expected image"),
    (Point(1.0, 2), Point, None), ({"x": 1, "y": 2}, Point, None), ({"x": 1}, Point, "lacks the field 'y'"),
    (Point("l", 2), Point, r"value\.x is str 'l', expected number"),  # type: ignore[arg-type]  # wrong on purpose
    (Label("t", Point(1, 2)), Point, "Label, expected Point"), (3, Point, "int 3, expected Point"),
    (object(), Any, None), (Point(1, 2), dict, None),
]  # fmt: skip


@pytest.mark.parametrize(("value", "annotation", "reason"), VALUES, ids=range(len(VALUES)))
def test_values_are_checked_to_the_last_element(value: Any, annotation: Any, reason: str | None) -> None:
    found = resolve(annotation)
    if reason is None:
        check_value(value, found.type, table(annotation))
    else:
        with pytest.raises(ValueMismatch, match=reason):
            check_value(value, found.type, table(annotation))


def test_json_objects_become_records() -> None:
    data = [{"text": "a", "at": {"x": 1, "y": 2}, "score": None}]
    assert convert_value(data, resolve(list[Label]).type, table(Label)) == [Label("a", Point(1.0, 2.0))]
    assert convert_value({"nonsense": 1}, Type("Point"), table(Point)) == {"nonsense": 1}


@tool(capability="greet", accuracy=0.9, timeout=5, concurrency=2, rate=10, placement="thread", namespace="demo")
def greet(name: str, times: int = 2, tone: Literal["warm", "cold"] = "warm") -> str:
    """Say hello
    to someone.

    At length.
    """
    return f"hello {name} " * times


def test_the_spec_says_everything_the_decorator_was_told() -> None:
    spec = greet.spec
    assert str(spec.signature) == "demo.greet(name: text, times: int = ..., tone: text = ...) -> text"
    assert spec.signature.description == "Say hello to someone."
    assert spec.signature.params[1].default == nodes.Literal(2)
    assert spec.signature.params[2].choices == ("warm", "cold")
    assert (spec.capability, spec.signature.capability, spec.accuracy, spec.version) == ("greet", "greet", 0.9, "1")
    assert (spec.limits.concurrency, spec.limits.rate_per_s, spec.limits.timeout_s) == (2, 10, 5)


def test_the_function_stays_a_function() -> None:
    assert isinstance(greet, Tool)
    assert greet("Ada", times=1) == "hello Ada "
    assert (getattr(greet, "__name__", None), greet.__doc__) == (
        "greet",
        "Say hello\n    to someone.\n\n    At length.\n    ",
    )


def test_computing_tools_cost_cpu_time_and_others_are_unpriced_until_told() -> None:
    assert isinstance(tool()(module_level).spec.price, ComputePrice)
    assert isinstance(tool(placement="thread")(module_level).spec.price, Unpriced)
    assert isinstance(tool(price=PerCall(1))(module_level).spec.price, PerCall)


def module_level(text: str) -> str:
    return text


def no_annotation(text) -> str:  # type: ignore[no-untyped-def]  # the missing annotation is the point
    return str(text)


def no_return(text: str):  # type: ignore[no-untyped-def]  # the missing annotation is the point
    return text


def starred(*texts: str) -> str:
    return "".join(texts)


def double_starred(**texts: str) -> str:
    return "".join(texts)


def positional(text: str, /) -> str:
    return text


def unsupported(text: str, target: object) -> str:
    return text


def yields_untold(text: str) -> list[str]:  # type: ignore[misc]  # the wrong annotation is the point
    yield text


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (no_annotation, "no_annotation cannot be a tool: parameter 'text' has no annotation; write `text: str`"),
        (no_return, "the return annotation is missing"),
        (starred, r"parameter \*texts takes any number of arguments"),
        (double_starred, r"parameter \*\*texts"),
        (positional, "positional-only"),
        (unsupported, "parameter 'target': object has no plan type"),
        (yields_untold, r"Iterator\[...\]"),
        (lambda: "x", "inside another function|no tool name"),
    ],
)
def test_functions_that_cannot_be_tools_say_why(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(ToolDefinitionError, match=reason):
        tool()(function)


def test_a_local_function_cannot_run_in_another_process_but_in_a_thread() -> None:
    def local(text: str) -> str:
        return text

    with pytest.raises(ToolDefinitionError, match="move it to module level or choose placement='thread'"):
        tool()(local)
    assert tool(placement="thread")(local)("x") == "x"


@pytest.mark.parametrize(
    "options",
    [
        {"accuracy": 1.5}, {"accuracy": -0.1}, {"timeout": 0}, {"timeout": float("inf")}, {"concurrency": 0},
        {"rate": 0}, {"effects": "none"}, {"placement": "gpu"}, {"placement": "async"}, {"name": "two words"},
        {"namespace": "a..b"}, {"params": {"nobody": "x"}}, {"placement": "thread", "setup": module_level},
    ],
    ids=lambda options: "-".join(options),
)  # fmt: skip
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ToolDefinitionError):
        tool(**options)(module_level)


@tool()
async def add(left: int, right: int) -> int:
    await asyncio.sleep(0)
    return left + right


@tool(placement="thread")
def count(to: int) -> Iterator[int]:
    yield from range(to)


@tool()
async def acount(to: int) -> AsyncIterator[int]:
    for number in range(to):
        await asyncio.sleep(0)
        yield number


@tool()
async def fail(kind: str) -> str:
    if kind == "raise":
        raise LookupError("nothing there")
    if kind == "timeout":
        raise TimeoutError("its own")
    if kind == "hang":
        await asyncio.sleep(100)
    return 7  # type: ignore[return-value]  # wrong on purpose


async def test_every_kind_of_function_can_be_called() -> None:
    assert (await add.spec.backend.call({"left": 1, "right": 2}, timeout=5)).value == 3
    assert (await count.spec.backend.call({"to": 3}, timeout=5)).value == [0, 1, 2]
    assert (await acount.spec.backend.call({"to": 3}, timeout=5)).value == [0, 1, 2]
    assert (await greet.spec.backend.call({"name": "x"}, timeout=5)).value == "hello x hello x "
    assert str(count.spec.signature.returns) == str(acount.spec.signature.returns) == "list[int]"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({"left": 1}, "argument 'right' is missing"),
        ({"left": 1, "right": 2, "rigth": 3}, "no parameter 'rigth'; did you mean `right`"),
        ({"left": 1, "right": "2"}, "argument 'right' is str '2', expected int"),
    ],
)
async def test_wrong_arguments_are_refused_before_the_call(args: dict[str, Any], reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason):
        await add.spec.backend.call(args, timeout=5)


async def test_a_value_outside_the_choices_is_refused() -> None:
    with pytest.raises(ToolFailed, match="'hot', expected one of 'warm', 'cold'"):
        await greet.spec.backend.call({"name": "x", "tone": "hot"}, timeout=5)


async def test_coroutines_that_fail_hang_or_lie() -> None:
    with pytest.raises(ToolFailed, match="nothing there") as caught:
        await fail.spec.backend.call({"kind": "raise"}, timeout=5)
    assert caught.value.error_type == "LookupError"
    with pytest.raises(ToolFailed) as own:
        await fail.spec.backend.call({"kind": "timeout"}, timeout=5)
    assert own.value.error_type == "TimeoutError"
    with pytest.raises(ToolTimeout, match=r"stopped after 0.05 s"):
        await fail.spec.backend.call({"kind": "hang"}, timeout=0.05)
    with pytest.raises(WrongResult, match="the result is int 7, expected text"):
        await fail.spec.backend.call({"kind": "lie"}, timeout=5)


@tool()
async def burn(ms: float) -> str:
    until = time.thread_time() + ms / 1e3
    while time.thread_time() < until:
        pass
    await asyncio.sleep(0.05)
    return "done"


async def test_the_cpu_time_of_a_coroutine_is_its_own_even_among_others() -> None:
    busy, idle = await asyncio.gather(
        burn.spec.backend.call({"ms": 60.0}, timeout=10), burn.spec.backend.call({"ms": 0.0}, timeout=10)
    )
    assert 55 <= busy.usage.cpu_ms < 120
    assert idle.usage.cpu_ms < 30


release = threading.Event()


@tool(placement="thread")
def blocked(text: str) -> str:
    release.wait(20)
    return text


async def test_a_thread_that_hangs_is_given_up_and_counted() -> None:
    backend: Any = blocked.spec.backend
    with pytest.raises(ToolTimeout, match="cannot be killed"):
        await backend.call({"text": "x"}, timeout=0.05)
    assert backend.abandoned == 1
    release.set()
    for _ in range(500):
        if backend.abandoned == 0:
            break
        await asyncio.sleep(0.01)
    assert backend.abandoned == 0


@tool
def shout(text: str) -> str:
    """Make it loud."""
    return text.upper()


def test_the_decorator_works_without_brackets() -> None:
    assert shout("a") == "A"
    assert str(shout.spec.signature) == "shout(text: text) -> text"
    with pytest.raises(ToolDefinitionError, match="cannot be a tool"):
        tool(lambda: 1)


@pytest.mark.parametrize(
    ("price", "fix"),
    [
        (0.01, r'price=PerCall\("0.01"\)'),
        ("0.02", r'price=PerCall\("0.02"\)'),
        (0, r"price=Free\(\)"),
        (PerCall, r"PerCall\("),
    ],
)
def test_a_price_that_is_no_price_model_is_refused(price: Any, fix: str) -> None:
    with pytest.raises(ToolDefinitionError, match=rf"'shout'.*is no price model; write .*{fix}"):
        tool(price=price, placement="thread")(shout.function)
    with pytest.raises(ToolDefinitionError, match=fix):
        http_tool("t", "GET", "http://localhost/", params={}, returns=str, price=price)
    with pytest.raises(ToolDefinitionError, match=fix):
        llm_tool("t", model="m", prompt="", params={}, price=price)
    with pytest.raises(ToolDefinitionError, match=fix):
        command_tool("t", ["cat"], params={}, returns=str, price=price)
    with pytest.raises(ToolDefinitionError, match=fix):
        asyncio.run(import_mcp(["false"], price={"add": price}))
