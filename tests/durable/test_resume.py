"""Agents and saved runs: resume, fork, cancel; what is asked, what is refused, what is kept."""

import asyncio
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.result import RunCancelled, RunRefused, RunResult
from catp.resume import CannotResume, Decision, InDoubt
from catp.runtime.events import RunEvent
from catp.runtime.replay import rebuild
from catp.store.errors import RunOwned
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool
from catp.tools.errors import ToolDefinitionError
from tests.durable import shop
from tests.durable.test_kill_everywhere import committed, die, in_child


@tool(price=PerCall("0.002"))
async def spare_cheap(text: str) -> str:
    """A rival of `spare`."""
    shop.note("call spare_cheap")
    return f"cheap({text})"


CATALOGUE = Catalogue([*shop.TOOLS, spare_cheap])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shop.use(tmp_path / "world.txt")
    return tmp_path


def agent(folder: Path, **options: Any) -> Agent:
    return Agent(CATALOGUE, store=folder / "runs.db", **{"budget": "1", **options})


async def interrupted(one: Agent, step: str, kind: str = "node.started", plan: str = shop.PLAN) -> RunResult:
    """A run that is stopped, as by Ctrl-C, at an event of a step."""
    running: asyncio.Task[RunResult]

    def stop(event: RunEvent) -> None:
        if event.step == step and event.type == kind:
            running.cancel()

    running = asyncio.ensure_future(one.run(parse(plan), {"page": "p1"}, on_event=stop))
    with pytest.raises(RunCancelled) as caught:
        await running
    return caught.value.result


def calls(name: str) -> int:
    return sum(times for line, times in shop.lines().items() if line.split()[:2] == ["call", name])


async def test_an_interrupted_run_goes_on_where_it_stopped(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "best", "node.finished")
        done = {name for name, step in stopped.steps.items() if step.status == "ok"}
        result = await one.resume(stopped.run_id[-6:], in_flight="again")
        assert result.status == "complete"
        assert result.run_id == stopped.run_id
        assert {"raw", "parts", "best"} <= done
        assert calls("fetch") == calls("split") == calls("spare") == 1
        assert result.spent == sum(row.amount or 0 for row in result.ledger) == rebuild(result.trace).spent
        assert one.store is not None
        saved = one.store.find(result.run_id)
        assert (saved.status, saved.cost) == ("complete", result.spent)
        with pytest.raises(CannotResume, match="is complete"):
            await one.resume(result.run_id, retry_failed=True)


async def test_a_write_that_may_have_acted_is_asked_about(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "mail")
        before = shop.lines()
        with pytest.raises(InDoubt) as caught:
            await one.resume(stopped.run_id)
        assert [(doubt.place, doubt.tool) for doubt in caught.value.doubts] == [("mail", "send")]
        assert "mail=done" in str(caught.value)
        assert shop.lines() == before, "something was called before everybody had decided"
        with pytest.raises(CannotResume, match="has no step 'male'; it has raw"):
            await one.resume(stopped.run_id, in_flight={"male": "again"})
        with pytest.raises(ValueError, match="'maybe' is none of again, done, failed"):
            await one.resume(stopped.run_id, in_flight={"mail": "maybe"})  # type: ignore[dict-item]
        result = await one.resume(stopped.run_id, in_flight={"mail": Decision("done", "by hand")})
        assert result.outputs["mail"] == "by hand"
        assert calls("send") == before["call send"], "what was said to be done was done again"
        assert result.status == "complete"


async def test_done_without_the_value_that_a_later_step_reads_is_asked_about_again(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "mail")
        with pytest.raises(InDoubt, match=r"`report` reads its value.*mail=done=VALUE"):
            await one.resume(stopped.run_id, in_flight={"mail": "done"})
        result = await one.resume(stopped.run_id, in_flight={"mail": Decision("done", "by hand")})
        assert result.status == "complete"


async def test_a_write_is_asked_about_even_if_its_tool_says_by_now_that_it_only_reads(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "mail")
    before = calls("send")
    told = shop.send.spec
    harmless = replace(told, version="2", signature=replace(told.signature, effects="read"))
    tools = [*(known for known in shop.TOOLS if known is not shop.send), harmless]
    async with Agent(Catalogue(tools), store=folder / "runs.db", budget="1") as another:
        with pytest.raises(InDoubt, match="mail: send was stopped"):
            await another.resume(stopped.run_id)
        assert calls("send") == before
        result = await another.resume(stopped.run_id, in_flight={"mail": Decision("done", "by hand")})
    assert (result.status, calls("send")) == ("complete", before)


async def test_a_write_said_to_have_failed_fails(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "mail")
        result = await one.resume(stopped.run_id, in_flight=lambda doubt: "failed")
        assert result.steps["mail"].status == "failed"
        assert result.steps["report"].status == "poisoned"
        assert result.status == "degraded"


FAILS = "in page: text\na = fetch(page)\nb = broken(a)\nc = score(b)\nout a, c"


async def test_failed_steps_are_retried_only_when_that_is_said(folder: Path) -> None:
    async with agent(folder) as one:
        failed = await one.run(parse(FAILS), {"page": "p1"})
        assert failed.status == "degraded"
        with pytest.raises(CannotResume, match="retry-failed"):
            await one.resume(failed.run_id)
        again = await one.resume(failed.run_id, retry_failed=True)
        assert again.status == "degraded"
        assert (calls("fetch"), calls("broken")) == (1, 2)
        assert again.spent == usd("0.03")
        assert again.steps["b"].attempts == 2


async def test_a_budget_counts_what_was_spent_and_can_be_raised(folder: Path) -> None:
    plan = "in page: text\na = fetch(page)\nb = score(a)\nc = enrich(a, a)\nout a, b, c"
    async with agent(folder, budget="0.03") as one:
        stopped = await interrupted(one, "a", "node.finished", plan)
        tight = await one.resume(stopped.run_id, budget=stopped.spent)
        assert tight.spent == stopped.spent
        assert "refused" in {step.status for step in tight.steps.values()}
        whole = await one.resume(stopped.run_id, budget="0.10", retry_failed=True)
        assert whole.status == "complete"
        assert stopped.spent < whole.spent == sum(row.amount or 0 for row in whole.ledger)


async def test_a_deadline_that_is_used_up_is_said_before_anything_is_called(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "best", "node.finished")
        with pytest.raises(CannotResume, match="used up its time"):
            await one.resume(stopped.run_id, deadline_s=1e-6, in_flight="again")
        assert (await one.resume(stopped.run_id, deadline_s=60.0, in_flight="again")).status == "complete"


async def test_what_cannot_be_resumed_says_why(folder: Path) -> None:
    with pytest.raises(CannotResume, match="has no store"):
        await Agent(CATALOGUE).resume("X")
    async with agent(folder) as one:
        with pytest.raises(KeyError, match="no run"):
            await one.resume("NOSUCHRUN")
        running = asyncio.ensure_future(one.run(parse(shop.PLAN), {"page": "p1"}, on_event=lambda event: None))
        while not (one.store and one.store.list()):  # noqa: ASYNC110 - the row appears in another thread
            await asyncio.sleep(0.005)
        with pytest.raises(RunOwned, match="is being driven by process"):
            await one.resume(one.store.list()[0].id)
        await running
    async with agent(folder) as one:
        stopped = await interrupted(one, "best", "node.finished")
    async with Agent([shop.fetch], store=folder / "runs.db") as other:
        with pytest.raises(CannotResume, match="does not fit the tools there are now"):
            await other.resume(stopped.run_id)
    async with agent(folder) as one:  # refusals let go of the run
        assert (await one.resume(stopped.run_id, in_flight="again")).status == "complete"


async def test_a_lost_value_is_made_again_if_a_tool_only_reads(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "best", "node.finished")
        assert one.store is not None
        one.store.database.write(
            lambda connection: connection.exec_driver_sql(
                "UPDATE node_io SET codec = NULL WHERE kind = 'step' AND name = 'raw'"
            )
        )
        result = await one.resume(stopped.run_id, in_flight="again")
        assert result.status == "complete"
        resumed = next(event for event in result.trace if event.type == "run.resumed")
        assert any("`raw` cannot be read back" in note for note in resumed.data["notes"])


async def test_a_run_is_ended_for_good(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "best", "node.finished")
        with pytest.raises(CannotResume, match="has ended already"):
            await one.cancel(stopped.run_id)
    store = RunStore(folder / "runs.db")
    waiting_plan = "in page: text\na = fetch(page)\nb = score(a) @approve\nout a, b"
    async with agent(folder, approve="later") as one:
        waits = await one.run(parse(waiting_plan), {"page": "p1"})
        assert waits.status == "waiting"
        ended = await one.cancel(waits.run_id, "not wanted")
        assert (ended.status, ended.steps["b"].reason) == ("cancelled", "not wanted")
        assert store.find(waits.run_id).status == "cancelled"
        with pytest.raises(CannotResume, match="not wanted"):
            await one.resume(waits.run_id)
    store.close()


# --- forks ----------------------------------------------------------------------------------------------------------


async def test_a_fork_keeps_what_does_not_depend_on_the_step(folder: Path) -> None:
    async with agent(folder) as one:
        first = await one.run(parse(shop.PLAN), {"page": "p1"})
        before = shop.lines()
        fork = await one.fork(first.run_id, "gate", set={"spare": "spare_cheap"})
        assert fork.run_id != first.run_id
        assert fork.status == "complete"
        assert calls("fetch") == before["call fetch"]
        assert calls("spare_cheap") == 1
        assert fork.steps["best"].value == "cheap(raw(p1))"
        assert [fork.steps[name].attempts for name in ("raw", "parts", "tags", "sums", "posts")] == [0] * 5
        assert fork.steps["tags"].value == first.steps["tags"].value
        assert fork.spent == sum(row.amount or 0 for row in fork.ledger) == rebuild(fork.trace).spent
        assert one.store is not None
        saved = one.store.find(fork.run_id)
        assert (saved.parent, saved.fork_step, saved.cost) == (first.run_id, "gate", fork.spent)
        grandchild = await one.fork(fork.run_id, "report")  # a fork is complete in itself
        assert grandchild.spent == usd("0.01")
        assert grandchild.outputs == fork.outputs


def test_a_killed_fork_is_resumed_like_any_run(folder: Path) -> None:
    async def first_run() -> RunResult:
        async with agent(folder) as one:
            return await one.run(parse(shop.PLAN), {"page": "p1"})

    first = asyncio.run(first_run())

    async def fork() -> None:
        async with agent(folder) as one:

            def die_after(event: RunEvent) -> None:
                if event.step == "gate" and event.type == "node.settled":
                    committed(folder, event)
                    die()

            await one.fork(first.run_id, "gate", on_event=die_after)

    assert in_child(lambda: asyncio.run(fork()), folder / "result") == signal.SIGKILL

    async def resume() -> tuple[RunResult, RunResult]:
        async with agent(folder) as one:
            assert one.store is not None
            run = one.store.list()[0]
            assert (run.status, run.parent) == ("interrupted", first.run_id)
            seen = calls("fetch"), calls("tag"), calls("post")
            result = await one.resume(run.id)
            assert (calls("fetch"), calls("tag"), calls("post")) == seen
            return result, await one.fork(result.run_id, "report")

    result, again = asyncio.run(resume())
    assert result.status == "complete"
    assert result.outputs == again.outputs == first.outputs
    assert result.steps["tags"].attempts == 0


async def test_a_fork_with_another_input_and_forks_that_cannot_be(folder: Path) -> None:
    async with agent(folder) as one:
        first = await one.run(parse(FAILS), {"page": "p1"})
        fork = await one.fork(first.run_id, set={"b": "spare"}, inputs={"page": "p2"})
        assert (fork.outputs["a"], fork.steps["b"].value) == ("raw(p2)", "best(raw(p2))")
        for step, message in (("gaet", "no step 'gaet'"), (None, "cannot set 'x'")):
            with pytest.raises(CannotResume, match=message):
                await one.fork(first.run_id, step, set={} if step else {"x": "spare"})
        with pytest.raises(RunRefused):
            await one.fork(first.run_id, "a", budget="0.001")


async def test_a_fork_does_not_repeat_a_write_that_was_at_work_unless_told_to(folder: Path) -> None:
    async with agent(folder) as one:
        stopped = await interrupted(one, "mail")
        before = shop.lines()
        with pytest.raises(CannotResume, match="'mail' was at work when the run stopped and may have changed"):
            await one.fork(stopped.run_id, "report")
        assert shop.lines() == before
        assert (await one.fork(stopped.run_id, "mail")).status == "complete"
        assert calls("send") == before["call send"] + 1
        assert (await one.fork(stopped.run_id, "order")).status == "complete"  # `mail` lies downstream


# --- keys -----------------------------------------------------------------------------------------------------------


async def test_a_function_gets_the_key_of_its_step_and_plans_do_not_see_it(folder: Path) -> None:
    assert [param.name for param in shop.book.spec.signature.params] == ["text"]
    async with agent(folder) as one:
        await one.run(parse('in page: text\na = book(page) @key(t"k-{page}")\nout a'), {"page": "p1"})
        assert shop.lines()["act k-p1"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"effects": "read", "key": "key"}, "is for effects='write'"),
        ({"effects": "write", "key": "kye"}, "is no parameter"),
        ({"effects": "write", "key": "text"}, "takes the key"),
    ],
)
def test_keys_that_cannot_be(options: dict[str, Any], message: str) -> None:
    async def pay(text: str, key: str | None = None) -> str:
        return text

    with pytest.raises(ToolDefinitionError, match=message):
        tool(**options)(pay)


async def test_what_was_assumed_for_a_lost_call_is_money_and_not_unpriced_on_any_surface(folder: Path) -> None:
    def kill(event: RunEvent) -> None:
        if event.step == "parts" and event.type == "node.started":
            committed(folder, event)
            die()

    async def begin() -> None:
        async with agent(folder) as one:
            await one.run(parse(shop.PLAN), {"page": "p1"}, on_event=kill)

    assert in_child(lambda: asyncio.run(begin()), folder / "result") == signal.SIGKILL
    store = RunStore(folder / "runs.db")
    run_id = store.list()[0].id
    async with agent(folder) as one:
        result = await one.resume(run_id)
    saved = store.find(run_id)
    store.close()
    assert sum(row.amount or 0 for row in result.ledger if not row.priced) > 0
    assert (saved.cost, saved.unpriced) == (result.spent, result.unpriced)
    assert result.unpriced == 0
