"""The engine as the dashboard sees it: an honest one, one that hangs, lies, is restarted, or is gone."""

import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catp.dashboard.engine.figures import COLUMNS, figures, quantile
from catp.dashboard.engine.follower import Follower, Seen
from catp.dashboard.engine.rings import Expectations, Past
from catp.dashboard.engine.scrape import Unreadable, read_metrics
from catp.dashboard.feed import Message, Topics
from catp.planners.served import Running, announce
from tests.dashboard.conftest import Client
from tests.dashboard.engines import Fake, Figures, endless, fake_engine, hang
from tests.serving.server.running import running
from tests.serving.server.scripted import MODEL, Scripted

ClientOf = Callable[..., Client]


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fake_engine() as found:
        yield found


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """patience(1.5) is how long an engine may take; here an honest one has 20 s: the machine may be busy."""

    usual = Follower.__init__.__kwdefaults__
    assert usual is not None

    def change(seconds: float) -> None:
        monkeypatch.setitem(usual, "patience", seconds)

    change(20.0)
    return change


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def following(url: str | None, **options: Any) -> AsyncIterator[Follower]:
    engine = None if url is None else Running(url, "fake", "cuda")
    follower = Follower(lambda: engine, **options)
    try:
        yield follower
    finally:
        await follower.close()


# --- figures ---------------------------------------------------------------------------------------------------------


def test_rates_and_quantiles_are_of_what_was_added_between_two_looks() -> None:
    told = Figures()
    told.ttft.observe(0.39)
    told.decode.inc(500)
    before = read_metrics(told.text().decode(), 10.0)
    told.decode.inc(100)
    told.preemptions.inc(4)
    told.steps.inc(10)
    told.busy.inc(0.5)
    told.queries.inc(200)
    told.hits.inc(50)
    told.decisions.labels("0.5").set(0.002)
    for _ in range(100):
        told.ttft.observe(0.15)
    now = read_metrics(told.text().decode(), 12.0)
    found = figures(now, before, before)
    assert (found["decode_tok_s"], found["preemptions_s"], found["busy"]) == (50.0, 2.0, 0.25)
    assert found["step_ms"] == pytest.approx(50)
    assert (found["prefix_hit"], found["preempted"]) == (0.25, 4.0)
    assert found["decision_p50_ms"] == 2.0
    assert found["ttft_p50_ms"] == pytest.approx(150)  # the middle of 0.1 to 0.2
    assert found["ttft_p99_ms"] == pytest.approx(199)
    assert found["tpot_p50_ms"] is None  # nobody had one
    alone = figures(now, None, None)
    assert alone["decode_tok_s"] is alone["ttft_p50_ms"] is alone["prefix_hit"] is None
    assert alone["running"] == 0.0


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0.001, 5.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times: list[float], share: float) -> None:
    bounds = [0.1, 0.5, 1.0, 2.0, math.inf]
    buckets = [(bound, float(sum(took <= bound for took in times))) for bound in bounds]
    true = sorted(times)[max(0, math.ceil(share * len(times)) - 1)]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max([0.0, *(bound for bound in bounds if bound < true)])
    found = quantile(buckets, share)
    assert found is not None
    assert lower <= found <= min(upper, 2.0) + 1e-9


def test_a_histogram_that_counts_down_has_no_quantile() -> None:
    assert quantile([(0.1, 5.0), (math.inf, 3.0)], 0.5) is None
    assert quantile([], 0.5) is None
    assert quantile([(0.1, 0.0), (math.inf, 0.0)], 0.5) is None


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-3"])
def test_what_is_no_number_is_left_out(value: str) -> None:
    text = f"vllm:num_requests_running 1\nvllm:num_requests_waiting {value}\ncatp_steps_total {value}\n"
    found = read_metrics(text, 0.0)
    assert "waiting" not in found.gauges
    assert "steps" not in found.counters
    assert figures(found, found, found)["waiting"] is None


@pytest.mark.parametrize(
    "text", ["", "<html>hello</html>", "vllm:num_requests_running{ 1", "vllm:num_requests_running one", "\x00" * 100]
)
def test_text_that_is_none_of_prometheus(text: str) -> None:
    with pytest.raises(Unreadable, match="its /metrics"):
        read_metrics(text, 0.0)


# --- the past --------------------------------------------------------------------------------------------------------


def test_the_past_is_bounded_and_columns_are_as_long_as_their_times() -> None:
    past = Past()
    for second in range(90_000):
        past.add(float(second), {"running": float(second % 10), "ttft_p50_ms": float(second)})
    fine = past.columns(["running"], 0.0, 1)
    assert (len(fine["t"]), fine["t"][0], fine["t"][-1]) == (3600, 86_400.0, 89_999.0)
    coarse = past.columns(["running", "ttft_p50_ms", "waiting"], 0.0, 10)
    assert {len(column) for column in coarse.values()} == {8640}
    assert coarse["running"][-1] == 4.5  # a mean
    assert (coarse["t"][-1], coarse["ttft_p50_ms"][-1]) == (89_980.0, 89_989.0)  # the last
    assert set(coarse["waiting"]) == {None}
    minutes = past.columns(["running", "ttft_p50_ms"], 80_000.0, 60)
    assert minutes["t"][:2] == [79_980.0, 80_040.0]
    assert len(minutes["t"]) <= 167 + 1
    assert minutes["running"][5] == 4.5


def test_expectations_count_what_fell_into_a_span() -> None:
    kept = Expectations()
    kept.add(100.0, {("e2e", True): 3.0, ("e2e", False): 1.0})
    kept.add(8000.0, {("e2e", True): 2.0, ("ttft", False): 1.0})
    kept.add(8001.0, {("e2e", True): 0.0})
    assert kept.counts(0.0) == {"e2e": (5, 1), "ttft": (0, 1)}
    assert kept.counts(5000.0) == {"e2e": (2, 0), "ttft": (0, 1)}


# --- looking ---------------------------------------------------------------------------------------------------------


async def test_an_engine_that_answers(fake: Fake) -> None:
    clock = Clock()
    fake.figures.running.set(3)
    fake.figures.blocks.labels("kv_blocks_free").set(40)
    async with following(fake.url, clock=clock) as follower:
        first = await follower.look()
        assert (first.state, first.card["id"], first.policy, first.device) == ("ready", "fake", "moore-hodgson", "cuda")
        assert (first.figures["running"], first.figures["kv_blocks_free"]) == (3.0, 40.0)
        assert first.figures["decode_tok_s"] is None
        fake.figures.decode.inc(30)
        fake.figures.slo.labels("a", "e2e", "true").inc(3)
        clock.now += 2
        assert (await follower.look()).figures["decode_tok_s"] == 15.0
        assert follower.expectations.counts(0) == {"e2e": (3, 0)}
        assert fake.asked.count("/v1/models") == 1


async def test_a_restart_is_no_negative_rate(fake: Fake) -> None:
    clock = Clock()
    fake.figures.decode.inc(1000)
    fake.figures.slo.labels("a", "e2e", "false").inc(7)
    async with following(fake.url, clock=clock) as follower:
        await follower.look()
        fake.figures = Figures()
        fake.figures.decode.inc(10)
        clock.now += 1
        again = await follower.look()
        assert (again.restarts_seen, again.figures["decode_tok_s"]) == (1, None)
        fake.figures.decode.inc(10)
        clock.now += 1
        assert (await follower.look()).figures["decode_tok_s"] == 10.0
        assert follower.expectations.counts(0) == {}  # what it missed before anybody looked is not counted


@pytest.mark.parametrize(
    ("path", "answer", "state", "reason"),
    [
        ("/ready", hang, "unreachable", "its /ready does not answer within 0.4 s"),
        ("/ready", (500, b"oops"), "unreachable", "its /ready answers with status 500"),
        ("/ready", (200, b"<html>"), "unreachable", "its /ready is no JSON object"),
        ("/progress", (200, b"[" * 100_000), "unreachable", "its /progress is no JSON object"),
        ("/ready", (503, b'{"reason": "draining"}'), "draining", "draining"),
        ("/ready", (503, b'{"reason": "loading"}'), "starting", "loading"),
        ("/metrics", hang, "ready", "its /metrics does not answer within 2 s"),
        ("/metrics", endless, "ready", "its /metrics is larger than 2 MB"),
        ("/metrics", (200, b"vllm:num_requests_running{"), "ready", "its /metrics is not what Prometheus reads"),
        ("/metrics", (200, b"a 1\n"), "ready", "it is no engine of catp"),
        ("/metrics", (403, b"{}"), "ready", "set CATP_ENGINE_KEY"),
        ("/v1/models", (200, b'{"data": [7, {"id": 3}]}'), "ready", ""),
    ],
)
async def test_an_engine_that_hangs_or_lies(fake: Fake, path: str, answer: Any, state: str, reason: str) -> None:
    fake.answers[path] = answer
    few = {"/ready": 0.4, "/metrics": 2.0}[path] if answer is hang else 20.0  # what it still answers may take a while
    async with following(fake.url, patience=few) as follower:
        seen = await asyncio.wait_for(follower.now(), 19)  # `hang` ends after 20
    assert seen.state == state
    assert reason in seen.reason + seen.problem


async def test_an_engine_that_went_away(tmp_path: Path) -> None:
    with fake_engine() as fake:
        url = fake.url
    async with following(url) as follower:
        seen = await follower.now()
        assert seen.state == "unreachable"
        assert f"nobody answers at {url}" in seen.reason
    dead = Running(url, "fake", pid=2**22 + 1)
    follower = Follower(lambda: dead)
    assert "is gone: start `catp serve` again" in (await follower.look()).reason
    await follower.close()
    for address in ("not an address", "http://[", "ftp://127.0.0.1/x"):
        async with following(address) as follower:
            assert (await follower.look()).state == "unreachable"


async def test_it_is_looked_at_while_somebody_wants_to_know_and_not_longer(fake: Fake) -> None:
    clock, published = Clock(), list[Seen]()
    async with following(fake.url, clock=clock, period=0.02, publish=published.append) as follower:
        assert fake.asked == []
        await follower.now()
        while len(published) < 3:
            clock.now += 0.02
            await asyncio.sleep(0.02)
        clock.now += 61
        asked = -1
        async with asyncio.timeout(20):
            while len(fake.asked) != asked:  # until nothing more comes
                asked = len(fake.asked)
                await asyncio.sleep(0.2)

        async def messages() -> AsyncGenerator[int, None]:
            yield 1
            await asyncio.sleep(60)

        heard = follower.heard(messages())
        assert await anext(heard) == 1
        clock.now += 61  # somebody listens: nobody need ask
        before = len(published)
        while len(published) < before + 3:
            clock.now += 0.02
            await asyncio.sleep(0.02)
        await heard.aclose()


# --- the API ---------------------------------------------------------------------------------------------------------


async def test_there_is_no_engine(client_of: ClientOf, filled: Path) -> None:
    client = client_of(filled, engine="off")
    now = (await client.get("/api/v1/engine/now")).json()
    assert (now["state"], now["url"], now["figures"]) == ("absent", None, {})
    series = (await client.get("/api/v1/engine/series")).json()
    assert series == {"step": 1, "t": [], **{name: [] for name in COLUMNS}}
    requests = (await client.get("/api/v1/engine/requests")).json()
    assert requests == {"items": [], "queue": [], "problem": "there is no engine"}
    slo = (await client.get("/api/v1/engine/slo")).json()
    assert (slo["target"], slo["items"]) == (0.99, [])
    assert slo["how"].startswith("1% of the requests may miss")


async def test_the_password_of_an_engine_is_shown_to_nobody(client_of: ClientOf, filled: Path) -> None:
    client = client_of(filled, engine="http://me:s3cret@127.0.0.1:9/?key=s3cret")
    for path in ("engine/now", "engine/requests", "settings"):
        answer = await client.get(f"/api/v1/{path}")
        assert "s3cret" not in answer.text
        assert "127.0.0.1:9" in answer.text


async def test_every_figure_that_is_named_is_there(client_of: ClientOf, filled: Path) -> None:
    found = (await client_of(filled).get("/api/v1/engine/figures")).json()
    counted = {"fallbacks"}  # of all time, from `totals`
    assert {one["key"] for one in found["figures"]} <= {*COLUMNS, *counted}
    assert {line["key"] for panel in found["panels"] for line in panel["lines"]} <= set(COLUMNS)
    assert {one["unit"] for one in [*found["figures"], *found["panels"]]} == {"n", "%", "r", "ms"}
    assert found["requests"].split("|")[2] == "chunks:queue, prefill, decode"
    assert "day.budget_left:error budget left:%" in found["slo"].split("|")
    assert found["panels"][4]["lines"][1] == {"key": "ttft_p95_ms", "label": "p95"}


async def test_figures_over_http(client_of: ClientOf, filled: Path, fake: Fake) -> None:
    client = client_of(filled, engine=fake.url)
    fake.figures.waiting.set(2)
    now = (await client.get("/api/v1/engine/now")).json()
    assert (now["state"], now["model"], now["device"], now["figures"]["waiting"]) == ("ready", "fake", None, 2.0)
    series = (await client.get("/api/v1/engine/series?metrics=waiting,kv_used")).json()
    assert set(series) == {"step", "t", "waiting", "kv_used"}
    assert series["waiting"][-1] == 2.0
    for query in ("metrics=running,secrets", "step=15", "from=yesterday", "step=0"):
        answer = await client.get(f"/api/v1/engine/series?{query}")
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:catp:problem:query")
    fake.figures.slo.labels("a", "ttft", "true").inc(98)
    fake.figures.slo.labels("b", "ttft", "false").inc(2)
    items: list[Any] = []
    for _ in range(600):
        items = (await client.get("/api/v1/engine/slo?target=0.96")).json()["items"]
        if items:
            break
        await asyncio.sleep(0.1)
    assert items[0]["slo"] == "ttft"
    assert (items[0]["hour"]["met"], items[0]["hour"]["attainment"]) == (98, 0.98)
    assert items[0]["day"]["budget_left"] == pytest.approx(0.5)


async def test_requests_are_taken_apart_and_nonsense_is_left_out(client_of: ClientOf, filled: Path, fake: Fake) -> None:
    good = {
        "id": "r1", "kind": "plan", "state": "waiting", "arrival": time.time() - 2, "prompt_tokens": 10,
        "slo": {"e2e": 2.5, "bad": 3, "ttft": "x"}, "met": {"e2e": "yes"}, "cost_usd": "0.25", "chunks": [[0, 0.5, 8]],
        "queued": float("nan"),
    }  # fmt: skip
    odd = {"state": "stop", "chunks": [[1], "a", [0, -1, 2]], "cost_usd": "lots", "e2e": 1.5}
    fake.requests = [good, {**good, "id": 7}, "x", None, {**good, "arrival": 1e300}, {**good, "id": "r2", **odd}]
    found = (await client_of(filled, engine=fake.url).get("/api/v1/engine/requests?limit=50")).json()
    first, second = found["items"]
    assert (first["id"], first["slo"], first["met"], first["cost"]) == ("r1", {"e2e": 2500.0}, {}, "0.25")
    assert (first["chunks"], first["queued_ms"]) == ([[0.0, 500.0, 8.0]], None)
    assert 1900 < first["age_ms"] < 100_000
    assert (second["chunks"], second["cost"], second["e2e_ms"]) == ([], None, 1500.0)
    assert found["queue"] == [{"slo": "e2e ≤ 2.5 s", "waiting": 1, "oldest_ms": first["age_ms"]}]
    fake.answers["/v1/requests"] = (200, b'{"data": 3, "now": 1}')
    assert "not a list" in (await client_of(filled, engine=fake.url).get("/api/v1/engine/requests")).json()["problem"]
    fake.answers["/v1/requests"] = (404, b"{}")
    assert "older than" in (await client_of(filled, engine=fake.url).get("/api/v1/engine/requests")).json()["problem"]


async def test_a_hanging_engine_keeps_nobody_else_waiting(
    client_of: ClientOf, filled: Path, fake: Fake, patience: Callable[[float], None]
) -> None:
    for path in ("/ready", "/metrics", "/v1/requests"):
        fake.answers[path] = hang
    patience(1.5)
    client = client_of(filled, engine=fake.url)
    assert (await client.get("/api/v1/runs")).status_code == 200  # the first question takes longer
    slow = asyncio.create_task(client.get("/api/v1/engine/now"))
    while not fake.asked:  # noqa: ASYNC110  # it is asked in threads
        await asyncio.sleep(0.01)
    assert (await client.get("/api/v1/runs")).status_code == 200
    assert not slow.done()
    assert (await slow).json()["state"] == "unreachable"


async def test_samples_are_heard_without_an_id(client_of: ClientOf, filled: Path, fake: Fake) -> None:
    assert Topics.parse("engine,runs") == Topics(True, frozenset(), True)
    sample = Message(-1, "engine.sample", "", "{}")
    assert b"id:" not in sample.encode()
    assert Topics.parse("engine").want(sample)
    assert not Topics.parse("runs").want(sample)
    client = client_of(filled, engine=fake.url)
    app: Any = client._transport.app  # type: ignore[attr-defined]
    stream = app.state.engine.heard(app.state.feed.listen(Topics.parse("engine")))
    assert (await anext(stream)).event == "hello"
    told = await asyncio.wait_for(anext(stream), 60)
    assert (told.id, told.event, json.loads(told.data)["state"]) == (-1, "engine.sample", "ready")
    await stream.aclose()


@contextmanager
def announced(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))
    monkeypatch.delenv("CATP_ENGINE", raising=False)
    announce(Running(url, MODEL, "cpu"))
    yield


async def test_the_real_server(
    client_of: ClientOf, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(Scripted(step_seconds=0.001)) as server, announced(server.url, tmp_path, monkeypatch):
        client = client_of(filled)
        assert (await client.get("/api/v1/engine/now")).json()["state"] == "ready"

        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as caller:
            ask = {"model": MODEL, "prompt": "a secret", "max_tokens": 5, "catp": {"slo": {"e2e": 60}}}
            (await caller.post("/v1/completions", json=ask)).raise_for_status()
        while True:
            now = (await client.get("/api/v1/engine/now")).json()
            if now["totals"].get("finished") == 1:
                break
            await asyncio.sleep(0.1)
        assert (now["model"], now["policy"], now["device"]) == (MODEL, "fcfs", "cpu")
        assert now["facts"] == ["cpu", "4,096 tokens of context", "policy fcfs"]
        assert now["alerts"] == []
        assert now["figures"]["ttft_p50_ms"] > 0
        answer = await client.get("/api/v1/engine/requests")
        assert [(row["kind"], row["state"], row["met"]) for row in answer.json()["items"]] == [
            ("text", "length", {"e2e": True})
        ]
        assert "a secret" not in answer.text
        assert (await client.get("/api/v1/engine/slo")).json()["items"][0]["day"]["met"] == 1
