"""The server's own cost: what idle connections take, and what HTTP adds to a request, with the shipped policy.

    python benchmarks/serving_http.py [--idle 10000] [--requests 50]

Starts `catp serve` in a process of its own, opens the idle connections, half of them with half a request sent, and asks
for completions before and while they are open. Prints a table; writes benchmarks/results/serving_http.json.
"""

import argparse
import json
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from catp.tools.bench.report import machine

RESULTS = Path(__file__).parent / "results" / "serving_http.json"
ASK = {"prompt": "hello", "max_tokens": 4, "temperature": 0, "ignore_eos": True}


def start() -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    command = [sys.executable, "-m", "catp.cli", "serve", "--port", "0", "--no-announce", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    told = b""
    while not told.endswith(b"}\n"):
        line = process.stdout.readline()
        if not line:
            raise SystemExit("catp serve did not start")
        told += line
    return process, json.loads(told)


def resident(pid: int) -> float:
    """MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measure(client: httpx.Client, pid: int, count: int) -> dict[str, float]:
    def times(ask: Any) -> float:
        took = []
        for _ in range(count):
            began = time.perf_counter()
            ask().raise_for_status()
            took.append(time.perf_counter() - began)
        return 1e3 * statistics.median(took)

    live = times(lambda: client.get("/live"))
    whole = times(lambda: client.post("/v1/completions", json=ASK))
    return {"live_ms": live, "completion_ms": whole, "resident_mib": resident(pid)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=50)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < options.idle + 100:
        raise SystemExit(f"ulimit -Hn is {hard}; {options.idle} connections need more")
    process, told = start()
    place = urlsplit(told["url"])
    idle: list[socket.socket] = []
    try:
        with httpx.Client(base_url=told["url"], timeout=60, trust_env=False) as client:
            before = measure(client, process.pid, options.requests)
            began = time.perf_counter()
            for number in range(options.idle):
                one = socket.create_connection((place.hostname, place.port), timeout=30)
                if number % 2:
                    one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
                idle.append(one)
            opened = time.perf_counter() - began
            during = measure(client, process.pid, options.requests)
    finally:
        for one in idle:
            one.close()
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    found = {"idle": options.idle, "open_s": opened, "before": before, "during": during, "exit_code": code}
    print(f"{'':>24}{'/live ms':>12}{'completion ms':>16}{'resident MiB':>14}")
    for name, row in (("no idle connections", before), (f"{options.idle} idle", during)):
        print(f"{name:>24}{row['live_ms']:>12.2f}{row['completion_ms']:>16.2f}{row['resident_mib']:>14.1f}")
    print(f"opened in {opened:.1f} s; exit code {code}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
