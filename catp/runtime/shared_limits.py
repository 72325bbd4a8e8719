"""What the ledger sees of budgets that several processes draw on."""

from typing import Protocol

from catp.planlang.money import Money
from catp.runtime.ledger_rows import CallKey
from catp.runtime.limits import BudgetRefused, LevelReached

__all__ = ["SharedLimits"]


class SharedLimits(Protocol):
    """Budgets that several processes draw on, as the ledger sees them; `catp.budgets` keeps them in the run store.

    Calls return at once, with an answer; they never raise. Amounts are nano-USD.
    """

    @property
    def capped(self) -> bool:
        """True if there is a budget to hold, as far as is known."""
        ...

    def reserve(self, key: CallKey, amount: Money, kept: Money) -> BudgetRefused | None:
        """Hold `amount` in every budget if it fits beside `kept`; else change nothing and say why."""
        ...

    def settle(self, key: CallKey, amount: Money) -> tuple[LevelReached, ...]:
        """The call cost `amount`: what it held becomes spent once its rows are stored. Returns warn levels reached."""
        ...

    def release(self, key: CallKey) -> None:
        """The call cost nothing."""
        ...
