"""Under a prefix, behind a proxy that takes it off, whether the server was told or not."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from catp.dashboard.demo import fill
from tests.dashboard.browser.conftest import Server, work

PREFIX = "/tools/catp"


@contextmanager
def proxy(port: int) -> Iterator[str]:
    """Pass everything under the prefix on as it comes, streams too; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            if not self.path.startswith(PREFIX + "/"):
                self.send_error(404)
                return
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            gone = suppress(OSError, ValueError, http.client.HTTPException)  # one of the two has
            with closing(http.client.HTTPConnection("127.0.0.1", port)) as behind, gone:
                behind.request(self.command, self.path.removeprefix(PREFIX), body or None, dict(self.headers))
                answer = behind.getresponse()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in ("transfer-encoding", "connection"):
                        self.send_header(key, value)
                self.send_header("connection", "close")
                self.end_headers()
                while piece := answer.read1(65_536):
                    self.wfile.write(piece)
                    self.wfile.flush()

        do_GET = do_POST = do_DELETE = pass_on

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{PREFIX}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("told", [False, True])
def test_pages_events_and_actions_under_a_prefix(
    tmp_path: Path, serve: Callable[..., Server], page: Page, *, told: bool
) -> None:
    store = tmp_path / "runs.db"
    work(fill(store, runs=8))
    site = serve(store, root_path=PREFIX if told else "", poll_s=0.05)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    with proxy(site.port) as url:
        page.goto(url)
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        page.get_by_role("link", name="Runs", exact=True).click()
        page.get_by_role("button", name=re.compile("complete")).click()
        expect(page).to_have_url(f"{url}runs?status=complete")
        newest = page.request.get(f"{url}api/v1/runs?status=complete").json()["items"][0]["id"]
        page.get_by_role("table").get_by_role("link").first.click()
        expect(page).to_have_url(f"{url}runs/{newest}")
        page.reload()  # the address is a real one
        expect(page.get_by_role("group", name="graph of")).to_be_visible()
        expect(page.locator(".dot.live")).to_be_visible()
        page.get_by_role("button", name="Score").click()
        page.get_by_role("dialog").get_by_role("spinbutton").fill("0.5")
        page.get_by_role("dialog").get_by_role("button", name="Save").click()
        expect(page.locator(".figure", has_text="Quality")).to_contain_text("0.5 measured")
        page.goto("about:blank")  # ends the stream
    assert [path for path in asked if not path.startswith(PREFIX + "/") and path != "blank"] == []
