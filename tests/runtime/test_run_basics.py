"""The semantics of the plan language at run time, one construct at a time, on a virtual clock."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from catp.planlang.money import Money, usd
from catp.planlang.types import Type
from catp.runtime.clock import VirtualClock
from catp.runtime.ledger import Ledger
from catp.runtime.run import RunOutcome, execute
from catp.runtime.slots import Slots
from catp.runtime.testing import CENT, FakeCatalogue, compiled
from catp.tools.errors import ToolFailed
from catp.tools.spec import BackendResult, ToolLimits

JSON = Type("json")


class World:
    """A virtual clock, a catalogue on it, and a short way to run a plan."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.tools = FakeCatalogue(self.clock)

    async def run(self, source: str, inputs: dict[str, Any] | None = None, **options: Any) -> RunOutcome:
        options.setdefault("ledger", Ledger())
        return await execute(compiled(source, self.tools), inputs or {}, self.tools, clock=self.clock, **options)


@pytest.fixture
def world() -> World:
    return World()


def statuses(outcome: RunOutcome) -> dict[str, str]:
    return {name: step.status for name, step in outcome.steps.items()}


async def test_chain_passes_values_and_pays_each_call(world: World) -> None:
    world.tools.add("a")
    world.tools.add("b")
    outcome = await world.run('x = a("in")\ny = b(x)\nout y')
    assert outcome.status == "complete"
    assert outcome["y"] == "b(a(in))"
    assert outcome.spent == 2 * CENT
    assert [row.step for row in outcome.rows] == ["x", "y"]


async def test_unbalanced_diamond_has_no_barrier(world: World) -> None:
    for name, takes in (("a1", 0.1), ("a2", 0.5), ("b1", 0.5), ("b2", 0.1)):
        world.tools.add(name, takes_s=takes)
    world.tools.add("join", params=("x", "y"))
    plan = "p = a1()\nq = a2(p)\nr = b1()\ns = b2(r)\nt = join(q, s)\nout t"
    outcome = await world.run(plan)
    assert outcome.wall_ms == pytest.approx(600.0)
    assert outcome["t"] == "join(a2(a1()),b2(b1()))"


async def test_failure_poisons_only_dependents(world: World) -> None:
    world.tools.add("good", takes_s=0.3)
    world.tools.add("bad", script=[ToolFailed("bad", "broken", error_type="ValueError")], takes_s=0.05)
    plan = "a = good()\na2 = good(a)\nb = bad()\nc = good(b)\nout a2, c, b"
    outcome = await world.run(plan)
    assert outcome.status == "degraded"
    assert statuses(outcome) == {"a": "ok", "a2": "ok", "b": "failed", "c": "poisoned"}
    assert "broken" in outcome.outputs["b"].reason
    assert "`b` is missing: failed" in outcome.outputs["c"].reason
    with pytest.raises(KeyError, match="broken"):
        outcome["b"]


async def test_no_required_output_means_failed(world: World) -> None:
    world.tools.add("bad", script=[RuntimeError("x")])
    world.tools.add("good")
    assert (await world.run("a = bad()\nb = good()\nout a, b?")).status == "failed"


async def test_optional_outputs_never_fail_a_run(world: World) -> None:
    world.tools.add("bad", script=[RuntimeError("x")])
    world.tools.add("good")
    outcome = await world.run("a = bad()\nb = good()\nout a?, b")
    assert outcome.status == "degraded"
    assert outcome.outputs["a"].optional
    world.tools.backends["bad"].script = [RuntimeError("x")]
    assert (await world.run("a = bad()\nout a?")).status == "degraded"


async def test_fallback_on_error_refusal_and_timeout(world: World) -> None:
    world.tools.add("bad", script=[RuntimeError("x")])
    world.tools.add("slow", takes_s=5.0)
    world.tools.add("dear", p95=usd("9"))
    world.tools.add("good")
    plan = "a = bad() | good()\nb = slow() | good() @timeout(1s)\nc = dear() | good()\nout a, b, c"
    outcome = await world.run(plan, ledger=Ledger(usd("1")))
    assert outcome.status == "complete"
    assert outcome.wall_ms == pytest.approx(1000.0)
    assert [outcome.steps[name].tool for name in "abc"] == ["good"] * 3
    assert not world.tools.backends["dear"].calls


async def test_cascade_stops_at_the_first_accepted_result(world: World) -> None:
    for name, score in (("small", 0.5), ("medium", 0.75), ("large", 0.99)):
        world.tools.add(name, lambda score=score, **_: {"confidence": score})
    plan = "a = small() if .confidence >= 0.85 | medium() if .confidence >= 0.7 | large()\nout c = a.confidence"
    outcome = await world.run(plan)
    assert outcome["c"] == 0.75
    assert outcome.spent == 2 * CENT
    assert not world.tools.backends["large"].calls


async def test_cascade_without_accepted_result_fails_with_the_measured_value(world: World) -> None:
    world.tools.add("small", lambda **_: {"confidence": 0.5})
    outcome = await world.run("a = small() if .confidence >= 0.85\nout a")
    assert outcome.status == "failed"
    assert ".confidence is 0.5, wanted >= 0.85" in outcome.outputs["a"].reason


async def test_retry_backs_off_exponentially_with_seeded_jitter(world: World) -> None:
    flaky = world.tools.add("flaky", script=[RuntimeError("1"), RuntimeError("2")])
    outcome = await world.run("a = flaky() @retry(2, backoff=1s)\nout a", seed=7)
    assert outcome.status == "complete"
    first, second = flaky.started[1] - flaky.started[0], flaky.started[2] - flaky.started[1]
    assert 0.75 <= first <= 1.25
    assert 1.5 <= second <= 2.5
    assert outcome.spent == 3 * CENT
    flaky.script = [RuntimeError("1"), RuntimeError("2")]
    again = await world.run("a = flaky() @retry(2, backoff=1s)\nout a", seed=7)
    assert again.wall_ms == outcome.wall_ms


@pytest.mark.parametrize(("note", "least", "most"), [("@retry(1)", 0.075, 0.125), ("@retry(1, backoff=0s)", 0.0, 0.0)])
async def test_retry_waits_by_default_and_not_at_all_if_told_so(
    world: World, note: str, least: float, most: float
) -> None:
    flaky = world.tools.add("flaky", script=[RuntimeError("1")])
    outcome = await world.run(f"a = flaky() {note}\nout a")
    assert outcome.status == "complete"
    assert least <= flaky.started[1] - flaky.started[0] <= most


async def test_retry_on_names_the_errors_to_repeat(world: World) -> None:
    tool = world.tools.add("t", script=[ToolFailed("t", "no", error_type="KeyError")] * 2)
    await world.run('a = t() @retry(3, on="ValueError")\nout a')
    assert len(tool.calls) == 1
    await world.run('a = t() @retry(3, on=["KeyError"])\nout a')
    assert len(tool.calls) == 3


async def test_write_step_without_key_is_never_repeated(world: World) -> None:
    post = world.tools.add("post", script=[RuntimeError("lost connection")] * 2, effects="write")
    outcome = await world.run("a = post() @retry(3)\nout a")
    assert outcome.status == "failed"
    assert len(post.calls) == 1
    outcome = await world.run('in who: text\na = post() @retry(3) @key(t"mail-{who}")\nout a', {"who": "eve"})
    assert outcome.status == "complete"
    keys = {event.data["key"] for event in outcome.events if event.type == "node.started"}
    assert keys == {"mail-eve"}


async def test_when_false_skips_and_else_gives_a_value(world: World) -> None:
    world.tools.add("lang", lambda **_: {"code": "en"})
    world.tools.add("translate", returns=Type("text"))
    plan = (
        'in t: text\nl = lang(t)\na = translate(t) when l.code != "en" else t\nb = translate(t) when l.code != "en"\n'
    )
    outcome = await world.run(plan + "c = translate(a)\nd = translate([b?, t])\nout a, c, d, b?", {"t": "hi"})
    assert outcome.status == "complete"
    assert outcome["a"] == "hi"
    assert outcome["c"] == "translate(hi)"
    assert outcome["d"] == "translate(['hi'])"
    assert statuses(outcome)["a"] == statuses(outcome)["b"] == "skipped"
    assert outcome.outputs["b"].status == "skipped"


async def test_guard_decides_before_the_arguments_are_waited_for(world: World) -> None:
    world.tools.add("fast", lambda **_: False)
    world.tools.add("slow", takes_s=9.0)
    world.tools.add("use")
    plan = "f = fast()\ns = slow()\na = use(s) when f == true else f\nb = use(a)\nout b, s"
    outcome = await world.run(plan)
    assert (outcome.steps["b"].ended_ns or 0) - outcome.started_ns == 0


async def test_map_runs_elements_at_once_and_keeps_their_order(world: World) -> None:
    world.tools.add("sq", lambda x: x * x, takes_s=lambda args: 1.0 / args["x"])
    outcome = await world.run("in xs: list[int]\na = sq(each xs)\nout a", {"xs": [1, 2, 4]})
    assert outcome["a"] == [1, 4, 16]
    assert outcome.wall_ms == pytest.approx(1000.0)


async def test_empty_map_is_an_empty_list(world: World) -> None:
    world.tools.add("sq", lambda x: x * x)
    outcome = await world.run("in xs: list[int]\na = sq(each xs)\nb = sq(each a)\nout b", {"xs": []})
    assert outcome.status == "complete"
    assert outcome["b"] == []


async def test_fused_maps_flow_element_by_element(world: World) -> None:
    world.tools.add("first", takes_s=lambda args: float(args["x"]))
    second = world.tools.add("second", takes_s=1.0)
    outcome = await world.run("in xs: list[int]\na = first(each xs)\nb = second(each a)\nout b", {"xs": [1, 5]})
    assert outcome.wall_ms == pytest.approx(6000.0)
    assert [round(t - outcome.started_ns / 1e9) for t in second.started] == [1, 5]
    assert outcome["b"] == ["second(first(1))", "second(first(5))"]


async def test_quorum_tolerates_lost_elements_through_fused_maps(world: World) -> None:
    def odd(x: int) -> int:
        if x == 3:
            raise ValueError("three")
        return x

    world.tools.add("odd", odd)
    world.tools.add("ten", lambda x: x * 10)
    plan = "in xs: list[int]\na = odd(each xs) @quorum(0.8)\nb = ten(each a)\nout a, b"
    outcome = await world.run(plan, {"xs": [1, 2, 3, 4, 5]})
    assert outcome.status == "complete"
    assert outcome["a"] == [1, 2, 4, 5]
    assert outcome["b"] == [10, 20, 40, 50]
    assert "three" in outcome.steps["a"].reason
    strict = await world.run(plan.replace("0.8", "0.9"), {"xs": [1, 2, 3, 4, 5]})
    assert strict.status == "failed"
    assert statuses(strict) == {"a": "failed", "b": "poisoned"}


async def test_fields_of_a_map_flow_element_by_element(world: World) -> None:
    world.tools.add("read", lambda x: {"t": {"s": x * 10}}, takes_s=lambda args: float(args["x"]), returns=JSON)
    second = world.tools.add("second", takes_s=1.0)
    plan = (
        "in xs: list[int]\na = read(each xs)\nb = second(each a.t.s)\nout b, s = a.t.s, one = a.t[1].s, two = a[1].t.s"
    )
    outcome = await world.run(plan, {"xs": [1, 5]})
    assert outcome.wall_ms == pytest.approx(6000.0)
    assert [round(t - outcome.started_ns / 1e9) for t in second.started] == [1, 5]
    assert outcome["b"] == ["second(10)", "second(50)"]
    assert (outcome["s"], outcome["one"], outcome["two"]) == ([10, 50], 50, 50)


async def test_fields_of_lists_in_arguments_lists_and_objects(world: World) -> None:
    @dataclass(frozen=True)
    class Reading:
        text: str | None
        parts: list[dict[str, int]]

    world.tools.add("same", lambda x: x)
    readings = [Reading("a", [{"n": 1}, {"n": 2}]), None, Reading(None, [])]
    plan = (
        "in rs: list[any]\na = same(rs.text)\nb = same([rs.parts.n, rs[0].text])\nc = same(each rs.text)\nout a, b, c"
    )
    outcome = await world.run(plan, {"rs": readings})
    assert outcome["a"] == ["a", None, None]
    assert outcome["b"] == [[[1, 2], None, []], "a"]
    assert outcome["c"] == ["a", None, None]


@pytest.mark.parametrize(
    "second", ["ten(each a.n)", "ten(each a.n, each a)", "ten(each a.n, a.n)", "ten(each a.n, a[0].n)"]
)
async def test_elements_lost_by_a_map_are_lost_in_its_fields_too(world: World, second: str) -> None:
    def odd(x: int) -> dict[str, int]:
        if x == 3:
            raise ValueError("three")
        return {"n": x}

    world.tools.add("odd", odd, takes_s=1.0, returns=JSON)
    world.tools.add("ten", lambda x, y=None: {"n": x * 10}, params=("x", "y"), returns=JSON)
    plan = f"in xs: list[int]\na = odd(each xs) @quorum(0.8)\nb = {second}\nout a = a.n, b = b.n, third = b[2].n"
    outcome = await world.run(plan, {"xs": [1, 2, 3, 4, 5]})
    assert outcome.status == "complete"
    assert outcome["a"] == [1, 2, 4, 5]
    assert outcome["b"] == [10, 20, 40, 50]
    assert outcome["third"] == 40


async def test_an_element_without_the_field_is_lost_alone(world: World) -> None:
    world.tools.add("read", lambda x: {"n": x} if x != 2 else {}, returns=JSON)
    world.tools.add("ten", lambda x: x * 10)
    plan = "in xs: list[int]\na = read(each xs)\nb = ten(each a.n) @quorum(0.5)\nc = ten(a.n)\nout b, c?"
    outcome = await world.run(plan, {"xs": [1, 2, 3]})
    assert outcome["b"] == [10, 30]
    assert "has no field `n`" in outcome.outputs["c"].reason


async def test_a_guard_does_not_compare_the_field_of_every_element(world: World) -> None:
    world.tools.add("fetch", lambda x: [{"status": "ok"}], returns=JSON)
    world.tools.add("t")
    plan = 'a = fetch(1)\nb = t(1) when a.status != "ok"\nc = t(2) when a.status[0] == "ok"\nout b?, c'
    outcome = await world.run(plan)
    assert statuses(outcome)["b"] == "poisoned"
    assert "field of every element" in outcome.outputs["b"].reason
    assert outcome["c"] == "t(2)"


@pytest.mark.parametrize("field", ["count", "index", "sort"])
async def test_methods_of_python_lists_are_no_fields(world: World, field: str) -> None:
    world.tools.add("t", lambda x: x)
    outcome = await world.run(f"in rs: list[any]\na = t(rs.{field})\nout a", {"rs": [{field: 1}, {field: 2}]})
    assert outcome["a"] == [1, 2]


async def test_map_without_quorum_stops_its_other_elements(world: World) -> None:
    def work(x: int) -> int:
        raise ValueError("no")

    tool = world.tools.add("t", work, takes_s=lambda args: float(args["x"]))
    outcome = await world.run("in xs: list[int]\na = t(each xs)\nout a", {"xs": [1, 50]})
    assert outcome.status == "failed"
    assert outcome.wall_ms == pytest.approx(1000.0)
    assert tool.cancelled == 1


async def test_zip_of_lists_with_different_lengths_fails_clearly(world: World) -> None:
    world.tools.add("pair", params=("x", "y"))
    plan = "in xs: list[int]\nin ys: list[int]\na = pair(each xs, each ys)\nout a"
    assert (await world.run(plan, {"xs": [1, 2], "ys": [3, 4]}))["a"] == ["pair(1,3)", "pair(2,4)"]
    outcome = await world.run(plan, {"xs": [1, 2], "ys": [3]})
    assert outcome.status == "failed"
    assert "`x` has 2, `y` has 1" in outcome.outputs["a"].reason


async def test_hedge_starts_the_next_alternative_and_stops_the_loser(world: World) -> None:
    slow = world.tools.add("slow", takes_s=30.0)
    world.tools.add("fast", takes_s=1.0)
    outcome = await world.run("a = slow() | fast() @hedge(2s)\nout a")
    assert outcome["a"] == "fast()"
    assert outcome.wall_ms == pytest.approx(3000.0)
    assert slow.cancelled == 1
    assert outcome.spent == 2 * CENT
    assert [event.type for event in outcome.events].count("node.hedged") == 1


async def test_hedge_zero_races_and_a_quick_answer_prevents_the_rival(world: World) -> None:
    world.tools.add("one", takes_s=2.0)
    two = world.tools.add("two", takes_s=1.0)
    assert (await world.run("a = one() | two() @hedge(0s)\nout a")).wall_ms == pytest.approx(1000.0)
    two.calls.clear()
    await world.run("a = one() | two() @hedge(3s)\nout a")
    assert not two.calls


async def test_hedged_failure_waits_for_the_rival(world: World) -> None:
    world.tools.add("bad", script=[RuntimeError("x")], takes_s=2.0)
    world.tools.add("good", takes_s=5.0)
    outcome = await world.run("a = bad() | good() @hedge(1s)\nout a")
    assert outcome["a"] == "good()"
    assert outcome.wall_ms == pytest.approx(6000.0)


async def test_after_orders_without_data_and_survives_failure(world: World) -> None:
    world.tools.add("bad", script=[RuntimeError("x")], takes_s=2.0)
    world.tools.add("good")
    outcome = await world.run("a = bad()\nb = good() @after(a)\nout b, a?")
    assert outcome["b"] == "good()"
    assert (outcome.steps["b"].started_ns or 0) - outcome.started_ns == 2_000_000_000


async def test_priority_orders_ready_steps(world: World) -> None:
    world.tools.add("t", takes_s=1.0)
    plan = "a = t(1)\nb = t(2) @priority(5)\nc = t(3) @priority(-1)\nout a, b, c"
    await world.run(plan, slots=Slots(1))
    assert [args["x"] for args in world.tools.backends["t"].calls] == [2, 1, 3]


async def test_slots_bound_calls_and_tools_keep_their_own_limits(world: World) -> None:
    narrow = world.tools.add("narrow", takes_s=1.0, limits=ToolLimits(concurrency=2))
    wide = world.tools.add("wide", takes_s=1.0)
    plan = "in xs: list[int]\na = narrow(each xs)\nb = wide(each xs)\nout a, b"
    outcome = await world.run(plan, {"xs": list(range(8))}, slots=Slots(5))
    assert outcome.status == "complete"
    assert narrow.most == 2
    assert wide.most <= 5
    assert outcome.wall_ms == pytest.approx(4000.0)


async def test_rate_limit_spaces_calls(world: World) -> None:
    tool = world.tools.add("t", limits=ToolLimits(rate_per_s=2.0))
    outcome = await world.run("in xs: list[int]\na = t(each xs)\nout a", {"xs": [1, 2, 3, 4]})
    assert outcome.status == "complete"
    assert [round(b - a, 3) for a, b in zip(tool.started, tool.started[1:], strict=False)] == [0.5, 0.5, 0.5]


async def test_deadline_cancels_what_is_unfinished_and_keeps_the_rest(world: World) -> None:
    world.tools.add("fast", takes_s=1.0)
    slow = world.tools.add("slow", takes_s=100.0)
    outcome = await world.run("a = fast()\nb = slow()\nc = fast(b)\nout a, c", deadline_s=10)
    assert outcome.status == "degraded"
    assert outcome.wall_ms == pytest.approx(10_000.0)
    assert statuses(outcome) == {"a": "ok", "b": "cancelled", "c": "cancelled"}
    assert "deadline of 10 s" in outcome.outputs["c"].reason
    assert slow.running == 0


async def test_a_tool_that_keeps_its_own_time_does_not_run_ahead_of_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = world.tools.add("slow", takes_s=100.0)
    call = slow.call

    def hasty(args: Mapping[str, Any], *, timeout: float) -> Awaitable[BackendResult]:
        return call(args, timeout=timeout - 0.1)  # timers of other processes are not exact

    monkeypatch.setattr(slow, "call", hasty)
    outcome = await world.run("a = slow()\nout a", deadline_s=3)
    assert outcome.wall_ms == pytest.approx(3000.0)
    assert statuses(outcome) == {"a": "cancelled"}
    assert "deadline of 3 s" in outcome.outputs["a"].reason


async def test_plan_limits_only_tighten(world: World) -> None:
    world.tools.add("slow", takes_s=100.0)
    outcome = await world.run("limit latency 3s\na = slow()\nout a", deadline_s=10)
    assert outcome.wall_ms == pytest.approx(3000.0)
    world.tools.add("t")
    outcome = await world.run("limit cost $0.015\na = t(1)\nb = t(a)\nout a, b", ledger=Ledger(usd("5")))
    assert statuses(outcome) == {"a": "ok", "b": "refused"}
    assert "the plan's own limit" in outcome.outputs["b"].reason
    outcome = await world.run("limit calls 1\na = t(1)\nb = t(a)\nout a, b")
    assert statuses(outcome) == {"a": "ok", "b": "refused"}
    assert "limit of 1 calls" in outcome.outputs["b"].reason


async def test_step_budget_covers_its_retries(world: World) -> None:
    flaky = world.tools.add("flaky", script=[RuntimeError("1")] * 5)
    outcome = await world.run("a = flaky() @retry(5) @budget($0.025)\nout a")
    assert len(flaky.calls) == 2
    assert outcome.spent == Money(2 * CENT)
    assert "@budget of $0.025" in outcome.outputs["a"].reason


async def test_approval_is_asked_with_the_arguments(world: World) -> None:
    world.tools.add("book", effects="write")
    asked = []

    async def approve(request: Any) -> bool:
        asked.append(request)
        await world.clock.sleep(60)
        return bool(request.arguments["x"] == "yes")

    plan = "in w: text\na = book(w) @approve\nout a"
    granted = await world.run(plan, {"w": "yes"}, approve=approve)
    assert granted.status == "complete"
    assert granted.wall_ms == pytest.approx(60_000.0)
    assert asked[0].tools == ("book",)
    assert asked[0].estimate == CENT
    denied = await world.run(plan, {"w": "no"}, approve=approve)
    assert statuses(denied) == {"a": "refused"}
    assert denied.spent == 0
    nobody = await world.run(plan, {"w": "yes"})
    assert "nobody was given to ask" in nobody.outputs["a"].reason
    late = await world.run(plan, {"w": "yes"}, approve=approve, deadline_s=5)
    assert statuses(late) == {"a": "cancelled"}


async def test_missing_field_is_explained_where_it_is_used(world: World) -> None:
    world.tools.add("t", lambda **_: {"text": "hi"})
    world.tools.add("u")
    outcome = await world.run("a = t()\nb = u(a.txt)\nc = u(a.txt?)\nout b, c, d = a.nope?, e = a.text")
    assert statuses(outcome) == {"a": "ok", "b": "poisoned", "c": "ok"}
    assert "`a` has no field `txt`" in outcome.outputs["b"].reason
    assert outcome.outputs["d"].status == "failed"
    assert outcome["e"] == "hi"


async def test_templates_lists_and_objects(world: World) -> None:
    world.tools.add("t", lambda x: x)
    plan = 'in n: text\na = t(t"hi {n}!")\nb = t([a, {k: n, l: [1, true]}])\nout b'
    outcome = await world.run(plan, {"n": "bo"})
    assert outcome["b"] == ["hi bo!", {"k": "bo", "l": [1, True]}]
