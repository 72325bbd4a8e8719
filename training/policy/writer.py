"""The policy in this process: a `PlanWriter` on plain transformers, with its own decoding loop and one KV cache.

request ── session (training.policy.session): prompt + plans shown; greedy, samples, beams
              │  ▲
           runs  logits ── one forward pass a step (training.policy.tree)
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from catp.planlang.nodes import Plan, Step
from catp.planners.protocol import PlanRequest
from catp.planners.writer import Decided, Draft, PlanWriter, Usage
from catp.training.caorl.methods import decides_by
from catp.training.policy.checkpoint import Policy, load
from catp.training.policy.errors import CheckpointError
from catp.training.policy.models import DEFAULT, default_model, find_model
from catp.training.policy.session import Session, Speller
from catp.training.policy.tree import TokenTree, WriterFailed

__all__ = ["LocalWriter", "ModelUnavailable", "WriterFailed", "load_writer"]


class ModelUnavailable(OSError):
    """The policy cannot be loaded; the message names the fix."""


def load_writer(model: str | None = None, *, device: str = "cpu", threads: int | None = 1) -> PlanWriter:
    """Load a policy; takes seconds.

    Args:
        model: name or folder of a policy, None for the default one.
        device: `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads of a forward pass; None leaves it to torch. Only with one thread is the CPU time of an
            answer its own, and not that of everything the process does meanwhile.

    Raises:
        ModelUnavailable: there is no such policy, it is damaged, or a package or the device is not there.
    """
    try:
        folder = _folder(model)
        policy = load(folder, device=_device(device))
        method = policy.manifest.config.method.name
        if decides_by(method) == "likelihood":
            raise ModelUnavailable(
                f"{folder}: a policy trained with method.name = {method} rates no plans, so they cannot be weighed "
                "against their price; train one with method.name = awr (catp eval measures both)"
            )
        return LocalWriter(policy, name=folder.name, threads=threads)
    except (CheckpointError, ImportError) as error:
        raise ModelUnavailable(str(error)) from error


def _folder(model: str | None) -> Path:
    folder = default_model() if model is None else find_model(model)
    if folder is None:
        raise ModelUnavailable(
            f"there is no policy {DEFAULT!r} to plan with; train it (catp train --config examples/train/tiny.toml), "
            "install one (catp models pull), or name one with --model"
        )
    return folder


def _device(name: str) -> str:
    try:
        import torch
    except ImportError as error:
        raise ModelUnavailable("the policy needs torch and transformers; run: pip install 'catp[policy]'") from error
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ModelUnavailable(f"there is no device {name!r}; use cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable(f"{name} needs a CUDA GPU and a torch built for it; use cpu here")
    return name


class _Cancelled(Exception):
    """Nobody waits for the plans any more."""


class LocalWriter:
    """Writes and rates plans with a policy in this process; implements `PlanWriter`.

    One request at a time: others wait, so that each has the threads it was measured with.

    Args:
        policy: in `eval` mode, adapters merged.
        name: what the record of a run calls it; None: the manifest's name.
        threads: CPU threads of a forward pass; None leaves it to torch.
        temperature: of sampling, above 0.
        length: of `Beams`.
    """

    def __init__(
        self, policy: Policy, *, name: str | None = None, threads: int | None = None, temperature: float = 1.0,
        length: float = 0.0,
    ) -> None:  # fmt: skip
        import torch

        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature!r}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads!r}")
        self.policy, self.name = policy, name or policy.manifest.name
        self.kappa, self.margin = policy.manifest.kappa, policy.manifest.margin
        self._model, self._speller = policy.model, Speller(policy)
        self._threads, self._temperature, self._length = threads, temperature, length
        weight = self._model.get_output_embeddings().weight
        self.device: str = weight.device.type
        read = torch.tensor([*policy.tokens.plan_ids, *policy.tokens.quality_ids], device=weight.device)
        self._rows = weight.detach()[read].contiguous()
        self._lock = threading.Lock()

    async def write(
        self, request: PlanRequest, *, samples: int = 8, beams: int = 0, shown: Sequence[Plan] = (), seed: int = 0,
        decided: Decided | None = None,
    ) -> Draft:  # fmt: skip
        """Write and rate plans; see `PlanWriter`. Cancelling it ends the work after the step in hand.

        Raises:
            WriterFailed: the model computes NaN.
        """
        stop = threading.Event()
        tell = None if decided is None else _telling(decided, stop)
        try:
            return await asyncio.to_thread(self._write, request, samples, beams, tuple(shown), seed, stop.is_set, tell)
        finally:
            stop.set()

    def _write(
        self, request: PlanRequest, samples: int, beams: int, shown: Sequence[Plan], seed: int,
        stopped: Callable[[], bool], tell: Callable[[Session], None] | None,
    ) -> Draft:  # fmt: skip
        import torch

        with self._lock:
            before = torch.get_num_threads()
            if self._threads is not None:
                torch.set_num_threads(self._threads)
            try:
                return self._timed(request, samples, beams, shown, seed, stopped, tell)
            finally:
                torch.set_num_threads(before)

    def _timed(
        self, request: PlanRequest, samples: int, beams: int, shown: Sequence[Plan], seed: int,
        stopped: Callable[[], bool], tell: Callable[[Session], None] | None,
    ) -> Draft:  # fmt: skip
        import torch

        # with several threads only the whole process knows the time of all of them
        alone = torch.get_num_threads() == 1
        clock = time.perf_counter if self.device != "cpu" else time.thread_time if alone else time.process_time
        began = clock()
        session = self._speller.session(
            request, shown, samples=samples, beams=beams, seed=seed, temperature=self._temperature, length=self._length
        )
        tree = TokenTree(self._model, self._rows)
        while runs := session.waiting():
            if stopped():
                raise _Cancelled
            tree.compute(runs)
            session.computed()
            if tell is not None:
                tell(session)
        read = len(session.prompt)
        return session.draft(Usage(read, len(tree) - read, clock() - began))


def _telling(decided: Decided, stop: threading.Event) -> Callable[[Session], None]:
    """Return what tells of the steps that a session has decided, from whatever thread, in that of the loop."""
    loop = asyncio.get_running_loop()

    def unless_stopped(number: int, at: int, step: Step) -> None:
        if not stop.is_set():
            decided(number, at, step)

    def tell(session: Session) -> None:
        for number, at, step in session.decided():
            loop.call_soon_threadsafe(unless_stopped, number, at, step)

    return tell
