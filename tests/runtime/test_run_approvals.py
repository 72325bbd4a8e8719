"""Approvals at run time: of steps and of whole plans, granted, denied and put off, on a virtual clock."""

from collections.abc import Mapping
from typing import Any

import pytest

from catp.planlang.digest import digest
from catp.planlang.money import Money, usd
from catp.planlang.parser import parse
from catp.runtime.approval import ApprovalRequest, Approver
from catp.runtime.clock import Clock, VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.repairs import Broken, Repaired
from catp.runtime.replay import rebuild
from catp.runtime.run import Run, RunOutcome
from catp.runtime.testing import CENT, FakeCatalogue, compiled
from catp.tools.errors import ToolFailed

PLAN = 'plan p @approve\nin w: text\na = t(w)\nb = t(a) @approve\nc = t("c")\nout b, c'


class Desk:
    """Answers by step (None is the plan) after a while; remembers what it was asked."""

    def __init__(self, clock: Clock, answers: Mapping[str | None, bool | None], takes_s: float = 0.0) -> None:
        self.clock, self.answers, self.takes_s = clock, answers, takes_s
        self.asked: list[ApprovalRequest] = []

    async def decide(self, request: ApprovalRequest) -> bool | None:
        self.asked.append(request)
        await self.clock.sleep(self.takes_s)
        return self.answers[request.step]


@pytest.fixture
def tools() -> FakeCatalogue:
    catalogue = FakeCatalogue(VirtualClock())
    catalogue.add("t", takes_s=1.0)
    return catalogue


async def run(
    tools: FakeCatalogue, plan: str, inputs: dict[str, Any], approve: Approver | None, **options: Any
) -> RunOutcome:
    options.setdefault("ledger", Ledger(usd("0.09")))
    return await Run(compiled(plan, tools), inputs, tools, clock=tools.clock, approve=approve, **options).wait()


def kinds(outcome: RunOutcome) -> list[str]:
    return [event.type for event in outcome.events]


async def test_the_plan_is_asked_about_before_its_first_call_with_its_price_and_cap(tools: FakeCatalogue) -> None:
    desk = Desk(tools.clock, {None: True, "b": True})
    outcome = await run(tools, PLAN, {"w": "x"}, desk.decide)
    assert outcome.status == "complete"
    assert kinds(outcome)[:3] == ["run.created", "run.awaiting_approval", "run.started"]
    whole, step = desk.asked
    assert (whole.step, whole.tools, whole.arguments) == (None, ("t",), {"w": "x"})
    assert (whole.estimate, whole.cap) == (3 * CENT, Money(9 * CENT))
    assert whole.p95 is not None
    assert whole.p95 >= 3 * CENT
    assert whole.digest == step.digest == digest(parse(PLAN))
    assert (step.step, step.arguments, step.estimate, step.cap) == ("b", {"x": "t(x)"}, CENT, Money(9 * CENT))


async def test_a_plan_that_is_denied_calls_nothing_and_says_so(tools: FakeCatalogue) -> None:
    for approve, why in ((Desk(tools.clock, {None: False}).decide, "denied"), (None, "nobody was given to ask")):
        outcome = await run(tools, PLAN, {"w": "x"}, approve)
        assert outcome.status == "failed"
        assert {step.status for step in outcome.steps.values()} == {"refused"}
        assert outcome.spent == 0
        assert not outcome.rows
        assert "the plan was not approved" in outcome.outputs["c"].reason
        assert why in outcome.outputs["c"].reason
        assert "run.started" not in kinds(outcome)


async def test_the_deadline_counts_from_the_approval_of_the_plan(tools: FakeCatalogue) -> None:
    plan = "plan p @approve\na = t(1)\nout a"
    outcome = await run(tools, plan, {}, Desk(tools.clock, {None: True}, takes_s=3600).decide, deadline_s=2)
    assert outcome.status == "complete"
    assert outcome.wall_ms == pytest.approx(3_601_000.0)


async def test_a_plan_put_off_waits_with_nothing_done(tools: FakeCatalogue) -> None:
    outcome = await run(tools, PLAN, {"w": "x"}, Desk(tools.clock, {None: None}).decide, deadline_s=2)
    assert outcome.status == rebuild(outcome.events).status == "waiting"
    assert outcome.spent == 0
    assert kinds(outcome) == ["run.created", "run.awaiting_approval", "run.waiting"]
    assert (outcome.outputs["c"].status, outcome.outputs["c"].reason) == ("waiting", "the plan waits for approval")


async def test_what_can_proceed_proceeds_before_the_run_waits(tools: FakeCatalogue) -> None:
    tools.add("flaky", script=[RuntimeError("1"), RuntimeError("2")])
    plan = "a = t(1) @approve\nb = t(2)\nc = t(b)\nd = t(a)\ne = flaky() @retry(2, backoff=5s)\nout c, d, e"
    outcome = await run(tools, plan, {}, Desk(tools.clock, {"a": None}).decide)
    assert outcome.status == rebuild(outcome.events).status == "waiting"
    found = {name: step.status for name, step in outcome.steps.items()}
    assert found == {"a": "waiting_approval", "b": "ok", "c": "ok", "d": "pending", "e": "ok"}
    assert outcome.outputs["d"].status == "waiting"
    assert outcome.outputs["d"].reason == "`a` waits for approval"
    assert kinds(outcome)[-1] == "run.waiting"


async def test_maps_and_guards_still_proceed_while_a_step_waits(tools: FakeCatalogue) -> None:
    plan = """
        in names: list[text]
        a = t(1) @approve
        b = t(each names)
        c = t(b) when names[0] == "x"
        d = t(3) when c == "no" else c
        e = t(each b)
        f = t(a) when c != "no"
        out f, d, e
    """
    plan = plan.replace("        ", "").strip()
    outcome = await run(tools, plan, {"names": ["x", "y"]}, Desk(tools.clock, {"a": None}).decide)
    assert outcome.status == "waiting"
    found = {name: step.status for name, step in outcome.steps.items()}
    assert found == {"a": "waiting_approval", "b": "ok", "c": "ok", "d": "skipped", "e": "ok", "f": "pending"}


async def test_a_repaired_plan_is_asked_about_anew_and_the_time_to_think_is_not_its_own(tools: FakeCatalogue) -> None:
    tools.add("bad", script=[ToolFailed("bad", "broken", error_type="ValueError")])
    before, after = (f"plan p @approve\na = t(1)\nb = {tool}(a)\nout b" for tool in ("bad", "t"))
    desk = Desk(tools.clock, {None: True}, takes_s=3600)

    async def mend(broken: Broken) -> Repaired:
        assert broken.left_s == pytest.approx(4.0 - 1.01, abs=0.1)
        return Repaired(compiled(after, tools), "another tool")

    outcome = await run(tools, before, {}, desk.decide, deadline_s=4, repair=mend)
    assert outcome.status == "complete"
    assert [request.digest for request in desk.asked] == [digest(parse(before)), digest(parse(after))]
    assert kinds(outcome).count("run.awaiting_approval") == 2
    assert kinds(outcome).count("run.started") == 2


async def test_a_repaired_plan_that_is_denied_keeps_what_is_done(tools: FakeCatalogue) -> None:
    tools.add("bad", script=[ToolFailed("bad", "broken", error_type="ValueError")])
    before, after = (f"plan p @approve\na = t(1)\nb = {tool}(a)\nout b" for tool in ("bad", "t"))

    async def approve(request: ApprovalRequest) -> bool:
        return request.digest == digest(parse(before))

    async def mend(_broken: Broken) -> Repaired:
        return Repaired(compiled(after, tools), "another tool")

    outcome = await run(tools, before, {}, approve, repair=mend)
    assert outcome.status == "failed"
    assert {name: step.status for name, step in outcome.steps.items()} == {"a": "ok", "b": "refused"}
    assert "the plan was not approved" in outcome.outputs["b"].reason


async def test_one_put_off_does_not_end_the_run_while_another_is_being_asked(tools: FakeCatalogue) -> None:
    desk = Desk(tools.clock, {"a": None, "b": True})

    async def slowly(request: ApprovalRequest) -> bool | None:
        await tools.clock.sleep(0 if request.step == "a" else 60)
        return await desk.decide(request)

    outcome = await run(tools, "a = t(1) @approve\nb = t(2) @approve\nout a, b", {}, slowly)
    assert outcome.status == "waiting"
    assert {name: step.status for name, step in outcome.steps.items()} == {"a": "waiting_approval", "b": "ok"}


async def test_a_map_is_asked_about_once_with_its_width_and_whole_price(tools: FakeCatalogue) -> None:
    desk = Desk(tools.clock, {"a": True})
    plan = "in l: list[text]\na = t(each l) @approve @budget($0.05)\nout a"
    outcome = await run(tools, plan, {"l": ["x", "y", "z"]}, desk.decide)
    assert outcome.status == "complete"
    (request,) = desk.asked
    assert (request.width, request.arguments, request.estimate, request.cap) == (3, {}, 3 * CENT, Money(5 * CENT))


async def test_a_run_cancelled_while_its_plan_is_waited_for_ends(tools: FakeCatalogue) -> None:
    desk = Desk(tools.clock, {None: True}, takes_s=60)
    job = Run(compiled(PLAN, tools), {"w": "x"}, tools, ledger=Ledger(), clock=tools.clock, approve=desk.decide)
    job.start()
    tools.clock.call_later(1.0, lambda: job.cancel("not wanted"))
    outcome = await job.wait()
    assert outcome.status == "cancelled"
    assert outcome.spent == 0
    assert outcome.wall_ms == pytest.approx(1000.0)


async def test_a_plan_without_steps_has_nothing_to_approve(tools: FakeCatalogue) -> None:
    outcome = await run(tools, "plan p @approve\nin w: text\nout w", {"w": "x"}, None)
    assert outcome.status == "complete"
