"""`catp dashboard` as people start it: a process of its own, a real socket, real proxies before it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from catp.cli.main import app
from catp.store.store import RunStore

CATP = [sys.executable, "-m", "catp.cli"]

get = partial(httpx.get, timeout=60)  # the machine may be busy


class Running:
    """A started command and what it said first."""

    def __init__(self, arguments: list[str], home: Path, **environment: str) -> None:
        known = {key: value for key, value in os.environ.items() if not key.startswith(("CATP_", "XDG_"))}
        self.process = subprocess.Popen(
            [*CATP, "dashboard", "--json", *arguments], cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**known, "XDG_DATA_HOME": str(home / "data"), "HOME": str(home), **environment},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.told: dict[str, Any] = json.loads(line)
        self.url = str(self.told["url"])

    def stop(self) -> None:
        """Interrupt it as Ctrl-C does, and wait for its end."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def go(*arguments: str, **environment: str) -> Running:
        running.append(Running([*arguments, "--port", "0"], tmp_path, **environment))
        return running[-1]

    yield go
    for one in running:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()
        for pipe in (one.process.stdout, one.process.stderr):
            assert pipe is not None
            pipe.close()


def refused(*arguments: str) -> tuple[int, str]:
    """A command that does not start: its exit code and what it says. The usual port may be taken."""
    found = CliRunner().invoke(app, ["dashboard", "--port", "0", *arguments])
    return found.exit_code, found.stderr


def test_a_fresh_store_is_made_and_ctrl_c_ends_it_at_once(tmp_path: Path, start: Callable[..., Running]) -> None:
    running = start()
    assert running.told["schema"] == "catp.dashboard/1"
    assert running.told["pid"] == running.process.pid
    assert Path(running.told["store"]) == tmp_path / "data" / "catp" / "catp.db"
    assert get(f"{running.url}api/v1/overview").json()["empty"]
    assert "<title>CATP" in get(running.url).text
    assert get(f"{running.url}healthz").json() == {"status": "ok"}
    with httpx.stream("GET", f"{running.url}api/v1/events?topics=runs", timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        running.stop()
        assert "error" not in "".join(lines)
    assert running.process.returncode == 0
    assert running.process.communicate()[1] == "", "a listener held it up"  # the server says whom it had to cut off


def test_nobody_who_listens_or_takes_nothing_holds_up_the_end(start: Callable[..., Running]) -> None:
    running = start()
    port = int(running.told["url"].rstrip("/").rpartition(":")[2])

    def ask(path: str, *, times: int = 1) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), 10)
        made.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n".encode() * times)
        return made

    held = [ask(f"/api/v1/events?topics={topics}") for topics in ("runs", "engine", "runs,engine")]
    for stream in held:
        assert stream.recv(100).startswith(b"HTTP/1.1 200 ")
    held.append(ask("/static/vendor/vendor.js", times=1_500))  # 13 MB, and nobody reads them
    running.process.send_signal(signal.SIGINT)
    with suppress(ConnectionError):  # it may be too late by then
        held.append(ask("/api/v1/events?topics=runs"))
    running.process.wait(60)  # half a second, as without clients; for ever if those who take nothing are waited for
    assert running.process.returncode == 0
    assert running.process.communicate()[1] == ""
    for one in held:
        one.close()


def test_a_run_that_is_watched_is_ended_with_the_server(tmp_path: Path, start: Callable[..., Running]) -> None:
    running = start("--store", "runs.db", "--create")
    run = httpx.post(f"{running.url}api/v1/demo/live", timeout=100).json()["run"]
    assert get(f"{running.url}api/v1/runs/{run}").json()["status"] == "running"
    running.stop()
    store = RunStore(tmp_path / "runs.db")
    assert store.find(run).status == "cancelled"
    store.close()


def test_a_store_that_may_be_a_slip_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = refused("--store", "rnus.db")
    assert code == 6
    assert "there is no run store rnus.db" in said
    assert "--create" in said
    assert not (tmp_path / "rnus.db").exists()
    (tmp_path / "text.db").write_text("this is no database, and it is long enough to be looked at " * 20)
    code, said = refused("--store", "text.db")
    assert code == 6
    assert "text.db" in said


def test_what_cannot_be_listened_on_is_said_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, said = refused("--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "Address already in use" in said
    assert "--port 0" in said
    code, said = refused("--token", "short")
    assert (code, "8 or more" in said) == (2, True)
    (tmp_path / "tokens.json").write_text("[]")
    code, said = refused("--tokens", "tokens.json")
    assert (code, "JSON object" in said) == (2, True)
    code, said = refused("--tools", "nowhere:TOOLS")
    assert (code, "nowhere" in said) == (2, True)


def test_roles_come_from_options_file_and_environment(tmp_path: Path, start: Callable[..., Running]) -> None:
    (tmp_path / "tokens.json").write_text(json.dumps({"from-a-file": "viewer"}))
    running = start(
        "--tokens", "tokens.json", "--operator-token", "for-operators", "--read-only",
        CATP_DASHBOARD_TOKEN="for-the-admin",
    )  # fmt: skip
    assert "token" not in running.url, "a token that somebody chose is not printed"
    assert get(f"{running.url}api/v1/meta").status_code == 401
    for token, role in (("from-a-file", "viewer"), ("for-operators", "operator"), ("for-the-admin", "admin")):
        meta = get(f"{running.url}api/v1/meta", headers={"authorization": f"Bearer {token}"}).json()
        assert (meta["role"], meta["read_only"]) == (role, True)


def test_an_open_address_gets_a_token_and_own_names_only(start: Callable[..., Running]) -> None:
    running = start("--host", "0.0.0.0", "--allow-host", "dash.example")
    port = httpx.URL(running.url).port
    token = httpx.URL(running.url).params["token"]
    assert len(token) >= 24
    local = f"http://127.0.0.1:{port}/"
    assert get(local).status_code == 401
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        assert client.get(f"{local}?token={token}").status_code == 200
        assert client.get(f"{local}api/v1/meta").json()["role"] == "admin"
    header = {"authorization": f"Bearer {token}"}
    assert get(f"{local}api/v1/meta", headers={**header, "host": "dash.example"}).status_code == 200
    assert get(f"{local}api/v1/meta", headers={**header, "host": "evil.example"}).status_code == 421


class Proxy(ThreadingHTTPServer):
    """Serves what is behind it under /a/b, with the prefix taken off or not."""

    def __init__(self, target: str, *, strip: bool) -> None:
        outer = self
        self.target, self.strip = target.rstrip("/"), strip

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.pass_on(self, None)

            def do_POST(self) -> None:
                outer.pass_on(self, self.rfile.read(int(self.headers.get("content-length", 0))))

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/a/b/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def pass_on(self, request: BaseHTTPRequestHandler, body: bytes | None) -> None:
        if not request.path.startswith("/a/b/"):
            request.send_error(404)
            return
        path = request.path.removeprefix("/a/b") if self.strip else request.path
        kept = {key: value for key, value in request.headers.items() if key.lower() in ("cookie", "origin", "host")}
        answer = httpx.request(request.command, self.target + path, headers=kept, content=body, timeout=60)
        request.send_response(answer.status_code)
        for key, value in answer.headers.items():
            if key not in ("content-length", "transfer-encoding", "content-encoding", "date"):
                request.send_header(key, value)
        request.send_header("content-length", str(len(answer.content)))
        request.end_headers()
        request.wfile.write(answer.content)


@pytest.mark.parametrize("told", [True, False])
def test_behind_a_proxy_under_a_prefix(start: Callable[..., Running], *, told: bool) -> None:
    running = start("--token", "of-an-admin", *(["--root-path", "/a/b/"] if told else []))
    for strip in (True, False) if told else (True,):
        proxy = Proxy(running.url, strip=strip)
        try:
            visit(proxy.url)
        finally:
            proxy.shutdown()
            proxy.server_close()


def visit(address: str) -> None:
    """Come with a token, and do what a browser does: a page, its files, the API, a change."""
    with httpx.Client(follow_redirects=True, timeout=60) as client:
        page = client.get(f"{address}runs/X?token=of-an-admin")
        assert str(page.url) == f"{address}runs/X", "the redirect left the prefix"
        assert '<base href="../">' in page.text
        root = page.url.join("../")
        script = client.get(root.join("static/main.js"))
        assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert client.get(root.join("api/v1/meta")).json()["role"] == "admin"
        change = root.join("api/v1/runs/NOTHING/cancel")
        same = {"origin": f"{root.scheme}://{root.netloc.decode()}"}
        assert client.post(change, headers=same, json={"reason": ""}).status_code in (404, 422)
        assert client.post(change, headers={"origin": "http://evil.example"}).status_code == 403


def test_help_needs_nothing_of_the_dashboard() -> None:
    code = """
import sys
from catp.cli.main import app
app(["--help"], standalone_mode=False)
print([name for name in ("fastapi", "uvicorn", "sqlalchemy", "torch") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert "dashboard" in done.stdout
    assert done.stdout.strip().endswith("[]")
