"""Questions and answers about plans and steps, in real databases: what an answer covers, who is first, damage."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, create_engine, insert

from catp.planlang.money import Money
from catp.runtime.ids import new_run_id
from catp.store.approvals import (
    Approval,
    ApprovalError,
    decide,
    get,
    look,
    open_question,
    pending,
    request,
    standing,
)
from catp.store.store import RunStore
from catp.store.tables import metadata, plans, runs

DIGEST, OTHER = "a" * 64, "b" * 64
RUN = new_run_id()
HOUR = 3_600 * 10**9
DETAIL = {"tools": ["book"], "arguments": {"day": "'friday'"}}


def database(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 10})
    metadata.create_all(engine)
    with engine.begin() as connection:
        record(connection)
    return engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def connection(path: Path) -> Iterator[Connection]:
    engine = database(path)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def ask(connection: Connection, now_ns: int = 10, step: str | None = "s", **changes: Any) -> Approval:
    options = {"digest": DIGEST, "cap": Money(100), "detail": DETAIL, "expires_ns": HOUR, **changes}
    return request(connection, RUN, step, now_ns=now_ns, **options)


def answer(connection: Connection, now_ns: int = 20, **changes: Any) -> Approval | None:
    options = {"digest": DIGEST, "cap": Money(100), **changes}
    return standing(connection, RUN, "s", now_ns=now_ns, **options)


def test_an_answer_holds_for_the_same_plan_up_to_the_cap_until_it_expires(connection: Connection) -> None:
    granted = decide(connection, ask(connection), granted=True, by="ada", reason="fine", now_ns=15)
    assert (granted.decision, granted.decided_by, granted.reason) == ("granted", "ada", "fine")
    assert answer(connection) == granted
    assert answer(connection, cap=Money(1)) == granted
    for changed in ({"digest": OTHER}, {"cap": Money(101)}, {"cap": None}, {"now_ns": HOUR}):
        assert answer(connection, **changed) is None, changed


def test_a_yes_without_a_cap_covers_every_cap_and_a_no_every_larger_one(connection: Connection) -> None:
    decide(connection, ask(connection, cap=None), granted=True, by="ada", now_ns=15)
    assert answer(connection, cap=None) is not None
    assert answer(connection, cap=Money(10**18)) is not None
    denied = decide(connection, ask(connection, digest=OTHER), granted=False, by="ada", now_ns=15)
    assert answer(connection, digest=OTHER, cap=None) == denied
    assert answer(connection, digest=OTHER, cap=Money(99)) is None
    assert not denied.granted


def test_the_same_question_stays_one_and_a_changed_one_takes_its_place(connection: Connection) -> None:
    first = ask(connection)
    assert ask(connection, now_ns=12) == first
    raised = ask(connection, now_ns=13, cap=Money(200))
    ask(connection, now_ns=14, cap=Money(200), digest=OTHER)
    later = ask(connection, now_ns=HOUR + 5, cap=Money(200), digest=OTHER, expires_ns=2 * HOUR)
    assert [a.requested_ns for a in get(connection, RUN)] == [10, 13, 14, later.requested_ns]
    assert [a.decision for a in get(connection, RUN)] == ["withdrawn"] * 3 + [None]
    assert pending(connection, now_ns=HOUR + 6) == [later]
    with pytest.raises(ApprovalError, match="withdrawn: asked again"):
        decide(connection, raised, granted=True, by="ada", now_ns=15)


def test_an_answer_that_expired_is_asked_for_again(connection: Connection) -> None:
    decide(connection, ask(connection), granted=True, by="ada", expires_ns=50, now_ns=15)
    assert answer(connection, now_ns=49) is not None
    assert answer(connection, now_ns=50) is None
    again = ask(connection, now_ns=51)
    assert again.decision is None
    assert pending(connection, now_ns=52) == [again]


def test_a_question_that_expired_can_be_neither_found_nor_decided(connection: Connection) -> None:
    old = ask(connection)
    assert pending(connection, now_ns=HOUR) == []
    with pytest.raises(ApprovalError, match=r"expired; `catp runs resume"):
        decide(connection, old, granted=True, by="ada", now_ns=HOUR)
    assert answer(connection) is None


def test_steps_and_the_plan_are_different_questions(connection: Connection) -> None:
    plan, step, other = ask(connection, step=None), ask(connection, now_ns=11), ask(connection, now_ns=12, step="z")
    assert pending(connection, now_ns=13) == [plan, step, other]
    decide(connection, plan, granted=True, by="ada", now_ns=15)
    assert pending(connection, now_ns=16) == [step, other]
    assert answer(connection) is None
    assert (plan.what, step.what) == ("the plan", "step s")


def record(connection: Connection) -> None:
    """Put the run on record that the questions are about."""
    plan = {"hash": DIGEST, "source": "", "ast_json": "{}", "n_nodes": 1, "created_ns": 1}
    connection.execute(insert(plans).values(plan))
    row = {"id": RUN, "task": "t", "plan_hash": DIGEST, "policy": "p", "status": "waiting", "created_ns": 1}
    connection.execute(insert(runs).values(row))


def test_a_question_is_asked_answered_and_asked_again_in_every_kind_of_store(store: RunStore) -> None:
    store.database.write(record)
    first = store.database.write(ask)
    assert store.database.read(lambda connection: pending(connection, now_ns=11)) == [first]
    assert store.database.read(lambda connection: open_question(connection, RUN, "s")) == first
    granted = store.database.write(partial(decide, approval=first, granted=True, by="ada", reason="é", now_ns=15))
    assert store.database.read(answer) == granted
    assert store.database.read(lambda connection: answer(connection, cap=Money(2**62))) is None
    again = store.database.write(lambda connection: ask(connection, now_ns=30, cap=Money(2**62)))
    assert store.database.read(lambda connection: get(connection, RUN)) == [granted, again]
    assert store.database.read(partial(look, approval=again)) == again
    with pytest.raises(ApprovalError, match="was already granted by ada"):
        store.database.write(partial(decide, approval=first, granted=False, by="eve", now_ns=31))
    with pytest.raises(ApprovalError, match="is not asked about the plan; it is asked about s"):
        store.database.read(lambda connection: open_question(connection, RUN, None))


def test_the_second_decider_is_told_who_was_first(store: RunStore, target: Path | str) -> None:
    store.database.write(record)
    open_one = store.database.write(ask)
    told: list[str] = []
    done: list[Approval] = []
    ready = threading.Barrier(6)

    def vote(number: int) -> None:
        own = RunStore(target, busy_s=10.0)  # like another process
        work = partial(decide, approval=open_one, granted=number % 2 == 0, by=f"judge {number}", now_ns=20 + number)
        ready.wait()
        try:
            done.append(own.database.write(work))
        except ApprovalError as error:
            told.append(str(error))
        finally:
            own.close()

    judges = [threading.Thread(target=vote, args=(number,)) for number in range(6)]
    for judge in judges:
        judge.start()
    for judge in judges:
        judge.join()
    (winner,) = done
    assert told == [f"step s of run {RUN} was already {winner.decision} by {winner.decided_by}"] * 5
    assert store.database.read(lambda connection: get(connection, RUN)) == [winner]


def test_nothing_is_decided_about_a_run_that_is_over(connection: Connection) -> None:
    open_one = ask(connection)
    connection.execute(runs.update().values(status="cancelled"))
    assert pending(connection, now_ns=12) == []
    with pytest.raises(ApprovalError, match="is cancelled; nothing in it waits"):
        decide(connection, open_one, granted=True, by="ada", now_ns=15)


def test_a_clock_that_runs_backwards_keeps_questions_in_order(connection: Connection) -> None:
    first = ask(connection, now_ns=1_000)
    second = ask(connection, now_ns=5, cap=Money(200))
    assert second.requested_ns == first.requested_ns + 1
    assert pending(connection, now_ns=5) == [second]


DAMAGE = [
    ("detail_json", "{not json", "what would be called"),
    ("detail_json", "[1]", "what would be called"),
    ("decision", "maybe", "its decision is 'maybe'"),
    ("cap_nano", "lots", "cap_nano is 'lots'"),
    ("cap_nano", -5, "cap_nano is '-5'"),
    ("expires_ns", "never", "expires_ns is 'never'"),
]


@pytest.mark.parametrize(("column", "value", "words"), DAMAGE)
@pytest.mark.parametrize("decided", [True, False])
def test_a_damaged_row_never_grants_and_is_asked_again(
    path: Path, connection: Connection, column: str, value: object, words: str, decided: bool
) -> None:
    first = ask(connection)
    if decided:
        decide(connection, first, granted=True, by="ada", now_ns=15)
    connection.commit()
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"UPDATE approvals SET {column} = ?", (value,))
        raw.commit()
    (damaged,) = get(connection, RUN)
    assert words in damaged.problem
    assert not damaged.granted
    assert answer(connection) is None
    with pytest.raises(ApprovalError, match="damaged"):
        decide(connection, damaged, granted=True, by="ada", now_ns=16)
    again = ask(connection, now_ns=17)
    assert again.requested_ns != first.requested_ns
    assert decide(connection, again, granted=True, by="ada", now_ns=18) == answer(connection)


caps = st.one_of(st.none(), st.integers(0, 5).map(Money))


@settings(max_examples=300)
@given(
    granted=st.booleans(), asked=caps, wanted=caps, expires=st.one_of(st.none(), st.integers(0, 5)),
    now=st.integers(0, 5), same=st.booleans(),
)  # fmt: skip
def test_what_an_answer_covers(
    granted: bool, asked: Money | None, wanted: Money | None, expires: int | None, now: int, same: bool
) -> None:
    """A yes never allows more than was shown, longer than was said, or another plan; a no stops at least that much."""
    decision = "granted" if granted else "denied"
    approval = Approval(RUN, None, 0, DIGEST, asked, expires, DETAIL, decision, "ada", 0)
    limitless = 10**9
    asked_for, wants = (limitless if cap is None else cap for cap in (asked, wanted))
    expected = same and (expires is None or now < expires) and (wants <= asked_for if granted else wants >= asked_for)
    assert approval.holds(DIGEST if same else OTHER, wanted, now) is expected


def test_a_yes_can_be_to_less_than_was_asked_for(connection: Connection) -> None:
    asked = ask(connection, step=None)
    for cap, granted, why in (
        (101, True, "asks whether it may spend up to"),
        (0, True, "not to"),
        (50, False, "a yes"),
    ):
        with pytest.raises(ApprovalError, match=why):
            decide(connection, asked, granted=granted, by="ada", cap=Money(cap), now_ns=15)
    with pytest.raises(ApprovalError, match="not with step s"):
        decide(connection, ask(connection), granted=True, by="ada", cap=Money(50), now_ns=15)
    assert decide(connection, asked, granted=True, by="ada", cap=Money(50), now_ns=15).cap == 50
    holds = partial(standing, connection, RUN, None, digest=DIGEST, now_ns=20)
    assert (holds(cap=Money(100)), holds(cap=Money(51))) == (None, None)
    assert holds(cap=Money(50)) is not None
