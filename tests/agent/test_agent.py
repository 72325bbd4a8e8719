"""The agent on real tools with declared prices: plan, quote, run, stream, save, refuse, cancel."""

import asyncio
import errno
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.inputs import InputError
from catp.planlang.errors import PlanError
from catp.planlang.money import usd
from catp.planlang.parser import parse
from catp.planners.protocol import PlanningFailed
from catp.result import RunCancelled, RunRefused, RunResult
from catp.runtime.events import RunEvent
from catp.store.artifacts import ArtifactStore
from catp.store.store import RunStore

_spec = importlib.util.spec_from_file_location("agent_shop", Path(__file__).with_name("shop.py"))
assert _spec is not None
assert _spec.loader is not None
shop = importlib.util.module_from_spec(_spec)
sys.modules["agent_shop"] = shop
_spec.loader.exec_module(shop)

WANT = {"mood": "Mood", "gist": "Gist"}
TEXT = {"text": "a good day in the mountains"}


def agent(**options: Any) -> Agent:
    made: Agent = shop.agent(**options)
    return made


async def test_plan_never_spends_and_orders_by_alpha() -> None:
    dear = await agent().plan("anything", TEXT, wanted=WANT, alpha=1.0)
    cheap = await agent().plan("anything", TEXT, wanted=WANT, alpha=0.0)
    assert "mood_fine" in dear.best.text
    assert "mood_cheap" in cheap.best.text
    assert cheap.best.price.expected == usd("0.006")
    assert dear.best.price.expected == usd("0.025")
    assert dear.exact


async def test_run_gives_outputs_ledger_and_trace() -> None:
    result = await agent(alpha=0.0).run("anything", TEXT, wanted=WANT)
    assert result.status == "complete"
    assert result.outputs == {"mood": shop.Mood("good", 0.6), "gist": shop.Gist("a good day")}
    assert result.spent == sum(row.amount or 0 for row in result.ledger)
    assert sum(row.amount or 0 for row in result.ledger if row.kind != "planning") == usd("0.006")
    assert [event.seq for event in result.trace] == list(range(1, len(result.trace) + 1))
    assert result.trace[-1].type == "run.finished"
    assert not result.saved


async def test_quote_equals_the_plan_that_runs() -> None:
    bot = agent(alpha=0.0)
    quote = await bot.quote("anything", TEXT, wanted=WANT)
    result = await bot.run(quote, TEXT)
    assert result.plan is quote.compiled
    assert quote.planning is not None
    assert result.spent == (quote.price.expected or 0) + (quote.planning.price or 0)


async def test_a_quote_runs_under_the_limits_it_was_made_for() -> None:
    bot = agent(alpha=0.0)
    quote = await bot.quote("anything", TEXT, wanted=WANT, alpha=0.3, budget="0.03", deadline_s=60)
    started = (await bot.run(quote, TEXT)).trace
    limits = next(event.data for event in started if event.type == "run.created")
    assert (limits["budget"], limits["deadline_ms"]) == ("0.03", 60_000)
    raised = (await bot.run(quote, TEXT, budget="0.5")).trace
    assert next(event.data for event in raised if event.type == "run.created")["budget"] == "0.50"


async def test_budget_keeps_dear_tools_out_and_refuses_what_cannot_fit() -> None:
    result = await agent(alpha=1.0, budget="0.01").run("anything", TEXT, wanted=WANT)
    assert result.spent <= usd("0.01")
    assert "mood_cheap" in result.quote.text
    with pytest.raises(PlanningFailed, match=r"0\.006"):
        await agent(budget="0.002").plan("anything", TEXT, wanted=WANT)
    plan = parse("in text: text\nm = mood_fine(text)\nout m")
    with pytest.raises(RunRefused, match=r"\$0\.02 exceeds the limit of \$0\.01"):
        await agent(budget="0.01").run(plan, TEXT)


@pytest.mark.parametrize(
    ("budget", "complaint"), [("0", "more than"), ("-1", "more than"), ("x", "decimal"), (0, "more than")]
)
def test_a_budget_must_be_money(budget: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        agent(budget=budget)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_must_lie_between_0_and_1(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        agent(alpha=alpha)


async def test_a_failing_branch_leaves_the_other() -> None:
    result = await agent(alpha=0.0).run("anything", {"text": "raise"}, wanted=WANT)
    assert result.status == "degraded"
    assert list(result.outputs) == ["mood"]
    assert result.results["gist"].status == "failed"
    assert "no gist today" in result.results["gist"].reason


async def test_inputs_are_checked_before_anything_runs() -> None:
    plan = parse("in text: text\nm = mood_cheap(text)\nout m")
    with pytest.raises(InputError, match="'text' \\(text\\) is missing"):
        await agent().run(plan, {})
    with pytest.raises(InputError, match="no input 'txt'; did you mean `text`"):
        await agent().run(plan, {"txt": "x"})
    with pytest.raises(InputError, match="must be text, got list\\[text\\]"):
        await agent().run(plan, {"text": ["x"]})
    with pytest.raises(PlanError, match="unknown tool"):
        await agent().run(parse("in text: text\nm = mood_chea(text)\nout m"), TEXT)


async def test_a_task_that_is_not_understood_says_so() -> None:
    with pytest.raises(PlanningFailed):
        await agent().plan("frobnicate the quux", TEXT)


async def test_a_plan_in_text_form_is_a_plan_not_a_task() -> None:
    result = await agent().run("in text: text\nm = mood_fine(text)\nout m", TEXT)
    assert result.outputs["m"].score == 0.9
    with pytest.raises(PlanError, match="unknown tool"):
        await agent().run("in text: text\nm = mood_fin(text)\nout m", TEXT)


async def test_money_is_text_or_nano_usd_never_a_float() -> None:
    with pytest.raises(TypeError, match=r'budget must be text such as "0\.5"'):
        agent(budget=0.5)


async def test_streaming_ends_with_the_result() -> None:
    items = [item async for item in agent(alpha=0.0).stream("anything", TEXT, wanted=WANT)]
    assert all(isinstance(item, RunEvent) for item in items[:-1])
    result = items[-1]
    assert isinstance(result, RunResult)
    assert list(result.trace) == items[:-1]


async def test_cancelling_completes_the_ledger_and_saves(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    bot = agent(alpha=0.0, store=store)
    started = asyncio.Event()

    def watch(event: RunEvent) -> None:
        if event.type == "node.finished" and event.step == "mood":
            started.set()

    running = asyncio.ensure_future(bot.run("anything", {"text": "hang"}, wanted=WANT, on_event=watch))
    await started.wait()
    running.cancel()
    with pytest.raises(RunCancelled) as caught:
        await running
    result = caught.value.result
    assert result.status == "cancelled"
    assert result.saved
    assert "mood" in result.outputs
    assert result.spent == sum(row.amount or 0 for row in result.ledger)
    assert store.get(result.run_id).summary.status == "cancelled"
    store.close()


async def test_leaving_a_stream_early_cancels_the_run() -> None:
    seen = 0
    stream = agent(alpha=0.0).stream("anything", {"text": "hang"}, wanted=WANT)
    async for _ in stream:
        seen += 1
        if seen == 3:
            break
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator, declared as an iterator
    assert len(asyncio.all_tasks()) == 1


def test_run_sync_and_a_second_time() -> None:
    bot = agent(alpha=0.0)
    assert bot.run_sync("anything", TEXT, wanted=WANT).status == "complete"
    assert bot.run_sync("anything", TEXT, wanted=WANT).status == "complete"


async def test_saved_runs_read_back(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    result = await agent(alpha=0.0, store=store).run("anything", TEXT, wanted=WANT)
    assert result.saved
    run = store.get(result.run_id[-8:])
    assert run.summary.cost == result.spent
    assert sum(row["amount_nano"] for row in run.costs) == result.spent
    assert run.events == result.trace
    assert [o.name for o in run.outputs] == list(result.results)
    assert run.outputs[0].text is not None
    assert parse(run.plan_source).steps
    store.close()


async def test_a_store_that_cannot_be_written_does_not_cost_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = await agent(alpha=0.0, store=tmp_path / "file" / "runs.db").run("anything", TEXT, wanted=WANT)
    assert result.status == "complete"
    assert not result.saved
    assert "not saved" in result.warnings[0]


async def test_disk_full_while_saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("catp.store.writer.INLINE_LIMIT", 0)
    monkeypatch.setattr(ArtifactStore, "put", full)
    result = await agent(alpha=0.0, store=RunStore(tmp_path / "runs.db", busy_s=0.1)).run("anything", TEXT, wanted=WANT)
    assert result.status == "complete"
    assert result.outputs["mood"].label == "good"
    assert not result.saved
    assert "No space left on device" in result.warnings[0]


async def test_profiles_are_learned_and_a_damaged_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "profiles.json"
    bot = agent(alpha=0.0, profiles=path)
    await bot.run("anything", TEXT, wanted=WANT)
    assert '"mood_cheap"' in path.read_text()
    path.write_text("{")
    result = await bot.run("anything", TEXT, wanted=WANT)
    assert result.status == "complete"
    assert "profiles.json" in result.warnings[0]
    assert path.read_text() == "{"


async def test_an_observer_that_raises_is_reported() -> None:
    def broken(_event: RunEvent) -> None:
        raise RuntimeError("observer broke")

    result = await agent(alpha=0.0).run("anything", TEXT, wanted=WANT, on_event=broken)
    assert result.status == "complete"
    assert "observer broke" in result.warnings[0]
