"""Takes the README's two pictures of the dashboard: demo data, Debian's Chromium, no network. Some thirty seconds.

`python benchmarks/dashboard_pictures.py [FOLDER]` writes dashboard-overview.png and dashboard-run.png (docs/img).
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parents[1] / "docs" / "img"
SIZE = {"width": 1280, "height": 860}
MOST_BYTES = 150_000
WATCHED_S = 9.5
"""How far the run is when its picture is taken: some steps are over, some are at work, some wait."""


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "catp.cli", "dashboard", "--json", "--port", "0", "--create",
                   "--engine", "off", "--store", str(Path(work) / "demo.db")]  # fmt: skip
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = str(json.loads(server.stdout.readline())["url"])
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                page = chromium.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")  # type: ignore[arg-type]
                take_all(page, url, folder)
                chromium.close()
        finally:
            server.terminate()
            server.wait(10)


def take_all(page: Page, url: str, folder: Path) -> None:
    httpx.post(f"{url}api/v1/demo").raise_for_status()
    while httpx.get(f"{url}api/v1/demo").json() != {"exists": True, "filling": False}:
        time.sleep(0.2)
    page.goto(f"{url}?window=7d")
    page.get_by_role("region", name="Failures", exact=True).wait_for()
    take(page, folder / "dashboard-overview.png")
    run = httpx.post(f"{url}api/v1/demo/live", timeout=20).json()["run"]
    page.goto(f"{url}runs/{run}")
    page.wait_for_timeout(WATCHED_S * 1e3)
    take(page, folder / "dashboard-run.png")


def take(page: Page, path: Path) -> None:
    page.screenshot(path=path)
    picture: Any = Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    picture.save(path, optimize=True)
    size = path.stat().st_size
    print(f"{path}: {picture.width} x {picture.height}, {size:,} bytes")
    assert size <= MOST_BYTES, "too large for the README"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
