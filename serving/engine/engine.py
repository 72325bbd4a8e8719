"""The engine's thread: it steps while there is work, sleeps while there is none, and is watched over.

A step that raises what nobody expected ends every request as failed, and the engine starts again with an empty cache
and the weights it has; after `restarts` of those in a row it stays down and says so (`ready` is False). A thread that
dies in any other way is the same to those who wait.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from catp.serving.engine.core import Core, Sink
from catp.serving.engine.errors import Refused
from catp.serving.engine.program import Program
from catp.serving.engine.request import Job, Request

__all__ = ["Engine", "State"]

_log = logging.getLogger(__name__)

_HEALTHY = 100
"""Steps after which earlier crashes are forgiven."""


@dataclass(frozen=True, slots=True)
class State:
    """How an engine is: takes requests (`reason` says why not), steps so far, age of the last one in seconds."""

    ready: bool
    reason: str
    steps: int
    restarts: int
    last_step_age: float | None


class Engine:
    """Runs a `Core` on a thread of its own.

    Args:
        make: builds a core with empty caches; called at the start and at every restart, on the engine's thread but
            for the first time.
        restarts: crashes in a row that are survived.
        clock: seconds.
    """

    def __init__(self, make: Callable[[], Core], *, restarts: int = 3, clock: Callable[[], float] = time.monotonic):
        self._make, self._most, self._clock = make, restarts, clock
        self._core = make()
        self._changed = threading.Condition()
        self._stopping = False
        self._draining = False
        self._down = ""
        self._restarts = self._crashes = self._steps_before = 0
        self._busy_before = 0.0
        self._last: float | None = None
        self._thread = threading.Thread(target=self._run, name="catp-engine", daemon=True)
        self._thread.start()

    @property
    def core(self) -> Core:
        """The core that runs now."""
        return self._core

    @property
    def busy(self) -> float:
        """Device seconds of all steps, those before a restart included."""
        return self._busy_before + self._core.busy

    def submit(self, request: Request, program: Program, sink: Sink) -> Job:
        """Accept a request; from any thread.

        Raises:
            Refused: it cannot be served, or not now.
        """
        with self._changed:
            if self._draining or self._stopping:
                raise Refused("draining", "the server is shutting down: ask another one", retry_after=None)
            if self._down:
                raise Refused("not_ready", self._down)
            core = self._core
        job = core.submit(request, program, sink)
        with self._changed:
            if core is not self._core:  # it crashed meanwhile, and did not know of this job yet
                core.cancel(request.id, "the engine was restarted; try again", "engine_failed")
            self._changed.notify_all()
        return job

    def cancel(self, id: str, why: str, code: str = "cancelled") -> bool:
        """End a request before the next step; from any thread."""
        found = self._core.cancel(id, why, code)
        with self._changed:
            self._changed.notify_all()
        return found

    def state(self) -> State:
        """Return how the engine is; never waits for it."""
        reason = self._down or ("draining" if self._draining else "")
        if not reason and not self._thread.is_alive():
            reason = "the engine's thread is gone"
        age = None if self._last is None else self._clock() - self._last
        return State(not reason, reason, self._steps_before + self._core.steps, self._restarts, age)

    def drain(self, seconds: float) -> bool:
        """Refuse new requests, wait for the others, and cancel what is left after so long. True if nothing was."""
        with self._changed:
            self._draining = True
            done = self._changed.wait_for(lambda: not len(self._core) or not self._thread.is_alive(), seconds)
        if not done:
            for job in self._core.jobs():
                self._core.cancel(job.id, "the server was shut down", "shutdown")
        return done

    def close(self) -> None:
        """End every request and the thread."""
        with self._changed:
            self._stopping = self._draining = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        why = "the engine's thread died"
        try:
            while not self._stopping and not self._down:
                try:
                    self._work()
                except Exception as error:
                    self._crashed(error)
            why = self._down or "the engine was closed"
        finally:
            with self._changed:
                self._down = self._down or why
            self._core.fail_all(why)

    def _work(self) -> None:
        while not self._stopping:
            if self._core.step():
                self._last = self._clock()
                if self._crashes and self._core.steps > _HEALTHY:
                    self._crashes = 0
                if self._draining and not len(self._core):
                    with self._changed:
                        self._changed.notify_all()
            else:
                with self._changed:
                    if not len(self._core) and self._draining:
                        self._changed.notify_all()
                    if not self._stopping:
                        # jobs that wait for a time (a deadline, a retry of admission) are looked at now and then
                        self._changed.wait(0.01 if len(self._core) else None)

    def _crashed(self, error: Exception) -> None:
        _log.exception("the engine crashed")
        why = f"the engine crashed ({type(error).__name__}: {error})"
        broken = self._core
        self._crashes += 1
        if self._crashes > self._most:
            with self._changed:
                self._down = f"{why}, for the {self._crashes}th time in a row; restart the server"
            return
        with self._changed:
            self._steps_before += broken.steps
            self._busy_before += broken.busy
            self._core = self._make()
            self._restarts += 1
        broken.fail_all(f"{why} and was started again; try again")
