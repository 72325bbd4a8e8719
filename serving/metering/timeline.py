"""When the prompts of requests are computed, step by step, and how many tokens of which kind steps compute.

A row of a step that begins inside a prompt is prefill: a chunk of it, or its recomputation after a preemption. What is
behind the prompt is decode.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from catp.serving.engine.request import Job
from catp.serving.engine.step import Step
from catp.serving.server.events import Chunk

__all__ = ["Timeline"]

_CHUNKS = 32
"""Chunks kept of a request; later ones lengthen the last."""


class Timeline:
    """Kept up on the engine's thread, read from any.

    Args:
        clock: the engine's.

    Attributes:
        prefill, decode: tokens computed in all steps.
        last: tokens of the last step.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.prefill = self.decode = self.last = 0
        self._chunks: WeakKeyDictionary[Job, tuple[Chunk, ...]] = WeakKeyDictionary()

    def stepped(self, step: Step, seconds: float) -> None:
        """Take a step that has just been computed in so many seconds."""
        began, self.last = self._clock() - seconds, step.tokens
        prompts: dict[Job, int] = {}
        for row in step.rows:
            job = row.branch.job
            prompt = max(min(len(job.request.prompt), row.end) - row.begin, 0)
            self.prefill += prompt
            self.decode += row.count - prompt
            if prompt:
                prompts[job] = prompts.get(job, 0) + prompt
        for job, tokens in prompts.items():
            self._add(job, Chunk(max(began - job.request.arrival, 0.0), seconds, tokens))

    def of(self, job: Job) -> tuple[Chunk, ...]:
        """Return the chunks of a job so far."""
        return self._chunks.get(job, ())

    def _add(self, job: Job, chunk: Chunk) -> None:
        known = self._chunks.get(job, ())
        if len(known) >= _CHUNKS:
            last = known[-1]
            chunk = Chunk(last.begin, chunk.begin + chunk.seconds - last.begin, last.tokens + chunk.tokens)
            known = known[:-1]
        self._chunks[job] = (*known, chunk)
