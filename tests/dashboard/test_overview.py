"""Every figure of the overview against the rows it is said to be of."""

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from catp.agent import Agent
from catp.config import Settings
from catp.dashboard.read.overview import overview
from catp.planlang.money import format_usd, usd
from catp.planlang.parser import parse
from catp.runtime.clock import VirtualClock
from catp.store import scores
from catp.store.budgets import set_budget
from catp.store.store import RunStore
from catp.tools import PerCall, Unpriced, tool
from tests.dashboard.conftest import Client

DAY = 86_400
NOW = 1_790_000_000_000_000_000  # 2026-09-21T12:53:20Z

_clock: list[VirtualClock] = []


@tool(price=PerCall("0.01"))
async def quick(text: str) -> str:
    await _clock[0].sleep(2.0)
    return text


@tool(price=PerCall("0.02"))
async def broken(text: str) -> str:
    raise OSError("the line is dead")


@tool(price=Unpriced())
async def odd(text: str) -> str:
    return text


GOOD = parse("in t: text\na = quick(t)\nout a\n")
BAD = parse("in t: text\na = broken(t)\nout a\n")
ODD = parse("in t: text\na = odd(t)\nout a\n")


@pytest.fixture
async def told(tmp_path: Path) -> Path:
    """Yesterday two runs of $0.01, of which one was scored; today three of $0.01, one that failed, one unpriced."""
    path = tmp_path / "runs.db"
    clock = VirtualClock(NOW - 5 * DAY * 10**9)
    _clock[:] = [clock]
    async with Agent(
        [quick, broken, odd], store=path, planner="search", project="p", clock=clock, cache=False
    ) as agent:

        async def at(hours_ago: float, plan: object, **limits: float) -> str:
            await clock.sleep((NOW - round(hours_ago * 3600e9) - clock.now_ns()) / 1e9)
            return (await agent.run(plan, {"t": "x"}, **limits)).run_id  # type: ignore[arg-type]

        await at(4 * 24, GOOD)
        first = await at(30, GOOD, deadline_s=10.0)
        await at(29, GOOD)
        ids = [await at(5, GOOD, deadline_s=10.0), await at(4, GOOD, deadline_s=1.0), await at(3, GOOD)]
        await at(2, BAD)
        await at(1, ODD)
        assert agent.store is not None
        for run, value in ((first, 0.5), (ids[0], 0.9), (ids[2], 0.7)):
            agent.store.database.write(lambda c, r=run, v=value: scores.put(c, r, v, by="me", now_ns=NOW))  # type: ignore[misc]
    return path


def test_figures_against_the_day_before(told: Path) -> None:
    store = RunStore(told)
    seen = store.database.read(lambda c: overview(c, DAY, NOW))
    runs = [run for run in store.list(limit=100) if run.created_ns >= NOW - DAY * 10**9]
    assert seen["runs"] == {"complete": 3, "failed": 2}  # the one that was late, and the broken one
    assert sum(seen["runs"].values()) == len(runs)
    assert usd(seen["spend"]["amount"]) == sum(run.cost for run in runs)
    assert seen["spend"]["before"] == "0.02"
    assert (seen["spend"]["unpriced"], seen["spend"]["before_unpriced"]) == (1, 0)
    compared = seen["compared"]
    assert compared["success"] == {"now": 3 / 5, "before": 1.0, "n": 5}
    assert compared["quality"] == {"now": pytest.approx(0.8), "before": 0.5, "n": 2}
    priced = [run.cost for run in runs if not run.unpriced]
    assert compared["mean_cost"] == {"now": format_usd(round(sum(priced) / 4)), "before": "0.01", "n": 4}  # type: ignore[arg-type]
    assert compared["p50_ms"]["before"] == pytest.approx(2000, abs=5)
    assert seen["deadlines"] == {"with": 2, "met": 1, "share": 0.5, "before": 1.0}
    worst = seen["failures"][0]
    assert (worst["type"], worst["tool"], worst["count"]) == ("OSError", "broken", 1)
    assert worst["sample_run"] in {run.id for run in runs}
    store.close()


def test_days_and_month_are_the_ledger(told: Path) -> None:
    store = RunStore(told)
    seen = store.database.read(lambda c: overview(c, DAY, NOW))
    whole = sum(run.cost for run in store.list(limit=100))
    days, month = seen["spend"]["days"], seen["spend"]["month"]
    assert [one["day"] for one in days][-1] == "2026-09-21"
    assert sum(usd(one["amount"]) for one in days) == whole == usd(month["spent"])
    assert days[-1]["amount"] == seen["spend"]["today"]
    assert month["unpriced"] == 1
    assert month["forecast"] is None, "nobody knows where a month with unpriced calls ends"
    assert usd(month["at_least"]) >= usd(month["spent"])
    later = store.database.read(lambda c: overview(c, DAY, NOW + 14 * DAY * 10**9))["spend"][
        "month"
    ]  # October: all priced
    assert later["unpriced"] == 0
    assert usd(later["forecast"]["p50"]) <= usd(later["forecast"]["p90"])
    store.close()


async def test_what_needs_somebody(told: Path, client_of: Callable[..., Client]) -> None:
    store = RunStore(told)
    store.database.write(lambda c: set_budget(c, "project", "p", "total", usd("0.05"), (0.5,), NOW))
    store.database.write(lambda c: set_budget(c, "agent", "nobody", "day", usd("9"), (0.5,), NOW))
    needs = store.database.read(lambda c: overview(c, DAY, NOW))["needs_you"]
    assert [one["kind"] for one in needs] == ["budget", "unpriced"]
    assert (needs[0]["title"], needs[0]["state"]) == ("project:p", "over")
    assert (needs[1]["tool"], needs[1]["rows"]) == ("odd", 1)
    store.close()
    answer = await client_of(told).get("/api/v1/overview?window=400d")
    assert answer.json()["needs_you"][0]["limit"] == "0.05"
    assert sum(answer.json()["runs"].values()) == 8


async def test_the_guide_of_an_empty_store_fills_that_store(
    tmp_path: Path, client_of: Callable[..., Client], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "it's mine.db"
    RunStore(path).list()
    guide = (await client_of(path).get("/api/v1/overview")).json()["guide"]
    command, script = (step["text"] for step in guide[1:])
    assert shlex.split(command)[-2:] == ["--store", str(path)]
    await asyncio.to_thread(exec, script, {})  # as somebody would who copies it
    assert "Language(code='de'" in capsys.readouterr().out
    (run,) = RunStore(path).list()
    assert run.status == "complete"
    assert (await client_of(path).get("/api/v1/overview")).json()["guide"] == []


async def test_the_guide_names_no_store_that_is_found_anyway(
    tmp_path: Path, client_of: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = Settings().store
    RunStore(path).list()
    guide = (await client_of(Path(path)).get("/api/v1/overview")).json()["guide"]
    assert "--store" not in guide[1]["text"]


async def test_an_empty_store_says_so(tmp_path: Path, client_of: Callable[..., Client]) -> None:
    store = RunStore(tmp_path / "runs.db")
    store.list()
    store.close()
    seen = (await client_of(tmp_path / "runs.db").get("/api/v1/overview")).json()
    assert seen["empty"]
    assert seen["runs"] == {}
    assert seen["spend"]["amount"] == "0.00"
    assert seen["spend"]["month"]["forecast"] is None
    assert {figure["now"] for figure in seen["compared"].values()} == {None}
