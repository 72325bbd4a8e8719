"""Clients that send nonsense, too much or too slowly, that go away, or that do not read (scripted backend)."""

import json
import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from catp.serving.server.options import ServerOptions
from tests.serving.server.running import Running, running, until
from tests.serving.server.scripted import MODEL, Scripted
from tests.serving.server.sockets import connect, read_all, read_until, request

OPTIONS = ServerOptions(max_body=100_000, body_seconds=0.5, write_seconds=0.5, drain_seconds=2)
LONG = {"model": MODEL, "prompt": "x", "max_tokens": 4000}


@pytest.fixture(scope="module")
def backend() -> Scripted:
    return Scripted(step_seconds=0.005, context=5000)


@pytest.fixture(scope="module")
def server(backend: Scripted) -> Iterator[Running]:
    with running(backend, options=OPTIONS) as found:
        yield found


def idle(server: Running, backend: Scripted) -> None:
    """Nothing is left over, in the engine or in the server."""
    until(lambda: not backend.health().running and not backend.health().waiting and not server.service.load.open)


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[1, 2", b'"' + b"\\" * 7, b"\xff\xfe{}", b"[" * 50_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_malformed_json(server: Running, body: bytes) -> None:
    with server.client() as client:
        answer = client.post("/v1/chat/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b'"text"'])
def test_json_that_is_no_object(server: Running, body: bytes) -> None:
    with server.client() as client:
        answer = client.post("/v1/completions", content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_numbers_that_are_none(server: Running) -> None:
    with server.client() as client:
        answer = client.post("/v1/completions", content=b'{"prompt": "x", "temperature": NaN}')
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "temperature")


def test_a_page_in_a_browser_cannot_use_a_local_server(server: Running) -> None:
    page = {"Origin": "http://evil.example"}
    with server.client() as client:
        sent = client.post("/v1/adapters", content=b'{"name": "x", "path": "y"}', headers=page)
        assert (sent.status_code, sent.json()["error"]["code"]) == (415, "not_json")
        asked = client.options("/v1/adapters", headers={**page, "Access-Control-Request-Method": "POST"})
        assert asked.status_code == 405
        assert "access-control-allow-origin" not in asked.headers


def test_a_body_that_says_it_is_too_large_is_not_read(server: Running) -> None:
    with connect(server.port) as sock:
        sock.sendall(request("/v1/chat/completions", b"{", length=10**12))
        assert b"413" in read_until(sock, b"body_too_large").splitlines()[0]


def test_a_body_that_grows_too_large_is_not_read(server: Running) -> None:
    with connect(server.port) as sock:
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(11):
            sock.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        assert b" 413 " in read_until(sock, b"body_too_large").splitlines()[0]


def test_a_body_that_dawdles(server: Running) -> None:
    with connect(server.port) as sock:
        sock.sendall(request("/v1/chat/completions", b"{", length=100))
        answer = read_until(sock, b"body_too_slow")
    assert b" 408 " in answer.splitlines()[0]


def test_unknown_paths_and_methods(server: Running) -> None:
    with server.client() as client:
        assert client.get("/v1/nothing").json()["error"]["code"] == "unknown_path"
        assert client.get("/v1/chat/completions").status_code == 405


def test_disconnect_while_the_body_is_sent(server: Running, backend: Scripted) -> None:
    before = len(backend.ended)
    with connect(server.port) as sock:
        sock.sendall(request("/v1/completions", b'{"prompt": "x"', length=100))
    idle(server, backend)
    assert len(backend.ended) == before  # nothing was asked of the engine


@pytest.mark.parametrize("stream", [False, True])
def test_disconnect_while_it_runs_cancels_within_a_step(server: Running, backend: Scripted, stream: bool) -> None:
    before = len(backend.ended)
    with connect(server.port) as sock:
        sock.sendall(request("/v1/completions", {**LONG, "stream": stream}))
        if stream:
            read_until(sock, b"data:")
        until(lambda: backend.health().running)
    until(lambda: len(backend.ended) > before)
    assert (backend.ended[-1].code, backend.ended[-1].reason) == ("disconnected", "cancelled")
    assert backend.cancel_steps[-1] <= 1
    idle(server, backend)


def test_disconnect_while_it_waits(backend: Scripted) -> None:
    crowded = Scripted(step_seconds=0.005, context=5000, most_running=1)
    with running(crowded, options=OPTIONS) as server, connect(server.port) as first:
        first.sendall(request("/v1/completions", {**LONG, "stream": True}))
        read_until(first, b"data:")
        with connect(server.port) as second:
            second.sendall(request("/v1/completions", LONG))
            until(lambda: crowded.health().waiting == 1)
        until(lambda: crowded.health().waiting == 0)
        assert crowded.ended[-1].code == "disconnected"
        assert crowded.ended[-1].usage.queued is None
        assert crowded.health().running == 1


def test_disconnect_after_the_answer(server: Running, backend: Scripted) -> None:
    with connect(server.port) as sock:
        sock.sendall(request("/v1/completions", {**LONG, "max_tokens": 2}))
        read_until(sock, b"usage")
    idle(server, backend)
    assert backend.ended[-1].reason == "length"


def test_a_slow_reader_is_cut_off_and_nobody_else(backend: Scripted) -> None:
    quick = Scripted(step_seconds=0.001, context=10_000_000, capacity=512)
    wide = {"model": MODEL, "prompt": "x", "max_tokens": 100_000, "n": 16, "stream": True, "logprobs": 20}
    with running(quick, options=OPTIONS) as server, connect(server.port, receive_buffer=4096) as sock:
        sock.sendall(request("/v1/completions", wide))
        read_until(sock, b"data:")
        until(lambda: quick.ended, 30)  # we read nothing more
        assert quick.ended[-1].reason == "cancelled"
        assert quick.cancel_steps[-1] <= 1
        with server.client() as client:  # the engine never waited
            assert client.post("/v1/completions", json={"prompt": "x", "max_tokens": 2}).status_code == 200
        until(lambda: not server.service.load.open)
        records = server.service.meter.totals.requests
        assert sum(n for (_, _, _, _, code), n in records.items() if code == "slow_reader") == 1
        rest = read_all(sock)
        assert b"[DONE]" not in rest  # nobody takes it for a whole answer


def test_a_request_that_takes_too_long(backend: Scripted) -> None:
    options = ServerOptions(request_seconds=0.2, drain_seconds=1)
    with running(Scripted(context=5000, step_seconds=0.01), options=options) as server, server.client() as client:
        answer = client.post("/v1/completions", json=LONG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "timeout")
        assert "0.2 s" in answer.json()["error"]["message"]
        with client.stream("POST", "/v1/completions", json={**LONG, "stream": True}) as stream:
            lines = [line for line in stream.iter_lines() if line]
        assert stream.status_code == 200
        assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "timeout"


def test_many_idle_connections(server: Running, backend: Scripted) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(1000, (soft - 200) // 2)  # both ends are in this process
    with ExitStack() as stack:
        idle_ones: list[socket.socket] = [stack.enter_context(connect(server.port)) for _ in range(count)]
        half = idle_ones[: count // 2]
        for sock in half:
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")  # and never the rest
        with server.client() as client, ThreadPoolExecutor(4) as pool:
            asks = [{"prompt": "x", "max_tokens": 3, "temperature": 0}] * 20
            answers = list(pool.map(lambda ask: client.post("/v1/completions", json=ask), asks))
        assert [answer.json()["choices"][0]["text"] for answer in answers] == ["abc"] * 20
        last = idle_ones[-1]
        last.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in read_until(last, b"true")
    idle(server, backend)
