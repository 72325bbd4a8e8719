"""What tools, price models, callers and callbacks can do wrong, and what the run must make of it."""

import asyncio
import gc
import warnings
from typing import Any

import pytest

from catp.planlang.money import Money, usd
from catp.runtime.clock import VirtualClock, WallClock
from catp.runtime.events import RunEvent
from catp.runtime.ledger import Ledger
from catp.runtime.replay import rebuild
from catp.runtime.run import Run, RunOutcome, execute
from catp.runtime.slots import Slots
from catp.runtime.testing import CENT, FakeCatalogue, FixedPrice, compiled
from catp.tools.errors import ToolCrashed, ToolError, ToolFailed, ToolTimeout, WrongResult
from catp.tools.price import ComputePrice, Free, PerCall
from catp.tools.spec import ToolSpec
from catp.tools.usage import Charge, Usage


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def tools(clock: VirtualClock) -> FakeCatalogue:
    return FakeCatalogue(clock)


async def run(tools: FakeCatalogue, source: str, inputs: dict[str, Any] | None = None, **options: Any) -> RunOutcome:
    options.setdefault("ledger", Ledger())
    return await execute(compiled(source, tools), inputs or {}, tools, clock=tools.clock, **options)


def assert_sound(outcome: RunOutcome, ledger: Ledger) -> None:
    """Nothing is reserved any more, and events, rows and totals tell the same story."""
    assert ledger.reserved == 0
    told = rebuild(outcome.events)
    assert not told.open_calls
    assert told.status == outcome.status
    assert told.steps == {name: step.status for name, step in outcome.steps.items()}
    assert told.spent == outcome.spent == ledger.spent == sum(row.amount or 0 for row in ledger.rows)
    assert told.step_spent == {name: step.price for name, step in outcome.steps.items() if step.price is not None}
    assert all(step.has_value or step.reason for step in outcome.steps.values())
    assert all(output.ok or output.reason for output in outcome.outputs.values())


RAISES = [ValueError("bad value"), WrongResult("t", "not text"), ToolCrashed("t", "signal 9"), SystemExit(3),
          KeyboardInterrupt(), GeneratorExit(), RecursionError(), MemoryError(), BaseException("odd")]  # fmt: skip


@pytest.mark.parametrize("error", RAISES, ids=lambda e: type(e).__name__)
async def test_whatever_a_tool_raises_stays_in_its_branch(tools: FakeCatalogue, error: BaseException) -> None:
    tools.add("t", script=[error], takes_s=1.0)
    tools.add("good", takes_s=5.0)
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = t()\nb = good()\nc = good(b)\nout a, c", ledger=ledger)
    assert outcome.status == "degraded"
    assert outcome.steps["a"].status == "failed"
    assert outcome["c"] == "good(good())"
    assert (
        type(error).__name__ in outcome.outputs["a"].reason or str(error).split(": ")[-1] in outcome.outputs["a"].reason
    )
    assert_sound(outcome, ledger)


async def test_failed_call_is_still_paid(tools: FakeCatalogue) -> None:
    tools.add("t", lambda **_: 1 / 0)
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = t()\nout a", ledger=ledger)
    assert outcome.spent == CENT
    assert_sound(outcome, ledger)


@pytest.mark.parametrize(
    ("error", "amounts"),
    [
        (ToolFailed("t", "refused", billing="nothing"), []),
        (ToolFailed("t", "refused", usage=Usage(wall_ms=3.0), billing="nothing"), []),
        (ToolFailed("t", "HTTP 503", error_type="HTTP 503", billing="unknown"), [(CENT, "estimated")]),
        (ToolTimeout("t", "late", usage=Usage(wall_ms=3.0), billing="unknown"), [(CENT, "estimated")]),
    ],
)
async def test_what_others_bill_for_a_failure(
    tools: FakeCatalogue, error: ToolError, amounts: list[tuple[Money, str]]
) -> None:
    tools.add("t", script=[error])
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = t()\nout a", ledger=ledger)
    assert outcome.steps["a"].status == "failed"
    assert [(row.amount, row.source) for row in outcome.rows] == amounts
    assert all("whether the provider bills this call is not known" in row.note for row in outcome.rows)
    assert outcome.steps["a"].price == sum(amount for amount, _ in amounts)
    assert_sound(outcome, ledger)


async def test_a_call_that_does_not_say_what_it_used_is_an_estimate(tools: FakeCatalogue) -> None:
    tools.add("t", takes_s=2.0, script=[ToolCrashed("t", "signal 9")], price=ComputePrice(), p95=usd("0.1"))
    tools.add("u", takes_s=2.0, script=[ToolCrashed("u", "signal 9")], price=PerCall("0.01"))
    tools.add("v", takes_s=2.0, script=[ToolCrashed("v", "signal 9")], price=Free())
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = t()\nb = u()\nc = v()\nout a, b, c", ledger=ledger)
    rows = {row.kind: row for row in outcome.rows if row.tool == "t"}
    assert {row.source for row in rows.values()} == {"estimated"}
    assert rows["compute"].quantity == pytest.approx(2000.0)
    assert [(row.amount, row.source, row.priced) for row in outcome.rows if row.tool == "u"] == [
        (CENT, "declared", True)
    ]
    assert [row for row in outcome.rows if row.tool == "v"] == []
    assert_sound(outcome, ledger)


async def test_backend_that_returns_something_else(tools: FakeCatalogue) -> None:
    class Wrong:
        async def call(self, args: Any, *, timeout: float) -> Any:
            return "bare value"

        async def close(self) -> None: ...

    tools.add("t")
    spec = tools.tools["t"]
    tools.tools["t"] = ToolSpec(spec.signature, Wrong(), spec.price)
    outcome = await run(tools, "a = t()\nout a")
    assert "instead of a BackendResult" in outcome.outputs["a"].reason


async def test_hanging_tool_is_stopped_by_the_runtime_itself(tools: FakeCatalogue) -> None:
    stuck = tools.add("stuck", hang=True)
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = stuck() @timeout(2s)\nout a", ledger=ledger)
    assert "took longer than 2 s" in outcome.outputs["a"].reason
    assert outcome.wall_ms < 3000
    assert stuck.cancelled == 1
    assert_sound(outcome, ledger)


async def test_tool_that_swallows_cancellation_is_abandoned(tools: FakeCatalogue) -> None:
    deaf = tools.add("deaf", deaf=True)
    tools.add("good")
    ledger = Ledger(usd("1"))
    plan = "a = deaf() @timeout(2s)\nb = good()\nout a, b"
    outcome = await run(tools, plan, ledger=ledger, slots=Slots(4, grace_s=1.0))
    assert outcome.status == "degraded"
    assert "abandoned" in outcome.outputs["a"].reason
    assert outcome.wall_ms < 5000
    assert outcome.steps["a"].price == CENT
    assert_sound(outcome, ledger)
    deaf.deaf = False
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0)


class Raising:
    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        raise ZeroDivisionError("no rate")

    def describe(self) -> str:
        return "broken"


class Nonsense(FixedPrice):
    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        return (Charge("call", 1.0, "call", "?", Money(-5)),)


class Unknown(FixedPrice):
    def charge(self, usage: Usage) -> tuple[Charge, ...] | None:
        return None


@pytest.mark.parametrize(
    ("model", "note"),
    [(Raising(), "ZeroDivisionError: no rate"), (Nonsense(), "-5 is not an amount"), (Unknown(), "does not know")],
)
async def test_price_model_that_fails_keeps_the_value_and_the_reserved_amount(
    tools: FakeCatalogue, model: Any, note: str
) -> None:
    tools.add("t", price=model)
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = t()\nout a", ledger=ledger)
    assert outcome.status == "complete"
    row = outcome.rows[0]
    assert (row.amount, row.source, row.priced) == (CENT, "estimated", False)
    assert note in row.note
    assert_sound(outcome, ledger)


async def test_tool_dearer_than_reserved_is_flagged_and_stops_the_next(tools: FakeCatalogue) -> None:
    tools.add("t", actual=lambda _: usd("0.5"))
    tools.add("u", p95=usd("0.6"))
    ledger = Ledger(usd("1"))
    outcome = await run(tools, "a = t()\nb = u(a)\nout a, b", ledger=ledger)
    assert outcome.rows[0].overrun
    warning = next(event for event in outcome.events if event.type == "run.budget_warning")
    assert warning.data["overrun"] == "0.49"
    assert warning.data["over_cap"] is False
    assert outcome.steps["b"].status == "refused"
    assert_sound(outcome, ledger)


async def test_unpriced_tool_is_refused_under_a_budget_and_runs_without(tools: FakeCatalogue) -> None:
    tools.add("t", p95=None)
    refused = await run(tools, "a = t()\nout a", ledger=Ledger(usd("1")))
    assert refused.steps["a"].status == "refused"
    assert "the price of t is unknown" in refused.outputs["a"].reason
    assumed = await run(tools, "a = t()\nout a", ledger=Ledger(usd("1"), unpriced=usd("0.1")))
    assert assumed.status == "complete"
    assert assumed.spent == CENT
    assert (await run(tools, "a = t()\nout a")).status == "complete"


async def test_unavailable_tool_fails_without_being_called_and_falls_back(tools: FakeCatalogue) -> None:
    gone = tools.add("gone", unavailable="needs the Debian package x")
    tools.add("here")
    outcome = await run(tools, "a = gone() | here()\nb = gone() @retry(3)\nout a, b?")
    assert outcome["a"] == "here()"
    assert "needs the Debian package x" in outcome.outputs["b"].reason
    assert not gone.calls


async def test_callback_that_raises_does_not_stop_the_run(tools: FakeCatalogue) -> None:
    tools.add("t")

    def on_event(event: RunEvent) -> None:
        raise OSError("disk full")

    outcome = await run(tools, "a = t()\nout a", on_event=on_event)
    assert outcome.status == "complete"
    assert str(outcome.observer_error) == "disk full"


async def test_approver_that_raises_refuses_its_step(tools: FakeCatalogue) -> None:
    async def approve(request: Any) -> bool:
        raise ConnectionError("nobody home")

    tools.add("t")
    outcome = await run(tools, "a = t() @approve\nout a", approve=approve)
    assert outcome.steps["a"].status == "refused"
    assert "nobody home" in outcome.outputs["a"].reason


@pytest.mark.parametrize(
    ("inputs", "message"),
    [({}, r"input 'page' \(text\) is missing"), ({"page": "x", "pag": 1}, "no input 'pag'; did you mean 'page'")],
)
async def test_wrong_inputs_are_refused_before_anything_is_spent(
    tools: FakeCatalogue, inputs: dict[str, Any], message: str
) -> None:
    tools.add("t")
    with pytest.raises(ValueError, match=message):
        await run(tools, "in page: text\na = t(page)\nout a", inputs)


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
async def test_deadline_that_is_not_positive_is_an_error(tools: FakeCatalogue, deadline: float) -> None:
    tools.add("t")
    with pytest.raises(ValueError, match="deadline must be more than zero"):
        await run(tools, "a = t()\nout a", deadline_s=deadline)


async def test_tool_missing_from_the_catalogue_is_an_error_up_front(tools: FakeCatalogue) -> None:
    tools.add("t")
    plan = compiled("a = t()\nout a", tools)
    with pytest.raises(ValueError, match="step 'a' uses tool 't', which is not in the catalogue"):
        await execute(plan, {}, FakeCatalogue(tools.clock), ledger=Ledger())


PLAN = """in xs: list[int]
limit calls 60
a = slow(1)
b = slow(each xs) @quorum(0.5) @retry(1, backoff=200ms)
c = slow(each b)
d = flaky(a) | slow(9) @hedge(300ms)
e = flaky(2) @retry(2, backoff=100ms)
f = slow([c, d?, e?]) when a == "slow(1)" else a
g = slow(f) @after(e) @budget($0.02)
out g, c, e?
"""


def busy_world(clock: VirtualClock) -> FakeCatalogue:
    tools = FakeCatalogue(clock)
    tools.add("slow", takes_s=lambda args: 0.1 + len(str(args["x"])) % 7 / 10)
    tools.add("flaky", script=[RuntimeError("1"), RuntimeError("2")], takes_s=0.4)
    return tools


async def cancelled_at(seq: int, how: str) -> Run:
    clock = VirtualClock()
    tools = busy_world(clock)
    ledger = Ledger(usd("0.6"))

    def on_event(event: RunEvent) -> None:
        if event.seq == seq:
            if how == "cancel":
                handle.cancel("enough")
            else:
                waiter.cancel()

    slots = Slots(3)
    handle = Run(
        compiled(PLAN, tools), {"xs": [1, 22, 333]}, tools, ledger=ledger, clock=clock, on_event=on_event, slots=slots
    )
    waiter = asyncio.ensure_future(handle.wait())
    await asyncio.wait([waiter])
    if seq and how == "task" and not waiter.cancelled():
        assert handle.outcome is not None
        assert seq >= len(handle.events) - 1, "the waiting task was cancelled and did not say so"
    if not waiter.cancelled():
        waiter.result()
    assert handle.outcome is not None
    assert all(backend.running == 0 for backend in tools.backends.values())
    assert slots.running == 0
    assert_sound(handle.outcome, ledger)
    return handle


@pytest.mark.parametrize("how", ["cancel", "task"])
async def test_cancellation_at_every_event_leaves_nothing_behind(how: str) -> None:
    whole = await cancelled_at(0, how)
    assert whole.outcome is not None
    assert whole.outcome.status == "complete"
    for seq in range(1, len(whole.events) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            handle = await cancelled_at(seq, how)
        assert handle.outcome is not None
        assert handle.outcome.status in ("cancelled", "complete")
        if seq < len(whole.events) - 2:
            assert handle.outcome.status == "cancelled", seq
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_second_interrupt_does_not_wait_for_a_deaf_tool() -> None:
    clock = WallClock()
    tools = FakeCatalogue(clock)
    deaf = tools.add("deaf", deaf=True)
    ledger = Ledger(usd("1"))
    handle = Run(compiled("a = deaf()\nout a", tools), {}, tools, ledger=ledger, slots=Slots(2, grace_s=0.2))
    waiter = asyncio.ensure_future(handle.wait())
    await asyncio.sleep(0.02)
    waiter.cancel()
    await asyncio.sleep(0.02)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert handle.outcome is not None
    assert handle.outcome.status == "cancelled"
    assert_sound(handle.outcome, ledger)
    deaf.deaf = False
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.05)


async def test_deadline_while_everything_is_busy() -> None:
    for tenth in range(1, 25, 2):
        clock = VirtualClock()
        tools = busy_world(clock)
        ledger = Ledger(usd("0.6"))
        plan = compiled(PLAN, tools)
        outcome = await execute(plan, {"xs": [1, 22, 333]}, tools, ledger=ledger, clock=clock, deadline_s=tenth / 10)
        assert outcome.wall_ms <= tenth * 100 + 1
        assert_sound(outcome, ledger)


async def test_tool_timeout_error_counts_as_timeout(tools: FakeCatalogue) -> None:
    tools.add("t", script=[ToolTimeout("t", "took too long")])
    outcome = await run(tools, 'a = t() @retry(1, on="timeout")\nout a')
    assert outcome.status == "complete"
