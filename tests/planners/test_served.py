"""Asking an engine: steps as they come, drafts, refusals, answers that are none, and how engines are found."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from catp.planlang.jsonform import to_json
from catp.planlang.nodes import Plan, Step
from catp.planlang.parser import parse
from catp.planners.policy import PolicyPlanner
from catp.planners.protocol import NothingFits, Objective, PlanningFailed, TellingPlanner
from catp.planners.search import SearchPlanner
from catp.planners.served import EngineUnreachable, Running, ServedWriter, announce, find_engine, withdraw
from catp.planners.shipped import DeferredPolicy, ServedOrLocal
from catp.planners.testing import small_request
from catp.planners.wire import draft_form
from catp.planners.writer import Draft, Rating, Unwritable, Usage, Written

REQUEST = small_request(0, objective=Objective())
PLAN = parse("in text: text\nx = one(text)\ny = two(x)\nout y")
DRAFT = {
    **draft_form(Draft((Written(PLAN, -1.5, Rating(0.7, 0.1)),), (None,), Usage())),
    "usage": {"prompt_tokens": 3, "completion_tokens": 4, "catp": {"device_seconds": 0.5, "price_usd": "0.001"}},
}  # fmt: skip


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def step_event(index: int, number: int) -> bytes:
    step = to_json(Plan(steps=(PLAN.steps[number],)))["steps"][0]
    return event("step", {"id": "plan-1", "index": index, "number": number, "step": step})


Answer = Callable[[dict[str, Any], asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def engine(answer: Answer) -> AsyncIterator[tuple[ServedWriter, list[dict[str, Any]]]]:
    """A server on a real socket that gives one answer to everything."""
    asked: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        asked.append(json.loads(await reader.readexactly(length)))
        try:
            await answer(asked[-1], writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield ServedWriter(Running(f"http://{host}:{port}", "tiny")), asked


def saying(*parts: bytes, status: str = "200 OK", pause_s: float = 0.0) -> Answer:
    async def answer(_: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".encode())
        for part in parts:
            await asyncio.sleep(pause_s)
            writer.write(part)
            await writer.drain()

    return answer


async def ask(answer: Answer, *, stream: bool = True) -> tuple[Draft, list[tuple[int, int, Step]], dict[str, Any]]:
    told: list[tuple[int, int, Step]] = []
    async with engine(answer) as (writer, asked):
        draft = await writer.write(REQUEST, samples=2, decided=(lambda *one: told.append(one)) if stream else None)
    return draft, told, asked[0]


async def test_steps_are_told_as_they_come_and_the_draft_is_returned() -> None:
    parts = [
        b": alive\n\n",
        step_event(0, 0),
        step_event(1, 0),
        step_event(0, 1),
        event("draft", DRAFT),
        b"data: [DONE]\n\n",
    ]
    draft, told, asked = await ask(saying(*parts))
    assert asked["stream"] is True
    assert told == [(0, 0, PLAN.steps[0]), (1, 0, PLAN.steps[0]), (0, 1, PLAN.steps[1])]
    assert (draft.written[0].plan, draft.rated, draft.usage.seconds) == (PLAN, (None,), 0.5)


async def test_a_step_is_told_before_the_draft_is_there() -> None:
    first = asyncio.Event()
    let_go = asyncio.Event()

    async def answer(asked: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        await saying(step_event(0, 0))(asked, writer)
        await let_go.wait()
        writer.write(event("draft", DRAFT))
        await writer.drain()

    async with engine(answer) as (writer, _):
        task = asyncio.ensure_future(writer.write(REQUEST, decided=lambda *_: first.set()))
        await asyncio.wait_for(first.wait(), 10)
        assert not task.done()
        let_go.set()
        assert (await task).written[0].plan == PLAN


async def test_one_chunk_may_hold_several_events_and_an_event_several_chunks() -> None:
    whole = step_event(0, 0) + step_event(0, 1) + event("draft", DRAFT)
    _, together, _ = await ask(saying(whole))
    _, apart, _ = await ask(saying(*(whole[i : i + 7] for i in range(0, len(whole), 7))))
    assert together == apart == [(0, 0, PLAN.steps[0]), (0, 1, PLAN.steps[1])]


async def test_without_somebody_to_tell_nothing_is_streamed() -> None:
    body = json.dumps(DRAFT).encode()
    draft, told, asked = await ask(saying(body), stream=False)
    assert ("stream" in asked, told, draft.written[0].plan) == (False, [], PLAN)


@pytest.mark.parametrize(
    ("code", "kind"), [("nothing_fits", NothingFits), ("planning_failed", PlanningFailed), ("unwritable", Unwritable)]
)
@pytest.mark.parametrize("late", [True, False])
async def test_refusals_are_told_apart_before_and_within_a_stream(code: str, kind: type[Exception], late: bool) -> None:
    body = {"error": {"message": "too dear", "code": code}}
    said = (
        saying(step_event(0, 0), event("error", body)) if late else saying(json.dumps(body).encode(), status="422 No")
    )
    with pytest.raises(kind, match="too dear"):
        await ask(said)


@pytest.mark.parametrize(
    "answer",
    [
        saying(step_event(0, 0)),
        saying(event("step", {"index": 0, "number": 0, "step": {"name": 3}})),
        saying(event("step", {"index": "x"})),
        saying(event("draft", {"plans": 3})),
        saying(event("draft", DRAFT)[:-20]),
        saying(b"event: draft\ndata: {nonsense\n\n"),
        saying(b"no", status="500 Oops"),
    ],
    ids=["cut", "no-step", "no-number", "no-draft", "half-a-draft", "no-json", "500"],
)
async def test_an_answer_that_is_none_leaves_planning_to_the_fallback(answer: Answer) -> None:
    with pytest.raises(EngineUnreachable):
        await ask(answer)
    async with engine(answer) as (writer, _):
        found = await PolicyPlanner(writer, SearchPlanner()).plan_aloud(REQUEST, lambda *_: None)
    assert found.notes[0].startswith("policy: failed with EngineUnreachable")
    assert found.by == "search"


async def test_nobody_listens() -> None:
    writer = ServedWriter(Running("http://127.0.0.1:9", "tiny"))
    with pytest.raises(EngineUnreachable, match=r"127\.0\.0\.1:9 does not answer"):
        await writer.write(REQUEST, decided=lambda *_: None)


def test_planners_that_ask_a_policy_tell_steps_and_search_does_not() -> None:
    for telling in (ServedOrLocal(), DeferredPolicy(), PolicyPlanner(ServedWriter(Running("http://x", "tiny")))):
        assert isinstance(telling, TellingPlanner)
    assert not isinstance(SearchPlanner(), TellingPlanner)


def test_an_announcement_is_withdrawn_by_who_made_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("CATP_ENGINE", raising=False)
    path = announce(Running("http://127.0.0.1:9", "tiny", pid=os.getpid()), tmp_path)
    assert find_engine(directory=tmp_path) is None  # nobody listens there
    other = announce(Running("http://127.0.0.1:9", "tiny", pid=1), tmp_path)
    withdraw(other)
    assert path.exists()
    announce(Running("http://127.0.0.1:9", "tiny", pid=os.getpid()), tmp_path)
    withdraw(path)
    assert not path.exists()
    path.write_text("[")
    assert find_engine(directory=tmp_path) is None
