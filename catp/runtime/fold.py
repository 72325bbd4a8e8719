"""From a journal to what is known of its run: one pass over the events, then the values are put in place.

The order of the journal is all that is trusted: a value is there before the event that announces it, and the intention
to call a tool that writes is there before the call. Whatever is cut off at the end is therefore either not done, or
done and in doubt, and `Restored.lost` names what is in doubt.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from catp.planlang.money import Money
from catp.runtime.events import RunEvent, RunStatus
from catp.runtime.folded_steps import STEP_ENDS, FoldedStep, FoldedUnit, end_element, move_step, restored_step
from catp.runtime.hooks import ValueKey
from catp.runtime.ledger import LedgerRow
from catp.runtime.losses import Loss
from catp.runtime.recorded_rows import planning_rows, recorded_money, rows_of
from catp.runtime.repairs import FailedCall
from catp.runtime.restore import PastCall, Restored

__all__ = ["restore"]

_FAILED = frozenset({"error", "timeout", "rejected"})
_CUT_SHORT = frozenset({"lost", "cancelled"})


def restore(events: Iterable[RunEvent], values: Mapping[ValueKey, Any]) -> Restored:
    """Return what a journal tells of its run; values that cannot be read back are simply not in `values`.

    Raises `ValueError` if the journal is empty, or an event is missing or of another run.
    """
    fold = _Fold()
    for event in events:
        fold.take(event)
    if not fold.events:
        raise ValueError("the journal is empty: nothing of the run was saved before it stopped")
    return fold.result(values)


class _Fold:
    """The events so far."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.steps: dict[str, FoldedStep] = {}
        self.rows: list[LedgerRow] = []
        self.failures: list[FailedCall] = []
        self.estimates: dict[str, Money] = {}
        self.calls = 0
        self.lives = 0
        self.elapsed_ns = 0
        self.alive_since: int | None = None
        self.begun = False
        self.status: RunStatus | None = None
        self.stopped = ""
        self.source: str | None = None
        self.told: Mapping[str, Any] = {}
        self.numbers: dict[tuple[str, int | None], int] = {}
        self.early: dict[str, Loss] = {}

    def take(self, event: RunEvent) -> None:
        """Take the next event."""
        if event.seq != len(self.events) + 1:
            raise ValueError(
                f"the journal of run {event.run_id} has a gap: event {len(self.events) + 1} is missing, found number "
                f"{event.seq}"
            )
        if self.events and event.run_id != self.events[0].run_id:
            raise ValueError(f"event {event.seq} belongs to run {event.run_id}, not to {self.events[0].run_id}")
        if event.step is not None and event.type.startswith("node."):
            step = self.steps.setdefault(event.step, FoldedStep())
            if event.attempt is not None:
                _CALL.get(event.type, _nothing)(self, step, event)
            elif event.element is not None:
                end_element(step.unit(event.element), event)
                self.failed(step.unit(event.element))
            else:
                move_step(step, event)
                if event.type in STEP_ENDS:
                    for unit in step.units.values():
                        self.failed(unit)
        elif event.step is None:
            self._move_run(event)
        self.events.append(event)

    def _move_run(self, event: RunEvent) -> None:
        kind = event.type
        if kind == "run.created":
            self.told, self.lives = dict(event.data), 1
            self.rows += planning_rows(event)
            self.early = {one["key"]: _orphan(one) for one in event.data.get("eager", {}).get("held", ())}
        elif kind == "run.started":
            self.begun, self.alive_since = True, event.at_ns
        elif kind == "run.awaiting_approval":
            self._end_life()  # what somebody takes to decide is not the run's time
            self.begun = False
        elif kind == "run.resumed":
            self._end_life()
            self.lives += 1
            self.rows += planning_rows(event)
            self.early = {}
            self.status, self.stopped = None, ""
            self.alive_since = event.at_ns if self.begun else None
            for name in event.data.get("retried", ()):
                step = self.steps.setdefault(name, FoldedStep())
                step.status, step.reason = None, ""
                for unit in step.units.values():
                    unit.forget_tries()
            for said in event.data.get("in_flight", ()):
                unit = self.steps.setdefault(said["step"], FoldedStep()).unit(said.get("element"))
                if unit.number == said["attempt"] and said["say"] != "over":
                    unit.said = said["say"]
        elif kind == "run.replanned":
            self._let_go(set(event.data.get("kept", ())))
            self.source = event.data.get("source")
            self.rows += planning_rows(event)
        elif kind in ("run.finished", "run.waiting"):
            self.rows += planning_rows(event)
            self.early = {}
            self.status, self.stopped = event.data["status"], event.data.get("reason", "")

    def _let_go(self, kept: set[str]) -> None:
        """Forget the steps that a repair replaced, but for how many calls they made."""
        for name in self.steps.keys() - kept:
            for element, unit in self.steps.pop(name).units.items():
                self.numbers[name, element] = max(unit.number, self.numbers.get((name, element), 0))

    def _end_life(self) -> None:
        if self.alive_since is not None:
            self.elapsed_ns += max(0, self.events[-1].at_ns - self.alive_since)
            self.alive_since = None

    def started(self, step: FoldedStep, event: RunEvent) -> None:
        """A call began."""
        unit, data = step.unit(event.element), event.data
        number, alternative = event.attempt or 0, data.get("alternative", 0)
        assert event.step is not None
        self.early.pop(data.get("early", ""), None)
        call = PastCall(
            event.step, event.element, number, data["tool"], data.get("version", "1"), alternative, data.get("key"),
            recorded_money(data.get("reserved")), recorded_money(data.get("est")), event.at_ns,
            writes=bool(data.get("writes")),
        )  # fmt: skip
        unit.number = max(unit.number, number)
        unit.in_hand = max(unit.in_hand, alternative)
        unit.open_calls[number] = unit.last = call
        unit.undecided, unit.said = False, None
        step.calls += 1
        step.started_ns = event.at_ns if step.started_ns is None else step.started_ns
        self.calls += 1
        if call.estimate is not None:
            self.estimates[event.step] = Money(self.estimates.get(event.step, 0) + call.estimate)

    def settled(self, step: FoldedStep, event: RunEvent) -> None:
        """A call is over and paid."""
        unit, data = step.unit(event.element), event.data
        call = unit.open_calls.pop(event.attempt or 0, None)
        self.rows += rows_of(event, data["tool"])
        outcome = data["outcome"]
        if call is None:
            return
        call = call._replace(outcome=outcome, reason=data.get("reason", ""), error=data.get("error", ""))
        if unit.last is not None and unit.last.number == call.number:
            unit.last = call
        if outcome not in _CUT_SHORT:  # what a dying process cut short was no try of the tool
            unit.tries[call.alternative] = unit.tries.get(call.alternative, 0) + 1
        if outcome == "ok" and unit.won is None:
            unit.won = call.alternative
        if outcome in _FAILED:
            unit.undecided = True
            unit.last = call
            unit.failure = FailedCall(call.step, call.tool, call.error or outcome, call.reason, data.get("arguments"))

    def retrying(self, step: FoldedStep, event: RunEvent) -> None:
        """The call that failed is made again: it did not fail for good."""
        unit = step.unit(event.element)
        unit.undecided, unit.failure = False, None

    def refused(self, step: FoldedStep, event: RunEvent) -> None:
        """There was no money for a call."""
        unit = step.unit(event.element)
        unit.number = max(unit.number, event.attempt or 0)
        unit.problems.append(("refused", event.data.get("reason", "")))
        self.calls += 1

    def fell_back(self, step: FoldedStep, event: RunEvent) -> None:
        """The next alternative is in hand."""
        unit = step.unit(event.element)
        if unit.undecided and unit.last is not None:
            unit.problems.append(("failed", unit.last.reason))
        unit.in_hand += 1
        self.failed(unit)

    def failed(self, unit: FoldedUnit) -> None:
        """The last failure of a unit was one for good."""
        if unit.failure is not None:
            self.failures.append(unit.failure)
        unit.undecided, unit.failure = False, None

    def hedged(self, step: FoldedStep, event: RunEvent) -> None:
        """The next alternative is in hand beside the running one."""
        step.unit(event.element).in_hand += 1

    def result(self, values: Mapping[ValueKey, Any]) -> Restored:
        """Everything the events and values tell."""
        self._end_life()
        lost = tuple(
            call for step in self.steps.values() for unit in step.units.values() for call in unit.open_calls.values()
        )
        return Restored(
            {name: restored_step(name, step, values) for name, step in self.steps.items()},
            {name: value for (kind, name, _), value in values.items() if kind == "input"},
            len(self.events), self.lives, self.elapsed_ns, self.calls, tuple(self.rows), lost, tuple(self.failures),
            self.estimates, tuple(self.events), self.status, self.stopped, self.begun,
            source=self.source, told=self.told, numbers=self.numbers,
            early=tuple(self.early.values()),
        )  # fmt: skip


def _orphan(held: Mapping[str, Any]) -> Loss:
    """What a call that was started early is charged if its process dies before a step adopts it."""
    note = "started early, and not adopted when the process stopped"
    return Loss(held["tool"], held["step"], 0.0, recorded_money(held["reserved"]), note, estimated=True)


def _nothing(_fold: _Fold, _step: FoldedStep, _event: RunEvent) -> None:
    """Other events of a call change nothing that has to be known."""


_CALL: dict[str, Callable[[_Fold, FoldedStep, RunEvent], None]] = {
    "node.started": _Fold.started,
    "node.settled": _Fold.settled,
    "node.retrying": _Fold.retrying,
    "node.refused": _Fold.refused,
    "node.fallback": _Fold.fell_back,
    "node.hedged": _Fold.hedged,
}
