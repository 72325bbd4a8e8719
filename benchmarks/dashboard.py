"""The dashboard's server: pages over a large store, many listeners on one live run, its size.

    .venv/bin/python -m benchmarks.dashboard [--runs 100000] [--clients 100] [--steps 80]

1. 100,000 runs of eight calls (`dashboard_fill.py`), `catp dashboard` over them in a process of its own. Time from its
   start to its first answer; each list 30 times over a real connection: p50 and p95. Bar: first page 300 ms.
2. A run of 80 steps one after another, 0.2 s each (some 20 events a second), by an agent in a process of its own, and a
   server in another; 100 clients read `/events?topics=run:ID` over sockets of their own, in this process. From the
   event's own time, which is before it is written, to when a client has it: p50, p99. Bar: p99 150 ms. Reads of the
   store per batch of events: one for all clients.
3. Resident memory of the servers after that (bar 120 MiB), and bytes of JavaScript as they are sent (bar 200 kB).

Everything shares two cores, the clients too; the load is reported. Browsers are in `dashboard_browser.py`. Writes
benchmarks/results/dashboard.json.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

import catp.dashboard
from benchmarks.dashboard_fill import fill
from catp.agent import Agent
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.tools import PerCall, tool
from catp.tools.bench.report import machine

RESULTS = Path(__file__).parent / "results" / "dashboard.json"
BAR_PAGE_MS, BAR_EVENT_MS, BAR_RSS_MIB, BAR_JS_KB = 300.0, 150.0, 120.0, 200.0
LISTS = {
    "first page": "/runs",
    "dearest": "/runs?sort=-cost",
    "one tool, failed": "/runs?status=failed&tool=tool_07",
    "words of the task": "/runs?q=page%2077",
    "facets": "/runs/facets",
    "facets, one policy": "/runs/facets?policy=policy%202",
    "overview, a day": "/overview?window=24h",
    "overview, 30 days": "/overview?window=30d",
    "one run": f"/runs/01M{77:023d}",
    "tools": "/tools",
}


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def memory(pid: int) -> dict[str, float]:
    """Resident now and at most, in MiB."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {"rss_mib": int(told["VmRSS"].split()[0]) / 1024, "peak_mib": int(told["VmHWM"].split()[0]) / 1024}


@contextmanager
def running(*command: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("a process of the benchmark did not start")
    return line


# --- 1. lists -------------------------------------------------------------------------------------------------------


def lists(store: Path, runs: int) -> dict[str, Any]:
    print(f"filling a store with {runs:,} runs", file=sys.stderr)
    fill(store, runs)
    began = time.perf_counter()
    command = ("-m", "catp.cli", "dashboard", "--store", str(store), "--port", "0", "--engine", "off", "--json")
    with running(*command) as process:
        url = json.loads(line_of(process))["url"].rstrip("/")
        found: dict[str, Any] = {"runs": runs}
        with httpx.Client(base_url=f"{url}/api/v1", timeout=120, trust_env=False) as client:
            client.get("/meta").raise_for_status()
            found["first_answer_s"] = time.perf_counter() - began
            found["fresh"] = memory(process.pid)
            found["lists"] = {}
            for name, path in LISTS.items():
                found["lists"][name] = {**_timed(client, path), **memory(process.pid)}
    return found


def _timed(client: httpx.Client, path: str) -> dict[str, float]:
    took = []
    for _ in range(30):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        took.append((time.perf_counter() - began) * 1e3)
    return {"p50_ms": quantile(took, 0.5), "p95_ms": quantile(took, 0.95)}


# --- 2. listeners ---------------------------------------------------------------------------------------------------


@tool(price=PerCall("0.001"))
async def work(text: str) -> str:
    """Take a fifth of a second."""
    await asyncio.sleep(0.2)
    return text


async def write(store: str, steps: int) -> None:
    """The process that runs: says which run it is, then goes on when it is told that all listen."""
    names = [f"s{n}" for n in range(steps)]
    lines = [f"{name} = work({before})" for name, before in zip(names, ["t", *names], strict=False)]
    plan = parse("\n".join(["in t: text", *lines, f"out {names[-1]}"]))

    def told(event: RunEvent) -> None:
        if event.type == "run.started":
            print(event.run_id, flush=True)

    async with Agent([work], planner="search", store=store) as agent:
        result = await agent.run(plan, {"t": "x"}, on_event=told)
    print(len(result.trace), flush=True)


SERVE = """
import asyncio, contextlib, socket, sys, uvicorn
from catp.dashboard.app import create_app
app = create_app(sys.argv[1])
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
with contextlib.suppress(KeyboardInterrupt):  # passed on by uvicorn once it has stopped
    asyncio.run(uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).serve([sock]))
print(app.state.feed.reads, flush=True)
"""
"""The process that serves: says where, and at its end how often it read the store."""


async def listen(port: int, run: str, waits: list[float]) -> int:
    """One client: note how old each event is when it comes; return how many came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = f"GET /api/v1/events?topics=run:{run}&after=0 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(asked.encode())
    count, over = 0, False
    while not over:
        line = await reader.readline()
        if not line.startswith(b'data: {"run"'):
            continue
        now = time.time()
        data = json.loads(line[6:])
        count += 1
        over = data["data"].get("status") is not None and "outputs" in data["data"]
        if data["node"] is not None and int(data["node"][1:]) >= 10:  # by then everybody listens
            waits.append((now - datetime.fromisoformat(data["ts"]).timestamp()) * 1e3)
    writer.close()
    return count


async def listeners(store: Path, clients: int, steps: int) -> dict[str, Any]:
    waits: list[float] = []
    with running("-c", SERVE, str(store)) as server:
        port = int(line_of(server))
        with running("-m", "benchmarks.dashboard", "--write", str(store), "--steps", str(steps)) as writer:
            run = line_of(writer).strip()
            counts = await asyncio.gather(*(listen(port, run, waits) for _ in range(clients)))
            events = int(line_of(writer))
        used = memory(server.pid)
        server.send_signal(signal.SIGINT)
        reads = int(line_of(server))
    assert set(counts) == {events}, f"clients got {set(counts)} events of {events}"
    return {
        "clients": clients, "events": events, "p50_ms": quantile(waits, 0.5), "p99_ms": quantile(waits, 0.99),
        "worst_ms": max(waits), "reads": reads, "reads_per_event": reads / events, **used,
    }  # fmt: skip


# --- 3. size --------------------------------------------------------------------------------------------------------


def javascript() -> dict[str, int]:
    """Bytes of every script that pages load."""
    static = Path(catp.dashboard.__file__).parent / "static"
    built_from = static / "vendor" / "entry.js"  # no page asks for it
    found = (path for path in sorted(static.rglob("*.js")) if path != built_from)
    return {str(path.relative_to(static)): path.stat().st_size for path in found}


def show(found: dict[str, Any]) -> None:
    first, live, scripts = found["lists"], found["live"], found["javascript"]
    print(f"{first['runs']:,} runs{'':<20}{'p50 ms':>10}{'p95 ms':>10}{'then MiB':>10}")
    for name, row in first["lists"].items():
        print(f"  {name:<28}{row['p50_ms']:>10.1f}{row['p95_ms']:>10.1f}{row['rss_mib']:>10.1f}")
    rows = [
        ("first page, p95 ms", first["lists"]["first page"]["p95_ms"], BAR_PAGE_MS),
        (f"event to {live['clients']} clients, p99 ms", live["p99_ms"], BAR_EVENT_MS),
        ("resident MiB after the run list", first["lists"]["facets, one policy"]["rss_mib"], BAR_RSS_MIB),
        ("resident MiB after every page", first["lists"]["tools"]["rss_mib"], BAR_RSS_MIB),
        ("resident MiB after the listeners", live["rss_mib"], BAR_RSS_MIB),
        ("JavaScript kB", sum(scripts.values()) / 1e3, BAR_JS_KB),
    ]
    print(f"\n{'':<36}{'found':>10}{'bar':>8}")
    for name, value, bar in rows:
        print(f"{name:<36}{value:>10.1f}{bar:>8.0f}  {'' if value <= bar else 'MISSED'}")
    print(f"\nevent to client: p50 {live['p50_ms']:.1f} ms, worst {live['worst_ms']:.1f} ms, {live['events']} events, "
          f"{live['reads']} reads of the store; first answer after {first['first_answer_s']:.2f} s")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--write", metavar="STORE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        asyncio.run(write(options.write, options.steps))
        return
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        large, live = Path(folder) / "large.db", Path(folder) / "live.db"
        found = {
            "machine": machine(), "load_before": load, "lists": lists(large, options.runs),
            "live": asyncio.run(listeners(live, options.clients, options.steps)), "javascript": javascript(),
            "load_after": os.getloadavg()[0],
        }  # fmt: skip
    show(found)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
