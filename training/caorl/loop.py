"""The training loop: steps, evaluations, checkpoints; the same weights however often it is stopped and resumed.

    order -> feed -> step -> [evaluate -> best] -> [save -> last] -> next step

What makes a resumed run equal to an uninterrupted one, bit for bit on a CPU: the order of examples and the learning
rate are functions of the step, every random generator is seeded at every step, and the rest (weights, moments, running
mean) is stored as it is. Evaluation cannot disturb training, so how often to evaluate may change on the way.
"""

import math
import random
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from catp.training.caorl.checkpoints import Checkpoints, state_to_resume
from catp.training.caorl.config import TrainConfig
from catp.training.caorl.errors import TrainError
from catp.training.caorl.events import Evaluated, Event, Reason, Saved, Started, Step, Stopped, TrainResult
from catp.training.caorl.faults import Tried, not_finite
from catp.training.caorl.feed import Feed, Place, Prepared
from catp.training.caorl.interrupt import Interrupt, Interrupted
from catp.training.caorl.optimiser import Average, learning_rate, make_optimiser, trainable
from catp.training.caorl.order import Order
from catp.training.caorl.resume import Progress
from catp.training.caorl.source import Algorithm
from catp.training.caorl.team import Team

if TYPE_CHECKING:
    import torch

__all__ = ["train"]


def train(
    algorithm: Algorithm,
    model: Any,
    config: TrainConfig,
    out: Path,
    *,
    save_model: Callable[[Any, Path], None],
    resume: "Path | Literal['auto'] | None" = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> TrainResult:
    """Train a model, with checkpoints in `out/last` and `out/best`.

    Args:
        algorithm: What is learned. Examples and batches are made in a background thread, never during an evaluation.
        model: A `transformers` causal language model, or a peft model around one; trained in place, and left with its
            raw weights, not their running mean.
        config: Of which `seed`, `device`, `save_every`, `optim` and `eval` are used here; all of it is in the state.
        out: The run's folder. It must be empty or absent, except to resume.
        save_model: Writes the model into a folder, which exists already and is renamed afterwards.
        resume: A checkpoint folder (`out/last`) or a run's folder to go on from; `auto` goes on from `out/last` if it
            is there, and begins anew otherwise.
        on_event: Told of everything that happens, in the first process.

    Raises:
        TrainError: Nothing to learn or to learn from, a folder that is in use, no room on the disk, a loss or gradient
            that is not finite, an evaluation without `regret`.
        ResumeError: The state is damaged or belongs to another run.
    """
    team = Team(config.device)
    state = team.tell(state_to_resume(out, resume) if team.first else None)
    run = _Run(algorithm, model, config, out, save_model, on_event, team, state)
    with Interrupt() as interrupt:
        return run.go(interrupt)


@dataclass(frozen=True)
class _Done:
    """What a step came to, over all processes."""

    loss: float
    parts: Mapping[str, float]
    norm: float
    tokens: int
    interrupted: bool


class _Run:
    def __init__(
        self,
        algorithm: Algorithm,
        model: Any,
        config: TrainConfig,
        out: Path,
        save_model: Callable[[Any, Path], None],
        on_event: Callable[[Event], None],
        team: Team,
        state: Path | None,
    ) -> None:
        if not len(algorithm):
            raise TrainError("there is nothing to learn from: the training side of the data has no example")
        self.algorithm, self.model, self.config, self.out, self.team = algorithm, model, config, out, team
        self.tell = on_event if team.first else lambda event: None
        optim = config.optim
        _prepare(model, config, team)
        self.parameters = trainable(model)
        if not self.parameters:
            raise TrainError("there is nothing to learn: every parameter of the model is frozen")
        self.optimiser = make_optimiser(self.parameters, optim)
        self.progress = Progress()
        self.average: Average | None = None
        self.order = Order([algorithm.length(number) for number in range(len(algorithm))], optim.batch, config.seed)
        self.checkpoints = Checkpoints(out, config, algorithm.digest, team, self.parameters, self.optimiser, save_model)
        team.share_weights(list(self.parameters.values()))
        if optim.ema:
            self.average = Average(self.parameters, optim.ema)
        if state is not None:
            self.progress = self.checkpoints.load(state, self.average)
        self.saved = self.progress.step if state is not None else -1
        self.examples = 0

    def go(self, interrupt: Interrupt) -> TrainResult:
        """Run to the end, or until something stops it."""
        optim, progress, team = self.config.optim, self.progress, self.team
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        self.tell(
            Started(
                progress.step, optim.steps, str(team.device), team.size, len(self.algorithm),
                sum(size for size, _ in sizes), sum(size for size, learned in sizes if learned),
            )
        )  # fmt: skip
        places = (Place.of(step, optim.accumulate, team.size, team.rank) for step in range(progress.step, optim.steps))
        feed = Feed(self.algorithm, self.order, self.config.seed, places)
        try:
            reason = self._steps(feed, interrupt)
        finally:
            feed.close()
        self.tell(Stopped(progress.step, reason))
        return TrainResult(progress.step, reason, progress.figures, progress.best_step, progress.best_figures)

    def _steps(self, feed: Feed, interrupt: Interrupt) -> Reason:
        config, progress = self.config, self.progress
        stop = False
        while True:
            ended = progress.step >= config.optim.steps
            due = progress.step > 0 and (progress.step % config.eval.every == 0 or ended)
            if due and progress.evaluated != progress.step and not stop:
                feed.settle()
                stop = not self._evaluate(interrupt)
            patience = config.eval.patience
            reason: Reason | None = None
            if stop:
                reason = "interrupted"
            elif ended:
                reason = "finished"
            elif patience is not None and progress.worse >= patience:
                reason = "patience"
            if self.saved != progress.step and (reason or (progress.step and progress.step % config.save_every == 0)):
                self._save()
            if reason:
                return reason
            stop = self._step(feed, interrupt)

    def _step(self, feed: Feed, interrupt: Interrupt) -> bool:
        """Take one optimiser step; return whether a signal came in any process."""
        began = time.perf_counter()
        optim, step = self.config.optim, self.progress.step
        rate = learning_rate(optim, step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batches = [feed.take() for _ in range(optim.accumulate)]
        done = self._learn(batches, interrupt)
        self.progress.step += 1
        if self.average is not None:
            self.average.update(step)
        seconds = time.perf_counter() - began
        self.tell(
            Step(
                step + 1, optim.steps, batches[-1].epoch, done.loss, done.parts, rate, done.norm, done.tokens,
                done.tokens / seconds, seconds, _memory(self.team.device),
            )
        )  # fmt: skip
        return done.interrupted

    def _learn(self, batches: list[Prepared], interrupt: Interrupt) -> _Done:
        import torch

        step, optim = self.progress.step, self.config.optim
        _seed(self.config.seed, 11, step, self.team.rank)
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        values = [self._backward(batch) for batch in batches]
        parameters = list(self.parameters.values())
        self.team.sum_gradients(parameters)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        names = sorted(values[0][1])
        tokens = sum(int(batch.tensors["tokens"]) for batch in batches)
        shared = torch.stack(
            [torch.stack([total, *(parts[name] for name in names)]) * b.share
             for (total, parts), b in zip(values, batches, strict=True)]
        ).sum(0)  # fmt: skip
        rest = torch.tensor([tokens, interrupt.came], dtype=torch.float64, device=self.team.device)
        loss, *parts, tokens_all, came = self.team.sum(torch.cat([shared, rest])).tolist()
        done = _Done(loss, dict(zip(names, parts, strict=True)), float(norm), int(tokens_all), came > 0)
        if not (math.isfinite(done.loss) and math.isfinite(done.norm)):
            tried = [
                Tried(batch, float(total), {name: float(parts[name]) for name in names})
                for (total, parts), batch in zip(values, batches, strict=True)
            ]
            raise not_finite(self.out, step + 1, self.team.rank, self.config.seed, tried, self.parameters)
        torch.nn.utils.clip_grads_with_norm_(parameters, optim.clip, norm)
        self.optimiser.step()
        return done

    def _backward(self, batch: Prepared) -> "tuple[torch.Tensor, dict[str, torch.Tensor]]":
        """Add a batch's part to the gradients; return its loss and the parts of it in float64."""
        import torch

        device = self.team.device
        tensors = {
            name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for name, value in batch.tensors.items()
        }
        with torch.autocast(device.type, torch.bfloat16) if self.config.optim.bf16 else nullcontext():
            losses = self.algorithm.loss(self.model, tensors)
        (losses.total * batch.share).backward()  # type: ignore[no-untyped-call]
        return losses.total.detach().double(), {name: part.detach().double() for name, part in losses.parts.items()}

    def _evaluate(self, interrupt: Interrupt) -> bool:
        """Measure the model, keep it if it is the best; return False if a signal broke it off."""
        progress = self.progress
        began = time.perf_counter()
        figures = self.team.tell(self._figures(interrupt) if self.team.first else None)
        if figures is None:
            return False
        regret = figures["regret"]
        best = math.isfinite(regret) and regret < progress.best_figures.get("regret", math.inf)
        progress.evaluated, progress.figures = progress.step, figures
        progress.worse = 0 if best else progress.worse + 1
        if best:
            progress.best_step, progress.best_figures = progress.step, figures
        self.tell(Evaluated(progress.step, figures, best, time.perf_counter() - began))
        if best:
            self._report_saved(lambda: self.checkpoints.save_best(self.model, progress, self.average))
        self.saved = -1
        return True

    def _figures(self, interrupt: Interrupt) -> dict[str, float] | None:
        import torch

        _seed(self.config.seed, 13, self.progress.step)
        self.model.eval()
        try:
            with interrupt.breaking(), torch.no_grad(), self.average.applied() if self.average else nullcontext():
                figures = self.algorithm.evaluate(self.model)
        except Interrupted:
            return None
        if "regret" not in figures:
            raise TrainError(f"the evaluation gave no 'regret', only {', '.join(sorted(figures)) or 'nothing'}")
        return {name: float(value) for name, value in figures.items()}

    def _save(self) -> None:
        place = dict(zip(("epoch", "batch"), divmod(self._position(), self.order.batches), strict=True))
        self._report_saved(lambda: self.checkpoints.save_last(self.model, self.progress, self.average, place))
        self.saved = self.progress.step

    def _position(self) -> int:
        return self.progress.step * self.config.optim.accumulate * self.team.size

    def _report_saved(self, save: Callable[[], Path]) -> None:
        """Let the first process save, while the others wait."""
        began = time.perf_counter()
        folder = save() if self.team.first else None
        self.team.tell(None)
        if folder is not None:
            self.tell(Saved(self.progress.step, folder, time.perf_counter() - began))


def _prepare(model: Any, config: TrainConfig, team: Team) -> None:
    """Put the model where and how it is trained."""
    import torch

    if config.optim.threads is not None:
        torch.set_num_threads(config.optim.threads)
    if not getattr(model, "is_quantized", False):  # bitsandbytes has put it on the GPU already
        model.to(team.device)
    if config.optim.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _seed(*what: int) -> None:
    """Seed every generator that dropout, or whatever else a model does, might draw from."""
    import torch

    seed = int(np.random.SeedSequence(what).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _memory(device: "torch.device") -> int:
    """Return the peak of memory in bytes: allocated on a GPU, or resident in this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
