"""What people say and do, and what was considered: scores, deeds, requests to stop, candidates."""

import asyncio
from functools import partial
from typing import Any

import pytest

from catp.store import deeds, scores, stopping
from catp.store.candidates import of
from catp.store.errors import RunOwned
from catp.store.rebuild import rebuild
from catp.store.records import NewPlan, NewRun
from catp.store.retention import prune
from catp.store.store import RunStore
from tests.store.recording import call_events, created, finished, new_run


async def kept(store: RunStore, run: NewRun | None = None, **about: Any) -> str:
    """A run that has ended."""
    run = run or new_run()
    journal = store.begin(run)
    for event in (created(run, **about), *call_events(run.run_id, 2, [5]), finished(run.run_id, 6)):
        journal.event(event)
    assert await journal.close() is None
    return run.run_id


# --- scores ---------------------------------------------------------------------------------------------------------


async def test_a_score_replaces_the_one_before_and_goes_with_its_run(store: RunStore) -> None:
    run, other = await kept(store), await kept(store)
    write = store.database.write
    write(partial(scores.put, run_id=run, value=0.25, by="me", note="dull", now_ns=1))
    made = write(partial(scores.put, run_id=run, value=1, by="you \0", note="", now_ns=2))
    assert made == scores.Score(run, 1.0, "you \N{REPLACEMENT CHARACTER}", "", 2)
    assert store.database.read(partial(scores.of, run_ids=[run, other, "nobody"])) == {run: made}
    assert (store.find(run).quality, store.get(other).summary.quality) == (1.0, None)
    assert [one.quality for one in store.list()] == [None, 1.0]
    write(rebuild)
    assert store.find(run).quality == 1.0
    write(partial(prune, run_ids=[run]))
    assert store.database.read(partial(scores.of, run_ids=[run])) == {}


async def test_other_scores_are_refused(store: RunStore) -> None:
    run = await kept(store)
    for value in (float("nan"), float("inf"), -0.001, 1.001):
        with pytest.raises(ValueError, match="from 0"):
            store.database.write(partial(scores.put, run_id=run, value=value, by="me", now_ns=1))
    with pytest.raises(KeyError, match="no run"):
        store.database.write(partial(scores.put, run_id="X" * 26, value=0.5, by="me", now_ns=1))
    assert store.find(run).quality is None


# --- deeds ----------------------------------------------------------------------------------------------------------


def test_deeds_are_read_back_newest_first_page_by_page(store: RunStore) -> None:
    def note(number: int) -> deeds.Deed:
        adding = partial(
            deeds.note, actor="me", action="budget.set", target=f"b{number}", detail={"n": number, "at": ("x\0", None)},
            now_ns=number,
        )  # fmt: skip
        return store.database.write(adding)

    made = [note(number) for number in range(5)]
    assert made[3].detail == {"n": 3, "at": ["x\0", None]}
    first = store.database.read(partial(deeds.latest, limit=2))
    assert first == [made[4], made[3]]
    assert store.database.read(partial(deeds.latest, limit=9, before=first[-1].id)) == made[2::-1]


# --- requests to stop -----------------------------------------------------------------------------------------------


async def test_whoever_drives_a_run_is_told_to_stop_it(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    reasons: asyncio.Queue[str] = asyncio.Queue()
    journal.heed(reasons.put_nowait)
    journal.event(created(run))
    await journal.durable()
    asking = partial(stopping.ask, run_id=run.run_id, by="eve", reason="too slow", now_ns=9)
    assert store.database.write(asking)
    assert store.database.write(partial(stopping.ask, run_id=run.run_id, by="bob", reason="", now_ns=9))  # too late
    assert await asyncio.wait_for(reasons.get(), 5) == "cancelled by eve: too slow"
    await journal.close()
    assert store.database.read(stopping.asked) == []
    assert store.database.write(asking) is False  # nobody drives it now


async def test_a_request_is_not_for_the_next_life_of_a_run(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    await journal.durable()
    store.database.write(partial(stopping.ask, run_id=run.run_id, by="eve", reason="", now_ns=9))
    with pytest.raises(RunOwned):
        store.resume(run.run_id)
    assert len(store.database.read(stopping.asked)) == 1
    store.database.write(lambda c: c.exec_driver_sql("UPDATE runs SET owner = 'gone/0/0:1:1', heartbeat_ns = 0"))
    assert store.database.write(partial(stopping.ask, run_id=run.run_id, by="eve", reason="", now_ns=9)) is False
    again = store.resume(run.run_id)
    assert store.database.read(stopping.asked) == []
    await again.close()


# --- candidates -----------------------------------------------------------------------------------------------------


def candidates(*hashes: str, chosen: int) -> list[dict[str, object]]:
    price = {"low": "0.001", "expected": "0.002", "p95": None}
    return [
        {"rank": rank, "plan": digest, "price": price, "latency_ms": 5.5, "quality": None, "utility": 0.5,
         "chosen": rank == chosen}
        for rank, digest in enumerate(hashes, 1)
    ]  # fmt: skip


async def test_candidates_and_their_plans_live_as_long_as_the_run(store: RunStore) -> None:
    rival = NewPlan("f" * 64, "out y", {"out": ["y"]}, 1)
    run = new_run()
    run = NewRun(run.run_id, run.plan_hash, run.plan_source, run.plan_json, 1, (rival,))
    about = candidates(rival.plan_hash, run.plan_hash, chosen=2)
    await kept(store, run, candidates=about)
    other = await kept(store, new_run(plan="out z"))

    def read() -> list[tuple[object, ...]]:
        return [tuple(one) for one in store.database.read(partial(of, run_id=run.run_id))]

    known = (1_000_000, 2_000_000, None, 5.5, None, 0.5)
    expected = [(1, rival.plan_hash, *known, False), (2, run.plan_hash, *known, True)]
    assert read() == expected
    store.database.write(rebuild)
    assert read() == expected
    store.database.write(partial(prune, run_ids=[other]))
    assert store.plan_source(rival.plan_hash) == "out y"
    store.database.write(partial(prune, run_ids=[run.run_id]))
    assert read() == []
    left = store.database.read(lambda c: c.exec_driver_sql("SELECT hash FROM plans").all())
    assert left == []
