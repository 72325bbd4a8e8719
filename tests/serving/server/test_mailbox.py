"""The mailbox between the engine's thread and the event loop."""

import asyncio
import threading

import pytest

from catp.serving.server.backend import EndCode, Event, Finished, TextDelta
from catp.serving.server.mailbox import Mailbox


def make(capacity: int = 8) -> tuple[Mailbox, list[tuple[str, EndCode]]]:
    asked: list[tuple[str, EndCode]] = []
    return Mailbox("r", lambda why, code: asked.append((why, code)), prompt_tokens=3, capacity=capacity), asked


async def events(box: Mailbox) -> list[Event]:
    return [event async for event in box]


async def test_everything_from_another_thread_in_order() -> None:
    box, asked = make(100_000)
    count = 20_000

    def write() -> None:
        for number in range(count):
            assert box.post(TextDelta(0, "", (number,)))
        assert box.post(Finished("stop"))

    thread = threading.Thread(target=write)
    thread.start()
    found = await events(box)
    await asyncio.to_thread(thread.join)
    assert [event.tokens[0] for event in found if isinstance(event, TextDelta)] == list(range(count))
    assert found[-1] == Finished("stop")
    assert asked == []


async def test_one_terminal_event_whatever_comes_after() -> None:
    box, _ = make()
    assert box.post(Finished("stop"))
    assert not box.post(Finished("failed"))
    assert not box.post(TextDelta(0, "late"))
    assert await events(box) == [Finished("stop")]
    assert box.ended


@pytest.mark.parametrize("reason", ["stop", "cancelled"])
async def test_a_reader_that_is_too_slow_is_cut_off(reason: str) -> None:
    box, asked = make(8)
    for _ in range(100):
        assert box.post(TextDelta(0, "x"))
    assert [code for _, code in asked] == ["slow_reader"]
    box.post(Finished("stop" if reason == "stop" else "cancelled", message="as the engine saw it"))
    (end,) = await events(box)
    assert isinstance(end, Finished)
    assert (end.reason, end.code) == ("cancelled", "slow_reader")  # what it missed is missing, however it ended
    assert "8 events" in end.message


async def test_cancelling_is_told_once_and_never_after_the_end() -> None:
    box, asked = make()
    box.cancel("gone", "disconnected")
    box.cancel("again", "timeout")
    assert asked == [("gone", "disconnected")]
    ended, late = make()
    ended.post(Finished("stop"))
    ended.cancel("gone", "disconnected")
    assert late == []


def test_a_closed_loop_is_no_trouble_for_the_writer() -> None:
    async def go() -> Mailbox:
        box, _ = make()
        reading = asyncio.create_task(events(box))
        await asyncio.sleep(0.01)
        reading.cancel()
        return box

    box = asyncio.run(go())
    assert box.post(TextDelta(0, "x"))
    assert box.post(Finished("stop"))
