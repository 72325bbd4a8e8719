"""SIGINT and SIGTERM during training: the step is finished, the state saved, and the run ends in order."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Interrupt", "Interrupted"]


class Interrupted(BaseException):
    """A signal came while work ran that may be broken off (an evaluation). It is no error, so nobody catches it."""


class Interrupt:
    """Remembers that a signal came. While it is entered, the first signal only sets `came`; a second one kills.

    Python delivers signals to the main thread only; in any other thread this watches nothing.
    """

    def __init__(self) -> None:
        self.came = False
        self._may_break = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._catch) or signal.SIG_DFL
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """Let a signal break off what runs inside: `Interrupted` is raised there."""
        if self.came:
            raise Interrupted
        self._may_break = True
        try:
            yield
        finally:
            self._may_break = False

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self._restore()
        if self._may_break:
            raise Interrupted

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
