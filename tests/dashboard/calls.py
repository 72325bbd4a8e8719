"""Stores of runs whose calls are made up: every price, time and size is as the test says."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catp.planlang.money import Money, format_usd
from catp.runtime.events import RunEvent
from catp.store.records import NewRun
from catp.store.store import RunStore
from tests.store.recording import created, finished, new_run

SECOND = 10**9
DAY = 86_400 * SECOND
NOON = 1_767_268_800 * SECOND  # 2026-01-01 12:00 UTC


@dataclass
class Call:
    """One call as the journal is told of it; amounts in nano-USD."""

    tool: str = "t"
    cost: int | None = 1000
    est: int = 1000
    held: int = 2000
    ms: float = 100.0
    size: int = 1
    outcome: str = "ok"
    cached: bool = False
    version: str = "1"
    error: str | None = None
    at_ns: int = NOON


def usd(nano: int) -> str:
    return format_usd(Money(nano))


def record(store: RunStore, calls: Sequence[Call], run: NewRun | None = None, **about: Any) -> str:
    """A run of these calls, one a step."""
    run = run or new_run(plan="".join(call.tool for call in calls))
    first = min((call.at_ns for call in calls), default=NOON)
    events, rows = [created(run, first, **about)], 1
    for place, call in enumerate(calls):
        charged = not call.cached
        row = {
            "seq": rows, "kind": "call", "quantity": 1.0, "unit": "call", "source": "declared",
            "priced": call.cost is not None, **({} if call.cost is None else {"amount": usd(call.cost)}),
        }  # fmt: skip
        start = {
            "tool": call.tool, "version": call.version, "reserved": usd(call.held), "est": usd(call.est),
            "est_ms": 100.0, "p95_ms": 150.0,
        }  # fmt: skip
        end = {
            "tool": call.tool, "outcome": call.outcome, "ms": call.ms, "rows": [row] if charged else [],
            "cached": call.cached, "size": call.size, "error": call.error, "reason": call.error,
            "amount": None if call.cost is None or not charged else usd(call.cost),
        }  # fmt: skip
        rows += charged
        seq, over, step = len(events), call.at_ns + round(call.ms * 1e6), f"s{place}"
        events += [
            RunEvent(seq + 1, run.run_id, call.at_ns, "node.started", step, 1, None, start),
            RunEvent(seq + 2, run.run_id, over, "node.settled", step, 1, None, end),
        ]
    journal = store.begin(run)
    for event in [*events, finished(run.run_id, len(events) + 1, first + SECOND)]:
        journal.event(event)
    return run.run_id


def fill(path: Path, *runs: Sequence[Call], about: Sequence[dict[str, Any]] = ()) -> list[str]:
    store = RunStore(path)
    try:
        return [record(store, calls, **(about[place] if about else {})) for place, calls in enumerate(runs)]
    finally:
        store.close()
