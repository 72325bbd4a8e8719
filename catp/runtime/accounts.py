"""What one run has spent: its ledger rows, added up step by step, and the limits of its plan that they count in.

A row belongs to a step, or to making the plan: rows of kind `planning` and `eager` (calls that were started early and
that no step adopted) are those of the pseudo-step `plan`, and no limit within the plan is charged with them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from catp.planlang.money import Money, format_usd
from catp.runtime.ledger import CallKey, Ledger, LedgerRow, Limit, Settlement
from catp.runtime.limits import LevelReached
from catp.runtime.losses import EAGER, Loss
from catp.runtime.planning import PLANNING, PLANNING_STEP, Planning
from catp.runtime.program import StepInfo
from catp.runtime.restore import LostCall, Restored

__all__ = ["Accounts"]


class Accounts:
    """The accounts of one run: `rows` in order, `prices` and `estimates` by step, nano-USD.

    Args:
        run_id: The run.
        ledger: Pays.
        limit: The plan's own limit of money.
    """

    def __init__(self, run_id: str, ledger: Ledger, limit: Limit | None) -> None:
        self.rows: list[LedgerRow] = []
        self.prices: dict[str, Money] = {}
        self.estimates: dict[str, Money] = {}
        self._run_id = run_id
        self._ledger = ledger
        self._limit = limit
        self._step_limits: dict[str, Limit] = {}

    @property
    def spent(self) -> Money:
        """The sum of the priced rows."""
        return Money(sum(row.amount for row in self.rows if row.amount is not None))

    def limits_of(self, info: StepInfo) -> tuple[Limit, ...]:
        """Return the limits that a call of the step must fit into, beside those of the ledger."""
        if info.budget is None:
            return () if self._limit is None else (self._limit,)
        own = self._step_limits.get(info.name)
        if own is None:
            own = self._step_limits[info.name] = Limit(
                info.budget, f"the step's @budget of ${format_usd(info.budget)}", scope="step"
            )  # fmt: skip
        return (own,) if self._limit is None else (self._limit, own)

    def settled(self, step: str, settlement: Settlement, expected: Money | None) -> None:
        """Add what a call cost, and what it was expected to cost, to its step."""
        self.rows.extend(settlement.rows)
        if settlement.amount is not None:
            self.prices[step] = Money(self.prices.get(step, 0) + settlement.amount)
        if expected is not None:
            self.estimates[step] = Money(self.estimates.get(step, 0) + expected)

    # --- of an earlier life of the run ------------------------------------------------------------------------------

    def resume(self, past: Restored, steps: Mapping[str, StepInfo]) -> None:
        """Count what an earlier life of the run has spent."""
        self.rows = list(past.rows)
        self.estimates = dict(past.estimates)
        for row in past.rows:
            self._count(row, steps)

    def orphan(self, call: LostCall, steps: Mapping[str, StepInfo]) -> Settlement:
        """Charge a call that was under way when the process died with what was held for it."""
        key = CallKey(self._run_id, call.step, call.number, call.tool, call.element)
        settlement = self._ledger.orphan(key, call.reserved, "in flight when the process stopped")
        self.rows.extend(settlement.rows)
        for row in settlement.rows:
            self._count(row, steps)
        return settlement

    def _count(self, row: LedgerRow, steps: Mapping[str, StepInfo]) -> None:
        """Count a row of an earlier life for its step and in the limits of the plan."""
        if row.amount is None or row.kind in (PLANNING, EAGER):
            return
        self.prices[row.step] = Money(self.prices.get(row.step, 0) + row.amount)
        if row.step in steps:
            for limit in self.limits_of(steps[row.step]):
                limit.pay(row.amount)
        elif self._limit is not None:
            self._limit.pay(row.amount)

    # --- of making the plan -----------------------------------------------------------------------------------------

    def plan(self, planning: Planning | None, data: dict[str, Any]) -> tuple[LevelReached, ...]:
        """Write the row of planning into the ledger and into the data of the event of what came of it: both or neither.

        Returns the warn levels that this reached; nothing happens if another run has booked this planning.
        """
        if planning is None or not planning.claim():
            return ()
        number = 1 + sum(row.kind == PLANNING for row in self.rows)
        settlement = self._ledger.plan(self._run_id, planning, number)
        self.rows.extend(settlement.rows)
        rows = [row.to_json() for row in settlement.rows]
        data["planning"] = {"planner": planning.planner, "ms": planning.ms, "number": number, "rows": rows}
        return settlement.reached

    def lose(self, losses: Sequence[Loss], data: dict[str, Any]) -> tuple[LevelReached, ...]:
        """Write the rows of calls in vain into the ledger and into the data of the event that tells of them: both or
        neither. Returns the warn levels that this reached."""
        levels: tuple[LevelReached, ...] = ()
        before = sum(row.kind == EAGER for row in self.rows)
        for number, loss in enumerate(losses, before):
            settlement = self._ledger.lose(CallKey(self._run_id, PLANNING_STEP, 1, loss.tool, number), loss)
            self.rows.extend(settlement.rows)
            rows = [row.to_json() for row in settlement.rows]
            told = {"tool": loss.tool, "step": loss.step, "number": number, "ms": loss.ms, "rows": rows}
            data.setdefault("eager", {}).setdefault("calls", []).append(told)
            levels += settlement.reached
        return levels
