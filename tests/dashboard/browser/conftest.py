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

T = TypeVar("T")

expect.set_options(timeout=15_000)  # two cores may be busy with other tests

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


class Server:
    """The application on a socket, in a thread; `stop` and `start` keep the port, so a browser can come back."""

    def __init__(self, store: Path | str, **options: Any) -> None:
        self.store, self.options = store, options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        app = create_app(self.store, **self.options)
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.port, log_level="error", lifespan="on", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        patience = time.monotonic() + 20
        while not self._server.started:
            assert self._thread.is_alive(), "the server did not start"
            assert time.monotonic() < patience, "the server did not start in time"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """serve(store, **options of create_app) -> Server."""
    open_: list[Server] = []

    def start(store: Path | str, **options: Any) -> Server:
        open_.append(Server(store, **options))
        return open_[-1]

    yield start
    for server in open_:
        server.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    outside: list[str] = []
    errors: list[str] = []

    def asked(request: Request) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            outside.append(request.url)

    with browser.new_context(viewport={"width": 1360, "height": 900}, reduced_motion="reduce") as context:
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", asked)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert outside == [], "the pages must work offline"
    assert errors == [], "a script failed"


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
        for colours in ("light", "dark"):
            page.get_by_role("combobox", name="Colours").select_option(colours)
            found = Axe().run(page)
            assert found.violations_count == 0, f"{colours}: {found.generate_report()}"

    return check
