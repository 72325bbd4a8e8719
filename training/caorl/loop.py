"""The training loop: steps, evaluations, checkpoints; the same weights however often it is stopped and resumed.

    order -> feed -> step -> [evaluate -> best] -> [save -> last] -> next step

What makes a resumed run equal to an uninterrupted one, bit for bit on a CPU: the order of examples and the learning
rate are functions of the step, every random generator is seeded at every step, and the rest (weights, moments, running
mean) is stored as it is. Evaluation cannot disturb training, so how often to evaluate may change on the way.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from catp.training.caorl.checkpoints import Checkpoints, state_to_resume
from catp.training.caorl.config import TrainConfig
from catp.training.caorl.errors import TrainError
from catp.training.caorl.events import Evaluated, Event, Reason, Saved, Started, Step, Stopped, TrainResult
from catp.training.caorl.feed import Feed, Place
from catp.training.caorl.interrupt import Interrupt, Interrupted
from catp.training.caorl.learner import Learner, seed_everything
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
        on_event: Told of everything that happens, in the first process. What it raises ends the run.

    Raises:
        TrainError: Nothing to learn or to learn from, a folder that is in use, no room on the disk, a loss or gradient
            that is not finite, an evaluation without `regret`.
        ResumeError: The state is damaged or belongs to another run.
    """
    team = Team(config.device)
    state = team.tell(state_to_resume(out, resume) if team.first else None)
    if not len(algorithm):
        raise TrainError("there is nothing to learn from: the training side of the data has no example")
    learner = Learner(algorithm, model, config, team)
    checkpoints = Checkpoints(out, config, algorithm.digest, team.size, learner, save_model)
    progress = Progress() if state is None else checkpoints.load(state)
    tell = on_event if team.first else lambda event: None
    with Interrupt() as interrupt:
        return _Run(algorithm, config, out, team, learner, checkpoints, progress, tell, interrupt).go()


class _Run:
    """A run under way."""

    def __init__(
        self,
        algorithm: Algorithm,
        config: TrainConfig,
        out: Path,
        team: Team,
        learner: Learner,
        checkpoints: Checkpoints,
        progress: Progress,
        tell: Callable[[Event], None],
        interrupt: Interrupt,
    ) -> None:
        self._algorithm = algorithm
        self._config = config
        self._out = out
        self._team = team
        self._learner = learner
        self._checkpoints = checkpoints
        self._progress = progress
        self._tell = tell
        self._interrupt = interrupt
        lengths = [algorithm.length(number) for number in range(len(algorithm))]
        self._order = Order(lengths, config.optim.batch, config.seed)
        self._unsaved = progress.step == 0

    def go(self) -> TrainResult:
        """Run to the end, or until something stops it."""
        optim, progress, team = self._config.optim, self._progress, self._team
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self._learner.model.parameters()]
        self._tell(
            Started(
                progress.step, optim.steps, str(team.device), team.size, len(self._algorithm),
                sum(size for size, _ in sizes), sum(size for size, learned in sizes if learned),
            )
        )  # fmt: skip
        places = (Place.of(step, optim.accumulate, team.size, team.rank) for step in range(progress.step, optim.steps))
        feed = Feed(self._algorithm, self._order, self._config.seed, places)
        try:
            reason = self._steps(feed)
        finally:
            feed.close()
        self._tell(Stopped(progress.step, reason))
        return TrainResult(progress.step, reason, progress.figures, progress.best_step, progress.best_figures)

    def _steps(self, feed: Feed) -> Reason:
        config, progress = self._config, self._progress
        stop = False
        while True:
            ended = progress.step >= config.optim.steps
            due = progress.step > 0 and (progress.step % config.eval.every == 0 or ended)
            if due and progress.evaluated != progress.step and not stop:
                feed.settle()
                stop = not self._evaluate()
            reason = self._reason(stop, ended)
            if self._unsaved and (reason or (progress.step and progress.step % config.save_every == 0)):
                self._save()
            if reason:
                return reason
            stop = self._step(feed)

    def _reason(self, stop: bool, ended: bool) -> Reason | None:
        patience = self._config.eval.patience
        if stop:  # also after the last step: its evaluation is still to be done
            return "interrupted"
        if ended:
            return "finished"
        return "patience" if patience is not None and self._progress.worse >= patience else None

    def _step(self, feed: Feed) -> bool:
        """Take one optimiser step; return whether a signal came in any process."""
        began = time.perf_counter()
        optim, progress = self._config.optim, self._progress
        batches = [feed.take() for _ in range(optim.accumulate)]
        done = self._learner.step(progress.step, batches, self._out, stop=self._interrupt.came)
        progress.step += 1
        self._unsaved = True
        seconds = time.perf_counter() - began
        self._tell(
            Step(
                progress.step, optim.steps, batches[-1].epoch, done.loss, done.parts, done.rate, done.norm, done.tokens,
                done.tokens / seconds, seconds, _memory(self._team.device),
            )
        )  # fmt: skip
        return done.stop or (self._team.size == 1 and self._interrupt.came)  # several must first agree

    def _evaluate(self) -> bool:
        """Measure the model, keep it if it is the best; return False if a signal broke it off."""
        progress = self._progress
        began = time.perf_counter()
        figures = self._team.tell(self._figures() if self._team.first else None)
        if figures is None:
            return False
        regret = figures["regret"]
        best = math.isfinite(regret) and regret < progress.best_figures.get("regret", math.inf)
        progress.evaluated, progress.figures = progress.step, figures
        progress.worse = 0 if best else progress.worse + 1
        if best:
            progress.best_step, progress.best_figures = progress.step, figures
        self._unsaved = True
        self._tell(Evaluated(progress.step, figures, best, time.perf_counter() - began))
        if best:
            self._written(lambda: self._checkpoints.save_best(progress))
        return True

    def _figures(self) -> Mapping[str, float] | None:
        import torch

        learner = self._learner
        seed_everything(self._config.seed, 13, self._progress.step)
        learner.model.eval()
        try:
            # `breaking` is innermost: a signal must not come between while weights are put back.
            averaged = learner.average.applied() if learner.average else nullcontext()
            with torch.no_grad(), averaged, self._interrupt.breaking():
                figures = self._algorithm.evaluate(learner.model)
        except Interrupted:
            return None
        if "regret" not in figures:
            raise TrainError(f"the evaluation gave no 'regret', only {', '.join(sorted(figures)) or 'nothing'}")
        return {name: float(value) for name, value in figures.items()}

    def _save(self) -> None:
        position = self._progress.step * self._config.optim.accumulate * self._team.size
        place = dict(zip(("epoch", "batch"), divmod(position, self._order.batches), strict=True))
        self._written(lambda: self._checkpoints.save_last(self._progress, place))
        self._unsaved = False

    def _written(self, save: Callable[[], Path]) -> None:
        """Let the first process save, while the others wait."""
        began = time.perf_counter()
        folder = self._team.tell(save() if self._team.first else None)
        self._tell(Saved(self._progress.step, folder, time.perf_counter() - began))


def _memory(device: "torch.device") -> int:
    """Return the peak of memory in bytes: allocated on a GPU, or resident in this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
