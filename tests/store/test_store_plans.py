"""A plan is kept once; one that does the same under other names is kept under a key of its own."""

from pathlib import Path

from catp.agent import Agent
from catp.planlang.parser import parse
from catp.store.store import RunStore
from catp.tools import Catalogue, PerCall, tool

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
