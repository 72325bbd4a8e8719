"""The projector: however the events of runs are cut into batches, the rows are the same, and they add up."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine

from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.store.append import Batch, append
from catp.store.audit import audit
from catp.store.folding import fold
from catp.store.tables import metadata
from tests.store.recording import NANO, call_events, created, drive, new_run, plan_of

ADD_PLAN = "INSERT INTO plans VALUES (?, 'plan', '{}', 1, 0)"
TABLES = ("runs", "steps", "calls", "costs", "rollup_day", "budget_periods", "reservations")


class Kept:
    """A journal that only collects."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []

    def event(self, event: RunEvent) -> None:
        self.events.append(event)

    def value(self, *_value: Any) -> None:
        pass

    async def durable(self) -> None:
        pass


def real_run() -> list[RunEvent]:
    kept = Kept()
    asyncio.run(drive(kept, new_run_id()))
    return kept.events


RUNS = [real_run() for _ in range(3)]
PLAN = plan_of("x").plan_hash


def rows(batches: list[list[RunEvent]]) -> dict[str, list[Any]]:
    """Every projected row after these batches, each in a transaction of its own."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(ADD_PLAN, (PLAN,))
        for budget, scope, name, period in (("b1", "project", "p", "day"), ("b2", "agent", "bot", "total")):
            connection.exec_driver_sql(
                "INSERT INTO budgets VALUES (?, ?, ?, ?, 1000000000, '', 0)", (budget, scope, name, period)
            )
    for batch in batches:
        with engine.begin() as connection:
            append(connection, Batch(batch), owner="me", in_rows=False)
    with engine.begin() as connection:
        assert audit(connection) == []
        found = {
            table: sorted((tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}")), key=repr)
            for table in TABLES
        }
    engine.dispose()
    for table, places in (("runs", (-1,)), ("rollup_day", (-2,))):  # the heartbeat; a sum of times
        found[table] = [tuple(v for p, v in enumerate(row) if p - len(row) not in places) for row in found[table]]
    return found


@st.composite
def cuts(draw: st.DrawFn) -> list[list[RunEvent]]:
    """The events of three runs, mixed in any way that keeps the order of each, in batches of any size."""
    order = draw(st.permutations([run for run, events in enumerate(RUNS) for _ in events]))
    queues = [iter(events) for events in RUNS]
    mixed = [next(queues[run]) for run in order]
    ends = sorted(draw(st.sets(st.integers(1, len(mixed) - 1), max_size=12)))
    return [mixed[start:end] for start, end in zip([0, *ends], [*ends, len(mixed)], strict=True)]


@settings(max_examples=40, deadline=None)
@given(cuts())
def test_batches_do_not_matter(batches: list[list[RunEvent]]) -> None:
    assert rows(batches) == rows([[event for run in RUNS for event in run]])


def test_every_event_alone() -> None:
    assert rows([[event] for run in RUNS for event in run]) == rows(RUNS)


def test_folding_is_pure() -> None:
    before = json.dumps([event.to_json() for event in RUNS[0]])
    first, second = fold(RUNS[0]), fold(RUNS[0])
    assert (first.steps.keys(), first.costs, first.spends) == (second.steps.keys(), second.costs, second.spends)
    assert json.dumps([event.to_json() for event in RUNS[0]]) == before


def test_budgets_grow_by_what_was_spent_in_their_period_and_held_money_is_freed() -> None:
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    run = new_run()
    day = 24 * 3600 * NANO
    late = 3 * day - NANO // 4  # starts a quarter of a second before midnight of 1970-01-04, ends after it
    with engine.begin() as connection:
        connection.exec_driver_sql(ADD_PLAN, (run.plan_hash,))
        connection.exec_driver_sql("INSERT INTO budgets VALUES ('b', 'project', 'default', 'day', 100, '', 0)")
        append(connection, Batch([created(run)]), owner="me", in_rows=False)
        for step in ("a", "b"):
            connection.exec_driver_sql(
                "INSERT INTO reservations (budget_id, run_id, step, element, attempt, period_start, amount_nano, "
                "expires_ns) VALUES ('b', ?, ?, -1, 1, '1970-01-03', 50, 0)",
                (run.run_id, step),
            )
        append(connection, Batch(call_events(run.run_id, 2, [30, None], at_ns=late)), owner="me", in_rows=False)
        spent = connection.exec_driver_sql("SELECT period_start, spent_nano FROM budget_periods").all()
        held = connection.exec_driver_sql("SELECT step FROM reservations").scalars().all()
    engine.dispose()
    assert [tuple(row) for row in spent] == [("1970-01-03", 30)]
    assert held == ["b"]


@pytest.mark.parametrize("quantity", [float("nan"), float("inf"), -float("inf")])
def test_quantities_that_are_no_numbers_are_unknown(quantity: float) -> None:
    run = new_run()
    events = [created(run), *call_events(run.run_id, 2, [5])]
    line = {**events[3].data["rows"][0], "quantity": quantity}
    events[3] = events[3]._replace(data={**events[3].data, "rows": [line]})
    costs = fold(events).costs
    assert costs[0][8] is None
