"""What spans and metrics say of retries, hedges, maps, refusals, unknown prices, cached results and later plans."""

from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from catp.cache import MemoryCache
from catp.planlang.money import Money, format_usd, parse_usd
from catp.planlang.types import parse_type
from catp.runtime.events import RunEvent
from catp.runtime.flights import Flights
from catp.runtime.ledger import Ledger
from catp.runtime.run import Run
from catp.runtime.testing import CENT, MemoryJournal, compiled
from catp.telemetry.testing import World, attributes
from catp.tools.errors import ToolFailed
from catp.tools.price import Unpriced

LIST = parse_type("list[text]")


@pytest.fixture(autouse=True)
def _default_conventions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SEMCONV_STABILITY_OPT_IN", raising=False)
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)


@pytest.fixture
def world() -> World:
    return World()


def linked(world: World, span: Any) -> list[tuple[str, Any]]:
    """What a span's links point at: the node, and the element if there is one."""
    ends = {other.context.span_id: attributes(other) for other in world.spans if other.context is not None}
    found = [ends[link.context.span_id] for link in span.links]
    return [(end["catp.node.id"], end.get("catp.node.element")) for end in found]


async def test_the_loser_of_a_hedge_is_no_error_and_is_paid(world: World) -> None:
    world.tools.add("slow", takes_s=10.0)
    world.tools.add("fast", takes_s=1.0)
    outcome = await world.run("a = slow() | fast() @hedge(2s)\nout a")
    loser, winner = world.step("a")
    assert [attributes(span)["catp.node.cause"] for span in (loser, winner)] == ["first", "hedge"]
    assert attributes(loser)["catp.node.outcome"] == "cancelled"
    assert loser.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(loser)
    assert winner.start_time == (loser.start_time or 0) + 2_000_000_000
    assert sum(parse_usd(attributes(s)["catp.cost.amount"]) for s in (loser, winner)) == outcome.spent


async def test_a_map_is_linked_element_by_element(world: World) -> None:
    world.tools.add("load", lambda: ["p", "q", "r"], params=(), returns=LIST)
    world.tools.add("read", takes_s=0.1)
    world.tools.add("sum_up")
    await world.run("pages = load()\ntexts = read(each pages)\nmoods = read(each texts)\nall = sum_up(moods)\nout all")
    moods = world.step("moods")
    assert [attributes(span)["catp.node.element"] for span in moods] == [0, 1, 2]
    assert [linked(world, span) for span in moods] == [[("texts", 0)], [("texts", 1)], [("texts", 2)]]
    (total,) = world.step("all")
    assert linked(world, total) == [("moods", 0), ("moods", 1), ("moods", 2)]
    assert [link.attributes for link in total.links] == [
        {"catp.edge.node": "moods", "catp.edge.port": "arg:x", "catp.edge.element": i} for i in range(3)
    ]


async def test_links_of_a_wide_map_are_bounded(world: World) -> None:
    world.tools.add("load", lambda: list(range(300)), params=(), returns=LIST)
    world.tools.add("read")
    await world.run("pages = load()\ntexts = read(each pages)\nall = read(texts)\nout all")
    (total,) = world.step("all")
    assert len(total.links) == 128
    assert total.dropped_links == 0


async def test_an_unknown_price_is_absent_under_every_name(world: World) -> None:
    world.tools.add("mystery", price=Unpriced(), p95=None)
    world.tools.add("known")
    await world.run("a = mystery()\nb = known(a)\nout b")
    (mystery,) = world.step("a")
    assert attributes(mystery)["catp.cost.unpriced"] is True
    costs = {"catp.cost.amount", "catp.cost.currency", "gen_ai.usage.cost", "llm.cost.total", "mlflow.llm.cost"}
    assert not costs & set(attributes(mystery))
    assert costs <= set(attributes(world.step("b")[0]))
    run = attributes(world.one("invoke_workflow"))
    assert run["catp.cost.unpriced"] is True
    assert run["catp.cost.amount"] == "0.01"
    calls = world.metrics()["catp.calls"]
    assert calls[("catp.cost.unpriced", True), ("catp.node.outcome", "ok"), ("catp.tool.name", "mystery")] == 1
    assert list(world.metrics()["catp.cost"]) == [(("catp.tool.name", "known"),)]


async def test_what_was_refused_failed_or_never_started_is_shown(world: World) -> None:
    world.tools.add("dear", p95=Money(5 * CENT))
    world.tools.add("bad", script=[ToolFailed("bad", "no such page", error_type="NotFound")])
    world.tools.add("use", params=("x", "y"))
    outcome = await world.run("a = dear()\nb = bad()\nc = use(a, b)\nout c, b?", ledger=Ledger(Money(2 * CENT)))
    assert outcome.status == "failed"
    (refused,) = world.named("step refused")
    (failed,) = world.step("b")
    (poisoned,) = world.named("step poisoned")
    assert attributes(refused)["catp.node.attempt"] == 1
    assert "may cost $0.05" in attributes(refused)["catp.node.reason"]
    assert attributes(refused)["catp.refusal.short"] == "0.04"
    assert (failed.status.status_code, attributes(failed)["error.type"]) == (StatusCode.ERROR, "NotFound")
    assert failed.status.description == "bad: no such page"
    assert poisoned.start_time == poisoned.end_time
    assert set(linked(world, poisoned)) <= {("a", None), ("b", None)}
    assert linked(world, poisoned)
    run = world.one("invoke_workflow")
    assert (run.status.status_code, attributes(run)["error.type"]) == (StatusCode.ERROR, "failed")
    metrics = world.metrics()
    assert metrics["catp.refusals"] == {(("catp.refusal.kind", "budget"),): 1}
    assert metrics["catp.failures"] == {(("catp.tool.name", "bad"), ("error.type", "NotFound")): 1}
    assert metrics["gen_ai.workflow.duration"] == {(("error.type", "failed"),): 0.0}


async def test_denied_approval_and_overruns_are_told(world: World) -> None:
    world.tools.add("post", effects="write")
    world.tools.add("more", actual=lambda args: 3 * CENT)

    async def deny(_: object) -> bool:
        return False

    await world.run("a = post() @approve\nb = more()\nout b, a?", approve=deny)
    (denied,) = world.step("a")
    assert (denied.name, attributes(denied)["catp.node.reason"]) == ("step refused", "approval was denied")
    assert world.metrics()["catp.refusals"] == {(("catp.refusal.kind", "approval"),): 1}
    events = {event.name: dict(event.attributes or {}) for event in world.one("invoke_workflow").events}
    assert events["catp.node.awaiting_approval"]["catp.node.id"] == "a"
    warning = events["catp.run.budget_warning"]
    assert (warning["catp.tool.name"], warning["catp.cost.overrun"]) == ("more", "0.02")


async def test_metrics_of_calls_and_of_the_run(world: World) -> None:
    world.tools.add("fetch", takes_s=0.25, script=[ToolFailed("fetch", "busy", error_type="Busy"), "page"])
    world.add_model("ask")
    outcome = await world.run("plan demo\na = fetch() @retry(1, backoff=0s)\nb = ask(a)\nout b")
    metrics = world.metrics()
    assert metrics["gen_ai.workflow.duration"] == {(("gen_ai.workflow.name", "demo"),): pytest.approx(1.0)}
    tool = (("gen_ai.tool.name", "fetch"), ("gen_ai.tool.type", "function"))
    assert metrics["gen_ai.execute_tool.duration"] == {tool: 0.25, (("error.type", "Busy"), *tool): 0.25}
    model = (
        ("gen_ai.operation.name", "chat"), ("gen_ai.provider.name", "mistral_ai"), ("gen_ai.request.model", "small-1"),
    )  # fmt: skip
    server = (("server.address", "api.mistral.ai"), ("server.port", 443))
    assert metrics["gen_ai.client.operation.duration"] == {(*model, *server): 0.5}
    assert metrics["gen_ai.client.token.usage"] == {
        (*model, ("gen_ai.token.type", "input"), *server): 120,
        (*model, ("gen_ai.token.type", "output"), *server): 30,
    }
    assert sum(metrics["catp.cost"].values()) == pytest.approx(outcome.spent / 1e9)
    assert sum(metrics["catp.calls"].values()) == 3


# --- events that other parts of the product write: told here as they are specified ---------------------------------


def told(world: World, source: str, *events: tuple[str, str | None, int | None, dict[str, Any]]) -> None:
    plan = compiled(source, world.tools)
    observe = world.telemetry.observer(plan, world.tools)
    start = world.clock.now_ns()
    for seq, (type_, step, attempt, data) in enumerate(events, 1):
        at_ns = start + seq * 1_000_000
        observe(RunEvent(seq, "01RUN", at_ns, type_, step, attempt, None, data))  # type: ignore[arg-type]


async def test_cached_and_shared_results_have_spans_and_savings(world: World) -> None:
    world.tools.add("look", cache_ttl_s=60.0, takes_s=1.0)
    world.tools.add("join", params=("x", "y"))
    flights = Flights(MemoryCache(now_ns=world.clock.now_ns))
    source, inputs = "in xs: list[text]\na = look(each xs)\nc = join(a)\nd = look(c)\nout d", {"xs": ["p", "p"]}
    first = await world.run(source, inputs, flights=flights)
    await flights.settle()
    second = await world.run(source, inputs, flights=flights, run_id="02RUN")
    runs = world.named("invoke_workflow")
    assert [parse_usd(attributes(run)["catp.cost.amount"]) for run in runs] == [first.spent, second.spent]
    assert [attributes(run)["catp.cost.saved"] for run in runs] == ["0.01", "0.03"]
    looks = world.named("execute_tool look")
    hits = [span for span in looks if attributes(span).get("catp.node.cached")]
    assert (len(looks), len(hits)) == (6, 4)
    assert {(attributes(hit)["catp.cost.amount"], attributes(hit)["catp.cost.saved"]) for hit in hits} == {
        ("0.00", "0.01")
    }
    assert trace.get_current_span() is trace.INVALID_SPAN
    metrics = world.metrics()
    assert metrics["catp.saved"] == {(("catp.tool.name", "look"),): pytest.approx(0.04)}
    # two calls of a second each; what was not called took no time of the tool
    assert (
        metrics["gen_ai.execute_tool.duration"][("gen_ai.tool.name", "look"), ("gen_ai.tool.type", "function")] == 2.0
    )


async def test_a_killed_run_goes_on_in_a_second_trace(world: World) -> None:
    world.tools.add("load", takes_s=1.0)
    world.tools.add("read", takes_s=1.0)
    source = "a = load(1)\nb = read(a)\nc = read(b)\nout c"
    journal = MemoryJournal()
    await world.run(source, journal=journal)
    whole = len(world.spans)
    # cut after the second call has started
    starts = [
        i for i, entry in enumerate(journal.entries) if isinstance(entry, RunEvent) and entry.type == "node.started"
    ]
    past = journal.cut(starts[1] + 1)
    after = World()
    after.clock, after.tools = world.clock, world.tools
    plan = compiled(source, after.tools)
    run = Run(
        plan, {}, after.tools, ledger=Ledger(before=past.rows), clock=after.clock, run_id="01RUN", restored=past,
        on_event=after.telemetry.observer(plan, after.tools),
    )  # fmt: skip
    outcome = await run.wait()
    assert (outcome.status, whole) == ("complete", 4)
    root = after.spans[0]
    assert attributes(root)["catp.run.resumed"] is True
    assert parse_usd(attributes(root)["catp.cost.amount"]) == outcome.spent == 4 * CENT  # the lost call is paid, too
    assert [(attributes(s)["catp.node.id"], attributes(s)["catp.node.outcome"]) for s in after.spans[1:]] == [
        ("b", "lost"), ("b", "ok"), ("c", "ok"),
    ]  # fmt: skip
    lost, again, last = after.spans[1:]
    assert attributes(lost)["error.type"] == "lost"
    assert again.links == ()  # what gave it its input is in the first trace
    assert linked(after, last) == [("b", None)]
    assert after.metrics()["gen_ai.execute_tool.duration"] == {
        (("gen_ai.tool.name", "read"), ("gen_ai.tool.type", "function")): 2.0
    }


def test_unknown_events_and_waiting_for_somebody(world: World) -> None:
    world.tools.add("look")
    told(
        world,
        "plan mine\na = look()\nout a",
        (
            "run.created",
            None,
            None,
            {"policy": "search", "agent": "clerk", "given_up": {"y": "too dear", "x": "too dear"}},
        ),
        ("something.new", "a", None, {"x": [1]}),
        ("run.awaiting_approval", None, None, {}),
        ("run.waiting", None, None, {"status": "waiting", "spent": "0.00"}),
    )
    (run,) = world.spans
    assert run.name == "invoke_workflow clerk"
    assert (attributes(run)["catp.plan.given_up"], attributes(run)["catp.run.status"]) == (("x", "y"), "waiting")
    assert run.status.status_code is StatusCode.UNSET
    assert (run.end_time or 0) - (run.start_time or 0) == 3_000_000
    assert [event.name for event in run.events] == ["catp.run.awaiting_approval"]


def test_of_two_results_the_first_is_linked(world: World) -> None:
    world.tools.add("look")
    world.tools.add("peek")
    ok = {"outcome": "ok", "amount": "0.01", "ms": 1.0}
    told(
        world,
        "a = look() | peek() @hedge(1s)\nb = look(a)\nout b",
        ("run.created", None, None, {}),
        ("node.started", "a", 1, {"tool": "look"}),
        ("node.hedged", "a", 1, {"tool": "peek", "after_ms": 1000.0}),
        ("node.started", "a", 2, {"tool": "peek"}),
        ("node.settled", "a", 2, {"tool": "peek", **ok}),
        ("node.settled", "a", 1, {"tool": "look", **ok}),
        ("node.started", "b", 1, {"tool": "look"}),
        ("node.settled", "b", 1, {"tool": "look", **ok}),
    )
    assert [link.context for link in world.step("b")[0].links] == [world.one("execute_tool peek").context]


def test_a_new_plan_brings_its_own_edges(world: World) -> None:
    world.tools.add("look")
    world.tools.add("other")
    ok = {"outcome": "ok", "amount": "0.01", "ms": 1.0}
    told(
        world,
        "a = look()\nb = look(a)\nout b",
        ("run.created", None, None, {}),
        ("node.started", "a", 1, {"tool": "look"}),
        ("node.settled", "a", 1, {"tool": "look", **ok}),
        (
            "run.replanned",
            None,
            None,
            {"plan": "abc", "source": "a = look()\nc = other(a)\nout b = c", "reason": "why"},
        ),
        ("node.started", "c", 1, {"tool": "other"}),
        ("node.settled", "c", 1, {"tool": "other", **ok}),
        ("run.finished", None, None, {"status": "complete", "spent": "0.02"}),
    )
    (c,) = world.step("c")
    assert linked(world, c) == [("a", None)]
    assert "catp.node.slack_ms" not in attributes(c)
    assert [event.name for event in world.one("invoke_workflow").events] == ["catp.run.replanned"]


async def test_events_told_again_give_the_same_spans(world: World) -> None:
    world.tools.add("fetch", takes_s=0.25)
    world.tools.add("join", params=("x", "y"))
    source = "a = fetch(1)\nb = fetch(2)\nc = join(a, b)\nout c"
    outcome = await world.run(source)
    again = World()
    again.tools = world.tools
    observe = again.telemetry.observer(compiled(source, world.tools), world.tools)
    for event in outcome.events:
        observe(event)
    assert trace.get_current_span() is trace.INVALID_SPAN  # calls overlapped, and all were told in this task
    assert [(s.name, s.start_time, s.end_time, dict(attributes(s))) for s in again.spans] == [
        (s.name, s.start_time, s.end_time, dict(attributes(s))) for s in world.spans
    ]
    assert format_usd(outcome.spent) == "0.03"


async def test_a_processor_that_raises_costs_the_spans_and_nothing_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    class Rogue:
        def on_start(self, span: object, parent_context: object = None) -> None:
            raise RuntimeError("rogue processor")

    world.tracers.add_span_processor(Rogue())  # type: ignore[arg-type]
    world.tools.add("fetch")
    outcome = await world.run("a = fetch(1)\nout a")
    assert (outcome.status, outcome.observer_error) == ("complete", None)
    assert "telemetry of run 01RUN stops" in caplog.text
