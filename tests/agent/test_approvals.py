"""Who is asked and whose answer counts: in this process, in another one, before and after a restart."""

import asyncio
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, text, update

from catp.approvals import ApprovalMode, ApprovalPolicy, Desk, answer, open_questions, policy_of
from catp.planlang.money import Money
from catp.runtime.approval import ApprovalRequest
from catp.runtime.ids import new_run_id
from catp.store.approvals import Approval, ApprovalError, get
from catp.store.database import Database, open_database
from catp.store.errors import StoreError
from catp.store.tables import approvals, plans, runs

DIGEST = "a" * 64
RUN = new_run_id()
ASKED = ApprovalRequest(
    RUN, "pay", ("bank.pay",), {"to": "Ada", "note": "x" * 500}, Money(5), Money(7), Money(100), DIGEST
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = open_database(path, busy_s=10)
    plan = {"hash": DIGEST, "source": "", "ast_json": "{}", "n_nodes": 1, "created_ns": 1}
    run = {"id": RUN, "task": "t", "plan_hash": DIGEST, "policy": "p", "status": "running", "created_ns": 1}
    database.write(lambda c: (c.execute(insert(plans).values(plan)), c.execute(insert(runs).values(run))))
    yield database
    database.close()


class Person:
    """Somebody who is asked here; answers after a while."""

    def __init__(self, says: bool | None, takes_s: float = 0.0) -> None:
        self.says, self.takes_s = says, takes_s
        self.asked = 0
        self.interrupted = False

    async def __call__(self, request: ApprovalRequest) -> bool | None:
        self.asked += 1
        try:
            await asyncio.sleep(self.takes_s)
        except asyncio.CancelledError:
            self.interrupted = True
            raise
        return self.says


def kept(database: Database) -> list[Approval]:
    return database.read(lambda connection: get(connection, RUN))


async def test_the_answer_given_here_is_kept_with_the_question(database: Database) -> None:
    assert await Desk(ApprovalPolicy(Person(True), by="ada"), database).decide(ASKED) is True
    (row,) = kept(database)
    assert (row.decision, row.decided_by, row.step, row.digest, row.cap) == ("granted", "ada", "pay", DIGEST, 100)
    assert row.detail["tools"] == ["bank.pay"]
    assert row.detail["arguments"]["to"] == "'Ada'"
    assert len(row.detail["arguments"]["note"]) < 70
    assert (row.detail["expected"], row.detail["p95"]) == ("0.000000005", "0.000000007")
    assert row.expires_ns is not None
    assert row.expires_ns > time.time_ns()


@pytest.mark.parametrize(("mode", "granted"), [("auto", True), ("never", False)])
async def test_fixed_answers_are_kept_too(database: Database, mode: Any, granted: bool) -> None:
    assert await Desk(ApprovalPolicy(mode), database).decide(ASKED) is granted
    assert [row.granted for row in kept(database)] == [granted]
    assert await Desk(ApprovalPolicy(mode)).decide(ASKED) is granted


async def test_an_answer_that_holds_is_not_asked_for_again(database: Database) -> None:
    await Desk(ApprovalPolicy(Person(True)), database).decide(ASKED)
    again = Person(False)
    assert await Desk(ApprovalPolicy(again), database).decide(ASKED) is True
    assert await Desk(ApprovalPolicy("later"), database).decide(replace(ASKED, cap=Money(99))) is True
    assert again.asked == 0


CHANGES = {"digest": {"digest": "b" * 64}, "cap raised": {"cap": Money(101)}, "no cap": {"cap": None}}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_another_plan_or_a_higher_cap_is_asked_again(database: Database, change: dict[str, Any]) -> None:
    await Desk(ApprovalPolicy(Person(True)), database).decide(ASKED)
    again = Person(False)
    assert await Desk(ApprovalPolicy(again), database).decide(replace(ASKED, **change)) is False
    assert again.asked == 1


async def test_an_answer_that_has_expired_is_asked_again(database: Database) -> None:
    assert await Desk(ApprovalPolicy("later"), database).decide(ASKED) is None
    granted = await answer(database, RUN, "pay", granted=True, by="ada", expires_s=0.2)
    assert await Desk(ApprovalPolicy("later"), database).decide(ASKED) is True
    await asyncio.sleep(0.25)
    assert await Desk(ApprovalPolicy("later"), database).decide(ASKED) is None
    (open_one,) = await open_questions(database)
    assert open_one.requested_ns > granted.requested_ns
    with pytest.raises(ValueError, match="more than zero seconds"):
        await answer(database, RUN, "pay", granted=True, by="ada", expires_s=0)


async def test_put_off_the_question_stays_open_and_is_told(database: Database) -> None:
    told: list[Approval] = []
    assert await Desk(ApprovalPolicy("later", told.append), database).decide(ASKED) is None
    assert await Desk(ApprovalPolicy("later", told.append), database).decide(ASKED) is None
    assert kept(database) == await open_questions(database, RUN) == told[:1]
    assert told[0] == told[1]


async def test_a_callable_may_put_its_answer_off(database: Database) -> None:
    assert await Desk(ApprovalPolicy(Person(None)), database).decide(ASKED) is None
    assert len(await open_questions(database)) == 1


async def asked(database: Database, after: int = 0) -> list[Approval]:
    """Wait until something sound is asked."""
    while True:
        found = [row for row in await open_questions(database) if not row.problem and row.requested_ns > after]
        if found:
            return found
        await asyncio.sleep(0.01)


OTHER_PROCESS = """
    import asyncio, sys, time
    from catp.approvals import answer, open_questions
    from catp.store.database import open_database

    async def main():
        database = open_database(sys.argv[1], busy_s=10)
        while not (found := await open_questions(database)):
            await asyncio.sleep(0.02)
        await answer(database, found[0].run_id, found[0].step, granted=sys.argv[2] == "yes", by="grace")
        print(time.time(), flush=True)
        database.close()

    asyncio.run(main())
"""


@pytest.fixture
async def elsewhere(path: Path) -> AsyncIterator[Any]:
    """Starts a process that decides as soon as something is asked."""
    started: list[subprocess.Popen[str]] = []

    def start(says: str) -> subprocess.Popen[str]:
        code = textwrap.dedent(OTHER_PROCESS)
        started.append(subprocess.Popen([sys.executable, "-c", code, path, says], stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("says", ["yes", "no"])
async def test_a_waiting_process_finds_what_another_decided_within_a_second(
    database: Database, elsewhere: Any, says: str
) -> None:
    told: list[Approval] = []
    process = elsewhere(says)
    assert await Desk(ApprovalPolicy("wait", told.append), database).decide(ASKED) is (says == "yes")
    found = time.time()
    assert found - float(process.stdout.readline()) < 1.0
    assert [row.decision for row in told] == [None, "granted" if says == "yes" else "denied"]
    assert told[-1].decided_by == "grace"


async def test_an_answer_from_elsewhere_frees_the_person_who_is_asked_here(database: Database, elsewhere: Any) -> None:
    here, told = Person(False, takes_s=60), list[Approval]()
    elsewhere("yes")
    assert await Desk(ApprovalPolicy(here, told.append), database).decide(ASKED) is True
    assert here.interrupted
    assert [row.decided_by for row in told] == ["grace"]


async def test_of_two_who_decide_at_once_the_first_counts_and_the_second_is_told(database: Database) -> None:
    told: list[Approval] = []

    async def slower(request: ApprovalRequest) -> bool:
        await answer(database, RUN, "pay", granted=True, by="grace")
        return False

    assert await Desk(ApprovalPolicy(slower, told.append), database).decide(ASKED) is True
    assert [row.decided_by for row in told] == ["grace"]
    with pytest.raises(ApprovalError, match=f"step pay of run {RUN} was already granted by grace"):
        await answer(database, RUN, "pay", granted=False, by="linus")
    with pytest.raises(ApprovalError, match="is not asked about the plan; nothing in it waits"):
        await answer(database, RUN, None, granted=False, by="linus")


@pytest.mark.parametrize("damage", ["detail_json = '{'", "decision = 'granted!', detail_json = '{'", "expires_ns = 5"])
async def test_a_question_that_becomes_void_while_it_waits_is_asked_again(database: Database, damage: str) -> None:
    waiting = asyncio.ensure_future(Desk(ApprovalPolicy("wait"), database).decide(ASKED))
    (first,) = await asked(database)
    database.write(lambda connection: connection.execute(text(f"UPDATE approvals SET {damage}")))
    await asked(database, after=first.requested_ns)
    assert not waiting.done()
    await answer(database, RUN, "pay", granted=True, by="ada")
    assert await waiting is True


async def test_nobody_decides_about_a_run_that_is_over(database: Database) -> None:
    await Desk(ApprovalPolicy("later"), database).decide(ASKED)
    database.write(lambda connection: connection.execute(update(runs).values(status="complete")))
    assert await open_questions(database) == []
    with pytest.raises(ApprovalError, match="is complete; nothing in it waits"):
        await answer(database, RUN, "pay", granted=True, by="ada")


async def test_a_store_that_fails_costs_the_record_but_only_those_who_need_it_the_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    lost = open_database(tmp_path / "file" / "runs.db", busy_s=0.1)
    assert await Desk(ApprovalPolicy(Person(True)), lost).decide(ASKED) is True
    assert await Desk(ApprovalPolicy("never"), lost).decide(ASKED) is False
    with pytest.raises(StoreError):
        await Desk(ApprovalPolicy("later"), lost).decide(ASKED)
    lost.close()


async def test_the_run_is_on_record_before_its_question(database: Database) -> None:
    row: dict[str, Any] = {}

    def take(connection: Any) -> None:
        row.update(connection.execute(runs.select()).one()._mapping)
        connection.execute(delete(runs))

    database.write(take)

    async def recorded() -> None:
        await database.awrite(lambda connection: connection.execute(insert(runs).values(row)))

    assert await Desk(ApprovalPolicy("later"), database, recorded).decide(ASKED) is None
    assert database.read(lambda connection: len(connection.execute(approvals.select()).all())) == 1


def test_modes_are_checked_when_they_are_given() -> None:
    assert policy_of(None, stored=False) is None
    modes: tuple[ApprovalMode, ...] = ("wait", "later")
    for mode in modes:
        assert policy_of(mode, stored=True) == ApprovalPolicy(mode)
        with pytest.raises(ValueError, match="needs a store"):
            policy_of(mode, stored=False)
    with pytest.raises(ValueError, match="one of auto, never, wait, later"):
        policy_of("maybe", stored=True)  # type: ignore[arg-type]
