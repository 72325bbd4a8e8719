"""Ctrl-C in a real process: work stops, the ledger is complete, the interrupt comes out."""

import json
import signal
import subprocess
import sys

SCRIPT = """
import asyncio, json, sys
from catp.planlang.money import usd
from catp.runtime.clock import WallClock
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run
from catp.runtime.testing import FakeCatalogue, compiled

tools = FakeCatalogue(WallClock())
tools.add("quick")
slow = tools.add("slow", takes_s=60.0)
ledger = Ledger(usd("1"))
run = None

def say(event):
    if event.type == "node.started" and event.step == "b":
        print("started", flush=True)

async def main():
    global run
    plan = compiled("a = quick()\\nb = slow(a)\\nc = slow([a])\\nout b, c", tools)
    run = Run(plan, {}, tools, ledger=ledger, on_event=say)
    await run.wait()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    outcome = run.outcome
    print(json.dumps({
        "status": outcome.status, "steps": {k: s.status for k, s in outcome.steps.items()},
        "rows": [[row.step, row.amount] for row in ledger.rows], "reserved": ledger.reserved,
        "stopped": slow.cancelled, "last": outcome.events[-1].type,
    }))
    sys.exit(130)
"""


def test_ctrl_c_stops_work_completes_the_ledger_and_exits() -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", SCRIPT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    # a busy machine makes asyncio's debug mode remark on slow callbacks
    assert [line for line in err.splitlines() if not line.startswith("Executing <")] == []
    told = json.loads(out)
    assert told["status"] == "cancelled"
    assert told["steps"] == {"a": "ok", "b": "cancelled", "c": "cancelled"}
    assert sorted(step for step, _ in told["rows"]) == ["a", "b", "c"]
    assert all(amount is not None for _, amount in told["rows"])
    assert told["reserved"] == 0
    assert told["stopped"] == 2
    assert told["last"] == "run.finished"
