"""One step after another: schedule, compute, let programs go on, attribute, repeat. No thread, no clock of its own.

    submit, cancel ──> scheduler ── Step ──> runner ── results ──> programs ── extend, fork, close, emit, finish ──┐
                          ^                                                                                        │
                          └────────────────────────────────────────────────────────────────────────────────────────┘

Every job that was submitted is ended exactly once, whatever raises where: an exception in a program or a read without a
result ends its own job; a step that runs out of memory is tried again with half the tokens, down to one.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, Protocol

from catp.serving.engine.errors import EngineFailed, FinishReason, OutOfMemory
from catp.serving.engine.program import Program, Result
from catp.serving.engine.request import Branch, Job, Phase, Read, Request
from catp.serving.engine.scheduler import Scheduler
from catp.serving.engine.step import Runner, Step, StepResult

__all__ = ["Core", "Sink", "Watcher"]

_log = logging.getLogger(__name__)

_DECISIONS = 512


class Sink(Protocol):
    """Whoever waits for a request. Called on the engine's thread; must not block."""

    def emit(self, event: Any) -> None:
        """Take an event of the request's program."""
        ...

    def ended(self, job: Job, value: Any, why: str, code: str) -> None:
        """Take the end: the program's value; if it is not as it should be, why, for people and for machines.

        Called exactly once. Codes are those of `catp.serving.server.events.EndCode`.
        """
        ...


class Watcher(Protocol):
    """Whoever keeps accounts and metrics. Called on the engine's thread; must not block."""

    def stepped(self, step: Step, seconds: float) -> None:
        """Take a step that was computed in so many device seconds."""
        ...

    def ended(self, job: Job) -> None:
        """Take a job that ended, before its sink hears of it."""
        ...


class Core:
    """The state of an engine between steps.

    Args:
        scheduler: decides.
        runner: computes.
        clock: seconds, never running backwards.
        watcher: keeps accounts.
    """

    def __init__(
        self, scheduler: Scheduler, runner: Runner, clock: Callable[[], float], watcher: Watcher | None = None
    ) -> None:
        self.scheduler, self.runner, self.clock = scheduler, runner, clock
        self.steps = self.failures = 0
        """Steps computed, and those that were not because memory ran out."""
        self.busy = 0.0
        """Device seconds of all steps."""
        self.decisions: deque[float] = deque(maxlen=_DECISIONS)
        """Seconds that the latest `schedule()` calls took."""
        self._watcher = watcher
        self._sinks: dict[str, Sink] = {}
        self._controls: dict[str, _Control] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Jobs that have not ended."""
        return len(self._sinks)

    def jobs(self) -> list[Job]:
        """Return the jobs that have not ended."""
        with self._lock:
            return [control.job for control in self._controls.values()]

    def submit(self, request: Request, program: Program, sink: Sink) -> Job:
        """Accept a request; from any thread.

        Raises:
            Refused: it cannot be served, or not now.
        """
        with self._lock:
            job = Job(request, program)
            self.scheduler.add(job, self.clock())
            self._sinks[job.id] = sink
            self._controls[job.id] = control = _Control(self, job)
            self._run(control, lambda: program.begin(job.branches[0], control))
            return job

    def cancel(self, id: str, why: str, code: str = "cancelled") -> bool:
        """End a job now; its blocks are back before the next step. False if there is no such job. From any thread."""
        with self._lock:
            control = self._controls.get(id)
            if control is None:
                return False
            self._end(control.job, "cancelled", None, why, code)
            return True

    def step(self) -> bool:
        """Do one step; False if there was nothing to do.

        Raises:
            Exception: the scheduler or the runner is broken; the engine must be restarted (`fail_all`).
        """
        with self._lock:
            began = perf_counter()
            step = self.scheduler.schedule(self.clock())
            self.decisions.append(perf_counter() - began)
            for job in step.late:
                self._end(job, "deadline", None, "its deadline cannot be met any more", "deadline")
            for job in step.stuck:
                self._end(job, "failed", None, "the cache has no room for it, even alone", "request_failed")
        if not step.rows:
            return bool(step.late or step.stuck)
        result = self._execute(step)
        if result is not None:
            with self._lock:
                self._completed(step, result)
        return True

    def fail_all(self, why: str) -> None:
        """End every job as failed: the engine is restarted, or gone."""
        with self._lock:
            for control in list(self._controls.values()):
                self._end(control.job, "failed", None, why, "engine_failed")

    def _execute(self, step: Step) -> StepResult | None:
        """Compute a step. If memory runs out, the next has half its tokens, and one of a single token ends its job."""
        try:
            return self.runner.execute(step)
        except OutOfMemory as error:
            _log.warning("a step of %d tokens ran out of memory: %s", step.tokens, error)
            self.failures += 1
            with self._lock:
                self.scheduler.abandon(step)
                self.scheduler.budget_override = max(step.tokens // 2, 1)
                if step.tokens == 1:
                    job = step.rows[0].branch.job
                    self._end(job, "failed", None, f"the device ran out of memory: {error}", "engine_failed")
            return None

    def _completed(self, step: Step, result: StepResult) -> None:
        self.steps += 1
        self.busy += result.seconds
        self.scheduler.complete(step, result.seconds)
        if self._watcher is not None:
            self._watcher.stepped(step, result.seconds)
        found: dict[str, list[Result]] = {}
        for one in result.results:
            found.setdefault(one.branch.job.id, []).append(one)
        for id_, results in found.items():
            control = self._controls.get(id_)
            if control is not None:  # it may have been cancelled while it was computed
                self._advance(control, results)

    def _advance(self, control: "_Control", results: Sequence[Result]) -> None:
        failure = next((one.error for one in results if one.error is not None), None)
        if failure is not None:
            self._end(control.job, "failed", None, str(failure), "request_failed")
            return
        open_ = [one for one in results if not one.branch.closed]
        if open_:
            self._run(control, lambda: control.job.program.advance(open_, control))

    def _run(self, control: "_Control", call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            _log.warning("request %s failed", control.job.id, exc_info=not isinstance(error, EngineFailed))
            self._end(control.job, "failed", None, f"{type(error).__name__}: {error}", "request_failed")
            return
        job = control.job
        if job.phase is not Phase.DONE and not any(branch.pending for branch in job.branches):
            self._end(job, "failed", None, "its program neither went on nor finished", "request_failed")

    def _end(self, job: Job, reason: FinishReason, value: Any, why: str = "", code: str = "") -> None:
        if job.finish is not None:
            return
        self.scheduler.finish(job, reason, self.clock())
        del self._controls[job.id]
        sink = self._sinks.pop(job.id)
        try:
            if self._watcher is not None:
                self._watcher.ended(job)
        finally:
            sink.ended(job, value, why, code)


class _Control:
    """Implements `catp.serving.engine.program.Control` for one job."""

    def __init__(self, core: Core, job: Job) -> None:
        self.job = job
        self._core = core

    def extend(self, branch: Branch, ids: Sequence[int], reads: Sequence[Read] = (), *, forced: int = 0) -> None:
        """Add tokens to a branch."""
        request = self.job.request
        if len(branch.tokens) + len(ids) > len(request.prompt) + request.bound:
            raise EngineFailed(
                f"request {request.id} writes beyond its bound of {request.bound} tokens: its program is broken"
            )
        branch.extend(ids, reads)
        self.wrote(len(ids), forced=forced)

    def wrote(self, tokens: int, *, forced: int = 0) -> None:
        """Count tokens that were written."""
        job = self.job
        job.output_tokens += tokens
        job.forced_tokens += forced
        if tokens and job.first_token is None:
            job.first_token = self._core.clock()

    def fork(self, branch: Branch, at: int) -> Branch:
        """Return a new branch with the first `at` tokens of another."""
        if len(self.job.branches) >= self.job.request.width:
            raise EngineFailed(
                f"request {self.job.id} has {self.job.request.width} branches, its width: its program is broken"
            )
        return self._core.scheduler.fork(branch, at)

    def close(self, branch: Branch) -> None:
        """Let a branch go."""
        self._core.scheduler.close(branch)

    def emit(self, event: Any) -> None:
        """Send an event to whoever waits."""
        sink = self._core._sinks.get(self.job.id)
        if sink is not None:
            sink.emit(event)

    def finish(self, reason: FinishReason, value: Any = None) -> None:
        """End the request."""
        self._core._end(self.job, reason, value)
