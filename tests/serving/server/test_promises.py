"""The server's ten promises (docs/serving.md), each by name, over HTTP.

All of them run on the real engine with a tiny random Llama, but for SIGTERM to a process of its own, which runs the
scripted backend so that the test need not wait for torch (`catp serve` itself is the same code in `serving.cli.serve`).
"""

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from catp.serving.engine.errors import OutOfMemory
from catp.serving.programs import grammar
from catp.serving.programs.spelling import Spelling
from catp.serving.server.build import EngineOptions
from catp.serving.server.local import LocalBackend
from catp.serving.server.options import ServerOptions
from catp.serving.server.tenants import Tenant
from tests.serving.e2e.engines import engine
from tests.serving.server.running import Running, running, until
from tests.serving.server.sockets import connect, read_until, request

ASK: dict[str, Any] = {"prompt": list(range(5, 45)), "max_tokens": 8, "temperature": 0, "ignore_eos": True}


class Before:
    """A runner before whose steps something happens."""

    def __init__(self, runner: Any, before: Callable[[Any], None]) -> None:
        self.runner, self.before = runner, before

    def execute(self, step: Any) -> Any:
        self.before(step)
        return self.runner.execute(step)


@contextmanager
def served(
    before: Callable[[int], None] | None = None,
    *,
    server: ServerOptions | None = None,
    tenants: Any = (),
    **options: Any,
) -> Iterator[tuple[Running, httpx.Client, LocalBackend]]:
    made = EngineOptions(threads=1, **{"kv_memory": 8 << 20, **options})
    wrap = None if before is None else lambda runner: Before(runner, before)
    with engine(made, wrap=wrap) as backend:
        limits = server or ServerOptions(drain_seconds=3)
        with running(backend, options=limits, tenants=tenants) as found, found.client() as client:
            yield found, client, backend


def post(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post("/v1/completions", json={**ASK, **more})


def code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"]) if answer.status_code != 200 else ""


def slow(_: Any) -> None:
    time.sleep(0.01)


def test_1_admission_answers_at_once_with_a_reason() -> None:
    with served(slow, max_waiting=1, max_sequences=1) as (server, client, backend):
        post(client)  # warm
        for more, status, reason in (
            ({"max_tokens": 5000}, 400, "too_long"),
            ({"prompt": [10**6]}, 400, "bad_tokens"),
            ({"prompt": [-1]}, 400, "bad_tokens"),
            ({"model": "other"}, 404, "unknown_model"),
            ({"structured_outputs": {"regex": "(a"}}, 400, "bad_grammar"),
            ({"n": 4096}, 400, "bad_request"),
            ({"prompt": []}, 400, "bad_request"),
        ):
            answer = post(client, **more)
            assert (answer.status_code, code(answer)) == (status, reason), answer.text
        with ThreadPoolExecutor(2) as pool:
            held = [pool.submit(post, client, max_tokens=300)]
            until(lambda: backend.health().running == 1)
            held.append(pool.submit(post, client, max_tokens=300))
            until(lambda: backend.health().waiting == 1)
            full = post(client)
            assert (full.status_code, code(full)) == (503, "queue_full")
            assert int(full.headers["retry-after"]) >= 1
            server.service.draining = True
            assert code(post(client)) == "draining"
            server.service.draining = False
            assert [one.result().status_code for one in held] == [200, 200]
    key = Tenant("t", (hashlib.sha256(b"a-key").digest(),), requests_per_minute=1)
    with served(tenants=[key]) as (_, client, _backend):
        client.headers["Authorization"] = "Bearer a-key"
        assert [(one.status_code, code(one)) for one in (post(client), post(client))] == [
            (200, ""),
            (429, "rate_limited"),
        ]


@pytest.mark.parametrize(
    ("where", "what", "asked"),
    [(grammar, "_compile", {"structured_outputs": {"regex": "[ab]{3}"}}), (Spelling, "encode", {"prompt": "a text"})],
)
def test_1_what_takes_long_to_accept_delays_nobody_else(
    monkeypatch: pytest.MonkeyPatch, where: Any, what: str, asked: dict[str, Any]
) -> None:
    begun, go_on, real = threading.Event(), threading.Event(), getattr(where, what)

    def held_up(*args: Any) -> Any:
        begun.set()
        assert go_on.wait(20)
        return real(*args)

    monkeypatch.setattr(where, what, held_up)
    with served(slow) as (_, client, _backend), ThreadPoolExecutor(1) as pool:
        with client.stream("POST", "/v1/completions", json={**ASK, "max_tokens": 40, "stream": True}) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: {")
            other = pool.submit(post, client, **asked)
            try:
                assert begun.wait(20)
                assert "data: [DONE]" in list(lines)
                assert client.get("/live").status_code == 200
                assert not other.done()
            finally:
                go_on.set()
        assert other.result().status_code == 200


def test_2_accepted_requests_end_exactly_once_also_when_the_engine_crashes() -> None:
    crash = threading.Event()

    def before(_: Any) -> None:
        time.sleep(0.002)
        if crash.is_set():
            crash.clear()
            raise RuntimeError("a bit flipped")

    with served(before, restarts=3) as (server, client, backend):
        with ThreadPoolExecutor(6) as pool:
            asked = [pool.submit(post, client, max_tokens=200, prompt=[n + 5] * 30) for n in range(6)]
            until(lambda: backend.health().running == 6)
            crash.set()
            answers = [one.result() for one in asked]
        assert {(answer.status_code, code(answer)) for answer in answers} == {(503, "engine_failed")}
        assert "a bit flipped" in answers[0].json()["error"]["message"]
        until(lambda: backend.health().ready)
        assert post(client).status_code == 200  # it was started again
        totals = server.service.meter.totals.requests
        assert sum(totals.values()) == 7
    broken = served(lambda _: (_ for _ in ()).throw(RuntimeError("for good")), restarts=1)
    with broken as (server, client, backend):
        assert [code(post(client)) for _ in range(2)] == ["engine_failed"] * 2
        until(lambda: not backend.health().ready)
        assert (post(client).status_code, code(post(client))) == (503, "not_ready")
        assert client.get("/ready").status_code == 503
        assert client.get("/live").status_code == 200


def test_3_isolation_of_bad_requests_and_of_memory_running_out() -> None:
    full = iter([True])

    def before(step: Any) -> None:
        time.sleep(0.002)
        if len(step.rows) > 1 and next(full, False):
            raise OutOfMemory("no room on the device")  # it is tried once more, in halves

    with served(before) as (_, client, backend):
        alone = post(client, max_tokens=40).json()["choices"][0]["text"]
        with ThreadPoolExecutor(3) as pool:
            good = [pool.submit(post, client, max_tokens=40) for _ in range(2)]
            bad = pool.submit(post, client, structured_outputs={"json": {"type": "nonsense"}})
            assert [one.result().json()["choices"][0]["text"] for one in good] == [alone, alone]
            assert (bad.result().status_code, code(bad.result())) == (400, "bad_grammar")
        assert backend.snapshot().restarts == 0
        assert next(full, None) is None  # memory did run out


@pytest.mark.parametrize("stream", [True, False])
def test_4_cancelling_gives_blocks_back_within_a_step(stream: bool) -> None:
    steps: list[Any] = []

    def before(step: Any) -> None:
        steps.append(step)
        time.sleep(0.01)

    with served(before) as (server, _, backend):
        pool = backend.engine.core.scheduler.pool
        with connect(server.port) as sock:
            sock.sendall(request("/v1/completions", {**ASK, "max_tokens": 400, "stream": stream}))
            if stream:
                read_until(sock, b"data:")
            until(lambda: pool.used > 2 and len(steps) > 3)
        gone = len(steps)
        until(lambda: not backend.health().running)
        until(lambda: pool.used == 0)
        assert len(steps) <= gone + 10  # a step, and what the kernel and the loop took to notice
        totals = server.service.meter.totals.requests
        until(lambda: [key[4] for key in totals] == ["disconnected"])


def test_5_no_preemption_under_default_admission() -> None:
    with served(kv_memory=64 * 1024 * 16 // 4, max_sequences=32) as (server, client, backend):
        scheduler = backend.engine.core.scheduler
        with ThreadPoolExecutor(12) as pool:
            asks = [{"prompt": [n + 5] * (10 + n), "max_tokens": 40} for n in range(12)]
            answers = list(pool.map(lambda ask: post(client, **ask), asks))
        assert [answer.json()["usage"]["completion_tokens"] for answer in answers] == [40] * 12
        assert scheduler.pool.blocks * 16 < sum(10 + n + 40 for n in range(12))  # they did not all fit at once
        assert backend.snapshot().preemptions == 0
        # and the books: what requests are charged for is the time the device was busy
        assert server.service.meter.totals.seconds == pytest.approx(backend.snapshot().busy_seconds, rel=0.01)


def test_6_greedy_output_does_not_depend_on_company_or_cache() -> None:
    with served() as (_, client, _backend):
        prompts = [list(range(5, 5 + length)) for length in (7, 33, 64, 90)]
        alone = [post(client, prompt=prompt, max_tokens=20).json()["choices"][0]["text"] for prompt in prompts]
        with ThreadPoolExecutor(8) as pool:
            mixed = list(pool.map(lambda prompt: post(client, prompt=prompt, max_tokens=20), prompts * 3))
        assert [answer.json()["choices"][0]["text"] for answer in mixed] == alone * 3
        cached = [answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in mixed]
        assert max(cached) >= 64  # the cache was used


def test_7_an_adapter_reloaded_under_its_name_never_reads_old_keys(tmp_path: Path) -> None:
    from tests.serving.server.adapters import write_adapter

    with served() as (_, client, _backend):
        base = post(client).json()["choices"][0]["text"]
        texts = []
        for version in (1, 2, 1):
            folder = write_adapter(tmp_path / f"v{version}", seed=version)
            assert client.post("/v1/adapters", json={"name": "legal", "path": str(folder)}).status_code == 200
            texts.append([post(client, model="legal").json()["choices"][0]["text"] for _ in range(2)])
        assert texts[0] == texts[2]
        assert all(first == second for first, second in texts)
        assert len({base, texts[0][0], texts[1][0]}) == 3
        assert post(client).json()["choices"][0]["text"] == base
        assert client.delete("/v1/adapters/legal").status_code == 200
        assert code(post(client, model="legal")) == "unknown_model"


def test_8_live_ready_and_progress_are_three_answers() -> None:
    stuck = threading.Event()

    def before(_: Any) -> None:
        while stuck.is_set():
            time.sleep(0.01)

    options = ServerOptions(stall_seconds=0.3, drain_seconds=3)
    with served(before, server=options) as (server, client, _):

        def answers() -> list[int]:
            return [client.get(path).status_code for path in ("/live", "/ready", "/progress")]

        post(client)
        time.sleep(0.4)
        assert answers() == [200, 200, 200]  # idle is not stalled
        stuck.set()
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(post, client)
            until(lambda: answers() == [200, 200, 503])
            assert client.get("/progress").json()["stalled"]
            stuck.clear()
            assert held.result().status_code == 200
        until(lambda: answers() == [200, 200, 200])
        server.service.draining = True
        assert client.get("/ready").json() == {"ready": False, "reason": "draining"}
        assert client.get("/health").status_code == 503
        server.service.draining = False


def test_9_shutdown_lets_requests_end_then_cancels_with_a_reason() -> None:
    with (
        served(slow, server=ServerOptions(drain_seconds=0.5)) as (server, client, backend),
        ThreadPoolExecutor(2) as pool,
    ):
        long = pool.submit(post, client, max_tokens=400)
        short = pool.submit(post, client, max_tokens=5)
        until(lambda: backend.health().running == 2)
        server.stop()
        until(lambda: server.service.draining)
        refused = post(client)
        assert (refused.status_code, code(refused)) == (503, "draining")
        assert "retry-after" in refused.headers
        assert short.result().status_code == 200
        assert (long.result().status_code, code(long.result())) == (503, "shutdown")
        server.thread.join(10)
        assert not server.thread.is_alive()


_PROCESS = """
import asyncio, sys, time
from catp.serving.cli import serve as cli
from catp.serving.metering.meter import Meter
from catp.serving.metering.prices import DevicePrice
from catp.serving.server.options import ServerOptions
from catp.serving.server.run import listen
from catp.serving.server.service import Service
from catp.serving.server.tenants import Tenants
from tests.serving.server.scripted import Scripted
service = Service(Scripted(step_seconds=0.01), Tenants((), time.monotonic), Meter(DevicePrice.of("cpu")),
                  ServerOptions(drain_seconds=0.5))
asyncio.run(cli._run(service, listen("127.0.0.1", 0), "fcfs", True))
"""


def test_9_sigterm_under_load_exits_with_0() -> None:
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", _PROCESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=root
    )
    try:
        assert process.stdout is not None
        told = b""
        while not told.endswith(b"}\n"):
            told += process.stdout.readline()
        url = json.loads(told)["url"]
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client, ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(post, client, max_tokens=tokens) for tokens in (10, 2000) * 4]
            until(lambda: client.get("/progress").json()["running"] >= 4)
            process.send_signal(signal.SIGTERM)
            answers = [one.result() for one in asked]
        assert sorted(code(answer) for answer in answers) == [""] * 4 + ["shutdown"] * 4
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def test_10_overload_is_refused_bounded_and_starves_nobody() -> None:
    with served(slow, max_waiting=8, max_sequences=4) as (server, client, backend):
        deepest = 0

        def ask(number: int) -> httpx.Response:
            nonlocal deepest
            answer = post(client, prompt=[number % 50 + 5] * 20, max_tokens=10 + 40 * (number % 3 == 0))
            deepest = max(deepest, backend.health().waiting)
            return answer

        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(ask, range(120)))
        served_ones = [answer for answer in answers if answer.status_code == 200]
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {(answer.status_code, code(answer)) for answer in refused} == {(503, "queue_full")}
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
        assert len(served_ones) >= 12
        assert deepest <= 8
        assert sum(server.service.meter.totals.requests.values()) == len(served_ones)  # each accepted one ended once
        until(lambda: backend.engine.core.scheduler.pool.used == 0)
