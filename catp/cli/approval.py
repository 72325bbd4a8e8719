"""Who decides about steps marked `@approve`: the person at the terminal, or nobody, or everybody.

A question waits in a thread of its own that nobody waits for: after Ctrl-C the command must be able to end although the
terminal still owes an answer.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final

from catp.cli.output import console_err, dollars, printable

if TYPE_CHECKING:
    from catp.runtime.run import ApprovalRequest

__all__ = ["MODES", "Approver"]

MODES: Final = ("auto", "ask", "never")
_VALUE_CHARACTERS = 60


class Approver:
    """Decides as `mode` says; `quiet` gives a context in which nothing else draws on the terminal."""

    def __init__(self, mode: str, quiet: Callable[[], AbstractContextManager[None]]) -> None:
        self._mode = mode
        self._quiet = quiet
        self._turn = asyncio.Lock()

    async def decide(self, request: "ApprovalRequest") -> bool:
        """Return True if the step may run. Several questions are asked one after the other."""
        if self._mode != "ask":
            return self._mode == "auto"
        if not sys.stdin.isatty():
            console_err().print(
                f"step {request.step} needs approval, but there is no terminal to ask on: denied (see --approve)",
                markup=False,
            )
            return False
        async with self._turn:
            with self._quiet():
                return await _answer(question(request))


def question(request: "ApprovalRequest") -> str:
    """Return the question in one line: the call with its arguments in short, and its price."""
    arguments = ", ".join(f"{name}={_short(value)}" for name, value in request.arguments.items())
    price = "unpriced" if request.estimate is None else f"about {dollars(request.estimate)}"
    return printable(f"approve step {request.step}: {' | '.join(request.tools)}({arguments}), {price}? [y/N] ")


def _short(value: object) -> str:
    if hasattr(value, "size") and hasattr(value, "mode"):
        return "image"
    text = repr(value[: _VALUE_CHARACTERS * 2]) if isinstance(value, str | bytes) else repr(value)
    return text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}…"


async def _answer(words: str) -> bool:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(line: str) -> None:
        if not answer.done():
            answer.set_result(line)

    def read() -> None:
        line = sys.stdin.readline()
        try:
            loop.call_soon_threadsafe(settle, line)
        except RuntimeError:  # the run was interrupted, and its event loop is closed
            pass

    sys.stderr.write(words)
    sys.stderr.flush()
    threading.Thread(target=read, name="catp-approval", daemon=True).start()
    return (await answer).strip().lower() in ("y", "yes")
