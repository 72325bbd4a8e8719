"""The scripted chat model, listening on the loopback interface."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.planners.scripted_model import GOOD, KEY, Handler, Server, says


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    Handler.leave = threading.Event()
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients hang up on purpose here
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield Server(made.server_port)
    Handler.leave.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("CATP_CHAT_API_KEY", KEY)
    monkeypatch.setattr("catp.planners.chat_client._BACKOFF_S", 0.01)
    running.play(says(GOOD))
    return running
