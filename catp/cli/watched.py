"""A run driven from a terminal: its progress on stderr, its events on stdout if wanted, Ctrl-C to stop it."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from catp.cli.approval import approval_policy
from catp.cli.output import console_err, emit_jsonl

if TYPE_CHECKING:
    from catp.agent import Agent
    from catp.result import RunResult

__all__ = ["watched"]


async def watched(
    agent: "Agent",
    steps: Sequence[str],
    start: Callable[..., Coroutine[Any, Any, "RunResult"]],
    *,
    approve: str,
    jsonl: bool,
) -> "RunResult":
    """Drive a run with its progress on stderr; an interrupt stops it and gives what it had until then.

    `start` takes `on_event` and `approve`, as `Agent.run` does; `steps` are the rows to show.
    """
    from catp.cli.progress import Progress
    from catp.result import RunCancelled

    loop = asyncio.get_running_loop()
    with Progress(steps, agent.budget) as progress:

        def on_event(event: Any) -> None:
            progress.on_event(event)
            if jsonl:
                emit_jsonl("catp.event/1", event.to_json())

        policy = approval_policy(approve, progress.paused, stored=agent.store is not None)
        running = asyncio.ensure_future(start(on_event=on_event, approve=policy))
        with _interrupt_cancels(loop, running):
            try:
                return await running
            except RunCancelled as stopped:
                return stopped.result


@contextlib.contextmanager
def _interrupt_cancels(loop: asyncio.AbstractEventLoop, running: "asyncio.Future[RunResult]") -> Iterator[None]:
    """Let Ctrl-C or SIGTERM stop the work and complete the ledger; a second one does not wait for deaf tools."""
    signals = (signal.SIGINT, signal.SIGTERM)
    received: list[None] = []

    def stop() -> None:
        received.append(None)
        if len(received) == 1:
            console_err().print("stopping: cancelling running calls and completing the ledger", markup=False)
        else:
            release()
        running.cancel()

    def release() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        release()
