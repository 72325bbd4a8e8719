"""Who is asked and whose answer counts: in this process, in another one, before and after a restart."""

import asyncio
import importlib.util
import shutil
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

from catp.agent import Agent
from catp.approvals import ApprovalMode, ApprovalPolicy, Desk, policy_of
from catp.decisions import answer, open_questions
from catp.planlang.money import Money
from catp.result import RunResult
from catp.runtime.approval import ApprovalRequest
from catp.runtime.ids import new_run_id
from catp.store.approvals import Approval, ApprovalError, get
from catp.store.database import Database, open_database
from catp.store.errors import StoreError
from catp.store.tables import approvals, plans, runs
from catp.tools import PerCall, tool

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
    granted = await answer(database, RUN, "pay", granted=True, by="ada", expires_s=60)
    assert await Desk(ApprovalPolicy("later"), database).decide(ASKED) is True
    assert granted.expires_ns is not None
    assert 0 < granted.expires_ns - time.time_ns() <= 60e9
    over = update(approvals).values(expires_ns=time.time_ns() - 1)  # a minute later
    database.write(lambda connection: connection.execute(over))
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
    from catp.decisions import answer, open_questions
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
async def test_a_waiting_process_finds_what_another_decided_soon(database: Database, elsewhere: Any, says: str) -> None:
    told: list[Approval] = []
    process = elsewhere(says)
    assert await Desk(ApprovalPolicy("wait", told.append), database).decide(ASKED) is (says == "yes")
    found = time.time()
    assert found - float(process.stdout.readline()) < 10.0  # 1 s, on a machine that has nothing else to do
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


async def test_a_store_that_fails_while_somebody_is_asked_here_does_not_take_the_question_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def damaged(work: Any) -> Any:
        raise StoreError("run store runs.db is damaged")

    monkeypatch.setattr(database, "aread", damaged)
    here = Person(True, takes_s=1.0)
    assert await Desk(ApprovalPolicy(here), database).decide(ASKED) is True
    assert not here.interrupted
    assert [row.granted for row in kept(database)] == [True]
    with pytest.raises(StoreError, match="damaged"):
        await Desk(ApprovalPolicy("wait"), database).decide(replace(ASKED, step="other"))


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


# --- runs that wait, end and go on --------------------------------------------------------------------------------


class Till:
    """Two paid tools that count their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

        @tool(price=PerCall("0.001"))
        async def look(who: str) -> str:
            """Find somebody."""
            self.calls.append(f"look {who}")
            return f"account of {who}"

        @tool(price=PerCall("0.005"), effects="write")
        async def pay(account: str) -> str:
            """Send money."""
            self.calls.append(f"pay {account}")
            return f"paid to {account}"

        self.tools = (look, pay)

    def agent(self, path: Path, **options: Any) -> Agent:
        return Agent(self.tools, store=path, **{"budget": "0.02", **options})


STEP = 'in who: text\na = look(who)\nb = pay(a) @approve @key(t"{who}")\nout b'
WHOLE = "plan p @approve\n" + STEP.replace(" @approve", "")


def costs(result: RunResult) -> list[tuple[str, Money | None]]:
    return [(row.step, row.amount) for row in result.ledger]


PAID = [("a", Money(1_000_000)), ("b", Money(5_000_000))]


@pytest.mark.parametrize(("plan", "step"), [(STEP, "b"), (WHOLE, None)], ids=["step", "plan"])
async def test_a_run_put_off_goes_on_once_it_is_decided_and_pays_nothing_twice(
    path: Path, plan: str, step: str | None
) -> None:
    till = Till()
    async with till.agent(path, approve="later") as bot:
        first = await bot.run(plan, {"who": "ada"})
        assert first.status == "waiting"
        assert till.calls == (["look ada"] if step else [])
        again = await bot.resume(first.run_id)  # nobody has decided
        assert again.status == "waiting"
        (question,) = await bot.approvals(first.run_id)
        assert (question.step, question.digest) == (step, first.quote.compiled.digest)
    async with till.agent(path, approve="later") as bot:
        await bot.decide(first.run_id, step, by="grace", expires_s=60)
        done = await bot.resume(first.run_id)
        assert done.status == "complete"
        assert done.outputs == {"b": "paid to account of ada"}
        assert till.calls == ["look ada", "pay account of ada"]
        assert costs(done) == PAID
        assert bot.store is not None
        assert bot.store.get(first.run_id).summary.cost == done.spent == Money(6_000_000)
        assert await bot.approvals() == []


@pytest.mark.parametrize(("plan", "step"), [(STEP, "b"), (WHOLE, None)], ids=["step", "plan"])
async def test_a_run_that_is_denied_ends_without_the_call(path: Path, plan: str, step: str | None) -> None:
    till = Till()
    async with till.agent(path, approve="later") as bot:
        run = (await bot.run(plan, {"who": "ada"})).run_id
        await bot.decide(run, step, granted=False, by="grace")
        done = await bot.resume(run)
    assert done.status == "failed"
    assert done.results["b"].status == "refused"
    assert "pay account of ada" not in till.calls


@pytest.mark.parametrize(("plan", "step"), [(STEP, "b"), (WHOLE, None)], ids=["step", "plan"])
async def test_a_larger_cap_or_an_expired_answer_is_asked_about_again(path: Path, plan: str, step: str | None) -> None:
    till = Till()
    async with till.agent(path, approve="later") as bot:
        run = (await bot.run(plan, {"who": "ada"})).run_id
        await bot.decide(run, step, by="grace", expires_s=0.2)
        await asyncio.sleep(0.25)
        assert (await bot.resume(run)).status == "waiting"  # expired
        await bot.decide(run, step, by="grace")
        assert (await bot.resume(run, budget="0.03")).status == "waiting"  # for $0.02 only
        (question,) = await bot.approvals(run)
        assert question.cap == Money(30_000_000)
        assert "pay account of ada" not in till.calls
        done = await bot.resume(run, budget="0.015")
    assert done.status == "complete"
    assert costs(done) == PAID


async def test_steps_are_decided_one_by_one_over_several_lives(path: Path) -> None:
    till = Till()
    plan = 'a = look("a") @approve\nb = look("b") @approve\nc = pay(a) @approve @key("c")\nout a, b, c'
    async with till.agent(path, approve="later") as bot:
        run = (await bot.run(plan)).run_id
        for step in ("a", "b", "c"):
            assert (await bot.resume(run)).status == "waiting"
            await bot.decide(run, step, by="grace")
        done = await bot.resume(run)
    assert done.status == "complete"
    assert sorted(till.calls) == ["look a", "look b", "pay account of a"]


async def test_an_agent_that_asks_nobody_takes_answers_that_were_given_and_refuses_the_rest(path: Path) -> None:
    till = Till()
    async with till.agent(path) as bot:
        run = (await bot.run(WHOLE, {"who": "ada"}, approve="later")).run_id
        await bot.decide(run, by="grace")
        assert (await bot.resume(run)).status == "complete"
        refused = await bot.run(STEP, {"who": "bob"})
        assert refused.results["b"].status == "refused"
        assert "nobody was given to ask" in refused.results["b"].reason
        assert await bot.approvals() == []


async def test_another_agent_decides_while_this_one_waits(path: Path) -> None:
    till = Till()
    async with till.agent(path, approve="wait") as bot, till.agent(path) as boss:
        running = asyncio.ensure_future(bot.run(WHOLE, {"who": "ada"}))
        while not (found := await boss.approvals()):
            assert not running.done()
            await asyncio.sleep(0.02)
        await boss.decide(found[0].run_id, by="boss")
        decided = time.monotonic()
        assert (await running).status == "complete"
        assert time.monotonic() - decided < 10.0
        with pytest.raises(ApprovalError, match="was already granted by boss"):
            await boss.decide(found[0].run_id, by="late")


async def test_a_fork_asks_for_itself(path: Path) -> None:
    till = Till()
    async with till.agent(path, approve="auto") as bot:
        run = await bot.run(WHOLE, {"who": "ada"})
        fork = await bot.fork(run.run_id, "b", approve="later")
        assert fork.status == "waiting"
        assert [question.run_id for question in await bot.approvals()] == [fork.run_id]


async def test_every_plan_of_an_agent_can_need_approval(path: Path) -> None:
    till = Till()
    async with till.agent(path, approve="auto") as free, till.agent(path, approve="later", approve_plan=True) as strict:
        plain = STEP.replace(" @approve", "")
        quote = await free.quote(plain, {"who": "ada"})
        for given in (plain, quote):
            assert (await strict.run(given, {"who": "ada"})).status == "waiting"
        assert "plan @approve" in (await strict.quote(plain, {"who": "ada"})).text
        run = await free.run(quote, {"who": "ada"})
        assert run.status == "complete"
        assert (await strict.fork(run.run_id, "b")).status == "waiting"
        assert till.calls == ["look ada", "pay account of ada"]


async def test_without_a_store_nothing_can_be_decided_later() -> None:
    till = Till()
    with pytest.raises(ValueError, match="needs a store"):
        Agent(till.tools, approve="later")
    async with Agent(till.tools) as bot:
        with pytest.raises(ValueError, match="has no store"):
            await bot.approvals()
        with pytest.raises(ValueError, match="needs a store"):
            await bot.run(STEP, {"who": "ada"}, approve="wait")


KILLED = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from bank import CATALOGUE
    from catp.agent import Agent

    PLAN = 'in who: text\\nfound = look_up(who)\\ndone = pay(found) @approve @key(t"{who}")\\nout done'

    async def main():
        async with Agent(CATALOGUE, store=sys.argv[2], budget="0.02", approve="wait") as bot:
            await bot.run(PLAN, {"who": "ada"})

    asyncio.run(main())
"""


async def test_a_waiting_run_survives_kill_9(path: Path, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[1] / "cli" / "bank.py", tmp_path / "bank.py")
    process = start_waiting(tmp_path, path)
    async with Agent(load_bank(tmp_path), store=path, approve="later", budget="0.02") as bot:
        try:
            while not (found := await bot.approvals()):
                assert process.poll() is None
                await asyncio.sleep(0.05)
        finally:
            process.kill()
            process.wait()
        await bot.decide(found[0].run_id, "done", by="grace")
        done = await bot.resume(found[0].run_id)
        assert done.status == "complete"
        assert [row.step for row in done.ledger] == ["found", "done"]
        assert (tmp_path / "looked.txt").read_text() == "ada\n"
        assert (tmp_path / "paid.txt").read_text() == "account of ada\n"


def start_waiting(folder: Path, store: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), folder, store])


def load_bank(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("bank_of_approvals", folder / "bank.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bank_of_approvals"] = module
    spec.loader.exec_module(module)
    return module.CATALOGUE


async def test_a_yes_to_less_lowers_the_cap_of_the_run_that_waits(database: Database) -> None:
    plan = replace(ASKED, step=None)
    lowered: list[Money] = []
    waiting = asyncio.ensure_future(Desk(ApprovalPolicy("wait"), database, lower=lowered.append).decide(plan))
    while not await open_questions(database, RUN):  # noqa: ASYNC110 - the desk asks in its own time
        await asyncio.sleep(0.01)
    await answer(database, RUN, None, granted=True, by="ada", cap=Money(40))
    assert await waiting is True
    assert lowered == [40]
    assert await Desk(ApprovalPolicy("later"), database).decide(plan) is None  # it covers no more than 40
    assert await Desk(ApprovalPolicy("later"), database).decide(replace(plan, cap=Money(40))) is True
