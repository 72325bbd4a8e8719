"""Real Chromium against a real server over a real store. Not run beside asyncio tests: Playwright keeps a loop running.

`make test` runs these on their own (`-m browser`). Every page is watched: no request may leave the server, no script
may fail. Screenshots go to `$CATP_SCREENSHOTS` (default `build/screenshots`).
"""

import asyncio
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from catp.dashboard.app import create_app
from catp.dashboard.demo import fill

T = TypeVar("T")

PATIENCE = 60_000  # ms: two cores may be busy with much else; what is there sooner is seen sooner
expect.set_options(timeout=PATIENCE)

CHROMIUM = os.environ.get("CATP_CHROMIUM") or shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync",
]  # fmt: skip
ROOT = Path(__file__).parents[3]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(300))  # a busy machine may take a minute to fill the demo


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium: apt-get install chromium fonts-dejavu-core, or set CATP_CHROMIUM")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


def work(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run something asynchronous to its end, in a thread without Playwright's loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class _Uvicorn(uvicorn.Server):
    """Ends the streams before it waits for those who listen, as `catp dashboard` does."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.feed.hang_up()  # type: ignore[union-attr]  # not a name to import it by
        await super().shutdown(sockets)


class Server:
    """The application on a socket, in a thread; `stop` and `start` keep the port, so a browser can come back.

    A second socket that only has the port, and never listens, keeps everybody else off it until `close`.
    """

    def __init__(self, store: Path | str, **options: Any) -> None:
        self.store, self.options = store, options
        self._kept = _bound(0)
        self.port = int(self._kept.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        listening = _bound(self.port)
        listening.listen(128)  # who comes before it serves waits
        app = create_app(self.store, **self.options)
        self._server = _Uvicorn(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, args=([listening],), daemon=True)
        self._thread.start()
        patience = time.monotonic() + 60
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < patience, "the server did not start in time"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not stop"

    def close(self) -> None:
        self.stop()
        self._kept.close()


def _bound(port: int) -> socket.socket:
    """A socket that has a port, 0 for a free one, together with others of this process."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the runs of the demo, for tests that only look at it: made once, it takes seconds."""
    path = tmp_path_factory.mktemp("demo") / "runs.db"
    work(fill(path))
    return path


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """serve(store, **options of create_app) -> Server."""
    open_: list[Server] = []

    def start(store: Path | str, **options: Any) -> Server:
        open_.append(Server(store, **options))
        return open_[-1]

    yield start
    for server in open_:
        server.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    outside: list[str] = []
    errors: list[str] = []

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            outside.append(request.url)

    with browser.new_context(viewport={"width": 1360, "height": 900}, reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", asked)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert outside == [], "the pages must work offline"
    assert errors == [], "a script failed"


def fits(page: Page) -> None:
    """Wait until nothing overflows the window sideways: charts are drawn anew after it has got another size."""
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def shot(page: Page) -> Callable[[str], Path]:
    """shot("runs-dark") keeps a picture of the whole page."""

    def take(name: str) -> Path:
        folder = Path(os.environ.get("CATP_SCREENSHOTS") or ROOT / "build" / "screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        return folder / f"{name}.png"

    return take


@pytest.fixture
def no_barriers(page: Page) -> Callable[[], None]:
    """no_barriers() fails with axe's report if the page, in light or in dark colours, keeps anybody out."""
    from axe_playwright_python.sync_playwright import Axe

    def check() -> None:
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.locator(".loading")).to_have_count(0)  # the whole page, not the beginning of one
        for colours in ("light", "dark"):
            page.get_by_role("combobox", name="Colours").select_option(colours)
            found = Axe().run(page)
            assert found.violations_count == 0, f"{colours}: {found.generate_report()}"

    return check
