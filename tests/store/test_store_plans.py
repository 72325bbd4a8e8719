"""A plan is kept once; one that does the same under other names is kept under a key of its own."""

import asyncio
from dataclasses import replace
from pathlib import Path

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.store.pruning import old_runs, remove_runs
from catp.store.records import NewPlan
from catp.store.statements import query
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool
from tests.store.recording import created, finished, new_run

PLAN = 'plan first "a task"\nin t: text\na = shout(t)\nb = shout(a) @approve\nout b\n'


@tool(price=PerCall("0.001"))
async def shout(text: str) -> str:
    """Shout."""
    return text.upper()


async def test_a_run_keeps_the_names_of_its_own_plan_and_goes_on_by_them(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    catalogue = Catalogue([shout])
    renamed = PLAN.replace("a = ", "x = ").replace("(a)", "(x)").replace("b = ", "y = ").replace("out b", "out b = y")
    retitled = PLAN.replace("first", "second").replace("a task", "another")
    runs = []
    for text in (PLAN, retitled, renamed, renamed):
        async with Agent(catalogue, store=store, approve="later", cache=False) as agent:
            runs.append((await agent.run(parse(text), {"t": "hi"})).run_id)
    keys = [store.find(run).plan_hash for run in runs]
    assert keys[0] == keys[1]
    assert keys[2] == keys[3] != keys[0]
    assert {step.step for step in store.get(runs[2]).steps} == {"x", "y"}
    assert "y = shout(x)" in store.plan_source(keys[2])
    async with Agent(catalogue, store=store, approve="auto", cache=False) as agent:
        done = await agent.resume(runs[2])
    assert (done.status, done.outputs, set(done.steps)) == ("complete", {"b": "HI"}, {"x", "y"})
    store.close()


def test_pruning_while_a_run_begins_leaves_it_its_plans(tmp_path: Path) -> None:
    store, other = RunStore(tmp_path / "runs.db"), RunStore(tmp_path / "runs.db")
    old = new_run(plan="in t: text\nx = shout(t)\nout x\n")
    journal = store.begin(old)
    for event in (created(old), finished(old.run_id, 2)):
        journal.event(event)
    asyncio.run(journal.close())
    renamed = "in t: text\ny = shout(t)\nout y\n"
    rival = NewPlan("f" * 64, "out z", {"out": ["z"]}, 1)
    begun = [
        replace(new_run(), plan_hash=old.plan_hash, plan_source=old.plan_source, rivals=(rival,)),
        replace(new_run(), plan_hash=old.plan_hash, plan_source=renamed),
        new_run(plan="out w"),
    ]
    journals = [store.begin(run) for run in begun]
    doomed = old_runs(other, before_ns=2**62)
    assert doomed == [old.run_id]
    assert remove_runs(other, doomed).runs == 1
    assert other.database.read(lambda connection: query(connection, "SELECT hash FROM plans")) == []
    for run, journal in zip(begun, journals, strict=True):
        assert journal.plan is not None
        beaten = [{"rank": 1, "plan": rival.plan_hash, "chosen": False}] if run.rivals else []
        journal.event(created(replace(run, plan_hash=journal.plan), candidates=beaten))
        assert asyncio.run(journal.close()) is None
        assert store.plan_source(store.find(run.run_id).plan_hash) == run.plan_source
    assert store.plan_source(rival.plan_hash) == "out z"
    other.close()
    store.close()
