"""Runs as their events: what a journal is given, made by hand or by a real `Run` on a virtual clock."""

import hashlib
from collections.abc import Sequence
from typing import Any

from catp.planlang.compile import compile_plan
from catp.planlang.money import Money, format_usd
from catp.planlang.parser import parse
from catp.runtime.clock import Clock
from catp.runtime.events import RunEvent
from catp.runtime.hooks import Journal
from catp.runtime.ids import new_run_id
from catp.runtime.ledger import Ledger
from catp.runtime.outcome import RunOutcome
from catp.runtime.run import Run
from catp.store.records import NewRun
from catp.tools import Catalogue, PerCall, tool

NANO = 1_000_000_000


def new_run(run_id: str | None = None, plan: str = "out x") -> NewRun:
    return NewRun(run_id or new_run_id(), hashlib.sha256(plan.encode()).hexdigest(), plan, {"out": ["x"]}, 1)


def created(run: NewRun, at_ns: int = NANO, **about: Any) -> RunEvent:
    data = {"plan": run.plan_hash, "task": "a task", "policy": "search", "project": "default", "agent": "", **about}
    return RunEvent(1, run.run_id, at_ns, "run.created", data=data)


def call_events(
    run_id: str, seq: int, amounts: Sequence[int | None], *, at_ns: int = 2 * NANO, step: str = "a", first_row: int = 1
) -> list[RunEvent]:
    """A step of one call with a ledger row per amount: ready, started, settled, finished."""
    rows = [
        {
            "seq": first_row + place, "kind": "call", "quantity": 1.0, "unit": "call", "source": "declared",
            "priced": amount is not None, **({} if amount is None else {"amount": format_usd(Money(amount))}),
        }
        for place, amount in enumerate(amounts)
    ]  # fmt: skip
    known = [amount for amount in amounts if amount is not None]
    total = format_usd(Money(sum(known))) if known else None
    settled = {"tool": "t", "outcome": "ok", "amount": total, "ms": 500.0, "rows": rows}
    started = {"tool": "t", "version": "2", "reserved": "0.01", "est": "0.005", "est_ms": 400.0, "p95_ms": 900.0}
    return [
        RunEvent(seq, run_id, at_ns, "node.ready", step),
        RunEvent(seq + 1, run_id, at_ns, "node.started", step, 1, None, started),
        RunEvent(seq + 2, run_id, at_ns + NANO // 2, "node.settled", step, 1, None, settled),
        RunEvent(seq + 3, run_id, at_ns + NANO // 2, "node.finished", step, data={"tool": "t", "attempts": 1}),
    ]


def finished(run_id: str, seq: int, at_ns: int = 9 * NANO, status: str = "complete") -> RunEvent:
    data = {"status": status, "spent": "0.00", "ms": 8000.0, "outputs": {"x": {"status": "ok"}}}
    return RunEvent(seq, run_id, at_ns, "run.finished", data=data)


# --- a real run -----------------------------------------------------------------------------------------------------


@tool(price=PerCall("0.001"))
async def up(text: str) -> str:
    """Upper case."""
    return text.upper()


@tool(price=PerCall("0.002"))
async def words(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


@tool(price=PerCall("0.004"))
async def fails(text: str) -> str:
    """Never works."""
    raise ValueError(f"no {text} today")


@tool
async def unpriced(text: str) -> str:
    """Nobody knows what it costs."""
    return text


sent: list[str] = []


@tool(price=PerCall("0.001"), effects="write")
async def send(text: str) -> str:
    """Act on the world."""
    sent.append(text)
    return "sent"


CATALOGUE = Catalogue([up, words, fails, unpriced, send])
PLAN = """in t: text
a = words(t)
b = up(each a)
c = fails(t) | up(t)
d = unpriced(t)
e = fails(t)
f = up(e)
out a, b, c, d, f?
"""


async def drive(journal: Journal, run_id: str, *, plan: str = PLAN, clock: Clock | None = None) -> RunOutcome:
    """Run a plan with retries, a map, a fallback, an unpriced and a poisoned step, all kept by the journal."""
    compiled = compile_plan(parse(plan), CATALOGUE.view(), estimator=CATALOGUE.estimator(), facts={})
    run = Run(
        compiled, {"t": "three short words"}, CATALOGUE, ledger=Ledger(), run_id=run_id, journal=journal, clock=clock,
        about={"task": "words", "policy": "given", "project": "p", "agent": "bot", "alpha": 0.5},
    )  # fmt: skip
    return await run.wait()


def plan_of(run_id: str, plan: str = PLAN) -> NewRun:
    compiled = compile_plan(parse(plan), CATALOGUE.view(), estimator=CATALOGUE.estimator(), facts={})
    return NewRun(run_id, compiled.digest, plan, {}, len(compiled.plan.steps))
