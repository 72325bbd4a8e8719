"""The run page in a real browser: how fast a run opens, and what it costs while the run goes on.

    .venv/bin/python -m benchmarks.dashboard_browser [--live-s 20]

1. Runs of 12 and of 1,000 steps that are over, opened in Chromium (headless, one after another, five times each): from
   the start of the navigation to the first frame with boxes of the graph and rows of the timeline. Bar: 2 s.
2. A run of 1,000 steps half of which are over is open while another process writes 20 events a second to the store,
   through the store's own journal. Processor time of the page's process over that time, as the browser tells it
   (`SystemInfo.getProcessInfo`), and of its main thread (`Performance.getMetrics`). Bar: 30 % of one core.

Server, writer and browser share the machine; its load is reported. Writes benchmarks/results/dashboard_browser.json.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.dashboard import line_of, quantile, running
from catp.planlang.parser import parse
from catp.runtime.ids import new_run_id
from catp.store.store import RunStore
from catp.tools.bench.report import machine
from tests.dashboard.plans import kept, plan_text, recorded, step_events

RESULTS = Path(__file__).parent / "results" / "dashboard_browser.json"
BAR_OPEN_MS, BAR_CORE = 2_000.0, 0.30
SIZES = (12, 1_000)
EVENTS_PER_S = 20
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
SHOWN = """() => document.querySelector("button.graph-box") && document.querySelectorAll("tbody tr").length > 10
  ? performance.now() : 0"""


async def fill(store: RunStore, steps: int) -> str:
    run_id, _, _ = await recorded(store, plan_text(steps), done=steps)
    return run_id


async def write(path: str, seconds: float) -> None:
    """The process that runs: half of 1,000 steps at once, the rest event by event once a line is read."""
    store = RunStore(path)
    source, run_id, half = plan_text(1_000), new_run_id(), 500
    _, journal = kept(store, source, run_id)
    steps = parse(source).steps
    for i, step in enumerate(steps[:half]):
        for event in step_events(run_id, 3 + 4 * i, step, i + 1, at_ns=time.time_ns()):
            journal.event(event)
    await journal.durable()
    print(run_id, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    began = time.monotonic()
    for n in range(round(seconds * EVENTS_PER_S)):
        i = half + n // 4
        now_ns = time.time_ns()
        journal.event(step_events(run_id, 3 + 4 * i, steps[i], i + 1, at_ns=now_ns, ms=0.0)[n % 4])
        await asyncio.sleep(max(0.0, began + (n + 1) / EVENTS_PER_S - time.monotonic()))
    await journal.durable()
    print("done", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await journal.close()
    store.close()


def opened(browser: Any, url: str) -> float:
    """Milliseconds from the start of the navigation until the graph and the timeline are there."""
    with browser.new_context(viewport={"width": 1360, "height": 900}) as context:
        page = context.new_page()
        page.goto(url, wait_until="commit")
        return float(page.wait_for_function(SHOWN, polling="raf", timeout=60_000).json_value())


def live(browser: Any, url: str, store: Path, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.dashboard_browser", "--write", str(store), "--live-s", str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        run_id = line_of(writer).strip()
        with browser.new_context(viewport={"width": 1360, "height": 900}) as context:
            page = context.new_page()
            page.goto(f"{url}/runs/{run_id}")
            page.wait_for_function(SHOWN, polling="raf", timeout=60_000)
            page.wait_for_timeout(3_000)  # the page is at rest
            metrics = context.new_cdp_session(page)
            metrics.send("Performance.enable")
            start, main, began = cpu(browser), task_s(metrics), time.monotonic()
            writer.stdin.write("\n")
            writer.stdin.flush()
            assert line_of(writer).strip() == "done"
            took = time.monotonic() - began
            page.get_by_text(f"{500 + round(seconds * EVENTS_PER_S) // 4}/1000 steps").wait_for()  # it did follow
            found = {
                "seconds": took, "events": seconds * EVENTS_PER_S, "page_share": (cpu(browser) - start) / took,
                "main_thread_share": (task_s(metrics) - main) / took,
                "boxes": page.locator(".graph-box").count(),
            }  # fmt: skip
            writer.stdin.write("\n")
            writer.stdin.flush()
    return found


def cpu(browser: Any) -> float:
    """Processor seconds of all pages so far; only one is open."""
    session = browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return sum(float(one["cpuTime"]) for one in found if one["type"] == "renderer")


def task_s(session: Any) -> float:
    found = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return float(found["TaskDuration"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--live-s", type=float, default=20.0)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        asyncio.run(write(asked.write, asked.live_s))
        return
    from playwright.sync_api import sync_playwright

    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as folder:
        store = RunStore(Path(folder) / "runs.db")
        runs = {steps: asyncio.run(fill(store, steps)) for steps in SIZES}
        store.close()
        command = (
            "-m",
            "catp.cli",
            "dashboard",
            "--store",
            str(store.name),
            "--port",
            "0",
            "--engine",
            "off",
            "--json",
        )
        with running(*command) as server, sync_playwright() as playwright:
            url = json.loads(line_of(server))["url"].rstrip("/")
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            opening = {}
            for steps, run_id in runs.items():
                took = [opened(browser, f"{url}/runs/{run_id}") for _ in range(5)]
                opening[str(steps)] = {"p50_ms": quantile(took, 0.5), "p95_ms": quantile(took, 0.95)}
                print(
                    f"{steps:>5} steps open in {opening[str(steps)]['p50_ms']:.0f} ms (p95 {max(took):.0f}, bar 2000)"
                )
            alive = live(browser, url, Path(folder) / "runs.db", asked.live_s)
            browser.close()
    print(f" live, 20 events/s: page {alive['page_share']:.1%} of a core, main thread {alive['main_thread_share']:.1%}")
    result = {"benchmark": "dashboard_browser", "machine": machine() | {"load_1m": load}, "open": opening,
              "live": alive, "bars": {"open_ms": BAR_OPEN_MS, "core": BAR_CORE}}  # fmt: skip
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    if max(one["p95_ms"] for one in opening.values()) > BAR_OPEN_MS or alive["page_share"] > BAR_CORE:
        raise SystemExit("a bar is missed")


if __name__ == "__main__":
    main()
