"""The journal: everything a run says reaches the store in order, whatever happens to the store meanwhile."""

import asyncio
import threading
from pathlib import Path

import pytest

from catp.planlang.money import usd
from catp.runtime.events import RunEvent
from catp.runtime.hooks import JournalUnavailable
from catp.runtime.ids import new_run_id
from catp.runtime.replay import rebuild
from catp.store.database import Work
from catp.store.errors import StoreError, StoreUnavailable
from catp.store.store import RunStore
from tests.store.recording import NANO, call_events, created, drive, finished, new_run, plan_of, sent

SENDING = "in t: text\na = send(t)\nb = up(t)\nout a?, b"


async def test_a_real_run_is_kept_whole(store: RunStore) -> None:
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    outcome = await drive(journal, run_id)
    assert await journal.close() is None
    kept = store.get(run_id)
    assert kept.events == outcome.events
    assert rebuild(kept.events).spent == outcome.spent == kept.summary.cost > 0
    assert (kept.summary.status, kept.summary.project, kept.summary.agent) == (outcome.status, "p", "bot")
    assert kept.summary.unpriced == 1
    assert [(c["seq"], c["amount_nano"], c["tool"]) for c in kept.costs] == [
        (row.seq, row.amount, row.tool) for row in outcome.rows
    ]
    for step in kept.steps:
        result = outcome.steps[step.step]
        assert (step.status, step.reason, step.cost, step.calls) == (
            result.status, result.reason, result.price, result.attempts
        ), step  # fmt: skip
        assert (step.ready_ns, step.started_ns, step.ended_ns) == (
            result.ready_ns, result.started_ns, result.ended_ns
        ), step  # fmt: skip
    assert [(o.name, o.status, o.reason or "") for o in kept.outputs] == [
        (name, output.status, output.reason or "") for name, output in outcome.outputs.items()
    ]


async def test_values_come_back_as_they_were(store: RunStore) -> None:
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    await drive(journal, run_id)
    await journal.close()
    kept = {(value.kind, value.name, value.element): value.value() for value in store.values(run_id)}
    assert kept["input", "t", None] == "three short words"
    assert kept["step", "a", None] == ["three", "short", "words"]
    assert [kept["step", "b", element] for element in range(3)] == ["THREE", "SHORT", "WORDS"]
    assert kept["output", "b", None] == ["THREE", "SHORT", "WORDS"]


async def test_many_runs_share_one_writer(store: RunStore) -> None:
    async def one() -> str:
        run_id = new_run_id()
        journal = store.begin(plan_of(run_id))
        await drive(journal, run_id)
        assert await journal.close() is None
        return run_id

    runs = await asyncio.gather(*(one() for _ in range(20)))
    for run_id in runs:
        events = store.events(run_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert events[-1].type == "run.finished"


async def test_durable_waits_until_another_connection_sees_it(store: RunStore, target: Path | str) -> None:
    run = new_run()
    journal = store.begin(run)
    journal.value("input", "t", None, "x" * 10_000)
    journal.event(created(run))
    await journal.durable()
    other = RunStore(target)
    assert [event.type for event in other.events(run.run_id)] == ["run.created"]
    assert other.values(run.run_id)[0].value() == "x" * 10_000
    other.close()
    await journal.durable()  # nothing new
    assert await journal.close() is None


async def test_an_event_twice_is_kept_once_and_a_gap_is_refused(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    events = [created(run), *call_events(run.run_id, 2, [5, None, 7])]
    for event in [*events, *events[1:]]:
        journal.event(event)
    await journal.durable()
    assert store.events(run.run_id) == events
    assert (store.find(run.run_id).cost, store.find(run.run_id).unpriced) == (12, 1)
    journal.event(finished(run.run_id, 9))
    problem = await journal.close()
    assert problem is not None
    assert "event 9" in problem
    with pytest.raises(JournalUnavailable, match="event 9"):
        await journal.durable()
    assert store.events(run.run_id) == events
    assert store.find(run.run_id).status == "interrupted"  # released although its record is broken


async def test_a_broken_record_does_not_hold_up_the_others(store: RunStore) -> None:
    good, bad = new_run(), new_run()
    journals = [store.begin(run) for run in (good, bad)]
    journals[0].event(created(good))
    journals[1].event(finished(bad.run_id, 7))  # its run does not exist
    for event in call_events(good.run_id, 2, [3]):
        journals[0].event(event)
    assert await journals[0].close() is None
    assert "event 7" in str(await journals[1].close())
    assert store.find(good.run_id).cost == 3


class Outage:
    """Lets every write fail until it is over."""

    def __init__(self, store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.over = threading.Event()
        write = store.database.write

        def flaky(work: Work[object], *, durable: bool = False) -> object:
            if not self.over.is_set():
                raise StoreUnavailable(f"run store {store.name}: the cable is out")
            return write(work, durable=durable)

        monkeypatch.setattr(store.database, "write", flaky)


async def test_a_store_that_goes_away_gets_everything_in_order_when_it_is_back(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    outage = Outage(store, monkeypatch)
    outcome = await drive(journal, run_id)
    assert outcome.status == "degraded"
    assert store.list() == []
    outage.over.set()
    assert await journal.close() is None
    assert store.get(run_id).events == outcome.events


async def test_durable_fails_in_bounded_time_and_the_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catp.store.writer._GRACE_S", 0.2)
    store = RunStore(tmp_path / "runs.db", busy_s=0.1)
    run = new_run()
    journal = store.begin(run)
    outage = Outage(store, monkeypatch)
    journal.event(created(run))
    with pytest.raises(JournalUnavailable, match="the cable is out"):
        await journal.durable()
    outage.over.set()
    await journal.durable()
    assert await journal.close() is None
    store.close()


async def test_nothing_is_written_to_the_world_without_a_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catp.store.writer._GRACE_S", 0.2)
    store = RunStore(tmp_path / "runs.db", busy_s=0.1)
    run_id = new_run_id()
    sent.clear()
    journal = store.begin(plan_of(run_id, SENDING))
    outage = Outage(store, monkeypatch)
    outcome = await drive(journal, run_id, plan=SENDING)
    assert (outcome.steps["a"].status, outcome.steps["b"].status) == ("failed", "ok")
    assert "not called: run store" in outcome.steps["a"].reason
    assert "the cable is out" in outcome.steps["a"].reason
    assert sent == []
    outage.over.set()
    assert await journal.close() is None
    again = new_run_id()
    journal = store.begin(plan_of(again, SENDING))
    assert (await drive(journal, again, plan=SENDING)).steps["a"].status == "ok"
    assert sent == ["three short words"]
    await journal.close()
    store.close()


async def test_what_waits_for_a_dead_store_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catp.store.writer.MOST_WAITING", 50)
    store = RunStore(tmp_path / "runs.db", busy_s=1.0)
    run = new_run()
    journal = store.begin(run)
    outage = Outage(store, monkeypatch)
    journal.event(created(run))
    for seq in range(2, 200):
        journal.event(RunEvent(seq, run.run_id, NANO, "node.ready", f"s{seq}"))
    with pytest.raises(JournalUnavailable, match="more than 50 events are waiting"):
        await journal.durable()
    outage.over.set()
    assert "more than 50" in str(await journal.close())
    store.close()


async def test_closing_a_store_that_cannot_be_written_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catp.store.writer._GRACE_S", 0.2)
    store = RunStore(tmp_path / "runs.db", busy_s=0.1)
    run = new_run()
    journal = store.begin(run)
    Outage(store, monkeypatch)
    journal.event(created(run))
    await asyncio.to_thread(store.close)
    assert RunStore(tmp_path / "runs.db").list() == []


async def test_a_store_may_be_closed_by_others_while_runs_write(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run))
    over = threading.Event()

    def close_again_and_again() -> None:
        while not over.is_set():
            store.close()

    closer = asyncio.create_task(asyncio.to_thread(close_again_and_again))
    for seq in range(2, 2000):
        journal.event(RunEvent(seq, run.run_id, NANO, "node.ready", f"s{seq}"))
        if seq % 10 == 0:
            await asyncio.sleep(0)
    over.set()
    await closer
    assert await journal.close() is None
    assert [event.seq for event in store.events(run.run_id)] == list(range(1, 2000))


async def test_times_may_go_back_the_order_does_not(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    backwards = [
        created(run, 100 * NANO),
        *call_events(run.run_id, 2, [4], at_ns=50 * NANO),
        finished(run.run_id, 6, 20 * NANO),
    ]
    for event in backwards:
        journal.event(event)
    assert await journal.close() is None
    assert store.events(run.run_id) == backwards
    assert store.events(run.run_id, after_seq=4) == backwards[4:]
    assert store.find(run.run_id).status == "complete"


async def test_text_that_no_database_takes_is_kept_readable(store: RunStore) -> None:
    run = new_run()
    journal = store.begin(run)
    journal.event(created(run, task="nul \0 and half a pair \ud800"))
    reason = {"reason": "broke at \0 and \udfff"}
    journal.event(RunEvent(2, run.run_id, NANO, "node.failed", "a", data=reason))
    assert await journal.close() is None
    kept = store.get(run.run_id)
    assert kept.summary.task == "nul \N{REPLACEMENT CHARACTER} and half a pair ?"
    assert kept.events[1].data == reason  # the event itself is exact
    assert kept.steps[0].reason == "broke at \N{REPLACEMENT CHARACTER} and ?"


async def test_a_run_goes_on_without_its_record(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db", busy_s=0.1)
    run_id = new_run_id()
    journal = store.begin(plan_of(run_id))
    outcome = await drive(journal, new_run_id())  # the journal is of another run: nothing of it can be kept
    assert outcome.spent > usd("0.001")
    assert await journal.close() is not None or store.list() == []
    store.close()


def test_a_store_in_a_place_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/runs\.db"):
        RunStore(tmp_path / "file" / "runs.db").begin(new_run())
