"""Budgets in the store: all or nothing over several budgets, periods, expiry, warnings told once, an absent store."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection

from catp.budgets import BudgetDesk, transactions_of
from catp.planlang.money import Money, usd
from catp.runtime.ledger import CallKey, Ledger
from catp.runtime.limits import BudgetRefused
from catp.runtime.periods import Period
from catp.store.budget_report import report_on
from catp.store.budget_spend import Spend, spend
from catp.store.budgets import Standing, remove_budget, set_budget, standings
from catp.store.store import RunStore
from catp.store.writer import Entry
from catp.tools.usage import Charge
from tests.store.recording import created, new_run

RUN = "01J00000000000000000000000"


class Wall:
    """The time of day, set by hand."""

    def __init__(self, text: str = "2026-05-05T12:00:00") -> None:
        self.set(text)

    def __call__(self) -> int:
        return self.ns

    def set(self, text: str) -> None:
        self.ns = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9

    def forward(self, seconds: float = 1) -> None:
        self.ns += round(seconds * 1e9)


def budget(
    store: RunStore, cap: int, *, scope: str = "project", name: str = "demo", period: Period = "total",
    warn: tuple[float, ...] = (),
) -> None:  # fmt: skip
    store.database.write(lambda c: set_budget(c, scope, name, period, Money(cap), warn, time.time_ns()))


def stand(store: RunStore, now_ns: int | None = None) -> list[Standing]:
    return store.database.read(lambda c: standings(c, time.time_ns() if now_ns is None else now_ns))


def call(number: int, run_id: str = RUN) -> CallKey:
    return CallKey(run_id, "s", number, "tool")


@pytest.fixture
def desks(store: RunStore) -> Iterator["Desks"]:
    opened = Desks(store)
    yield opened
    for desk in opened.all:
        desk.close()


class Desks:
    """Desks as different processes would have them: each with its own connection."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.wall = Wall()
        self.all: list[BudgetDesk] = []

    def open(self, project: str = "demo", agent: str = "", *, ttl_s: float = 60.0, strict: bool = False) -> BudgetDesk:
        transactions = transactions_of(self.store.database)
        self.all.append(BudgetDesk(transactions, project, agent, ttl_s=ttl_s, now_ns=self.wall, strict=strict))
        return self.all[-1]

    def begin(self, run_id: str = RUN, project: str = "demo", agent: str = "") -> None:
        """Put the run into the store, as its first event does."""
        run = new_run(run_id)
        journal = self.store.begin(run)
        journal.event(created(run, at_ns=self.wall.ns, project=project, agent=agent))
        flush(journal)

    def kill(self) -> None:
        """The process that drives the runs was on a machine that is gone."""
        gone = "UPDATE runs SET owner = 'elsewhere/0/0:1:1', heartbeat_ns = 0"
        self.store.database.write(lambda c: c.exec_driver_sql(gone))

    def pay(self, key: CallKey, amount: int) -> None:
        """What the store's writer does with the rows of a settled call."""
        paid = Spend((key.run_id, key.step, -1, key.attempt), self.wall.ns, amount)
        self.store.database.write(partial(spend, spends=[paid]))


def flush(journal: object) -> None:
    from concurrent.futures import Future

    done: Future[None] = Future()
    journal._writer.put(Entry(journal._track, done=done))  # type: ignore[attr-defined]  # `durable` without a loop
    done.result(10)


def hold(desk: BudgetDesk, number: int, amount: int, kept: int = 0) -> BudgetRefused | None:
    return desk.reserve(call(number), Money(amount), Money(kept))


# --- holding --------------------------------------------------------------------------------------------------------


def test_two_processes_share_what_is_left(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    one, two = desks.open(), desks.open()
    assert hold(one, 1, 70) is None
    no = hold(two, 2, 40)
    assert no is not None
    assert (no.limit, no.cause, no.wait, no.needed, no.available, no.short) == (
        "project:demo", "elsewhere", True, 40, 30, 10,
    )  # fmt: skip
    one.release(call(1))
    assert hold(two, 2, 40) is not None  # it asks again in a moment
    desks.wall.forward()
    assert hold(two, 2, 40) is None
    no = hold(one, 3, 101)
    assert no is not None
    assert (no.cause, no.wait) == ("spent", False)


def test_a_call_has_to_fit_every_budget_and_holds_none_if_it_does_not(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    budget(store, 50, period="day")
    budget(store, 30, scope="agent", name="me")
    desk = desks.open(agent="me")
    no = hold(desk, 1, 40)
    assert no is not None
    assert no.limit == "agent:me"
    assert [s.reserved for s in stand(store, desks.wall.ns)] == [0, 0, 0]
    assert hold(desk, 1, 30) is None
    assert [s.reserved for s in stand(store, desks.wall.ns)] == [30, 30, 30]
    assert hold(desks.open(), 2, 25) is not None  # without the agent: the day's budget is in the way
    assert hold(desks.open("other"), 3, 10**9) is None


def test_kept_money_has_to_fit_as_well(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    desk = desks.open()
    no = hold(desk, 1, 40, kept=70)
    assert no is not None
    assert (no.cause, no.short) == ("kept", 10)
    assert hold(desk, 1, 30, kept=70) is None


def test_storing_the_rows_counts_them_and_frees_what_was_held(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    desk = desks.open()
    desks.begin()
    assert hold(desk, 1, 60) is None
    desk.settle(call(1), Money(20))
    assert hold(desk, 2, 60) is not None  # until the rows are stored, the held amount stands for them
    desks.pay(call(1), 20)
    desks.wall.forward()
    assert hold(desk, 2, 60) is None
    (standing,) = stand(store, desks.wall.ns)
    assert (standing.spent, standing.reserved, standing.available) == (20, 60, 20)


def test_an_overrun_counts_for_all_processes_before_its_rows_are_stored(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    one, two = desks.open(), desks.open()
    assert hold(one, 1, 60) is None
    one.settle(call(1), Money(180))
    no = hold(two, 2, 1)
    assert no is not None
    assert no.available == -80
    assert stand(store, desks.wall.ns)[0].reserved == 180


def test_a_budget_made_later_counts_what_was_spent_before_and_holds_at_once(store: RunStore, desks: Desks) -> None:
    desk = desks.open()
    assert hold(desk, 1, 10**12) is None
    before = desk.capped
    budget(store, 100)
    assert hold(desk, 2, 101) is not None
    assert (before, desk.capped) == (False, True)
    store.database.write(lambda c: remove_budget(c, "project", "demo", None))
    desks.wall.forward()
    assert hold(desk, 2, 101) is None


def test_changing_a_cap_keeps_what_was_spent(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    desks.begin()
    desks.pay(call(1), 90)
    budget(store, 50)
    (standing,) = stand(store, desks.wall.ns)
    assert (standing.budget.cap, standing.spent, standing.available) == (50, 90, -40)


# --- time -----------------------------------------------------------------------------------------------------------


def test_money_of_a_killed_process_comes_back(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    killed, alive = desks.open(ttl_s=10), desks.open(ttl_s=10)
    assert killed.reserve(call(1, "01J0000000000000000000000K"), Money(60), Money(0)) is None
    assert hold(alive, 1, 60) is not None
    desks.wall.forward(11)
    assert hold(alive, 1, 60) is None


def test_a_living_process_without_time_to_renew_keeps_its_money(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    starved, other = desks.open(ttl_s=10), desks.open(ttl_s=10)
    desks.begin()  # this process drives it
    assert hold(starved, 1, 60) is None
    desks.wall.forward(300)
    assert hold(other, 2, 60) is not None
    desks.kill()
    desks.wall.forward(11)
    assert hold(other, 2, 60) is None


async def test_a_living_run_keeps_what_it_holds(store: RunStore, desks: Desks) -> None:
    budget(store, 100)
    one, two = desks.open(ttl_s=10), desks.open(ttl_s=10)
    assert hold(one, 1, 60) is None
    async with one.alive(RUN):
        for _ in range(5):
            desks.wall.forward(9)
            one.renew()
    no = hold(two, 2, 60)
    assert no is not None
    assert no.available == 40


def test_every_day_has_its_room_and_money_still_held_counts_in_the_new_one(store: RunStore, desks: Desks) -> None:
    budget(store, 100, period="day")
    desk = desks.open(ttl_s=10**6)
    desks.begin()
    desks.pay(call(1), 60)
    assert hold(desk, 2, 40) is None
    desks.wall.set("2026-05-06T00:00:01")
    assert hold(desk, 3, 61) is not None
    assert hold(desk, 3, 60) is None


def test_a_clock_that_goes_back_gives_no_room_of_a_past_day_and_ends_no_reservation(
    store: RunStore, desks: Desks
) -> None:
    budget(store, 100, period="day")
    desk, other = desks.open(), desks.open()
    desks.begin()
    desks.wall.set("2026-05-06T12:00:00")
    desks.pay(call(1), 60)
    assert hold(desk, 2, 30) is None
    desks.wall.set("2026-05-04T12:00:00")
    no = hold(other, 3, 20)
    assert no is not None
    assert no.available == 10
    desks.wall.forward(3600)
    desks.kill()
    other.renew()  # it cannot know whether the money's holder lives, only that nobody holds any for days
    assert hold(other, 3, 20) is not None
    desks.wall.forward(120)
    assert hold(other, 3, 20) is None


# --- warnings -------------------------------------------------------------------------------------------------------


def test_a_level_is_told_by_one_process_once(store: RunStore, desks: Desks) -> None:
    budget(store, 100, warn=(0.5, 0.8))
    one, two = desks.open(), desks.open()
    desks.begin()

    def pay(desk: BudgetDesk, number: int, amount: int) -> list[float]:
        assert hold(desk, number, amount) is None
        reached = desk.settle(call(number), Money(amount))
        desks.pay(call(number), amount)
        assert all((level.scope, level.cap) == ("project:demo", 100) for level in reached)
        return [level.level for level in reached]

    assert pay(one, 1, 49) == []
    assert pay(two, 2, 1) == [0.5]
    assert pay(one, 3, 10) == []
    assert one.reached() == two.reached() == ()
    assert pay(one, 4, 20) == [0.8]
    assert pay(two, 5, 10) == []
    known = stand(store)[0].budget
    told = store.database.read(lambda c: report_on(c, known, 0)).told
    assert sorted(one.level for one in told) == [0.5, 0.8]


def test_a_level_that_two_processes_reach_together_is_told_at_the_end(store: RunStore, desks: Desks) -> None:
    budget(store, 100, warn=(0.5,))
    one, two = desks.open(), desks.open()
    desks.begin()
    for number, desk in enumerate((one, two)):
        assert hold(desk, number, 30) is None
    # each knows only of its own 30, and of 30 that are held
    assert one.settle(call(0), Money(30)) == two.settle(call(1), Money(30)) == ()
    for number in range(2):
        desks.pay(call(number), 30)
    assert [level.level for level in one.reached()] == [0.5]
    assert two.reached() == ()


# --- when the store is not there ------------------------------------------------------------------------------------


def test_a_store_that_goes_away_grants_nothing_any_more(sqlite_store: RunStore) -> None:
    budget(sqlite_store, 100)
    path = Path(sqlite_store.database.name)
    desk = BudgetDesk(transactions_of(sqlite_store.database), "demo")
    with closing(desk):
        assert hold(desk, 1, 10) is None
        desk.close()
        path.rename(path.with_suffix(".away"))
        path.mkdir()
        no = hold(desk, 2, 10)
        assert no is not None
        assert (no.cause, no.wait, no.short) == ("unreachable", False, None)
        assert "nothing may be spent" in no.reason
        assert str(path) in no.reason


def test_without_budgets_a_broken_store_stops_nobody_unless_a_project_was_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    path.write_bytes(b"this is no database at all, it only looks like a file" * 100)
    store = RunStore(path)
    assert hold(BudgetDesk(transactions_of(store.database)), 1, 10) is None
    no = hold(BudgetDesk(transactions_of(store.database), "demo", strict=True), 1, 10)
    assert no is not None
    assert no.cause == "unreachable"
    store.close()


def test_while_another_process_writes_a_call_waits_instead_of_being_refused(sqlite_store: RunStore) -> None:
    budget(sqlite_store, 100)
    desk = BudgetDesk(transactions_of(sqlite_store.database), "demo")
    with closing(desk), closing(sqlite3.connect(sqlite_store.database.name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        no = hold(desk, 1, 10)
        assert no is not None
        assert (no.cause, no.wait) == ("elsewhere", True)
        other.execute("ROLLBACK")
        assert hold(desk, 1, 10) is None


def test_asking_for_room_makes_no_database(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "none" / "runs.db")
    assert BudgetDesk(transactions_of(store.database)).rooms() == []
    assert not (tmp_path / "none").exists()
    store.close()


# --- the ledger over it ---------------------------------------------------------------------------------------------


def test_what_a_shared_budget_refuses_is_not_held_in_the_run_either(store: RunStore, desks: Desks) -> None:
    budget(store, usd("0.05"))
    ledger = Ledger(usd("1"), shared=desks.open())
    no = ledger.reserve(call(1), usd("0.06"))
    assert isinstance(no, BudgetRefused)
    assert ledger.reserved == 0
    held = ledger.reserve(call(2), usd("0.05"))
    assert not isinstance(held, BudgetRefused)
    ledger.settle(held, [Charge("call", 1.0, "call", "0.01", usd("0.01"))])
    assert ledger.spent == usd("0.01")
    unpriced = ledger.reserve(call(3), None)
    assert isinstance(unpriced, BudgetRefused)


def test_an_unpriced_call_is_refused_under_a_shared_budget_alone(store: RunStore, desks: Desks) -> None:
    budget(store, usd("0.05"))
    desk = desks.open()
    assert [room.name for room in desk.rooms()] == ["project:demo"]
    no = Ledger(shared=desk).reserve(call(1), None)
    assert isinstance(no, BudgetRefused)
    assert (no.cause, no.limit) == ("unpriced", "the shared budget")


def test_caps_and_levels_that_make_no_sense_are_refused(sqlite_store: RunStore) -> None:
    def attempt(connection: Connection, scope: str, cap: int, warn: tuple[float, ...]) -> None:
        set_budget(connection, scope, "x", "total", Money(cap), warn, 0)

    for values, message in (
        (("run", 1, ()), "a project or an agent"), (("agent", 0, ()), "more than \\$0"),
        (("agent", 1, (1.5,)), "at most 100 %"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sqlite_store.database.write(lambda c, v=values: attempt(c, *v))  # type: ignore[misc]
