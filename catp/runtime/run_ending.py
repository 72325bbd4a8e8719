"""How a run ends once nothing is left to do: it is mended with another plan and goes on, or its outcome is drawn up."""

from collections.abc import Mapping
from typing import Any

from catp.planlang.printer import to_text
from catp.runtime.binding import look_up
from catp.runtime.commands import Conclude, Concluded, Replanned
from catp.runtime.limits import LevelReached
from catp.runtime.mending import unchanged
from catp.runtime.outcome import OutputResult, RunOutcome, collect_outputs, finished_data, step_result, verdict
from catp.runtime.planning import Planning
from catp.runtime.program import build_program
from catp.runtime.repairs import Broken, Repaired
from catp.runtime.run_parts import RunParts

__all__ = ["EndingRun"]


class EndingRun(RunParts):
    """A run, as far as its end is concerned."""

    def _leave_early(self, data: dict[str, Any]) -> tuple[LevelReached, ...]:
        """Book the calls that were started early and that no step came to take."""
        early = self._dispatcher.early
        if early is None:
            return ()
        self._dispatcher.stopping.update(early.leave("its step did not come to be called"))
        return self._accounts.lose(early.unbooked(), data)

    def _conclude(self, command: Conclude) -> None:
        outputs = collect_outputs(self._state, self._values)
        broken = self._broken(outputs)
        if broken is None:
            self._end(outputs)
        else:
            self._mending.start(broken)

    def _broken(self, outputs: Mapping[str, OutputResult]) -> Broken | None:
        """What a repairer is told, or None if there is none, or nothing failed that could be repaired."""
        state = self._state
        missing = tuple(name for name, output in outputs.items() if output.status in ("failed", "poisoned"))
        if not missing or state.stopped or not self._mending.worth_it(len(state.failures.calls)):
            return None
        left_s = None
        if self._deadline_s is not None:
            left_s = self._deadline_s - (self.clock.now_ns() - self._started_ns - self._asking.held_ns) / 1e9
        return Broken(
            self._compiled, self._values.snapshot(),
            frozenset(name for name, step in state.steps.items() if step.has_value), tuple(state.failures.calls),
            missing, self._accounts.spent, self.ledger.available, left_s,
        )  # fmt: skip

    def _mended(self, repaired: Repaired | None, broken: Broken) -> None:
        planning = next(iter(broken.planning), None)
        if repaired is None or self._state.stopped:
            self._end(collect_outputs(self._state, self._values), planning)
        else:
            self._replan(repaired, broken.left_s, planning)

    def _replan(self, repaired: Repaired, left_s: float | None, planning: Planning | None) -> None:
        """Go on with another plan; steps that are the same in both and have ended stay as they ended."""
        now, program = self.clock.now_ns(), build_program(repaired.compiled)
        kept = unchanged(self._compiled.plan, repaired.compiled.plan, self._state)
        for name in program.steps.keys() - kept:
            self._journaled.reset(name)
        self._dispatcher.extend(look_up(program.steps.values(), self._catalogue))
        self._kept_back.plan(repaired.compiled, again=program.steps.keys() - kept)
        self._compiled = repaired.compiled
        data: dict[str, Any] = {
            "plan": repaired.compiled.digest, "source": to_text(repaired.compiled.source), "reason": repaired.reason,
            "kept": sorted(kept),
        }  # fmt: skip
        levels = self._accounts.plan(planning, data)
        self._post(Replanned(now, program, kept, left_s, data))
        self._warn(levels)

    def _end(self, outputs: dict[str, OutputResult], planning: Planning | None = None) -> None:
        """End the run; `planning` is what looking for another plan took, if that was in vain."""
        for name, reason in self._given_up.items():
            outputs.setdefault(name, OutputResult(None, "refused", reason, optional=True))
        status = verdict(self._state, outputs)
        for name, output in outputs.items():
            if output.ok:
                self._observers.keep("output", name, None, output.value)
        ended = self.clock.now_ns()
        booked: dict[str, Any] = {}
        self._warn(self._accounts.plan(planning, booked) + self._leave_early(booked))
        spent, ms = self._accounts.spent, (ended - self._started_ns) / 1e6
        data = booked | finished_data(status, outputs, spent, ms, self._state.stopped)
        self._ended = (outputs, status, ended, spent)
        self._post(Concluded(ended, status, data))

    def _finish(self) -> None:
        outputs, status, ended, spent = self._ended
        every_step, accounts = {**self._state.retired, **self._state.steps}, self._accounts
        self.outcome = RunOutcome(
            self.run_id, status, outputs,
            {
                name: step_result(step, self._values, accounts.prices.get(name), accounts.estimates.get(name))
                for name, step in every_step.items()
            },
            tuple(self.events), tuple(accounts.rows), spent, self._started_ns, ended, self._observers.error,
            self._compiled, tuple(self._dispatcher.refusals),
        )  # fmt: skip
        self._over.set()
