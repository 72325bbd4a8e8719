"""How an agent spends: its limits, what is held for a running call, when to warn, what to give up first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

from catp.planlang.money import Money, format_usd
from catp.planlang.passes.admit import Room
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.limits import BudgetRefused, LevelReached, Limit, ReserveAt

if TYPE_CHECKING:
    from catp.budgets.desk import BudgetDesk
    from catp.runtime.ledger import CallKey, LedgerRow, SharedLimits
    from catp.store.journal import RunJournal
    from catp.store.store import RunStore

__all__ = ["Spending", "budget_warnings", "desk_for", "warning_text"]


@dataclass(frozen=True)
class Spending:
    """The rules of one agent; the same for all of its runs.

    Args:
        limits: Caps that its runs share with each other, and with whoever else was given them in this process.
        desk: The budgets in the store that hold for its project and name; None without a store.
        assume_price: What an unpriced call is taken to cost under a cap; None refuses such calls.
        reserve: Which price of a call is held while it runs.
        warn: Shares of a run's budget that are told when they are reached.
        strict: A plan is only admitted if even its p95 fits.
        values: What optional outputs are worth, by name, when some must be given up; 1 where nothing is said.
    """

    limits: tuple[Limit, ...] = ()
    desk: "BudgetDesk | None" = None
    assume_price: Money | None = None
    reserve: ReserveAt = "p95"
    warn: tuple[float, ...] = ()
    strict: bool = False
    values: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.reserve not in get_args(ReserveAt):
            raise ValueError(f"reserve must be one of {', '.join(get_args(ReserveAt))}, not {self.reserve!r}")

    def ledger(
        self, budget: Money | None, *, journal: "RunJournal | None" = None, before: "Sequence[LedgerRow]" = ()
    ) -> Ledger:
        """The ledger of one run. Unless `journal` records it, shared budgets could not count what it spends."""
        shared: SharedLimits | None = self.desk
        if journal is not None:
            shared = _Recorded(self.desk, journal)
        elif self.desk is not None:
            shared = _Closed() if self.desk.capped else None
        return Ledger(
            budget, within=self.limits, shared=shared, reserve_at=self.reserve, warn=self.warn, before=before,
            unpriced="refuse" if self.assume_price is None else self.assume_price,
        )  # fmt: skip

    def rooms(self) -> list[Room]:
        """What all limits beyond the run's own budget have left."""
        found = []
        for limit in self.limits:
            limit.roll()
            if limit.cap is not None and limit.available is not None:
                found.append(Room(limit.name, Money(limit.cap - limit.spent), limit.available))
        return found + (self._shared_rooms(self.desk) if self.desk is not None else [])

    def _shared_rooms(self, desk: "BudgetDesk") -> list[Room]:
        from catp.store.errors import StoreError

        try:
            return desk.rooms()
        except StoreError as error:
            # nobody who never set a budget has to have a store that works
            return [Room(f"a shared budget that cannot be read ({error})", Money(0), Money(0))] if desk.capped else []


class _Closed:
    """Grants nothing: the run is not recorded, so what it spent would be lost to the shared budgets."""

    capped = True

    def reserve(self, key: "CallKey", amount: Money, kept: Money) -> BudgetRefused | None:
        if amount == 0:
            return None
        reason = f"{key.tool} may cost ${format_usd(amount)}, and shared budgets cannot count a run that is not saved"
        return BudgetRefused(reason, "the shared budgets", amount, None, "unreachable")

    def settle(self, key: "CallKey", amount: Money) -> tuple[LevelReached, ...]:
        return ()

    def release(self, key: "CallKey") -> None:
        pass


class _Recorded:
    """The shared budgets of a run as long as it is recorded. Nothing is paid for one that another process drives."""

    def __init__(self, desk: "BudgetDesk | None", journal: "RunJournal") -> None:
        self._desk = desk
        self._journal = journal

    @property
    def capped(self) -> bool:
        return self._desk is not None and self._desk.capped

    def reserve(self, key: "CallKey", amount: Money, kept: Money) -> BudgetRefused | None:
        problem = self._journal.problem
        if problem is not None and (self._journal.taken_over or (self.capped and amount > 0)):
            return BudgetRefused(f"{key.tool} is not called: {problem}", "the run", amount, None, "unreachable")
        return self._desk.reserve(key, amount, kept) if self._desk is not None else None

    def settle(self, key: "CallKey", amount: Money) -> tuple[LevelReached, ...]:
        return self._desk.settle(key, amount) if self._desk is not None else ()

    def release(self, key: "CallKey") -> None:
        if self._desk is not None:
            self._desk.release(key)


def desk_for(store: "RunStore | None", project: str, agent: str) -> "BudgetDesk | None":
    """The desk of a project and agent; it is strict if either was named."""
    if store is None:
        return None
    from catp.budgets import BudgetDesk, transactions_of

    named = project != "default" or bool(agent)
    return BudgetDesk(transactions_of(store.database), project, agent, strict=named)


def budget_warnings(events: Sequence[RunEvent]) -> list[str]:
    """What the `run.budget_warning` events of a run say, in words."""
    return [warning_text(event) for event in events if event.type == "run.budget_warning"]


def warning_text(event: RunEvent) -> str:
    """What a `run.budget_warning` event says, in words."""
    data = event.data
    if "level" in data:
        return f"{data['scope']} has spent ${data['spent']} of ${data['cap']} ({data['level']:.0%} reached)"
    over = "; the budget is exceeded" if data.get("over_cap") else ""
    more = f"${data['overrun']} more than the ${data['reserved']} held for it"
    return f"{data['tool']} cost ${data['amount']}, {more}{over}"
