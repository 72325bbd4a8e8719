"""Plans of any size, with the shapes that plans have: chains, branches, maps, guards, alternatives, shared inputs."""

import random
import time

from catp.planlang.digest import digest
from catp.planlang.jsonform import to_json
from catp.planlang.nodes import Step
from catp.planlang.parser import parse
from catp.runtime.events import RunEvent
from catp.runtime.ids import new_run_id
from catp.store.journal import RunJournal
from catp.store.records import NewRun
from catp.store.store import RunStore

__all__ = ["SHAPES", "kept", "plan_text", "recorded", "step_events"]

SHAPES = ("random", "branches", "fan", "chain", "loose", "ladder")


def plan_text(
    steps: int, shape: str = "random", *, tools: tuple[str, ...] = ("short", "hostile"), seed: int = 1
) -> str:
    """Return the text of a plan of `steps` steps.

    random    each step reads one to three earlier ones, some have a guard, an alternative or run once per element
    branches  equal branches of four steps from one source, joined again
    fan       one step read by all others
    chain     each step reads the one before
    loose     no step reads another, each uses another tool in turn
    ladder    each step reads the two before it: nothing to put together but bands
    """
    rng = random.Random(seed)
    lines = ["in t: text", "in ts: list[text]"]
    for i in range(steps):
        tool = tools[i % len(tools)]
        lines.append(f"s{i} = {_call(i, shape, tool, rng, tools)}")
    return "\n".join([*lines, f"out s{steps - 1}", ""])


def _call(i: int, shape: str, tool: str, rng: random.Random, tools: tuple[str, ...]) -> str:
    if i == 0 or shape == "loose":
        return f"{tool}(t)"
    if shape == "chain":
        return f"{tool}(s{i - 1})"
    if shape == "fan":
        return f"{tools[0]}(s0)"
    if shape == "branches":
        return f"{tools[i % len(tools)]}({'s0' if i % 4 == 1 else f's{i - 1}'})"
    if shape == "ladder":
        return f'{tool}(t"{{s{i - 1}}} {{s{max(0, i - 2)}}}")'
    reads = sorted({max(0, i - 1 - int(rng.expovariate(1 / 12))) for _ in range(rng.choice((1, 1, 2, 3)))})
    text = " ".join(f"{{s{j}}}" for j in reads)
    call = "short(each ts)" if i % 17 == 3 else f't"{text}"'
    call = call if i % 17 == 3 else f"{tool}({call})"
    if i % 11 == 5:
        call += f" | {tools[(i + 1) % len(tools)]}(s{reads[0]})"
    if i % 23 == 7:
        call += f' when s{reads[0]} != ""'
    return call


def kept(store: RunStore, source: str, run_id: str) -> tuple[str, RunJournal]:
    """Keep the plan of a run and its first events; return the plan's digest and the journal for what follows."""
    plan = parse(source)
    found = digest(plan)
    journal = store.begin(NewRun(run_id, found, source, to_json(plan), len(plan.steps)))
    about = {
        "plan": found,
        "task": f"{len(plan.steps)} steps",
        "policy": "search",
        "project": "default",
        "agent": "bot",
    }
    journal.event(RunEvent(1, run_id, time.time_ns(), "run.created", data=about))
    journal.event(RunEvent(2, run_id, time.time_ns(), "run.started"))
    return found, journal


def step_events(run_id: str, seq: int, step: Step, row: int, *, at_ns: int, ms: float = 80.0) -> list[RunEvent]:
    """Four events of a step that went well and one ledger row, beginning with number `seq` and row `row`."""
    tool, end_ns = str(step.attempts[0].tool), at_ns + round(ms * 1e6)
    started = {"tool": tool, "version": "1", "reserved": "0.002", "est": "0.001", "est_ms": ms * 0.8, "p95_ms": ms * 2}
    cost = {"seq": row, "kind": "call", "quantity": 1.0, "unit": "call", "source": "declared", "priced": True,
            "amount": "0.001"}  # fmt: skip
    settled = {"tool": tool, "outcome": "ok", "amount": "0.001", "ms": ms, "rows": [cost]}
    element = 0 if step.mapped else None
    return [
        RunEvent(seq, run_id, at_ns, "node.ready", step.name),
        RunEvent(seq + 1, run_id, at_ns, "node.started", step.name, 1, element, started),
        RunEvent(seq + 2, run_id, end_ns, "node.settled", step.name, 1, element, settled),
        RunEvent(seq + 3, run_id, end_ns, "node.finished", step.name, data={"tool": tool, "attempts": 1}),
    ]


async def recorded(store: RunStore, source: str, *, done: int, open_: bool = False) -> tuple[str, str, RunJournal]:
    """Keep a run whose first `done` steps are over; return its id, its plan's digest, and the journal (closed unless
    `open_`, which leaves the run running)."""
    run_id = new_run_id()
    found, journal = kept(store, source, run_id)
    began = time.time_ns()
    for i, step in enumerate(parse(source).steps[:done]):
        for event in step_events(run_id, 3 + 4 * i, step, i + 1, at_ns=began + i * 1_000_000):
            journal.event(event)
    if not open_:
        data = {"status": "complete", "spent": f"{done / 1000:.3f}", "ms": 1000.0, "outputs": {}}
        journal.event(RunEvent(3 + 4 * done, run_id, time.time_ns(), "run.finished", data=data))
        await journal.close()
    else:
        await journal.durable()
    return run_id, found, journal
