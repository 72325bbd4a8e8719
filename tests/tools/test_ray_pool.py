"""Tool calls on a real local Ray: results and bills as at home, stopped for real, settled once whatever dies."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from catp.agent import Agent
from catp.planlang.compile import compile_plan
from catp.planlang.money import Money, format_usd, usd
from catp.planlang.parser import parse
from catp.result import RunCancelled, RunResult
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run
from catp.store.store import RunStore
from catp.tools import ToolFailed, ToolUnavailable, command_tool
from catp.tools.adapters.ray_pool import RayPool
from tests.tools import on_ray

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'catp[ray]'")

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("ray")]


CATALOGUE = on_ray.CATALOGUE


@pytest.fixture(autouse=True, scope="module")
def cluster() -> Iterator[str]:
    before = signal.getsignal(signal.SIGTERM)
    ray.init(
        "local", num_cpus=4, num_gpus=1, resources={"licence": 1, "desk": 2}, include_dashboard=False,
        log_to_driver=False, logging_level=logging.ERROR,
    )  # fmt: skip
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    signal.signal(signal.SIGTERM, before)


Pools = Callable[..., RayPool]


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    """Makes pools and closes them."""
    made: list[RayPool] = []

    def make(*args: Any, **options: Any) -> RayPool:
        made.append(RayPool(*args, **options))
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[RayPool]:
    """A pool of two places that all tests share, one after the other."""
    pool = RayPool(max_calls=2)
    yield pool
    asyncio.run(pool.close())


# --- helpers ----------------------------------------------------------------------------------------------------------


async def run(source: str, inputs: dict[str, Any], pools: dict[str, RayPool], **options: Any) -> RunResult:
    result = await Agent(CATALOGUE, pools=pools, **options).run(parse(source), inputs)
    sound(result)
    return result


def sound(result: RunResult) -> None:
    """Every call that started was settled once, and its event and its rows say the same amount."""
    assert [event.seq for event in result.trace] == list(range(1, len(result.trace) + 1))
    assert result.trace[-1].type == "run.finished"
    started = Counter((e.step, e.attempt, e.element) for e in result.trace if e.type == "node.started")
    settled = Counter((e.step, e.attempt, e.element) for e in result.trace if e.type == "node.settled")
    assert started == settled
    assert set(settled.values()) <= {1}
    booked: dict[tuple[str | None, int | None, int | None], int] = {}
    for row in result.ledger:
        assert row.amount is not None
        key = (row.step, row.attempt, row.element)
        booked[key] = booked.get(key, 0) + row.amount
    said = {(e.step, e.attempt, e.element): e.data["amount"] for e in result.trace if e.type == "node.settled"}
    assert said == {key: format_usd(Money(booked.get(key, 0))) for key in said}
    assert booked.keys() <= said.keys()
    assert result.spent == sum(booked.values())


def alive(pid: str) -> bool:
    """True if the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.01)


async def desks_free() -> None:
    """Wait until no place with a desk is left."""
    await until(lambda: ray.available_resources().get("desk") == 2.0)


# --- results and bills ------------------------------------------------------------------------------------------------

WORDS = """
in words: list[text]
lengths = count(each words)
sum = total(lengths)
place = where("here")
out sum, place
"""


async def test_a_plan_on_ray_gives_the_results_and_bills_of_home(pool: RayPool) -> None:
    words = {"words": ["a", "bb", "ccc", "dddd"]}
    there = await run(WORDS, words, {"default": pool})
    home = await run(WORDS, words, {})
    assert there.status == home.status == "complete"
    assert there.outputs["sum"] == home.outputs["sum"] == 10
    assert there.outputs["place"].parent.startswith("ray::")
    assert not home.outputs["place"].parent.startswith("ray::")
    compute = [sum(row.quantity for row in r.ledger if row.kind == "compute") for r in (there, home)]
    assert 4 * 40 + 10 <= compute[0] < 1.5 * compute[1]
    assert [(r.step, r.element) for r in there.ledger if r.kind == "compute"].count(("lengths", 2)) == 1


async def test_memory_of_ray_itself_is_not_billed(pool: RayPool) -> None:
    """A Ray process alone has 80 MB: metered inside it, every tool would pay for a tier of its own."""
    there = await pool.backend(on_ray.count.spec).call({"text": "abc"}, timeout=20)
    home = await on_ray.count.spec.backend.call({"text": "abc"}, timeout=20)
    assert there.value == home.value
    assert abs(there.usage.peak_mb - home.usage.peak_mb) < 10
    assert (there.usage.bytes_in, there.usage.bytes_out) == (home.usage.bytes_in, home.usage.bytes_out)


async def test_values_come_back_whole_and_can_be_changed(pool: RayPool) -> None:
    data = bytes(range(128)) * 40_000
    result = await pool.backend(on_ray.double.spec).call({"data": data}, timeout=30)
    assert result.value == bytes(2 * n for n in range(128)) * 40_000
    assert result.usage.bytes_in > len(data)


async def test_pins_choose_the_pool(pool: RayPool, pools: Pools) -> None:
    source = """
    a = where("x") @pin("gpu")
    b = where("x") @pin("local")
    c = where("x")
    d = fetch("x")
    e = fetch("x") @pin("wide")
    out a, b, c, d, e
    """
    named = {"default": pool, "gpu": pools(num_gpus=1, num_cpus=0.5), "wide": pools(num_cpus=0)}
    result = await run(textwrap.dedent(source), {}, named)
    got = result.outputs
    assert result.status == "complete", result.results
    assert (got["a"].parent[:5], got["a"].gpus, got["a"].threads) == ("ray::", "0", "1")
    assert not got["b"].parent.startswith("ray::")
    assert (got["c"].parent[:5], got["c"].gpus) == ("ray::", "")
    assert got["d"] == f"x in {os.getpid()}", "the default pool takes only what runs in worker processes"
    assert got["e"] != f"x in {os.getpid()}"


async def test_threads_follow_the_cpus(pools: Pools) -> None:
    pool = pools(num_cpus=2)
    result = await pool.backend(on_ray.where.spec).call({"text": ""}, timeout=20)
    assert result.value.threads == "2"


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_waiting_for_resources_is_neither_running_nor_paid(pools: Pools) -> None:
    """Of five calls of 0.5 s on one licence, three would time out if their time started before they have a place."""
    pool = pools(resources={"licence": 1})
    await pool.backend(on_ray.sleep.spec).call({"seconds": 0.0}, timeout=20)
    source = "in s: list[number]\na = sleep(each s) @timeout(1.5s)\nout a\n"
    result = await run(source, {"s": [0.5] * 5}, {"default": pool})
    assert result.status == "complete", result.results
    starts = sorted(e.at_ns for e in result.trace if e.type == "node.started")
    assert all(later - earlier > 0.49e9 for earlier, later in pairwise(starts))
    assert result.spent == usd("0.005")


async def test_idle_places_make_room_for_other_pools(pools: Pools) -> None:
    small, large = pools(resources={"desk": 1}, idle_s=0.3), pools(resources={"desk": 2})
    await asyncio.gather(*(small.backend(on_ray.sleep.spec).call({"seconds": 0.2}, timeout=20) for _ in range(2)))
    assert small.backend(on_ray.sleep.spec).warm()
    assert small.backend(on_ray.sleep.spec).places() == 2, "as many as there are desks"
    result = await large.backend(on_ray.sleep.spec).call({"seconds": 0.0}, timeout=20)
    assert result.value == 0.0
    assert not small.backend(on_ray.sleep.spec).warm()
    await large.close()
    await desks_free()


async def test_a_call_stopped_while_it_waits_has_used_nothing(pools: Pools) -> None:
    pool = pools(max_calls=1)
    backend = pool.backend(on_ray.sleep.spec)
    began: list[str] = []

    async def begin(name: str) -> None:
        began.append(name)

    first = asyncio.ensure_future(backend.call_when_free({"seconds": 1.0}, timeout=20, began=lambda: begin("first")))
    await until(lambda: began == ["first"])
    second = asyncio.ensure_future(backend.call_when_free({"seconds": 0.0}, timeout=20, began=lambda: begin("second")))
    await asyncio.sleep(0.1)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert (await first).value == 1.0
    assert (await backend.call({"seconds": 0.0}, timeout=20)).value == 0.0
    assert began == ["first"]


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_timeout_kills_the_work_and_bills_what_it_used(pool: RayPool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    await pool.backend(on_ray.count.spec).call({"text": ""}, timeout=20)
    result = await run("in m: text\na = hang(m) @timeout(2s)\nout a\n", {"m": str(mark)}, {"default": pool})
    assert result.results["a"].status == "failed"
    assert "stopped after 2 s" in result.results["a"].reason
    assert not any(alive(pid) for pid in mark.read_text().split())
    (row,) = [row for row in result.ledger if row.kind != "call"]
    assert row.source == "measured"
    assert 0 < row.quantity < 10_000  # 2 s, less what the call took to begin
    assert pool.backend(on_ray.count.spec).warm(), "the place outlives the call, and what else it keeps"


async def test_cancelling_a_run_kills_the_work_and_bills_what_it_used(pools: Pools, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    bot = Agent(CATALOGUE, pools={"default": pools(resources={"desk": 1})}, store=tmp_path / "runs.db")
    running = asyncio.ensure_future(bot.run(parse("in m: text\na = hang(m)\nb = count(a)\nout b\n"), {"m": str(mark)}))
    await until(mark.exists)
    await asyncio.sleep(0.3)
    running.cancel()
    with pytest.raises(RunCancelled) as caught:
        await running
    result = caught.value.result
    sound(result)
    assert not any(alive(pid) for pid in mark.read_text().split())
    assert result.saved
    (row,) = [row for row in result.ledger if row.kind != "call"]
    assert (row.step, row.source) == ("a", "measured")
    assert row.quantity > 200
    await bot.close()
    await desks_free()


async def test_an_agent_that_is_killed_leaves_nothing_running(cluster: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, subprocess, os, time
        from pathlib import Path
        from catp.tools import tool
        from catp.tools.adapters.ray_pool import RayPool

        @tool
        def hang(mark: str) -> str:
            program = subprocess.Popen(["sleep", "600"])
            Path(mark + ".part").write_text(f"{{os.getpid()}} {{program.pid}}")
            os.replace(mark + ".part", mark)
            time.sleep(600)
            return ""

        if __name__ == "__main__":
            backend = RayPool({cluster!r}, resources={{"desk": 1}}).backend(hang.spec)
            asyncio.run(backend.call({{"mark": {str(mark)!r}}}, timeout=600))
    """)
    )
    quiet = subprocess.DEVNULL
    agent = await asyncio.create_subprocess_exec(sys.executable, script, stdout=quiet, stderr=quiet)
    try:
        await until(mark.exists)
        pids = mark.read_text().split()
        assert all(alive(pid) for pid in pids)
    finally:
        agent.kill()
        await agent.wait()
    await until(lambda: not any(alive(pid) for pid in pids))
    await desks_free()


# --- workers that die -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["worker", "actor"])
async def test_a_call_whose_worker_dies_is_tried_again_and_settled_once(
    pool: RayPool, tmp_path: Path, who: str
) -> None:
    compiled = compile_plan(
        parse('in m: text\nin who: text\na = die_once(m, who) @retry(1)\nb = count("xyz")\nout a, b\n'),
        CATALOGUE.view(), estimator=CATALOGUE.estimator(),
    )  # fmt: skip
    ledger = Ledger(usd("0.10"), unpriced=usd("0.02"))
    run = Run(compiled, {"m": str(tmp_path / "m"), "who": who}, CATALOGUE, ledger=ledger, pools={"default": pool})
    outcome = await run.wait()
    assert outcome.status == "complete"
    assert {name: output.value for name, output in outcome.outputs.items()} == {"a": "alive", "b": 3}
    assert ledger.reserved == 0
    assert ledger.spent == outcome.spent == sum(row.amount or 0 for row in outcome.rows)
    calls = [(e.step, e.attempt, e.type) for e in outcome.events if e.type in ("node.started", "node.settled")]
    assert sorted(calls) == sorted(
        [("a", n, t) for n in (1, 2) for t in ("node.started", "node.settled")]
        + [("b", 1, "node.started"), ("b", 1, "node.settled")]
    )
    lost = [row for row in outcome.rows if (row.step, row.attempt) == ("a", 1) and row.kind != "call"]
    assert len(lost) == 1
    assert lost[0].amount is not None
    assert 0 < lost[0].amount <= usd("0.02")
    if who == "worker":
        assert lost[0].quantity > 90
        assert (lost[0].source, lost[0].priced) == ("measured", True), "its place lives and knows what it had used"
    else:
        assert (lost[0].source, lost[0].priced) == ("estimated", False)
        assert "the tool did not say what it used" in lost[0].note
    rest = [row for row in outcome.rows if (row.step, row.attempt) != ("a", 1)]
    assert rest
    assert all(row.priced for row in rest)


async def test_the_record_of_a_run_whose_worker_died_is_whole(pool: RayPool, tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs.db")
    source = 'in m: text\na = die_once(m, "actor") @retry(1)\nb = count(a)\nout b\n'
    result = await run(source, {"m": str(tmp_path / "m")}, {"default": pool}, store=store)
    assert (result.status, result.outputs["b"], result.saved) == ("complete", 5, True)
    kept = store.get(result.run_id)
    assert kept.events == result.trace
    assert kept.summary.cost == result.spent == sum(row["amount_nano"] for row in kept.costs)
    store.close()


async def test_a_place_that_died_while_idle_is_replaced_unnoticed(pools: Pools) -> None:
    backend = pools().backend(on_ray.where.spec)
    first = (await backend.call({"text": ""}, timeout=20)).value
    os.kill(parent_of(first.pid), signal.SIGKILL)
    await asyncio.sleep(1.1)
    second = (await backend.call({"text": ""}, timeout=20)).value
    assert second.pid != first.pid
    assert not alive(str(first.pid))


@pytest.mark.slow
async def test_a_lost_node_costs_one_call_which_is_made_again_on_another(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.tools.two_nodes", tmp_path / "mark",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    told = json.loads(next(line for line in out.decode().splitlines() if line.startswith('{"outputs"')))  # among Ray's
    assert told["outputs"] == {"b": 5}
    assert sorted(told["settled"]) == [["a", 1, "error"], ["a", 2, "ok"], ["b", 1, "ok"]]
    assert told["spent"] == sum(amount for *_, amount, _source in told["rows"])
    (lost,) = [row for row in told["rows"] if row[:2] == ["a", 1] and row[2] != "call"]
    assert lost[4] == "estimated"


# --- what cannot run --------------------------------------------------------------------------------------------------


async def test_an_unknown_pool_is_an_error_before_anything_is_spent(pool: RayPool) -> None:
    with pytest.raises(ValueError, match=r"'a'.*gpux.*gpu"):
        await run('a = count("x") @pin("gpux")\nout a\n', {}, {"gpu": pool})


async def test_what_is_no_function_stays_at_home_and_cannot_be_pinned(pool: RayPool) -> None:
    shout = command_tool("shout", ["echo", "{text}"], params={"text": str}, returns=str)
    bot = Agent(CATALOGUE.with_tools(shout), pools={"default": pool, "other": pool})
    result = await bot.run(parse('a = shout("hello")\nout a\n'))
    assert result.outputs["a"] == "hello\n"
    with pytest.raises(ValueError, match=r"step 'a'.*shout: cannot run on Ray: it is no function"):
        await bot.run(parse('a = shout("hello") @pin("other")\nout a\n'))


async def test_tools_are_asked_where_they_run_whether_they_can(pool: RayPool) -> None:
    result = await run('a = choosy("x")\nb = choosy("x") @pin("local")\nout a, b\n', {}, {"default": pool})
    assert result.outputs == {"b": "x"}
    assert "it is only for others" in result.results["a"].reason
    assert result.results["a"].status == "failed"
    assert not [row for row in result.ledger if row.step == "a"]


async def test_a_cluster_that_cannot_offer_what_is_asked_for_says_so(pools: Pools) -> None:
    pool = pools(resources={"quantum": 2}, patience_s=0.0)
    result = await run('a = count("x") @retry(3)\nout a\n', {}, {"default": pool})
    assert "no node of the Ray cluster can offer num_cpus=1, quantum=2; they have CPU 4, quantum 0" in (
        result.results["a"].reason
    )
    assert result.ledger == ()
    assert result.steps["a"].attempts == 1


async def test_memory_is_limited(pool: RayPool, pools: Pools) -> None:
    small = pools(memory_mb=300)
    with pytest.raises(ToolFailed) as caught:
        await small.backend(on_ray.double.spec).call({"data": b"x", "grow_mb": 600}, timeout=20)
    assert caught.value.error_type == "MemoryError"
    assert (await small.backend(on_ray.double.spec).call({"data": b"\1"}, timeout=20)).value == b"\2"


async def test_a_cluster_out_of_reach_is_told_quickly_and_costs_nothing(pools: Pools, tmp_path: Path) -> None:
    other = pools("127.0.0.1:1")
    with pytest.raises(ToolUnavailable, match="can use one cluster only") as caught:
        await other.backend(on_ray.count.spec).call({"text": ""}, timeout=5)
    assert caught.value.billing == "nothing"
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio
        from catp.tools import tool
        from catp.tools.adapters.ray_pool import RayPool

        @tool
        def nothing(text: str) -> str:
            return text

        try:
            asyncio.run(RayPool("127.0.0.1:1").backend(nothing.spec).call({"text": "x"}, timeout=5))
        except Exception as error:
            print(type(error).__name__, error, error.billing)
        """)
    )
    process = await asyncio.create_subprocess_exec(sys.executable, script, stdout=subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert "Ray on 127.0.0.1:1 cannot be reached: Connection refused" in out.decode()


async def test_arguments_that_cannot_travel_cost_nothing(pool: RayPool) -> None:
    with pytest.raises(ToolFailed) as caught:
        await pool.backend(on_ray.count.spec).call({"text": type("Text", (str,), {})("x")}, timeout=5)
    assert "cannot be sent to another machine" in caught.value.message
    assert caught.value.billing == "nothing"


def test_amounts_are_checked() -> None:
    with pytest.raises(ValueError, match="num_gpus must be a number of at least 0, got -1"):
        RayPool(num_gpus=-1)
    with pytest.raises(ValueError, match="max_calls must be at least 1"):
        RayPool(max_calls=0)


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'catp\[ray\]'"):
        RayPool()


# --- life of a pool ---------------------------------------------------------------------------------------------------


def test_a_pool_goes_on_in_the_next_event_loop_and_gives_everything_back() -> None:
    pool = RayPool()

    async def once() -> int:
        result = await pool.backend(on_ray.where.spec).call({"text": ""}, timeout=20)
        pid: int = result.value.pid
        return pid

    async def close() -> None:
        await pool.close()
        await pool.close()

    first, second = asyncio.run(once()), asyncio.run(once())
    assert first == second, "the worker process was kept"
    asyncio.run(close())
    assert asyncio.run(once()) != first
    asyncio.run(close())


async def test_closing_ends_what_runs_and_what_waits(pools: Pools, tmp_path: Path) -> None:
    pool, mark = pools(max_calls=1, resources={"desk": 1}), tmp_path / "mark"
    backend = pool.backend(on_ray.hang.spec)
    calls = [asyncio.ensure_future(backend.call({"mark": str(mark)}, timeout=90)) for _ in range(2)]
    await until(mark.exists)
    await pool.close()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert sorted(type(error).__name__ for error in errors) == ["ToolCrashed", "ToolFailed"]
    await until(lambda: not any(alive(pid) for pid in mark.read_text().split()))
    await desks_free()
