"""A secret that a hook takes out is in no file of the store, whichever way it would have got there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.recorded import CannotResume
from catp.runtime.events import RunEvent
from catp.store.store import RunStore
from catp.tools import PerCall, tool
from catp.tools.decorator import Tool

SECRET = "sk-4711-geheim"
MARK = (213, 17, 139)


@tool(price=PerCall("0.001"))
async def repeat(text: str) -> str:
    return text * 3_000  # too long for a row


@tool(price=PerCall("0.001"))
async def fields(text: str) -> dict[str, Any]:
    return {"key": text, "list": [text, 1]}


@tool(price=PerCall("0.001"))
async def quotes(text: str) -> str:
    raise ValueError(f"cannot use {text}")


@tool(price=PerCall("0.001"), effects="write")
async def pay(text: str) -> str:
    return f"paid with {text}"


@tool(price=PerCall("0.001"))
async def turned(image: Image.Image) -> Image.Image:
    return image.rotate(90)


TOOLS: list[Tool[Any, Any]] = [repeat, fields, quotes, pay, turned]
PLAN = """plan secrets
in t: text
in photo: image
a = repeat(t)
b = fields(t)
c = quotes(t)
d = repeat(each [t, "x"])
p = turned(photo)
out a, b, p, c?, d?
"""
ASKS = "plan asks\nin t: text\na = repeat(t)\nb = pay(a) @approve\nout b\n"


def clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(SECRET, "[key]")
    if isinstance(value, Mapping):
        return {key: clean(one) for key, one in value.items()}
    if isinstance(value, list):
        return [clean(one) for one in value]
    return value


def hide(kind: str, name: str, value: Any) -> Any:
    if isinstance(value, Image.Image):
        return Image.new("RGB", value.size)
    return clean(value) if SECRET in repr(value) else value


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def kept(store: RunStore, run_id: str) -> dict[tuple[str, str, int | None], Any]:
    return {(value.kind, value.name, value.element): value for value in store.values(run_id)}


async def test_nothing_of_a_secret_reaches_a_file(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", redact=hide)
    photo = Image.new("RGB", (64, 48), MARK)
    async with Agent(TOOLS, store=store, name=SECRET[:2]) as agent:
        result = await agent.run(parse(PLAN), {"t": SECRET, "photo": photo})
    assert result.outputs["a"] == SECRET * 3_000  # the run itself saw it
    assert result.outputs["b"]["key"] == SECRET
    values = kept(store, result.run_id)
    assert values["step", "a", None].read() == b"[key]" * 3_000
    assert values["step", "b", None].read() == b'{"key": "[key]", "list": ["[key]", 1]}'
    assert values["step", "d", 1].value() == "x" * 3_000  # untouched values are exact
    for place, value in values.items():
        if place != ("step", "d", 1):
            with pytest.raises(ValueError, match="was redacted before it was stored"):
                value.value()
    failed = next(step for step in store.get(result.run_id).steps if step.step == "c")
    assert failed.reason.endswith("cannot use [key]")
    store.close()
    whole = files(tmp_path)
    assert SECRET.encode() not in whole
    assert bytes(MARK) * 8 not in pixels(tmp_path)


def pixels(folder: Path) -> bytes:
    return b"".join(_pixels(path) for path in folder.rglob("*"))


def _pixels(path: Path) -> bytes:
    try:
        return Image.open(path).convert("RGB").tobytes()
    except (OSError, ValueError):
        return b""


async def test_a_hook_that_fails_costs_the_value_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(kind: str, name: str, value: Any) -> Any:
        raise TypeError(f"no idea what to do with {value}")

    store = RunStore(tmp_path / "runs.db", redact=broken)
    async with Agent(TOOLS, store=store) as agent:
        result = await agent.run(parse("in t: text\na = fields(t)\nout a\n"), {"t": SECRET})
    assert result.status == "complete"
    assert kept(store, result.run_id)["step", "a", None].read() == b"[not kept: redaction failed with TypeError]"
    store.close()
    assert SECRET.encode() not in files(tmp_path)
    assert SECRET not in caplog.text
    assert "redaction of the step `a` failed (TypeError)" in caplog.text


async def test_a_question_for_approval_hides_it_and_the_run_cannot_go_on_without_its_input(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", redact=hide)
    async with Agent(TOOLS, store=store, approve="later") as agent:
        result = await agent.run(parse(ASKS), {"t": SECRET})
        assert result.status == "waiting"
        (question,) = await agent.approvals(result.run_id)
        assert "[key]" in question.detail["arguments"]["text"]
        await agent.decide(result.run_id, "b", granted=True)
        with pytest.raises(CannotResume, match="the input `t` was redacted before it was stored"):
            await agent.resume(result.run_id)
        told: list[RunEvent] = []
        done = await agent.resume(result.run_id, inputs={"t": SECRET}, on_event=told.append)
    assert done.status == "complete"
    assert done.outputs["b"] == f"paid with {SECRET * 3_000}"
    assert any("the step `a` was redacted before it was stored" in note for note in told[0].data["notes"])
    assert [event.step for event in told if event.type == "node.started"] == ["a", "b"]  # `a` had to be called again
    store.close()
    assert SECRET.encode() not in files(tmp_path)


async def test_results_are_used_again_from_memory_only(tmp_path: Path) -> None:
    from catp.cache.memory import MemoryCache

    store = RunStore(tmp_path / "runs.db", redact=hide)
    async with Agent(TOOLS, store=store) as agent:
        assert agent.flights is not None
        assert isinstance(agent.flights.cache, MemoryCache)
    store.close()
