"""Warn levels of shared budgets: when the store is to be asked, and which levels are told, once among all processes."""

from catp.budgets.reservation_rows import STILL_HELD, row_of
from catp.budgets.transactions import Execute
from catp.planlang.money import Money
from catp.runtime.ledger import CallKey
from catp.runtime.limits import LevelReached, crossed
from catp.store.budgets import Standing

__all__ = ["WarnLevels"]

_MANY = 256
_FIRE = """
INSERT INTO budget_fires (budget_id, period_start, level, fired_ns, run_id) VALUES (:budget, :start, :level, :now, :run)
ON CONFLICT (budget_id, period_start, level) DO NOTHING RETURNING level
"""


class WarnLevels:
    """What this process knows of the levels ahead, and what its calls have cost that the store may not count yet."""

    def __init__(self) -> None:
        self._settled: dict[CallKey, Money] = {}
        self._levels: list[tuple[int, int]] = []
        self._told: dict[tuple[str, str], int] = {}

    @property
    def ahead(self) -> bool:
        """True if a level may still be reached."""
        return bool(self._levels)

    def settled(self, key: CallKey, amount: Money, *, held: bool) -> bool:
        """Count what a call cost that `held` money; True if a level may be reached by now."""
        if held:
            self._settled[key] = amount
        pending = sum(self._settled.values())
        return len(self._settled) > _MANY or any(spent + pending >= level for spent, level in self._levels)

    def watch(self, found: list[Standing]) -> None:
        """Remember how far each budget is from its next warn level, to ask the store only when one may be reached."""
        self._levels = []
        for standing in found:
            budget = standing.budget
            ahead = [level for level in budget.warn if round(level * budget.cap) > self._told.get(_mark(standing), -1)]
            if ahead:
                self._levels.append((standing.spent, round(ahead[0] * budget.cap)))

    def drop_stored(self, execute: Execute) -> None:
        """Forget the calls whose rows are stored: the store counts them."""
        runs = {key.run_id for key in self._settled}
        still = {(run, *row) for run in runs for row in execute(STILL_HELD, {"run": run})}
        self._settled = {key: amount for key, amount in self._settled.items() if row_of(key) in still}

    def fire(self, execute: Execute, found: list[Standing], now_ns: int, run: str | None) -> tuple[LevelReached, ...]:
        """Mark the levels that are reached as told, counting what is not stored yet; return the new ones."""
        pending = sum(self._settled.values())
        reached = []
        for standing in found:
            budget, spent = standing.budget, Money(standing.spent + pending)
            for level in crossed(budget.warn, spent, budget.cap):
                place = {"budget": budget.id, "start": standing.start, "level": level}
                self._told[_mark(standing)] = round(level * budget.cap)
                if execute(_FIRE, {**place, "now": now_ns, "run": run}):
                    reached.append(LevelReached(budget.title, level, spent, budget.cap))
        self.watch(found)
        return tuple(reached)

    def tell_again(self) -> None:
        """What was marked as told is not, after all: the transaction has failed."""
        self._told.clear()


def _mark(standing: Standing) -> tuple[str, str]:
    return standing.budget.id, standing.start
