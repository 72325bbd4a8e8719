"""Live progress of a training run on stderr: one line with a bar on a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType
from typing import Any

from catp.cli.output import console_err, milliseconds, printable
from catp.training.caorl.events import Evaluated, Event, Saved, Started, Step, Stopped

__all__ = ["TrainProgress"]

_PLAIN_EVERY_S = 10.0


class TrainProgress:
    """Feed it the events of a run; it draws. Use as a context manager so that the terminal is left in order."""

    def __init__(self) -> None:
        self._console = console_err()
        self._bar: Any = None
        self._task: Any = None
        self._began, self._first = time.monotonic(), 0
        self._spoke = -_PLAIN_EVERY_S
        self._regret: float | None = None
        if self._console.is_terminal and not self._console.quiet:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(bar_width=None), MofNCompleteColumn(),
                TextColumn("{task.fields[told]}"), TimeRemainingColumn(), console=self._console, transient=True,
            )  # fmt: skip

    def __enter__(self) -> "TrainProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(printable(text), markup=False)

    def doing(self, text: str) -> None:
        """Tell what is being done before the run starts; now and then, where lines cannot be written over."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task("", total=None, told="")
            self._bar.update(self._task, description=printable(text))
        elif time.monotonic() - self._spoke >= _PLAIN_EVERY_S:
            self._spoke = time.monotonic()
            self.say(text)

    def on_event(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Step):
            self._step(event)
        elif isinstance(event, Evaluated):
            self._evaluated(event)
        elif isinstance(event, Saved):
            self.say(f"step {event.step:,}: saved {event.folder} in {milliseconds(event.seconds * 1000)}")
        else:
            self._stopped(event)

    def _stopped(self, event: Stopped) -> None:
        if event.reason != "finished":
            why = {"patience": "no better regret for long enough", "interrupted": "interrupted"}[event.reason]
            self.say(f"stopped after step {event.step:,}: {why}")

    def _start(self, event: Started) -> None:
        self._began, self._first = time.monotonic(), event.step
        processes = f" in {event.processes} processes" if event.processes > 1 else ""
        goes_on = f"going on after step {event.step:,} of" if event.step else "training for"
        self.say(
            f"{goes_on} {event.steps:,} steps on {event.device}{processes}: {event.examples:,} inputs, "
            f"{event.parameters:,} parameters, {event.trainable:,} of them trained"
        )
        self._spoke = -_PLAIN_EVERY_S
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task("train", total=event.steps, completed=event.step, told="")

    def _step(self, event: Step) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=event.step, told=self._told(event))
            return
        now = time.monotonic()
        if now - self._spoke >= _PLAIN_EVERY_S or event.step == event.steps:
            self._spoke = now
            left = (now - self._began) / (event.step - self._first) * (event.steps - event.step)
            self.say(f"step {event.step:,}/{event.steps:,}  {self._told(event)}  left {milliseconds(left * 1000)}")

    def _told(self, event: Step) -> str:
        regret = "" if self._regret is None else f"  regret {self._regret:.4f}"
        return f"loss {event.loss:.4f}  lr {event.lr:.2e}  {event.tokens_per_s:,.0f} tokens/s{regret}"

    def _evaluated(self, event: Evaluated) -> None:
        self._regret = event.figures["regret"]
        others = "".join(f", {name} {value:.4g}" for name, value in event.figures.items() if name != "regret")
        best = " (best so far)" if event.best else ""
        self.say(
            f"step {event.step:,}: regret {self._regret:.4f}{best}{others} in {milliseconds(event.seconds * 1000)}"
        )
